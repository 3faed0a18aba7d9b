//! Attributes: modes, owners, times, extended attributes.
//!
//! Modes are set for real as far as the one real user can still open the file; owners only in the table. Extended
//! attributes of `user.` are real, those of `security.` and `trusted.` live in the table.

use core::ffi::CStr;
use core::sync::atomic::Ordering::Relaxed;

use crate::acl;
use crate::arch::nr;
use crate::guest;
use crate::paths::{locate, locate_or_fd};
use crate::perms;
use crate::stat::{key, paths_writable, view};
use crate::state::{creds, is_hidden, table};
use crate::sys::{
    AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, Errno, Fd, R, S_IFBLK, S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT, Statx,
    Timespec, call, fstatx,
};
use crate::table::Facts;
use crate::text::{Name, PathText, fd_path};

const CAP_CHOWN: u32 = 0;
const CAP_FOWNER: u32 = 3;
const CAP_FSETID: u32 = 4;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SETFCAP: u32 = 31;

fn owner_or_capable(stat: &Statx) -> R<()> {
    if stat.uid == creds().uid[3] || perms::capable(CAP_FOWNER) { Ok(()) } else { Err(Errno::EPERM) }
}

/// Whether this process has a capability and no mount is read-only, so that only the kernel can refuse a change.
#[inline]
fn nothing_forbids(capability: u32) -> bool {
    perms::capable(capability) && crate::state::config().flags & crate::protocol::FLAG_READ_ONLY == 0
}

/// fchmod to a mode that the file can have for real, of a file of which nothing is remembered; `None` for all else.
#[inline]
pub fn quick_fchmod(fd: i32, mode: u32) -> Option<R> {
    let wanted = mode & 0o7777;
    if wanted & 0o6600 != 0o600 || is_hidden(fd) || !nothing_forbids(CAP_FOWNER) {
        return None;
    }
    let stat = fstatx(fd).ok()?;
    let full = stat.kind() != S_IFDIR || wanted & 0o100 != 0;
    if !full || stat.kind() == S_IFLNK || table().get(key(&stat)).mode.is_some() {
        return None;
    }
    // SAFETY: no pointers.
    match unsafe { call!(nr::FCHMOD, fd, wanted) } {
        Err(Errno::EPERM | Errno::EROFS) => None,
        other => Some(other),
    }
}

/// fchown to root of a file that is root's, as tar and cp do; `None` for all else.
#[inline]
pub fn quick_fchown(fd: i32, uid: u32, gid: u32) -> Option<R> {
    if uid != 0 || gid != 0 || is_hidden(fd) || !nothing_forbids(CAP_CHOWN) {
        return None;
    }
    let stat = fstatx(fd).ok()?;
    let (facts, real) = (table().get(key(&stat)), crate::state::config());
    let plain = facts.owner.is_none() && facts.mode.is_none() && !table().has_xattrs(key(&stat));
    let own = stat.uid == real.real_uid && stat.gid == real.real_gid && stat.mode & 0o6000 == 0;
    (plain && own).then_some(Ok(0))
}

/// futimens; `None` where it takes more.
#[inline]
pub fn quick_utimensat(fd: i32, path: usize, times: usize, flags: u32) -> Option<R> {
    if path != 0 || is_hidden(fd) || !nothing_forbids(CAP_FOWNER) {
        return None;
    }
    // SAFETY: the kernel checks the guest's pointer.
    Some(unsafe { call!(nr::UTIMENSAT, fd, 0, times, flags) })
}

