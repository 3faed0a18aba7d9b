//! Becoming root in a user namespace of our own, so that an ordinary user's build is the same code as root's.
//!
//! [`enter`] changes the calling process, which must have a single thread: call it in `main` before anything else
//! (after [`crate::init_if_child`]). Afterwards the process is uid 0 with all capabilities inside its namespace, with
//! a mount namespace of its own. Its parent, its pid, its signals and its descriptors stay what they were.
//!
//! ```text
//! this process                        assistant (forked first, stays outside)
//!   unshare(user, mount) ── ready ──►   maps ids: directly with CAP_SETUID, else by newuidmap and newgidmap
//!   ◄─────────────────── result ─────
//!   or maps its own id alone
//!   becomes uid 0, gid 0
//! ```
//! Whether the place allows all this is tried in a child before: see [`crate::probe`].

mod subid;

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{DumpableBehavior, Gid, Uid, set_dumpable_behavior};
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};

use crate::{capability, probe, sys};

/// What [`enter`] needs to know of the world outside.
#[derive(Debug, Clone)]
pub struct Options {
    /// Login name, as /etc/subuid may list it; the numeric id is looked up too.
    pub user_name: Option<String>,
    /// Usually /etc/subuid.
    pub subuid: PathBuf,
    /// Usually /etc/subgid.
    pub subgid: PathBuf,
    /// `PATH`, where newuidmap and newgidmap are searched.
    pub path: OsString,
}

/// Where the process stands after [`enter`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Entered {
    /// It already had CAP_SYS_ADMIN: nothing was done.
    NotNeeded,
    /// A namespace with a range of ids: chown and setuid to `count` ids work.
    SubordinateIds {
        /// How many ids exist inside, its own included.
        count: u32,
    },
    /// A namespace with one id, 0: ownership must be emulated.
    SingleId {
        /// Why there is no range of ids.
        why: String,
    },
}

/// Why no usable user namespace can be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("no user namespace: {action}: {reason}")]
pub struct NoUserNamespace {
    /// What was tried.
    pub action: String,
    /// How it failed.
    pub reason: String,
}

impl NoUserNamespace {
    fn new(action: &str, error: impl Into<io::Error>) -> Self {
        NoUserNamespace { action: action.into(), reason: error.into().to_string() }
    }
}

/// Moves the process into a user and mount namespace where it is root, when it lacks CAP_SYS_ADMIN.
///
/// After an error the process is as it was: what can fail is tried in a child first.
pub fn enter(options: &Options) -> Result<Entered, NoUserNamespace> {
    if capability::have(CapabilitySet::SYS_ADMIN) {
        return Ok(Entered::NotNeeded);
    }
    let threads = std::fs::read_dir("/proc/self/task").map_err(|e| NoUserNamespace::new("count threads", e))?.count();
    if threads != 1 {
        let reason = format!("the process has {threads} threads already; call it first in main");
        return Err(NoUserNamespace { action: "enter".into(), reason });
    }
    // SAFETY: the process has a single thread, as counted above.
    unsafe { probe::in_fork(probe::unprivileged_namespaces) }
        .map_err(|why| NoUserNamespace { action: why.action, reason: why.reason })?;
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let failed = NoUserNamespace::new;
    let (mut here, there) = UnixStream::pair().map_err(|e| failed("make a socket pair", e))?;
    let process = rustix::process::getpid().as_raw_pid();
    // SAFETY: the process has a single thread, as counted above.
    let Some(assistant) = (unsafe { sys::fork() }).map_err(|e| failed("fork", e))? else {
        drop(here);
        sys::exit_now(assist(there, process, uid, gid, options))
    };
    drop(there);
    let result = sys::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)
        .map_err(|e| failed("unshare(CLONE_NEWUSER | CLONE_NEWNS)", e))
        .and_then(|()| {
            let answer = ask(&mut here);
            settle(answer, uid, gid)
        });
    drop(here);
    let _ = sys::wait(assistant);
    result
}

/// Lets the assistant map ids; its answer is the number of ids, or why there is no range.
fn ask(assistant: &mut UnixStream) -> Result<u32, String> {
    let mut text = String::new();
    let talk = assistant.write_all(b"!").and_then(|()| assistant.read_to_string(&mut text));
    match (talk, text.split_once(' ')) {
        (Ok(_), Some(("ok", count))) => count.parse().map_err(|_| "the assistant's answer is broken".to_owned()),
        (Ok(_), Some(("no", why))) => Err(why.to_owned()),
        (Ok(_), _) => Err("the assistant process died".into()),
        (Err(error), _) => Err(format!("the assistant process is gone: {error}")),
    }
}

/// Becomes root inside, after mapping the own id where nothing else was mapped.
fn settle(answer: Result<u32, String>, uid: u32, gid: u32) -> Result<Entered, NoUserNamespace> {
    let entered = match answer {
        Ok(count) => Entered::SubordinateIds { count },
        Err(why) => {
            map_single(uid, gid).map_err(|e| NoUserNamespace::new("map the user's own id", e))?;
            Entered::SingleId { why }
        }
    };
    let (root, group) = (Uid::ROOT, Gid::ROOT);
    rustix::thread::set_thread_res_gid(group, group, group).map_err(|e| NoUserNamespace::new("become group 0", e))?;
    rustix::thread::set_thread_res_uid(root, root, root).map_err(|e| NoUserNamespace::new("become user 0", e))?;
    // Changing ids made /proc/self the property of the real root.
    let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
    Ok(entered)
}

