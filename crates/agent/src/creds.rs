//! Identities: the setuid family, groups, capabilities, the parts of prctl that belong to them.
//!
//! Nothing of it reaches the kernel: for real the process keeps its one user and no capability.

use crate::arch::nr;
use crate::guest;
use crate::protocol::{Creds, MAX_GROUPS};
use crate::state::{creds, creds_mut};
use crate::sys::{Errno, R, call};

const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;
const CAP_SETPCAP: u32 = 8;
const KEEP_CAPS: u32 = 1 << 4;
const NO_SETUID_FIXUP: u32 = 1 << 2;
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    User,
    Group,
}

fn ids(creds: &Creds, kind: Kind) -> [u32; 4] {
    if kind == Kind::User { creds.uid } else { creds.gid }
}

fn capable(creds: &Creds, bit: u32) -> bool {
    creds.caps[0] & 1 << bit != 0
}

fn set(kind: Kind, change: impl FnOnce([u32; 4], bool) -> R<[u32; 4]>) -> R {
    let now = creds();
    let old = ids(now, kind);
    let privileged = capable(now, if kind == Kind::User { CAP_SETUID } else { CAP_SETGID });
    let new = change(old, privileged)?;
    if new == old {
        return Ok(0);
    }
    let creds = creds_mut();
    if kind == Kind::Group {
        creds.gid = new;
        return Ok(0);
    }
    creds.uid = new;
    if creds.securebits & NO_SETUID_FIXUP == 0 {
        let roots = |ids: &[u32; 4]| ids[..3].contains(&0);
        if roots(&old) && !roots(&new) {
            if creds.securebits & KEEP_CAPS == 0 {
                creds.caps[1] = 0;
            }
            creds.caps[0] = 0;
            creds.caps[4] = 0;
        } else if old[1] == 0 && new[1] != 0 {
            creds.caps[0] = 0;
        } else if old[1] != 0 && new[1] == 0 {
            creds.caps[0] = creds.caps[1];
        }
    }
    Ok(0)
}

fn one_of(ids: [u32; 4], id: u32, how_many: usize) -> bool {
    ids[..how_many].contains(&id)
}

fn set_one(kind: Kind, id: u32) -> R {
    if id == NONE {
        return Err(Errno::EINVAL);
    }
    set(kind, |old, privileged| {
        if privileged {
            Ok([id; 4])
        } else if id == old[0] || id == old[2] {
            Ok([old[0], id, old[2], id])
        } else {
            Err(Errno::EPERM)
        }
    })
}

fn set_two(kind: Kind, real: u32, effective: u32) -> R {
    set(kind, |old, privileged| {
        let allowed =
            privileged || ((real == NONE || one_of(old, real, 2)) && (effective == NONE || one_of(old, effective, 3)));
        if !allowed {
            return Err(Errno::EPERM);
        }
        let r = if real == NONE { old[0] } else { real };
        let e = if effective == NONE { old[1] } else { effective };
        let s = if real != NONE || (effective != NONE && effective != old[0]) { e } else { old[2] };
        Ok([r, e, s, e])
    })
}

fn set_three(kind: Kind, wanted: [u32; 3]) -> R {
    set(kind, |old, privileged| {
        if !privileged && wanted.iter().any(|id| *id != NONE && !one_of(old, *id, 3)) {
            return Err(Errno::EPERM);
        }
        let pick = |index: usize| if wanted[index] == NONE { old[index] } else { wanted[index] };
        Ok([pick(0), pick(1), pick(2), pick(1)])
    })
}

fn set_fs(kind: Kind, id: u32) -> R {
    let old = ids(creds(), kind)[3];
    let _ = set(kind, |now, privileged| {
        if id != NONE && (privileged || one_of(now, id, 4)) { Ok([now[0], now[1], now[2], id]) } else { Ok(now) }
    });
    Ok(old as usize)
}

fn get_three(ids: [u32; 4], out: [usize; 3]) -> R {
    for (id, to) in ids.iter().zip(out) {
        guest::write(to, *id)?;
    }
    Ok(0)
}

