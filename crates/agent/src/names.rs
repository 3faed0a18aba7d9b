//! Names: opening and creating files, directories, nodes, links; removing and renaming.
//!
//! What is made gets the permission bits that its real owner needs (rw for files, rwx for directories) whatever the
//! guest asked for; where the two differ, the table remembers what the guest asked for. The real umask is 0.

use core::ffi::CStr;
use core::sync::atomic::Ordering::Relaxed;

use crate::arch::nr;
use crate::guest;
use crate::paths::{self, at_parent, at_parents, locate};
use crate::perms;
use crate::stat::{key, view};
use crate::state::{creds, interruptible, table};
use crate::sys::{
    AT_EMPTY_PATH, AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW, Errno, Fd, O_ACCMODE, O_CLOEXEC,
    O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_PATH, O_RDONLY, O_TMPFILE_BIT, O_TRUNC, O_WRONLY, R, S_IFBLK, S_IFCHR,
    S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK, call, fstatx, openat, split_dev, statx,
};
use crate::text::{PathText, fd_path};

const S_ISGID: u32 = 0o2000;

/// Remembers what is special about a file that was just made: its owner, bits that it cannot have for real, the group
/// of a set-group-ID directory.
fn made(fd: i32, wanted: u32, parent_gid: Option<u32>) -> R<()> {
    let creds = creds();
    let (uid, gid) = (creds.uid[3], parent_gid.unwrap_or(creds.gid[3]));
    let stat = fstatx(fd)?;
    let key = key(&stat);
    table().forget(key);
    if uid != 0 || gid != 0 {
        table().set_owner(key, Some((uid, gid)));
    }
    let real = u32::from(stat.mode) & 0o7777;
    if stat.kind() != S_IFLNK && (wanted != real || (wanted & 0o6000 != 0 && stat.kind() != S_IFDIR)) {
        table().set_mode(key, Some((stat.kind() | wanted, (0, 0))));
    }
    Ok(())
}

/// Whether files made by this process need nothing remembered for their owner.
#[inline]
fn is_plain() -> bool {
    let creds = creds();
    creds.uid[3] == 0 && creds.gid[3] == 0
}

/// The group that new files in a directory get, where its set-group-ID bit says so.
fn inherited_gid(dir: i32) -> Option<u32> {
    let mut stat = if dir == AT_FDCWD { statx(AT_FDCWD, c".", 0) } else { fstatx(dir) }.ok()?;
    // The bit may stand in the table alone.
    view(&mut stat);
    (u32::from(stat.mode) & S_ISGID != 0).then_some(stat.gid)
}

/// The group that a file inherits from its directory, by the file itself.
fn gid_where_it_lies(fd: i32) -> Option<u32> {
    if table().header().setgid_dirs.load(Relaxed) == 0 {
        return None;
    }
    let mut path = PathText::new();
    paths::host_path(fd, &mut path).ok()?;
    path.pop_name();
    let dir = Fd::owned(openat(AT_FDCWD, path.c(), O_PATH | O_DIRECTORY | O_CLOEXEC, 0).ok()?);
    inherited_gid(dir.get())
}

fn check_open(dir: i32, path: &CStr, flags: u32) -> R<()> {
    perms::search(dir, path)?;
    if flags & O_PATH != 0 {
        return Ok(());
    }
    let want = match flags & O_ACCMODE {
        O_RDONLY => 4,
        O_WRONLY => 2,
        _ => 6,
    } | if flags & O_TRUNC != 0 { 2 } else { 0 };
    match locate(dir, path, flags & O_NOFOLLOW != 0) {
        Ok((fd, mut stat)) => {
            perms::view_of(fd.get(), &mut stat);
            let want = if flags & O_TMPFILE_BIT != 0 { 3 } else { want };
            perms::need(&stat, want)
        }
        Err(Errno::ENOENT) if flags & O_CREAT != 0 => {
            at_parent(dir, path, |dir, _| perms::change(dir).map(|()| 0)).map(|_| ())
        }
        Err(errno) => Err(errno),
    }
}

/// open, creat, openat.
pub fn sys_open(dir: i32, path: usize, flags: u32, mode: u32, mask: u64) -> R {
    let mut text = PathText::new();
    guest::path(path, &mut text)?;
    open(dir, text.c(), flags, mode, mask)
}

