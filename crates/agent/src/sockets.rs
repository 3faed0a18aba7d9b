//! Unix sockets with paths.
//!
//! A socket is bound as `/proc/self/fd/W/PATH`, W the tree's descriptor or a mount's (the same in all processes), so
//! that the kernel resolves the canonical path from there and every process can translate the name back. Where that
//! is too long for an address, the parent directory's descriptor takes the place of W; such names cannot be
//! translated back. Connecting goes by the file's own descriptor.

use crate::arch::nr;
use crate::guest;
use crate::paths::{self, at_parent, guest_path, locate, mount_of};
use crate::perms;
use crate::stat::key;
use crate::state::{config, creds, fd_root, interruptible, table};
use crate::sys::{
    AT_FDCWD, AT_SYMLINK_NOFOLLOW, Errno, Fd, O_CLOEXEC, O_NOFOLLOW, O_PATH, R, S_IFSOCK, call, openat, statx,
};
use crate::text::{PathText, Text, fd_path, number};

const AF_UNIX: u16 = 1;
const PATH_MAX: usize = 108;

/// `struct sockaddr_un` with its length.
#[repr(C)]
struct Address {
    family: u16,
    path: [u8; PATH_MAX],
    len: usize,
}

impl Address {
    fn of(path: &[u8]) -> R<Address> {
        if path.len() > PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let mut address = Address { family: AF_UNIX, path: [0; PATH_MAX], len: 2 + path.len() };
        for (to, from) in address.path.iter_mut().zip(path) {
            *to = *from;
        }
        if path.len() < PATH_MAX {
            address.len += 1;
        }
        Ok(address)
    }
}

/// The path in a guest's socket address; `None` where it is of another kind.
fn path_of(address: usize, len: usize, out: &mut PathText) -> R<bool> {
    if address == 0 || !(3..=110).contains(&len) || guest::read::<u16>(address)? != AF_UNIX {
        return Ok(false);
    }
    let bytes = guest::bytes(address + 2, len - 2)?;
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    out.push(&bytes[..end])?;
    Ok(end != 0)
}

/// bind.
pub fn sys_bind(socket: usize, address: usize, len: usize) -> R {
    let mut path = PathText::new();
    if !path_of(address, len, &mut path)? {
        // SAFETY: the kernel checks the guest's pointer.
        return unsafe { call!(nr::BIND, socket, address, len) };
    }
    at_parent(AT_FDCWD, path.c(), |dir, name| {
        if !perms::is_superuser() {
            perms::change(dir)?;
        }
        // The kernel's own check would say EINVAL for the address before it says EADDRINUSE for the name.
        if statx(dir, name, AT_SYMLINK_NOFOLLOW).is_ok() {
            return Err(Errno(98 /* EADDRINUSE */));
        }
        // A name alone needs no help, and is what getsockname gives back then.
        let alone = dir == AT_FDCWD && path.bytes() == name.to_bytes() && mount_of_cwd().is_none();
        let parent = if dir == AT_FDCWD { Fd::owned(openat(dir, c".", O_PATH | O_CLOEXEC, 0)?) } else { Fd::lent(dir) };
        let address = if alone { Address::of(name.to_bytes())? } else { bind_address(parent.get(), name.to_bytes())? };
        // SAFETY: the address is ours.
        unsafe { call!(nr::BIND, socket, &raw const address, address.len) }?;
        let wanted = 0o777 & !creds().umask;
        let fd = Fd::owned(openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0)?);
        let stat = crate::sys::fstatx(fd.get())?;
        table().forget(key(&stat));
        let me = creds();
        if me.uid[3] != 0 || me.gid[3] != 0 {
            table().set_owner(key(&stat), Some((me.uid[3], me.gid[3])));
        }
        if wanted | 0o600 == wanted {
            let path = fd_path(fd.get());
            // SAFETY: the path is ours.
            let _ = unsafe { call!(nr::FCHMODAT, AT_FDCWD, path.c().as_ptr(), wanted) };
        } else {
            table().set_mode(key(&stat), Some((S_IFSOCK | wanted, (0, 0))));
        }
        Ok(0)
    })
}

/// The mount in which the working directory lies.
fn mount_of_cwd() -> Option<usize> {
    let mut path = PathText::new();
    guest_path(AT_FDCWD, &mut path).ok()?;
    mount_of(path.bytes()).map(|(index, _)| index)
}

fn bind_address(parent: i32, name: &[u8]) -> R<Address> {
    let mut path = PathText::new();
    if guest_path(parent, &mut path)? {
        let (base, skip) = match mount_of(path.bytes()) {
            Some((_, mount)) => (mount.fd, mount.target.len as usize),
            None => (fd_root(), 0),
        };
        let mut full = Text::<PATH_MAX>::new();
        let fits = full
            .push(fd_path(base).bytes())
            .and_then(|()| full.push(&path.bytes()[skip..]))
            .and_then(|()| full.push_name(name));
        if fits.is_ok() {
            return Address::of(full.bytes());
        }
    }
    let mut short = Text::<PATH_MAX>::new();
    short.push(fd_path(parent).bytes())?;
    short.push_name(name)?;
    Address::of(short.bytes())
}

