//! Unix sockets with paths, low ports, and who is at the other end.
//!
//! A socket is bound as `/proc/self/fd/W/PATH`, W the tree's descriptor or a mount's (the same in all processes), so
//! that the kernel resolves the canonical path from there and every process can translate the name back. Where that
//! is too long for an address, the parent directory's descriptor takes the place of W; such names cannot be
//! translated back. Connecting goes by the file's own descriptor.

use core::sync::atomic::Ordering::Relaxed;

use crate::arch::nr;
use crate::guest;
use crate::paths::{self, at_parent, guest_path, locate, mount_of};
use crate::perms;
use crate::stat::key;
use crate::state::{config, creds, creds_of, fd_root, interruptible, table};
use crate::sys::{
    AT_FDCWD, AT_SYMLINK_NOFOLLOW, Errno, Fd, O_CLOEXEC, O_NOFOLLOW, O_PATH, R, S_IFSOCK, call, openat, statx,
};
use crate::text::{PathText, Text, fd_path, number};

const AF_UNIX: u16 = 1;
const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;
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
        let result = unsafe { call!(nr::BIND, socket, address, len) };
        return if result == Err(Errno::EACCES) { bind_low(socket, address, len) } else { result };
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

/// Ports that only root may bind, and how far they are moved where the real user may not: to the last 1024, from which no
/// system takes ports by itself.
const LOW_PORTS: u16 = 1024;
const MOVED_BY: u16 = 0u16.wrapping_sub(LOW_PORTS);

/// `struct sockaddr_in` and `sockaddr_in6`, as far as they go.
#[repr(C)]
#[derive(Clone, Copy)]
struct Internet {
    family: u16,
    port: [u8; 2],
    rest: [u8; 24],
}

impl Internet {
    const SHORTEST: usize = 16;

    fn at(address: usize, len: usize) -> R<Option<Internet>> {
        if address == 0 || !(Internet::SHORTEST..=size_of::<Internet>()).contains(&len) {
            return Ok(None);
        }
        let family = guest::read::<u16>(address)?;
        if family != 2 && family != 10 {
            return Ok(None);
        }
        let mut rest = [0; 24];
        rest[..len - 4].copy_from_slice(guest::bytes(address + 4, len - 4)?);
        Ok(Some(Internet { family, port: guest::read(address + 2)?, rest }))
    }

    fn port(&self) -> u16 {
        u16::from_be_bytes(self.port)
    }

    fn moved(mut self) -> Internet {
        self.port = (self.port() + MOVED_BY).to_be_bytes();
        self
    }

    fn is_loopback(&self) -> bool {
        let any_or_local = |v4: &[u8]| v4[0] == 127 || v4 == [0; 4];
        if self.family == 2 {
            return any_or_local(&self.rest[..4]);
        }
        let v6 = &self.rest[4..20];
        let mapped = v6[..10] == [0; 10] && v6[10..12] == [0xff; 2] && any_or_local(&v6[12..]);
        mapped || (v6[..15] == [0; 15] && v6[15] <= 1)
    }

    /// Where a low port of this step really is, if it was moved.
    fn where_it_listens(self) -> Option<Internet> {
        (self.port() < LOW_PORTS && self.is_loopback() && is_moved(self.port())).then(|| self.moved())
    }
}

fn is_moved(port: u16) -> bool {
    table().header().ports[usize::from(port / 32)].load(Relaxed) & 1 << (port % 32) != 0
}

