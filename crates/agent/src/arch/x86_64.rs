//! x86-64: system call numbers and instruction, the entry points, the signal frame.
//!
//! The one fact that is not obvious: the system call instructions of the agent must lie in its own text, because the
//! filter lets a call through by the address behind its instruction. All of them come from the functions below.

use core::arch::asm;
#[cfg(agent_image)]
use core::arch::global_asm;

/// `AUDIT_ARCH_X86_64`: what the filter compares `seccomp_data.arch` with.
pub const AUDIT_ARCH: u32 = 0xc000_003e;
/// `EM_X86_64`: the machine of the programs that can run.
pub const ELF_MACHINE: u16 = 62;
/// Calls from here on are the x32 ABI's, which is refused.
pub const FOREIGN_FROM: Option<u32> = Some(0x4000_0000);

/// System call numbers.
#[allow(missing_docs)]
pub mod nr {
    pub const READ: u32 = 0;
    pub const WRITE: u32 = 1;
    pub const OPEN: u32 = 2;
    pub const CLOSE: u32 = 3;
    pub const STAT: u32 = 4;
    pub const FSTAT: u32 = 5;
    pub const LSTAT: u32 = 6;
    pub const MMAP: u32 = 9;
    pub const MPROTECT: u32 = 10;
    pub const MUNMAP: u32 = 11;
    pub const BRK: u32 = 12;
    pub const RT_SIGACTION: u32 = 13;
    pub const RT_SIGPROCMASK: u32 = 14;
    pub const RT_SIGRETURN: u32 = 15;
    pub const IOCTL: u32 = 16;
    pub const PREAD64: u32 = 17;
    pub const ACCESS: u32 = 21;
    pub const SCHED_YIELD: u32 = 24;
    pub const MADVISE: u32 = 28;
    pub const DUP: u32 = 32;
    pub const DUP2: u32 = 33;
    pub const GETPID: u32 = 39;
    pub const SOCKET: u32 = 41;
    pub const CONNECT: u32 = 42;
    pub const ACCEPT: u32 = 43;
    pub const SENDTO: u32 = 44;
    pub const RECVFROM: u32 = 45;
    pub const SENDMSG: u32 = 46;
    pub const RECVMSG: u32 = 47;
    pub const BIND: u32 = 49;
    pub const GETSOCKNAME: u32 = 51;
    pub const GETPEERNAME: u32 = 52;
    pub const SOCKETPAIR: u32 = 53;
    pub const GETSOCKOPT: u32 = 55;
    pub const CLONE: u32 = 56;
    pub const EXECVE: u32 = 59;
    pub const EXIT: u32 = 60;
    pub const KILL: u32 = 62;
    pub const UNAME: u32 = 63;
    pub const FCNTL: u32 = 72;
    pub const FSYNC: u32 = 74;
    pub const FDATASYNC: u32 = 75;
    pub const TRUNCATE: u32 = 76;
    pub const FTRUNCATE: u32 = 77;
    pub const GETCWD: u32 = 79;
    pub const CHDIR: u32 = 80;
    pub const FCHDIR: u32 = 81;
    pub const RENAME: u32 = 82;
    pub const MKDIR: u32 = 83;
    pub const RMDIR: u32 = 84;
    pub const CREAT: u32 = 85;
    pub const LINK: u32 = 86;
    pub const UNLINK: u32 = 87;
    pub const SYMLINK: u32 = 88;
    pub const READLINK: u32 = 89;
    pub const CHMOD: u32 = 90;
    pub const FCHMOD: u32 = 91;
    pub const CHOWN: u32 = 92;
    pub const FCHOWN: u32 = 93;
    pub const LCHOWN: u32 = 94;
    pub const UMASK: u32 = 95;
    pub const GETUID: u32 = 102;
    pub const GETGID: u32 = 104;
    pub const SETUID: u32 = 105;
    pub const SETGID: u32 = 106;
    pub const GETEUID: u32 = 107;
    pub const GETEGID: u32 = 108;
    pub const GETPPID: u32 = 110;
    pub const SETREUID: u32 = 113;
    pub const SETREGID: u32 = 114;
    pub const GETGROUPS: u32 = 115;
    pub const SETGROUPS: u32 = 116;
    pub const SETRESUID: u32 = 117;
    pub const GETRESUID: u32 = 118;
    pub const SETRESGID: u32 = 119;
    pub const GETRESGID: u32 = 120;
    pub const SETFSUID: u32 = 122;
    pub const SETFSGID: u32 = 123;
    pub const CAPGET: u32 = 125;
    pub const CAPSET: u32 = 126;
    pub const RT_SIGSUSPEND: u32 = 130;
    pub const UTIME: u32 = 132;
    pub const MKNOD: u32 = 133;
    pub const STATFS: u32 = 137;
    pub const FSTATFS: u32 = 138;
    pub const PIVOT_ROOT: u32 = 155;
    pub const PRCTL: u32 = 157;
    pub const ADJTIMEX: u32 = 159;
    pub const CHROOT: u32 = 161;
    pub const SYNC: u32 = 162;
    pub const ACCT: u32 = 163;
    pub const MOUNT: u32 = 165;
    pub const UMOUNT2: u32 = 166;
    pub const SWAPON: u32 = 167;
    pub const SETHOSTNAME: u32 = 170;
    pub const SETDOMAINNAME: u32 = 171;
    pub const GETTID: u32 = 186;
    pub const SETXATTR: u32 = 188;
    pub const LSETXATTR: u32 = 189;
    pub const FSETXATTR: u32 = 190;
    pub const GETXATTR: u32 = 191;
    pub const LGETXATTR: u32 = 192;
    pub const FGETXATTR: u32 = 193;
    pub const LISTXATTR: u32 = 194;
    pub const LLISTXATTR: u32 = 195;
    pub const FLISTXATTR: u32 = 196;
    pub const REMOVEXATTR: u32 = 197;
    pub const LREMOVEXATTR: u32 = 198;
    pub const FREMOVEXATTR: u32 = 199;
    pub const GETDENTS64: u32 = 217;
    pub const SET_TID_ADDRESS: u32 = 218;
    pub const EXIT_GROUP: u32 = 231;
    pub const TGKILL: u32 = 234;
    pub const UTIMES: u32 = 235;
    pub const ADD_KEY: u32 = 248;
    pub const REQUEST_KEY: u32 = 249;
    pub const KEYCTL: u32 = 250;
    pub const INOTIFY_ADD_WATCH: u32 = 254;
    pub const OPENAT: u32 = 257;
    pub const MKDIRAT: u32 = 258;
    pub const MKNODAT: u32 = 259;
    pub const FCHOWNAT: u32 = 260;
    pub const FUTIMESAT: u32 = 261;
    pub const NEWFSTATAT: u32 = 262;
    pub const UNLINKAT: u32 = 263;
    pub const RENAMEAT: u32 = 264;
    pub const LINKAT: u32 = 265;
    pub const SYMLINKAT: u32 = 266;
    pub const READLINKAT: u32 = 267;
    pub const FCHMODAT: u32 = 268;
    pub const FACCESSAT: u32 = 269;
    pub const PSELECT6: u32 = 270;
    pub const PPOLL: u32 = 271;
    pub const UNSHARE: u32 = 272;
    pub const SYNC_FILE_RANGE: u32 = 277;
    pub const UTIMENSAT: u32 = 280;
    pub const EPOLL_PWAIT: u32 = 281;
    pub const ACCEPT4: u32 = 288;
    pub const DUP3: u32 = 292;
    pub const PERF_EVENT_OPEN: u32 = 298;
    pub const FANOTIFY_INIT: u32 = 300;
    pub const FANOTIFY_MARK: u32 = 301;
    pub const PRLIMIT64: u32 = 302;
    pub const NAME_TO_HANDLE_AT: u32 = 303;
    pub const OPEN_BY_HANDLE_AT: u32 = 304;
    pub const SYNCFS: u32 = 306;
    pub const SENDMMSG: u32 = 307;
    pub const SETNS: u32 = 308;
    pub const PROCESS_VM_READV: u32 = 310;
    pub const RENAMEAT2: u32 = 316;
    pub const SECCOMP: u32 = 317;
    pub const MEMFD_CREATE: u32 = 319;
    pub const BPF: u32 = 321;
    pub const EXECVEAT: u32 = 322;
    pub const USERFAULTFD: u32 = 323;
    pub const STATX: u32 = 332;
    pub const IO_URING_SETUP: u32 = 425;
    pub const IO_URING_ENTER: u32 = 426;
    pub const IO_URING_REGISTER: u32 = 427;
    pub const OPEN_TREE: u32 = 428;
    pub const MOVE_MOUNT: u32 = 429;
    pub const FSOPEN: u32 = 430;
    pub const CLONE3: u32 = 435;
    pub const CLOSE_RANGE: u32 = 436;
    pub const OPENAT2: u32 = 437;
    pub const FACCESSAT2: u32 = 439;
    pub const EPOLL_PWAIT2: u32 = 441;
    pub const MOUNT_SETATTR: u32 = 442;
    pub const FCHMODAT2: u32 = 452;
    pub const SETXATTRAT: u32 = 463;
    pub const GETXATTRAT: u32 = 464;
    pub const LISTXATTRAT: u32 = 465;
    pub const REMOVEXATTRAT: u32 = 466;
    pub const OPEN_TREE_ATTR: u32 = 467;
    pub const FILE_GETATTR: u32 = 468;
    pub const FILE_SETATTR: u32 = 469;
}

