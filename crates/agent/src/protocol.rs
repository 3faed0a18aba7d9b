//! What launcher and agent agree on: addresses, descriptors, the configuration, the shared memory.
//!
//! ```text
//! address space of a guest                        descriptors (a window of numbers, hidden from the guest)
//!   0x6500_0000_0000  configuration (read only)     +0  the tree, O_PATH
//!                     text  <- calls pass the filter +1  the agent's image, memfd
//!                     constants, data, stacks       +2  the shared memory, memfd
//!   0x6510_0000_0000  shared memory                 +3  the guest's root: the tree, or where chroot(2) led it
//!                                                   +4… directories mounted for the step, O_PATH; the emulator
//!
//! shared memory (one memfd for all processes of a step)
//!   0x00_0000  Header
//!   0x00_1000  counters of trapped calls, u64 by call number
//!   0x01_0000  PARCELS: what execve hands from the old program to the loader of the new one
//!   0x20_0000  records of the ownership table, then its blobs (see `table`)
//! ```
//! The guest can write to the shared memory: it is trusted for what the step believes of itself, never for what the
//! builder may do.

use core::sync::atomic::{AtomicU32, AtomicU64};

/// Where the agent's image lies. No sanitizer, JIT or Go heap uses this region.
pub const AGENT_BASE: usize = 0x6500_0000_0000;
/// Where the configuration lies: the first segment of the image.
pub const CONFIG_ADDRESS: usize = AGENT_BASE;
/// Where the shared memory is mapped.
pub const SHARED_ADDRESS: usize = 0x6510_0000_0000;

/// Marks a configuration of this layout.
pub const CONFIG_MAGIC: u64 = 0x3130_6e65_6761_6f63;
/// The data of our filter's SECCOMP_RET_TRAP, which tells its signals from those of a guest's filter.
pub const TRAP_DATA: u16 = 0x0c05;

/// The tree.
pub const FD_ROOT: i32 = 0;
/// The image.
pub const FD_AGENT: i32 = 1;
/// The shared memory.
pub const FD_SHARED: i32 = 2;
/// The guest's root: the tree, unless this process made a chroot(2).
pub const FD_GUEST_ROOT: i32 = 3;
/// First mount.
pub const FD_MOUNTS: i32 = 4;

/// Most mounts of one step, the standard ones included.
pub const MAX_MOUNTS: usize = 96;
/// Room for the texts of the configuration.
pub const TEXT_ROOM: usize = 48 << 10;

/// Print every trapped call.
pub const FLAG_TRACE: u32 = 1;
/// Count trapped calls.
pub const FLAG_COUNT: u32 = 2;
/// Some mount is read-only.
pub const FLAG_READ_ONLY: u32 = 4;
/// The kernel does not keep signals inside the step: the agent has to.
pub const FLAG_CHECK_KILL: u32 = 8;
/// Some mount is a [`MOUNT_HOLDER`].
pub const FLAG_NESTED: u32 = 16;

/// A piece of [`Config::text`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset.
    pub start: u32,
    /// Length.
    pub len: u32,
}

/// Writing is refused with `EROFS`.
pub const MOUNT_READ_ONLY: u32 = 1;
/// The mount is one file, not a directory.
pub const MOUNT_FILE: u32 = 2;
/// The mount is the proc file system.
pub const MOUNT_PROC: u32 = 4;
/// The mount has ownership of its own: what the file system says of the owner is shown.
pub const MOUNT_SYSTEM: u32 = 8;
/// Other mounts lie in this one, and their doors are not shut, since the source is not the step's own: only the slow way
/// finds them.
pub const MOUNT_HOLDER: u32 = 16;

