//! `--on-error=shell`: a terminal for a shell in the root of a step that failed.
//!
//! The shell gets a pseudo-terminal of its own, so that Ctrl-C and job control are its and not the build's; the real
//! terminal is raw meanwhile, and bytes are passed on both ways. Progress stands still. Everything is put back when the
//! guard is dropped, after the shell has ended.
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;

use build::request::{OnFailure, ShellTerminal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use crate::progress::{Pauser, Reporter, sanitize::clean};

/// What is called when a step fails.
pub(crate) fn on_failure(reporter: &Reporter) -> OnFailure {
    let pauser = reporter.pauser();
    OnFailure::new(move |step, error| open(&pauser, step, error))
}

/// Puts the terminal back.
struct Guard {
    before: Termios,
    stop: Option<io::PipeWriter>,
    threads: Vec<JoinHandle<()>>,
    _paused: SyncSender<()>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The one that reads from the shell ends with it; the one that reads from the user is told.
        if let Some(output) = self.threads.pop() {
            let _ = output.join();
        }
        self.stop = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

fn open(pauser: &Pauser, step: &str, error: &str) -> io::Result<ShellTerminal> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    let paused = pauser.pause();
    let mut err = io::stderr().lock();
    let line = |text: &str| clean(text.replace(['\n', '\r'], " ").as_bytes(), false);
    writeln!(err, "\n{} failed: {}", line(step), line(error))?;
    writeln!(err, "A shell where it failed; what you do there is not kept. Leave it with exit or Ctrl-D.")?;
    drop(err);

    let before = tcgetattr(io::stdin())?;
    let mut raw = before.clone();
    raw.make_raw();
    tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
    let (until, stop) = io::pipe()?;
    let (to_shell, from_shell) = (master.try_clone()?, master);
    let guard = Guard {
        before,
        stop: Some(stop),
        threads: vec![
            std::thread::spawn(move || drop(input(&to_shell, &until))),
            std::thread::spawn(move || drop(output(&from_shell))),
        ],
        _paused: paused,
    };
    let io = sandbox::Io { stdin: slave.try_clone()?, stdout: slave.try_clone()?, stderr: slave };
    Ok((io, Box::new(guard)))
}

/// From the user to the shell, and the terminal's size.
fn input(shell: &OwnedFd, until: &io::PipeReader) -> io::Result<()> {
    let mut size = None;
    let mut buffer = [0_u8; 4096];
    loop {
        let now = tcgetwinsize(io::stderr()).ok().filter(|now| now.ws_col > 0);
        if now.is_some() && now.map(|s| (s.ws_col, s.ws_row)) != size {
            size = now.map(|s| (s.ws_col, s.ws_row));
            if let Some(now) = now {
                let _ = tcsetwinsize(shell, now);
            }
        }
        let stdin = io::stdin();
        let mut ready = [PollFd::new(&stdin, PollFlags::IN), PollFd::from_borrowed_fd(until.as_fd(), PollFlags::IN)];
        // A window that changes its size is seen at the next turn.
        poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 300_000_000 }))?;
        if !ready[1].revents().is_empty() {
            return Ok(());
        }
        if !ready[0].revents().is_empty() {
            let count = rustix::io::read(&stdin, &mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            let mut rest = &buffer[..count];
            while !rest.is_empty() {
                let written = rustix::io::write(shell, rest)?;
                rest = &rest[written..];
            }
        }
    }
}

/// From the shell to the user; ends when the last process has closed the terminal.
fn output(shell: &OwnedFd) -> io::Result<()> {
    let mut from = std::fs::File::from(shell.try_clone()?);
    let mut buffer = [0_u8; 16 << 10];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let mut err = io::stderr().lock();
        err.write_all(&buffer[..count])?;
        err.flush()?;
    }
}
