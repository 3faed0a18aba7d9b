//! What differs between processor architectures; everything else in the crate is common.

#[cfg(target_arch = "x86_64")]
#[path = "x86_64_sites.rs"]
pub mod sites;
#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub use x86_64::*;
