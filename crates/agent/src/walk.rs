//! The slow way: a path walked name by name, through symlinks, doors of mounts, and the magic links of /proc.
//!
//! The walk knows the canonical path of where it stands, so that mounts are found by their targets and `..` never
//! leaves the tree. It holds one descriptor at a time.

use core::ffi::CStr;

use crate::arch::nr;
use crate::exec;
use crate::paths::{guest_path, mount_at, mount_of, root_path};
use crate::protocol::{MOUNT_FILE, MOUNT_PROC, MOUNT_READ_ONLY};
use crate::state::{config, fd_guest_root, fd_root, is_hidden};
use crate::sys::{
    AT_FDCWD, AT_SYMLINK_NOFOLLOW, Errno, Fd, O_ACCMODE, O_CLOEXEC, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_PATH,
    O_TMPFILE_BIT, O_TRUNC, R, RESOLVE_BENEATH, RESOLVE_IN_ROOT, S_IFDIR, S_IFLNK, Statx, call, getpid, gettid, openat,
    openat2, readlinkat, statx,
};
use crate::text::{Name, PathText, number, strip_dir};

const MAX_LINKS: u32 = 40;

/// A name with the slash behind it.
pub type LastName = crate::text::Text<272>;

/// What the last name of a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// Nothing yet.
    Missing,
    /// A file of this type.
    Node(u32),
    /// A mount, by its index.
    Mount(usize),
    /// A magic link of /proc to something that has no place in the tree (a pipe, a deleted file).
    Magic,
}

/// Where a walk ended.
pub struct Spot {
    /// The directory that holds the last name.
    pub dir: Fd,
    /// The last name; `.` where the path is the directory itself.
    pub name: LastName,
    /// What it is.
    pub last: Last,
    /// The mount in which the directory lies.
    pub mount: Option<usize>,
    /// Canonical path of the directory, in the guest's view.
    pub path: PathText,
}

impl Spot {
    /// Whether the last name is a mount.
    pub fn is_mount(&self) -> bool {
        matches!(self.last, Last::Mount(_))
    }

    /// Fails where names in the directory may not be changed.
    pub fn change_allowed(&self) -> R<()> {
        match self.mount {
            Some(index) if config().mounts()[index].flags & MOUNT_READ_ONLY != 0 => Err(Errno::EROFS),
            _ if self.is_mount() => Err(Errno::EBUSY),
            _ => Ok(()),
        }
    }
}

/// Opens a directory by its canonical path.
fn open_canonical(path: &[u8]) -> R<Fd> {
    if path == b"/" {
        return Ok(Fd::lent(fd_root()));
    }
    let flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
    let mut rest = PathText::new();
    if let Some((_, mount)) = mount_of(path) {
        rest.push(&path[mount.target.len as usize..])?;
        while rest.bytes().first() == Some(&b'/') {
            rest.remove_front(1);
        }
        if rest.is_empty() {
            return Ok(Fd::lent(mount.fd));
        }
        return Ok(Fd::owned(openat2(mount.fd, rest.c(), flags, 0, RESOLVE_BENEATH)?));
    }
    rest.push(path)?;
    Ok(Fd::owned(openat2(fd_root(), rest.c(), flags, 0, RESOLVE_IN_ROOT)?))
}

/// The process whose directory in /proc `path` is, with whether it is this one: `/proc/N` and `/proc/N/task/N`.
fn process_of<'a>(path: &'a [u8], proc: &[u8]) -> Option<(u32, bool, &'a [u8])> {
    let rest = strip_dir(path, proc)?.strip_prefix(b"/")?;
    let end = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
    let pid = number(&rest[..end])?;
    let mut tail = &rest[end..];
    if let Some(task) = tail.strip_prefix(b"/task/") {
        let end = task.iter().position(|b| *b == b'/').unwrap_or(task.len());
        tail = &task[end..];
    }
    Some((pid, pid == getpid() || pid == gettid(), tail))
}

/// Whether a process belongs to this step: only those let us read their links.
fn visible(proc: i32, pid: &[u8]) -> bool {
    let mut link = Name::new();
    let mut out = Name::new();
    if link.push(pid).and_then(|()| link.push(b"/exe")).is_err() {
        return false;
    }
    match readlinkat(proc, link.c(), out.spare()) {
        Err(Errno::EACCES | Errno::EPERM) => false,
        // One of ours that has ended, or another one that went between two looks.
        Err(Errno::ENOENT | Errno::ESRCH) => number(pid).is_some_and(|pid| {
            // SAFETY: no pointers.
            unsafe { call!(nr::KILL, pid, 0) }.is_ok()
        }),
        _ => true,
    }
}