/// One mount of the step. The directory or file that it covers in the tree (its door) has no permission bits while
/// the step runs, so that the kernel refuses to go through it and the agent looks up the mount.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct MountEntry {
    /// Canonical absolute path in the guest's view.
    pub target: Span,
    /// Path in the builder's view.
    pub source: Span,
    /// Descriptor of the source, or -1 where the source's path is used (single files).
    pub fd: i32,
    /// `MOUNT_*`.
    pub flags: u32,
    /// Inode number of the door; 0 where there is none.
    pub door: u64,
}

/// The configuration: constant during a step, in the image itself.
#[repr(C)]
#[derive(Debug, Clone)]
pub struct Config {
    /// [`CONFIG_MAGIC`].
    pub magic: u64,
    /// The one real user id.
    pub real_uid: u32,
    /// The one real group id.
    pub real_gid: u32,
    /// First descriptor of the window. All of them are open.
    pub window: i32,
    /// Number of descriptors in the window.
    pub window_len: i32,
    /// `FLAG_*`.
    pub flags: u32,
    /// Bytes of shared memory.
    pub shared_size: u64,
    /// The tree's path in the builder's view; `/` is written as the empty path.
    pub root: Span,
    /// Host name shown.
    pub hostname: Span,
    /// Descriptor, in the window, of a program that runs those of another machine; -1 where there is none.
    pub emulator: i32,
    /// `e_machine` of the programs that it runs.
    pub emulated: u32,
    /// Number of mounts.
    pub mount_count: u32,
    /// Bit `b & 63` for each byte that follows the first slash of a mount target.
    pub first_bytes: u64,
    /// Bit `door & 63` for each door.
    pub doors: u64,
    /// Longest target first.
    pub mounts: [MountEntry; MAX_MOUNTS],
    /// Texts.
    pub text: [u8; TEXT_ROOM],
}

impl Config {
    /// The configuration before it is filled in.
    pub const EMPTY: Config = Config {
        magic: 0,
        real_uid: 0,
        real_gid: 0,
        window: 0,
        window_len: 0,
        flags: 0,
        shared_size: 0,
        root: Span { start: 0, len: 0 },
        hostname: Span { start: 0, len: 0 },
        emulator: -1,
        emulated: 0,
        mount_count: 0,
        first_bytes: 0,
        doors: 0,
        mounts: [MountEntry {
            target: Span { start: 0, len: 0 },
            source: Span { start: 0, len: 0 },
            fd: -1,
            flags: 0,
            door: 0,
        }; MAX_MOUNTS],
        text: [0; TEXT_ROOM],
    };

    /// A text of the configuration.
    #[inline]
    pub fn text(&self, span: Span) -> &[u8] {
        let end = span.start.saturating_add(span.len) as usize;
        self.text.get(span.start as usize..end).unwrap_or(b"")
    }

    /// The mounts.
    #[inline]
    pub fn mounts(&self) -> &[MountEntry] {
        &self.mounts[..(self.mount_count as usize).min(MAX_MOUNTS)]
    }
}

/// Groups that a process can have; more are refused as if the kernel's limit were here.
pub const MAX_GROUPS: usize = 128;

/// What a guest process believes of itself.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Creds {
    /// Real, effective, saved and file system user id.
    pub uid: [u32; 4],
    /// Real, effective, saved and file system group id.
    pub gid: [u32; 4],
    /// Effective, permitted, inheritable, bounding, ambient capabilities.
    pub caps: [u64; 5],
    /// `PR_SET_SECUREBITS`; bit 4 is `PR_SET_KEEPCAPS`.
    pub securebits: u32,
    /// File mode creation mask. The real one is 0 while a step runs.
    pub umask: u32,
    /// Whether [`FD_GUEST_ROOT`] is another directory than the tree.
    pub chrooted: u16,
    /// 1; in the memory of a process whose loader has not come that far, everything reads as 0.
    pub begun: u16,
    /// Number of supplementary groups.
    pub group_count: u32,
    /// Supplementary groups.
    pub groups: [u32; MAX_GROUPS],
}

/// Docker's default capabilities.
pub const DEFAULT_CAPS: u64 = 0xa804_25fb;

