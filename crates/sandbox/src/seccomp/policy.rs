//! The filter that sandboxed steps run under, modelled on the container runtimes' default profile.
//!
//! Difference to that profile: it is a list of refusals, not of permissions; the calls refused are the same for all
//! kernels up to the newest that the table knows, and later calls answer ENOSYS. System calls of the 32-bit sibling
//! architecture are filtered by their own numbers; x32 and all other architectures answer ENOSYS.

use super::bpf::{Action, Program};
use super::table::{
    CLONE, CLONE3, Column, FAKED, MKNOD, MKNODAT, NONE, PERSONALITY, PRLIMIT64, REFUSED, SOCKET, SYNCING, UNKNOWN,
    number,
};

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Error numbers are small and positive.
const EPERM: Action = Action::Errno(libc::EPERM as u16);
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
const ENOSYS: Action = Action::Errno(libc::ENOSYS as u16);

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
const EACCES: Action = Action::Errno(libc::EACCES as u16);
const SUCCESS: Action = Action::Errno(0);
/// Pretending goes for device nodes only: pipes, sockets and files can be made.
const DEVICES: [u32; 2] = [libc::S_IFCHR, libc::S_IFBLK];

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;
const AUDIT_ARCH_AARCH64: u32 = 0xc000_00b7;
const AUDIT_ARCH_ARM: u32 = 0x4000_0028;
/// x32 calls have this bit in their number.
const X32_BIT: u32 = 0x4000_0000;
/// Only i386 has it.
const I386_SOCKETCALL: u32 = 102;
/// Calls of 32-bit arm that exist nowhere else (cacheflush, set_tls, …).
const ARM_PRIVATE: std::ops::Range<u32> = 0xf_0001..0xf_0007;

/// Every CLONE_NEW* flag of clone(2). CLONE_NEWTIME is for unshare and clone3 only.
#[allow(clippy::cast_sign_loss)]
const NAMESPACES: [u32; 7] = [
    libc::CLONE_NEWNS as u32,
    libc::CLONE_NEWCGROUP as u32,
    libc::CLONE_NEWUTS as u32,
    libc::CLONE_NEWIPC as u32,
    libc::CLONE_NEWUSER as u32,
    libc::CLONE_NEWPID as u32,
    libc::CLONE_NEWNET as u32,
];
/// AF_ALG and AF_VSOCK: the first has had holes, the second reaches the hypervisor.
const REFUSED_FAMILIES: [u32; 2] = [38, 40];
/// PER_LINUX, PER_LINUX32, UNAME26, both, and the query.
const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// AF_INET, AF_INET6 and AF_PACKET.
const INTERNET_FAMILIES: [u32; 3] = [2, 10, 17];

/// A filter that refuses Internet sockets, as if no interface existed, and allows everything else. 32-bit programs
/// have a second way to make sockets (socketcall), whose arguments a filter cannot see: it is refused altogether.
pub(crate) fn no_network() -> Program {
    let mut program = Program::default();
    for (arch, column) in architectures() {
        let mut body = Program::default();
        body.load_number();
        if matches!(column, Column::I386) {
            body.number_is(I386_SOCKETCALL, ENOSYS);
        }
        body.argument(number(&SOCKET, column), 0, u32::MAX, &INTERNET_FAMILIES, false, EACCES);
        body.ret(Action::Allow);
        program.architecture(arch, body);
    }
    program.ret(Action::Allow);
    program
}

/// A filter for a step of root that shares its processes with the builder: the limits of others cannot be changed, which
/// would end them.
pub(crate) fn own_limits() -> Program {
    let mut program = Program::default();
    for (arch, column) in architectures() {
        let mut body = Program::default();
        body.load_number();
        if matches!(column, Column::X86_64) {
            body.number_at_least(X32_BIT, ENOSYS);
        }
        body.argument(number(&PRLIMIT64, column), 0, u32::MAX, &[0], true, EPERM);
        body.ret(Action::Allow);
        program.architecture(arch, body);
    }
    program.ret(Action::Allow);
    program
}

