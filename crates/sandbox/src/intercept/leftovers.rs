//! Ending what a step leaves running, without a pid namespace.
//!
//! The process that started the step is the reaper of its descendants: whatever loses its parent becomes our child.
//! So killing all children, again and again until there is none, reaches everything.

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::WaitOptions;

use crate::sys;

/// Kills all children of this process and theirs, and waits for them.
///
/// Processes that fork and exit without end are gone before a list of them is of use: each is killed as soon as it is
/// seen, and all that ended are reaped before the next look, so that looking stays quick.
pub(crate) fn end() -> io::Result<()> {
    // Children that give no signal at their end count, too.
    let how = WaitOptions::NOHANG | WaitOptions::from_bits_retain(libc::__WALL.unsigned_abs());
    loop {
        kill_children()?;
        let mut reaped = false;
        loop {
            match rustix::process::wait(how) {
                Ok(Some(_)) => reaped = true,
                Ok(None) => break,
                Err(Errno::CHILD) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !reaped {
            // Killed, and not gone yet.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Kills the children of this process, by /proc.
fn kill_children() -> io::Result<()> {
    let me = rustix::process::getpid().as_raw_pid();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<sys::Pid>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if parent(&stat) == Some(me) {
            let _ = sys::kill(pid, libc::SIGKILL);
        }
    }
    Ok(())
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