/// Refuses a device node that only the table knows, as a file system without devices does: behind it is an empty file.
fn no_device(fd: usize) -> R {
    if table().header().devices.load(Relaxed) != 0
        && let Ok(stat) = fstatx(fd as i32)
        && table().get(key(&stat)).mode.is_some_and(|(mode, _)| matches!(mode & S_IFMT, S_IFCHR | S_IFBLK))
    {
        crate::sys::close(fd as i32);
        return Err(Errno::EACCES);
    }
    Ok(fd)
}

/// Opens a file, or makes one of which nothing has to be remembered, without room for a path; `None` where it takes more.
#[inline]
pub fn quick_open(dir: i32, path: usize, flags: u32, mode: u32) -> Option<R> {
    if flags & (O_TMPFILE_BIT | O_PATH) != 0 || !perms::is_superuser() || table().header().fifos.load(Relaxed) != 0 {
        return None;
    }
    let mode = if flags & O_CREAT == 0 { 0 } else { mode & 0o7777 & !creds().umask };
    if flags & O_CREAT != 0
        && (mode & 0o6600 != 0o600 || !is_plain() || table().header().setgid_dirs.load(Relaxed) != 0)
    {
        return None;
    }
    let path = guest::c_string(path, 4096)?;
    let bytes = path.to_bytes();
    if bytes.is_empty() || bytes.ends_with(b"status") || paths::needs_care() || paths::mount_of(bytes).is_some() {
        return None;
    }
    match paths::open_fast(dir, path, flags, mode) {
        Err(errno) if paths::wants_walk(errno) => None,
        other => Some(other.and_then(no_device)),
    }
}