/// What the filter does about calls that need more than one id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// They go to the kernel.
    Real,
    /// They succeed and do nothing.
    Fake,
}

/// The default filter for this machine. `confine` is false for insecure steps, which need the filter for `Fake` only.
pub(crate) fn filter(confine: bool, ownership: Ownership) -> Program {
    let mut program = Program::default();
    for (arch, column) in architectures() {
        program.architecture(arch, body(column, confine, ownership));
    }
    program.ret(if confine { ENOSYS } else { Action::Allow });
    program
}

fn architectures() -> [(u32, Column); 2] {
    if cfg!(target_arch = "aarch64") {
        [(AUDIT_ARCH_AARCH64, Column::Aarch64), (AUDIT_ARCH_ARM, Column::Arm)]
    } else {
        [(AUDIT_ARCH_X86_64, Column::X86_64), (AUDIT_ARCH_I386, Column::I386)]
    }
}

fn body(column: Column, confine: bool, ownership: Ownership) -> Program {
    let mut body = Program::default();
    body.load_number();
    // What a step leaves behind is made durable once, when it is committed, and not by each fsync of dpkg.
    for row in SYNCING {
        body.number_is(number(row, column), SUCCESS);
    }
    if ownership == Ownership::Fake {
        for row in FAKED.iter().filter(|row| number(row, column) != NONE) {
            body.number_is(number(row, column), SUCCESS);
        }
        for (row, argument) in [(MKNOD, 1), (MKNODAT, 2)] {
            if number(&row, column) != NONE {
                body.argument(number(&row, column), argument, libc::S_IFMT, &DEVICES, false, SUCCESS);
            }
        }
    }
    if !confine {
        body.ret(Action::Allow);
        return body;
    }
    if matches!(column, Column::X86_64) {
        body.number_at_least(X32_BIT, ENOSYS);
    }
    if matches!(column, Column::Arm) {
        for private in ARM_PRIVATE {
            body.number_is(private, Action::Allow);
        }
    }
    body.number_at_least(UNKNOWN, ENOSYS);
    body.number_is(number(&CLONE3, column), ENOSYS);
    for row in REFUSED.iter().filter(|row| number(row, column) != NONE) {
        body.number_is(number(row, column), EPERM);
    }
    let namespaces = NAMESPACES.iter().fold(0, |all, flag| all | flag);
    body.argument(number(&CLONE, column), 0, namespaces, &[0], true, EPERM);
    body.argument(number(&SOCKET, column), 0, u32::MAX, &REFUSED_FAMILIES, false, EPERM);
    body.argument(number(&PERSONALITY, column), 0, u32::MAX, &PERSONALITIES, true, EPERM);
    body.ret(Action::Allow);
    body
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::super::bpf::interpret::run;
    use super::*;

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

    fn errno(errno: i32) -> u32 {
        libc::SECCOMP_RET_ERRNO | errno as u32
    }

    #[test]
    fn the_default_filter_decides_as_the_runtimes_do() {
        let filter = filter(true, Ownership::Real);
        assert!(filter.instructions().len() < 4096);
        let native = |number: libc::c_long, first: u64| run(&filter, AUDIT_ARCH_X86_64, number as u32, [first; 6]);
        for refused in [libc::SYS_mount, libc::SYS_unshare, libc::SYS_bpf, libc::SYS_keyctl, libc::SYS_kexec_load] {
            assert_eq!(native(refused, 0), errno(libc::EPERM), "{refused}");
        }
        for allowed in [libc::SYS_openat, libc::SYS_ptrace, libc::SYS_chroot, libc::SYS_mknodat, libc::SYS_setuid] {
            assert_eq!(native(allowed, 0), ALLOW, "{allowed}");
        }
        assert_eq!(native(libc::SYS_clone3, 0), errno(libc::ENOSYS));
        assert_eq!(native(libc::SYS_clone, libc::SIGCHLD as u64), ALLOW);
        assert_eq!(native(libc::SYS_clone, (libc::CLONE_NEWUSER | libc::SIGCHLD) as u64), errno(libc::EPERM));
        assert_eq!(native(libc::SYS_clone, (libc::CLONE_VM | libc::CLONE_THREAD) as u64), ALLOW);
        assert_eq!(native(libc::SYS_socket, libc::AF_INET as u64), ALLOW);
        assert_eq!(native(libc::SYS_socket, libc::AF_ALG as u64), errno(libc::EPERM));
        assert_eq!(native(libc::SYS_personality, 0xffff_ffff), ALLOW);
        assert_eq!(native(libc::SYS_personality, 0x0040_0000), errno(libc::EPERM));
        for answered in
            [libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_sync, libc::SYS_syncfs, libc::SYS_sync_file_range]
        {
            assert_eq!(native(answered, 0), errno(0), "{answered}");
        }
        assert_eq!(native(libc::SYS_msync, 0), ALLOW);
        assert_eq!(native(10_000, 0), errno(libc::ENOSYS));
        assert_eq!(native(0x4000_0000 | libc::SYS_read, 0), errno(libc::ENOSYS));
    }

    #[test]
    fn pretending_covers_identity_and_devices_only() {
        let filter = filter(true, Ownership::Fake);
        let native = |number: libc::c_long, args| run(&filter, AUDIT_ARCH_X86_64, number as u32, args);
        for faked in [libc::SYS_chown, libc::SYS_fchownat, libc::SYS_setresuid, libc::SYS_setgroups] {
            assert_eq!(native(faked, [0; 6]), errno(0), "{faked}");
        }
        let mode = |mode: u32| u64::from(mode | 0o644);
        assert_eq!(native(libc::SYS_mknod, [0, mode(libc::S_IFCHR), 0, 0, 0, 0]), errno(0));
        assert_eq!(native(libc::SYS_mknodat, [0, 0, mode(libc::S_IFBLK), 0, 0, 0]), errno(0));
        assert_eq!(native(libc::SYS_mknodat, [0, 0, mode(libc::S_IFIFO), 0, 0, 0]), ALLOW);
        assert_eq!(native(libc::SYS_mount, [0; 6]), errno(libc::EPERM));
        let open = super::filter(false, Ownership::Fake);
        assert_eq!(run(&open, AUDIT_ARCH_X86_64, libc::SYS_mount as u32, [0; 6]), ALLOW);
    }

    #[test]
    fn without_a_network_internet_sockets_are_refused() {
        let filter = no_network();
        let socket = |family: i32| run(&filter, AUDIT_ARCH_X86_64, libc::SYS_socket as u32, [family as u64; 6]);
        assert_eq!([socket(libc::AF_INET), socket(libc::AF_INET6)], [errno(libc::EACCES); 2]);
        assert_eq!([socket(libc::AF_UNIX), socket(libc::AF_NETLINK)], [ALLOW; 2]);
        assert_eq!(run(&filter, AUDIT_ARCH_I386, I386_SOCKETCALL, [0; 6]), errno(libc::ENOSYS));
        assert_eq!(run(&filter, AUDIT_ARCH_X86_64, libc::SYS_mount as u32, [0; 6]), ALLOW);
    }

    #[test]
    fn the_sibling_architecture_has_its_own_numbers() {
        let filter = filter(true, Ownership::Real);
        assert_eq!(run(&filter, AUDIT_ARCH_I386, 21, [0; 6]), errno(libc::EPERM), "i386 mount");
        assert_eq!(run(&filter, AUDIT_ARCH_I386, 165, [0; 6]), ALLOW, "x86_64 mount is getresuid on i386");
        assert_eq!(run(&filter, AUDIT_ARCH_AARCH64, 63, [0; 6]), errno(libc::ENOSYS), "foreign architecture");
    }
}
