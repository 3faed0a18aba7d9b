//! The guest's memory, read and written by the addresses that it passed.
//!
//! Addresses outside of what a program can map give `EFAULT`. An address inside that is not mapped ends the program
//! with SIGSEGV, where the kernel would have answered `EFAULT`: the price of not paying a system call per argument.

use core::ffi::CStr;

use crate::sys::{Errno, R, USER_END};
use crate::text::{PathText, Text};

/// Whether so many bytes at an address can be a guest's.
#[inline]
pub fn check(address: usize, size: usize) -> R<()> {
    if !(4096..=USER_END).contains(&address) || size > USER_END - address { Err(Errno::EFAULT) } else { Ok(()) }
}

/// Reads a value.
#[inline]
pub fn read<T: Copy>(address: usize) -> R<T> {
    check(address, size_of::<T>())?;
    // SAFETY: the guest's memory, see above; all types read here are plain numbers.
    Ok(unsafe { (address as *const T).read_unaligned() })
}

/// Writes a value.
#[inline]
pub fn write<T: Copy>(address: usize, value: T) -> R<()> {
    check(address, size_of::<T>())?;
    // SAFETY: as for `read`.
    unsafe { (address as *mut T).write_unaligned(value) };
    Ok(())
}

/// Writes bytes.
pub fn write_bytes(address: usize, bytes: &[u8]) -> R<()> {
    check(address, bytes.len())?;
    // SAFETY: as for `read`.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
    Ok(())
}

/// The guest's bytes, for the time of one call.
pub fn bytes<'a>(address: usize, len: usize) -> R<&'a [u8]> {
    if len == 0 {
        return Ok(b"");
    }
    check(address, len)?;
    // SAFETY: as for `read`; a thread of the guest that changes them meanwhile changes only what its own call means.
    Ok(unsafe { core::slice::from_raw_parts(address as *const u8, len) })
}

/// Copies a string of at most `limit - 1` bytes.
#[inline]
pub fn string<const N: usize>(address: usize, limit: usize, out: &mut Text<N>) -> R<()> {
    check(address, 1)?;
    let spare = out.spare();
    let limit = limit.min(spare.len());
    for (index, to) in spare.iter_mut().enumerate().take(limit) {
        // SAFETY: as for `read`; nothing behind the NUL is read.
        let byte = unsafe { (address as *const u8).add(index).read() };
        to.write(byte);
        if byte == 0 {
            out.filled(index);
            return Ok(());
        }
    }
    Err(Errno::ENAMETOOLONG)
}

/// The guest's string where it lies, if it has at most `limit - 1` bytes. Another thread may change it meanwhile: for
/// calls that stay confined whatever it says.
#[inline]
pub fn c_string<'a>(address: usize, limit: usize) -> Option<&'a CStr> {
    check(address, 1).ok()?;
    for len in 0..limit {
        // SAFETY: as for `read`; nothing behind the NUL is read.
        if unsafe { (address as *const u8).add(len).read() } == 0 {
            // SAFETY: so many bytes were read, the last one is the only NUL.
            return Some(unsafe {
                CStr::from_bytes_with_nul_unchecked(core::slice::from_raw_parts(address as *const u8, len + 1))
            });
        }
    }
    None
}

/// Copies a path.
#[inline]
pub fn path(address: usize, out: &mut PathText) -> R<()> {
    string(address, 4096, out)
}
