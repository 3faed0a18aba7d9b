//! Ending what a step leaves running, without a pid namespace.
//!
//! The process that started the step is the reaper of its descendants: whatever loses its parent becomes our child.
//! So killing all children, again and again until there is none, reaches everything.

use std::io;

use crate::sys;

/// Kills all children of this process and theirs, and waits for them.
pub(crate) fn end() -> io::Result<()> {
    loop {
        let children = children()?;
        for child in &children {
            let _ = sys::kill(*child, libc::SIGKILL);
        }
        match sys::wait(-1)? {
            Some(_) => {}
            None if children.is_empty() => return Ok(()),
            None => {}
        }
    }
}

/// The children of this process, by /proc.
fn children() -> io::Result<Vec<sys::Pid>> {
    let me = rustix::process::getpid().as_raw_pid();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<sys::Pid>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if parent(&stat) == Some(me) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// The parent in a line of /proc/PID/stat; the program's name may hold anything, parentheses too.
fn parent(stat: &str) -> Option<sys::Pid> {
    stat[stat.rfind(')')? + 1..].split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(parent("12 (a) b) 9 (c)) S 7 12 12"), Some(7));
        assert_eq!(parent("nonsense"), None);
    }
}
