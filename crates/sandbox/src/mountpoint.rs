//! Mount points that a step needs and its image does not have: made before, removed after, without a trace.
//!
//! Making `run/secrets/x` changes the modification time of `run`, and on an overlay copies `run` up. [`Made`] is
//! noted in the child before the first mount, and [`Made::remove`] runs in the builder when the last process of the
//! step is gone and the mounts with it: stubs that are still empty go, times are put back unless the step changed
//! them itself, and directories that were copied up for our sake alone go too. What the step put there stays.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Timestamps};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::root::{MadeEntry, Root};
use crate::wire::bytes;

/// The entries made, and the state of the directories that were touched for them.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    entries: Vec<Entry>,
    touched: Vec<Touched>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    #[serde(with = "bytes")]
    path: PathBuf,
    dir: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Touched {
    #[serde(with = "bytes")]
    path: PathBuf,
    before: State,
    after: State,
    copied_up: bool,
}

/// What tells whether a step changed a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    mode: u32,
    uid: u32,
    gid: u32,
    seconds: i64,
    nanoseconds: i64,
}

impl State {
    fn of(dir: BorrowedFd<'_>, path: &Path) -> io::Result<Self> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let stat = rustix::fs::statat(dir, path, AtFlags::SYMLINK_NOFOLLOW)?;
        #[allow(clippy::useless_conversion, clippy::unnecessary_cast)] // The types differ between architectures.
        Ok(State {
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            seconds: stat.st_mtime.into(),
            nanoseconds: stat.st_mtime_nsec as i64,
        })
    }

    fn times(self) -> Timestamps {
        let time = rustix::fs::Timespec { tv_sec: self.seconds, tv_nsec: self.nanoseconds as _ };
        let omit = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
        Timestamps { last_access: omit, last_modification: time }
    }
}

impl Made {
    /// [`Root::ensure`], keeping the books. `upper` is the overlay's upper directory, where there is one. Entries that
    /// land in another file system than the root's (inside an earlier mount) are not noted.
    pub(crate) fn ensure(
        &mut self,
        root: &Root,
        upper: Option<BorrowedFd<'_>>,
        path: &Path,
        dir: bool,
    ) -> io::Result<OwnedFd> {
        let resolved = root.resolve(path)?;
        if resolved.missing.is_empty() || mount_id(resolved.fd.as_fd())? != mount_id(root.fd())? {
            return root.ensure(path, dir, &mut Vec::new());
        }
        let mut ancestors = Vec::new();
        for ancestor in resolved.path.ancestors() {
            if self.touched.iter().any(|t| t.path == ancestor) || self.entries.iter().any(|e| e.path == ancestor) {
                break;
            }
            let copied_up =
                upper.is_some_and(|upper| !ancestor.as_os_str().is_empty() && State::of(upper, ancestor).is_err());
            ancestors.push((ancestor.to_owned(), State::of(root.fd(), ancestor)?, copied_up));
        }
        let mut made = Vec::new();
        let result = root.ensure(path, dir, &mut made);
        self.entries.extend(made.into_iter().map(|MadeEntry { path, dir }| Entry { path, dir }));
        for (path, before, copied_up) in ancestors {
            let after = State::of(root.fd(), &path)?;
            self.touched.push(Touched { path, before, after, copied_up });
        }
        for touched in &mut self.touched {
            if touched.path == resolved.path {
                touched.after = State::of(root.fd(), &touched.path)?;
            }
        }
        result
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Removes what is still as it was made below `base`, the tree itself or the overlay's upper directory.
    pub(crate) fn remove(mut self, base: &Path) -> Result<(), (PathBuf, io::Error)> {
        let at = |path: &Path| base.join(path);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(base, flags, Mode::empty()).map_err(|e| (base.to_owned(), e.into()))?;
        // Deepest first; a parent's own time must be read before something in it is removed.
        self.touched.sort_by_key(|t| std::cmp::Reverse(t.path.components().count()));
        let state_now = |t: &Touched| State::of(open_dir(&root, &t.path).ok()?.as_fd(), Path::new("")).ok();
        let now: Vec<Option<State>> = self.touched.iter().map(state_now).collect();
        for entry in self.entries.iter().rev() {
            remove_stub(&root, entry).map_err(|error| (at(&entry.path), error))?;
        }
        for (touched, state) in self.touched.iter().zip(now) {
            let (Some(state), Ok(dir)) = (state, open_dir(&root, &touched.path)) else { continue };
            let unchanged = state == touched.after;
            let wanted = if unchanged { touched.before } else { state };
            if touched.copied_up && unchanged && is_plain(dir.as_fd()) {
                match remove_dir(&root, &touched.path) {
                    Ok(()) => continue,
                    Err(Errno::NOTEMPTY) => {}
                    Err(error) => return Err((at(&touched.path), error.into())),
                }
            }
            rustix::fs::utimensat(&dir, ".", &wanted.times(), AtFlags::empty())
                .map_err(|error| (at(&touched.path), error.into()))?;
        }
        Ok(())
    }
}

fn mount_id(fd: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let flags = rustix::fs::StatxFlags::from_bits_retain(rustix::fs::StatxFlags::BASIC_STATS.bits() | 0x1000);
    let stat = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, flags)?;
    let device = u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor);
    // Kernels before 5.8 do not fill the mount's id in; then the device has to do.
    Ok(if stat.stx_mask & 0x1000 != 0 { (stat.stx_mnt_id, 0) } else { (0, device) })
}

