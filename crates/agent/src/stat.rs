//! What the guest sees of files: stat in all its forms, access, readlink, getcwd, statfs.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use crate::arch::{Stat, nr};
use crate::exec;
use crate::guest;
use crate::paths::{self, host_path, is_door, locate, to_guest};
use crate::perms;
use crate::protocol::DEFAULT_CAPS;
use crate::state::{config, creds, is_chrooted, is_hidden, table};
use crate::sys::{
    AT_EACCESS, AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, Errno, Fd, O_CLOEXEC, O_NOFOLLOW, O_PATH, R, S_IFBLK,
    S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT, Statx, call, makedev, readlinkat, statx, statx_mask,
};
use crate::table::{Facts, Key};
use crate::text::{PathText, number, split_last};
use crate::walk;

/// The table's key of a file.
#[inline]
pub fn key(stat: &Statx) -> Key {
    Key { ino: stat.ino, sec: stat.btime.sec, nsec: stat.btime.nsec }
}

/// Turns what the file system says into what the guest believes.
#[inline]
pub fn view(stat: &mut Statx) -> Facts {
    let facts = table().get(key(stat));
    let config = config();
    if stat.uid == config.real_uid {
        stat.uid = 0;
    }
    if stat.gid == config.real_gid {
        stat.gid = 0;
    }
    if let Some((uid, gid)) = facts.owner {
        stat.uid = uid;
        stat.gid = gid;
    }
    if let Some((mode, (major, minor))) = facts.mode {
        stat.mode = mode as u16;
        if matches!(mode & S_IFMT, S_IFCHR | S_IFBLK) {
            stat.rdev_major = major;
            stat.rdev_minor = minor;
        }
    }
    facts
}

/// What a path is, as the file system says.
pub fn stat_real(dir: i32, path: &CStr, flags: u32, mask: u32) -> R<Statx> {
    let nofollow = flags & AT_SYMLINK_NOFOLLOW != 0;
    let bytes = path.to_bytes();
    if bytes.is_empty() {
        if flags & AT_EMPTY_PATH == 0 {
            return Err(Errno::ENOENT);
        }
        if is_hidden(dir) {
            return Err(Errno::EBADF);
        }
        return statx_mask(dir, path, flags, mask);
    }
    if !bytes.contains(&b'/') && bytes != b".." {
        let stat = statx_mask(dir, path, flags | AT_SYMLINK_NOFOLLOW, mask)?;
        if (nofollow || stat.kind() != S_IFLNK) && !is_door(stat.ino) {
            return Ok(stat);
        }
    }
    Ok(locate(dir, path, nofollow)?.1)
}

/// What a path is, as the guest believes.
#[inline]
pub fn stat(dir: i32, path: &CStr, flags: u32) -> R<Statx> {
    stat_mask(dir, path, flags, 0)
}

#[inline]
fn stat_mask(dir: i32, path: &CStr, flags: u32, mask: u32) -> R<Statx> {
    if !perms::is_superuser() {
        perms::search(dir, path)?;
    }
    let mut stat = stat_real(dir, path, flags, mask)?;
    let own = stat.uid == config().real_uid;
    view(&mut stat);
    if own && let Some(creds) = crate::proc::owner(path.to_bytes(), flags & AT_SYMLINK_NOFOLLOW == 0) {
        stat.uid = creds.uid[1];
        stat.gid = creds.gid[1];
    }
    Ok(stat)
}

fn to_stat(from: &Statx) -> Stat {
    Stat {
        dev: from.dev(),
        ino: from.ino,
        nlink: from.nlink.into(),
        mode: from.mode.into(),
        uid: from.uid,
        gid: from.gid,
        rdev: makedev(from.rdev_major, from.rdev_minor),
        size: from.size as i64,
        blksize: from.blksize.into(),
        blocks: from.blocks as i64,
        atime: [from.atime.sec, from.atime.nsec.into()],
        mtime: [from.mtime.sec, from.mtime.nsec.into()],
        ctime: [from.ctime.sec, from.ctime.nsec.into()],
        ..Stat::default()
    }
}

