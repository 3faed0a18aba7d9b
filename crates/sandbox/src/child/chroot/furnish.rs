//! /dev, /proc, /sys and the mounts of a step, without mount(2): things put into the tree and taken out again.
//!
//! Whatever the image has at a place is moved aside into a stash beside the tree and moved back afterwards, so that it
//! keeps its inode, times and owners. Places are held by descriptors of their parent directories: what the step does
//! to the path meanwhile does not matter.

use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps};

use super::super::devices::{LINKS, NODES};
use super::super::{Context, Setup};
use super::copy::{copy, remove};
use crate::mountpoint::Made;
use crate::root::Root;
use crate::spec::{Mount, MountKind, Spec};

/// Files of /proc that say the same to every process.
const PROC_FILES: [&str; 14] = [
    "cmdline",
    "cpuinfo",
    "filesystems",
    "loadavg",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "version",
    "vmstat",
    "sys/kernel/osrelease",
    "sys/kernel/ostype",
    "sys/vm/overcommit_memory",
    "sys/fs/file-max",
];

/// What was put into a tree.
pub(super) struct Furniture {
    tree: PathBuf,
    fd: OwnedFd,
    root: Root,
    stash: PathBuf,
    made: Made,
    placed: Vec<Placed>,
    touched: Vec<Touched>,
}

/// A directory of the image in which something was placed.
struct Touched {
    dir: OwnedFd,
    inode: u64,
    before: Time,
    after: Time,
}

/// One thing put at a place.
struct Placed {
    parent: OwnedFd,
    name: OsString,
    /// Where the image's own thing waits.
    stashed: Option<PathBuf>,
    /// Where a directory of the builder that was moved in goes back to.
    home: Option<PathBuf>,
}

type Time = (i64, i64);

impl Furniture {
    pub(super) fn new(tree: &Path) -> Setup<Self> {
        let open = || {
            rustix::fs::open(tree, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .context(|| format!("open the root file system {}", tree.display()))
        };
        let mut name = tree.file_name().map(OsString::from).unwrap_or_default();
        name.push(".stash");
        let stash = tree.with_file_name(name);
        Ok(Furniture {
            tree: tree.to_owned(),
            fd: open()?,
            root: Root::new(open()?),
            stash,
            made: Made::default(),
            placed: Vec::new(),
            touched: Vec::new(),
        })
    }

    pub(super) fn root(&self) -> &OwnedFd {
        &self.fd
    }

    /// Puts everything in.
    pub(super) fn move_in(&mut self, spec: &Spec) -> Setup<()> {
        let result = self.fill(spec);
        for touched in &mut self.touched {
            touched.after = time(&touched.dir);
        }
        result
    }

    fn fill(&mut self, spec: &Spec) -> Setup<()> {
        fs::create_dir(&self.stash).context(|| format!("make {}", self.stash.display()))?;
        self.place(Path::new("/proc"), None, fill_proc)?;
        self.place(Path::new("/sys"), None, |at| fs::create_dir(at).context(|| "make /sys"))?;
        self.place(Path::new("/dev"), None, fill_dev)?;
        for mount in &spec.mounts {
            self.mount(mount, &spec.hostname)?;
        }
        Ok(())
    }

    /// Notes the state of a directory before anything is put there.
    fn touch(&mut self, dir: &OwnedFd) -> std::io::Result<()> {
        let inode = rustix::fs::fstat(dir)?.st_ino;
        if self.touched.iter().all(|touched| touched.inode != inode) {
            let before = time(dir);
            self.touched.push(Touched { dir: dir.try_clone()?, inode, before, after: before });
        }
        Ok(())
    }

    fn mount(&mut self, mount: &Mount, hostname: &str) -> Setup<()> {
        let target = &mount.target;
        let action = || format!("provide the mount at {}", target.display());
        match &mount.kind {
            MountKind::Bind { source, readonly: false } => {
                let result = self.place(target, Some(source), |at| fs::rename(source, at).context(action));
                result.map_err(|error| match error.errno {
                    libc::EXDEV => {
                        error.hint("without mount(2), a writable bind must lie on the file system of the tree")
                    }
                    libc::ENOENT => {
                        error.hint("another step may hold it: without mount(2) a directory is moved, not shared")
                    }
                    _ => error,
                })
            }
            MountKind::Bind { source, readonly: true } | MountKind::Scratch { source, .. } => {
                self.place(target, None, |at| copy(source, at).context(action))
            }
            MountKind::Tmpfs { mode, .. } => self.place(target, None, |at| make_dir(at, *mode).context(action)),
            MountKind::File { content, mode, uid, gid } => self.place(target, None, |at| {
                let content =
                    if target == Path::new("/etc/hosts") { with_own_name(content, hostname) } else { content.clone() };
                let write = || {
                    fs::write(at, content)?;
                    lchown(at, Some(*uid), Some(*gid))?;
                    fs::set_permissions(at, PermissionsExt::from_mode(*mode))
                };
                write().context(action)
            }),
            MountKind::Socket { source, mode, uid, gid } => self.place(target, None, |at| {
                let link = || {
                    fs::hard_link(source, at)?;
                    lchown(at, Some(*uid), Some(*gid))?;
                    fs::set_permissions(at, PermissionsExt::from_mode(*mode))
                };
                link()
                    .context(action)
                    .map_err(|error| error.hint("without mount(2), a socket must lie on the file system of the tree"))
            }),
        }
    }

    /// Moves aside what is at `target` and lets `make` put something else there.
    fn place(&mut self, target: &Path, home: Option<&Path>, make: impl FnOnce(&Path) -> Setup<()>) -> Setup<()> {
        let action = || format!("make room at {}", target.display());
        let resolved = self.root.resolve(target).context(action)?;
        let path = resolved.missing.iter().fold(resolved.path, |path, name| path.join(name));
        let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
            return Err(std::io::Error::from_raw_os_error(libc::EBUSY)).context(action);
        };
        let existing = self.root.resolve(parent).context(action)?;
        self.touch(&existing.fd).context(action)?;
        let parent = self.made.ensure(&self.root, None, parent, true).context(action)?;
        let at = PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name);
        let mut placed = Placed { parent, name: name.to_owned(), stashed: None, home: None };
        if fs::symlink_metadata(&at).is_ok() {
            let stashed = self.stash.join(self.placed.len().to_string());
            fs::rename(&at, &stashed).context(action)?;
            placed.stashed = Some(stashed);
        }
        let result = make(&at);
        if result.is_ok() {
            placed.home = home.map(Path::to_owned);
        }
        self.placed.push(placed);
        result
    }

    /// Takes everything out again, the last first. Goes on after a failure and reports the first one.
    pub(super) fn move_out(mut self) -> Setup<()> {
        let mut result = Ok(());
        let mut note = |outcome: Setup<()>| {
            if result.is_ok() {
                result = outcome;
            }
        };
        let now: Vec<Time> = self.touched.iter().map(|touched| time(&touched.dir)).collect();
        for placed in self.placed.drain(..).rev() {
            note(placed.undo());
        }
        let removed = fs::remove_dir(&self.stash);
        note(removed.context(|| format!("remove {}", self.stash.display())));
        let tree = self.tree;
        note(self.made.remove(&tree).map_err(|(path, error)| {
            crate::error::SetupError::new(format!("remove the mount point {}", path.display()), error)
        }));
        // The step's own changes of a directory keep their time, ours leave none.
        for (touched, now) in self.touched.iter().zip(now) {
            let wanted = if now == touched.after { touched.before } else { now };
            let times = Timestamps {
                last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
                last_modification: Timespec { tv_sec: wanted.0, tv_nsec: wanted.1 as _ },
            };
            let path = format!("/proc/self/fd/{}", touched.dir.as_raw_fd());
            let _ = rustix::fs::utimensat(CWD, path, &times, AtFlags::empty());
        }
        result
    }
}