/// Opens as the guest asks.
pub fn open(dir: i32, path: &CStr, flags: u32, mode: u32, mask: u64) -> R {
    if !perms::is_superuser() {
        check_open(dir, path, flags)?;
    }
    let creates = flags & O_CREAT != 0 || flags & O_TMPFILE_BIT != 0;
    if !creates || flags & O_PATH != 0 {
        if flags & O_PATH != 0 {
            return open_path_for_guest(dir, path, flags);
        }
        let fd = if table().header().fifos.load(Relaxed) != 0 {
            interruptible(mask, || paths::open(dir, path, flags, 0))
        } else {
            paths::open(dir, path, flags, 0)
        };
        let fd = fd.and_then(no_device)?;
        return crate::proc::as_the_guest_sees(path, fd, flags);
    }
    let wanted = mode & 0o7777 & !creds().umask;
    let real = wanted | 0o600;
    let setgid = table().header().setgid_dirs.load(Relaxed) != 0;
    if wanted == real && wanted & 0o6000 == 0 && is_plain() && !setgid {
        return paths::open(dir, path, flags, real).and_then(no_device);
    }
    let parent_gid = || {
        let mut gid = None;
        if setgid {
            let _ = at_parent(dir, path, |dir, _| {
                gid = inherited_gid(dir);
                Ok(0)
            });
        }
        gid
    };
    if flags & O_TMPFILE_BIT != 0 {
        let fd = paths::open(dir, path, flags, real)?;
        made(fd as i32, wanted, None)?;
        return Ok(fd);
    }
    for _ in 0..16 {
        match paths::open(dir, path, flags | O_EXCL, real) {
            Ok(fd) => {
                made(fd as i32, wanted, parent_gid())?;
                return Ok(fd);
            }
            Err(Errno::EEXIST) if flags & O_EXCL == 0 => {}
            Err(errno) => return Err(errno),
        }
        match paths::open(dir, path, flags & !O_CREAT, 0) {
            // Nothing there, or what is wrong there is called otherwise for who would make a file.
            Err(_) => {}
            Ok(fd) if flags & O_ACCMODE == O_RDONLY && fstatx(fd as i32)?.kind() == S_IFDIR => {
                crate::sys::close(fd as i32);
                return Err(Errno::EISDIR);
            }
            other => return other.and_then(no_device),
        }
        // A symlink to nothing: the file is made where it points to.
        match paths::open(dir, path, flags, real) {
            Ok(fd) => {
                made(fd as i32, wanted, gid_where_it_lies(fd as i32))?;
                return Ok(fd);
            }
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::ENOENT)
}

fn open_path_for_guest(dir: i32, path: &CStr, flags: u32) -> R {
    let (fd, stat) = locate(dir, path, flags & O_NOFOLLOW != 0)?;
    if flags & O_DIRECTORY != 0 && stat.kind() != S_IFDIR {
        return Err(Errno::ENOTDIR);
    }
    let fd = fd.into_raw();
    if flags & O_CLOEXEC == 0 {
        // SAFETY: no pointers.
        unsafe {
            call!(nr::FCNTL, fd, 2 /* F_SETFD */, 0)
        }?;
    }
    Ok(fd)
}

/// openat2.
pub fn sys_openat2(dir: i32, path: usize, how: usize, size: usize, mask: u64) -> R {
    if size < size_of::<crate::sys::OpenHow>() {
        return Err(Errno::EINVAL);
    }
    let how: crate::sys::OpenHow = guest::read(how)?;
    if how.flags >> 32 != 0 {
        return Err(Errno::EINVAL);
    }
    let mut text = PathText::new();
    guest::path(path, &mut text)?;
    let confined = how.resolve & (crate::sys::RESOLVE_BENEATH | crate::sys::RESOLVE_IN_ROOT) != 0;
    if how.resolve == 0 {
        return open(dir, text.c(), how.flags as u32, how.mode as u32, mask);
    }
    let mut how = how;
    let wanted = how.mode as u32 & 0o7777 & !creds().umask;
    if how.flags as u32 & (O_CREAT | O_TMPFILE_BIT) != 0 {
        how.mode = u64::from(wanted | 0o600);
    }
    if !confined && text.bytes().first() == Some(&b'/') {
        // Only RESOLVE_NO_*: seen from the tree, nothing can lead out of it but through a door.
        if how.resolve & !(crate::sys::RESOLVE_NO_SYMLINKS | 2 | 1 | 32) != 0 {
            return Err(Errno::EINVAL);
        }
        return match crate::sys::openat2(
            crate::state::fd_guest_root(),
            text.c(),
            how.flags as u32,
            how.mode as u32,
            how.resolve | crate::sys::RESOLVE_IN_ROOT,
        ) {
            Err(Errno::EACCES) => open(dir, text.c(), how.flags as u32, how.mode as u32, mask),
            other => other,
        };
    }
    let extra = if confined { 0 } else { crate::sys::RESOLVE_BENEATH };
    let how = crate::sys::OpenHow { resolve: how.resolve | extra, ..how };
    // SAFETY: path and structure are ours.
    unsafe { call!(nr::OPENAT2, dir, text.c().as_ptr(), &raw const how, size_of_val(&how)) }
}

/// mkdir, mkdirat.
pub fn sys_mkdir(dir: i32, path: usize, mode: u32) -> R {
    let mut text = PathText::new();
    guest::path(path, &mut text)?;
    let wanted = mode & 0o1777 & !creds().umask;
    let real = wanted | 0o700;
    if !perms::is_superuser() {
        perms::search(dir, text.c())?;
    }
    let setgid = table().header().setgid_dirs.load(Relaxed) != 0;
    at_parent(dir, text.c(), |dir, name| {
        if !perms::is_superuser() {
            perms::create(dir, name)?;
        }
        // SAFETY: the name ends with NUL.
        unsafe { call!(nr::MKDIRAT, dir, name.as_ptr(), real) }?;
        if wanted != real || !is_plain() || setgid {
            let gid = inherited_gid(dir);
            let bit = if gid.is_some() { S_ISGID } else { 0 };
            if let Ok(fd) = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0) {
                let fd = Fd::owned(fd);
                made(fd.get(), wanted | bit, gid)?;
            }
        }
        Ok(0)
    })
    .map_err(exists)
}

/// A mount in the way of a new name is a file that exists.
fn exists(errno: Errno) -> Errno {
    if errno == Errno::EBUSY { Errno::EEXIST } else { errno }
}