/// Reads an optional path: a null pointer is the empty path where `AT_EMPTY_PATH` is given.
fn path_or_empty(address: usize, flags: u32, out: &mut PathText) -> R<()> {
    if address == 0 && flags & AT_EMPTY_PATH != 0 { Ok(()) } else { guest::path(address, out) }
}

/// stat, lstat, fstat, newfstatat.
pub fn sys_stat(dir: i32, path: usize, out: usize, flags: u32) -> R {
    let mut text = PathText::new();
    path_or_empty(path, flags, &mut text)?;
    let stat = stat(dir, text.c(), flags)?;
    guest::write(out, to_stat(&stat))?;
    Ok(0)
}

/// The guest's path where it lies, for calls that need no copy of it: none that is empty or begins with a mount's.
#[inline]
fn path_in_place<'a>(address: usize) -> Option<&'a CStr> {
    let path = guest::c_string(address, 4096)?;
    (!path.is_empty() && !paths::needs_care() && paths::mount_of(path.to_bytes()).is_none()).then_some(path)
}

/// A file of the tree, by the fast way alone.
#[inline]
fn locate_fast(dir: i32, path: &CStr, nofollow: bool) -> Option<R<(Fd, Statx)>> {
    let flags = O_PATH | O_CLOEXEC | if nofollow { O_NOFOLLOW } else { 0 };
    match paths::open_fast(dir, path, flags, 0) {
        Err(errno) if paths::wants_walk(errno) => None,
        Err(errno) => Some(Err(errno)),
        Ok(fd) => {
            let fd = Fd::owned(fd);
            match crate::sys::fstatx(fd.get()) {
                Ok(stat) if is_door(stat.ino) => None,
                Ok(stat) => Some(Ok((fd, stat))),
                Err(errno) => Some(Err(errno)),
            }
        }
    }
}

const AT_NO_AUTOMOUNT: u32 = 0x800;

fn tell(found: R<Statx>, out: usize) -> R {
    let mut stat = found?;
    view(&mut stat);
    guest::write(out, to_stat(&stat))?;
    Ok(0)
}

/// stat of an open file or of a name in a directory, without room for a path; `None` where it takes more.
#[inline]
pub fn quick_stat(dir: i32, path: usize, out: usize, flags: u32) -> Option<R> {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT) != 0 || !perms::is_superuser() {
        return None;
    }
    let path = guest::c_string(path, 256)?;
    let bytes = path.to_bytes();
    if bytes.is_empty() {
        return (flags & AT_EMPTY_PATH != 0 && dir != AT_FDCWD).then(|| sys_fstat(dir, out));
    }
    if bytes.contains(&b'/') || bytes == b".." {
        return None;
    }
    let found = statx(dir, path, flags | AT_SYMLINK_NOFOLLOW);
    if let Ok(stat) = &found
        && ((flags & AT_SYMLINK_NOFOLLOW == 0 && stat.kind() == S_IFLNK) || is_door(stat.ino))
    {
        return None;
    }
    Some(tell(found, out))
}

/// stat of a path in the tree; `None` where it takes more than one look.
pub fn light_stat(dir: i32, path: usize, out: usize, flags: u32) -> Option<R> {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) != 0 || !perms::is_superuser() {
        return None;
    }
    let found = locate_fast(dir, path_in_place(path)?, flags & AT_SYMLINK_NOFOLLOW != 0)?;
    Some(tell(found.map(|(_, stat)| stat), out))
}

/// access of a superuser, in the tree.
pub fn light_access(dir: i32, path: usize, mode: u32) -> Option<R> {
    let creds = creds();
    let read_only = config().flags & crate::protocol::FLAG_READ_ONLY != 0;
    if mode & !7 != 0 || !perms::is_superuser() || creds.uid[0] != 0 || (mode & 2 != 0 && read_only) {
        return None;
    }
    let found = locate_fast(dir, path_in_place(path)?, false)?;
    Some(found.and_then(|(_, mut stat)| {
        view(&mut stat);
        if perms::allowed(&stat, 0, creds.gid[0], DEFAULT_CAPS, mode) { Ok(0) } else { Err(Errno::EACCES) }
    }))
}

