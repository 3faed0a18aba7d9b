//! The layer engine against other tars, hostile archives and the kernel's overlayfs.
#![allow(clippy::print_stderr)]

mod determinism;
mod hostile;
mod overlay;
mod owners;
mod roundtrip;
mod support;
mod tree;
