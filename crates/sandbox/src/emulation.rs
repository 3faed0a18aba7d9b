//! Programs of other architectures: does the kernel run them, and if not, who can.
//!
//! Whether it runs them is tried, not read: a program of a dozen instructions that ends with 0 is executed
//! ([`runs_here`]). Where it does not, an [`Emulator`] (qemu's user mode, a static program) goes into the step's
//! [`crate::Spec`]. The `namespaces` isolation then registers it with `binfmt_misc` for this step alone: since Linux 6.7
//! each user namespace has a `binfmt_misc` of its own, and mounting it needs no privilege outside. As root, whose user
//! namespace is the machine's, the step gets one more, with all ids mapped to themselves, so that nothing is registered
//! for anybody else. What the emulator executes goes through the kernel again: scripts, setuid and children all work.
//!
//! ```text
//! init: enter the root ─► (root only) unshare(user, mount), ids mapped by an assistant
//!       ─► mount binfmt_misc, detached ─► register `machine → /proc/self/fd/QEMU`, opened at once (flag F) ─► command
//! ```

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use serde::{Deserialize, Serialize};

use crate::child::{Context, Setup};
use crate::wire::bytes;
use crate::{sys, userns};

/// One architecture, as the head of an ELF file names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Go's word for it: `arm64`.
    architecture: &'static str,
    /// qemu's: `aarch64`.
    qemu: &'static str,
    /// `EI_CLASS`: 1 for 32 bits, 2 for 64.
    class: u8,
    /// `EI_DATA`: 1 for little endian, 2 for big.
    data: u8,
    /// `e_machine`.
    number: u16,
    /// `e_flags` of a program that a kernel takes.
    flags: u32,
    /// Instructions of `exit(0)`.
    exit: &'static [u8],
}

const MACHINES: &[Machine] = &[
    Machine {
        architecture: "amd64",
        qemu: "x86_64",
        class: 2,
        data: 1,
        number: 62,
        flags: 0,
        // xor edi, edi; mov eax, 60; syscall
        exit: &[0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05],
    },
    Machine {
        architecture: "386",
        qemu: "i386",
        class: 1,
        data: 1,
        number: 3,
        flags: 0,
        // xor ebx, ebx; mov eax, 1; int 0x80
        exit: &[0x31, 0xdb, 0xb8, 1, 0, 0, 0, 0xcd, 0x80],
    },
    Machine {
        architecture: "arm64",
        qemu: "aarch64",
        class: 2,
        data: 1,
        number: 183,
        flags: 0,
        // mov x0, 0; mov x8, 93; svc 0
        exit: &[0, 0, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 1, 0, 0, 0xd4],
    },
    Machine {
        architecture: "arm",
        qemu: "arm",
        class: 1,
        data: 1,
        number: 40,
        flags: 0x0500_0000,
        // mov r0, 0; mov r7, 1; svc 0
        exit: &[0, 0, 0xa0, 0xe3, 1, 0x70, 0xa0, 0xe3, 0, 0, 0, 0xef],
    },
    Machine {
        architecture: "riscv64",
        qemu: "riscv64",
        class: 2,
        data: 1,
        number: 243,
        flags: 0,
        // li a0, 0; li a7, 93; ecall
        exit: &[0x13, 5, 0, 0, 0x93, 8, 0xd0, 5, 0x73, 0, 0, 0],
    },
    Machine {
        architecture: "ppc64le",
        qemu: "ppc64le",
        class: 2,
        data: 1,
        number: 21,
        flags: 2,
        // li r3, 0; li r0, 1; sc
        exit: &[0, 0, 0x60, 0x38, 1, 0, 0, 0x38, 2, 0, 0, 0x44],
    },
    Machine {
        architecture: "s390x",
        qemu: "s390x",
        class: 2,
        data: 2,
        number: 22,
        flags: 0,
        // lhi r2, 0; svc 1
        exit: &[0xa7, 0x28, 0, 0, 0x0a, 1],
    },
    Machine {
        architecture: "loong64",
        qemu: "loongarch64",
        class: 2,
        data: 1,
        number: 258,
        flags: 0x43,
        // addi.w a0, zero, 0; addi.w a7, zero, 93; syscall 0
        exit: &[4, 0, 0x80, 2, 0x0b, 0x74, 0x81, 2, 0, 0, 0x2b, 0],
    },
];

impl Machine {
    /// The architecture of this name, in Go's words; `None` for one that nothing is known of.
    #[must_use]
    pub fn of(architecture: &str) -> Option<Self> {
        MACHINES.iter().find(|machine| machine.architecture == architecture).copied()
    }

    /// `e_machine` of its programs.
    #[must_use]
    pub fn number(self) -> u16 {
        self.number
    }

