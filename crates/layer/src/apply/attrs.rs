//! Sets owners, modes, times and attributes, or hands them to the side table.

use super::Owners;
use crate::entry::{Entry, Kind, Time};
use crate::error::{Error, Result};
use crate::fs::{self, XattrOf};
use crate::owner::{Attrs, OwnerSink};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// How many warnings are kept: an archive must not fill the memory with them.
const MAX_WARNINGS: usize = 100;

pub(super) struct Setter<'a> {
    policy: Policy,
    sink: Option<&'a mut dyn OwnerSink>,
    pub(super) warnings: Vec<String>,
    /// ADD tolerates attributes that are not permitted.
    literal: bool,
    uid: u32,
    gid: u32,
    /// Permission bits that the kernel takes from new files; all of them when that is not predictable.
    masked: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    Real,
    Fallback,
    Recorded,
    Ignored,
}

/// An object to set attributes on.
pub(super) struct Object<'a> {
    pub(super) dir: BorrowedFd<'a>,
    pub(super) name: &'a CStr,
    /// Open for files that are new; everything else is named.
    pub(super) fd: Option<BorrowedFd<'a>>,
    pub(super) path: &'a Path,
    /// New files here belong to another group than the process's.
    pub(super) setgid: bool,
    /// The object was just made with the entry's mode (less the umask) and the process's ids.
    pub(super) fresh: bool,
    /// It was to be a device and became an empty file.
    pub(super) placeholder: bool,
}

impl<'a> Setter<'a> {
    pub(super) fn new(owners: &'a mut Owners<'_>, root: BorrowedFd<'_>, literal: bool) -> Self {
        let (policy, sink) = match owners {
            Owners::Real => (Policy::Real, None),
            Owners::Fallback(sink) => (Policy::Fallback, Some(&mut **sink)),
            Owners::Recorded(sink) => (Policy::Recorded, Some(&mut **sink)),
            Owners::Listed => (Policy::Recorded, None),
            Owners::Ignored => (Policy::Ignored, None),
        };
        // Reborrowed as a plain trait object.
        let sink = sink.map(|s| s as &mut dyn OwnerSink);
        Self {
            policy,
            sink,
            warnings: Vec::new(),
            literal,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            masked: masked_bits(root),
        }
    }

    /// Sets what a new or merged object shall have, but the time of a directory.
    pub(super) fn set(&mut self, object: &Object<'_>, entry: &Entry, atime: Time) -> Result<()> {
        let mut left = self.owner(object, entry)?;
        left |= self.xattrs(object, entry)?;
        left |= self.mode(object, entry)?;
        left |= object.placeholder;
        if entry.kind != Kind::Dir {
            self.times(object, entry.mtime, atime)?;
        }
        if left { self.record(object, entry) } else { Ok(()) }
    }

    pub(super) fn implied_dir(&mut self, dir: BorrowedFd<'_>, name: &CStr, path: &Path) -> Result<()> {
        let entry = Entry::dir(path, 0o755);
        let object = Object { dir, name, fd: None, path, setgid: true, fresh: true, placeholder: false };
        let mut left = self.owner(&object, &entry)?;
        left |= self.mode(&object, &entry)?;
        if left { self.record(&object, &entry) } else { Ok(()) }
    }

    /// The mode to create an object with, so that the process may fill it.
    pub(super) fn creation_mode(&self, entry: &Entry) -> Mode {
        let bits = match entry.kind {
            Kind::Dir => (entry.mode & 0o777) | 0o700,
            _ if self.policy == Policy::Recorded => (entry.mode & 0o777) | 0o600,
            _ => entry.mode & 0o777,
        };
        Mode::from_raw_mode(bits)
    }

    /// What a directory's mode on disk must be in the end, when that would have been in the way until then.
    pub(super) fn late_mode(&self, entry: &Entry) -> Option<u32> {
        (self.policy != Policy::Recorded && entry.mode & 0o700 != 0o700).then_some(entry.mode & 0o7777)
    }

    /// Whether device nodes are to be tried.
    pub(super) fn makes_devices(&self) -> bool {
        self.policy != Policy::Recorded
    }

    /// Whether a device that could not be made may become an empty file with a record.
    pub(super) fn takes_placeholders(&self) -> bool {
        matches!(self.policy, Policy::Recorded | Policy::Fallback)
    }

