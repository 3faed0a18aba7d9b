//! Permission bits as the kernel would check them, for guests that are not the superuser of their step.
//!
//! For real every file of the tree belongs to the one user and is open to it. So these checks stand in for the
//! kernel's where a step runs as `USER app` or a script uses `su`. They fence mistakes, not attacks: the boundary is
//! Landlock.

use core::ffi::CStr;

use crate::paths::{self, host_path};
use crate::stat::view;
use crate::state::{config, creds, fd_guest_root};
use crate::sys::{AT_FDCWD, Errno, Fd, O_CLOEXEC, O_PATH, R, S_IFDIR, Statx, fstatx, openat, statx};
use crate::text::{PathText, split_last};

const CAP_DAC_OVERRIDE: u64 = 1 << 1;

/// Whether no check is needed.
#[inline]
pub fn is_superuser() -> bool {
    creds().caps[0] & CAP_DAC_OVERRIDE != 0
}

/// Whether a capability is in the effective set.
pub fn capable(bit: u32) -> bool {
    creds().caps[0] & (1 << bit) != 0
}

/// Whether an identity may do `want` (r 4, w 2, x 1) to a file as the guest sees it.
pub fn allowed(stat: &Statx, uid: u32, gid: u32, caps: u64, want: u32) -> bool {
    let mode = u32::from(stat.mode);
    if caps & CAP_DAC_OVERRIDE != 0 {
        return want & 1 == 0 || stat.kind() == S_IFDIR || mode & 0o111 != 0;
    }
    let creds = creds();
    let groups = &creds.groups[..creds.group_count as usize];
    let bits = if stat.uid == uid {
        mode >> 6
    } else if stat.gid == gid || groups.contains(&stat.gid) {
        mode >> 3
    } else {
        mode
    };
    want & !bits & 7 == 0
}

/// Fails with `EACCES` unless this process may do `want`.
pub fn need(stat: &Statx, want: u32) -> R<()> {
    let creds = creds();
    if allowed(stat, creds.uid[3], creds.gid[3], creds.caps[0], want) { Ok(()) } else { Err(Errno::EACCES) }
}

/// What an open file is for a check, as [`view`] says it, and more for what lies in no tree: a process of this user owns
/// its files in /proc, and a pipe without a name is for those that find it.
pub fn view_of(fd: i32, stat: &mut Statx) {
    let own = stat.uid == config().real_uid;
    view(stat);
    let mut path = PathText::new();
    if !own || stat.dev_major != 0 || host_path(fd, &mut path).is_err() {
        return;
    }
    if path.bytes().first() != Some(&b'/') {
        stat.uid = creds().uid[3];
    } else if let Some(owner) = crate::proc::owner_within(path.bytes()) {
        stat.uid = owner.uid[1];
        stat.gid = owner.gid[1];
    }
}

/// As [`view_of`], of a directory by its path.
fn view_at(dir: i32, path: &CStr, stat: &mut Statx) {
    if stat.dev_major != 0 || stat.uid != config().real_uid {
        view(stat);
        return;
    }
    match openat(dir, path, O_PATH | O_CLOEXEC, 0) {
        Ok(fd) => view_of(Fd::owned(fd).get(), stat),
        Err(_) => {
            view(stat);
        }
    }
}

/// Checks the search permission on the directories that a path leads through.
pub fn search(dir: i32, path: &CStr) -> R<()> {
    let bytes = path.to_bytes();
    if bytes.is_empty() {
        return Ok(());
    }
    let (head, ..) = split_last(bytes);
    let absolute = bytes[0] == b'/';
    let from = if head.is_empty() {
        return match statx(dir, c"", crate::sys::AT_EMPTY_PATH) {
            Ok(mut stat) if stat.kind() == S_IFDIR => {
                view_at(dir, c".", &mut stat);
                need(&stat, 1)
            }
            _ => Ok(()),
        };
    } else {
        let mut parent = PathText::new();
        parent.push(head)?;
        paths::open_path(dir, parent.c(), false)?
    };
    let stop = if absolute {
        fstatx(fd_guest_root())?
    } else if dir == AT_FDCWD {
        statx(AT_FDCWD, c".", 0)?
    } else {
        fstatx(dir)?
    };
    // What lies above a mounted directory for real is the builder's: from there it goes on above the mount's target.
    let mut from = from;
    for _ in 0..16 {
        let mut up = PathText::new();
        // A path too long to be said lies deep in the tree.
        let said = paths::guest_path(from.get(), &mut up).unwrap_or(false);
        let mount = if said { paths::mount_of(up.bytes()).map(|(_, mount)| config().text(mount.target)) } else { None };
        let inside =
            mount.map_or(64, |target| up.bytes()[target.len()..].iter().filter(|byte| **byte == b'/').count() + 1);
        if climb(from.get(), inside, &stop)? {
            return Ok(());
        }
        let Some(target) = mount else { return Ok(()) };
        up.clear();
        up.push(split_last(target).0)?;
        // A mount that holds the guest's root: what is above it is not the guest's.
        if !paths::below_root(&mut up) {
            return Ok(());
        }
        from = paths::open_path(fd_guest_root(), up.c(), false)?;
    }
    Ok(())
}

/// Checks the search permission on a directory and those above it, `levels` in all. True where it met `stop` or the end.
fn climb(from: i32, levels: usize, stop: &Statx) -> R<bool> {
    let mut up = PathText::new();
    up.push(b".")?;
    let mut previous = 0;
    for _ in 0..levels {
        let mut stat = statx(from, up.c(), 0)?;
        let ino = stat.ino;
        let arrived = ino == stop.ino && stat.dev() == stop.dev();
        view_at(from, up.c(), &mut stat);
        need(&stat, 1)?;
        if arrived || ino == previous {
            return Ok(true);
        }
        previous = ino;
        up.push(b"/..")?;
    }
    Ok(false)
}

/// Checks that a name may be made in a directory. One that is there already is said to be there first, as the kernel
/// does.
pub fn create(dir: i32, name: &CStr) -> R<()> {
    if statx(dir, name, crate::sys::AT_SYMLINK_NOFOLLOW).is_ok() {
        return Err(Errno::EEXIST);
    }
    change(dir)
}

/// Checks that names in a directory may be changed.
pub fn change(dir: i32) -> R<()> {
    let mut stat = if dir == AT_FDCWD { statx(AT_FDCWD, c".", 0)? } else { fstatx(dir)? };
    view(&mut stat);
    need(&stat, 3)
}

/// Checks that a name may be removed or replaced: the directory's sticky bit.
pub fn remove(dir: i32, name: &CStr) -> R<()> {
    let mut stat = if dir == AT_FDCWD { statx(AT_FDCWD, c".", 0)? } else { fstatx(dir)? };
    view(&mut stat);
    need(&stat, 3)?;
    let me = creds().uid[3];
    if u32::from(stat.mode) & 0o1000 != 0 && stat.uid != me {
        let mut file = statx(dir, name, crate::sys::AT_SYMLINK_NOFOLLOW)?;
        view(&mut file);
        if file.uid != me {
            return Err(Errno::EPERM);
        }
    }
    Ok(())
}