/// Sets the mode of an open file.
fn set_mode(fd: i32, stat: &Statx, mode: u32) -> R {
    if stat.kind() == S_IFLNK {
        return Err(Errno::EOPNOTSUPP);
    }
    paths_writable(fd)?;
    let mut seen = *stat;
    let facts = view(&mut seen);
    owner_or_capable(&seen)?;
    let mut wanted = mode & 0o7777;
    let creds = creds();
    let in_group = seen.gid == creds.gid[3] || creds.groups[..creds.group_count as usize].contains(&seen.gid);
    if wanted & 0o2000 != 0 && seen.kind() != S_IFDIR && !in_group && !perms::capable(CAP_FSETID) {
        wanted &= !0o2000;
    }
    let real = wanted | if stat.kind() == S_IFDIR { 0o700 } else { 0o600 };
    let virtual_kind = facts.mode.is_some_and(|(mode, _)| mode & S_IFMT != stat.kind());
    let path = fd_path(fd);
    // SAFETY: the path ends with NUL.
    let result = unsafe { call!(nr::FCHMODAT, AT_FDCWD, path.c().as_ptr(), real) };
    let kept = match result {
        // The kernel takes set-ID bits away from a file that is written to, for it is no superuser that writes.
        Ok(_) => wanted == real && !virtual_kind && (wanted & 0o6000 == 0 || stat.kind() == S_IFDIR),
        // A file of the place's own, /dev/null for one: the superuser's change is believed, not made.
        Err(Errno::EPERM | Errno::EROFS) if perms::capable(CAP_FOWNER) => false,
        Err(errno) => return Err(errno),
    };
    if kept {
        // The kernel drops the set-group-ID bit where the real group does not allow it.
        if wanted & 0o2000 == 0 || u32::from(fstatx(fd)?.mode) & 0o7777 == wanted {
            table().set_mode(key(stat), None);
            note_setgid(&seen, wanted, seen.gid);
            return Ok(0);
        }
    }
    let device = facts.mode.map_or((stat.rdev_major, stat.rdev_minor), |(_, device)| device);
    if !table().set_mode(key(stat), Some((seen.kind() | wanted, device))) {
        return Err(Errno::ENOMEM);
    }
    note_setgid(&seen, wanted, seen.gid);
    Ok(0)
}

fn note_setgid(stat: &Statx, mode: u32, gid: u32) {
    if stat.kind() == S_IFDIR && mode & 0o2000 != 0 && gid != 0 {
        table().header().setgid_dirs.fetch_add(1, Relaxed);
    }
}

/// chmod, fchmodat, fchmodat2.
pub fn sys_chmod(dir: i32, path: usize, mode: u32, flags: u32) -> R {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let mut text = PathText::new();
    guest::path(path, &mut text)?;
    if !perms::is_superuser() {
        perms::search(dir, text.c())?;
    }
    let (fd, stat) = locate_or_fd(dir, text.c(), flags & AT_SYMLINK_NOFOLLOW != 0, flags & AT_EMPTY_PATH != 0)?;
    set_mode(fd.get(), &stat, mode)
}

/// fchmod.
pub fn sys_fchmod(fd: i32, mode: u32) -> R {
    if is_hidden(fd) {
        return Err(Errno::EBADF);
    }
    set_mode(fd, &fstatx(fd)?, mode)
}

/// Sets the owner of an open file.
fn set_owner(fd: i32, stat: &Statx, uid: u32, gid: u32) -> R {
    paths_writable(fd)?;
    let mut seen = *stat;
    let facts = view(&mut seen);
    if !perms::capable(CAP_CHOWN) {
        let creds = creds();
        let own = seen.uid == creds.uid[3];
        let uid_kept = uid == u32::MAX || uid == seen.uid;
        let gid_kept = gid == u32::MAX
            || gid == seen.gid
            || gid == creds.gid[3]
            || creds.groups[..creds.group_count as usize].contains(&gid);
        if !(own && uid_kept && gid_kept) {
            return Err(Errno::EPERM);
        }
    }
    if uid == u32::MAX && gid == u32::MAX {
        return Ok(0);
    }
    let uid = if uid == u32::MAX { seen.uid } else { uid };
    let gid = if gid == u32::MAX { seen.gid } else { gid };
    let mode = u32::from(seen.mode);
    if seen.kind() != S_IFDIR {
        let kept = mode & !0o4000 & !(if mode & 0o010 != 0 { 0o2000 } else { 0 });
        if kept != mode {
            let path = fd_path(fd);
            // SAFETY: the path ends with NUL.
            let _ = unsafe { call!(nr::FCHMODAT, AT_FDCWD, path.c().as_ptr(), kept & 0o7777 | 0o600) };
            if let Some((_, device)) = facts.mode {
                table().set_mode(key(stat), Some((kept, device)));
            }
        }
        if table().has_xattrs(key(stat)) && table().xattr(key(stat), b"security.capability").is_some() {
            table().set_xattr(key(stat), b"security.capability", None);
        }
    }
    note_setgid(&seen, mode, gid);
    let real = crate::state::config();
    let owner = if uid == 0 && gid == 0 && stat.uid == real.real_uid && stat.gid == real.real_gid {
        None
    } else {
        Some((uid, gid))
    };
    if table().set_owner(key(stat), owner) { Ok(0) } else { Err(Errno::ENOMEM) }
}