/// Maps the process's own ids to 0, and nothing else. What a map holds already is left alone.
pub(crate) fn map_single(uid: u32, gid: u32) -> io::Result<()> {
    let unset = |file: &str| std::fs::read_to_string(file).is_ok_and(|text| text.trim().is_empty());
    if unset("/proc/self/uid_map") {
        std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    }
    if unset("/proc/self/gid_map") {
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    }
    Ok(())
}

/// The assistant's life: waits until the process is in its namespace, maps, answers.
fn assist(mut process_side: UnixStream, process: sys::Pid, uid: u32, gid: u32, options: &Options) -> i32 {
    let mut ready = [0];
    if process_side.read_exact(&mut ready).is_err() {
        return 1;
    }
    let answer = match map_ids(process, uid, gid, options) {
        Ok(count) => format!("ok {count}"),
        Err(why) => format!("no {why}"),
    };
    i32::from(process_side.write_all(answer.as_bytes()).is_err())
}

fn map_ids(process: sys::Pid, uid: u32, gid: u32, options: &Options) -> Result<u32, String> {
    if capability::have(CapabilitySet::SETUID) && capability::have(CapabilitySet::SETGID) {
        // Root without CAP_SYS_ADMIN: every id that exists here exists there too, under the same number.
        return map_all(process).map_err(|error| format!("writing the id maps failed: {error}"));
    }
    let name = options.user_name.as_deref();
    let ranges = |path: &Path| -> Result<Vec<subid::Range>, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let ranges = subid::ranges(&text, name, uid);
        if ranges.is_empty() {
            let who = name.map_or_else(|| uid.to_string(), str::to_owned);
            return Err(format!("{} lists no range for {who}", path.display()));
        }
        Ok(ranges)
    };
    let uids = subid::map(uid, &ranges(&options.subuid)?);
    let gids = subid::map(gid, &ranges(&options.subgid)?);
    let find =
        |tool: &str| find(tool, &options.path).ok_or_else(|| format!("{tool} is not installed (package uidmap)"));
    let (newuidmap, newgidmap) = (find("newuidmap")?, find("newgidmap")?);
    run_mapper(&newgidmap, process, &gids)?;
    run_mapper(&newuidmap, process, &uids)?;
    Ok(subid::size(&uids).min(subid::size(&gids)))
}

/// Maps every id that exists here to itself, for a process in a user namespace below; gives their number.
pub(crate) fn map_all(process: sys::Pid) -> io::Result<u32> {
    let mut count = 0;
    for file in ["uid_map", "gid_map"] {
        let own = std::fs::read_to_string(format!("/proc/self/{file}"))?;
        let lines: Vec<(u32, u32)> = own.lines().filter_map(inside_range).collect();
        count = lines.iter().fold(0, |sum: u32, line| sum.saturating_add(line.1));
        let map: Vec<String> = lines.iter().map(|(start, count)| format!("{start} {start} {count}\n")).collect();
        std::fs::write(format!("/proc/{process}/{file}"), map.concat())?;
    }
    Ok(count)
}

/// First id and count of a line of a map, as seen inside.
fn inside_range(line: &str) -> Option<(u32, u32)> {
    let mut fields = line.split_ascii_whitespace();
    let start = fields.next()?.parse().ok()?;
    Some((start, fields.nth(1)?.parse().ok()?))
}

fn find(tool: &str, path: &OsStr) -> Option<PathBuf> {
    let dirs = path.as_bytes().split(|byte| *byte == b':').filter(|dir| !dir.is_empty());
    dirs.map(|dir| Path::new(OsStr::from_bytes(dir)).join(tool))
        .find(|file| file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0))
}

fn run_mapper(tool: &Path, process: sys::Pid, map: &[(u32, u32, u32)]) -> Result<(), String> {
    let mut command = Command::new(tool);
    command.env_clear().stdin(Stdio::null()).arg(process.to_string());
    for (inside, outside, count) in map {
        command.args([inside.to_string(), outside.to_string(), count.to_string()]);
    }
    let output = command.output().map_err(|error| format!("{}: {error}", tool.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {} ({})", tool.display(), said.trim(), output.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_of_the_kernel_are_read() {
        assert_eq!(inside_range("         0          0 4294967295"), Some((0, 4_294_967_295)));
        assert_eq!(inside_range("1 100000 65536"), Some((1, 65536)));
        assert_eq!(inside_range("junk"), None);
    }

    #[test]
    fn tools_are_found_in_the_given_path_only() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let tool = dir.path().join("newuidmap");
        std::fs::write(&tool, "").expect("write");
        let path = OsString::from(format!("/no/such:{}", dir.path().display()));
        assert_eq!(find("newuidmap", &path), None, "not executable");
        std::fs::set_permissions(&tool, PermissionsExt::from_mode(0o755)).expect("chmod");
        assert_eq!(find("newuidmap", &path), Some(tool));
    }
}
