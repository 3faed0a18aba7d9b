//! What a tree was: enough of every object to tell by `stat` whether it changed.

use crate::error::Result;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// Content or attributes differ.
    Modified,
    /// It is gone, with all that was in it.
    Deleted,
}

/// What differs between a table and a tree, sorted as a walk meets it (a directory before what is in it).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// The paths.
    pub items: Vec<(PathBuf, Change)>,
}

/// The state of a tree.
#[derive(Debug, Clone, Default)]
pub struct Table {}

impl Table {
    /// Scans a tree with parallel stat calls.
    pub fn scan(root: BorrowedFd<'_>, threads: usize) -> Result<Self> {
        let _ = (root, threads);
        Err(crate::error::unfinished("Table::scan"))
    }

    /// What changed since the table was made: a parallel walk of stat calls, no content is read.
    pub fn diff(&self, root: BorrowedFd<'_>, exclude: &[PathBuf], threads: usize) -> Result<Changes> {
        let _ = (root, exclude, threads);
        Err(crate::error::unfinished("Table::diff"))
    }

    /// The stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Reads the stored form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let _ = bytes;
        Err(crate::error::unfinished("Table::from_bytes"))
    }

    /// Writes the stored form to a file that appears whole or not at all.
    pub fn save(&self, dir: BorrowedFd<'_>, name: &Path) -> Result<()> {
        let _ = (dir, name);
        Err(crate::error::unfinished("Table::save"))
    }

    /// Reads what [`Table::save`] wrote.
    pub fn load(dir: BorrowedFd<'_>, name: &Path) -> Result<Self> {
        let _ = (dir, name);
        Err(crate::error::unfinished("Table::load"))
    }
}
