//! The last steps of the command's own process: session, limits, identity, filter, exec.
//!
//! The order matters: the filter needs CAP_SYS_ADMIN (no_new_privs stays off, so that setuid programs work), so it is
//! installed before capabilities are dropped, and lets the calls pass that drop them.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::process::{Gid, Uid};

use super::{Context, Report, Setup};
use crate::intercept::confine;
use crate::isolation::Isolation;
use crate::seccomp::Ownership;
use crate::spec::{Network, Security, Spec, User};
use crate::{capability, seccomp, sys};

/// Becomes the command; returns what to report when that fails.
pub(crate) fn execute(spec: &Spec, stdio: [OwnedFd; 3]) -> Report {
    execute_in(spec, stdio, None)
}

/// The same, after changing the root to `root`.
pub(crate) fn execute_in(spec: &Spec, stdio: [OwnedFd; 3], root: Option<BorrowedFd<'_>>) -> Report {
    match prepare(spec, stdio, root) {
        Ok(()) => exec(spec),
        Err(error) => Report::Failed(error),
    }
}

fn prepare(spec: &Spec, stdio: [OwnedFd; 3], root: Option<BorrowedFd<'_>>) -> Setup<()> {
    sys::reset_signals();
    let _ = rustix::process::setsid();
    let _ = sys::new_session_keyring();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    for (number, fd) in (0..).zip(&stdio) {
        own_pipe(fd, &spec.user);
        sys::dup_to(fd.as_fd(), number).context(|| format!("set up standard descriptor {number}"))?;
    }
    if rustix::termios::isatty(std::io::stdin()) {
        let _ = sys::take_terminal();
    }
    for limit in &spec.ulimits {
        sys::set_limit(limit)
            .context(|| format!("set the limit {:?} to {}:{}", limit.limit, limit.soft, limit.hard))
            .map_err(|error| error.hint("a hard limit above the builder's own needs CAP_SYS_RESOURCE"))?;
    }
    let rules = match root {
        Some(root) => fence(spec, root)?,
        None => None,
    };
    if let Some(root) = root {
        rustix::process::fchdir(root).context(|| "enter the root file system")?;
        rustix::process::chroot(".").context(|| "change the root")?;
        rustix::process::chdir("/").context(|| "enter the root file system")?;
    }
    rustix::process::chdir(&spec.cwd).context(|| format!("change to the working directory {}", spec.cwd.display()))?;
    confine(spec)?;
    if spec.isolation == Isolation::PlainChroot && spec.network == Network::None {
        cut_network()?;
    }
    identity(spec)?;
    if let Some(rules) = rules {
        rules.apply()?;
        install(&seccomp::own_limits()).context(|| "install the filter that keeps limits of others")?;
    }
    sys::close_from(3, true).context(|| "close the builder's descriptors")
}

/// The Landlock rules for a chroot: root can leave it, and shares its processes with the builder.
///
/// They need no_new_privs, so a step of another user goes without: set-user-ID programs (`sudo`) must work there, and
/// nobody but root leaves a chroot.
fn fence(spec: &Spec, root: BorrowedFd<'_>) -> Setup<Option<confine::Rules>> {
    let wanted = spec.user.uid == 0 && spec.security == Security::Sandbox && sys::landlock_abi().is_ok();
    if wanted { confine::rules(root, &[]).map(Some) } else { Ok(None) }
}

/// A pipe belongs to the builder; the command must be able to open it again as /dev/stdout.
fn own_pipe(fd: &OwnedFd, user: &User) {
    if rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo) {
        let _ = rustix::fs::fchown(fd, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)));
    }
}

fn confine(spec: &Spec) -> Setup<()> {
    let confined = spec.security == Security::Sandbox;
    if !confined && !spec.fake_ownership {
        return Ok(());
    }
    let ownership = if spec.fake_ownership { Ownership::Fake } else { Ownership::Real };
    let filter = seccomp::filter(confined, ownership);
    match install(&filter) {
        // A plain chroot lacks the capability for a filter; the place's own is in force.
        Err(error) if spec.isolation == Isolation::PlainChroot && error.raw_os_error() == Some(libc::EACCES) => {}
        result => result.context(|| "install the system call filter")?,
    }
    if confined { capability::limit_to_default().context(|| "drop capabilities") } else { Ok(()) }
}

fn install(filter: &seccomp::Program) -> io::Result<()> {
    // Without SPEC_ALLOW, kernels before 5.16 slow every filtered process down.
    match sys::install_filter(filter.instructions(), libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => sys::install_filter(filter.instructions(), 0),
        result => result,
    }
    .map(drop)
}

/// Refuses Internet sockets where there is no network namespace to be had.
fn cut_network() -> Setup<()> {
    rustix::thread::set_no_new_privs(true).context(|| "set no_new_privs")?;
    install(&seccomp::no_network()).context(|| "install the filter that refuses Internet sockets")
}