/// readlink in the tree.
pub fn light_readlink(dir: i32, path: usize, out: usize, size: usize) -> Option<R> {
    if size as i32 <= 0 || guest::check(out, size).is_err() || !perms::is_superuser() {
        return None;
    }
    let path = path_in_place(path)?;
    if path.to_bytes()[0] != b'/' {
        return None;
    }
    match paths::open_fast(dir, path, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0) {
        Err(errno) if paths::wants_walk(errno) => None,
        Err(errno) => Some(Err(errno)),
        Ok(fd) => {
            let fd = Fd::owned(fd);
            // SAFETY: the kernel checks the guest's buffer.
            let result = unsafe { call!(nr::READLINKAT, fd.get(), c"".as_ptr(), out, size) };
            Some(result.map_err(|errno| if errno == Errno::ENOENT { Errno::EINVAL } else { errno }))
        }
    }
}

/// fstat.
pub fn sys_fstat(fd: i32, out: usize) -> R {
    if is_hidden(fd) {
        return Err(Errno::EBADF);
    }
    let mut stat = crate::sys::fstatx(fd)?;
    view(&mut stat);
    guest::write(out, to_stat(&stat))?;
    Ok(0)
}

/// statx.
pub fn sys_statx(dir: i32, path: usize, flags: u32, mask: u32, out: usize) -> R {
    let mut text = PathText::new();
    path_or_empty(path, flags, &mut text)?;
    if mask & 0x8000_0000 != 0 {
        return Err(Errno::EINVAL);
    }
    guest::write(out, stat_mask(dir, text.c(), flags, mask)?)?;
    Ok(0)
}