/// Binds a port that the real user may not have: `nginx -t` does, and so does every server that a step starts. The step
/// finds it under its number, on loopback.
fn bind_low(socket: usize, address: usize, len: usize) -> R {
    const CAP_NET_BIND_SERVICE: u32 = 10;
    let refused = Err(Errno::EACCES);
    let Some(wanted) = Internet::at(address, len)? else { return refused };
    let port = wanted.port();
    if port == 0 || port >= LOW_PORTS || !perms::capable(CAP_NET_BIND_SERVICE) {
        return refused;
    }
    let moved = wanted.moved();
    // SAFETY: the address is ours.
    let result = unsafe { call!(nr::BIND, socket, &raw const moved, len) }?;
    table().header().ports[usize::from(port / 32)].fetch_or(1 << (port % 32), Relaxed);
    Ok(result)
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
        if let Some(moved) = Internet::at(address, len)?.and_then(Internet::where_it_listens) {
            // SAFETY: the address is ours.
            return interruptible(mask, || unsafe { call!(nr::CONNECT, socket, &raw const moved, len) });
        }
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
        if let Some(moved) = Internet::at(address, len)?.and_then(Internet::where_it_listens) {
            // SAFETY: the address is ours, the kernel checks the guest's pointers.
            return interruptible(mask, || unsafe {
                call!(nr::SENDTO, socket, data, size, flags, &raw const moved, len)
            });
        }
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

/// Room for control data that names a sender: with some descriptors beside it.
const CONTROL: usize = 512;

/// The control data of a message, where it names a sender (`SCM_CREDENTIALS`): with the real ids, as the kernel takes no
/// others.
fn credentials(message: &Message) -> R<Option<[u64; CONTROL / 8]>> {
    const SOL_SOCKET: u32 = 1;
    const SCM_CREDENTIALS: u32 = 2;
    const HEADER: usize = 16;
    let [_, _, control, len, _] = message.rest;
    if control == 0 || !(HEADER..=CONTROL).contains(&len) {
        return Ok(None);
    }
    let mut copy = [0u64; CONTROL / 8];
    // SAFETY: the copy has room for `len` bytes, and any bytes are numbers.
    let bytes = unsafe { core::slice::from_raw_parts_mut(copy.as_mut_ptr().cast::<u8>(), len) };
    bytes.copy_from_slice(guest::bytes(control, len)?);
    let mut at = 0;
    let mut found = false;
    while let Some(one) = bytes.get_mut(at..).filter(|rest| rest.len() >= HEADER) {
        let word = |from: usize| u32::from_ne_bytes([one[from], one[from + 1], one[from + 2], one[from + 3]]);
        let size = word(0) as usize;
        if size < HEADER || size > one.len() {
            break;
        }
        if (word(8), word(12)) == (SOL_SOCKET, SCM_CREDENTIALS) && size >= HEADER + 12 {
            let (uid, gid) = (word(HEADER + 4), word(HEADER + 8));
            let me = creds();
            if (!perms::capable(CAP_SETUID) && !me.uid[..3].contains(&uid))
                || (!perms::capable(CAP_SETGID) && !me.gid[..3].contains(&gid))
            {
                return Err(Errno::EPERM);
            }
            one[HEADER + 4..HEADER + 8].copy_from_slice(&config().real_uid.to_ne_bytes());
            one[HEADER + 8..HEADER + 12].copy_from_slice(&config().real_gid.to_ne_bytes());
            found = true;
        }
        at += size.next_multiple_of(8);
    }
    Ok(found.then_some(copy))
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
    if let Some(moved) = Internet::at(message.name, message.name_len as usize)?.and_then(Internet::where_it_listens) {
        message.name = &raw const moved as usize;
        // SAFETY: the header is ours, the kernel checks the guest's pointers in it.
        return interruptible(mask, || unsafe { call!(nr::SENDMSG, socket, &raw const message, flags) });
    }
    if let Some(mut control) = credentials(&message)? {
        message.rest[2] = control.as_mut_ptr() as usize;
        // SAFETY: as above.
        return interruptible(mask, || unsafe { call!(nr::SENDMSG, socket, &raw const message, flags) });
    }
    // SAFETY: the kernel checks the guest's pointers.
    interruptible(mask, || unsafe { call!(nr::SENDMSG, socket, header, flags) })
}

/// Translates an address that the kernel wrote, as far as it came from [`sys_bind`].
fn translate(address: usize, len_address: usize, room: usize) -> R<()> {
    if address == 0 || len_address == 0 {
        return Ok(());
    }
    let len = guest::read::<u32>(len_address)? as usize;
    let mut path = PathText::new();
    if len > room {
        return Ok(());
    }
    if let Some(internet) = Internet::at(address, len)? {
        let port = internet.port().wrapping_sub(MOVED_BY);
        if port < LOW_PORTS && is_moved(port) {
            guest::write(address + 2, port.to_be_bytes())?;
        }
        return Ok(());
    }
    if !path_of(address, len.min(110), &mut path)? {
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

/// getsockopt: who the peer is, is told as the guest believes it. The kernel names the process that connected, or that
/// listens; where it is gone, all that is known of it is that it was this step's.
pub fn sys_getsockopt(args: [usize; 6]) -> R {
    const SOL_SOCKET: usize = 1;
    const SO_PEERCRED: usize = 17;
    const SO_PEERGROUPS: usize = 59;
    let [socket, level, option, value, len, _] = args;
    if level == SOL_SOCKET && option == SO_PEERGROUPS {
        let mut ids = [0u32; 3];
        let mut size = size_of_val(&ids) as u32;
        // SAFETY: value and length are ours.
        unsafe { call!(nr::GETSOCKOPT, socket, level, SO_PEERCRED, ids.as_mut_ptr(), &raw mut size) }?;
        if let Some(peer) = creds_of(ids[0]) {
            let groups = &peer.groups[..(peer.group_count as usize).min(peer.groups.len())];
            let room = guest::read::<u32>(len)? as usize;
            guest::write(len, size_of_val(groups) as u32)?;
            if room < size_of_val(groups) {
                return Err(Errno::ERANGE);
            }
            for (index, group) in groups.iter().enumerate() {
                guest::write(value + 4 * index, *group)?;
            }
            return Ok(0);
        }
    }
    // SAFETY: the kernel checks the guest's pointers.
    let result = unsafe { call!(nr::GETSOCKOPT, socket, level, option, value, len) }?;
    if level == SOL_SOCKET && option == SO_PEERCRED && guest::read::<u32>(len)? >= 12 {
        let config = config();
        let [pid, uid, gid]: [u32; 3] = guest::read(value)?;
        let peer = if pid == 0 { None } else { creds_of(pid) };
        let (its_uid, its_gid) = peer.map_or_else(|| (creds().uid[1], creds().gid[1]), |it| (it.uid[1], it.gid[1]));
        let uid = if uid == config.real_uid { its_uid } else { uid };
        let gid = if gid == config.real_gid { its_gid } else { gid };
        guest::write(value, [pid, uid, gid])?;
    }
    Ok(result)
}
