//! Which calls are trapped: the launcher makes the filter of this list, the dispatcher answers what is on it.

use crate::arch::nr;

/// When a call is trapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Every time.
    Always,
    /// When this argument is not a null pointer.
    NotNull(u32),
    /// When this argument is not a null pointer, or the first one has this value.
    NotNullOrFirst(u32, u32),
    /// When the low half of one of these arguments is a descriptor of the agent's.
    Hidden(&'static [u32]),
    /// When the low half of the first argument is one of these.
    First(&'static [u32]),
    /// When the first argument is not the image's descriptor: the launcher executes it with the filter in place.
    NotImage,
    /// When it changes the limits of another process; from the agent's text it then fails, since code that goes around the
    /// agent could end the builder by it, and Landlock has no word there.
    OthersLimits,
    /// Never: the call fails with this error number; with 0 it succeeds and does nothing.
    Fails(u32),
    /// Never: with `--network=none` the call fails with this error number unless its first argument is AF_UNIX or
    /// AF_NETLINK.
    Socket(u32),
}

const ENOSYS: u32 = 38;
const EPERM: u32 = 1;
const EAFNOSUPPORT: u32 = 97;

/// The list, in no order.
pub const TRAPS: &[(u32, When)] = &[
    (nr::OPEN, When::Always),
    (nr::CREAT, When::Always),
    (nr::OPENAT, When::Always),
    (nr::OPENAT2, When::Always),
    (nr::STAT, When::Always),
    (nr::LSTAT, When::Always),
    (nr::FSTAT, When::Always),
    (nr::NEWFSTATAT, When::Always),
    (nr::STATX, When::Always),
    (nr::ACCESS, When::Always),
    (nr::FACCESSAT, When::Always),
    (nr::FACCESSAT2, When::Always),
    (nr::READLINK, When::Always),
    (nr::READLINKAT, When::Always),
    (nr::GETDENTS64, When::Always),
    (nr::CHDIR, When::Always),
    (nr::FCHDIR, When::Hidden(&[0])),
    (nr::GETCWD, When::Always),
    (nr::CHROOT, When::Always),
    (nr::MKDIR, When::Always),
    (nr::MKDIRAT, When::Always),
    (nr::MKNOD, When::Always),
    (nr::MKNODAT, When::Always),
    (nr::UNLINK, When::Always),
    (nr::RMDIR, When::Always),
    (nr::UNLINKAT, When::Always),
    (nr::SYMLINK, When::Always),
    (nr::SYMLINKAT, When::Always),
    (nr::RENAME, When::Always),
    (nr::RENAMEAT, When::Always),
    (nr::RENAMEAT2, When::Always),
    (nr::LINK, When::Always),
    (nr::LINKAT, When::Always),
    (nr::CHMOD, When::Always),
    (nr::FCHMOD, When::Always),
    (nr::FCHMODAT, When::Always),
    (nr::FCHMODAT2, When::Always),
    (nr::CHOWN, When::Always),
    (nr::LCHOWN, When::Always),
    (nr::FCHOWN, When::Always),
    (nr::FCHOWNAT, When::Always),
    (nr::TRUNCATE, When::Always),
    (nr::UTIME, When::Always),
    (nr::UTIMES, When::Always),
    (nr::FUTIMESAT, When::Always),
    (nr::UTIMENSAT, When::Always),
    (nr::STATFS, When::Always),
    (nr::SETXATTR, When::Always),
    (nr::LSETXATTR, When::Always),
    (nr::FSETXATTR, When::Always),
    (nr::GETXATTR, When::Always),
    (nr::LGETXATTR, When::Always),
    (nr::FGETXATTR, When::Always),
    (nr::LISTXATTR, When::Always),
    (nr::LLISTXATTR, When::Always),
    (nr::FLISTXATTR, When::Always),
    (nr::REMOVEXATTR, When::Always),
    (nr::LREMOVEXATTR, When::Always),
    (nr::FREMOVEXATTR, When::Always),
    (nr::INOTIFY_ADD_WATCH, When::Always),
    (nr::UMASK, When::Always),
    (nr::UNAME, When::Always),
    (nr::EXECVE, When::Always),
    (nr::EXECVEAT, When::NotImage),
    (nr::BIND, When::Always),
    (nr::CONNECT, When::Always),
    (nr::SENDTO, When::NotNull(4)),
    (nr::SENDMSG, When::Always),
    (nr::ACCEPT, When::NotNull(1)),
    (nr::ACCEPT4, When::NotNull(1)),
    (nr::GETSOCKNAME, When::Always),
    (nr::GETPEERNAME, When::Always),
    (nr::GETSOCKOPT, When::Always),
    (nr::GETUID, When::Always),
    (nr::GETEUID, When::Always),
    (nr::GETGID, When::Always),
    (nr::GETEGID, When::Always),
    (nr::GETRESUID, When::Always),
    (nr::GETRESGID, When::Always),
    (nr::GETGROUPS, When::Always),
    (nr::SETGROUPS, When::Always),
    (nr::SETUID, When::Always),
    (nr::SETGID, When::Always),
    (nr::SETREUID, When::Always),
    (nr::SETREGID, When::Always),
    (nr::SETRESUID, When::Always),
    (nr::SETRESGID, When::Always),
    (nr::SETFSUID, When::Always),
    (nr::SETFSGID, When::Always),
    (nr::CAPGET, When::Always),
    (nr::CAPSET, When::Always),
    (nr::SECCOMP, When::Always),
    // PR_{GET,SET}_SECCOMP, PR_CAPBSET_*, PR_*_KEEPCAPS, PR_*_SECUREBITS, PR_CAP_AMBIENT, PR_SET_PTRACER, PR_SET_MM
    (nr::PRCTL, When::First(&[7, 8, 21, 22, 23, 24, 27, 28, 35, 47])),
    (nr::RT_SIGACTION, When::NotNullOrFirst(1, 31)),
    (nr::RT_SIGPROCMASK, When::NotNull(1)),
    (nr::RT_SIGSUSPEND, When::Always),
    (nr::PPOLL, When::NotNull(3)),
    (nr::PSELECT6, When::NotNull(5)),
    (nr::EPOLL_PWAIT, When::NotNull(4)),
    (nr::EPOLL_PWAIT2, When::NotNull(4)),
    (nr::CLOSE, When::Hidden(&[0])),
    (nr::DUP, When::Hidden(&[0])),
    (nr::DUP2, When::Hidden(&[0, 1])),
    (nr::DUP3, When::Hidden(&[0, 1])),
    (nr::FCNTL, When::Hidden(&[0])),
    (nr::CLOSE_RANGE, When::Always),
    (nr::KILL, When::Always),
    (nr::SOCKET, When::Socket(EAFNOSUPPORT)),
    (nr::PRLIMIT64, When::OthersLimits),
    // What a step leaves behind is made durable once, when it is committed.
    (nr::FSYNC, When::Fails(0)),
    (nr::FDATASYNC, When::Fails(0)),
    (nr::SYNC, When::Fails(0)),
    (nr::SYNC_FILE_RANGE, When::Fails(0)),
    (nr::SYNCFS, When::Fails(0)),
    (nr::CLONE3, When::Fails(ENOSYS)),
    (nr::IO_URING_SETUP, When::Fails(ENOSYS)),
    (nr::IO_URING_ENTER, When::Fails(ENOSYS)),
    (nr::IO_URING_REGISTER, When::Fails(ENOSYS)),
    (nr::SETXATTRAT, When::Fails(ENOSYS)),
    (nr::GETXATTRAT, When::Fails(ENOSYS)),
    (nr::LISTXATTRAT, When::Fails(ENOSYS)),
    (nr::REMOVEXATTRAT, When::Fails(ENOSYS)),
    (nr::OPEN_TREE_ATTR, When::Fails(ENOSYS)),
    (nr::FILE_GETATTR, When::Fails(ENOSYS)),
    (nr::FILE_SETATTR, When::Fails(ENOSYS)),
    (nr::OPEN_TREE, When::Fails(EPERM)),
    (nr::MOVE_MOUNT, When::Fails(EPERM)),
    (nr::FSOPEN, When::Fails(EPERM)),
    (nr::MOUNT_SETATTR, When::Fails(EPERM)),
    (nr::MOUNT, When::Fails(EPERM)),
    (nr::UMOUNT2, When::Fails(EPERM)),
    (nr::PIVOT_ROOT, When::Fails(EPERM)),
    (nr::UNSHARE, When::Fails(EPERM)),
    (nr::SETNS, When::Fails(EPERM)),
    (nr::SWAPON, When::Fails(EPERM)),
    (nr::ACCT, When::Fails(EPERM)),
    (nr::SETHOSTNAME, When::Fails(EPERM)),
    (nr::SETDOMAINNAME, When::Fails(EPERM)),
    (nr::FANOTIFY_INIT, When::Fails(EPERM)),
    (nr::NAME_TO_HANDLE_AT, When::Fails(95)),
    (nr::OPEN_BY_HANDLE_AT, When::Fails(EPERM)),
    // Keyrings are the builder's user's; the rest is what container runtimes refuse, too.
    (nr::KEYCTL, When::Fails(EPERM)),
    (nr::ADD_KEY, When::Fails(EPERM)),
    (nr::REQUEST_KEY, When::Fails(EPERM)),
    (nr::BPF, When::Fails(EPERM)),
    (nr::PERF_EVENT_OPEN, When::Fails(EPERM)),
    (nr::USERFAULTFD, When::Fails(EPERM)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_listed_once() {
        let mut numbers: std::vec::Vec<u32> = TRAPS.iter().map(|(nr, _)| *nr).collect();
        numbers.sort_unstable();
        let count = numbers.len();
        numbers.dedup();
        assert_eq!(numbers.len(), count);
    }
}