/// access, faccessat, faccessat2.
pub fn sys_access(dir: i32, path: usize, mode: u32, flags: u32) -> R {
    if mode & !7 != 0 || flags & !(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let mut text = PathText::new();
    path_or_empty(path, flags, &mut text)?;
    let stat = stat(dir, text.c(), flags & !AT_EACCESS)?;
    let which = if flags & AT_EACCESS != 0 { 3 } else { 0 };
    let creds = creds();
    let (uid, gid) = (creds.uid[which], creds.gid[which]);
    let all = if which == 3 {
        creds.caps[0]
    } else if uid == 0 {
        DEFAULT_CAPS
    } else {
        0
    };
    if mode & 2 != 0 && stat.kind() != S_IFCHR && config().flags & crate::protocol::FLAG_READ_ONLY != 0 {
        let (fd, _) = paths::locate_or_fd(dir, text.c(), flags & AT_SYMLINK_NOFOLLOW != 0, true)?;
        paths_writable(fd.get())?;
    }
    if perms::allowed(&stat, uid, gid, all, mode) {
        return Ok(0);
    }
    if stat.dev_major == 0 {
        let (fd, mut stat) = paths::locate_or_fd(dir, text.c(), flags & AT_SYMLINK_NOFOLLOW != 0, true)?;
        perms::view_of(fd.get(), &mut stat);
        if perms::allowed(&stat, uid, gid, all, mode) {
            return Ok(0);
        }
    }
    Err(Errno::EACCES)
}

/// Fails with `EROFS` for files of a read-only mount.
pub fn paths_writable(fd: i32) -> R<()> {
    let config = config();
    if config.flags & crate::protocol::FLAG_READ_ONLY == 0 {
        return Ok(());
    }
    let mut path = PathText::new();
    if host_path(fd, &mut path).is_ok()
        && to_guest(&mut path)
        && let Some((_, mount)) = paths::mount_of(path.bytes())
        && mount.flags & crate::protocol::MOUNT_READ_ONLY != 0
    {
        return Err(Errno::EROFS);
    }
    Ok(())
}

/// readlink, readlinkat.
pub fn sys_readlink(dir: i32, path: usize, out: usize, size: usize) -> R {
    if size as i32 <= 0 {
        return Err(Errno::EINVAL);
    }
    let mut text = PathText::new();
    guest::path(path, &mut text)?;
    let mut target = PathText::new();
    read_link(dir, text.c(), &mut target)?;
    let len = target.len().min(size);
    guest::write_bytes(out, &target.bytes()[..len])?;
    Ok(len)
}

fn read_link(dir: i32, path: &CStr, out: &mut PathText) -> R<()> {
    let bytes = path.to_bytes();
    if !perms::is_superuser() {
        perms::search(dir, path)?;
    }
    if bytes.first() == Some(&b'/') && !is_chrooted() && paths::mount_of(bytes).is_none() {
        // The common case of realpath(3): a name in the tree that is no link.
        match paths::open_fast(dir, path, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0) {
            Ok(fd) => {
                let fd = crate::sys::Fd::owned(fd);
                let len = readlinkat(fd.get(), c"", out.spare()).map_err(|errno| match errno {
                    Errno::ENOENT => Errno::EINVAL,
                    other => other,
                })?;
                out.filled(len);
                return Ok(());
            }
            Err(errno) if !paths::wants_walk(errno) => return Err(errno),
            Err(_) => {}
        }
    }
    let (_, last, _) = split_last(bytes);
    let special = last == b"exe" || last == b"cwd" || last == b"root" || number(last).is_some();
    if special {
        return magic_link(dir, path, out);
    }
    if bytes.is_empty() {
        let len = readlinkat(dir, path, out.spare())?;
        out.filled(len);
        return Ok(());
    }
    if !bytes.contains(&b'/') && bytes != b".." {
        let len = readlinkat(dir, path, out.spare())?;
        out.filled(len);
        return Ok(());
    }
    let (fd, _) = locate(dir, path, true)?;
    let len = readlinkat(fd.get(), c"", out.spare()).map_err(|errno| match errno {
        Errno::ENOENT => Errno::EINVAL,
        other => other,
    })?;
    out.filled(len);
    Ok(())
}

/// Links whose name is that of a magic link of /proc, which they may be.
fn magic_link(dir: i32, path: &CStr, out: &mut PathText) -> R<()> {
    let spot = walk::walk(dir, path, walk::Ending::Name)?;
    if spot.is_mount() {
        return Err(Errno::EINVAL);
    }
    let len = readlinkat(spot.dir.get(), spot.name.c(), out.spare())?;
    out.filled(len);
    let in_proc = spot.mount.is_some_and(|i| config().mounts()[i].flags & crate::protocol::MOUNT_PROC != 0);
    if !in_proc {
        return Ok(());
    }
    match spot.name.bytes() {
        b"exe" => {
            let mut exe = PathText::new();
            if exec::program_of_dir(spot.path.bytes(), &mut exe).is_ok() {
                out.clear();
                out.push(exe.bytes())?;
                paths::below_root(out);
            }
        }
        b"root" => {
            out.clear();
            let len = readlinkat(spot.dir.get(), walk::root_link()?.c(), out.spare())?;
            out.filled(len);
            to_guest(out);
            paths::below_root(out);
        }
        name => {
            if number(name).is_some_and(|n| is_hidden(n as i32)) {
                return Err(Errno::ENOENT);
            }
            if out.bytes().first() == Some(&b'/') {
                to_guest(out);
                paths::below_root(out);
            }
        }
    }
    Ok(())
}

/// getcwd.
pub fn sys_getcwd(out: usize, size: usize) -> R {
    let mut path = PathText::new();
    let inside = paths::guest_path(AT_FDCWD, &mut path)? && paths::below_root(&mut path);
    if !inside && path.bytes().first() == Some(&b'/') {
        let mut unreachable = PathText::new();
        unreachable.push(b"(unreachable)")?;
        unreachable.push(path.bytes())?;
        path = unreachable;
    }
    if path.len() + 1 > size {
        return Err(Errno::ERANGE);
    }
    guest::write_bytes(out, path.c().to_bytes_with_nul())?;
    Ok(path.len() + 1)
}

/// statfs.
pub fn sys_statfs(path: usize, out: usize) -> R {
    let mut text = PathText::new();
    guest::path(path, &mut text)?;
    let (fd, _) = locate(AT_FDCWD, text.c(), false)?;
    // SAFETY: the kernel checks the guest's pointer.
    unsafe { call!(nr::FSTATFS, fd.get(), out) }
}

/// chdir.
pub fn sys_chdir(path: usize) -> R {
    let mut text = PathText::new();
    guest::path(path, &mut text)?;
    let (fd, mut stat) = locate(AT_FDCWD, text.c(), false)?;
    if stat.kind() != S_IFDIR {
        return Err(Errno::ENOTDIR);
    }
    if !perms::is_superuser() {
        perms::search(AT_FDCWD, text.c())?;
        perms::view_of(fd.get(), &mut stat);
        perms::need(&stat, 1)?;
    }
    // SAFETY: no pointers.
    unsafe { call!(nr::FCHDIR, fd.get()) }
}

/// fchdir.
pub fn sys_fchdir(fd: i32) -> R {
    if is_hidden(fd) {
        return Err(Errno::EBADF);
    }
    // SAFETY: no pointers.
    unsafe { call!(nr::FCHDIR, fd) }
}

/// Hides what is not the guest's from a directory listing of /proc: our descriptors, and processes outside.
pub fn sys_getdents(fd: i32, buffer: usize, size: usize) -> R {
    // SAFETY: the kernel checks the guest's pointer.
    let len = unsafe { call!(nr::GETDENTS64, fd, buffer, size) }?;
    let mut from = 0;
    let mut to = 0;
    let mut in_fds = None;
    let mut in_proc = None;
    while from + 19 <= len {
        let record = buffer + from;
        let size = usize::from(guest::read::<u16>(record + 16)?);
        let kind: u8 = guest::read(record + 18)?;
        if size == 0 {
            break;
        }
        let first: u8 = guest::read(record + 19)?;
        let mut keep = true;
        if kind == 4 && first.is_ascii_digit() {
            let mut name = crate::text::Name::new();
            guest::string(record + 19, 256, &mut name)?;
            let listing_proc = *in_proc.get_or_insert_with(|| {
                let mut path = PathText::new();
                host_path(fd, &mut path).is_ok() && path.bytes() == b"/proc"
            });
            keep = !listing_proc || walk::may_name(fd, name.bytes());
        } else if kind == 10 && first.is_ascii_digit() {
            let mut name = crate::text::Name::new();
            guest::string(record + 19, 256, &mut name)?;
            if number(name.bytes()).is_some_and(|n| is_hidden(n as i32)) {
                let listing_fds = *in_fds.get_or_insert_with(|| {
                    let mut path = PathText::new();
                    host_path(fd, &mut path).is_ok() && path.bytes().ends_with(b"/fd")
                });
                keep = !listing_fds;
            }
        }
        if keep {
            if to != from {
                // SAFETY: both ranges lie in the buffer that the kernel has just filled.
                unsafe { core::ptr::copy((buffer + from) as *const u8, (buffer + to) as *mut u8, size) };
            }
            to += size;
        }
        from += size;
    }
    if to == 0 && len > 0 {
        return sys_getdents(fd, buffer, size);
    }
    Ok(to)
}

/// uname with the step's host name.
pub fn sys_uname(out: usize) -> R {
    let mut names = MaybeUninit::<[[u8; 65]; 6]>::uninit();
    // SAFETY: the structure is six fields of 65 bytes, which the kernel fills.
    let mut names = unsafe {
        call!(nr::UNAME, names.as_mut_ptr())?;
        names.assume_init()
    };
    let hostname = config().text(config().hostname);
    if !hostname.is_empty() && hostname.len() < 65 {
        names[1] = [0; 65];
        for (to, from) in names[1].iter_mut().zip(hostname) {
            *to = *from;
        }
    }
    guest::write(out, names)?;
    Ok(0)
}

/// name_to_handle_at needs nothing; the handle could be opened by a superuser only.
pub fn stat_fd(fd: i32) -> R<Statx> {
    let mut stat = statx(fd, c"", AT_EMPTY_PATH)?;
    view(&mut stat);
    Ok(stat)
}