/// mknod, mknodat: devices become empty files that the table remembers.
pub fn sys_mknod(dir: i32, path: usize, mode: u32, dev: u64) -> R {
    let mut text = PathText::new();
    guest::path(path, &mut text)?;
    let kind = if mode & S_IFMT == 0 { S_IFREG } else { mode & S_IFMT };
    let wanted = mode & 0o7777 & !creds().umask;
    let real = wanted | 0o600;
    let device = matches!(kind, S_IFCHR | S_IFBLK);
    if device && !perms::capable(27) {
        return Err(Errno::EPERM);
    }
    if !device && !matches!(kind, S_IFREG | S_IFIFO | S_IFSOCK) {
        return Err(if kind == S_IFDIR { Errno::EPERM } else { Errno::EINVAL });
    }
    if kind == S_IFIFO {
        table().header().fifos.fetch_add(1, Relaxed);
    }
    at_parent(dir, text.c(), |dir, name| {
        if !perms::is_superuser() {
            perms::create(dir, name)?;
        }
        let node = if device { S_IFREG } else { kind };
        // SAFETY: the name ends with NUL.
        unsafe { call!(nr::MKNODAT, dir, name.as_ptr(), node | real, 0) }?;
        let fd = Fd::owned(openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0)?);
        made(fd.get(), wanted, inherited_gid(dir))?;
        if device {
            table().header().devices.store(1, Relaxed);
            let stat = fstatx(fd.get())?;
            table().set_mode(key(&stat), Some((kind | wanted, split_dev(dev))));
        }
        Ok(0)
    })
    .map_err(exists)
}

/// unlink, rmdir, unlinkat.
pub fn sys_unlink(dir: i32, path: usize, flags: u32) -> R {
    let mut text = PathText::new();
    guest::path(path, &mut text)?;
    if flags & !AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL);
    }
    if !perms::is_superuser() {
        perms::search(dir, text.c())?;
    }
    let path = text.c();
    let (_, last, _) = crate::text::split_last(path.to_bytes());
    let special = match last {
        b"." if flags != 0 => Some(Errno::EINVAL),
        b".." if flags != 0 => Some(Errno::ENOTEMPTY),
        b"" if !path.is_empty() => return Err(if flags != 0 { Errno::EBUSY } else { Errno::EISDIR }),
        b"." | b".." => Some(Errno::EISDIR),
        _ => None,
    };
    if let Some(errno) = special {
        // What stands before the last name is looked at first.
        let (head, ..) = crate::text::split_last(path.to_bytes());
        if !head.is_empty() {
            let mut parent = PathText::new();
            parent.push(head)?;
            let flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
            drop(Fd::owned(paths::open(dir, parent.c(), flags, 0)?));
        }
        return Err(errno);
    }
    at_parent(dir, path, |dir, name| {
        paths::no_door(dir, name)?;
        if !perms::is_superuser() {
            perms::remove(dir, name)?;
        }
        // SAFETY: the name ends with NUL.
        unsafe { call!(nr::UNLINKAT, dir, name.as_ptr(), flags) }
    })
}

/// symlink, symlinkat.
pub fn sys_symlink(target: usize, dir: i32, path: usize) -> R {
    let mut text = PathText::new();
    guest::path(path, &mut text)?;
    let mut to = PathText::new();
    guest::path(target, &mut to)?;
    if to.is_empty() {
        return Err(Errno::ENOENT);
    }
    let setgid = table().header().setgid_dirs.load(Relaxed) != 0;
    at_parent(dir, text.c(), |dir, name| {
        if !perms::is_superuser() {
            perms::create(dir, name)?;
        }
        // SAFETY: both strings end with NUL.
        unsafe { call!(nr::SYMLINKAT, to.c().as_ptr(), dir, name.as_ptr()) }?;
        if (!is_plain() || setgid)
            && let Ok(fd) = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0)
        {
            made(Fd::owned(fd).get(), 0, if setgid { inherited_gid(dir) } else { None })?;
        }
        Ok(0)
    })
    .map_err(exists)
}

