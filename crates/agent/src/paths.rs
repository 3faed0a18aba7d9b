//! From a guest's path to a descriptor, as chroot(2) and mounts would have it.
//!
//! Fast way: one `openat2`, absolute paths in the tree with `RESOLVE_IN_ROOT`, relative ones with `RESOLVE_BENEATH`,
//! paths that begin with a mount's target from the mount's descriptor. Where that leaves its directory (`EXDEV`),
//! meets a door (`EACCES`, see [`crate::protocol::MountEntry`]) or a magic link of /proc (`ELOOP`), the slow way walks
//! name by name: [`crate::walk`].

use core::ffi::CStr;

use crate::protocol::{FLAG_NESTED, MOUNT_FILE, MOUNT_HOLDER, MOUNT_PROC, MountEntry};
use crate::state::{config, fd_guest_root, fd_root, is_chrooted};
use crate::sys::{
    AT_FDCWD, AT_SYMLINK_NOFOLLOW, Errno, Fd, O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_PATH, R, RESOLVE_BENEATH,
    RESOLVE_IN_ROOT, Statx, call, fstatx, openat, openat2, readlinkat, statx,
};
use crate::text::{PathText, Text, fd_path, split_last, strip_dir};
use crate::walk;

/// The mount whose target is `path` or a parent of it, by the text alone.
#[inline]
pub fn mount_of(path: &[u8]) -> Option<(usize, &'static MountEntry)> {
    let config = config();
    let first = *path.get(1)?;
    if config.first_bytes & (1 << (first & 63)) == 0 {
        return None;
    }
    config.mounts().iter().enumerate().find(|(_, mount)| strip_dir(path, config.text(mount.target)).is_some())
}

/// The mount at exactly this canonical path.
pub fn mount_at(path: &[u8]) -> Option<(usize, &'static MountEntry)> {
    mount_of(path).filter(|(_, mount)| mount.target.len as usize == path.len())
}

/// Whether a file found by the fast way is the door of a mount.
#[inline]
pub fn is_door(ino: u64) -> bool {
    let config = config();
    config.doors & (1 << (ino & 63)) != 0 && config.mounts().iter().any(|mount| mount.door == ino)
}

/// Fails where a name in a directory is the door of a mount, so that the slow way says why it must stay.
pub fn no_door(dir: i32, name: &CStr) -> R<()> {
    let bytes = name.to_bytes();
    let bytes = bytes.strip_suffix(b"/").unwrap_or(bytes);
    let config = config();
    // Few files have the name of a mount: only those are looked at.
    let named = |mount: &MountEntry| {
        let target = config.text(mount.target);
        target.strip_suffix(bytes).is_some_and(|parent| parent.last() == Some(&b'/'))
    };
    if config.mounts().iter().any(named) && statx(dir, name, AT_SYMLINK_NOFOLLOW).is_ok_and(|stat| is_door(stat.ino)) {
        return Err(Errno::EXDEV);
    }
    Ok(())
}

/// Errors of the fast way that the slow way may answer better.
#[inline]
pub fn wants_walk(errno: Errno) -> bool {
    matches!(errno, Errno::EACCES | Errno::EXDEV | Errno::ELOOP)
}

/// Opens by the fast way alone.
#[inline]
pub fn open_fast(dir: i32, path: &CStr, flags: u32, mode: u32) -> R {
    let bytes = path.to_bytes();
    match bytes.first() {
        None => Err(Errno::ENOENT),
        Some(_) if needs_care() => open_with_care(dir, path, flags, mode),
        Some(b'/') => match mount_of(bytes) {
            None => openat2(fd_root(), path, flags, mode, RESOLVE_IN_ROOT),
            Some((_, mount)) => open_in_mount(mount, path, flags, mode),
        },
        Some(_) => openat2(dir, path, flags, mode, RESOLVE_BENEATH),
    }
}

/// Whether the kernel may go where the guest's root or a mount in a mount is in the way, without seeing it.
#[inline]
pub fn needs_care() -> bool {
    is_chrooted() || config().flags & FLAG_NESTED != 0
}

/// [`open_fast`] where [`needs_care`]. The kernel does not know the guest's root, at which `..` stays: who comes from
/// outside of it walks. So does who is in a mount that holds others.
#[cold]
#[inline(never)]
fn open_with_care(dir: i32, path: &CStr, flags: u32, mode: u32) -> R {
    let mut full = PathText::new();
    let in_holder = |full: &PathText| mount_of(full.bytes()).is_some_and(|(_, mount)| mount.flags & MOUNT_HOLDER != 0);
    if path.to_bytes()[0] != b'/' {
        // What lies too deep to be named lies inside, and in nothing else.
        let simple = guest_path(dir, &mut full).map_or(true, |said| said && !in_holder(&full) && below_root(&mut full));
        return if simple { openat2(dir, path, flags, mode, RESOLVE_BENEATH) } else { Err(Errno::EXDEV) };
    }
    root_path(&mut full)?;
    let base = full.len();
    full.push(path.to_bytes())?;
    if in_holder(&full) {
        return Err(Errno::EXDEV);
    }
    match mount_of(full.bytes()) {
        Some((_, mount)) if mount.target.len as usize > base => open_in_mount(mount, full.c(), flags, mode),
        _ => openat2(fd_guest_root(), path, flags, mode, RESOLVE_IN_ROOT),
    }
}

