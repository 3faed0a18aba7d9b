//! Descriptors: the agent's own are not there for the guest.

use crate::arch::nr;
use crate::state::{config, is_hidden};
use crate::sys::{Errno, R, call};

/// close, dup, dup2, dup3, fcntl, trapped only where a number of ours is among the arguments.
pub fn sys_fd(nr: u32, args: [usize; 6]) -> R {
    let (a, b) = (args[0] as i32, args[1] as i32);
    if is_hidden(a) {
        return Err(Errno::EBADF);
    }
    if nr == nr::FCNTL {
        // F_DUPFD from a number of ours: the next free one is behind the window anyway, for ours are all taken or
        // below the limit that the guest knows.
        // SAFETY: the kernel checks the guest's pointers.
        return unsafe { call!(nr, args[0], args[1], args[2]) };
    }
    if matches!(nr, nr::DUP2 | nr::DUP3) && is_hidden(b) {
        return Err(Errno::EBADF);
    }
    // SAFETY: no pointers.
    unsafe { call!(nr, args[0], args[1], args[2]) }
}

/// close_range around the window.
pub fn sys_close_range(first: u32, last: u32, flags: u32) -> R {
    if first > last {
        return Err(Errno::EINVAL);
    }
    let low = config().window as u32;
    let high = low + config().window_len as u32 - 1;
    // CLOSE_RANGE_UNSHARE must be done once only; doing it twice is harmless.
    if first < low {
        // SAFETY: no pointers.
        unsafe { call!(nr::CLOSE_RANGE, first, last.min(low - 1), flags) }?;
    }
    if last > high {
        // SAFETY: no pointers.
        unsafe { call!(nr::CLOSE_RANGE, first.max(high + 1), last, flags) }?;
    }
    Ok(0)
}
