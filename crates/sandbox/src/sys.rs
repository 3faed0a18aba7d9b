//! The system calls that no safe wrapper exists for: the crate's unsafe core, outside the interception agent.
//!
//! Each function is a thin, safe wrapper that states why the call is sound; policy lives with the callers.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;
use std::time::Duration;

use crate::spec::{Limit, Ulimit};

/// A process id as the kernel's C interfaces have it.
pub(crate) type Pid = libc::pid_t;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_long(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Forks; `None` is the new process.
///
/// # Safety
/// The calling process must have a single thread: a lock held by another thread (the allocator's, for one) would
/// stay locked in the child for ever.
pub(crate) unsafe fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the caller promises a single thread, so the child is a full copy of a consistent process.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid)),
    }
}

/// Leaves namespaces for new ones (CLONE_NEW* flags only).
pub(crate) fn unshare(namespaces: libc::c_int) -> io::Result<()> {
    debug_assert_eq!(namespaces & libc::CLONE_FILES, 0);
    // SAFETY: takes integers only; the descriptor table stays as it is.
    check(unsafe { libc::unshare(namespaces) }).map(drop)
}

/// Ends the process without running anything that its parent registered.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes no pointer and never returns.
    unsafe { libc::_exit(code) }
}

/// A raw wait status, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Code(i32),
    Signal(i32),
}

impl Ended {
    fn from_raw(raw: libc::c_int) -> Self {
        if libc::WIFSIGNALED(raw) { Ended::Signal(libc::WTERMSIG(raw)) } else { Ended::Code(libc::WEXITSTATUS(raw)) }
    }
}

/// Waits for a child (`-1`: any). `None` when there is no child left.
pub(crate) fn wait(pid: Pid) -> io::Result<Option<(Pid, Ended)>> {
    let mut raw = 0;
    loop {
        // SAFETY: `raw` outlives the call.
        match check(unsafe { libc::waitpid(pid, &raw mut raw, libc::__WALL) }) {
            Ok(pid) => return Ok(Some((pid, Ended::from_raw(raw)))),
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// Sends a signal; a negative id is a group, -1 everything that may be signalled.
pub(crate) fn kill(pid: Pid, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: kill takes integers only.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// User time, system time and largest resident set (bytes) of all children that were waited for.
pub(crate) fn children_usage() -> (Duration, Duration, u64) {
    // SAFETY: all zeroes is a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` outlives the call. The call fails only for bad arguments, and then leaves zeroes.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec.try_into().unwrap_or(0)) + Duration::from_micros(t.tv_usec.try_into().unwrap_or(0))
    };
    (time(usage.ru_utime), time(usage.ru_stime), u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024)
}

/// Replaces the program; returns only the reason why it could not.
pub(crate) fn exec(program: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let list = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
    };
    let (argv, env) = (list(argv), list(env));
    // SAFETY: both arrays end with a null pointer and point to strings that outlive the call.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Marks every descriptor from `first` on to be closed by exec, or closes them.
pub(crate) fn close_from(first: RawFd, at_exec: bool) -> io::Result<()> {
    let flags = if at_exec { libc::CLOSE_RANGE_CLOEXEC } else { 0 };
    // SAFETY: takes integers only. Descriptors that are owned elsewhere in the process are closed only by callers
    // that own none above `first`.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) };
    if result == 0 {
        return Ok(());
    }
    // Kernels before 5.9 (5.11 for the flag), and filters that do not know the call.
    let numbers: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd >= first)
        .collect();
    for fd in numbers {
        // SAFETY: as above; a number that is no descriptor any more gives EBADF, which is fine.
        unsafe { if at_exec { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } else { libc::close(fd) } };
    }
    Ok(())
}

/// Makes `fd` the descriptor `number`, kept over exec.
pub(crate) fn dup_to(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    if fd.as_raw_fd() == number {
        // SAFETY: takes integers only.
        return check(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }).map(drop);
    }
    // SAFETY: takes integers only; callers use it for 0, 1 and 2, which no owner in this process holds.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) }).map(drop)
}

/// The signals that are not at their default, as bits from signal 1 on; all where that cannot be read. In a step's root
/// the answer may be the image's own: good enough for what concerns the step alone.
fn signals_not_default() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bits = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok()).unwrap_or(u64::MAX)
    };
    bits("SigIgn") | bits("SigCgt")
}

