//! From a trapped call to its answer.

use crate::arch::{Context, SignalInfo, nr};
use crate::attrs::{self, Target};
use crate::protocol::{FLAG_TRACE, TRAP_DATA};
use crate::state::config;
use crate::sys::{
    AT_EMPTY_PATH, AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_NOFOLLOW, Errno, O_CREAT, O_TRUNC, O_WRONLY, R, call, encode,
};
use crate::{creds, exec, fds, names, perms, signals, sites, sockets, stat, state};

const SYS_SECCOMP: i32 = 1;

/// Answers a signal; the result is the guest's handler to call instead of returning, or 0.
///
/// # Safety
/// Called by the entry point with what the kernel pushed.
#[cfg_attr(agent_image, unsafe(no_mangle))]
pub unsafe extern "C" fn agent_handle(info: *const SignalInfo, context: *mut Context) -> usize {
    // SAFETY: the kernel's frame, ours until we return.
    let (info, context) = unsafe { (&*info, &mut *context) };
    if info.code != SYS_SECCOMP || info.errno != i32::from(TRAP_DATA) {
        return signals::foreign(info.code, context);
    }
    let nr = info.syscall as u32;
    let args = context.args();
    state::count(nr as usize);
    if let Some(result) = dispatch(nr, args, context) {
        if config().flags & FLAG_TRACE != 0 {
            trace(nr, args, result);
        }
        context.set_result(encode(result));
        sites::trapped(nr, context.instruction_pointer() as usize, &args);
    }
    0
}

/// Answers a call, or sets the guest up to make it itself (`None`).
fn dispatch(nr: u32, a: [usize; 6], context: &mut Context) -> Option<R> {
    match nr {
        nr::RT_SIGPROCMASK => Some(signals::sys_sigprocmask(a, context)),
        nr::RT_SIGSUSPEND => signals::with_mask(nr, 0, context),
        nr::PPOLL => signals::with_mask(nr, 3, context),
        nr::EPOLL_PWAIT | nr::EPOLL_PWAIT2 => signals::with_mask(nr, 4, context),
        nr::PSELECT6 => signals::pselect6(context),
        _ => Some(sites::in_handler(nr, &a).unwrap_or_else(|| answer(nr, a, context.mask))),
    }
}

