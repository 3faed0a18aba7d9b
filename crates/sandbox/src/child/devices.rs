//! /dev, /proc and /sys of a step.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, makedev, mknodat, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_bind, mount_bind_recursive};

use super::{Context, Setup};
use crate::spec::{Network, Security, Spec};
use crate::sys;

/// Name, major and minor number of the nodes that every container has.
pub(crate) const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Links in /dev.
pub(crate) const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

const MASKED: [&str; 11] = [
    "proc/acpi",
    "proc/asound",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/timer_list",
    "proc/timer_stats",
    "proc/sched_debug",
    "proc/scsi",
    "sys/firmware",
    "sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = ["proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"];

const SAFE: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC).union(MountFlags::NODEV);

/// The path of an open descriptor, for calls that take paths only.
pub(super) fn fd_path(fd: &impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

pub(super) fn o_path(dir: BorrowedFd<'_>, path: impl AsRef<Path>) -> Result<OwnedFd, Errno> {
    openat(dir, path.as_ref(), OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Mounts a new file system on `target`.
pub(super) fn mount_new(kind: &str, target: &impl AsFd, flags: MountFlags, data: &str) -> Setup<()> {
    let options = CString::new(data).unwrap_or_default();
    let options = (!data.is_empty()).then_some(options.as_c_str());
    mount(kind, fd_path(&target), kind, flags, options).context(|| format!("mount {kind} ({data})"))
}

/// Makes the mount at `mount` read-only, with everything mounted in it.
pub(super) fn set_read_only(fd: BorrowedFd<'_>) -> std::io::Result<()> {
    let error = match sys::set_mount_attributes(fd, libc::MOUNT_ATTR_RDONLY) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    if !matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) {
        return Err(error);
    }
    // Kernels before 5.12. Flags that the mount has already may be locked and must be given again.
    let kept = rustix::fs::fstatvfs(fd)?.f_flag;
    let mut flags = MountFlags::BIND | MountFlags::RDONLY;
    for (has, flag) in [
        (rustix::fs::StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (rustix::fs::StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (rustix::fs::StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (rustix::fs::StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (rustix::fs::StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (rustix::fs::StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ] {
        if kept.contains(has) {
            flags |= flag;
        }
    }
    Ok(rustix::mount::mount_remount(fd_path(&fd), flags, "")?)
}

/// Mounts /proc, /sys and /dev on the three directories of the new root.
pub(super) fn mount_system(spec: &Spec, root: BorrowedFd<'_>, proc: OwnedFd, sys: OwnedFd, dev: OwnedFd) -> Setup<()> {
    mount_new("proc", &proc, SAFE, "").map_err(|error| {
        error.hint(
            "inside a container whose /proc is masked the kernel refuses a new one: give the pod `procMount: Unmasked`",
        )
    })?;
    mount_sys(spec, root, &sys)?;
    mount_new("tmpfs", &dev, MountFlags::NOSUID | MountFlags::STRICTATIME, "mode=755,size=65536k")?;
    let dev = o_path(root, "dev").context(|| "open the new /dev")?;
    fill_dev(spec, dev.as_fd())
}

fn mount_sys(spec: &Spec, root: BorrowedFd<'_>, target: &OwnedFd) -> Setup<()> {
    let flags = if spec.security == Security::Sandbox { SAFE | MountFlags::RDONLY } else { SAFE };
    match mount_new("sysfs", target, flags, "") {
        Ok(()) => {}
        // A user namespace may mount sysfs only for a network namespace of its own.
        Err(error) if error.errno == libc::EPERM && spec.network == Network::Host => {
            if mount_bind_recursive("/sys", fd_path(&target)).is_err() {
                // Nothing to bind either: an empty directory is what there is.
                return mount_new("tmpfs", target, SAFE | MountFlags::RDONLY, "mode=555,size=4k");
            }
            let top = o_path(root, "sys").context(|| "open the new /sys")?;
            set_read_only(top.as_fd()).context(|| "make /sys read-only")?;
            return Ok(());
        }
        Err(error) => return Err(error),
    }
    // Programs read their memory and processor limits there. Without cgroup v2 the directory stays empty.
    if let Ok(cgroup) = o_path(root, "sys/fs/cgroup") {
        let _ = mount_new("cgroup2", &cgroup, flags, "");
    }
    Ok(())
}

fn fill_dev(spec: &Spec, dev: BorrowedFd<'_>) -> Setup<()> {
    for (name, major, minor) in NODES {
        let mode = Mode::from_raw_mode(0o666);
        match mknodat(dev, name, FileType::CharacterDevice, mode, makedev(major, minor)) {
            // The mode of mknod is cut by the umask.
            Ok(()) => {
                rustix::fs::chmodat(dev, name, mode, AtFlags::empty()).context(|| format!("chmod /dev/{name}"))?
            }
            Err(Errno::PERM) => bind_node(dev, name)?,
            Err(error) => return Err(error).context(|| format!("make /dev/{name}")),
        }
    }
    for (name, target) in LINKS {
        symlinkat(target, dev, name).context(|| format!("link /dev/{name}"))?;
    }
    let dir = |name: &str| -> Setup<OwnedFd> {
        rustix::fs::mkdirat(dev, name, Mode::from_raw_mode(0o755)).context(|| format!("make /dev/{name}"))?;
        o_path(dev, name).context(|| format!("open /dev/{name}"))
    };
    let pts = dir("pts")?;
    let options = "newinstance,ptmxmode=0666,mode=0620";
    let quiet = MountFlags::NOSUID | MountFlags::NOEXEC;
    // gid 5, tty, is not mapped where the user namespace has a single id.
    mount_new("devpts", &pts, quiet, &format!("{options},gid=5"))
        .or_else(|_| mount_new("devpts", &pts, quiet, options))?;
    mount_new("tmpfs", &dir("shm")?, SAFE, &format!("mode=1777,size={}", spec.shm_size))?;
    // Kernels without POSIX message queues exist.
    let mqueue = dir("mqueue")?;
    let _ = mount_new("mqueue", &mqueue, SAFE, "");
    Ok(())
}

fn bind_node(dev: BorrowedFd<'_>, name: &str) -> Setup<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    drop(openat(dev, name, flags, Mode::from_raw_mode(0o666)).context(|| format!("make /dev/{name}"))?);
    let stub = o_path(dev, name).context(|| format!("open /dev/{name}"))?;
    mount_bind(format!("/dev/{name}"), fd_path(&stub)).context(|| format!("bind the builder's /dev/{name}"))
}

/// Hides what a container must not see, and protects what it must not change. `empty` is a directory that is
/// read-only already.
pub(super) fn mask(root: BorrowedFd<'_>, empty: BorrowedFd<'_>) -> Setup<()> {
    let null = o_path(root, "dev/null").context(|| "open /dev/null")?;
    for path in MASKED {
        let Ok(target) = o_path(root, path) else { continue };
        let dir =
            rustix::fs::fstat(&target).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        let source = if dir { empty } else { null.as_fd() };
        mount_bind(fd_path(&source), fd_path(&target)).context(|| format!("mask /{path}"))?;
        if dir {
            let top = o_path(root, path).context(|| format!("open /{path}"))?;
            set_read_only(top.as_fd()).context(|| format!("make /{path} read-only"))?;
        }
    }
    for path in READ_ONLY {
        let Ok(target) = o_path(root, path) else { continue };
        mount_bind(fd_path(&target), fd_path(&target)).context(|| format!("bind /{path}"))?;
        let top = o_path(root, path).context(|| format!("open /{path}"))?;
        set_read_only(top.as_fd()).context(|| format!("make /{path} read-only"))?;
    }
    Ok(())
}
