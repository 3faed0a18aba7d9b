//! System call filters of the guest's own.
//!
//! The kernel asks every filter for every call, the agent's calls too. So a guest's filter gets a few instructions in
//! front that let the agent's text pass. What it kills or traps is killed or trapped, for calls that the agent answers
//! too (the stricter action wins; its signals carry other data than ours and go to the guest's handler). Only an error
//! number that it wants for a call that the agent answers is not seen: there our trap wins.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use crate::arch::nr;
use crate::guest;
use crate::protocol::AGENT_BASE;
use crate::sys::{Errno, MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE, R, call};

/// `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u16,
    jump_true: u8,
    jump_false: u8,
    k: u32,
}

/// `struct sock_fprog`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Program {
    len: u16,
    pad: [u16; 3],
    filter: usize,
}

const MAX: usize = 4096;
const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;

static INSTALLED: AtomicU32 = AtomicU32::new(0);

/// Sets what came through execve.
pub fn start(filtered: u32) {
    INSTALLED.store(filtered, Relaxed);
}

/// Whether the guest has a filter of its own.
#[inline]
pub fn installed() -> bool {
    INSTALLED.load(Relaxed) != 0
}

/// What PR_GET_SECCOMP says.
pub fn mode() -> usize {
    if installed() { 2 } else { 0 }
}

#[cfg(agent_image)]
fn text() -> (u32, u32) {
    use crate::arch::image::{_start, agent_text_end};
    (_start as *const () as usize as u32, (&raw const agent_text_end) as usize as u32)
}

#[cfg(not(agent_image))]
fn text() -> (u32, u32) {
    (0, 0)
}

fn prologue() -> [Instruction; 6] {
    let op = |code, jump_true, jump_false, k| Instruction { code, jump_true, jump_false, k };
    let (start, end) = text();
    [
        op(LOAD, 0, 0, 12),
        op(JUMP_EQUAL, 0, 4, (AGENT_BASE as u64 >> 32) as u32),
        op(LOAD, 0, 0, 8),
        op(JUMP_GREATER_EQUAL, 0, 2, start + 1),
        op(JUMP_GREATER_EQUAL, 1, 0, end + 1),
        op(RETURN, 0, 0, ALLOW),
    ]
}

/// Installs a filter for the guest.
pub fn install(flags: usize, program: usize) -> R {
    let given: Program = guest::read(program)?;
    let len = usize::from(given.len);
    let front = prologue();
    if len == 0 || len + front.len() > MAX {
        return Err(Errno::EINVAL);
    }
    guest::check(given.filter, len * size_of::<Instruction>())?;
    let size = (len + front.len()) * size_of::<Instruction>();
    // SAFETY: a new mapping.
    let base = unsafe { call!(nr::MMAP, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1isize, 0) }?;
    let to = base as *mut Instruction;
    let whole = Program { len: given.len + front.len() as u16, pad: [0; 3], filter: base };
    // SAFETY: the mapping has room for both parts; the guest's part was checked; the program is ours.
    unsafe {
        core::ptr::copy_nonoverlapping(front.as_ptr(), to, front.len());
        core::ptr::copy_nonoverlapping(given.filter as *const Instruction, to.add(front.len()), len);
        let result = call!(nr::SECCOMP, 1, flags, &raw const whole);
        let _ = call!(nr::MUNMAP, base, size);
        if result.is_ok() {
            INSTALLED.store(1, Relaxed);
        }
        result
    }
}
