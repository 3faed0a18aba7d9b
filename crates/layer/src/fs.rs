//! System calls relative to directory descriptors, with what every module needs of them.

use crate::entry::{Kind, Time, Xattrs};
use crate::error::{Context, Error, Result};
use crate::owner::FileKey;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Statx, StatxFlags};
use rustix::io::Errno;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Extended attributes that overlayfs uses for itself: never taken from an archive, never written to one.
pub(crate) fn is_overlay_xattr(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

pub(crate) fn name(bytes: &OsStr, path: &Path) -> Result<CString> {
    CString::new(bytes.as_bytes()).map_err(|_| Error::refused(path, "its name contains a NUL byte"))
}

/// All that a walk wants to know, of the object itself.
pub(crate) fn stat(dir: BorrowedFd<'_>, name: &CStr) -> Result<Statx, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(dir, name, flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME)
}

pub(crate) fn stat_fd(fd: BorrowedFd<'_>) -> Result<Statx, Errno> {
    rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::BTIME)
}

pub(crate) fn time(stamp: rustix::fs::StatxTimestamp) -> Time {
    Time { secs: stamp.tv_sec, nanos: stamp.tv_nsec }
}

pub(crate) fn key(stat: &Statx) -> FileKey {
    let known = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
    FileKey { ino: stat.stx_ino, btime: if known { time(stat.stx_btime) } else { Time::default() } }
}

pub(crate) fn file_type(stat: &Statx) -> FileType {
    FileType::from_raw_mode(stat.stx_mode.into())
}

/// What an object is in a layer; nothing for sockets, which no archive holds.
pub(crate) fn kind(stat: &Statx) -> Option<Kind> {
    Some(match file_type(stat) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Dir,
        FileType::Symlink => Kind::Symlink,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket | FileType::Unknown => return None,
    })
}

/// Opens a directory for reading; fails on a symlink.
pub(crate) fn open_dir(dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// Names in a directory with the types that the listing gives, in byte order.
pub(crate) fn list(dir: BorrowedFd<'_>) -> Result<Vec<(CString, FileType)>, Errno> {
    let mut out = Vec::new();
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            out.push((entry.file_name().to_owned(), entry.file_type()));
        }
    }
    out.sort_unstable_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
    Ok(out)
}

pub(crate) fn read_link(dir: BorrowedFd<'_>, name: &CStr) -> Result<PathBuf, Errno> {
    let text = rustix::fs::readlinkat(dir, name, Vec::with_capacity(256))?;
    Ok(PathBuf::from(OsStr::from_bytes(text.as_bytes())))
}

/// A path for calls that take no descriptor (extended attributes of what cannot be opened). The last component is
/// never followed by the calls that it is used with.
pub(crate) fn proc_path(dir: BorrowedFd<'_>, name: &CStr) -> PathBuf {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    PathBuf::from(OsStr::from_bytes(&path))
}

/// How to get at the extended attributes of an object.
#[derive(Clone, Copy)]
pub(crate) enum XattrOf<'a> {
    Fd(BorrowedFd<'a>),
    At(BorrowedFd<'a>, &'a CStr),
}

impl XattrOf<'_> {
    pub(crate) fn get(&self, name: &CStr) -> Result<Option<Vec<u8>>, Errno> {
        let mut value = Vec::with_capacity(256);
        loop {
            let room = rustix::buffer::spare_capacity(&mut value);
            let result = match self {
                Self::Fd(fd) => rustix::fs::fgetxattr(fd, name, room),
                Self::At(dir, file) => rustix::fs::lgetxattr(proc_path(*dir, file), name, room),
            };
            match result {
                Ok(_) => return Ok(Some(value)),
                Err(Errno::RANGE) if value.capacity() < 128 << 10 => value.reserve(128 << 10),
                Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
                Err(e) => return Err(e),
            }
        }
    }

    pub(crate) fn set(&self, name: &CStr, value: &[u8]) -> Result<(), Errno> {
        let flags = rustix::fs::XattrFlags::empty();
        match self {
            Self::Fd(fd) => rustix::fs::fsetxattr(fd, name, value, flags),
            Self::At(dir, file) => rustix::fs::lsetxattr(proc_path(*dir, file), name, value, flags),
        }
    }

    fn names(&self) -> Result<Vec<u8>, Errno> {
        let mut names = Vec::with_capacity(512);
        loop {
            let room = rustix::buffer::spare_capacity(&mut names);
            let result = match self {
                Self::Fd(fd) => rustix::fs::flistxattr(fd, room),
                Self::At(dir, file) => rustix::fs::llistxattr(proc_path(*dir, file), room),
            };
            match result {
                Ok(_) => return Ok(names),
                Err(Errno::RANGE) if names.capacity() < 128 << 10 => names.reserve(128 << 10),
                Err(Errno::NOTSUP) => return Ok(Vec::new()),
                Err(e) => return Err(e),
            }
        }
    }

    /// All attributes but those of overlayfs and of the host's security modules.
    pub(crate) fn all(&self) -> Result<Xattrs, Errno> {
        let names = self.names()?;
        let mut out = Xattrs::new();
        for raw in names.split_inclusive(|b| *b == 0) {
            let Ok(name) = CStr::from_bytes_with_nul(raw) else { continue };
            let host = [&b"security.selinux"[..], b"security.ima", b"security.evm"].contains(&name.to_bytes());
            if host || is_overlay_xattr(name.to_bytes()) {
                continue;
            }
            if let Some(value) = self.get(name)? {
                out.insert(name.to_bytes().to_vec(), value);
            }
        }
        Ok(out)
    }

    /// `security.capability` alone.
    pub(crate) fn capability(&self) -> Result<Xattrs, Errno> {
        let value = self.get(c"security.capability")?.filter(|v| !v.is_empty());
        Ok(value.into_iter().map(|v| (b"security.capability".to_vec(), v)).collect())
    }
}

