//! Every process that a step started, without a pid namespace.
//!
//! The keeper is the sub-reaper: whoever loses its parent becomes the keeper's child. So all of the step's processes
//! are descendants, and killing children until there are none ends them all, however they fork meanwhile.

use std::fs;
use std::io;

use crate::intercept::leftovers;
use crate::sys;

/// Makes this process adopt the orphans among its descendants.
pub(super) fn adopt() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// Kills and reaps all descendants.
pub(super) fn end_all() {
    for pid in descendants() {
        let _ = sys::kill(pid, libc::SIGKILL);
    }
    // What is left, and what outran that, loses its parent and becomes this process's child.
    let _ = leftovers::end();
}

fn descendants() -> Vec<sys::Pid> {
    let own = rustix::process::getpid().as_raw_pid();
    let all: Vec<(sys::Pid, sys::Pid)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let pid: sys::Pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, parent(&stat)?))
        })
        .collect();
    let mut family = vec![own];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(all.iter().filter(|(pid, of)| *of == parent && *pid != own).map(|(pid, _)| *pid));
        next += 1;
    }
    family.remove(0);
    family
}

/// The parent in a line of /proc/PID/stat. The name before it may hold anything, parentheses included.
fn parent(stat: &str) -> Option<sys::Pid> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(parent("42 (a) b) (c)) S 17 42 42 0 -1"), Some(17));
        assert_eq!(parent("nonsense"), None);
    }
}