impl Placed {
    fn undo(self) -> Setup<()> {
        let at = PathBuf::from(format!("/proc/self/fd/{}", self.parent.as_raw_fd())).join(&self.name);
        let action = || format!("take {} out of the tree", self.name.to_string_lossy());
        match &self.home {
            Some(home) if fs::symlink_metadata(&at).is_ok_and(|found| found.is_dir()) => {
                fs::rename(&at, home).context(action)?;
            }
            // The step removed it or took it elsewhere, which a mount point would have refused: it begins anew, empty.
            Some(home) => {
                remove(&at).context(action)?;
                fs::create_dir(home).context(|| format!("make {}", home.display()))?;
            }
            None => remove(&at).context(action)?,
        }
        if let Some(stashed) = &self.stashed {
            fs::rename(stashed, &at).context(action)?;
        }
        Ok(())
    }
}

/// The modification time of a directory; zero when it is gone.
fn time(dir: &OwnedFd) -> Time {
    fs::metadata(format!("/proc/self/fd/{}", dir.as_raw_fd())).map_or((0, 0), |meta| (meta.mtime(), meta.mtime_nsec()))
}

/// The machine's name beside the step's in /etc/hosts: without a namespace it keeps its own, and `sudo` looks it up.
fn with_own_name(hosts: &[u8], hostname: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(hosts);
    let uname = rustix::system::uname();
    let own = uname.nodename().to_string_lossy();
    if hostname.is_empty() || own.is_empty() {
        return hosts.to_vec();
    }
    text.replacen(hostname, &format!("{hostname} {own}"), 1).into_bytes()
}

fn make_dir(at: &Path, mode: u32) -> std::io::Result<()> {
    fs::create_dir(at)?;
    fs::set_permissions(at, PermissionsExt::from_mode(mode))
}

fn fill_dev(at: &Path) -> Setup<()> {
    let fill = || -> std::io::Result<()> {
        make_dir(at, 0o755)?;
        for (name, major, minor) in NODES {
            let path = at.join(name);
            let device = rustix::fs::makedev(major, minor);
            rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, Mode::from_raw_mode(0o666), device)?;
            fs::set_permissions(&path, PermissionsExt::from_mode(0o666))?;
        }
        for (name, target) in LINKS {
            symlink(target, at.join(name))?;
        }
        make_dir(&at.join("pts"), 0o755)?;
        make_dir(&at.join("mqueue"), 0o1777)?;
        make_dir(&at.join("shm"), 0o1777)
    };
    fill().context(|| "furnish /dev")
}

fn fill_proc(at: &Path) -> Setup<()> {
    let fill = || -> std::io::Result<()> {
        make_dir(at, 0o555)?;
        for file in PROC_FILES {
            let path = at.join(file);
            let Ok(content) = fs::read(Path::new("/proc").join(file)) else { continue };
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(&path, content)?;
            fs::set_permissions(&path, PermissionsExt::from_mode(0o444))?;
        }
        fs::write(at.join("mounts"), "rootfs / rootfs rw 0 0\n")
    };
    fill().context(|| "furnish /proc")
}