/// The whole setuid family.
pub fn sys_ids(nr: u32, a: [usize; 6]) -> R {
    let id = |index: usize| a[index] as u32;
    Ok(match nr {
        nr::GETUID => creds().uid[0] as usize,
        nr::GETEUID => creds().uid[1] as usize,
        nr::GETGID => creds().gid[0] as usize,
        nr::GETEGID => creds().gid[1] as usize,
        nr::GETRESUID => get_three(creds().uid, [a[0], a[1], a[2]])?,
        nr::GETRESGID => get_three(creds().gid, [a[0], a[1], a[2]])?,
        nr::SETUID => set_one(Kind::User, id(0))?,
        nr::SETGID => set_one(Kind::Group, id(0))?,
        nr::SETREUID => set_two(Kind::User, id(0), id(1))?,
        nr::SETREGID => set_two(Kind::Group, id(0), id(1))?,
        nr::SETRESUID => set_three(Kind::User, [id(0), id(1), id(2)])?,
        nr::SETRESGID => set_three(Kind::Group, [id(0), id(1), id(2)])?,
        nr::SETFSUID => set_fs(Kind::User, id(0))?,
        nr::SETFSGID => set_fs(Kind::Group, id(0))?,
        _ => return Err(Errno::ENOSYS),
    })
}

/// getgroups.
pub fn sys_getgroups(size: usize, out: usize) -> R {
    let creds = creds();
    let count = (creds.group_count as usize).min(MAX_GROUPS);
    if size as i32 == 0 {
        return Ok(count);
    }
    if (size as i32) < count as i32 {
        return Err(Errno::EINVAL);
    }
    for (index, group) in creds.groups[..count].iter().enumerate() {
        guest::write(out + index * 4, *group)?;
    }
    Ok(count)
}

/// setgroups.
pub fn sys_setgroups(count: usize, groups: usize) -> R {
    if !capable(creds(), CAP_SETGID) {
        return Err(Errno::EPERM);
    }
    if count > MAX_GROUPS {
        return Err(Errno::EINVAL);
    }
    let mut new = [0; MAX_GROUPS];
    for (index, group) in new[..count].iter_mut().enumerate() {
        *group = guest::read(groups + index * 4)?;
    }
    let creds = creds_mut();
    creds.groups = new;
    creds.group_count = count as u32;
    Ok(0)
}

const CAP_V1: u32 = 0x1998_0330;
const CAP_V2: u32 = 0x2007_1026;
const CAP_V3: u32 = 0x2008_0522;

fn cap_words(header: usize) -> R<usize> {
    match guest::read::<u32>(header)? {
        CAP_V1 => Ok(1),
        CAP_V2 | CAP_V3 => Ok(2),
        _ => {
            guest::write(header, CAP_V3)?;
            Err(Errno::EINVAL)
        }
    }
}

/// capget.
pub fn sys_capget(header: usize, data: usize) -> R {
    let words = match cap_words(header) {
        Ok(words) => words,
        Err(Errno::EINVAL) if data == 0 => return Ok(0),
        Err(errno) => return Err(errno),
    };
    if data == 0 {
        return Ok(0);
    }
    let caps = creds().caps;
    for word in 0..words {
        for (set, value) in caps[..3].iter().enumerate() {
            guest::write(data + word * 12 + set * 4, (value >> (word * 32)) as u32)?;
        }
    }
    Ok(0)
}

/// capset.
pub fn sys_capset(header: usize, data: usize) -> R {
    let words = cap_words(header)?;
    let pid: i32 = guest::read(header + 4)?;
    if pid != 0 && pid as u32 != crate::sys::getpid() && pid as u32 != crate::sys::gettid() {
        return Err(Errno::EPERM);
    }
    let mut new = [0u64; 3];
    for word in 0..words {
        for (set, value) in new.iter_mut().enumerate() {
            *value |= u64::from(guest::read::<u32>(data + word * 12 + set * 4)?) << (word * 32);
        }
    }
    let now = creds();
    let [effective, permitted, inheritable] = new;
    let extends = permitted & !now.caps[1] != 0 || effective & !permitted != 0;
    let inherits = inheritable & !(now.caps[2] | now.caps[1]) != 0 && !capable(now, CAP_SETPCAP);
    if extends || inherits {
        return Err(Errno::EPERM);
    }
    let creds = creds_mut();
    creds.caps[0] = effective;
    creds.caps[1] = permitted;
    creds.caps[2] = inheritable;
    creds.caps[4] &= permitted & inheritable;
    Ok(0)
}

