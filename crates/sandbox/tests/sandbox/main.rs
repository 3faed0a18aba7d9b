//! Real steps: run as root in a busybox root file system, made in a temporary directory.
//!
//! Tests that this place cannot run say why and pass; where `CI` is set, that is a failure.

mod cancel;
mod chroot;
mod confinement;
mod escape;
mod hostile_mounts;
mod identity;
mod mounts;
mod process;
mod support;
mod unprivileged;
