//! The helper process of a step: starts it, watches builder and command, and puts the tree back.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};

use super::{Diagnostics, NotStarted, Running, Step, leftovers};
use crate::child::{Context, Report, Setup};
use crate::error::{RunError, SetupError};
use crate::launch::Status;
use crate::spec::Spec;
use crate::{sys, wire};

/// Runs a step in this process, a helper of a single thread, and reports to the builder. The exit code.
pub(crate) fn run(spec: &Spec, stdio: [OwnedFd; 3], control: UnixStream) -> i32 {
    let report = step(spec, stdio, &control).unwrap_or_else(Report::Failed);
    i32::from(wire::send(&control, &report).is_err())
}

fn step(spec: &Spec, stdio: [OwnedFd; 3], control: &UnixStream) -> Setup<Report> {
    // Away from the terminal: Ctrl-C is the builder's to handle.
    let _ = rustix::process::setsid();
    let children = sys::child_signals().context(|| "watch for the end of processes")?;
    let step = Step::prepare(spec, Diagnostics::default())?;
    // SAFETY: the helper has a single thread.
    let (running, pipe) = unsafe { step.start(spec, stdio) }?;
    let begun = running.begun(pipe);
    let status = match begun {
        Ok(()) => watch(&running, &children, control)?,
        Err(_) => None,
    };
    leftovers::end().context(|| "end the step's processes")?;
    let (user, system, max_rss) = sys::children_usage();
    running.finish().map_err(|error| match error {
        RunError::Cleanup { path, source } => {
            SetupError::new(format!("restore {} after the step", path.display()), source)
        }
        other => SetupError { action: other.to_string(), errno: 0, hint: None },
    })?;
    #[allow(clippy::cast_possible_truncation)] // 2^64 microseconds are enough.
    match begun {
        Ok(()) => Ok(Report::Exit {
            // Without a status the builder has hung up, and reads no report.
            status: status.unwrap_or(Status::Code(125)),
            user_us: user.as_micros() as u64,
            system_us: system.as_micros() as u64,
            max_rss,
        }),
        Err(reason) => Ok(report(spec, reason)),
    }
}

/// Waits for the command. `None` when the builder has hung up.
fn watch(running: &Running, children: &OwnedFd, control: &UnixStream) -> Setup<Option<Status>> {
    let hang_up = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    loop {
        use std::os::fd::AsFd;
        // First: the command may have ended before anybody watched.
        while let Some((pid, ended)) = sys::reap().context(|| "wait for the command")? {
            if pid == running.pid {
                return Ok(Some(match ended {
                    sys::Ended::Code(code) => Status::Code(code),
                    sys::Ended::Signal(signal) => Status::Signal(signal),
                }));
            }
        }
        let mut watched = [PollFd::new(children, PollFlags::IN), PollFd::new(control, hang_up)];
        match poll(&mut watched, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context(|| "wait for the command"),
        }
        if watched[1].revents().intersects(hang_up) {
            return Ok(None);
        }
        sys::drain(children.as_fd());
    }
}

/// Why the command did not begin.
fn report(spec: &Spec, reason: NotStarted) -> Report {
    let program = spec.argv.first().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    match reason {
        NotStarted::Setup(error) => Report::Failed(error),
        NotStarted::Directory(error) => {
            Report::Failed(SetupError::new(format!("change to the working directory {}", spec.cwd.display()), error))
        }
        NotStarted::Command(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let path =
                spec.env.iter().rev().find(|(key, _)| key == "PATH").map(|(_, v)| v.to_string_lossy().into_owned());
            let path = if program.contains('/') { None } else { path };
            Report::NotFound { program, path }
        }
        NotStarted::Command(error) if error.raw_os_error() == Some(libc::ENOEXEC) => Report::NotExecutable {
            program,
            reason: "exec format error: no program for this machine (32-bit programs cannot be intercepted), and no \
                     script that begins with #!"
                .into(),
        },
        NotStarted::Command(error) => Report::NotExecutable { program, reason: error.to_string() },
    }
}
