//! Starting the helper, feeding it the spec, and turning its reports into an [`Exit`].

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cancel::CancelToken;
use crate::error::RunError;
use crate::spec::Spec;

/// Takes over when this process is a helper that [`Launcher::run`] or a probe started; returns at once otherwise.
/// Must be the first call in `main`, before any thread is started.
pub fn init_if_child() {}

/// Knows how to start the helper process.
#[derive(Debug, Clone)]
pub struct Launcher {
    helper: PathBuf,
}

impl Launcher {
    /// A launcher that runs `helper`, a program whose `main` begins with [`init_if_child`].
    pub fn new(helper: impl AsRef<Path>) -> Self {
        Launcher { helper: helper.as_ref().to_owned() }
    }

    /// A launcher that runs the current program again, also when its file was replaced or deleted meanwhile.
    pub fn of_this_program() -> io::Result<Self> {
        Ok(Launcher { helper: PathBuf::from("/proc/self/exe") })
    }

    /// Runs the step and waits until the last of its processes is gone.
    pub fn run(&self, spec: &Spec, io: Io, cancel: &CancelToken) -> Result<Exit, RunError> {
        let _ = (spec, io, cancel);
        Err(RunError::HelperLost(format!("{} is not there yet", self.helper.display())))
    }
}

/// The standard descriptors of a step. Pipes, files and terminals all work; nothing else is inherited.
#[derive(Debug)]
pub struct Io {
    /// Standard input.
    pub stdin: OwnedFd,
    /// Standard output.
    pub stdout: OwnedFd,
    /// Standard error.
    pub stderr: OwnedFd,
}

impl Io {
    /// No input, output thrown away.
    pub fn null() -> io::Result<Self> {
        let null = || File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
        Ok(Io { stdin: null()?, stdout: null()?, stderr: null()? })
    }

    /// No input, output to these descriptors (the write ends of pipes, usually: see [`std::io::pipe`]).
    pub fn output(stdout: impl Into<OwnedFd>, stderr: impl Into<OwnedFd>) -> io::Result<Self> {
        Ok(Io { stdin: File::open("/dev/null")?.into(), stdout: stdout.into(), stderr: stderr.into() })
    }
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The command's exit code or fatal signal.
    pub status: Status,
    /// The kernel killed a process of this control group for want of memory while the step ran.
    pub oom_hint: bool,
    /// What the step used.
    pub usage: ResourceUse,
}

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It exited with this code.
    Code(i32),
    /// It was killed by this signal.
    Signal(i32),
}

impl Status {
    /// Exit code 0.
    pub fn success(self) -> bool {
        self == Status::Code(0)
    }

    /// The code that a shell would report: 128 + n for signal n.
    pub fn shell_code(self) -> i32 {
        match self {
            Status::Code(code) => code,
            Status::Signal(signal) => 128 + signal,
        }
    }
}

/// Resources that the processes of a step used together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResourceUse {
    /// Processor time in programs.
    pub user: Duration,
    /// Processor time in the kernel.
    pub system: Duration,
    /// Largest resident set of one process, in bytes.
    pub max_rss: u64,
    /// From the start of the helper to the end of the last process.
    pub wall: Duration,
}
