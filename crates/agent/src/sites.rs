//! Hot call sites: answered without a signal.
//!
//! A site that was trapped often enough is patched to jump into the agent (see [`crate::arch::sites`]): in code that is
//! mapped from a file, private and read-only, while the process has a single thread, and in position-independent
//! programs (others may use the low addresses). Where anything of this does not hold, the site goes on being trapped.
//!
//! The fact that is not obvious: a call that is not answered here goes on at the site's own instruction and is
//! trapped. So whatever is special (another user than root, a filter of the guest's own, tracing) simply takes the old
//! way.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};

use crate::arch::nr;
use crate::arch::sites::{CALL_LEN, Loads, Outcome, SITE_LEN, SITES, SLOTS_ADDRESS, patch, site, target};
use crate::dispatch::answer;
use crate::protocol::FLAG_TRACE;
use crate::state::{self, config};
use crate::sys::{
    AT_FDCWD, AT_SYMLINK_NOFOLLOW, Fd, MAP_ANONYMOUS, MAP_FIXED_NOREPLACE, MAP_PRIVATE, O_CLOEXEC, O_RDONLY, PROT_EXEC,
    PROT_READ, PROT_WRITE, R, call, encode, openat, statx,
};
use crate::{attrs, creds, filter, names, signals, stat};

/// Traps after which a site is worth its patch: finding its mapping costs about as much as 20 of them.
const ENOUGH: u32 = 48;
const COUNTERS: usize = 128;
/// Counters that a site may have.
const WAYS: usize = 4;
const PAGE: usize = 4096;

/// A patched site.
struct Site {
    /// The address behind the call.
    next: AtomicUsize,
    /// What its first instruction, which is not there any more, did: the register ([`NUMBER`] or the index of an
    /// argument) and the value.
    register: AtomicU32,
    value: AtomicU32,
}

const NUMBER: u32 = 6;

struct Counter {
    next: AtomicUsize,
    count: AtomicU32,
}

#[cfg_attr(agent_image, unsafe(link_section = ".bss.z_sites"))]
static TABLE: [Site; SITES] =
    [const { Site { next: AtomicUsize::new(0), register: AtomicU32::new(0), value: AtomicU32::new(0) } }; SITES];
#[cfg_attr(agent_image, unsafe(link_section = ".bss.3_seen"))]
static SEEN: [Counter; COUNTERS] =
    [const { Counter { next: AtomicUsize::new(0), count: AtomicU32::new(0) } }; COUNTERS];
static USED: AtomicUsize = AtomicUsize::new(0);
/// 0: as long as nothing was refused; 1: no more patches.
static OFF: AtomicU32 = AtomicU32::new(0);
/// The executable mapping that was found last.
static CODE: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Patches nothing in this process.
pub fn switch_off() {
    OFF.store(1, Relaxed);
}

/// Calls that can be answered from a patched site: they end soon, and neither change the program nor wait with another
/// signal mask.
fn is_eligible(nr: u32) -> bool {
    matches!(
        nr,
        nr::OPEN
            | nr::OPENAT
            | nr::STAT
            | nr::LSTAT
            | nr::FSTAT
            | nr::NEWFSTATAT
            | nr::STATX
            | nr::ACCESS
            | nr::FACCESSAT
            | nr::FACCESSAT2
            | nr::READLINK
            | nr::READLINKAT
            | nr::GETDENTS64
            | nr::CHDIR
            | nr::GETCWD
            | nr::MKDIR
            | nr::MKDIRAT
            | nr::UNLINK
            | nr::RMDIR
            | nr::UNLINKAT
            | nr::SYMLINK
            | nr::SYMLINKAT
            | nr::RENAME
            | nr::RENAMEAT
            | nr::RENAMEAT2
            | nr::LINK
            | nr::LINKAT
            | nr::CHMOD
            | nr::FCHMOD
            | nr::FCHMODAT
            | nr::CHOWN
            | nr::LCHOWN
            | nr::FCHOWN
            | nr::FCHOWNAT
            | nr::UTIMES
            | nr::UTIMENSAT
            | nr::GETXATTR
            | nr::LGETXATTR
            | nr::FGETXATTR
            | nr::LISTXATTR
            | nr::LLISTXATTR
            | nr::FLISTXATTR
            | nr::UMASK
            | nr::GETUID
            | nr::GETEUID
            | nr::GETGID
            | nr::GETEGID
            | nr::RT_SIGPROCMASK
    )
}