/// The parts of prctl about capabilities; `None` where the call is not about them.
pub fn sys_prctl(args: [usize; 6]) -> Option<R> {
    let bit = args[1];
    let valid = bit < 41;
    Some(match args[0] as i32 {
        // PR_GET_KEEPCAPS, PR_SET_KEEPCAPS
        7 => Ok(usize::from(creds().securebits & KEEP_CAPS != 0)),
        8 => {
            let creds = creds_mut();
            creds.securebits = creds.securebits & !KEEP_CAPS | if bit != 0 { KEEP_CAPS } else { 0 };
            Ok(0)
        }
        // PR_CAPBSET_READ, PR_CAPBSET_DROP
        23 if valid => Ok((creds().caps[3] >> bit & 1) as usize),
        24 if valid => {
            if !capable(creds(), CAP_SETPCAP) {
                return Some(Err(Errno::EPERM));
            }
            creds_mut().caps[3] &= !(1 << bit);
            Ok(0)
        }
        23 | 24 => Err(Errno::EINVAL),
        // PR_GET_SECUREBITS, PR_SET_SECUREBITS
        27 => Ok(creds().securebits as usize),
        28 => {
            if !capable(creds(), CAP_SETPCAP) {
                return Some(Err(Errno::EPERM));
            }
            creds_mut().securebits = bit as u32;
            Ok(0)
        }
        // PR_CAP_AMBIENT
        47 => ambient(bit, args[2]),
        _ => return None,
    })
}

fn ambient(what: usize, bit: usize) -> R {
    if what == 4 {
        creds_mut().caps[4] = 0;
        return Ok(0);
    }
    if bit >= 41 {
        return Err(Errno::EINVAL);
    }
    let mask = 1 << bit;
    match what {
        1 => Ok((creds().caps[4] >> bit & 1) as usize),
        2 => {
            if creds().caps[1] & creds().caps[2] & mask == 0 {
                return Err(Errno::EPERM);
            }
            creds_mut().caps[4] |= mask;
            Ok(0)
        }
        3 => {
            creds_mut().caps[4] &= !mask;
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// The credentials after execve of a file with this owner and mode. Returns whether the program is to be cautious.
pub fn after_exec(creds: &mut Creds, uid: u32, gid: u32, mode: u32) -> bool {
    let before = *creds;
    if mode & 0o4000 != 0 {
        creds.uid[1] = uid;
    }
    if mode & 0o2010 == 0o2010 {
        creds.gid[1] = gid;
    }
    creds.uid[2] = creds.uid[1];
    creds.uid[3] = creds.uid[1];
    creds.gid[2] = creds.gid[1];
    creds.gid[3] = creds.gid[1];
    let [_, permitted, inheritable, bounding, ambient] = creds.caps;
    if creds.uid[1] == 0 || creds.uid[0] == 0 {
        let full = inheritable | bounding;
        creds.caps[1] = full;
        creds.caps[0] = if creds.uid[1] == 0 { full } else { 0 };
        creds.caps[4] = 0;
    } else {
        let kept = ambient & permitted;
        creds.caps[0] = kept;
        creds.caps[1] = kept;
    }
    creds.securebits &= !KEEP_CAPS;
    creds.uid[1] != before.uid[1] || creds.gid[1] != before.gid[1]
}

/// The real call, for prctl options that are nobody's business here.
pub fn real_prctl(args: [usize; 6]) -> R {
    // SAFETY: the kernel checks the guest's pointers.
    unsafe { call!(nr::PRCTL, args[0], args[1], args[2], args[3], args[4]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::DEFAULT_CAPS;

    #[test]
    fn a_setuid_program_of_root_gives_root_to_a_user() {
        let mut creds = Creds::new(1000, 1000, &[1000], 0o22, DEFAULT_CAPS);
        assert_eq!(creds.caps[0], 0);
        assert!(after_exec(&mut creds, 0, 0, 0o104755));
        assert_eq!(creds.uid, [1000, 0, 0, 0]);
        assert_eq!(creds.gid, [1000; 4]);
        assert_eq!(creds.caps[0], DEFAULT_CAPS);
        assert!(!after_exec(&mut creds, 0, 0, 0o100755));
    }

    #[test]
    fn root_keeps_its_capabilities_and_a_user_has_none() {
        let mut creds = Creds::new(0, 0, &[], 0o22, DEFAULT_CAPS);
        assert!(!after_exec(&mut creds, 5, 5, 0o100755));
        assert_eq!(creds.caps, [DEFAULT_CAPS, DEFAULT_CAPS, 0, DEFAULT_CAPS, 0]);
        creds.uid = [7; 4];
        after_exec(&mut creds, 0, 0, 0o100755);
        assert_eq!(creds.caps[..2], [0, 0]);
    }
}