fn identity(spec: &Spec) -> Setup<()> {
    let user = &spec.user;
    let groups: Vec<Gid> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let unmapped = "the user namespace of this build may not hold that id: see `cooperage doctor`";
    match rustix::thread::set_thread_groups(&groups) {
        // A user namespace of one id forbids the call; there are no groups to keep or to drop then.
        Err(rustix::io::Errno::PERM) if groups.is_empty() => {}
        result => result
            .context(|| format!("set the supplementary groups {:?}", user.groups))
            .map_err(|error| error.hint(unmapped))?,
    }
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .context(|| format!("become group {}", user.gid))
        .map_err(|error| error.hint(unmapped))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
        .context(|| format!("become user {}", user.uid))
        .map_err(|error| error.hint(unmapped))?;
    // A faked identity is still root's, with root's capabilities.
    if (user.uid == 0 || spec.fake_ownership) && spec.security == Security::Sandbox {
        capability::keep_default().context(|| "set capabilities")?;
    }
    Ok(())
}

/// Finds the program and executes it; returns why not.
fn exec(spec: &Spec) -> Report {
    let Some(name) = spec.argv.first() else {
        return Report::NotExecutable { program: String::new(), reason: "the command is empty".into() };
    };
    let program = name.to_string_lossy().into_owned();
    let strings = |list: &mut dyn Iterator<Item = Vec<u8>>| list.map(CString::new).collect::<Result<Vec<_>, _>>();
    let argv = strings(&mut spec.argv.iter().map(|item| item.as_bytes().to_vec()));
    let env = strings(&mut spec.env.iter().map(|(key, value)| [key.as_bytes(), b"=", value.as_bytes()].concat()));
    let (Ok(argv), Ok(env)) = (argv, env) else {
        let reason = "an argument or environment variable contains a NUL byte".into();
        return Report::NotExecutable { program, reason };
    };
    let path = spec.env.iter().rev().find(|(key, _)| key == "PATH").map(|(_, value)| value);
    let candidates = candidates(name, path);
    let mut failed: Option<(PathBuf, io::Error)> = None;
    for candidate in candidates {
        let Ok(c_path) = CString::new(candidate.as_os_str().as_bytes()) else { continue };
        let error = sys::exec(&c_path, &argv, &env);
        let absent = matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) && !exists(&candidate);
        if !absent {
            let denied = error.raw_os_error() == Some(libc::EACCES);
            failed.get_or_insert((candidate, error));
            if !denied {
                break;
            }
        }
    }
    match failed {
        None => {
            let path = (!name.as_bytes().contains(&b'/'))
                .then(|| path.map_or_else(String::new, |p| p.to_string_lossy().into_owned()));
            Report::NotFound { program, path }
        }
        Some((candidate, error)) => Report::NotExecutable { program, reason: explain(&candidate, &error) },
    }
}

fn candidates(name: &OsStr, path: Option<&OsString>) -> Vec<PathBuf> {
    if name.as_bytes().contains(&b'/') || name.is_empty() {
        return vec![PathBuf::from(name)];
    }
    let path = path.map_or(&b""[..], |path| path.as_bytes());
    path.split(|byte| *byte == b':').map(|dir| Path::new(OsStr::from_bytes(dir)).join(name)).collect()
}

fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// Why an existing file could not be executed.
fn explain(path: &Path, error: &io::Error) -> String {
    let mut head = [0u8; 256];
    let length = std::fs::File::open(path).and_then(|mut file| io::Read::read(&mut file, &mut head)).unwrap_or(0);
    let head = &head[..length];
    match error.raw_os_error() {
        Some(libc::ENOENT) if head.starts_with(b"#!") => {
            let line = head[2..].split(|b| *b == b'\n').next().unwrap_or_default();
            let words = String::from_utf8_lossy(line);
            let interpreter = words.split_whitespace().next().unwrap_or("").to_owned();
            let hint = if line.ends_with(b"\r") { "; the script has Windows line ends" } else { "" };
            format!("its interpreter {interpreter:?} does not exist{hint}")
        }
        Some(libc::ENOENT) if head.starts_with(b"\x7fELF") => {
            "the dynamic loader that it names does not exist in the root file system".into()
        }
        Some(libc::ENOEXEC) => match head {
            [0x7f, b'E', b'L', b'F', _, _, rest @ ..] if rest.len() > 14 => {
                format!("exec format error: a program for {}", machine(u16::from_le_bytes([rest[12], rest[13]])))
            }
            _ => "exec format error: neither a program nor a script that begins with #!".into(),
        },
        Some(libc::EACCES) if path.is_dir() => "it is a directory".into(),
        Some(libc::EACCES) => "permission denied: it is not executable for this user".into(),
        _ => error.to_string(),
    }
}

fn machine(number: u16) -> String {
    match number {
        3 => "x86 (32 bit)".into(),
        8 => "MIPS".into(),
        20 | 21 => "PowerPC".into(),
        22 => "s390x".into(),
        40 => "arm".into(),
        62 => "x86_64".into(),
        183 => "aarch64".into(),
        243 => "RISC-V".into(),
        258 => "LoongArch".into(),
        other => format!("machine number {other}"),
    }
}