    /// The names under which its emulator is installed.
    #[must_use]
    pub fn emulator_names(self) -> [String; 2] {
        [format!("qemu-{}-static", self.qemu), format!("qemu-{}", self.qemu)]
    }

    /// A number in its byte order.
    fn bytes<const N: usize>(self, little: [u8; N]) -> [u8; N] {
        let mut bytes = little;
        if self.data == 2 {
            bytes.reverse();
        }
        bytes
    }

    /// An ELF file that ends with 0 as soon as it runs (System V ABI, chapter 4).
    fn program(self) -> Vec<u8> {
        const BASE: u64 = 0x1_0000;
        let wide = self.class == 2;
        let (head, segment) = if wide { (64_u16, 56_u16) } else { (52, 32) };
        let code = u64::from(head + segment);
        let size = code + self.exit.len() as u64;
        let word = |n: u64| -> Vec<u8> {
            if wide {
                self.bytes(n.to_le_bytes()).to_vec()
            } else {
                #[allow(clippy::cast_possible_truncation)] // Addresses and sizes of this file are small.
                self.bytes((n as u32).to_le_bytes()).to_vec()
            }
        };
        let four = |n: u32| self.bytes(n.to_le_bytes());
        let two = |n: u16| self.bytes(n.to_le_bytes());
        let mut file = b"\x7fELF".to_vec();
        file.extend([self.class, self.data, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        file.extend(two(2));
        file.extend(two(self.number));
        file.extend(four(1));
        // Entry point, program headers, no section headers.
        for n in [BASE + code, u64::from(head), 0] {
            file.extend(word(n));
        }
        file.extend(four(self.flags));
        for n in [head, segment, 1, 0, 0, 0] {
            file.extend(two(n));
        }
        // One segment, the whole file: PT_LOAD, readable and executable.
        file.extend(four(1));
        if wide {
            file.extend(four(5));
        }
        for n in [0, BASE, BASE, size, size] {
            file.extend(word(n));
        }
        if !wide {
            file.extend(four(5));
        }
        file.extend(word(0x1_0000));
        file.extend(self.exit);
        file
    }

    /// What `binfmt_misc` compares: the first 20 bytes of a file, and which bits of them count.
    fn magic(self) -> ([u8; 20], [u8; 20]) {
        let mut magic = [0; 20];
        magic[..20].copy_from_slice(&self.program()[..20]);
        // The ABI (byte 7) may be anything; the type executable or shared object (2 or 3).
        let mut mask = [0xff; 20];
        mask[7] = 0;
        mask[if self.data == 2 { 17 } else { 16 }] = 0xfe;
        (magic, mask)
    }
}

/// Whether a program for this machine can be executed here: by the processor, or by an emulator that somebody registered.
///
/// # Errors
/// Where it cannot be tried: nothing in `scratch` may be executed.
pub fn runs_here(machine: Machine, scratch: &Path) -> io::Result<bool> {
    std::fs::write(scratch, machine.program())?;
    std::fs::set_permissions(scratch, PermissionsExt::from_mode(0o755))?;
    let tried =
        Command::new(scratch).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let _ = std::fs::remove_file(scratch);
    match tried {
        Ok(status) => Ok(status.success()),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOEXEC | libc::ENOENT | libc::EINVAL)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A program that runs those of another machine: user-mode qemu.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emulator {
    /// The architecture that it runs, in Go's words.
    pub architecture: String,
    /// Where it is, on the builder's side. It must be static: no library of the image fits it.
    #[serde(with = "bytes")]
    pub program: PathBuf,
}

impl Emulator {
    /// The emulator for a machine in this search path; static ones alone.
    #[must_use]
    pub fn find(machine: Machine, path: &OsStr) -> Option<Self> {
        let dirs = path.as_bytes().split(|byte| *byte == b':').filter(|dir| !dir.is_empty());
        let files =
            dirs.flat_map(|dir| machine.emulator_names().map(|name| Path::new(OsStr::from_bytes(dir)).join(name)));
        let mut fitting = files.filter(|file| is_static(file));
        fitting.next().map(|program| Self { architecture: machine.architecture.to_owned(), program })
    }
}

/// Whether a file is an executable ELF program without an interpreter.
fn is_static(path: &Path) -> bool {
    let read = || -> io::Result<bool> {
        let file = std::fs::File::open(path)?;
        if file.metadata()?.permissions().mode() & 0o111 == 0 {
            return Ok(false);
        }
        // The program headers of every linker in use lie within the first page.
        let mut head = Vec::new();
        file.take(4096).read_to_end(&mut head)?;
        let number = |at: usize, size: usize| {
            let bytes = head.get(at..at + size)?;
            Some(bytes.iter().rev().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte)))
        };
        if !head.starts_with(b"\x7fELF\x02\x01") {
            return Ok(false);
        }
        let (Some(start), Some(size), Some(count)) = (number(32, 8), number(54, 2), number(56, 2)) else {
            return Ok(false);
        };
        const PT_INTERP: usize = 3;
        Ok((0..count).all(|n| number(start + n * size, 4) != Some(PT_INTERP)))
    };
    read().unwrap_or(false)
}

/// Opens the emulator, while the builder's files can still be seen.
pub(crate) fn open(emulator: &Emulator) -> Setup<OwnedFd> {
    rustix::fs::open(&emulator.program, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .context(|| format!("open the emulator {}", emulator.program.display()))
}

/// Registers it for this process and its children, in the root that they have. What comes back keeps it registered.
pub(crate) fn register(emulator: &Emulator, program: &OwnedFd) -> Setup<OwnedFd> {
    let Some(machine) = Machine::of(&emulator.architecture) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput))
            .context(|| format!("emulate {}", emulator.architecture));
    };
    if in_first_user_namespace() {
        enter_user_namespace().context(|| "enter a user namespace for the emulator")?;
    }
    let old = |error: crate::SetupError| {
        if matches!(error.errno, libc::EPERM | libc::ENODEV | libc::EINVAL) {
            let hint = "binfmt_misc in a user namespace needs Linux 6.7: register qemu on the machine, or build with --isolation=intercept";
            error.hint(hint)
        } else {
            error
        }
    };
    let mounted = fsopen("binfmt_misc", FsOpenFlags::FSOPEN_CLOEXEC)
        .and_then(|context| {
            fsconfig_create(&context)?;
            fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        })
        .context(|| "mount binfmt_misc")
        .map_err(old)?;
    let (magic, mask) = machine.magic();
    let escaped = |bytes: &[u8]| bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    // O: by descriptor, C: setuid counts, P: argv[0] is kept, F: opened now.
    let line = format!(
        ":qemu-{}:M::{}:{}:/proc/self/fd/{}:POCF",
        machine.qemu,
        escaped(&magic),
        escaped(&mask),
        program.as_raw_fd()
    );
    let registered = openat(&mounted, "register", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|register| rustix::io::write(&register, line.as_bytes()));
    match registered {
        // Another step of this builder, in the same user namespace.
        Ok(_) | Err(rustix::io::Errno::EXIST) => Ok(mounted),
        Err(error) => Err(error).context(|| format!("register the emulator for {}", emulator.architecture)),
    }
}