/// Notes that a call was trapped, with the address behind it; patches the site when that was often.
#[inline]
pub fn trapped(nr: u32, next: usize, args: &[usize; 6]) {
    // A site has a few places to be in: two that take turns, as in a loop, must not push one another out.
    let group = (next.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) % (COUNTERS / WAYS) * WAYS;
    let group = &SEEN[group..group + WAYS];
    let Some(counter) = group.iter().find(|counter| counter.next.load(Relaxed) == next) else {
        let rarest = group.iter().min_by_key(|counter| counter.count.load(Relaxed)).unwrap_or(&group[0]);
        rarest.next.store(next, Relaxed);
        rarest.count.store(1, Relaxed);
        return;
    };
    let count = counter.count.load(Relaxed).saturating_add(1);
    counter.count.store(count, Relaxed);
    if count == ENOUGH && OFF.load(Relaxed) == 0 && is_eligible(nr) {
        improve(nr, next, args);
    }
}

/// Patches a site, if that can be done.
#[cold]
fn improve(nr: u32, next: usize, args: &[usize; 6]) -> Option<()> {
    let start = next.checked_sub(SITE_LEN)?;
    // A thread might just be running over the instructions.
    let tasks = statx(AT_FDCWD, c"/proc/self/task", 0).ok()?;
    if tasks.nlink != 3 {
        return None;
    }
    let (low, high) = code_around(next)?;
    if start <= low || next > high {
        return None;
    }
    // SAFETY: the bytes lie in a readable mapping.
    let bytes = unsafe { &*((start - 1) as *const [u8; 1 + SITE_LEN]) };
    let register = match site(bytes, nr, args)? {
        Loads::Number => NUMBER,
        Loads::Argument(index) => index,
    };
    let value = u32::from_le_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]);
    let used = USED.load(Relaxed);
    let slot = match TABLE[..used].iter().position(|site| site.next.load(Relaxed) == next) {
        Some(slot) => slot,
        None if used == SITES => return None,
        None => used,
    };
    if used == 0 {
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
        // SAFETY: a new mapping, at an address that nobody has.
        let page = unsafe { call!(nr::MMAP, SLOTS_ADDRESS, PAGE, PROT_READ | PROT_WRITE, flags, -1isize, 0) };
        if page != Ok(SLOTS_ADDRESS) {
            switch_off();
            return None;
        }
    }
    TABLE[slot].next.store(next, Relaxed);
    TABLE[slot].register.store(register, Relaxed);
    TABLE[slot].value.store(value, Relaxed);
    USED.store(used.max(slot + 1), Release);
    let page = start & !(PAGE - 1);
    let len = (next - page + PAGE - 1) & !(PAGE - 1);
    // SAFETY: the page of slots is ours. The site is code that nobody but this thread can run, with all signals
    // blocked; it gets back the protection that it had.
    unsafe {
        ((SLOTS_ADDRESS + slot * 8) as *mut usize).write(target(slot));
        if call!(nr::MPROTECT, page, len, PROT_READ | PROT_WRITE | PROT_EXEC).is_err() {
            switch_off();
            return None;
        }
        (start as *mut [u8; 5]).write_volatile(patch(slot));
        let _ = call!(nr::MPROTECT, page, len, PROT_READ | PROT_EXEC);
    }
    Some(())
}

