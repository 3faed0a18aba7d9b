//! The few raw calls of the launcher.

use std::ffi::CString;
use std::io;
use std::os::fd::RawFd;
use std::ptr;

/// Executes an open file; returns only the reason why it could not.
pub(crate) fn exec_fd(fd: RawFd, argv: &[CString], env: &[CString]) -> io::Error {
    let list = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
    };
    let (argv, env) = (list(argv), list(env));
    // SAFETY: the path is an empty C string; both arrays end with a null pointer and point to strings that outlive
    // the call.
    unsafe { libc::syscall(libc::SYS_execveat, fd, c"".as_ptr(), argv.as_ptr(), env.as_ptr(), libc::AT_EMPTY_PATH) };
    io::Error::last_os_error()
}

/// Closes every descriptor above 2 for which `keep` does not hold. For a process that is about to execute another
/// program and drops nothing any more.
pub(crate) fn close_others(keep: impl Fn(RawFd) -> bool) -> io::Result<()> {
    let numbers: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2 && !keep(*fd))
        .collect();
    for fd in numbers {
        // SAFETY: takes an integer only; the owners of these descriptors are never dropped (see above).
        unsafe { libc::close(fd) };
    }
    Ok(())
}