/// Whether a path in /proc names no process, or one of this step.
pub fn may_name(proc: i32, rest: &[u8]) -> bool {
    let end = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
    match number(&rest[..end]) {
        Some(pid) => pid == getpid() || visible(proc, &rest[..end]),
        None => true,
    }
}

/// Whether a process belongs to this step.
pub fn in_step(pid: u32) -> bool {
    let mut name = Name::new();
    let proc = config().mounts().iter().find(|mount| mount.flags & MOUNT_PROC != 0);
    name.push_number(pid.into()).is_ok() && proc.is_some_and(|proc| visible(proc.fd, name.bytes()))
}

/// Walks to the directory that holds the last name of a path, which is left as it is.
pub fn parent(dir: i32, path: &CStr) -> R<Spot> {
    let (head, last, slashes) = crate::text::split_last(path.to_bytes());
    if matches!(last, b"" | b"." | b"..") {
        return walk(dir, path, Ending::Name);
    }
    let mut to = PathText::new();
    to.push(head)?;
    to.push(b".")?;
    let mut spot = walk(dir, to.c(), Ending::Follow)?;
    if last.len() > 255 {
        return Err(Errno::ENAMETOOLONG);
    }
    let mut full = PathText::new();
    full.push(spot.path.bytes())?;
    full.push_name(last)?;
    spot.last = match mount_at(full.bytes()) {
        Some((index, _)) => Last::Mount(index),
        None => Last::Node(0),
    };
    spot.name = LastName::new();
    spot.name.push(last)?;
    if !slashes.is_empty() {
        spot.name.push(b"/")?;
    }
    Ok(spot)
}

/// The root of the process whose directory in /proc this is: its agent holds it.
fn open_root_of(process: i32) -> R<Fd> {
    Ok(Fd::owned(openat(process, root_link()?.c(), O_PATH | O_CLOEXEC, 0)?))
}

/// The magic link of a process's root, in its directory in /proc.
pub fn root_link() -> R<Name> {
    let mut link = Name::new();
    link.push(b"fd/")?;
    link.push_number(fd_guest_root() as u64)?;
    Ok(link)
}

fn is_upwards(path: &[u8]) -> bool {
    path == b".." || path.starts_with(b"../")
}

/// What is to become of the last name of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// A symlink there is meant itself.
    Name,
    /// A symlink there is followed.
    Follow,
    /// A file may be made there, so that no slash may stand behind it; a symlink is meant itself.
    CreateName,
    /// A file may be made there, or where a symlink points to.
    Create,
}