/// chown, lchown, fchownat.
pub fn sys_chown(dir: i32, path: usize, uid: u32, gid: u32, flags: u32) -> R {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let mut text = PathText::new();
    guest::path(path, &mut text)?;
    if !perms::is_superuser() {
        perms::search(dir, text.c())?;
    }
    let (fd, stat) = locate_or_fd(dir, text.c(), flags & AT_SYMLINK_NOFOLLOW != 0, flags & AT_EMPTY_PATH != 0)?;
    set_owner(fd.get(), &stat, uid, gid)
}

/// fchown.
pub fn sys_fchown(fd: i32, uid: u32, gid: u32) -> R {
    if is_hidden(fd) {
        return Err(Errno::EBADF);
    }
    set_owner(fd, &fstatx(fd)?, uid, gid)
}

/// utimensat.
pub fn sys_utimensat(dir: i32, path: usize, times: usize, flags: u32) -> R {
    let times = if times == 0 { None } else { Some(guest::read::<[Timespec; 2]>(times)?) };
    set_times(dir, path, times, flags)
}

/// utime.
pub fn sys_utime(path: usize, times: usize) -> R {
    let times = if times == 0 { None } else { Some(guest::read::<[i64; 2]>(times)?) };
    let times = times.map(|t| t.map(|sec| Timespec { sec, nsec: 0 }));
    set_times(AT_FDCWD, path, times, 0)
}

/// utimes, futimesat.
pub fn sys_utimes(dir: i32, path: usize, times: usize) -> R {
    let times = if times == 0 { None } else { Some(guest::read::<[i64; 4]>(times)?) };
    if times.is_some_and(|t| !(0..1_000_000).contains(&t[1]) || !(0..1_000_000).contains(&t[3])) {
        return Err(Errno::EINVAL);
    }
    let times = times.map(|t| [Timespec { sec: t[0], nsec: t[1] * 1000 }, Timespec { sec: t[2], nsec: t[3] * 1000 }]);
    set_times(dir, path, times, 0)
}

fn set_times(dir: i32, path: usize, times: Option<[Timespec; 2]>, flags: u32) -> R {
    let pointer = times.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    let check = |fd: i32, stat: &Statx| {
        paths_writable(fd)?;
        if perms::is_superuser() {
            return Ok(());
        }
        let mut seen = *stat;
        view(&mut seen);
        const NOW: i64 = 0x3fff_ffff;
        let now = times.is_none_or(|t| t.iter().all(|t| t.nsec == NOW));
        match owner_or_capable(&seen) {
            Err(_) if now => perms::need(&seen, 2),
            other => other,
        }
    };
    if path == 0 {
        if is_hidden(dir) {
            return Err(Errno::EBADF);
        }
        check(dir, &fstatx(dir)?)?;
        // SAFETY: the times are ours.
        return unsafe { call!(nr::UTIMENSAT, dir, 0, pointer, flags) };
    }
    let mut text = PathText::new();
    guest::path(path, &mut text)?;
    let (fd, stat) = locate_or_fd(dir, text.c(), flags & AT_SYMLINK_NOFOLLOW != 0, flags & AT_EMPTY_PATH != 0)?;
    check(fd.get(), &stat)?;
    let path = fd_path(fd.get());
    // SAFETY: path and times are ours.
    unsafe { call!(nr::UTIMENSAT, AT_FDCWD, path.c().as_ptr(), pointer, 0) }
}