/// A system call from the agent's text.
///
/// # Safety
/// As the call itself: pointers among the arguments must be valid for what the call does with them.
#[inline(always)]
pub unsafe fn syscall(nr: u32, args: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the kernel preserves every register but rax, rcx and r11; the caller vouches for the pointers.
    unsafe {
        asm!("syscall", inlateout("rax") nr as isize => result, in("rdi") args[0], in("rsi") args[1], in("rdx") args[2],
             in("r10") args[3], in("r8") args[4], in("r9") args[5], lateout("rcx") _, lateout("r11") _,
             options(nostack));
    }
    result
}

/// The general registers that a handler sees.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Registers {
    r8: u64,
    r9: u64,
    r10: u64,
    r11: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    rdi: u64,
    rsi: u64,
    rbp: u64,
    rbx: u64,
    rdx: u64,
    rax: u64,
    rcx: u64,
    rsp: u64,
    rip: u64,
    eflags: u64,
    segments: u64,
    err: u64,
    trapno: u64,
    oldmask: u64,
    cr2: u64,
    fpregs: u64,
    reserved: [u64; 8],
}

/// `struct ucontext`, as the kernel pushes it.
#[repr(C)]
#[derive(Debug)]
pub struct Context {
    flags: u64,
    link: u64,
    stack: [u64; 3],
    registers: Registers,
    /// The mask that becomes the thread's when the handler returns.
    pub mask: u64,
}