    pub(super) fn warn(&mut self, text: impl FnOnce() -> String) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(text());
        }
    }

    /// True when the side table must keep it.
    fn owner(&mut self, object: &Object<'_>, entry: &Entry) -> Result<bool> {
        let (uid, gid) = (entry.uid, entry.gid);
        match self.policy {
            Policy::Ignored => return Ok(false),
            // What the table does not know belongs to 0:0.
            Policy::Recorded => return Ok(uid != 0 || gid != 0),
            Policy::Real | Policy::Fallback => {}
        }
        if object.fresh && !object.setgid && uid == self.uid && gid == self.gid {
            return Ok(false);
        }
        let no_id = || Error::refused(object.path, format!("owner {uid}:{gid} is no valid id"));
        if uid == u32::MAX || gid == u32::MAX {
            return Err(no_id());
        }
        let (owner, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        let result = match object.fd {
            Some(fd) => rustix::fs::fchown(fd, owner, group),
            None => rustix::fs::chownat(object.dir, object.name, owner, group, AtFlags::SYMLINK_NOFOLLOW),
        };
        match result {
            Ok(()) => Ok(false),
            Err(Errno::PERM | Errno::INVAL) if self.policy == Policy::Fallback => Ok(true),
            Err(e) => Err(Error::io(format!("set owner {uid}:{gid} of"), object.path, e)),
        }
    }

    fn mode(&mut self, object: &Object<'_>, entry: &Entry) -> Result<bool> {
        if entry.kind == Kind::Symlink {
            return Ok(false);
        }
        let wanted = entry.mode & 0o7777;
        let on_disk = match (self.policy, entry.kind) {
            (Policy::Recorded, Kind::Dir) => (wanted & 0o777) | 0o700,
            (Policy::Recorded, _) => (wanted & 0o777) | 0o600,
            (_, Kind::Dir) if wanted & 0o700 != 0o700 => wanted | 0o700,
            _ => wanted,
        };
        let recorded = self.policy == Policy::Recorded && on_disk != wanted;
        // A directory that is made below a set-group-ID directory has that bit, whatever was asked for.
        let inherits = object.setgid && entry.kind == Kind::Dir;
        if object.fresh && !inherits && on_disk & (self.masked | 0o7000) == 0 {
            return Ok(recorded);
        }
        let mode = Mode::from_raw_mode(on_disk);
        let result = match object.fd {
            Some(fd) => rustix::fs::fchmod(fd, mode),
            None => rustix::fs::chmodat(object.dir, object.name, mode, AtFlags::empty()),
        };
        match result {
            Ok(()) => Ok(recorded),
            Err(Errno::PERM) if self.policy == Policy::Fallback => Ok(true),
            Err(e) => Err(Error::io(format!("set mode {on_disk:04o} of"), object.path, e)),
        }
    }

    fn xattrs(&mut self, object: &Object<'_>, entry: &Entry) -> Result<bool> {
        // As BuildKit's ADD: no attributes on links.
        if entry.xattrs.is_empty() || (self.literal && entry.kind == Kind::Symlink) {
            return Ok(false);
        }
        let mut left = false;
        for (name, value) in &entry.xattrs {
            let shown = String::from_utf8_lossy(name).into_owned();
            if fs::is_overlay_xattr(name) {
                self.warn(|| format!("{}: attribute {shown} of overlayfs was dropped", object.path.display()));
                continue;
            }
            if name.starts_with(b"system.posix_acl_default") {
                // From here on new files do not get the mode that open(2) asks for.
                self.masked = 0o7777;
            }
            if self.policy == Policy::Recorded && !name.starts_with(b"user.") {
                left = true;
                continue;
            }
            let Ok(c_name) = CString::new(name.clone()) else { continue };
            let target = match object.fd {
                Some(fd) => XattrOf::Fd(fd),
                None => XattrOf::At(object.dir, object.name),
            };
            match target.set(&c_name, value) {
                Ok(()) => {}
                Err(_) if self.takes_placeholders() => left = true,
                Err(Errno::NOTSUP) => {
                    self.warn(|| format!("{}: the file system keeps no attribute {shown}", object.path.display()));
                }
                Err(Errno::PERM) if self.literal || self.policy == Policy::Ignored => {
                    self.warn(|| format!("{}: attribute {shown} is not permitted here", object.path.display()));
                }
                Err(e) => return Err(Error::io(format!("set attribute {shown} of"), object.path, e)),
            }
        }
        Ok(left)
    }

    pub(super) fn times(&mut self, object: &Object<'_>, mtime: Time, atime: Time) -> Result<()> {
        let stamps = stamps(atime, mtime);
        let result = match object.fd {
            Some(fd) => rustix::fs::futimens(fd, &stamps),
            None => rustix::fs::utimensat(object.dir, object.name, &stamps, AtFlags::SYMLINK_NOFOLLOW),
        };
        result.map_err(|e| Error::io("set the time of", object.path, e))
    }

    fn record(&mut self, object: &Object<'_>, entry: &Entry) -> Result<()> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        let stat = match object.fd {
            Some(fd) => fs::stat_fd(fd),
            None => fs::stat(object.dir, object.name),
        };
        let stat = stat.map_err(|e| Error::io("read the attributes of", object.path, e))?;
        let kind = if entry.kind == Kind::Hardlink { fs::kind(&stat).unwrap_or(Kind::File) } else { entry.kind };
        let xattrs = entry.xattrs.iter().filter(|(name, _)| !fs::is_overlay_xattr(name));
        sink.record(
            fs::key(&stat),
            Attrs {
                kind,
                uid: entry.uid,
                gid: entry.gid,
                mode: entry.mode & 0o7777,
                rdev: entry.rdev,
                xattrs: xattrs.map(|(k, v)| (k.clone(), v.clone())).collect(),
            },
        );
        Ok(())
    }
}

/// What the umask (or a default ACL of the root) takes from the mode of new files, found by making one without a name.
fn masked_bits(root: BorrowedFd<'_>) -> u32 {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let probe = rustix::fs::openat(root, c".", flags, Mode::from_raw_mode(0o777));
    match probe.and_then(|fd| fs::stat_fd(fd.as_fd())) {
        Ok(stat) => !u32::from(stat.stx_mode) & 0o777,
        Err(_) => 0o7777,
    }
}

pub(super) fn stamps(atime: Time, mtime: Time) -> Timestamps {
    let spec = |t: Time| Timespec { tv_sec: t.secs, tv_nsec: t.nanos.into() };
    Timestamps { last_access: spec(atime), last_modification: spec(mtime) }
}
