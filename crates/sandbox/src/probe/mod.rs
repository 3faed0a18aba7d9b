//! What this place allows: each primitive tried, not guessed from names.
//!
//! A try may change the process for good (namespaces, filters) or kill it (a refused call), so each one runs in a fork
//! of the single-threaded helper, which reports over a pipe. One helper tries them all: a few milliseconds in sum.

mod attempts;
mod overlay;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::child::{Order, Report};
use crate::error::SetupError;
use crate::launch::{Launcher, end};
use crate::wire::bytes;
use crate::{sys, wire};

pub(crate) use attempts::unprivileged_namespaces;

/// Overlayfs works with its upper directory in the place that was probed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlaySupport {
    /// `chown` of files in it to other ids works.
    pub chown: bool,
}

/// Why a primitive does not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{action}: {reason}")]
pub struct Why {
    /// What was tried.
    pub action: String,
    /// How it failed.
    pub reason: String,
    /// The system's error number, 0 where there is none.
    pub errno: i32,
}

impl Why {
    pub(crate) fn new(action: impl Into<String>, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        Why { action: action.into(), reason: error.to_string(), errno: error.raw_os_error().unwrap_or(0) }
    }

    pub(crate) fn said(action: impl Into<String>, reason: impl Into<String>) -> Self {
        Why { action: action.into(), reason: reason.into(), errno: 0 }
    }
}

impl From<SetupError> for Why {
    fn from(error: SetupError) -> Self {
        let reason = if error.errno == 0 { "failed".to_owned() } else { error.io().to_string() };
        Why { action: error.action, reason, errno: error.errno }
    }
}

