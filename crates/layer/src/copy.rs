//! Copies trees: by reflink where the file system shares blocks, else inside the kernel, else by hand.

use crate::entry::Kind;
use crate::error::{Context, Error, Result};
use crate::fs::{self, XattrOf};
use crate::walk;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Statx, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

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

/// Makes `to` (an empty directory) a copy of `from`: owners, modes, times, attributes, hardlinks, devices; sockets are
/// left out. The attributes of the directory itself are copied too.
pub fn copy_tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<Copied> {
    let from = fs::open_dir(from, c".").at("open", Path::new(""))?;
    let to = fs::open_dir(to, c".").at("open", Path::new(""))?;
    let mut copier = Copier {
        done: Copied::default(),
        reflink: true,
        names: HashMap::new(),
        top: rustix::io::dup(&to).at("open", Path::new(""))?,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    };
    copier.walk(from, to)?;
    Ok(copier.done)
}

/// A directory that is being copied.
struct Frame {
    from: OwnedFd,
    to: OwnedFd,
    path: PathBuf,
    stat: Statx,
    names: std::vec::IntoIter<(CString, FileType)>,
}

impl Frame {
    fn new(from: OwnedFd, to: OwnedFd, path: PathBuf, stat: Statx) -> Result<Self> {
        let names = fs::list(from.as_fd()).at("list", &path)?.into_iter();
        Ok(Self { from, to, path, stat, names })
    }
}

struct Copier {
    done: Copied,
    reflink: bool,
    /// First copies of objects with several names, as paths from the top.
    names: HashMap<(u32, u32, u64), PathBuf>,
    top: OwnedFd,
    uid: u32,
    gid: u32,
}

impl Copier {
    /// Copies with a stack of its own: trees that guests make may be deep.
    fn walk(&mut self, from: OwnedFd, to: OwnedFd) -> Result<()> {
        let stat = fs::stat_fd(from.as_fd()).at("read the attributes of", Path::new(""))?;
        let mut stack = vec![Frame::new(from, to, PathBuf::new(), stat)?];
        while let Some(frame) = stack.last_mut() {
            let (from, to) = (frame.from.as_fd(), frame.to.as_fd());
            let Some((name, _)) = frame.names.next() else {
                self.attributes(XattrOf::Fd(from), to, &frame.path, &frame.stat)?;
                stack.pop();
                continue;
            };
            let here = frame.path.join(OsStr::from_bytes(name.as_bytes()));
            let stat = fs::stat(from, &name).at("read the attributes of", &here)?;
            if fs::kind(&stat) == Some(Kind::Dir) {
                self.done.objects += 1;
                fs::check_depth(stack.len(), &here)?;
                let Some(frame) = stack.last() else { break };
                let (from, to) = (frame.from.as_fd(), frame.to.as_fd());
                rustix::fs::mkdirat(to, &name, Mode::RWXU).at("create", &here)?;
                let inner = fs::open_dir(to, &name).at("open", &here)?;
                let source = fs::open_dir(from, &name).at("open", &here)?;
                stack.push(Frame::new(source, inner, here, stat)?);
            } else {
                self.object(from, to, &name, &here, &stat)?;
            }
        }
        Ok(())
    }

    fn object(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        path: &Path,
        stat: &Statx,
    ) -> Result<()> {
        let Some(kind) = fs::kind(stat) else { return Ok(()) };
        self.done.objects += 1;
        if stat.stx_nlink > 1 {
            let id = (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino);
            if let Some(first) = self.names.get(&id) {
                return self.link(first, to, name, path);
            }
            self.names.insert(id, path.to_owned());
        }
        if kind != Kind::File {
            return self.special(from, to, name, path, stat);
        }
        let source = walk::open(from, name, path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let copy = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR).at("create", path)?;
        self.content(source.as_fd(), copy.as_fd(), path, stat.stx_size)?;
        self.attributes(XattrOf::Fd(source.as_fd()), copy.as_fd(), path, stat)
    }

    /// Hardlinks to a path that this copy made: its parents are directories, walked one by one all the same.
    fn link(&self, first: &Path, to: BorrowedFd<'_>, name: &CStr, path: &Path) -> Result<()> {
        let mut dir = rustix::io::dup(&self.top).at("open", first)?;
        let (parent, last) = crate::entry::split(first).unwrap_or((Path::new(""), OsStr::new("")));
        for part in parent.components() {
            let part = fs::name(part.as_os_str(), first)?;
            dir = fs::open_dir(dir.as_fd(), &part).at("open", first)?;
        }
        let last = fs::name(last, first)?;
        rustix::fs::linkat(&dir, &last, to, name, AtFlags::empty()).at("link", path)
    }

