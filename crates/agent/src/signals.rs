//! Signals: SIGSYS belongs to the agent, whatever the guest does with it.
//!
//! It must never be blocked: a trapped call would end the program. So masks that the guest sets lose it, and its own
//! handler for it is remembered and never given to the kernel.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use crate::arch::{Context, nr};
use crate::guest;
use crate::state::{Shared, config};
use crate::sys::{Errno, R, SIGSYS, SigAction, call};

const BIT: u64 = 1 << (SIGSYS - 1);
/// SIGKILL and SIGSTOP cannot be blocked either.
const UNBLOCKABLE: u64 = 1 << 8 | 1 << 18 | BIT;

static GUEST_ACTION: Shared<SigAction> = Shared::new(SigAction { handler: 0, flags: 0, restorer: 0, mask: 0 });
/// Whether the guest's view of SIGSYS is "ignored": it survives execve.
static IGNORED: AtomicU32 = AtomicU32::new(0);

/// Whether the guest ignores SIGSYS.
pub fn ignored() -> u32 {
    IGNORED.load(Relaxed)
}

/// Sets the disposition that came through execve.
pub fn start(ignored: u32) {
    IGNORED.store(ignored, Relaxed);
    if ignored != 0 {
        // SAFETY: one thread runs yet.
        unsafe { (*GUEST_ACTION.get()).handler = 1 };
    }
}

/// rt_sigaction.
pub fn sys_sigaction(args: [usize; 6]) -> R {
    let [signal, new, old, size, ..] = args;
    if signal as u32 == SIGSYS as u32 {
        // SAFETY: see `Shared`.
        let current = unsafe { *GUEST_ACTION.get() };
        let action = if new != 0 { Some(guest::read::<SigAction>(new)?) } else { None };
        if old != 0 {
            guest::write(old, current)?;
        }
        if let Some(action) = action {
            // SAFETY: see `Shared`.
            unsafe { *GUEST_ACTION.get() = action };
            IGNORED.store(u32::from(action.handler == 1), Relaxed);
        }
        return Ok(0);
    }
    if new == 0 {
        // SAFETY: the kernel checks the guest's pointer.
        return unsafe { call!(nr::RT_SIGACTION, signal, 0, old, size) };
    }
    let mut action: SigAction = guest::read(new)?;
    action.mask &= !BIT;
    // qemu's handlers block all signals in the mask that they return to.
    const SA_RESTORER: u64 = 0x0400_0000;
    if config().emulator >= 0 && action.handler > 1 && action.flags & SA_RESTORER != 0 {
        action.restorer = guest_restorer();
    }
    // SAFETY: our copy is valid; the kernel checks the guest's pointer.
    unsafe { call!(nr::RT_SIGACTION, signal, &raw const action, old, size) }
}

/// Where handlers return to that must not block SIGSYS with it.
fn guest_restorer() -> usize {
    #[cfg(agent_image)]
    {
        crate::arch::image::agent_guest_restorer as *const () as usize
    }
    #[cfg(not(agent_image))]
    {
        0
    }
}

/// rt_sigprocmask: the mask that counts is the one that the return from our handler sets.
pub fn sys_sigprocmask(args: [usize; 6], context: &mut Context) -> R {
    let [how, new, old, size, ..] = args;
    if size != 8 {
        return Err(Errno::EINVAL);
    }
    let current = context.mask;
    if new != 0 {
        let wanted: u64 = guest::read(new)?;
        context.mask = match how as u32 {
            0 => current | wanted,
            1 => current & !wanted,
            2 => wanted,
            _ => return Err(Errno::EINVAL),
        } & !UNBLOCKABLE;
    }
    if old != 0 {
        guest::write(old, current)?;
    }
    Ok(0)
}

/// rt_sigprocmask outside of a handler: the kernel's own, of a mask without SIGSYS.
pub fn quick_mask(args: [usize; 6]) -> R {
    let [how, new, old, size, ..] = args;
    if size != 8 {
        return Err(Errno::EINVAL);
    }
    let mask = if new != 0 { guest::read::<u64>(new)? & !BIT } else { 0 };
    // SAFETY: our copy is valid; the kernel checks the guest's pointer.
    unsafe { call!(nr::RT_SIGPROCMASK, how, if new != 0 { &raw const mask } else { core::ptr::null() }, old, size) }
}

/// A call that waits with another mask: the guest makes it itself, with a mask of ours that lacks SIGSYS. `pointer` is
/// the argument that points to the mask. `None` where the call is set up.
pub fn with_mask(nr: u32, pointer: usize, context: &mut Context) -> Option<R> {
    let address = context.argument(pointer);
    let (mask, place) = if address == 0 {
        (0, None)
    } else {
        match guest::read::<u64>(address) {
            Ok(mask) => (mask & !BIT, Some((pointer, 0))),
            Err(errno) => return Some(Err(errno)),
        }
    };
    // SAFETY: the guest is about to wait there, with signal frames pushed on the same stack.
    unsafe { context.call_in_guest(nr, place, [mask, 0, 0]) };
    None
}

/// pselect6: the argument points to a pair of a pointer to the mask and its size.
pub fn pselect6(context: &mut Context) -> Option<R> {
    let pair = context.argument(5);
    let words = if pair == 0 {
        None
    } else {
        let mask = guest::read::<[usize; 2]>(pair).and_then(|[address, size]| {
            let mask = if address == 0 { None } else { Some(guest::read::<u64>(address)?) };
            Ok((mask, size as u64))
        });
        match mask {
            Ok((mask, size)) => Some((mask, size)),
            Err(errno) => return Some(Err(errno)),
        }
    };
    let at = context.words_address();
    let (place, words) = match words {
        None => (None, [0; 3]),
        Some((None, size)) => (Some((5, 1)), [0, 0, size]),
        Some((Some(mask), size)) => (Some((5, 1)), [mask & !BIT, at, size]),
    };
    // SAFETY: as in `with_mask`.
    unsafe { context.call_in_guest(nr::PSELECT6, place, words) };
    None
}

/// A SIGSYS that is not from our filter: the guest's own filter, or somebody's kill. The handler to call, or 0.
pub fn foreign(code: i32, context: &Context) -> usize {
    // SAFETY: see `Shared`.
    let action = unsafe { *GUEST_ACTION.get() };
    match action.handler {
        1 if code <= 0 => return 0,
        0 | 1 => {}
        handler => {
            const SA_RESETHAND: u64 = 0x8000_0000;
            let mask = (context.mask | action.mask) & !UNBLOCKABLE;
            // SAFETY: a valid mask; see `Shared` for the action.
            unsafe {
                if action.flags & SA_RESETHAND != 0 {
                    (*GUEST_ACTION.get()).handler = 0;
                }
                // The handler must be able to make calls that are trapped.
                let _ = call!(nr::RT_SIGPROCMASK, 2, &raw const mask, 0, 8);
            }
            return handler;
        }
    }
    let default = SigAction::default();
    let mask = !BIT;
    // SAFETY: a valid action and mask; the signal then ends the process as it would have.
    unsafe {
        let _ = call!(nr::RT_SIGACTION, SIGSYS, &raw const default, 0, 8);
        let _ = call!(nr::TGKILL, crate::sys::getpid(), crate::sys::gettid(), SIGSYS);
        let _ = call!(nr::RT_SIGPROCMASK, 2, &raw const mask, 0, 8);
    }
    crate::state::die(b"SIGSYS")
}