/// Gives every signal its default action and blocks none.
pub(crate) fn reset_signals() {
    // Nearly all have it, and 64 calls would be felt in a small step.
    let changed = signals_not_default();
    // SAFETY: SIG_DFL is a valid handler for every signal; the calls fail harmlessly for SIGKILL and the C library's
    // own. An empty set is a valid mask.
    unsafe {
        for signal in (1..65).filter(|signal| changed >> (signal - 1) & 1 == 1) {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// setrlimit(2) with 64-bit values.
pub(crate) fn set_limit(wanted: &Ulimit) -> io::Result<()> {
    let resource = limit_number(wanted.limit);
    let limit = libc::rlimit64 { rlim_cur: wanted.soft, rlim_max: wanted.hard };
    // SAFETY: `limit` outlives the call; no old value is asked for.
    check_long(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, ptr::null::<u8>()) })
        .map(drop)
}

/// Sets mount attributes of the whole mount tree at `mount`.
pub(crate) fn set_mount_attributes(mount: BorrowedFd<'_>, set: u64) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the path is an empty C string, the structure outlives the call and its size is passed.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

/// Brings the loopback interface of the current network namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }).map(drop)
}

/// Leaves the builder's session keyring for a new, empty one.
pub(crate) fn new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    check_long(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, ptr::null::<u8>()) }).map(drop)
}

/// Makes the terminal at descriptor 0 the controlling one of this new session.
pub(crate) fn take_terminal() -> io::Result<()> {
    // SAFETY: TIOCSCTTY takes an integer.
    check(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) }).map(drop)
}

/// Installs a seccomp filter; needs CAP_SYS_ADMIN or no_new_privs. Returns the listener's descriptor when `flags` ask
/// for one, else 0.
pub(crate) fn install_filter(program: &[libc::sock_filter], flags: libc::c_ulong) -> io::Result<RawFd> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel reads `len` instructions, which outlive the call, and never writes them.
    let result = check_long(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    })?;
    Ok(result as RawFd)
}

/// A filter that answers one harmless call with `action`, and allows all others.
fn filter_for(number: libc::c_long, action: u32) -> [libc::sock_filter; 4] {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Call numbers and opcodes are small.
    let op = |code: u32, jt, jf, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let number = number as u32;
    [
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, action),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

extern "C" fn ignore_signal(_: libc::c_int) {}

/// Whether a trapped call comes to the process's own handler. Changes the process for good.
pub(crate) fn try_seccomp_trap() -> io::Result<()> {
    let handler: extern "C" fn(libc::c_int) = ignore_signal;
    // SAFETY: the handler does nothing at all, which is safe in any context.
    unsafe { libc::signal(libc::SIGSYS, handler as libc::sighandler_t) };
    rustix::thread::set_no_new_privs(true)?;
    install_filter(&filter_for(libc::SYS_getpriority, libc::SECCOMP_RET_TRAP), 0)?;
    // SAFETY: takes integers only. Without a working handler the process dies, which the caller notices.
    unsafe { libc::syscall(libc::SYS_getpriority, 0, 0) };
    Ok(())
}

/// Whether a filter with a listener can be had. Changes the process for good.
pub(crate) fn try_seccomp_notify() -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    let filter = filter_for(libc::SYS_getpriority, libc::SECCOMP_RET_USER_NOTIF);
    install_filter(&filter, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER).map(drop)
}

/// Whether a child can be traced. Ptrace requests are made without the C library's variadic wrapper.
pub(crate) fn try_ptrace() -> io::Result<()> {
    // SAFETY: only used in forks of a process with a single thread.
    let Some(child) = (unsafe { fork() })? else {
        // SAFETY: PTRACE_TRACEME takes no further argument.
        let traced = unsafe { libc::syscall(libc::SYS_ptrace, libc::PTRACE_TRACEME, 0, 0, 0) } == 0;
        if !traced {
            exit_now(io::Error::last_os_error().raw_os_error().unwrap_or(1));
        }
        let _ = kill(rustix::process::getpid().as_raw_pid(), libc::SIGSTOP);
        exit_now(0)
    };
    let mut raw = 0;
    // SAFETY: `raw` outlives the call.
    check(unsafe { libc::waitpid(child, &raw mut raw, libc::WUNTRACED) })?;
    if libc::WIFSTOPPED(raw) {
        let _ = kill(child, libc::SIGKILL);
        wait(child)?;
        return Ok(());
    }
    Err(io::Error::from_raw_os_error(libc::WEXITSTATUS(raw)))
}