impl Context {
    /// The arguments of the trapped call.
    #[inline]
    pub fn args(&self) -> [usize; 6] {
        let r = &self.registers;
        [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9].map(|v| v as usize)
    }

    /// What the guest will find as the call's result.
    #[inline]
    pub fn set_result(&mut self, result: isize) {
        self.registers.rax = result as u64;
    }

    /// The guest's stack pointer.
    #[inline]
    pub fn stack_pointer(&self) -> u64 {
        self.registers.rsp
    }

    /// The address behind the trapped instruction.
    #[inline]
    pub fn instruction_pointer(&self) -> u64 {
        self.registers.rip
    }

    /// Where [`Context::call_in_guest`] puts its words.
    pub fn words_address(&self) -> u64 {
        ((self.registers.rsp - 128 - FRAME) & !15) + 16
    }

    /// Lets the guest make call `nr` itself once the handler has returned: below its red zone go the return address
    /// and three words, and the context continues at a system call instruction in the agent's text. `pointer` is an
    /// argument, if any, that shall point to one of the words.
    ///
    /// # Safety
    /// The guest's stack below its red zone must be writable, as it is for signal frames.
    pub unsafe fn call_in_guest(&mut self, nr: u32, pointer: Option<(usize, usize)>, words: [u64; 3]) {
        let at = self.words_address();
        let base = at - 16;
        let frame = base as *mut u64;
        // SAFETY: promised by the caller.
        unsafe {
            frame.write(self.registers.rip);
            frame.add(1).write(self.registers.rsp);
            frame.add(2).cast::<[u64; 3]>().write(words);
        }
        if let Some((argument, word)) = pointer {
            let address = at + 8 * word as u64;
            match argument {
                0 => self.registers.rdi = address,
                1 => self.registers.rsi = address,
                2 => self.registers.rdx = address,
                3 => self.registers.r10 = address,
                4 => self.registers.r8 = address,
                _ => self.registers.r9 = address,
            }
        }
        self.registers.rsp = base;
        self.registers.rax = u64::from(nr);
        #[cfg(agent_image)]
        {
            self.registers.rip = image::agent_guest_call as *const () as u64;
        }
    }

    /// One argument of the trapped call.
    pub fn argument(&self, index: usize) -> usize {
        self.args()[index]
    }
}

