//! Errors of this crate: what was being done, to which path, and why it failed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a layer could not be read, written, unpacked or compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("cannot {verb} {}: {source}", Shown(.path))]
    Io {
        /// What was tried: `create`, `read`, `set owner 0:12 of` …
        verb: String,
        /// The object, relative to the root of the tree or as the caller named it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The stream that a layer is read from or written to failed.
    #[error("cannot {verb}: {source}")]
    Stream {
        /// What was tried: `read the layer`, `write the layer`.
        verb: &'static str,
        /// What the stream said.
        source: io::Error,
    },
    /// The bytes are no tar archive, or a broken one.
    #[error("broken tar archive at byte {offset}: {reason}")]
    Tar {
        /// Where the header of the entry begins.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// An archive's entry or a tree asks for what is never done.
    #[error("refused {}: {reason}", Shown(.path))]
    Refused {
        /// The entry as the archive spells it.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// The archive is larger than it may be.
    #[error("the archive exceeds the limit of {limit} {what}{}", At(.path))]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
        /// The entry that went over it, where there is one.
        path: PathBuf,
    },
    /// A file changed while it was read.
    #[error(
        "{} changed while it was read: expected {expected} bytes, got {got}; stop what writes to it and try again",
        Shown(.path)
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Its size when its header was written.
        expected: u64,
        /// How many bytes it had (one more than expected stands for any larger number).
        got: u64,
    },
    /// An entry cannot be written as a tar header.
    #[error("cannot store {} in a tar archive: {reason}", Shown(.path))]
    Unstorable {
        /// The object.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The codec has no such level.
    #[error("{compression} has no compression level {level}; its levels are {scale}")]
    Level {
        /// The codec.
        compression: crate::codec::Compression,
        /// What was asked for.
        level: i32,
        /// What there is.
        scale: &'static str,
    },
    /// Symbolic links lead in a circle.
    #[error("too many symbolic links while resolving {}", Shown(.path))]
    Loop {
        /// The path that was to be resolved.
        path: PathBuf,
    },
    /// A stored table or table of contents is not readable.
    #[error("unusable {what}: {reason}; delete it, it is made anew")]
    Stored {
        /// Which kind of file.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl Error {
    pub(crate) fn io(verb: impl Into<String>, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { verb: verb.into(), path: path.to_owned(), source: source.into() }
    }

    pub(crate) fn refused(path: &Path, reason: impl Into<String>) -> Self {
        Self::Refused { path: path.to_owned(), reason: reason.into() }
    }

    /// The error number of the system call behind this error, where there is one.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Io { source, .. } | Self::Stream { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

/// Attaches verb and path to a failing system call.
pub(crate) trait Context<T> {
    fn at(self, verb: &str, path: &Path) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn at(self, verb: &str, path: &Path) -> Result<T> {
        self.map_err(|e| Error::io(verb, path, e))
    }
}

/// A path as messages show it: the root is `/`, control characters are escaped.
struct Shown<'a>(&'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.as_os_str().is_empty() {
            return f.write_str("the root directory");
        }
        for c in self.0.to_string_lossy().chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        Ok(())
    }
}

struct At<'a>(&'a Path);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.as_os_str().is_empty() { Ok(()) } else { write!(f, " at {}", Shown(self.0)) }
    }
}
