//! What a step is: root file system, command, mounts, identity, policy.
//!
//! Invariants: every path under `rootfs` and every mount source is a path of the builder; every mount `target` and
//! `cwd` is an absolute path inside the root file system, resolved there (symlinks never lead out of it). A `Spec`
//! travels to the helper process as JSON, bytes kept exactly (see [`crate::wire`]).

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::isolation::Isolation;
use crate::wire::{bytes, bytes_list, bytes_pairs};

/// Everything that [`crate::Launcher::run`] needs to run one command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// How the command is confined.
    pub isolation: Isolation,
    /// The root file system.
    pub rootfs: Rootfs,
    /// Additional mounts, in order; a later one may lie inside an earlier one.
    pub mounts: Vec<Mount>,
    /// Program and arguments. A program without a slash is searched in the `PATH` of `env`, inside the root.
    #[serde(with = "bytes_list")]
    pub argv: Vec<OsString>,
    /// The whole environment; nothing is inherited from the builder.
    #[serde(with = "bytes_pairs")]
    pub env: Vec<(OsString, OsString)>,
    /// Working directory; must exist in the root file system.
    #[serde(with = "bytes")]
    pub cwd: PathBuf,
    /// Numeric identity of the command.
    pub user: User,
    /// Host name inside (where the isolation has a UTS namespace).
    pub hostname: String,
    /// Network of the command.
    pub network: Network,
    /// Capabilities, system call filter, masked paths.
    pub security: Security,
    /// Size of /dev/shm in bytes.
    pub shm_size: u64,
    /// Resource limits; what is not listed is inherited from the builder.
    pub ulimits: Vec<Ulimit>,
    /// Answer changes of ownership and identity with success though nothing changes, because only one id exists here
    /// (see [`crate::userns::Entered::SingleId`]). Files then belong to root, whatever `chown` was asked for, and
    /// every user of the step has root's permissions: the `intercept` isolation is better at it where it works.
    #[serde(default)]
    pub fake_ownership: bool,
    /// Runs the step's programs where they are of another architecture and nothing on this machine runs them.
    #[serde(default)]
    pub emulator: Option<crate::emulation::Emulator>,
}

impl Spec {
    /// A step with docker's defaults: root, `/`, host network, sandboxed, 64 MiB of shared memory, `namespaces`.
    pub fn new(rootfs: Rootfs, argv: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Spec {
            isolation: Isolation::Namespaces,
            rootfs,
            mounts: Vec::new(),
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            cwd: PathBuf::from("/"),
            user: User::ROOT,
            hostname: "localhost".to_owned(),
            network: Network::Host,
            security: Security::Sandbox,
            shm_size: 64 << 20,
            ulimits: Vec::new(),
            fake_ownership: false,
            emulator: None,
        }
    }
}

/// The root file system of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rootfs {
    /// Layers merged by the kernel's overlayfs, mounted with `userxattr` (markers are `user.overlay.*` in all modes).
    Overlay {
        /// Lower directories, **topmost first** (the order of overlayfs' `lowerdir=`). Up to 500.
        #[serde(with = "bytes_list")]
        lowers: Vec<PathBuf>,
        /// Receives what the step changes: the diff is a walk of this directory. When it is empty it gets the mode,
        /// owner and times of the topmost layer's root first, since it becomes the root that the step sees.
        #[serde(with = "bytes")]
        upper: PathBuf,
        /// An empty directory on the file system of `upper`.
        #[serde(with = "bytes")]
        work: PathBuf,
    },
    /// One directory that the step changes in place.
    Directory(#[serde(with = "bytes")] PathBuf),
}

/// One mount of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path inside the root file system; made when missing, and removed again after the step.
    #[serde(with = "bytes")]
    pub target: PathBuf,
    /// What is mounted there.
    pub kind: MountKind,
}

impl Mount {
    /// A mount of `kind` at `target`.
    pub fn new(target: impl AsRef<Path>, kind: MountKind) -> Self {
        Mount { target: target.as_ref().to_owned(), kind }
    }
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A directory or file of the builder.
    Bind {
        /// The path on the builder's side.
        #[serde(with = "bytes")]
        source: PathBuf,
        /// Writes fail with `EROFS`.
        readonly: bool,
    },
    /// A directory of the builder that can be written; what is written is thrown away after the step.
    Scratch {
        /// The path on the builder's side; never changed.
        #[serde(with = "bytes")]
        source: PathBuf,
        /// An empty directory of the builder that receives the writes (on a file system fit for an overlay's upper
        /// directory, where the isolation uses one). The caller removes it.
        #[serde(with = "bytes")]
        scratch: PathBuf,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Bytes; `None` is the kernel's default, half of the memory.
        size: Option<u64>,
        /// Permission bits of its root; docker's default is 0o1777.
        mode: u32,
    },
    /// A file with this content, held in memory: never written into the root file system or to a disk.
    File {
        /// The bytes.
        #[serde(with = "bytes")]
        content: Vec<u8>,
        /// Permission bits.
        mode: u32,
        /// Owner inside the step.
        uid: u32,
        /// Group inside the step.
        gid: u32,
    },
    /// A Unix socket that the builder made for this step. It is given its owner and mode.
    Socket {
        /// The path on the builder's side.
        #[serde(with = "bytes")]
        source: PathBuf,
        /// Permission bits.
        mode: u32,
        /// Owner inside the step.
        uid: u32,
        /// Group inside the step.
        gid: u32,
    },
}

/// A numeric identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

impl User {
    /// uid 0, gid 0, no supplementary group.
    pub const ROOT: User = User { uid: 0, gid: 0, groups: Vec::new() };
}

/// The network of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The builder's network.
    Host,
    /// A loopback interface of its own and nothing else.
    None,
}

/// `RUN --security`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Security {
    /// Docker's default capabilities, the default system call filter, masked paths in /proc and /sys.
    Sandbox,
    /// All capabilities that the builder has, no filter, nothing masked.
    Insecure,
}

/// One resource limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Which limit.
    pub limit: Limit,
    /// Soft value; `u64::MAX` is unlimited.
    pub soft: u64,
    /// Hard value; `u64::MAX` is unlimited.
    pub hard: u64,
}

/// The resources of `docker build --ulimit`.
#[allow(missing_docs)] // The names are setrlimit(2)'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Limit {
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

impl Limit {
    /// The limit with this name, as `--ulimit` spells it.
    pub fn from_name(name: &str) -> Option<Limit> {
        Some(match name {
            "core" => Limit::Core,
            "cpu" => Limit::Cpu,
            "data" => Limit::Data,
            "fsize" => Limit::Fsize,
            "locks" => Limit::Locks,
            "memlock" => Limit::Memlock,
            "msgqueue" => Limit::Msgqueue,
            "nice" => Limit::Nice,
            "nofile" => Limit::Nofile,
            "nproc" => Limit::Nproc,
            "rss" => Limit::Rss,
            "rtprio" => Limit::Rtprio,
            "rttime" => Limit::Rttime,
            "sigpending" => Limit::Sigpending,
            "stack" => Limit::Stack,
            _ => return None,
        })
    }
}
