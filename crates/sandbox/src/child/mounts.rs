//! The root file system of a step in `namespaces` isolation: mounted, furnished, entered.
//!
//! All of the builder's paths are opened before the first mount; from then on the set-up works on descriptors, through
//! `/proc/self/fd`. That lets a private tmpfs, the stage, cover the builder's directory, keeps hundreds of lower
//! directories within the one page of mount options (`lowerdir=10:11:…`), needs no escaping, and shows the step no
//! path of the builder in /proc/self/mountinfo.

use std::ffi::CString;
use std::fmt::Write as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, mkdirat, open, openat};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_change, mount_move,
    unmount,
};
use rustix::process::{chdir, chroot, fchdir, pivot_root};

use super::devices::{fd_path, mask, mount_new, mount_system, o_path, set_read_only};
use super::{Context, Setup};
use crate::mountpoint::Made;
use crate::root::Root;
use crate::spec::{Mount, MountKind, Rootfs, Security, Spec};

/// What a mount needs from the builder's side, opened early.
enum Source {
    Path(OwnedFd, bool),
    Scratch { lower: OwnedFd, upper: OwnedFd, work: OwnedFd },
    None,
}

/// Makes the root file system of `spec` this process's root. `report` learns which mount points were made.
pub(super) fn enter_root(spec: &Spec, report: impl FnOnce(Made) -> Setup<()>) -> Setup<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context(|| "make the mounts of the new namespace private")?;
    let sources: Vec<Source> = spec.mounts.iter().map(open_source).collect::<Setup<_>>()?;
    let (stage, base) = mount_root(spec)?;
    let upper = base.as_ref().map(OwnedFd::as_fd);
    let root = Root::new(o_path(stage.as_fd(), "root").context(|| "open the new root")?);
    let mut made = Made::default();
    let result = furnish(spec, &sources, &stage, &root, upper, &mut made);
    // Reported even when something failed: the builder removes the mount points in any case.
    if !made.is_empty() {
        report(made)?;
    }
    result?;
    enter(root.fd())
}

fn furnish(
    spec: &Spec,
    sources: &[Source],
    stage: &OwnedFd,
    root: &Root,
    upper: Option<BorrowedFd<'_>>,
    made: &mut Made,
) -> Setup<()> {
    let mut target = |path: &Path, dir: bool| {
        made.ensure(root, upper, path, dir).context(|| format!("make the mount point {}", path.display())).map_err(
            |error| match error.errno {
                libc::EISDIR => error.hint("a file is mounted there, and the image has a directory"),
                libc::ENOTDIR => error.hint("a directory is mounted there, and the image has a file"),
                _ => error,
            },
        )
    };
    let system = [Path::new("/proc"), Path::new("/sys"), Path::new("/dev")].map(|path| target(path, true));
    let [proc, sys, dev] = system;
    mount_system(spec, root.fd(), proc?, sys?, dev?)?;
    if spec.security == Security::Sandbox {
        let empty = o_path(stage.as_fd(), "empty").context(|| "open the stage")?;
        mask(root.fd(), empty.as_fd())?;
    }
    for (index, (mount, source)) in spec.mounts.iter().zip(sources).enumerate() {
        let dir = match (&mount.kind, source) {
            (MountKind::Tmpfs { .. } | MountKind::Scratch { .. }, _) => true,
            (_, Source::Path(_, dir)) => *dir,
            _ => false,
        };
        let point = target(&mount.target, dir)?;
        apply(spec, mount, source, &point, root, stage, index).map_err(|mut error| {
            error.action = format!("{} (mount at {})", error.action, mount.target.display());
            error
        })?;
    }
    Ok(())
}

fn open_dir(path: &Path) -> Setup<OwnedFd> {
    open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .context(|| format!("open the directory {}", path.display()))
}

