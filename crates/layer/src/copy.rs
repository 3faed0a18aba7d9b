//! Copies trees: by reflink where the file system shares blocks, else inside the kernel, else by hand.

use crate::error::Result;
use std::os::fd::BorrowedFd;

/// What a copy did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Objects of all kinds.
    pub objects: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Files that share their blocks with the original.
    pub reflinked: u64,
}

/// Makes `to` (an empty directory) a copy of `from`: owners, modes, times, attributes, hardlinks, devices.
pub fn copy_tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<Copied> {
    let _ = (from, to);
    Err(crate::error::unfinished("copy_tree"))
}