/// One thing to try in a child process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Primitive {
    /// A user namespace of one's own, with mounts in it.
    UserNamespaces,
    /// Mount, pid, ipc and uts namespaces, a new /proc, pivot_root, with the capabilities that the process has.
    Namespaces,
    /// A network namespace.
    NetworkNamespace,
    /// Overlayfs with its upper directory here.
    Overlay(#[serde(with = "bytes")] PathBuf),
    /// chroot(2), chown, setgroups and setuid as uid 0.
    Chroot(#[serde(with = "bytes")] PathBuf),
    /// chown of a file here to another user.
    Chown(#[serde(with = "bytes")] PathBuf),
    /// mknod of the null device here.
    Mknod(#[serde(with = "bytes")] PathBuf),
    /// A seccomp filter whose traps the process handles itself.
    SeccompTrap,
    /// A seccomp filter with a listener.
    SeccompNotify,
    /// Tracing a child.
    Ptrace,
    /// openat2 with RESOLVE_IN_ROOT.
    Openat2,
    /// Landlock; the detail is its ABI version.
    Landlock,
    /// A file that shares its blocks with another one, here.
    Reflink(#[serde(with = "bytes")] PathBuf),
    /// `user.*` extended attributes here.
    UserXattr(#[serde(with = "bytes")] PathBuf),
    /// A file without a name that is executed.
    MemfdExec,
}

/// What was found; the input of [`crate::choose`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Probes {
    /// Namespaces, mounts and pivot_root.
    pub namespaces: Result<(), Why>,
    /// Overlayfs at the store's place.
    pub overlay: Result<OverlaySupport, Why>,
    /// Files at the store's place can be given to other users.
    pub owners: Result<(), Why>,
    /// chroot(2) as uid 0.
    pub chroot: Result<(), Why>,
    /// What interception of system calls needs.
    pub intercept: Result<(), Why>,
}

/// Tries what [`crate::choose`] needs, in child processes, with `store` (which must exist) as the place of the store.
pub fn probes(launcher: &Launcher, store: &Path) -> Probes {
    let store = store.to_owned();
    let results = attempt_all(
        launcher,
        vec![
            Primitive::Namespaces,
            Primitive::Overlay(store.clone()),
            Primitive::Chown(store.clone()),
            Primitive::Chroot(store.clone()),
            Primitive::Mknod(store),
            Primitive::SeccompTrap,
            Primitive::Openat2,
        ],
    );
    let [namespaces, overlay, owners, chroot, mknod, trap, openat2] = match <[_; 7]>::try_from(results) {
        Ok(results) => results,
        Err(_) => std::array::from_fn(|_| Err(Why::said("try the primitives", "the helper's answer is broken"))),
    };
    Probes {
        namespaces: namespaces.map(drop),
        overlay: overlay.and_then(|detail| overlay_support(&detail)),
        owners: owners.map(drop),
        // Without mounts, /dev/null has to be made.
        chroot: chroot.and(mknod).map(drop),
        intercept: trap.and(openat2).map(drop),
    }
}

/// Tries an overlay mount with its upper and work directory in `dir`, which must exist.
pub fn overlay_at(launcher: &Launcher, dir: &Path) -> Result<OverlaySupport, Why> {
    let mut results = attempt_all(launcher, vec![Primitive::Overlay(dir.to_owned())]);
    overlay_support(&results.pop().unwrap_or_else(|| Err(Why::said("try an overlay", "no answer")))?)
}

fn overlay_support(detail: &str) -> Result<OverlaySupport, Why> {
    serde_json::from_str(detail).map_err(|error| Why::said("read the overlay probe's answer", error.to_string()))
}

/// Tries primitives, each in a process of its own; the results are in the same order, with a detail where it works.
pub fn attempt_all(launcher: &Launcher, primitives: Vec<Primitive>) -> Vec<Result<String, Why>> {
    let count = primitives.len();
    let failed = |error: &dyn std::fmt::Display| {
        let why = Why::said("start the probe's helper", error.to_string());
        vec![Err(why); count]
    };
    let (child, mut control) = match launcher.spawn() {
        Ok(started) => started,
        Err(error) => return failed(&error),
    };
    let talk = wire::send(&control, &Order::Probe(primitives)).and_then(|()| wire::receive(&mut control));
    let ended = end(child, control);
    match talk {
        Ok(Some(Report::Probe(results))) if results.len() == count => results,
        Ok(Some(Report::Failed(error))) => failed(&error),
        Ok(_) => failed(&format!("it ended without an answer ({ended})")),
        Err(error) => failed(&error),
    }
}

/// Tries each primitive in a fork. Runs in the helper.
pub(crate) fn attempt_here(primitives: &[Primitive]) -> Vec<Result<String, Why>> {
    let attempt = |primitive: &Primitive| {
        // SAFETY: the helper has a single thread.
        unsafe { in_fork(|| attempts::attempt(primitive)) }
    };
    primitives.iter().map(attempt).collect()
}

/// Runs `work` in a fork and brings its result back; a death by signal is a failure too.
///
/// # Safety
/// The process must have a single thread, see [`sys::fork`].
pub(crate) unsafe fn in_fork(work: impl FnOnce() -> Result<String, Why>) -> Result<String, Why> {
    let (mut read, write) = io::pipe().map_err(|error| Why::new("make a pipe", error))?;
    // SAFETY: the caller promises a single thread.
    let Some(child) = (unsafe { sys::fork() }).map_err(|error| Why::new("fork", error))? else {
        drop(read);
        let mut write = File::from(std::os::fd::OwnedFd::from(write));
        let answer = serde_json::to_vec(&work()).unwrap_or_default();
        sys::exit_now(i32::from(write.write_all(&answer).is_err()))
    };
    drop(write);
    let mut answer = Vec::new();
    let read = read.read_to_end(&mut answer);
    let ended = sys::wait(child);
    read.map_err(|error| Why::new("read the answer of a probe", error))?;
    match (serde_json::from_slice(&answer), ended) {
        (Ok(result), _) => result,
        (Err(_), Ok(Some((_, sys::Ended::Signal(signal))))) => {
            Err(Why::said("try it in a child", format!("the child was killed by signal {signal}")))
        }
        (Err(_), _) => Err(Why::said("try it in a child", "the child ended without an answer")),
    }
}