/// Answers a call that needs nothing of the guest's context but its signal mask.
#[inline(never)]
pub fn answer(nr: u32, a: [usize; 6], mask: u64) -> R {
    let at = |index: usize| a[index] as i32;
    let bits = |index: usize| a[index] as u32;
    match nr {
        nr::OPEN => names::sys_open(AT_FDCWD, a[0], bits(1), bits(2), mask),
        nr::CREAT => names::sys_open(AT_FDCWD, a[0], O_CREAT | O_WRONLY | O_TRUNC, bits(1), mask),
        nr::OPENAT => names::sys_open(at(0), a[1], bits(2), bits(3), mask),
        nr::OPENAT2 => names::sys_openat2(at(0), a[1], a[2], a[3], mask),
        nr::STAT => stat::sys_stat(AT_FDCWD, a[0], a[1], 0),
        nr::LSTAT => stat::sys_stat(AT_FDCWD, a[0], a[1], AT_SYMLINK_NOFOLLOW),
        nr::FSTAT => stat::sys_fstat(at(0), a[1]),
        nr::NEWFSTATAT => stat::sys_stat(at(0), a[1], a[2], bits(3)),
        nr::STATX => stat::sys_statx(at(0), a[1], bits(2), bits(3), a[4]),
        nr::ACCESS => stat::sys_access(AT_FDCWD, a[0], bits(1), 0),
        nr::FACCESSAT => stat::sys_access(at(0), a[1], bits(2), 0),
        nr::FACCESSAT2 => stat::sys_access(at(0), a[1], bits(2), bits(3)),
        nr::READLINK => stat::sys_readlink(AT_FDCWD, a[0], a[1], a[2]),
        nr::READLINKAT => stat::sys_readlink(at(0), a[1], a[2], a[3]),
        nr::GETDENTS64 => stat::sys_getdents(at(0), a[1], a[2]),
        nr::CHDIR => stat::sys_chdir(a[0]),
        nr::FCHDIR => stat::sys_fchdir(at(0)),
        nr::GETCWD => stat::sys_getcwd(a[0], a[1]),
        nr::STATFS => stat::sys_statfs(a[0], a[1]),
        nr::UNAME => stat::sys_uname(a[0]),
        nr::CHROOT => sys_chroot(a[0]),
        nr::MKDIR => names::sys_mkdir(AT_FDCWD, a[0], bits(1)),
        nr::MKDIRAT => names::sys_mkdir(at(0), a[1], bits(2)),
        nr::MKNOD => names::sys_mknod(AT_FDCWD, a[0], bits(1), a[2] as u64),
        nr::MKNODAT => names::sys_mknod(at(0), a[1], bits(2), a[3] as u64),
        nr::UNLINK => names::sys_unlink(AT_FDCWD, a[0], 0),
        nr::RMDIR => names::sys_unlink(AT_FDCWD, a[0], AT_REMOVEDIR),
        nr::UNLINKAT => names::sys_unlink(at(0), a[1], bits(2)),
        nr::SYMLINK => names::sys_symlink(a[0], AT_FDCWD, a[1]),
        nr::SYMLINKAT => names::sys_symlink(a[0], at(1), a[2]),
        nr::RENAME => names::sys_rename(AT_FDCWD, a[0], AT_FDCWD, a[1], 0),
        nr::RENAMEAT => names::sys_rename(at(0), a[1], at(2), a[3], 0),
        nr::RENAMEAT2 => names::sys_rename(at(0), a[1], at(2), a[3], bits(4)),
        nr::LINK => names::sys_link(AT_FDCWD, a[0], AT_FDCWD, a[1], 0),
        nr::LINKAT => names::sys_link(at(0), a[1], at(2), a[3], bits(4)),
        nr::TRUNCATE => names::sys_truncate(a[0], a[1]),
        nr::UMASK => names::sys_umask(bits(0)),
        nr::INOTIFY_ADD_WATCH => names::sys_inotify(at(0), a[1], bits(2)),
        nr::CHMOD => attrs::sys_chmod(AT_FDCWD, a[0], bits(1), 0),
        nr::FCHMOD => attrs::sys_fchmod(at(0), bits(1)),
        nr::FCHMODAT => attrs::sys_chmod(at(0), a[1], bits(2), 0),
        nr::FCHMODAT2 => attrs::sys_chmod(at(0), a[1], bits(2), bits(3)),
        nr::CHOWN => attrs::sys_chown(AT_FDCWD, a[0], bits(1), bits(2), 0),
        nr::LCHOWN => attrs::sys_chown(AT_FDCWD, a[0], bits(1), bits(2), AT_SYMLINK_NOFOLLOW),
        nr::FCHOWN => attrs::sys_fchown(at(0), bits(1), bits(2)),
        nr::FCHOWNAT => attrs::sys_chown(at(0), a[1], bits(2), bits(3), bits(4)),
        nr::UTIME => attrs::sys_utime(a[0], a[1]),
        nr::UTIMES => attrs::sys_utimes(AT_FDCWD, a[0], a[1]),
        nr::FUTIMESAT => attrs::sys_utimes(at(0), a[1], a[2]),
        nr::UTIMENSAT => attrs::sys_utimensat(at(0), a[1], a[2], bits(3)),
        nr::SETXATTR => attrs::sys_setxattr(&Target::Path(a[0], false), a[1], a[2], a[3], bits(4)),
        nr::LSETXATTR => attrs::sys_setxattr(&Target::Path(a[0], true), a[1], a[2], a[3], bits(4)),
        nr::FSETXATTR => attrs::sys_setxattr(&Target::Fd(a[0]), a[1], a[2], a[3], bits(4)),
        nr::GETXATTR => attrs::sys_getxattr(&Target::Path(a[0], false), a[1], a[2], a[3]),
        nr::LGETXATTR => attrs::sys_getxattr(&Target::Path(a[0], true), a[1], a[2], a[3]),
        nr::FGETXATTR => attrs::sys_getxattr(&Target::Fd(a[0]), a[1], a[2], a[3]),
        nr::LISTXATTR => attrs::sys_listxattr(&Target::Path(a[0], false), a[1], a[2]),
        nr::LLISTXATTR => attrs::sys_listxattr(&Target::Path(a[0], true), a[1], a[2]),
        nr::FLISTXATTR => attrs::sys_listxattr(&Target::Fd(a[0]), a[1], a[2]),
        nr::REMOVEXATTR => attrs::sys_removexattr(&Target::Path(a[0], false), a[1]),
        nr::LREMOVEXATTR => attrs::sys_removexattr(&Target::Path(a[0], true), a[1]),
        nr::FREMOVEXATTR => attrs::sys_removexattr(&Target::Fd(a[0]), a[1]),
        nr::EXECVE => exec::sys_exec(AT_FDCWD, a[0], a[1], a[2], 0, mask),
        nr::EXECVEAT => exec::sys_exec(at(0), a[1], a[2], a[3], bits(4), mask),
        nr::BIND => sockets::sys_bind(a[0], a[1], bits(2) as usize),
        nr::CONNECT => sockets::sys_connect(a[0], a[1], bits(2) as usize, mask),
        nr::SENDTO => sockets::sys_sendto(a, mask),
        nr::SENDMSG => sockets::sys_sendmsg(a, mask),
        nr::ACCEPT | nr::ACCEPT4 | nr::GETSOCKNAME | nr::GETPEERNAME => sockets::sys_name(nr, a, mask),
        nr::GETSOCKOPT => sockets::sys_getsockopt(a),
        nr::GETUID
        | nr::GETGID
        | nr::SETUID
        | nr::SETGID
        | nr::GETEUID
        | nr::GETEGID
        | nr::SETREUID
        | nr::SETREGID
        | nr::SETRESUID
        | nr::GETRESUID
        | nr::SETRESGID
        | nr::GETRESGID
        | nr::SETFSUID
        | nr::SETFSGID => creds::sys_ids(nr, a),
        nr::GETGROUPS => creds::sys_getgroups(a[0], a[1]),
        nr::SETGROUPS => creds::sys_setgroups(a[0], a[1]),
        nr::CAPGET => creds::sys_capget(a[0], a[1]),
        nr::CAPSET => creds::sys_capset(a[0], a[1]),
        nr::PRCTL => sys_prctl(a),
        nr::SECCOMP => sys_seccomp(a),
        nr::RT_SIGACTION => signals::sys_sigaction(a),
        nr::CLOSE | nr::DUP | nr::DUP2 | nr::DUP3 | nr::FCNTL => fds::sys_fd(nr, a),
        nr::CLOSE_RANGE => fds::sys_close_range(bits(0), bits(1), bits(2)),
        nr::KILL => sys_kill(at(0), a[1]),
        nr::PRLIMIT64 => sys_prlimit(a),
        _ => Err(Errno::ENOSYS),
    }
}

