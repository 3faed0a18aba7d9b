//! OCI image types: what a registry and an image layout hold, parsed without loss.
//!
//! The crate does no I/O but for [`layout`]. Two rules hold everywhere:
//! an object that was read from a registry is passed on as its *raw bytes*, never serialised again
//! (a digest would change), and fields that this crate does not know survive in `extra`.
//!
//! Sources: OCI image-spec 1.1, OCI distribution-spec 1.1, `distribution/reference` (Go) for the
//! normalisation of names.
#![forbid(unsafe_code)]
mod config;
mod descriptor;
mod digest;
pub mod layout;
mod manifest;
pub mod media_type;
mod platform;
mod reference;

pub use config::{Config, Empty, Healthcheck, History, ImageConfig, RootFs};
pub use descriptor::Descriptor;
pub use digest::{Digest, DigestError, Digester, VerifyReader};
pub use manifest::{Index, Manifest};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