impl Creds {
    /// The identity with which a step begins.
    pub fn new(uid: u32, gid: u32, groups: &[u32], umask: u32, bounding: u64) -> Creds {
        let caps = if uid == 0 { bounding } else { 0 };
        let mut creds = Creds {
            uid: [uid; 4],
            gid: [gid; 4],
            caps: [caps, caps, 0, bounding, 0],
            securebits: 0,
            umask,
            chrooted: 0,
            begun: 1,
            group_count: groups.len().min(MAX_GROUPS) as u32,
            groups: [0; MAX_GROUPS],
        };
        for (to, from) in creds.groups.iter_mut().zip(groups) {
            *to = *from;
        }
        creds
    }
}

/// What one execve hands to the loader.
#[repr(C)]
#[derive(Debug)]
pub struct Parcel {
    /// The process that uses this parcel; 0 where it is free.
    pub owner: AtomicU32,
    /// The program, open for reading. -1 in the parcel with which a step begins: there `exe` is the working directory,
    /// `execfn` the command as given, and `interpreter` a pipe, closed by execve, for the error number of a failure
    /// (with [`FAILED_CWD`] added where the working directory is the reason).
    pub program: i32,
    /// Its ELF interpreter; -1 where there is none.
    pub interpreter: i32,
    /// `AT_SECURE`.
    pub secure: u32,
    /// Credentials of the new program.
    pub creds: Creds,
    /// Whether SIGSYS is ignored in the guest's view.
    pub sigsys_ignored: u32,
    /// Whether the guest has a system call filter of its own.
    pub filtered: u32,
    /// Length of the path in `exe`.
    pub exe_len: u32,
    /// Length of the path in `execfn`.
    pub execfn_len: u32,
    /// Canonical path of the program in the guest's view: what /proc/self/exe says.
    pub exe: [u8; 4096],
    /// Path as the guest gave it: what `AT_EXECFN` says.
    pub execfn: [u8; 4096],
}

/// Added to the error number where the working directory cannot be entered.
pub const FAILED_CWD: u32 = 1 << 16;

/// Processes that can be inside execve at the same moment.
pub const PARCELS: usize = 96;
/// Bytes per parcel.
pub const PARCEL_SIZE: usize = 0x3000;
/// Where they begin.
pub const PARCELS_OFFSET: usize = 0x1_0000;
/// Where the counters begin.
pub const COUNTERS_OFFSET: usize = 0x1000;
/// Number of counters.
pub const COUNTERS: usize = 512;
/// Where the table begins.
pub const TABLE_OFFSET: usize = 0x20_0000;

/// The beginning of the shared memory.
#[repr(C)]
#[derive(Debug)]
pub struct Header {
    /// [`CONFIG_MAGIC`].
    pub magic: AtomicU64,
    /// log2 of the number of record slots.
    pub slots_log2: AtomicU32,
    /// Bytes for blobs.
    pub blob_size: AtomicU32,
    /// Bytes of blobs in use.
    pub blob_used: AtomicU32,
    /// Records in use.
    pub records: AtomicU32,
    /// Records and blobs that found no room.
    pub lost: AtomicU32,
    /// Named pipes that were made: opening a file may wait.
    pub fifos: AtomicU32,
    /// Directories whose set-group-ID bit gives new files a group other than 0.
    pub setgid_dirs: AtomicU32,
    /// Whether there are device nodes that only the table knows: opening one is refused.
    pub devices: AtomicU32,
    /// One bit for each port below 1024 that was bound elsewhere, since the real user may not bind it.
    pub ports: [AtomicU32; 32],
}

const _: () = assert!(size_of::<Parcel>() <= PARCEL_SIZE);
const _: () = assert!(PARCELS_OFFSET + PARCELS * PARCEL_SIZE <= TABLE_OFFSET);
const _: () = assert!(COUNTERS_OFFSET + COUNTERS * 8 <= PARCELS_OFFSET);