const FRAME: u64 = 48;

/// What the kernel gives to a handler of SIGSYS.
#[repr(C)]
#[derive(Debug)]
pub struct SignalInfo {
    signo: i32,
    /// The filter's data.
    pub errno: i32,
    /// `SYS_SECCOMP` where the signal is a filter's.
    pub code: i32,
    pad: i32,
    address: u64,
    /// The trapped call.
    pub syscall: i32,
    /// Its architecture.
    pub arch: u32,
}

#[cfg(agent_image)]
pub(crate) mod image {
    use super::*;

    unsafe extern "C" {
        pub(crate) fn _start();
        pub(crate) static agent_text_end: u8;
        pub(crate) fn agent_guest_call();
        pub(crate) fn agent_restorer();
        pub(crate) fn agent_guest_restorer();
        pub(crate) fn agent_trap();
    }

    global_asm!(
        ".section .text.start,\"ax\",@progbits",
        ".globl _start",
        "_start:",
        "xor ebp, ebp",
        "mov rbx, rsp",
        "mov rdi, rsp",
        "and rsp, -16",
        "call agent_load",
        "mov rsp, rbx",
        // The kernel hands a fresh program zeroed registers; rdx is a function to call at exit.
        "xor ebx, ebx",
        "xor ecx, ecx",
        "xor edx, edx",
        "xor edi, edi",
        "xor esi, esi",
        "xor r8d, r8d",
        "xor r9d, r9d",
        "xor r10d, r10d",
        "xor r11d, r11d",
        "jmp rax",
        // A call that the guest makes itself: [rsp] the address to go on at, [rsp+8] its stack pointer. A system call
        // destroys rcx and r11 anyway.
        ".globl agent_guest_call",
        "agent_guest_call:",
        "syscall",
        "mov rcx, [rsp]",
        "mov rsp, [rsp+8]",
        "jmp rcx",
        ".globl agent_restorer",
        "agent_restorer:",
        "mov eax, 15",
        "syscall",
        // Behind a handler of the guest's that may block SIGSYS in the mask to come back to: [rsp+296] is that mask
        // (struct ucontext: flags, link, stack, 256 bytes of machine context, then the mask).
        ".globl agent_guest_restorer",
        "agent_guest_restorer:",
        "and qword ptr [rsp+296], -0x40000001",
        "mov eax, 15",
        "syscall",
        // The signal handler: (signo, info, context) on the guest's stack. Works on a stack of the agent's own. Where
        // the signal is meant for the guest's handler, that is called in our place with the same frame.
        ".globl agent_trap",
        "agent_trap:",
        "push rbp",
        "mov rbp, rsp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov r12, rsi",
        "mov r13, rdx",
        "mov rdi, rdx",
        "call agent_claim",
        "mov r15, rax",
        "mov rsp, rax",
        "mov rdi, r12",
        "mov rsi, r13",
        "call agent_handle",
        "lea rsp, [rbp-32]",
        "mov r14, rax",
        "mov rdi, r15",
        "call agent_release",
        "mov rax, r14",
        "mov rsi, r12",
        "mov rdx, r13",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "test rax, rax",
        "jnz 2f",
        "ret",
        "2:",
        "mov edi, 31",
        "jmp rax",
        ".text",
    );
}

/// Copies without the help of a C library.
///
/// # Safety
/// As `memcpy`.
#[inline(always)]
pub unsafe fn copy_forward(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: the caller's promise; the direction flag is clear in both ABIs.
    unsafe {
        asm!("rep movsb", inout("rdi") to => _, inout("rsi") from => _, inout("rcx") count => _,
             options(nostack, preserves_flags));
    }
}

/// Fills without the help of a C library.
///
/// # Safety
/// As `memset`.
#[inline(always)]
pub unsafe fn fill(to: *mut u8, byte: u8, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("rep stosb", inout("rdi") to => _, in("al") byte, inout("rcx") count => _,
             options(nostack, preserves_flags));
    }
}

/// `struct stat` of the kernel.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs)]
pub struct Stat {
    pub dev: u64,
    pub ino: u64,
    pub nlink: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub pad: u32,
    pub rdev: u64,
    pub size: i64,
    pub blksize: i64,
    pub blocks: i64,
    pub atime: [i64; 2],
    pub mtime: [i64; 2],
    pub ctime: [i64; 2],
    pub unused: [i64; 3],
}
