//! Starting the helper, feeding it the spec, and turning its reports into an [`Exit`].

use std::fs::File;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cancel::CancelToken;
use crate::child::{self, HELPER_NAME, Order, Report};
use crate::error::{RunError, SetupError};
use crate::mountpoint::Made;
use crate::spec::{Rootfs, Spec};
use crate::{memory, wire};

/// Takes over when this process is a helper that [`Launcher::run`] or a probe started; returns at once otherwise.
/// Must be the first call in `main`, before any thread is started.
pub fn init_if_child() {
    child::take_over(std::env::args_os().next().as_deref());
}

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
        let helper = PathBuf::from("/proc/self/exe");
        std::fs::metadata(&helper)?;
        Ok(Launcher { helper })
    }

    /// Runs the step and waits until the last of its processes is gone.
    ///
    /// The step's descriptors in `io` are closed here as soon as the helper has them, so that a reader at the other
    /// end of a pipe sees its end when the step is over.
    pub fn run(&self, spec: &Spec, io: Io, cancel: &CancelToken) -> Result<Exit, RunError> {
        if cancel.is_cancelled() {
            return Err(RunError::Cancelled);
        }
        let kills = memory::oom_kills();
        let begin = Instant::now();
        let (child, mut control) = self.spawn()?;
        let hang_up = control.try_clone().map_err(RunError::Control)?;
        let registration = cancel.on_cancel(move || drop(hang_up.shutdown(Shutdown::Write)));
        let order = Order::Run(Box::new(spec.clone()));
        let sent = wire::send_with_fds(&control, &order, &[io.stdin.as_fd(), io.stdout.as_fd(), io.stderr.as_fd()]);
        drop(io);
        let collected = match sent {
            // The helper may have said why it closed the socket.
            Ok(()) => collect(&mut control),
            Err(error) => collect(&mut control).and_then(|got| if got.is_silent() { Err(error) } else { Ok(got) }),
        };
        drop(registration);
        let ended = end(child, control);
        let wall = begin.elapsed();
        let collected = collected.map_err(RunError::Control);
        let cleaned = match &collected {
            Ok(Collected { made: Some(made), .. }) => clean(spec, made.clone()),
            _ => Ok(()),
        };
        let collected = collected?;
        let exit = match (collected.exit, collected.error) {
            (Some((status, usage)), None) => {
                let oom_hint = memory::oom_kills() > kills;
                Ok(Exit { status, oom_hint, usage: ResourceUse { wall, ..usage } })
            }
            _ if cancel.is_cancelled() => Err(RunError::Cancelled),
            (_, Some(failure)) => Err(failure.into_error(spec)),
            (None, None) => Err(RunError::HelperLost(ended)),
        }?;
        cleaned.map(|()| exit)
    }

    pub(crate) fn spawn(&self) -> Result<(Child, UnixStream), RunError> {
        let failed = |source| RunError::Helper { helper: self.helper.clone(), source };
        let (here, there) = UnixStream::pair().map_err(failed)?;
        // No pre_exec, no uid: the standard library then starts it by vfork, whatever this process's size.
        let child = Command::new(&self.helper)
            .arg0(HELPER_NAME)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(there)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        Ok((child, here))
    }
}

/// Lets go of the helper and waits for it; says how it ended.
pub(crate) fn end(mut child: Child, control: UnixStream) -> String {
    drop(control);
    match child.wait() {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

enum Failure {
    Setup(SetupError),
    NotFound { program: String, path: Option<String> },
    NotExecutable { program: String, reason: String },
}

impl Failure {
    fn into_error(self, spec: &Spec) -> RunError {
        match self {
            Failure::Setup(source) => RunError::Setup { isolation: spec.isolation, source },
            Failure::NotFound { program, path } => RunError::CommandNotFound { program, path },
            Failure::NotExecutable { program, reason } => RunError::CommandNotExecutable { program, reason },
        }
    }
}

/// What the helper said.
#[derive(Default)]
struct Collected {
    made: Option<Made>,
    exit: Option<(Status, ResourceUse)>,
    error: Option<Failure>,
}

impl Collected {
    fn is_silent(&self) -> bool {
        self.exit.is_none() && self.error.is_none()
    }
}

fn collect(control: &mut UnixStream) -> io::Result<Collected> {
    let mut got = Collected::default();
    while let Some(report) = wire::receive(control)? {
        let failure = match report {
            Report::MountPoints(made) => {
                got.made = Some(made);
                continue;
            }
            Report::Exit { status, user_us, system_us, max_rss } => {
                let (user, system) = (Duration::from_micros(user_us), Duration::from_micros(system_us));
                got.exit = Some((status, ResourceUse { user, system, max_rss, wall: Duration::ZERO }));
                continue;
            }
            Report::Probe(_) => continue,
            Report::Failed(error) => Failure::Setup(error),
            Report::NotFound { program, path } => Failure::NotFound { program, path },
            Report::NotExecutable { program, reason } => Failure::NotExecutable { program, reason },
        };
        got.error.get_or_insert(failure);
    }
    Ok(got)
}

/// Removes the mount points that were made for the step.
fn clean(spec: &Spec, made: Made) -> Result<(), RunError> {
    let base = match &spec.rootfs {
        Rootfs::Directory(path) | Rootfs::Overlay { upper: path, .. } => path,
    };
    made.remove(base).map_err(|(path, source)| RunError::Cleanup { path, source })
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