/// chroot: another root for this process and those that it starts.
fn sys_chroot(path: usize) -> R {
    let mut text = crate::text::PathText::new();
    crate::guest::path(path, &mut text)?;
    let (fd, mut stat) = crate::paths::locate(AT_FDCWD, text.c(), false)?;
    if stat.kind() != crate::sys::S_IFDIR {
        return Err(Errno::ENOTDIR);
    }
    if !perms::is_superuser() {
        perms::search(AT_FDCWD, text.c())?;
        crate::stat::view(&mut stat);
        perms::need(&stat, 1)?;
    }
    if !perms::capable(18) {
        return Err(Errno::EPERM);
    }
    let tree = crate::sys::fstatx(state::fd_root())?;
    let chrooted = (stat.ino, stat.dev()) != (tree.ino, tree.dev());
    // SAFETY: no pointers; the number is the agent's own.
    unsafe { call!(nr::DUP3, fd.get(), state::fd_guest_root(), 0) }?;
    if state::creds().chrooted != u16::from(chrooted) {
        state::creds_mut().chrooted = chrooted.into();
    }
    Ok(0)
}

fn sys_prctl(a: [usize; 6]) -> R {
    if let Some(result) = creds::sys_prctl(a) {
        return result;
    }
    match a[0] {
        // PR_GET_SECCOMP: the filter that the guest sees is none. PR_SET_SECCOMP.
        21 => Ok(crate::filter::mode()),
        22 => sys_seccomp([if a[1] == 2 { 1 } else { 0 }, 0, a[2], 0, 0, 0]),
        // PR_SET_MM is the loader's.
        35 => Err(Errno::EPERM),
        _ => creds::real_prctl(a),
    }
}