/// Opens a directory below `root`; the tree may have been changed by a hostile step, so links are refused.
fn open_dir(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if path.as_os_str().is_empty() {
        return rustix::fs::openat(root, ".", flags, Mode::empty());
    }
    match rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS) {
        Err(Errno::NOSYS | Errno::PERM) => {}
        other => return other,
    }
    let mut here = rustix::fs::openat(root, ".", OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    for name in path.iter() {
        here = rustix::fs::openat(&here, name, flags, Mode::empty())?;
    }
    Ok(here)
}

/// Opens (O_PATH) what is at a path below `root`, as [`open_dir`] does; a link itself where the path ends in one.
pub(crate) fn open_beneath(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let Some(name) = path.file_name() else { return Err(Errno::INVAL) };
    let parent = parent_of(root, path)?;
    rustix::fs::openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn parent_of(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    open_dir(root, path.parent().unwrap_or(Path::new("")))
}

fn remove_dir(root: &OwnedFd, path: &Path) -> Result<(), Errno> {
    let Some(name) = path.file_name() else { return Ok(()) };
    rustix::fs::unlinkat(parent_of(root, path)?, name, AtFlags::REMOVEDIR)
}

fn remove_stub(root: &OwnedFd, entry: &Entry) -> io::Result<()> {
    let parent = match parent_of(root, &entry.path) {
        Ok(parent) => parent,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let Some(name) = entry.path.file_name() else { return Ok(()) };
    if !entry.dir {
        match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_size == 0 => {}
            _ => return Ok(()),
        }
    }
    match rustix::fs::unlinkat(&parent, name, if entry.dir { AtFlags::REMOVEDIR } else { AtFlags::empty() }) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::NOTDIR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether a directory has no extended attributes but the overlay's own.
fn is_plain(dir: BorrowedFd<'_>) -> bool {
    let mut names = vec![0u8; 4096];
    match rustix::fs::flistxattr(dir, &mut names[..]) {
        Ok(length) => names[..length].split(|b| *b == 0).all(|name| {
            name.is_empty()
                || name.starts_with(b"user.overlay.")
                || name.starts_with(b"trusted.overlay.")
                || name == b"security.selinux"
        }),
        Err(Errno::NOTSUP) => true,
        Err(_) => false,
    }
}
