//! Files of /proc whose truth would mislead the guest.
//!
//! `status` names the one real user: `userdel` would find the user with that number busy, `ps` would name it. The
//! guest gets a copy in memory in which identities and capabilities are those that it believes in.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use crate::arch::nr;
use crate::protocol::Creds;
use crate::state::creds_of;
use crate::sys::{AT_FDCWD, Fd, O_ACCMODE, O_CLOEXEC, R, call, getpid, readlinkat};
use crate::text::{Name, Text, fd_path, number};

/// A status file has some 1,500 bytes.
const ROOM: usize = 8192;

/// The process of a status file, by the builder's path of it.
fn process(path: &[u8]) -> Option<u32> {
    let rest = path.strip_prefix(b"/proc/")?;
    let end = rest.iter().position(|b| *b == b'/')?;
    let pid = number(&rest[..end])?;
    let tail = &rest[end..];
    let tail = match tail.strip_prefix(b"/task/") {
        Some(task) => &task[task.iter().position(|b| *b == b'/')?..],
        None => tail,
    };
    (tail == b"/status").then_some(pid)
}

/// Whom a file in a process's directory of /proc belongs to, by the builder's path of it.
pub fn owner_within(path: &[u8]) -> Option<Creds> {
    let rest = path.strip_prefix(b"/proc/")?;
    let end = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
    creds_of(number(&rest[..end])?)
}

/// Who owns a process's directory in /proc, and the files directly in it: `ps`, `pgrep -u` and `start-stop-daemon --user`
/// ask for it. `follow`: whether a link at the end is meant, or what it leads to.
pub fn owner(path: &[u8], follow: bool) -> Option<Creds> {
    let rest = path.strip_prefix(b"/proc/")?;
    let end = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
    let tail = rest[end..].strip_prefix(b"/").unwrap_or(b"");
    let pid = match &rest[..end] {
        b"self" if end < rest.len() || follow => getpid(),
        pid => number(pid)?,
    };
    let through = tail.contains(&b'/') || follow && matches!(tail, b"cwd" | b"exe" | b"root");
    if through { None } else { creds_of(pid) }
}

/// Replaces a file that was just opened by the copy that the guest is to see, where it is one of those.
pub fn as_the_guest_sees(path: &CStr, fd: usize, flags: u32) -> R {
    if !path.to_bytes().ends_with(b"status") || flags & O_ACCMODE != 0 {
        return Ok(fd);
    }
    let mut link = Name::new();
    match readlinkat(AT_FDCWD, fd_path(fd as i32).c(), link.spare()) {
        Ok(len) => link.filled(len),
        Err(_) => return Ok(fd),
    }
    let Some(creds) = process(link.bytes()).and_then(creds_of) else { return Ok(fd) };
    let original = Fd::owned(fd);
    let mut content = [MaybeUninit::<u8>::uninit(); ROOM];
    // SAFETY: the buffer can be written for its length.
    let len = unsafe { call!(nr::READ, original.get(), content.as_mut_ptr(), content.len()) }?;
    // SAFETY: so many bytes were read.
    let content = unsafe { core::slice::from_raw_parts(content.as_ptr().cast::<u8>(), len) };
    let mut out = Text::<{ 2 * ROOM }>::new();
    rewrite(content, &creds, &mut out)?;
    let cloexec = if flags & O_CLOEXEC != 0 { 1 } else { 0 };
    // SAFETY: names and buffers are ours.
    unsafe {
        let copy = Fd::owned(call!(nr::MEMFD_CREATE, c"status".as_ptr(), cloexec)?);
        call!(nr::WRITE, copy.get(), out.bytes().as_ptr(), out.len())?;
        const LSEEK: u32 = 8;
        call!(LSEEK, copy.get(), 0, 0)?;
        drop(original);
        Ok(copy.into_raw())
    }
}

fn rewrite<const N: usize>(content: &[u8], creds: &Creds, out: &mut Text<N>) -> R<()> {
    for line in content.split_inclusive(|b| *b == b'\n') {
        let colon = line.iter().position(|b| *b == b':').unwrap_or(0);
        let name = &line[..colon];
        let ids = |out: &mut Text<N>, ids: &[u32], separator: &[u8]| {
            for id in ids {
                out.push(separator)?;
                out.push_number((*id).into())?;
            }
            Ok(())
        };
        let caps = |out: &mut Text<N>, value: u64| {
            out.push(b"\t")?;
            for shift in (0..16).rev() {
                out.push(&[b"0123456789abcdef"[(value >> (shift * 4) & 15) as usize]])?;
            }
            Ok(())
        };
        let [effective, permitted, inheritable, bounding, ambient] = creds.caps;
        let before = out.len();
        out.push(&line[..(colon + 1).min(line.len())])?;
        match name {
            b"Uid" => ids(out, &creds.uid, b"\t")?,
            b"Gid" => ids(out, &creds.gid, b"\t")?,
            b"Groups" => {
                out.push(b"\t")?;
                for group in &creds.groups[..(creds.group_count as usize).min(creds.groups.len())] {
                    out.push_number((*group).into())?;
                    out.push(b" ")?;
                }
            }
            b"Umask" => {
                out.push(b"\t0")?;
                for shift in [6, 3, 0] {
                    out.push(&[b'0' + (creds.umask >> shift & 7) as u8])?;
                }
            }
            b"CapInh" => caps(out, inheritable)?,
            b"CapPrm" => caps(out, permitted)?,
            b"CapEff" => caps(out, effective)?,
            b"CapBnd" => caps(out, bounding)?,
            b"CapAmb" => caps(out, ambient)?,
            _ => {
                out.truncate(before);
                out.push(line)?;
                continue;
            }
        }
        out.push(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::DEFAULT_CAPS;

    #[test]
    fn identities_are_the_guests() {
        let mut creds = Creds::new(0, 5, &[7, 8], 0o27, DEFAULT_CAPS);
        creds.uid[1] = 33;
        let real =
            b"Name:\tx\nUmask:\t0000\nUid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\nGroups:\t1000 \n\
                     VmPeak:\t  1 kB\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n";
        let mut out = Text::<1024>::new();
        rewrite(real, &creds, &mut out).expect("fits");
        let expected = b"Name:\tx\nUmask:\t0027\nUid:\t0\t33\t0\t0\nGid:\t5\t5\t5\t5\nGroups:\t7 8 \n\
                         VmPeak:\t  1 kB\nCapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\n";
        assert_eq!(core::str::from_utf8(out.bytes()), core::str::from_utf8(expected));
    }

    #[test]
    fn only_status_files_of_processes_are_meant() {
        assert_eq!(process(b"/proc/12/status"), Some(12));
        assert_eq!(process(b"/proc/12/task/13/status"), Some(12));
        for other in ["/proc/status", "/proc/12/net/status", "/x/proc/12/status", "/proc/self/status"] {
            assert_eq!(process(other.as_bytes()), None, "{other}");
        }
    }
}