/// Whether an absolute path of the guest's is a mount, by the text alone.
fn names_mount(path: &[u8]) -> bool {
    if path.first() != Some(&b'/') {
        return false;
    }
    if !is_chrooted() {
        return mount_at(path).is_some();
    }
    let mut full = PathText::new();
    root_path(&mut full).and_then(|()| full.push(path)).is_ok() && mount_at(full.bytes()).is_some()
}

fn open_in_mount(mount: &MountEntry, path: &CStr, flags: u32, mode: u32) -> R {
    if mount.flags & MOUNT_FILE != 0 {
        return Err(Errno::EXDEV);
    }
    let rest = &path.to_bytes_with_nul()[mount.target.len as usize..];
    let start = rest.iter().position(|b| *b != b'/').unwrap_or(0);
    // SAFETY: a part of a C string up to its end.
    let rest = unsafe { CStr::from_bytes_with_nul_unchecked(&rest[start..]) };
    if mount.flags & MOUNT_PROC != 0 && !walk::may_name(mount.fd, rest.to_bytes()) {
        return Err(Errno::ENOENT);
    }
    openat2(mount.fd, if rest.is_empty() { c"." } else { rest }, flags, mode, RESOLVE_BENEATH)
}

/// Opens a path of the guest's.
#[inline]
pub fn open(dir: i32, path: &CStr, flags: u32, mode: u32) -> R {
    match open_fast(dir, path, flags, mode) {
        Err(errno) if wants_walk(errno) => walk::open(dir, path, flags, mode),
        other => other,
    }
}

/// Opens a path as `O_PATH`, never a door.
pub fn open_path(dir: i32, path: &CStr, nofollow: bool) -> R<Fd> {
    Ok(locate(dir, path, nofollow)?.0)
}

/// Opens a path as `O_PATH` and says what it is, never a door.
#[inline]
pub fn locate(dir: i32, path: &CStr, nofollow: bool) -> R<(Fd, Statx)> {
    let flags = O_PATH | O_CLOEXEC | if nofollow { O_NOFOLLOW } else { 0 };
    match open_fast(dir, path, flags, 0) {
        Ok(fd) => {
            let fd = Fd::owned(fd);
            let stat = fstatx(fd.get())?;
            if !is_door(stat.ino) {
                return Ok((fd, stat));
            }
        }
        Err(errno) if !wants_walk(errno) => return Err(errno),
        Err(_) => {}
    }
    let fd = Fd::owned(walk::open(dir, path, flags, 0)?);
    let stat = fstatx(fd.get())?;
    Ok((fd, stat))
}

/// The file that a call with `AT_EMPTY_PATH` means: the descriptor itself or the path.
pub fn locate_or_fd(dir: i32, path: &CStr, nofollow: bool, empty: bool) -> R<(Fd, Statx)> {
    if path.is_empty() {
        if !empty {
            return Err(Errno::ENOENT);
        }
        if dir == AT_FDCWD {
            let fd = Fd::owned(openat(AT_FDCWD, c".", O_PATH | O_CLOEXEC, 0)?);
            let stat = fstatx(fd.get())?;
            return Ok((fd, stat));
        }
        let stat = fstatx(dir)?;
        return Ok((Fd::lent(dir), stat));
    }
    locate(dir, path, nofollow)
}

/// A parent directory and the name in it.
pub struct Parent {
    /// The directory.
    pub dir: Fd,
    /// The name, with the slash that followed it.
    pub name: Text<272>,
}

/// Finds the parent by the fast way; the directory may be a door.
fn parent_fast(dir: i32, path: &CStr) -> R<Parent> {
    let (head, last, slashes) = split_last(path.to_bytes());
    if last.is_empty() || last == b"." || last == b".." {
        return Err(if path.is_empty() { Errno::ENOENT } else { Errno::EXDEV });
    }
    if last.len() > 255 {
        return Err(Errno::ENAMETOOLONG);
    }
    let mut name = Text::new();
    name.push(last)?;
    if !slashes.is_empty() {
        name.push(b"/")?;
    }
    if head.is_empty() {
        return Ok(Parent { dir: Fd::lent(dir), name });
    }
    let mut parent = PathText::new();
    parent.push(head)?;
    let fd = open_fast(dir, parent.c(), O_PATH | O_DIRECTORY | O_CLOEXEC, 0)?;
    Ok(Parent { dir: Fd::owned(fd), name })
}