    fn content(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, path: &Path, size: u64) -> Result<()> {
        self.done.bytes += size;
        if size == 0 {
            return Ok(());
        }
        if self.reflink {
            match rustix::fs::ioctl_ficlone(to, from) {
                Ok(()) => {
                    self.done.reflinked += 1;
                    return Ok(());
                }
                // Not here, not for any other file of these trees.
                Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::NOSYS | Errno::NOTTY) => self.reflink = false,
                Err(Errno::INVAL) => {}
                Err(e) => return Err(Error::io("share the blocks of", path, e)),
            }
        }
        let mut left = size;
        while left > 0 {
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(1 << 30);
            match rustix::fs::copy_file_range(from, None, to, None, step) {
                Ok(0) => break,
                Ok(count) => left -= count as u64,
                Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM) if left == size => {
                    return by_hand(from, to, path);
                }
                Err(e) => return Err(Error::io("copy", path, e)),
            }
        }
        if left == 0 { Ok(()) } else { Err(Error::Changed { path: path.to_owned(), expected: size, got: size - left }) }
    }

    fn special(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, path: &Path, stat: &Statx) -> Result<()> {
        let kind = fs::file_type(stat);
        if kind == FileType::Symlink {
            let text = fs::read_link(from, name).at("read the link", path)?;
            rustix::fs::symlinkat(&text, to, name).at("create", path)?;
        } else {
            let device = rustix::fs::makedev(stat.stx_rdev_major, stat.stx_rdev_minor);
            rustix::fs::mknodat(to, name, kind, Mode::empty(), device).at("create", path)?;
        }
        if stat.stx_uid != self.uid || stat.stx_gid != self.gid {
            let (uid, gid) = (Some(Uid::from_raw(stat.stx_uid)), Some(Gid::from_raw(stat.stx_gid)));
            rustix::fs::chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).at("set the owner of", path)?;
        }
        for (key, value) in XattrOf::At(from, name).all().at("read the attributes of", path)? {
            let Ok(key) = CString::new(key) else { continue };
            XattrOf::At(to, name).set(&key, &value).at("set an attribute of", path)?;
        }
        if kind != FileType::Symlink {
            let mode = Mode::from_raw_mode(u32::from(stat.stx_mode) & 0o7777);
            rustix::fs::chmodat(to, name, mode, AtFlags::empty()).at("set the mode of", path)?;
        }
        rustix::fs::utimensat(to, name, &stamps(stat), AtFlags::SYMLINK_NOFOLLOW).at("set the time of", path)
    }

    fn attributes(&self, from: XattrOf<'_>, to: BorrowedFd<'_>, path: &Path, stat: &Statx) -> Result<()> {
        if stat.stx_uid != self.uid || stat.stx_gid != self.gid {
            let (uid, gid) = (Some(Uid::from_raw(stat.stx_uid)), Some(Gid::from_raw(stat.stx_gid)));
            rustix::fs::fchown(to, uid, gid).at("set the owner of", path)?;
        }
        for (key, value) in from.all().at("read the attributes of", path)? {
            let Ok(key) = CString::new(key) else { continue };
            XattrOf::Fd(to).set(&key, &value).at("set an attribute of", path)?;
        }
        rustix::fs::fchmod(to, Mode::from_raw_mode(u32::from(stat.stx_mode) & 0o7777)).at("set the mode of", path)?;
        rustix::fs::futimens(to, &stamps(stat)).at("set the time of", path)
    }
}

fn stamps(stat: &Statx) -> Timestamps {
    let spec = |t: rustix::fs::StatxTimestamp| Timespec { tv_sec: t.tv_sec, tv_nsec: t.tv_nsec.into() };
    Timestamps { last_access: spec(stat.stx_atime), last_modification: spec(stat.stx_mtime) }
}

fn by_hand(from: BorrowedFd<'_>, to: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = match rustix::io::read(from, &mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(e) => return Err(Error::io("read", path, e)),
        };
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            match rustix::io::write(to, rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                Err(e) => return Err(Error::io("write", path, e)),
            }
        }
    }
}
