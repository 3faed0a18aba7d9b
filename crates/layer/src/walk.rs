//! Walks a directory tree: sorted, by descriptors, one statx per object.
//!
//! No link is followed and no path longer than a name is handed to the kernel, so a tree that a guest filled with
//! hostile names and links is walked like any other. Each level holds one descriptor.

use crate::entry::{Entry, Kind, Time, Xattrs};
use crate::error::{Context, Result};
use crate::fs::{self, XattrOf};
use crate::owner::FileKey;
use rustix::fs::{FileType, Mode, OFlags, Statx};
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What happens below a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Enter it.
    Continue,
    /// Leave out what is in it.
    Skip,
}

/// Which extended attributes to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum XattrPolicy {
    /// None.
    None,
    /// `security.capability` of files: what BuildKit keeps in a layer.
    #[default]
    Capabilities,
    /// All that the process may read, except those of overlayfs, SELinux and IMA (`security.selinux`, `security.ima`,
    /// `security.evm`), which belong to the host.
    All,
}

/// An object on the way. Hardlinks are given as what they are (a file, a device …) with their `key` and `links`.
pub struct Visit<'a> {
    /// The object, path relative to the root of the walk; its extended attributes are not read yet.
    pub entry: &'a mut Entry,
    /// Its identity.
    pub key: FileKey,
    /// Device number of its file system.
    pub dev: (u32, u32),
    /// Number of names.
    pub links: u32,
    /// Time of the last change of the inode.
    pub ctime: Time,
    parent: BorrowedFd<'a>,
    name: &'a CStr,
}

impl Visit<'_> {
    /// Opens the content of a regular file; never follows a link, never blocks on a pipe.
    pub fn open(&self) -> Result<File> {
        open(self.parent, self.name, &self.entry.path)
    }

    /// Reads extended attributes.
    pub fn xattrs(&self, policy: XattrPolicy) -> Result<Xattrs> {
        xattrs(XattrOf::At(self.parent, self.name), self.entry.kind, policy, &self.entry.path)
    }
}

pub(crate) fn open(parent: BorrowedFd<'_>, name: &CStr, path: &Path) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty()).at("open", path)?.into())
}

pub(crate) fn xattrs(of: XattrOf<'_>, kind: Kind, policy: XattrPolicy, path: &Path) -> Result<Xattrs> {
    match policy {
        XattrPolicy::Capabilities if kind == Kind::File => of.capability().at("read the capabilities of", path),
        XattrPolicy::All => of.all().at("read the attributes of", path),
        XattrPolicy::None | XattrPolicy::Capabilities => Ok(Xattrs::new()),
    }
}

/// The entry of an object that was just looked at; nothing for sockets.
pub(crate) fn entry(parent: BorrowedFd<'_>, name: &CStr, path: &Path, stat: &Statx) -> Result<Option<Entry>> {
    let Some(kind) = fs::kind(stat) else { return Ok(None) };
    let link = match kind {
        Kind::Symlink => Some(fs::read_link(parent, name).at("read the link", path)?),
        _ => None,
    };
    Ok(Some(Entry {
        path: path.to_owned(),
        kind,
        mode: u32::from(stat.stx_mode) & 0o7777,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        mtime: fs::time(stat.stx_mtime),
        size: if kind == Kind::File { stat.stx_size } else { 0 },
        link,
        rdev: match kind {
            Kind::CharDevice | Kind::BlockDevice => (stat.stx_rdev_major, stat.stx_rdev_minor),
            _ => (0, 0),
        },
        xattrs: Xattrs::new(),
    }))
}

/// Calls `visit` for every object below `root`, parents first, names in byte order. Sockets are passed over.
pub fn walk(root: BorrowedFd<'_>, visit: &mut dyn FnMut(Visit<'_>) -> Result<Flow>) -> Result<()> {
    let top = fs::open_dir(root, c".").at("open", Path::new(""))?;
    let names = fs::list(top.as_fd()).at("list", Path::new(""))?;
    let mut stack = vec![(top, PathBuf::new(), names.into_iter())];
    while let Some((dir, path, names)) = stack.last_mut() {
        let Some((name, _)) = names.next() else {
            stack.pop();
            continue;
        };
        let dir = dir.as_fd();
        let here = path.join(OsStr::from_bytes(name.to_bytes()));
        let stat = fs::stat(dir, &name).at("read the attributes of", &here)?;
        let Some(mut entry) = entry(dir, &name, &here, &stat)? else { continue };
        let flow = visit(Visit {
            entry: &mut entry,
            key: fs::key(&stat),
            dev: (stat.stx_dev_major, stat.stx_dev_minor),
            links: stat.stx_nlink,
            ctime: fs::time(stat.stx_ctime),
            parent: dir,
            name: &name,
        })?;
        if flow == Flow::Continue && fs::file_type(&stat) == FileType::Directory {
            let inner = fs::open_dir(dir, &name).at("open", &here)?;
            let names = fs::list(inner.as_fd()).at("list", &here)?;
            fs::check_depth(stack.len(), &here)?;
            stack.push((inner, here, names.into_iter()));
        }
    }
    Ok(())
}
