//! Pid 1 of a step: sets up the root, starts the command, reaps, reports.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::{Context, Report, Setup, command, mounts};
use crate::launch::Status;
use crate::spec::Spec;
use crate::{emulation, sys, wire};

pub(super) fn run(spec: &Spec, stdio: [OwnedFd; 3], control: &UnixStream) -> i32 {
    match start(spec, stdio, control).and_then(|command| reap(command, control)) {
        Ok(()) => 0,
        Err(error) => {
            let _ = wire::send(control, &Report::Failed(error));
            125
        }
    }
}

fn start(spec: &Spec, stdio: [OwnedFd; 3], control: &UnixStream) -> Setup<sys::Pid> {
    rustix::system::sethostname(spec.hostname.as_bytes())
        .context(|| format!("set the host name {:?}", spec.hostname))?;
    if spec.network == crate::Network::None {
        sys::loopback_up().context(|| "bring the loopback interface up")?;
    }
    let emulator = spec.emulator.as_ref().map(|e| emulation::open(e).map(|program| (e, program))).transpose()?;
    mounts::enter_root(spec, |made| {
        wire::send(control, &Report::MountPoints(made)).context(|| "report the mount points")
    })?;
    // Registered as long as this process lives.
    if let Some((emulator, program)) = emulator {
        std::mem::forget(emulation::register(emulator, &program)?);
    }
    // Nothing of this process may be read through /proc/1 by a step that runs as root.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    // SAFETY: the helper has a single thread.
    match unsafe { sys::fork() }.context(|| "fork the command's process")? {
        Some(command) => Ok(command),
        None => {
            let report = command::execute(spec, stdio);
            let _ = wire::send(control, &report);
            sys::exit_now(125)
        }
    }
}

/// Waits for the command, then ends and reaps whatever it left behind.
fn reap(command: sys::Pid, control: &UnixStream) -> Setup<()> {
    let mut status = None;
    while let Some((pid, ended)) = sys::wait(-1).context(|| "wait for the command")? {
        if pid == command {
            status = Some(match ended {
                sys::Ended::Code(code) => Status::Code(code),
                sys::Ended::Signal(signal) => Status::Signal(signal),
            });
            // From pid 1 this reaches everything in the namespace but pid 1.
            let _ = sys::kill(-1, libc::SIGKILL);
        }
    }
    let Some(status) = status else { return Ok(()) };
    let (user, system, max_rss) = sys::children_usage();
    #[allow(clippy::cast_possible_truncation)] // 2^64 microseconds are enough.
    let report =
        Report::Exit { status, user_us: user.as_micros() as u64, system_us: system.as_micros() as u64, max_rss };
    wire::send(control, &report).context(|| "report the end of the command")
}