/// The private executable mapping of a file in which an address lies: its bounds.
fn code_around(address: usize) -> Option<(usize, usize)> {
    let known = (CODE[0].load(Relaxed) as usize, CODE[1].load(Relaxed) as usize);
    if (known.0..known.1).contains(&address) {
        return Some(known);
    }
    let maps = Fd::owned(openat(AT_FDCWD, c"/proc/self/maps", O_RDONLY | O_CLOEXEC, 0).ok()?);
    let mut buffer = [0u8; 4096];
    let mut have = 0;
    loop {
        // SAFETY: the room behind what is there.
        let got = unsafe { call!(nr::READ, maps.get(), buffer.as_mut_ptr().add(have), buffer.len() - have) }.ok()?;
        have += got;
        let mut rest = &buffer[..have];
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            if let Some((range, is_code)) = parse_line(&rest[..end])
                && range.contains(&address)
            {
                if !is_code {
                    return None;
                }
                CODE[0].store(range.start as u64, Relaxed);
                CODE[1].store(range.end as u64, Relaxed);
                return Some((range.start, range.end));
            }
            rest = &rest[end + 1..];
        }
        let left = rest.len();
        if got == 0 || left == buffer.len() {
            return None;
        }
        buffer.copy_within(have - left..have, 0);
        have = left;
    }
}

/// A line of /proc/PID/maps: the addresses, and whether it is private code of a file.
fn parse_line(line: &[u8]) -> Option<(core::ops::Range<usize>, bool)> {
    let mut words = line.split(|b| *b == b' ').filter(|word| !word.is_empty());
    let range = words.next()?;
    let dash = range.iter().position(|b| *b == b'-')?;
    let (start, end) = (hex(&range[..dash])?, hex(&range[dash + 1..])?);
    let protection = words.next()?;
    let inode = words.nth(2)?;
    Some((start..end, protection == b"r-xp" && inode != b"0"))
}

fn hex(text: &[u8]) -> Option<usize> {
    text.iter().try_fold(0usize, |sum, b| {
        let digit = (*b as char).to_digit(16)?;
        sum.checked_mul(16)?.checked_add(digit as usize)
    })
}

/// Answers what holds nothing while it is worked out and needs little room.
#[inline]
fn quick(nr: u32, a: &[usize; 6]) -> Option<R> {
    match nr {
        nr::NEWFSTATAT => stat::quick_stat(a[0] as i32, a[1], a[2], a[3] as u32),
        nr::LSTAT => stat::quick_stat(AT_FDCWD, a[0], a[1], AT_SYMLINK_NOFOLLOW),
        nr::STAT => stat::quick_stat(AT_FDCWD, a[0], a[1], 0),
        nr::FSTAT => Some(stat::sys_fstat(a[0] as i32, a[1])),
        nr::OPENAT => names::quick_open(a[0] as i32, a[1], a[2] as u32, a[3] as u32),
        nr::OPEN => names::quick_open(AT_FDCWD, a[0], a[1] as u32, a[2] as u32),
        nr::FCHMOD => attrs::quick_fchmod(a[0] as i32, a[1] as u32),
        nr::FCHOWN => attrs::quick_fchown(a[0] as i32, a[1] as u32, a[2] as u32),
        nr::UTIMENSAT => attrs::quick_utimensat(a[0] as i32, a[1], a[2], a[3] as u32),
        nr::GETUID | nr::GETEUID | nr::GETGID | nr::GETEGID => Some(creds::sys_ids(nr, *a)),
        _ => None,
    }
}

/// Answers what needs little room but holds a descriptor meanwhile: for when all signals are blocked.
pub fn light(nr: u32, a: &[usize; 6]) -> Option<R> {
    match nr {
        nr::NEWFSTATAT => stat::light_stat(a[0] as i32, a[1], a[2], a[3] as u32),
        nr::LSTAT => stat::light_stat(AT_FDCWD, a[0], a[1], AT_SYMLINK_NOFOLLOW),
        nr::STAT => stat::light_stat(AT_FDCWD, a[0], a[1], 0),
        nr::ACCESS => stat::light_access(AT_FDCWD, a[0], a[1] as u32),
        nr::FACCESSAT => stat::light_access(a[0] as i32, a[1], a[2] as u32),
        nr::READLINK => stat::light_readlink(AT_FDCWD, a[0], a[1], a[2]),
        nr::READLINKAT => stat::light_readlink(a[0] as i32, a[1], a[2], a[3]),
        _ => None,
    }
}