fn open_source(mount: &Mount) -> Setup<Source> {
    match &mount.kind {
        MountKind::Bind { source, .. } | MountKind::Socket { source, .. } => {
            let fd = open(source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .context(|| format!("open {} for the mount at {}", source.display(), mount.target.display()))?;
            let stat = rustix::fs::fstat(&fd).context(|| format!("stat {}", source.display()))?;
            Ok(Source::Path(fd, FileType::from_raw_mode(stat.st_mode) == FileType::Directory))
        }
        MountKind::Scratch { source, scratch } => {
            let dir = |name: &str| {
                let path = scratch.join(name);
                match rustix::fs::mkdir(&path, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => open_dir(&path),
                    Err(error) => Err(error).context(|| format!("make {}", path.display())),
                }
            };
            Ok(Source::Scratch { lower: open_dir(source)?, upper: dir("upper")?, work: dir("work")? })
        }
        MountKind::Tmpfs { .. } | MountKind::File { .. } => Ok(Source::None),
    }
}

/// Mounts the stage over the builder's directory, and the root file system at its `root`. Returns the stage and the
/// overlay's upper directory.
fn mount_root(spec: &Spec) -> Setup<(OwnedFd, Option<OwnedFd>)> {
    let (base, place): (OwnedFd, &PathBuf) = match &spec.rootfs {
        Rootfs::Directory(path) | Rootfs::Overlay { upper: path, .. } => (open_dir(path)?, path),
    };
    let overlay = match &spec.rootfs {
        Rootfs::Overlay { lowers, work, .. } if !lowers.is_empty() => {
            let lowers = lowers.iter().map(|path| open_dir(path)).collect::<Setup<Vec<_>>>()?;
            Some((lowers, open_dir(work)?))
        }
        _ => None,
    };
    mount_new("tmpfs", &base, MountFlags::NOSUID | MountFlags::NODEV, "mode=755")?;
    let stage = open_dir(place)?;
    for name in ["root", "files", "empty"] {
        mkdirat(&stage, name, Mode::from_raw_mode(0o755)).context(|| "furnish the stage")?;
    }
    let target = o_path(stage.as_fd(), "root").context(|| "open the stage")?;
    match overlay {
        Some((lowers, work)) => {
            let lowers: Vec<_> = lowers.iter().map(OwnedFd::as_fd).collect();
            if let Some(top) = lowers.first() {
                like_the_root(*top, base.as_fd()).context(|| format!("prepare {}", place.display()))?;
            }
            mount_overlay(&lowers, base.as_fd(), work.as_fd(), target.as_fd())?;
            Ok((stage, Some(base)))
        }
        None => {
            // Not recursive: the stage, mounted over this very directory, must not come along.
            mount_bind(fd_path(&base), fd_path(&target))
                .context(|| format!("bind the root file system {}", place.display()))?;
            Ok((stage, None))
        }
    }
}

/// Gives an empty upper directory the mode, owner and times of the layers' root: it is the root of what the step sees.
fn like_the_root(lower: BorrowedFd<'_>, upper: BorrowedFd<'_>) -> std::io::Result<()> {
    let path = fd_path(&upper);
    if std::fs::read_dir(&path)?.next().is_some() {
        return Ok(());
    }
    let meta = std::fs::metadata(fd_path(&lower))?;
    let now = std::fs::metadata(&path)?;
    if (meta.uid(), meta.gid()) != (now.uid(), now.gid()) {
        // An owner that does not exist in this user namespace cannot be given.
        let _ = std::os::unix::fs::chown(&path, Some(meta.uid()), Some(meta.gid()));
    }
    std::fs::set_permissions(&path, meta.permissions())?;
    let time = |seconds, nanoseconds: i64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
    let times = Timestamps {
        last_access: time(meta.atime(), meta.atime_nsec()),
        last_modification: time(meta.mtime(), meta.mtime_nsec()),
    };
    Ok(rustix::fs::utimensat(rustix::fs::CWD, &path, &times, AtFlags::empty())?)
}

/// Mounts an overlay; the descriptors' numbers are its options.
pub(crate) fn mount_overlay(
    lowers: &[BorrowedFd<'_>],
    upper: BorrowedFd<'_>,
    work: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
) -> Setup<()> {
    let mut options = String::from("lowerdir=");
    for (index, lower) in lowers.iter().enumerate() {
        let colon = if index == 0 { "" } else { ":" };
        let _ = write!(options, "{colon}{}", lower.as_raw_fd());
    }
    let _ = write!(options, ",upperdir={},workdir={},userxattr", upper.as_raw_fd(), work.as_raw_fd());
    let attempt = |options: &str| {
        let options = CString::new(options).unwrap_or_default();
        mount("overlay", fd_path(&target), "overlay", MountFlags::empty(), options.as_c_str())
    };
    chdir("/proc/self/fd").context(|| "enter /proc/self/fd")?;
    // The upper directory is made durable by the builder when the step is committed, not by each fsync of dpkg.
    let result = match attempt(&format!("{options},volatile")) {
        Err(Errno::INVAL) => attempt(&options),
        result => result,
    };
    chdir("/").context(|| "leave /proc/self/fd")?;
    result
        .context(|| format!("mount an overlay of {} layers", lowers.len()))
        .map_err(|error| if lowers.len() > 500 { error.hint("the kernel merges at most 500 layers") } else { error })
}

fn apply(
    spec: &Spec,
    mount: &Mount,
    source: &Source,
    point: &OwnedFd,
    root: &Root,
    stage: &OwnedFd,
    index: usize,
) -> Setup<()> {
    match (&mount.kind, source) {
        (MountKind::Bind { readonly, .. }, Source::Path(fd, _)) => {
            mount_bind_recursive(fd_path(&fd), fd_path(&point)).context(|| "bind")?;
            if *readonly { read_only(root, &mount.target) } else { Ok(()) }
        }
        (MountKind::Socket { mode, uid, gid, .. }, Source::Path(fd, _)) => {
            let (uid, gid) = if spec.fake_ownership { (0, 0) } else { (*uid, *gid) };
            let path = fd_path(&fd);
            rustix::fs::chown(&path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .context(|| format!("give the socket to {uid}:{gid}"))?;
            rustix::fs::chmod(&path, Mode::from_raw_mode(*mode)).context(|| "set the socket's mode")?;
            mount_bind(fd_path(&fd), fd_path(&point)).context(|| "bind the socket")
        }
        (MountKind::Scratch { .. }, Source::Scratch { lower, upper, work }) => {
            match mount_overlay(&[lower.as_fd()], upper.as_fd(), work.as_fd(), point.as_fd()) {
                // The store lies on an overlayfs itself: what is written then lives in memory.
                Err(error) if error.errno == libc::EINVAL => {
                    let dir = |kind: &str| {
                        let name = format!("files/{index}-{kind}");
                        mkdirat(stage, &name, Mode::from_raw_mode(0o755)).context(|| "furnish the stage")?;
                        o_path(stage.as_fd(), name).context(|| "open the stage")
                    };
                    let (upper, work) = (dir("upper")?, dir("work")?);
                    mount_overlay(&[lower.as_fd()], upper.as_fd(), work.as_fd(), point.as_fd())
                }
                result => result,
            }
        }
        (MountKind::Tmpfs { size, mode }, _) => {
            let size = size.map_or_else(String::new, |size| format!(",size={size}"));
            mount_new("tmpfs", point, MountFlags::NOSUID | MountFlags::NODEV, &format!("mode={mode:o}{size}"))
        }
        (MountKind::File { content, mode, uid, gid }, _) => {
            // Where one id exists, every identity of the step is root's.
            let (uid, gid) = if spec.fake_ownership { (0, 0) } else { (*uid, *gid) };
            let file = write_file(stage, index, content, *mode, uid, gid)?;
            mount_bind(fd_path(&file), fd_path(&point)).context(|| "bind the file")?;
            read_only(root, &mount.target)
        }
        _ => Ok(()),
    }
}

fn write_file(stage: &OwnedFd, index: usize, content: &[u8], mode: u32, uid: u32, gid: u32) -> Setup<OwnedFd> {
    let name = format!("files/{index}");
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(stage, &name, flags, Mode::from_raw_mode(0o600)).context(|| "make a file on the stage")?;
    let mut left = content;
    while !left.is_empty() {
        let written = rustix::io::write(&file, left).context(|| "write a file on the stage")?;
        left = &left[written..];
    }
    if (uid, gid) != (0, 0) {
        rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .context(|| format!("give a file to {uid}:{gid}"))?;
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).context(|| "set a file's mode")?;
    o_path(stage.as_fd(), name).context(|| "open a file on the stage")
}

/// Makes what was just mounted at `target` read-only.
fn read_only(root: &Root, target: &Path) -> Setup<()> {
    let top = root.resolve(target).context(|| "open the new mount")?;
    set_read_only(top.fd.as_fd()).context(|| "make the mount read-only")
}

/// Swaps the root for `root` and lets go of the old one.
fn enter(root: BorrowedFd<'_>) -> Setup<()> {
    fchdir(root).context(|| "enter the new root")?;
    match pivot_root(".", ".") {
        Ok(()) => unmount(".", UnmountFlags::DETACH).context(|| "detach the old root")?,
        // The old root is the initial ramdisk, which cannot be pivoted away.
        Err(Errno::INVAL) => {
            mount_move(".", "/").context(|| "move the new root to /")?;
            chroot(".").context(|| "change the root")?;
        }
        Err(error) => return Err(error).context(|| "pivot_root"),
    }
    chdir("/").context(|| "enter the new root")
}