/// Walks a path from a directory of the guest's.
pub fn walk(dir: i32, path: &CStr, ending: Ending) -> R<Spot> {
    let follow = matches!(ending, Ending::Follow | Ending::Create);
    let create = matches!(ending, Ending::Create | Ending::CreateName);
    let mut here = PathText::new();
    let mut rest = PathText::new();
    rest.push(path.to_bytes())?;
    if rest.is_empty() {
        return Err(Errno::ENOENT);
    }
    // Where `..` and absolute links stay: the guest's root.
    let mut root = PathText::new();
    root_path(&mut root)?;
    if root.is_empty() {
        root.push(b"/")?;
    }
    let mut at;
    if rest.bytes()[0] == b'/' {
        here.push(root.bytes())?;
        at = Fd::lent(fd_guest_root());
    } else {
        at = if dir == AT_FDCWD { Fd::owned(openat(AT_FDCWD, c".", O_PATH | O_CLOEXEC, 0)?) } else { Fd::lent(dir) };
        loop {
            match guest_path(at.get(), &mut here) {
                Ok(true) => break,
                Ok(false) => return Err(Errno::EACCES),
                // What lies so deep is neither the root nor a mount: its parent is the kernel's.
                Err(Errno::ENAMETOOLONG | Errno::ERANGE) if is_upwards(rest.bytes()) => {
                    at = Fd::owned(openat(at.get(), c"..", O_PATH | O_DIRECTORY | O_CLOEXEC, 0)?);
                    rest.remove_front(2);
                    while rest.bytes().first() == Some(&b'/') {
                        rest.remove_front(1);
                    }
                    if rest.is_empty() {
                        let mut name = LastName::new();
                        name.push(b".")?;
                        let _ = guest_path(at.get(), &mut here);
                        return Ok(Spot { dir: at, name, last: Last::Node(S_IFDIR), mount: None, path: here });
                    }
                }
                Err(errno) => return Err(errno),
            }
        }
    }
    let mut links = 0;
    loop {
        while rest.bytes().first() == Some(&b'/') {
            rest.remove_front(1);
        }
        let end = rest.bytes().iter().position(|b| *b == b'/').unwrap_or(rest.len());
        if end > 255 {
            return Err(Errno::ENAMETOOLONG);
        }
        let mut name = LastName::new();
        name.push(&rest.bytes()[..end])?;
        rest.remove_front(end);
        let last = rest.bytes().iter().all(|b| *b == b'/');
        let must_be_dir = last && !rest.is_empty();
        let mount = mount_of(here.bytes()).map(|(index, _)| index);
        match name.bytes() {
            b"" | b"." => {
                if last {
                    name.clear();
                    name.push(b".")?;
                    let last = match mount_at(here.bytes()) {
                        Some((index, _)) => Last::Mount(index),
                        None => Last::Node(S_IFDIR),
                    };
                    return Ok(Spot { dir: at, name, last, mount, path: here });
                }
                continue;
            }
            b".." => {
                if here.bytes() != root.bytes() {
                    here.pop_name();
                    at = open_canonical(here.bytes())?;
                }
                if last {
                    rest.clear();
                }
                continue;
            }
            _ => {}
        }
        if must_be_dir && create {
            // Also where the slash comes from a symlink, and whatever is there.
            return Err(Errno::EISDIR);
        }
        let in_proc = mount.is_some_and(|index| config().mounts()[index].flags & MOUNT_PROC != 0);
        let parent_len = here.len();
        here.push_name(name.bytes())?;
        if let Some((index, entry)) = mount_at(here.bytes()) {
            if last {
                if must_be_dir && entry.flags & MOUNT_FILE != 0 {
                    return Err(Errno::ENOTDIR);
                }
                here.truncate(parent_len);
                return Ok(Spot { dir: at, name, last: Last::Mount(index), mount, path: here });
            }
            if entry.flags & MOUNT_FILE != 0 {
                return Err(Errno::ENOTDIR);
            }
            at = Fd::lent(entry.fd);
            continue;
        }
        here.truncate(parent_len);
        if in_proc {
            let proc = config().text(config().mounts()[mount.unwrap_or(0)].target);
            if here.bytes() == proc && number(name.bytes()).is_some() && !visible(at.get(), name.bytes()) {
                return Err(Errno::ENOENT);
            }
            if let Some((pid, own, tail)) = process_of(here.bytes(), proc) {
                let in_fds = tail == b"/fd" && number(name.bytes()).is_some();
                if in_fds && number(name.bytes()).is_some_and(|n| is_hidden(n as i32)) {
                    return Err(Errno::ENOENT);
                }
                let magic = in_fds || (tail.is_empty() && matches!(name.bytes(), b"exe" | b"root" | b"cwd"));
                if magic && (follow || !last || must_be_dir) {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::ELOOP);
                    }
                    match name.bytes() {
                        b"root" => {
                            at = open_root_of(at.get())?;
                            if !guest_path(at.get(), &mut here)? {
                                return Err(Errno::EACCES);
                            }
                            continue;
                        }
                        b"exe" => {
                            let mut target = PathText::new();
                            exec::program_of(pid, own, &mut target)?;
                            target.push(rest.bytes())?;
                            rest = target;
                            here.clear();
                            here.push(b"/")?;
                            at = Fd::lent(fd_root());
                            continue;
                        }
                        _ => {}
                    }
                    let fd = Fd::owned(openat(at.get(), name.c(), O_PATH | O_CLOEXEC, 0)?);
                    let stat = crate::sys::fstatx(fd.get())?;
                    let mut target = PathText::new();
                    let inside = guest_path(fd.get(), &mut target)? && target.bytes().first() == Some(&b'/');
                    if stat.kind() == S_IFDIR {
                        if !inside {
                            return Err(Errno::EACCES);
                        }
                        here = target;
                        at = fd;
                        continue;
                    }
                    if !last || must_be_dir {
                        return Err(Errno::ENOTDIR);
                    }
                    return Ok(Spot { dir: at, name, last: Last::Magic, mount, path: here });
                }
            }
        }
        let stat: Statx = match statx(at.get(), name.c(), AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) if last => {
                if must_be_dir {
                    name.push(b"/")?;
                }
                return Ok(Spot { dir: at, name, last: Last::Missing, mount, path: here });
            }
            Err(errno) => return Err(errno),
        };
        if stat.kind() == S_IFLNK && (follow || !last || must_be_dir) {
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::ELOOP);
            }
            let mut target = PathText::new();
            let len = readlinkat(at.get(), name.c(), target.spare())?;
            target.filled(len);
            if target.is_empty() {
                return Err(Errno::ENOENT);
            }
            if target.bytes()[0] == b'/' {
                here.clear();
                here.push(root.bytes())?;
                at = Fd::lent(fd_guest_root());
            }
            target.push(rest.bytes())?;
            rest = target;
            continue;
        }
        if last {
            if must_be_dir && stat.kind() != S_IFDIR {
                return Err(Errno::ENOTDIR);
            }
            return Ok(Spot { dir: at, name, last: Last::Node(stat.kind()), mount, path: here });
        }
        if stat.kind() != S_IFDIR {
            return Err(Errno::ENOTDIR);
        }
        at = Fd::owned(openat(at.get(), name.c(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0)?);
        here.push_name(name.bytes())?;
    }
}