/// Whether handlers registered here would be the whole machine's.
fn in_first_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// A user namespace where every id is itself, and a mount namespace that belongs to it. Processes in it can make no
/// device nodes.
fn enter_user_namespace() -> io::Result<()> {
    let (mut here, mut there) = UnixStream::pair()?;
    let process = rustix::process::getpid().as_raw_pid();
    // SAFETY: the helper has a single thread.
    let Some(assistant) = (unsafe { sys::fork() })? else {
        drop(here);
        // Maps are written from outside: who has entered lacks the capability for it.
        let mut go = [0];
        let done =
            there.read_exact(&mut go).and_then(|()| userns::map_all(process)).and_then(|_| there.write_all(b"."));
        sys::exit_now(i32::from(done.is_err()))
    };
    drop(there);
    let entered = sys::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS).and_then(|()| {
        here.write_all(b"!")?;
        here.read_exact(&mut [0])
    });
    drop(here);
    let _ = sys::wait(assistant);
    entered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_runs_its_own_programs() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let own = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let machine = Machine::of(own).expect("this machine");
        assert!(runs_here(machine, &dir.path().join("program")).expect("can be tried"));
    }

    /// The instructions are right: each machine's emulator ends with 0 on them.
    #[test]
    #[allow(clippy::print_stderr)] // Says that it is skipped.
    fn emulators_run_the_programs() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut tried = 0;
        for machine in MACHINES {
            let Some(emulator) = Emulator::find(*machine, &path) else { continue };
            let program = dir.path().join(machine.architecture);
            std::fs::write(&program, machine.program()).expect("write");
            std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("chmod");
            let status = Command::new(emulator.program).arg(&program).status().expect("start");
            assert!(status.success(), "{}: {status}", machine.architecture);
            tried += 1;
        }
        if tried == 0 {
            eprintln!("skipped: no qemu-user-static here");
            assert!(std::env::var_os("CI").is_none(), "CI has emulators");
        }
    }

    #[test]
    fn masks_leave_the_abi_and_the_kind_of_program_open() {
        let (magic, mask) = Machine::of("arm64").expect("known").magic();
        assert_eq!(magic[16..], [2, 0, 183, 0]);
        assert_eq!((mask[7], mask[16], mask[17], mask[18]), (0, 0xfe, 0xff, 0xff));
        let (magic, mask) = Machine::of("s390x").expect("known").magic();
        assert_eq!(magic[16..], [0, 2, 0, 22]);
        assert_eq!((mask[16], mask[17]), (0xff, 0xfe));
    }
}