/// rename, renameat, renameat2.
pub fn sys_rename(old_dir: i32, old: usize, new_dir: i32, new: usize, flags: u32) -> R {
    let mut from = PathText::new();
    let mut to = PathText::new();
    guest::path(old, &mut from)?;
    guest::path(new, &mut to)?;
    let whiteout = flags & 4 != 0;
    if whiteout && !perms::capable(27) {
        return Err(Errno::EPERM);
    }
    at_parents((old_dir, from.c()), (new_dir, to.c()), |d1, n1, d2, n2| {
        paths::no_door(d1, n1)?;
        paths::no_door(d2, n2)?;
        if !perms::is_superuser() {
            perms::remove(d1, n1)?;
            if statx(d2, n2, AT_SYMLINK_NOFOLLOW).is_ok() { perms::remove(d2, n2) } else { perms::change(d2) }?;
        }
        // SAFETY: both names end with NUL.
        unsafe {
            if flags == 0 {
                call!(nr::RENAMEAT, d1, n1.as_ptr(), d2, n2.as_ptr())
            } else {
                call!(nr::RENAMEAT2, d1, n1.as_ptr(), d2, n2.as_ptr(), flags & !4)?;
                if whiteout {
                    call!(nr::MKNODAT, d1, n1.as_ptr(), S_IFREG | 0o600, 0)?;
                    let fd = Fd::owned(openat(d1, n1, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0)?);
                    table().header().devices.store(1, Relaxed);
                    table().set_mode(key(&fstatx(fd.get())?), Some((S_IFCHR, (0, 0))));
                }
                Ok(0)
            }
        }
    })
}

/// link, linkat.
pub fn sys_link(old_dir: i32, old: usize, new_dir: i32, new: usize, flags: u32) -> R {
    let mut from = PathText::new();
    let mut to = PathText::new();
    guest::path(old, &mut from)?;
    guest::path(new, &mut to)?;
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let (fd, source_stat) =
        paths::locate_or_fd(old_dir, from.c(), flags & AT_SYMLINK_FOLLOW == 0, flags & AT_EMPTY_PATH != 0).or_else(
            |errno| {
                // An O_TMPFILE is linked by its magic link; it has no path to be found by.
                if flags & AT_SYMLINK_FOLLOW != 0 { magic_source(old_dir, from.c()) } else { Err(errno) }
            },
        )?;
    let source = fd_path(fd.get());
    at_parent(new_dir, to.c(), |dir, name| {
        if !perms::is_superuser() {
            perms::create(dir, name)?;
        }
        // SAFETY: both strings end with NUL.
        match unsafe { call!(nr::LINKAT, AT_FDCWD, source.c().as_ptr(), dir, name.as_ptr(), AT_SYMLINK_FOLLOW) } {
            // All of the tree is one mount for the guest.
            Err(Errno::EXDEV) if source_stat.kind() == S_IFDIR => Err(Errno::EPERM),
            other => other,
        }
    })
    .map_err(exists)
}

fn magic_source(dir: i32, path: &CStr) -> R<(Fd, crate::sys::Statx)> {
    let fd = Fd::owned(crate::walk::open(dir, path, O_PATH | O_CLOEXEC, 0)?);
    let stat = fstatx(fd.get())?;
    Ok((fd, stat))
}

/// truncate.
pub fn sys_truncate(path: usize, len: usize) -> R {
    let mut text = PathText::new();
    guest::path(path, &mut text)?;
    if !perms::is_superuser() {
        check_open(AT_FDCWD, text.c(), O_WRONLY)?;
    }
    // By its magic link: a named pipe, opened for writing, would wait for a reader.
    let (fd, _) = locate(AT_FDCWD, text.c(), false)?;
    crate::stat::paths_writable(fd.get())?;
    let link = fd_path(fd.get());
    // SAFETY: the path is ours.
    unsafe { call!(nr::TRUNCATE, link.c().as_ptr(), len) }
}

/// umask.
pub fn sys_umask(mask: u32) -> R {
    let creds = crate::state::creds_mut();
    let old = creds.umask;
    creds.umask = mask & 0o777;
    Ok(old as usize)
}

/// inotify_add_watch.
pub fn sys_inotify(fd: i32, path: usize, mask: u32) -> R {
    const IN_DONT_FOLLOW: u32 = 0x0200_0000;
    let mut text = PathText::new();
    guest::path(path, &mut text)?;
    let (target, _) = locate(AT_FDCWD, text.c(), mask & IN_DONT_FOLLOW != 0)?;
    let name = fd_path(target.get());
    // SAFETY: the path ends with NUL.
    unsafe { call!(nr::INOTIFY_ADD_WATCH, fd, name.c().as_ptr(), mask & !IN_DONT_FOLLOW) }
}
