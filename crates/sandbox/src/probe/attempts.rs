//! The tries themselves. Each runs in a process that is thrown away afterwards.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::process::{Gid, Uid};

use super::{Primitive, Why, in_fork, overlay};
use crate::sys;

type Attempt = Result<String, Why>;

/// Names the action that failed.
pub(super) trait Tried<T> {
    fn tried(self, action: &str) -> Result<T, Why>;
}

impl<T, E: Into<io::Error>> Tried<T> for Result<T, E> {
    fn tried(self, action: &str) -> Result<T, Why> {
        self.map_err(|error| Why::new(action, error))
    }
}

pub(super) fn attempt(primitive: &Primitive) -> Attempt {
    match primitive {
        Primitive::UserNamespaces => unprivileged_namespaces(),
        Primitive::Namespaces => namespaces(),
        Primitive::NetworkNamespace => {
            sys::unshare(libc::CLONE_NEWNET).tried("unshare(CLONE_NEWNET)")?;
            done()
        }
        Primitive::Overlay(dir) => overlay::attempt(dir),
        Primitive::Chroot(dir) => chroot(dir),
        Primitive::Chown(dir) => with_scratch(dir, chown),
        Primitive::Mknod(dir) => mknod(dir),
        Primitive::SeccompTrap => sys::try_seccomp_trap().tried("a seccomp filter that traps").and_then(|()| done()),
        Primitive::SeccompNotify => {
            sys::try_seccomp_notify().tried("a seccomp filter with a listener").and_then(|()| done())
        }
        Primitive::Ptrace => sys::try_ptrace().tried("ptrace of a child").and_then(|()| done()),
        Primitive::Openat2 => openat2(),
        Primitive::Landlock => sys::landlock_abi().tried("landlock_create_ruleset").map(|abi| format!("ABI {abi}")),
        Primitive::Reflink(dir) => reflink(dir),
        Primitive::UserXattr(dir) => user_xattr(dir),
        Primitive::MemfdExec => memfd_exec(),
    }
}

fn done() -> Attempt {
    Ok(String::new())
}

/// A user namespace of one's own, in which everything of `namespaces` works.
pub(crate) fn unprivileged_namespaces() -> Attempt {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    sys::unshare(libc::CLONE_NEWUSER).tried("unshare(CLONE_NEWUSER)")?;
    crate::userns::map_single(uid, gid).tried("write /proc/self/uid_map")?;
    namespaces()
}

fn namespaces() -> Attempt {
    let all = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    sys::unshare(all).tried("unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS)")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).tried("make mounts private")?;
    // The first process of the new pid namespace: only there a new /proc can be mounted.
    // SAFETY: this is a fork of a process with a single thread.
    unsafe {
        in_fork(|| {
            let place = "/proc";
            mount("proc", place, "proc", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None)
                .tried("mount a new /proc")?;
            mount("tmpfs", "/", "tmpfs", MountFlags::NOSUID, None).tried("mount a tmpfs")?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            // "/.." leads to what was mounted over the root.
            let top = rustix::fs::open("/..", flags, Mode::empty()).tried("open the tmpfs")?;
            rustix::process::fchdir(&top).tried("enter the tmpfs")?;
            rustix::fs::mkdir("root", Mode::from_raw_mode(0o755)).tried("make a directory")?;
            mount_bind("root", "root").tried("bind a directory")?;
            rustix::process::chdir("root").tried("enter a mount")?;
            rustix::process::pivot_root(".", ".").tried("pivot_root")?;
            done()
        })
    }
}

/// A directory in `dir` that is removed again.
pub(super) fn scratch(dir: &Path) -> Result<PathBuf, Why> {
    let path = dir.join(format!(".probe-{}", std::process::id()));
    std::fs::create_dir(&path).tried(&format!("make a directory in {}", dir.display()))?;
    Ok(path)
}

/// Runs `work` in a scratch directory of `dir`.
fn with_scratch(dir: &Path, work: impl FnOnce(&Path) -> Attempt) -> Attempt {
    let path = scratch(dir)?;
    let result = work(&path);
    let _ = std::fs::remove_dir_all(&path);
    result
}

fn chroot(dir: &Path) -> Attempt {
    if !rustix::process::geteuid().is_root() {
        return Err(Why::said("chroot", format!("the process is user {}, not root", rustix::process::geteuid())));
    }
    with_scratch(dir, |path| {
        chown(path)?;
        // In one more process: the scratch directory must be removable afterwards.
        // SAFETY: this is a fork of a process with a single thread.
        unsafe {
            in_fork(|| {
                rustix::process::chroot(path).tried("chroot")?;
                rustix::thread::set_thread_groups(&[Gid::from_raw(1)]).tried("setgroups")?;
                let (uid, gid) = (Uid::from_raw(1), Gid::from_raw(1));
                rustix::thread::set_thread_res_gid(gid, gid, gid).tried("setgid")?;
                rustix::thread::set_thread_res_uid(uid, uid, uid).tried("setuid")?;
                done()
            })
        }
    })
}

fn chown(path: &Path) -> Attempt {
    let file = path.join("file");
    std::fs::write(&file, "").tried("write a file")?;
    std::os::unix::fs::chown(&file, Some(1), Some(1)).tried("chown to another user")?;
    done()
}

fn mknod(dir: &Path) -> Attempt {
    with_scratch(dir, |path| {
        let node = path.join("null");
        let device = rustix::fs::makedev(1, 3);
        let mode = Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(rustix::fs::CWD, &node, FileType::CharacterDevice, mode, device).tried("mknod")?;
        std::fs::File::options().write(true).open(&node).tried("open a device node (the volume may be nodev)")?;
        done()
    })
}

fn openat2() -> Attempt {
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).tried("open /")?;
    // The kernel gives up on `..` while something is renamed or mounted anywhere: that is no refusal.
    const TRIES: usize = 1000;
    let open = || rustix::fs::openat2(&root, "proc/..", OFlags::PATH, Mode::empty(), ResolveFlags::IN_ROOT);
    let mut result = open();
    for _ in 0..TRIES {
        if !matches!(result, Err(rustix::io::Errno::AGAIN)) {
            break;
        }
        result = open();
    }
    result.tried("openat2(RESOLVE_IN_ROOT)")?;
    done()
}

fn reflink(dir: &Path) -> Attempt {
    with_scratch(dir, |path| {
        std::fs::write(path.join("a"), vec![b'x'; 8192]).tried("write a file")?;
        let source = std::fs::File::open(path.join("a")).tried("open a file")?;
        let target = std::fs::File::create(path.join("b")).tried("write a file")?;
        rustix::fs::ioctl_ficlone(&target, &source).tried("FICLONE")?;
        done()
    })
}

fn user_xattr(dir: &Path) -> Attempt {
    with_scratch(dir, |path| {
        rustix::fs::setxattr(path, "user.probe", b"1", XattrFlags::empty()).tried("setxattr(user.*)")?;
        done()
    })
}

fn memfd_exec() -> Attempt {
    let fd = rustix::fs::memfd_create("probe", rustix::fs::MemfdFlags::CLOEXEC).tried("memfd_create")?;
    let program = std::fs::read("/proc/self/exe").tried("read /proc/self/exe")?;
    let mut left = &program[..];
    while !left.is_empty() {
        let written = rustix::io::write(fd.as_fd(), left).tried("write a memfd")?;
        left = &left[written..];
    }
    sys::exec_probe(fd.as_fd()).tried("execveat of a memfd").and_then(|()| done())
}