fn writes(flags: u32) -> bool {
    flags & O_PATH == 0 && (flags & O_ACCMODE != 0 || flags & (O_TRUNC | O_TMPFILE_BIT) != 0)
}

/// A copy of this process's own descriptor, named by its magic link.
fn duplicate(spot: &Spot, flags: u32) -> R {
    let mut link = Name::new();
    let len = readlinkat(spot.dir.get(), spot.name.c(), link.spare())?;
    link.filled(len);
    let fd = number(spot.name.bytes()).ok_or(Errno::EACCES)?;
    let mut mine = Name::new();
    let len = readlinkat(AT_FDCWD, crate::text::fd_path(fd as i32).c(), mine.spare())?;
    mine.filled(len);
    if link.bytes() != mine.bytes() || flags & O_PATH != 0 {
        return Err(Errno::EACCES);
    }
    const F_DUPFD: usize = 0;
    const F_DUPFD_CLOEXEC: usize = 1030;
    const F_GETFL: usize = 3;
    // SAFETY: no pointers.
    unsafe {
        let open_for = call!(nr::FCNTL, fd, F_GETFL)? as u32 & O_ACCMODE;
        if open_for != 2 && open_for != flags & O_ACCMODE {
            return Err(Errno::EACCES);
        }
        call!(nr::FCNTL, fd, if flags & O_CLOEXEC != 0 { F_DUPFD_CLOEXEC } else { F_DUPFD }, 0)
    }
}

/// Opens a path by the slow way.
pub fn open(dir: i32, path: &CStr, flags: u32, mode: u32) -> R {
    let exclusive = flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL;
    let ending = match (flags & O_NOFOLLOW == 0 && !exclusive, flags & O_CREAT != 0 && flags & O_PATH == 0) {
        (true, true) => Ending::Create,
        (true, false) => Ending::Follow,
        (false, true) => Ending::CreateName,
        (false, false) => Ending::Name,
    };
    let spot = walk(dir, path, ending)?;
    let read_only = |index: Option<usize>| index.is_some_and(|i| config().mounts()[i].flags & MOUNT_READ_ONLY != 0);
    match spot.last {
        Last::Missing => {
            if flags & O_CREAT == 0 {
                return Err(Errno::ENOENT);
            }
            if read_only(spot.mount) {
                return Err(Errno::EROFS);
            }
            openat2(spot.dir.get(), spot.name.c(), flags | O_NOFOLLOW, mode, RESOLVE_BENEATH)
        }
        _ if exclusive => Err(Errno::EEXIST),
        Last::Node(_) => {
            if read_only(spot.mount) && writes(flags) {
                return Err(Errno::EROFS);
            }
            if spot.name.bytes() == b"." {
                return openat2(spot.dir.get(), c".", flags, mode, RESOLVE_BENEATH);
            }
            openat(spot.dir.get(), spot.name.c(), flags | O_NOFOLLOW, mode)
        }
        Last::Magic => match openat(spot.dir.get(), spot.name.c(), flags & !O_NOFOLLOW, mode) {
            // A file of the builder's that the step got as its output: it may be used, not opened. For /dev/stdout and
            // the like the descriptor itself is as good.
            Err(Errno::EACCES) => duplicate(&spot, flags),
            other => other,
        },
        Last::Mount(index) => {
            let entry = &config().mounts()[index];
            if entry.flags & MOUNT_READ_ONLY != 0 && writes(flags) {
                return Err(Errno::EROFS);
            }
            if entry.flags & MOUNT_FILE == 0 {
                if ending == Ending::Create {
                    return Err(Errno::EISDIR);
                }
                return openat2(entry.fd, c".", flags & !O_CREAT, mode, RESOLVE_BENEATH);
            }
            let mut source = PathText::new();
            source.push(config().text(entry.source))?;
            // SAFETY: the path ends with NUL.
            unsafe { call!(nr::OPENAT, AT_FDCWD, source.c().as_ptr(), flags & !(O_CREAT | O_NOFOLLOW), mode) }
        }
    }
}