/// Walks hold one or two descriptors for each level, of the 1024 that a process usually has.
pub(crate) const MAX_DEPTH: usize = 500;

pub(crate) fn check_depth(depth: usize, path: &Path) -> Result<()> {
    if depth <= MAX_DEPTH {
        return Ok(());
    }
    let bytes = path.as_os_str().as_bytes();
    let shown = Path::new(OsStr::from_bytes(&bytes[..bytes.len().min(60)]));
    Err(Error::refused(shown, format!("directories are nested deeper than {MAX_DEPTH}")))
}

/// How deep a removal descends before it moves directories up instead: each level holds a descriptor.
const REMOVE_DEPTH: usize = 100;

/// Removes an object and all that is in it; it may be gone already. Never leaves `dir`, whatever lies below.
pub(crate) fn remove_all(dir: BorrowedFd<'_>, name: &CStr, path: &Path) -> Result<()> {
    match unlink(dir, name) {
        Ok(true) => return Ok(()),
        Ok(false) => {}
        Err(e) => return Err(Error::io("remove", path, e)),
    }
    let mut moved = vec![name.to_owned()];
    let mut count = 0u64;
    while let Some(next) = moved.pop() {
        let mut aside = |from: BorrowedFd<'_>, name: &CStr| -> Result<(), Errno> {
            loop {
                count += 1;
                let to = CString::new(format!(".cooperage-removed-{count}")).unwrap_or_default();
                match rustix::fs::renameat_with(from, name, dir, &to, rustix::fs::RenameFlags::NOREPLACE) {
                    Ok(()) => {
                        moved.push(to);
                        return Ok(());
                    }
                    Err(Errno::EXIST) => {}
                    Err(e) => return Err(e),
                }
            }
        };
        remove_dir(dir, &next, 0, &mut aside).at("remove", path)?;
    }
    Ok(())
}

/// True when the object is gone, false when it is a directory.
fn unlink(dir: BorrowedFd<'_>, name: &CStr) -> Result<bool, Errno> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR) => Ok(false),
        Err(Errno::PERM) => match stat(dir, name) {
            Ok(s) if file_type(&s) == FileType::Directory => Ok(false),
            _ => Err(Errno::PERM),
        },
        Err(e) => Err(e),
    }
}

type Aside<'a> = dyn FnMut(BorrowedFd<'_>, &CStr) -> Result<(), Errno> + 'a;

fn remove_dir(dir: BorrowedFd<'_>, name: &CStr, depth: usize, aside: &mut Aside<'_>) -> Result<(), Errno> {
    use std::os::fd::AsFd;
    let inner = match open_dir(dir, name) {
        Err(Errno::ACCESS) => {
            // Our own directory without permission for us: take it, then remove it.
            rustix::fs::chmodat(dir, name, Mode::RWXU, AtFlags::empty())?;
            open_dir(dir, name)?
        }
        other => other?,
    };
    let entries = list(inner.as_fd())?;
    let mut opened = false;
    for (child, child_type) in entries {
        if child_type != FileType::Directory {
            let result = match unlink(inner.as_fd(), &child) {
                Err(Errno::ACCESS) if !opened => {
                    opened = true;
                    rustix::fs::fchmod(&inner, Mode::RWXU)?;
                    unlink(inner.as_fd(), &child)
                }
                other => other,
            };
            if result? {
                continue;
            }
        }
        if depth + 1 >= REMOVE_DEPTH {
            aside(inner.as_fd(), &child)?;
        } else {
            remove_dir(inner.as_fd(), &child, depth + 1, aside)?;
        }
    }
    match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e),
    }
}