/// seccomp: a guest's own filter applies to the guest alone. See [`crate::filter`].
fn sys_seccomp(a: [usize; 6]) -> R {
    const SET_MODE_STRICT: usize = 0;
    const SET_MODE_FILTER: usize = 1;
    match a[0] {
        // As the kernel answers where there is a filter already.
        SET_MODE_STRICT => Err(Errno::EINVAL),
        SET_MODE_FILTER => crate::filter::install(a[1], a[2]),
        // SAFETY: the kernel checks the guest's pointers.
        _ => unsafe { call!(nr::SECCOMP, a[0], a[1], a[2]) },
    }
}

/// kill: Landlock's scope keeps it inside the step; where the kernel has none, only processes of the step can be named.
fn sys_kill(pid: i32, signal: usize) -> R {
    if config().flags & crate::protocol::FLAG_CHECK_KILL != 0 && pid != 0 {
        if pid == -1 {
            return Err(Errno::EPERM);
        }
        if !crate::walk::in_step(pid.unsigned_abs()) {
            return Err(Errno::ESRCH);
        }
    }
    // For real all processes of the step are one user's.
    const CAP_KILL: u32 = 5;
    if pid > 0
        && !crate::perms::capable(CAP_KILL)
        && let Some(other) = state::creds_of(pid as u32)
    {
        let me = state::creds().uid;
        if !me[..2].iter().any(|id| *id == other.uid[0] || *id == other.uid[2]) {
            return Err(Errno::EPERM);
        }
    }
    // SAFETY: no pointers.
    unsafe { call!(nr::KILL, pid, signal) }
}

/// prlimit for a process that is named: its own limits may be changed, those of others are not the step's to change.
fn sys_prlimit(a: [usize; 6]) -> R {
    let pid = a[0] as i32;
    if pid != crate::sys::getpid() as i32 && pid != crate::sys::gettid() as i32 {
        return Err(Errno::EPERM);
    }
    // SAFETY: the kernel checks the guest's pointers.
    unsafe { call!(nr::PRLIMIT64, 0, a[1], a[2], a[3]) }
}

#[cold]
#[inline(never)]
fn trace(nr: u32, args: [usize; 6], result: R) {
    let mut line = crate::text::PathText::new();
    let _ = line.push(b"[");
    let _ = line.push_number(crate::sys::gettid().into());
    let _ = line.push(b"] ");
    let _ = line.push_number(nr.into());
    let path = match nr {
        nr::OPEN
        | nr::STAT
        | nr::LSTAT
        | nr::ACCESS
        | nr::READLINK
        | nr::CHDIR
        | nr::EXECVE
        | nr::MKDIR
        | nr::RMDIR
        | nr::UNLINK
        | nr::RENAME
        | nr::CHMOD
        | nr::CHOWN
        | nr::LCHOWN
        | nr::STATFS
        | nr::CREAT => args[0],
        nr::OPENAT
        | nr::NEWFSTATAT
        | nr::STATX
        | nr::FACCESSAT
        | nr::FACCESSAT2
        | nr::READLINKAT
        | nr::UNLINKAT
        | nr::MKDIRAT
        | nr::FCHMODAT
        | nr::FCHOWNAT
        | nr::RENAMEAT
        | nr::LINKAT
        | nr::UTIMENSAT
        | nr::EXECVEAT
        | nr::SYMLINKAT
        | nr::OPENAT2
        | nr::RENAMEAT2 => args[1],
        _ => 0,
    };
    let mut text = crate::text::PathText::new();
    if path != 0 && crate::guest::path(path, &mut text).is_ok() {
        let _ = line.push(b" ");
        let _ = line.push(text.bytes());
    } else {
        for arg in &args[..3] {
            let _ = line.push(b" ");
            let _ = line.push_number(*arg as u64);
        }
    }
    match result {
        Ok(value) => {
            let _ = line.push(b" = ");
            let _ = line.push_number(value as u64);
        }
        Err(errno) => {
            let _ = line.push(b" = -");
            let _ = line.push_number(errno.0 as u64);
        }
    }
    let _ = line.push(b"\n");
    crate::sys::print(line.bytes());
    let _ = AT_EMPTY_PATH;
}