/// The file of an xattr call.
pub enum Target {
    /// By path; the flag says that a symlink is not followed.
    Path(usize, bool),
    /// By descriptor.
    Fd(usize),
}

impl Target {
    fn find(&self) -> R<(Fd, Statx)> {
        match *self {
            Target::Path(path, nofollow) => {
                let mut text = PathText::new();
                guest::path(path, &mut text)?;
                if !perms::is_superuser() {
                    perms::search(AT_FDCWD, text.c())?;
                }
                locate(AT_FDCWD, text.c(), nofollow)
            }
            Target::Fd(fd) if is_hidden(fd as i32) => Err(Errno::EBADF),
            Target::Fd(fd) => Ok((Fd::lent(fd as i32), fstatx(fd as i32)?)),
        }
    }
}

fn in_table(name: &[u8]) -> bool {
    name.starts_with(b"security.") || name.starts_with(b"trusted.")
}

fn xattr_name(address: usize) -> R<Name> {
    let mut name = Name::new();
    guest::string(address, 256, &mut name).map_err(|e| if e == Errno::ENAMETOOLONG { Errno::ERANGE } else { e })?;
    if name.is_empty() { Err(Errno::ERANGE) } else { Ok(name) }
}

/// setxattr, lsetxattr, fsetxattr.
pub fn sys_setxattr(target: &Target, name: usize, value: usize, size: usize, flags: u32) -> R {
    const CREATE: u32 = 1;
    const REPLACE: u32 = 2;
    let name = xattr_name(name)?;
    if flags & !(CREATE | REPLACE) != 0 {
        return Err(Errno::EINVAL);
    }
    if size > 65536 {
        return Err(Errno::E2BIG);
    }
    let (fd, stat) = target.find()?;
    paths_writable(fd.get())?;
    if name.bytes() == acl::ACCESS && size != 0 {
        return set_acl(fd.get(), &stat, value, size, flags);
    }
    if !in_table(name.bytes()) {
        let mut seen = stat;
        view(&mut seen);
        if matches!(seen.kind(), S_IFCHR | S_IFBLK) {
            return Err(Errno::EPERM);
        }
        let path = fd_path(fd.get());
        // SAFETY: path and name are ours; the kernel checks the guest's pointer.
        return unsafe { call!(nr::SETXATTR, path.c().as_ptr(), name.c().as_ptr(), value, size, flags) };
    }
    xattr_capable(name.bytes())?;
    let value = guest::bytes(value, size)?;
    let there = table().xattr(key(&stat), name.bytes()).is_some();
    if flags & CREATE != 0 && there {
        return Err(Errno::EEXIST);
    }
    if flags & REPLACE != 0 && !there {
        return Err(Errno::ENODATA);
    }
    if table().set_xattr(key(&stat), name.bytes(), Some(value)) { Ok(0) } else { Err(Errno(28)) }
}

/// An access control list, which sets the mode as well. One that says no more than a mode is nothing but a mode: that
/// is how `cp -p` and `mv` set modes. For real the owner keeps what the agent needs.
fn set_acl(fd: i32, stat: &Statx, value: usize, size: usize, flags: u32) -> R {
    let path = fd_path(fd);
    let Some((bits, extended)) = acl::mode(guest::bytes(value, size)?) else { return Err(Errno::EINVAL) };
    let mut seen = *stat;
    view(&mut seen);
    owner_or_capable(&seen)?;
    let name = acl::ACCESS_NAME;
    if extended {
        // SAFETY: path and name are ours; the kernel checks the guest's pointer.
        unsafe { call!(nr::SETXATTR, path.c().as_ptr(), name.as_ptr(), value, size, flags) }?;
    } else {
        // SAFETY: path and name are ours.
        let _ = unsafe { call!(nr::REMOVEXATTR, path.c().as_ptr(), name.as_ptr()) };
    }
    set_mode(fd, stat, u32::from(seen.mode) & 0o7000 | bits)
}

