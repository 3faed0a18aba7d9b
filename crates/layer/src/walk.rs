//! Walks a directory tree: sorted, by descriptors, one statx per object.

use crate::entry::Entry;
use crate::error::Result;
use crate::owner::FileKey;
use std::fs::File;
use std::os::fd::BorrowedFd;

/// What happens below a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Enter it.
    Continue,
    /// Leave out what is in it.
    Skip,
}

/// An object on the way. Hardlinks are given as what they are (a file, a device …) with their `key` and `links`.
pub struct Visit<'a> {
    /// The object, path relative to the root of the walk.
    pub entry: &'a mut Entry,
    /// Its identity.
    pub key: FileKey,
    /// Device number of its file system.
    pub dev: (u32, u32),
    /// Number of names.
    pub links: u32,
    /// Time of the last change of the inode.
    pub ctime: crate::entry::Time,
    pub(crate) parent: BorrowedFd<'a>,
    pub(crate) name: &'a std::ffi::CStr,
}

impl Visit<'_> {
    /// Opens the content of a regular file; never follows a link, never blocks on a pipe.
    pub fn open(&self) -> Result<File> {
        let _ = (self.parent, self.name);
        Err(crate::error::unfinished("open"))
    }
}

/// Which extended attributes to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum XattrPolicy {
    /// None.
    None,
    /// `security.capability` only: what BuildKit keeps in a layer.
    #[default]
    Capabilities,
    /// All that the process may read, except those of overlayfs, SELinux and IMA (`security.selinux`, `security.ima`,
    /// `security.evm`), which belong to the host.
    All,
}

/// Calls `visit` for every object below `root`, parents first, names in byte order.
pub fn walk(root: BorrowedFd<'_>, xattrs: XattrPolicy, visit: &mut dyn FnMut(Visit<'_>) -> Result<Flow>) -> Result<()> {
    let _ = (root, xattrs, visit);
    Err(crate::error::unfinished("walk"))
}