/// connect.
pub fn sys_connect(socket: usize, address: usize, len: usize, mask: u64) -> R {
    let mut path = PathText::new();
    if !path_of(address, len, &mut path)? {
        // SAFETY: the kernel checks the guest's pointer.
        return interruptible(mask, || unsafe { call!(nr::CONNECT, socket, address, len) });
    }
    let (fd, _) = find(&path)?;
    let address = Address::of(fd_path(fd.get()).bytes())?;
    // SAFETY: the address is ours.
    interruptible(mask, || unsafe { call!(nr::CONNECT, socket, &raw const address, address.len) })
}

fn find(path: &PathText) -> R<(Fd, crate::sys::Statx)> {
    if !perms::is_superuser() {
        perms::search(AT_FDCWD, path.c())?;
        let mut stat = locate(AT_FDCWD, path.c(), false)?.1;
        crate::stat::view(&mut stat);
        perms::need(&stat, 2)?;
    }
    locate(AT_FDCWD, path.c(), false)
}

/// sendto with an address.
pub fn sys_sendto(args: [usize; 6], mask: u64) -> R {
    let mut path = PathText::new();
    let [socket, data, size, flags, address, len] = args;
    if !path_of(address, len, &mut path)? {
        // SAFETY: the kernel checks the guest's pointers.
        return interruptible(mask, || unsafe { call!(nr::SENDTO, socket, data, size, flags, address, len) });
    }
    let (fd, _) = find(&path)?;
    let to = Address::of(fd_path(fd.get()).bytes())?;
    // SAFETY: the address is ours, the kernel checks the guest's pointers.
    interruptible(mask, || unsafe { call!(nr::SENDTO, socket, data, size, flags, &raw const to, to.len) })
}

/// `struct msghdr`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Message {
    name: usize,
    name_len: u32,
    pad: u32,
    rest: [usize; 5],
}

/// sendmsg: `None` where there is no path in it, and the guest makes the call itself.
pub fn sys_sendmsg(args: [usize; 6], mask: u64) -> R {
    let [socket, header, flags, ..] = args;
    let mut message: Message = guest::read(header)?;
    let mut path = PathText::new();
    if message.name != 0 && path_of(message.name, message.name_len as usize, &mut path)? {
        let (fd, _) = find(&path)?;
        let to = Address::of(fd_path(fd.get()).bytes())?;
        message.name = &raw const to as usize;
        message.name_len = to.len as u32;
        // SAFETY: the header is ours, the kernel checks the guest's pointers in it.
        return interruptible(mask, || unsafe { call!(nr::SENDMSG, socket, &raw const message, flags) });
    }
    // SAFETY: the kernel checks the guest's pointers.
    interruptible(mask, || unsafe { call!(nr::SENDMSG, socket, header, flags) })
}

/// Translates a Unix address that the kernel wrote, as far as it came from [`sys_bind`].
fn translate(address: usize, len_address: usize, room: usize) -> R<()> {
    if address == 0 || len_address == 0 {
        return Ok(());
    }
    let len = guest::read::<u32>(len_address)? as usize;
    let mut path = PathText::new();
    if len > room || !path_of(address, len.min(110), &mut path)? {
        return Ok(());
    }
    let Some(rest) = path.bytes().strip_prefix(b"/proc/self/fd/") else { return Ok(()) };
    let end = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
    let Some(fd) = number(&rest[..end]) else { return Ok(()) };
    let config = config();
    let target = if fd as i32 == fd_root() {
        &b""[..]
    } else {
        match config.mounts().iter().find(|mount| mount.fd == fd as i32) {
            Some(mount) => config.text(mount.target),
            None => return Ok(()),
        }
    };
    let mut name = Text::<PATH_MAX>::new();
    name.push(target)?;
    name.push(&rest[end..])?;
    paths::below_root(&mut name);
    guest::write_bytes(address + 2, name.bytes())?;
    if 2 + name.len() < room {
        guest::write(address + 2 + name.len(), 0u8)?;
    }
    guest::write(len_address, (3 + name.len()) as u32)
}

/// getsockname, getpeername, accept, accept4: calls that return an address.
pub fn sys_name(nr: u32, args: [usize; 6], mask: u64) -> R {
    let room = if args[1] != 0 && args[2] != 0 { guest::read::<u32>(args[2])? as usize } else { 0 };
    // SAFETY: the kernel checks the guest's pointers.
    let real = || unsafe { call!(nr, args[0], args[1], args[2], args[3]) };
    let result = if matches!(nr, nr::ACCEPT | nr::ACCEPT4) { interruptible(mask, real) } else { real() }?;
    translate(args[1], args[2], room)?;
    Ok(result)
}

/// getsockopt: a peer's real ids are not for the guest to see.
pub fn sys_getsockopt(args: [usize; 6]) -> R {
    const SOL_SOCKET: usize = 1;
    const SO_PEERCRED: usize = 17;
    // SAFETY: the kernel checks the guest's pointers.
    let result = unsafe { call!(nr::GETSOCKOPT, args[0], args[1], args[2], args[3], args[4]) }?;
    if args[1] == SOL_SOCKET && args[2] == SO_PEERCRED && guest::read::<u32>(args[4])? >= 12 {
        let config = config();
        let [pid, uid, gid]: [u32; 3] = guest::read(args[3])?;
        let me = creds();
        let uid = if uid == config.real_uid { me.uid[1] } else { uid };
        let gid = if gid == config.real_gid { me.gid[1] } else { gid };
        guest::write(args[3], [pid, uid, gid])?;
    }
    Ok(result)
}
