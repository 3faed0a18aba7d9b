//! The keeper: unshares the namespaces and outlives everything in them.
//!
//! It is the parent of the pid namespace's init, outside of it, so that one SIGKILL to init ends every process of the
//! step, and `wait` for init returns only when the kernel has ended and reaped the last of them.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;

use super::{Context, Report, Setup, init};
use crate::spec::{Network, Spec};
use crate::{sys, wire};

pub(super) fn run(spec: &Spec, stdio: [OwnedFd; 3], control: UnixStream) -> i32 {
    match start(spec, stdio, &control) {
        Ok((init, alive)) => keep(init, &alive, &control),
        Err(error) => {
            let _ = wire::send(&control, &Report::Failed(error));
            125
        }
    }
}

fn start(spec: &Spec, stdio: [OwnedFd; 3], control: &UnixStream) -> Setup<(sys::Pid, UnixStream)> {
    // Away from the terminal: Ctrl-C is the builder's to handle.
    let _ = rustix::process::setsid();
    let mut namespaces = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if spec.network == Network::None {
        namespaces |= libc::CLONE_NEWNET;
    }
    sys::unshare(namespaces).context(|| "unshare the mount, pid, ipc, uts and net namespaces").map_err(|error| {
        if error.errno == libc::ENOSPC {
            error.hint("a limit of /proc/sys/user/max_*_namespaces is reached")
        } else {
            error
        }
    })?;
    // Absent on some kernels; it only hides the builder's control group.
    let _ = sys::unshare(libc::CLONE_NEWCGROUP);
    let (here, there) = UnixStream::pair().context(|| "make a socket pair")?;
    // SAFETY: the helper has a single thread.
    let fork = unsafe { sys::fork() }.context(|| "fork the step's first process");
    let crowded = |error: crate::SetupError| {
        if error.errno == libc::EAGAIN {
            error.hint("the limit of processes (pids.max, ulimit -u) is reached")
        } else {
            error
        }
    };
    match fork.map_err(crowded)? {
        Some(init) => Ok((init, here)),
        None => {
            drop(here);
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            // A hang-up means that the keeper died before the line above.
            let code = if hung_up(&there) { 125 } else { init::run(spec, stdio, control) };
            sys::exit_now(code)
        }
    }
}

/// Waits for the end of init; kills it when the builder hangs up.
fn keep(init: sys::Pid, alive: &UnixStream, control: &UnixStream) -> i32 {
    let hang_up = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    loop {
        let mut watched = [PollFd::new(alive, hang_up), PollFd::new(control, hang_up)];
        match poll(&mut watched, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
        if watched[0].revents().intersects(hang_up) {
            break;
        }
        if watched[1].revents().intersects(hang_up) {
            let _ = sys::kill(init, libc::SIGKILL);
            break;
        }
    }
    match sys::wait(init) {
        Ok(Some((_, sys::Ended::Code(code)))) => code,
        _ => 125,
    }
}

fn hung_up(socket: &UnixStream) -> bool {
    let mut watched = [PollFd::new(socket, PollFlags::RDHUP)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    !matches!(poll(&mut watched, Some(&now)), Ok(0))
}