fn xattr_capable(name: &[u8]) -> R<()> {
    let capable = if name == b"security.capability" {
        perms::capable(CAP_SETFCAP)
    } else {
        perms::capable(CAP_SYS_ADMIN) || (perms::is_superuser() && name.starts_with(b"security."))
    };
    if capable { Ok(()) } else { Err(Errno::EPERM) }
}

/// getxattr, lgetxattr, fgetxattr.
pub fn sys_getxattr(target: &Target, name: usize, value: usize, size: usize) -> R {
    let name = xattr_name(name)?;
    let (fd, stat) = target.find()?;
    if !in_table(name.bytes()) {
        let path = fd_path(fd.get());
        // SAFETY: path and name are ours; the kernel checks the guest's pointer.
        let len = unsafe { call!(nr::GETXATTR, path.c().as_ptr(), name.c().as_ptr(), value, size) }?;
        if size != 0 && name.bytes() == acl::ACCESS {
            let mut seen = stat;
            view(&mut seen);
            if let Some(at) = acl::owner_entry(guest::bytes(value, len)?) {
                guest::write(value + at, seen.mode >> 6 & 7)?;
            }
        }
        return Ok(len);
    }
    let table = table();
    let Some(kept) = table.xattr(key(&stat), name.bytes()) else { return Err(Errno::ENODATA) };
    if size == 0 {
        return Ok(kept.len());
    }
    if kept.len() > size {
        return Err(Errno::ERANGE);
    }
    guest::write_bytes(value, kept)?;
    Ok(kept.len())
}

/// listxattr, llistxattr, flistxattr.
pub fn sys_listxattr(target: &Target, list: usize, size: usize) -> R {
    let (fd, stat) = target.find()?;
    let path = fd_path(fd.get());
    // SAFETY: the path is ours; the kernel checks the guest's pointer.
    let mut len = unsafe { call!(nr::LISTXATTR, path.c().as_ptr(), list, size) }?;
    if size != 0 {
        len = own_names(list, len)?;
    }
    if !table().has_xattrs(key(&stat)) {
        return Ok(len);
    }
    for (name, _) in table().xattrs(key(&stat)) {
        if name.starts_with(b"trusted.") && !perms::capable(CAP_SYS_ADMIN) {
            continue;
        }
        if size != 0 {
            if len + name.len() + 1 > size {
                return Err(Errno::ERANGE);
            }
            guest::write_bytes(list + len, name)?;
            guest::write(list + len + name.len(), 0u8)?;
        }
        len += name.len() + 1;
    }
    Ok(len)
}

/// Drops the names from a list that the file system adds by itself (security.selinux of the place's own policy).
fn own_names(list: usize, len: usize) -> R {
    let mut to = 0;
    let mut from = 0;
    while from < len {
        let names = guest::bytes(list + from, len - from)?;
        let size = names.iter().position(|b| *b == 0).map_or(names.len(), |nul| nul + 1);
        if !in_table(names) {
            // SAFETY: both ranges lie in the list that the kernel has just filled.
            unsafe { core::ptr::copy((list + from) as *const u8, (list + to) as *mut u8, size) };
            to += size;
        }
        from += size;
    }
    Ok(to)
}

/// removexattr, lremovexattr, fremovexattr.
pub fn sys_removexattr(target: &Target, name: usize) -> R {
    let name = xattr_name(name)?;
    let (fd, stat) = target.find()?;
    paths_writable(fd.get())?;
    if !in_table(name.bytes()) {
        let path = fd_path(fd.get());
        // SAFETY: path and name are ours.
        return unsafe { call!(nr::REMOVEXATTR, path.c().as_ptr(), name.c().as_ptr()) };
    }
    xattr_capable(name.bytes())?;
    if table().xattr(key(&stat), name.bytes()).is_none() {
        return Err(Errno::ENODATA);
    }
    table().set_xattr(key(&stat), name.bytes(), None);
    Ok(0)
}

/// The facts of a file by its descriptor: for exec.
pub fn facts_of(fd: i32) -> R<(Statx, Facts)> {
    let mut stat = fstatx(fd)?;
    let facts = view(&mut stat);
    Ok((stat, facts))
}

/// Only here to name the type in signatures.
pub type Path = CStr;