/// Does something to a name in a directory: by the fast way, and once more by the slow one where a door or a
/// read-only mount may be in the way.
pub fn at_parent(dir: i32, path: &CStr, mut act: impl FnMut(i32, &CStr) -> R) -> R {
    let result = parent_fast(dir, path).and_then(|parent| {
        let name = parent.name.bytes();
        if names_mount(path.to_bytes()) {
            return Err(Errno::EXDEV);
        }
        debug_assert!(!name.is_empty());
        act(parent.dir.get(), parent.name.c())
    });
    match result {
        Err(errno) if wants_walk(errno) => {
            let spot = walk::parent(dir, path)?;
            spot.change_allowed()?;
            match act(spot.dir.get(), spot.name.c()) {
                Err(_) if spot.is_mount() => Err(Errno::EBUSY),
                other => other,
            }
        }
        other => other,
    }
}

/// Does something to two names, as [`at_parent`].
pub fn at_parents(old: (i32, &CStr), new: (i32, &CStr), mut act: impl FnMut(i32, &CStr, i32, &CStr) -> R) -> R {
    let fast = (|| {
        let from = parent_fast(old.0, old.1)?;
        let to = parent_fast(new.0, new.1)?;
        for path in [old.1, new.1] {
            if names_mount(path.to_bytes()) {
                return Err(Errno::EXDEV);
            }
        }
        act(from.dir.get(), from.name.c(), to.dir.get(), to.name.c())
    })();
    match fast {
        Err(errno) if wants_walk(errno) => {
            let from = walk::parent(old.0, old.1)?;
            let to = walk::parent(new.0, new.1)?;
            from.change_allowed()?;
            to.change_allowed()?;
            if from.mount != to.mount {
                return Err(Errno::EXDEV);
            }
            act(from.dir.get(), from.name.c(), to.dir.get(), to.name.c())
        }
        other => other,
    }
}

/// Translates a path of the builder's view into the step's, in place: what a guest sees that made no chroot(2). False
/// where it lies outside of both the tree and the mounts.
pub fn to_guest(path: &mut PathText) -> bool {
    let config = config();
    let mut best: Option<(usize, &[u8])> = None;
    let bytes = path.bytes();
    let pairs = config.mounts().iter().map(|m| (config.text(m.source), config.text(m.target)));
    for (source, target) in pairs.chain([(config.text(config.root), &b""[..])]) {
        if strip_dir(bytes, source).is_some() && best.is_none_or(|(len, _)| source.len() > len) {
            best = Some((source.len(), target));
        }
    }
    let Some((len, target)) = best else { return false };
    let mut guest = PathText::new();
    if guest.push(target).and_then(|()| guest.push(&bytes[len..])).is_err() {
        return false;
    }
    if guest.is_empty() && guest.push(b"/").is_err() {
        return false;
    }
    path.clear();
    path.push(guest.bytes()).is_ok()
}

/// The builder's path of an open descriptor, or of the current directory.
pub fn host_path(fd: i32, out: &mut PathText) -> R<()> {
    out.clear();
    if fd == AT_FDCWD {
        let spare = out.spare();
        // SAFETY: the buffer can be written for its length.
        let len = unsafe { call!(crate::arch::nr::GETCWD, spare.as_mut_ptr(), spare.len()) }?;
        out.filled(len - 1);
        return Ok(());
    }
    let len = readlinkat(AT_FDCWD, fd_path(fd).c(), out.spare()).map_err(|errno| match errno {
        Errno::ENAMETOOLONG => errno,
        _ => Errno::EBADF,
    })?;
    out.filled(len);
    Ok(())
}

/// The step's path of an open descriptor, or of the current directory. False where it is outside.
pub fn guest_path(fd: i32, out: &mut PathText) -> R<bool> {
    host_path(fd, out)?;
    Ok(to_guest(out))
}

/// The step's path of the guest's root: empty where that is the tree. Read from the descriptor each time, so that it
/// stays right when a directory above is renamed.
pub fn root_path(out: &mut PathText) -> R<()> {
    out.clear();
    if is_chrooted() {
        guest_path(fd_guest_root(), out)?;
        if out.bytes() == b"/" {
            out.clear();
        }
    }
    Ok(())
}

/// Translates a path of the step's view into that of a guest that made a chroot(2), in place. False where it lies
/// outside the guest's root; it is left as it is then.
pub fn below_root<const N: usize>(path: &mut Text<N>) -> bool {
    if !is_chrooted() {
        return true;
    }
    let mut root = PathText::new();
    if root_path(&mut root).is_err() || strip_dir(path.bytes(), root.bytes()).is_none() {
        return false;
    }
    path.remove_front(root.len());
    !path.is_empty() || path.push(b"/").is_ok()
}
