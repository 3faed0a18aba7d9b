//! Unpacks layers and archives from strangers.

use crate::error::Result;
use crate::owner::OwnerSink;
use crate::toc::Toc;
use crate::view::View;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

/// What `.wh.` entries mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteouts {
    /// They remove what lies under them in the tree (the `tree` strategy). What the same layer brings stays.
    Flat,
    /// They become overlayfs whiteouts: character devices 0/0 and an opaque attribute on directories.
    Overlay {
        /// `user.overlay.opaque` (a mount with `userxattr`) instead of `trusted.overlay.opaque`.
        userxattr: bool,
    },
    /// They are files like any other: ADD of an archive.
    Literal,
}

/// Who sets owners, modes and devices.
pub enum Owners<'a> {
    /// The file system: chown, mknod, setxattr. A call that is not permitted is an error.
    Real,
    /// The sink takes what a plain user may not set; files and directories stay readable for the process.
    Recorded(&'a mut dyn OwnerSink),
    /// Owners are dropped: everything belongs to the process. Devices are an error.
    Ignored,
}

/// Bounds for what one archive may ask for. Memory needed is bounded by `entries` and `header`.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Number of entries.
    pub entries: u64,
    /// Length of a path or of a link's text.
    pub path: u64,
    /// Bytes of extended headers before one entry.
    pub header: u64,
    /// Sum of the sizes of all files.
    pub total: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 10_000_000, path: 4095, header: 1 << 20, total: u64::MAX }
    }
}

/// How to unpack.
pub struct ApplyOptions<'a> {
    /// What `.wh.` entries mean.
    pub whiteouts: Whiteouts,
    /// Who sets owners.
    pub owners: Owners<'a>,
    /// Owner and group for every entry instead of the archive's.
    pub chown: Option<(u32, u32)>,
    /// Clean path of a directory in the root under which everything lands (made when missing); symlinks in it are
    /// followed inside the root, and the archive's own links are resolved inside the whole root.
    pub prefix: PathBuf,
    /// Bounds.
    pub limits: Limits,
    /// Set the access time as well (to the modification time). Costs nothing: both go in one call.
    pub atime: bool,
}

impl Default for ApplyOptions<'_> {
    fn default() -> Self {
        Self {
            whiteouts: Whiteouts::Flat,
            owners: Owners::Real,
            chown: None,
            prefix: PathBuf::new(),
            limits: Limits::default(),
            atime: true,
        }
    }
}

/// What unpacking did.
#[derive(Debug, Default)]
pub struct Applied {
    /// All entries of the archive, with the places of their contents in the tar stream.
    pub toc: Toc,
    /// Bytes of the tar stream up to its end mark.
    pub tar_size: u64,
    /// Directories that no entry names but entries lie in, parents first. They were made with mode 0755, owner 0:0;
    /// in [`Whiteouts::Overlay`] call [`adopt_parents`] for them when the lower layers are known.
    pub implied: Vec<PathBuf>,
    /// What could not be kept and was tolerated, such as an attribute that the file system does not support.
    pub warnings: Vec<String>,
}

/// Unpacks the tar stream (already decompressed) into the directory.
pub fn apply(tar: impl Read, root: BorrowedFd<'_>, options: &mut ApplyOptions<'_>) -> Result<Applied> {
    let _ = (tar, root, options);
    Err(crate::error::unfinished("apply"))
}

/// Gives directories that a layer only implied the attributes that they have in the layers below, as overlayfs does
/// when it copies a parent up.
pub fn adopt_parents(root: BorrowedFd<'_>, implied: &[PathBuf], below: &View, owners: &mut Owners<'_>) -> Result<()> {
    let _ = (root, implied, below, owners);
    Err(crate::error::unfinished("adopt_parents"))
}