/// The version of Landlock.
pub(crate) fn landlock_abi() -> io::Result<i64> {
    const LANDLOCK_CREATE_RULESET_VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the pointer must be null and the size 0.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<u8>(), 0usize, LANDLOCK_CREATE_RULESET_VERSION)
    };
    check_long(version)
}

/// Executes an open file, a copy of this program, in a child; it must end with 125, as a helper without orders does.
pub(crate) fn exec_probe(program: BorrowedFd<'_>) -> io::Result<()> {
    let argv = [c"cooperage-sandbox-init".as_ptr(), ptr::null()];
    let env = [ptr::null::<libc::c_char>()];
    // SAFETY: only used in forks of a process with a single thread.
    let Some(child) = (unsafe { fork() })? else {
        let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty());
        if let Ok(null) = &null {
            for number in 0..3 {
                let _ = dup_to(std::os::fd::AsFd::as_fd(null), number);
            }
        }
        // SAFETY: the path is an empty C string and both arrays end with a null pointer.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                program.as_raw_fd(),
                c"".as_ptr(),
                argv.as_ptr(),
                env.as_ptr(),
                libc::AT_EMPTY_PATH,
            )
        };
        exit_now(io::Error::last_os_error().raw_os_error().unwrap_or(1))
    };
    match wait(child)? {
        Some((_, Ended::Code(125))) => Ok(()),
        Some((_, Ended::Code(errno))) => Err(io::Error::from_raw_os_error(errno)),
        _ => Err(io::Error::other("the program was killed")),
    }
}

/// Blocks SIGCHLD and returns a descriptor that is readable when one is pending.
pub(crate) fn child_signals() -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: an empty set is filled and passed by pointers that outlive the calls.
    let fd = check(unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut());
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    })?;
    // SAFETY: the descriptor was just made and has no other owner.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) })
}

/// Reads a non-blocking descriptor empty.
pub(crate) fn drain(fd: BorrowedFd<'_>) {
    let mut buffer = [0u8; 1024];
    while matches!(rustix::io::read(fd, &mut buffer[..]), Ok(got) if got > 0) {}
}

/// Reaps one child that has ended already; `None` when there is none.
pub(crate) fn reap() -> io::Result<Option<(Pid, Ended)>> {
    let mut raw = 0;
    // SAFETY: `raw` outlives the call.
    match check(unsafe { libc::waitpid(-1, &raw mut raw, libc::WNOHANG | libc::__WALL) }) {
        Ok(0) => Ok(None),
        Ok(pid) => Ok(Some((pid, Ended::from_raw(raw)))),
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The kernel's number of a limit.
fn limit_number(limit: Limit) -> i32 {
    #[allow(clippy::cast_possible_wrap, clippy::unnecessary_cast)] // The constants' type differs between C libraries.
    let number = match limit {
        Limit::Core => libc::RLIMIT_CORE,
        Limit::Cpu => libc::RLIMIT_CPU,
        Limit::Data => libc::RLIMIT_DATA,
        Limit::Fsize => libc::RLIMIT_FSIZE,
        Limit::Locks => libc::RLIMIT_LOCKS,
        Limit::Memlock => libc::RLIMIT_MEMLOCK,
        Limit::Msgqueue => libc::RLIMIT_MSGQUEUE,
        Limit::Nice => libc::RLIMIT_NICE,
        Limit::Nofile => libc::RLIMIT_NOFILE,
        Limit::Nproc => libc::RLIMIT_NPROC,
        Limit::Rss => libc::RLIMIT_RSS,
        Limit::Rtprio => libc::RLIMIT_RTPRIO,
        Limit::Rttime => libc::RLIMIT_RTTIME,
        Limit::Sigpending => libc::RLIMIT_SIGPENDING,
        Limit::Stack => libc::RLIMIT_STACK,
    } as i32;
    number
}