/// Answers in the handler what needs little room.
#[inline]
pub fn in_handler(nr: u32, a: &[usize; 6]) -> Option<R> {
    quick(nr, a).or_else(|| light(nr, a))
}

/// A call of a patched site: the quick way, on the guest's own stack and with its signals as they are. `rax` is the
/// guest's register.
///
/// # Safety
/// Called from a patched site with the call's arguments.
#[cfg_attr(agent_image, unsafe(no_mangle))]
pub unsafe extern "C" fn agent_quick(slot: usize, args: *mut [usize; 6], rax: usize) -> Outcome {
    let site = &TABLE[slot % SITES];
    // SAFETY: the entry code put them there.
    let a = unsafe { &mut *args };
    let next = site.next.load(Acquire);
    let value = site.value.load(Relaxed);
    let nr = match a.get_mut(site.register.load(Relaxed) as usize) {
        Some(argument) => {
            *argument = value as usize;
            rax as u32
        }
        None => value,
    };
    if filter::installed() || config().flags & FLAG_TRACE != 0 || !is_eligible(nr) {
        return Outcome { result: nr as isize, resume: (next - CALL_LEN) as *const _ };
    }
    let result = if nr == nr::RT_SIGPROCMASK { Some(signals::quick_mask(*a)) } else { quick(nr, a) };
    match result {
        None => Outcome { result: nr as isize, resume: core::ptr::null() },
        Some(result) => {
            state::count(nr as usize);
            Outcome { result: encode(result), resume: next as *const _ }
        }
    }
}

/// Blocks all signals and claims a stack for [`agent_answer`].
///
/// # Safety
/// `mask` can be written.
#[cfg_attr(agent_image, unsafe(no_mangle))]
pub unsafe extern "C" fn agent_enter(mask: *mut u64, stack_pointer: usize) -> usize {
    let all = !0u64;
    // SAFETY: both masks are valid.
    let _ = unsafe { call!(nr::RT_SIGPROCMASK, 2, &raw const all, mask, 8) };
    state::claim(stack_pointer)
}

/// The ordinary way, on a stack of the agent's.
///
/// # Safety
/// As [`agent_quick`], between [`agent_enter`] and [`agent_leave`].
#[cfg_attr(agent_image, unsafe(no_mangle))]
pub unsafe extern "C" fn agent_answer(slot: usize, args: *const [usize; 6], mask: u64, nr: u32) -> Outcome {
    let next = TABLE[slot % SITES].next.load(Acquire);
    state::count(nr as usize);
    // SAFETY: the entry code put them there.
    let a = unsafe { &*args };
    let result = light(nr, a).unwrap_or_else(|| answer(nr, *a, mask));
    Outcome { result: encode(result), resume: next as *const _ }
}

/// Gives the stack back and the signals their mask.
///
/// # Safety
/// Called on the guest's stack.
#[cfg_attr(agent_image, unsafe(no_mangle))]
pub unsafe extern "C" fn agent_leave(top: usize, mask: u64) {
    state::agent_release(top);
    // SAFETY: a valid mask.
    let _ = unsafe { call!(nr::RT_SIGPROCMASK, 2, &raw const mask, 0, 8) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_files_is_told_from_other_mappings() {
        let line = |text: &str| parse_line(text.as_bytes());
        let code = "7f0a1000-7f0b2000 r-xp 00028000 fe:00 4242                       /usr/lib/libc.so.6";
        assert_eq!(line(code), Some((0x7f0a_1000..0x7f0b_2000, true)));
        for other in ["rwxp 0 fe:00 42 /x", "r-xs 0 fe:00 42 /x", "r-xp 0 00:00 0 [vdso]", "r-xp 0 00:00 0"] {
            assert_eq!(line(&std::format!("1000-2000 {other}")).map(|found| found.1), Some(false), "{other}");
        }
        assert_eq!(line(""), None);
        assert_eq!(line("x-y r-xp 0 0 1"), None);
    }
}
