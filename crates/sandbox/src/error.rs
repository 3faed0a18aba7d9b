//! Why a step could not be run. A command that ran and failed is no error: see [`crate::Status`].

use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::isolation::Isolation;

/// Why [`crate::Launcher::run`] has no exit status to give.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The token was cancelled; every process of the step is gone.
    #[error("the step was cancelled")]
    Cancelled,
    /// The program of `argv` does not exist in the root file system (docker: exit code 127).
    #[error("{program}: not found in the root file system{}", searched(.path))]
    CommandNotFound {
        /// `argv[0]`.
        program: String,
        /// The `PATH` that was searched, when the program has no slash.
        path: Option<String>,
    },
    /// The program of `argv` exists and cannot be executed (docker: exit code 126).
    #[error("{program}: cannot be executed: {reason}")]
    CommandNotExecutable {
        /// `argv[0]`.
        program: String,
        /// Why, in words.
        reason: String,
    },
    /// The confinement could not be set up.
    #[error("cannot set up the step in {isolation} isolation: {source}")]
    Setup {
        /// The isolation that was asked for.
        isolation: Isolation,
        /// What failed.
        source: SetupError,
    },
    /// The helper process could not be started.
    #[error("cannot start the sandbox helper {}: {source}", helper.display())]
    Helper {
        /// The program.
        helper: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The helper process ended without a report.
    #[error("the sandbox helper ended early ({0}); was it killed, or is memory short?")]
    HelperLost(String),
    /// The control socket failed.
    #[error("lost the connection to the sandbox helper: {0}")]
    Control(#[source] io::Error),
    /// The mount points made for the step could not be removed from the root file system.
    #[error("cannot remove the mount point {} after the step: {source}", path.display())]
    Cleanup {
        /// The mount point, on the builder's side.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn searched(path: &Option<String>) -> String {
    path.as_ref().map_or_else(String::new, |path| format!(" (PATH={path})"))
}

/// One thing that failed while a step was set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupError {
    /// What was tried, with the path: "mount overlayfs on …".
    pub action: String,
    /// The system's error number; 0 when the reason is in `action` alone.
    pub errno: i32,
    /// What to do about it, where that is known.
    pub hint: Option<String>,
}

impl SetupError {
    pub(crate) fn new(action: impl Into<String>, error: impl Into<io::Error>) -> Self {
        SetupError { action: action.into(), errno: error.into().raw_os_error().unwrap_or(0), hint: None }
    }
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
    /// The error as an [`io::Error`].
    pub fn io(&self) -> io::Error {
        io::Error::from_raw_os_error(self.errno)
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.action)?;
        if self.errno != 0 {
            write!(f, ": {}", self.io())?;
        }
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for SetupError {}
