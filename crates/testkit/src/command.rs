//! Running programs: errors that name the command line and show its output, and servers that never
//! outlive the test.
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;

/// What went wrong, in words.
#[derive(Debug)]
pub struct Error(String);

/// Of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// From a message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// For `map_err`: what was tried, before the cause.
    pub(crate) fn at<E: fmt::Display>(what: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |cause| Self(format!("{what}: {cause}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Finds a program in `PATH` and the system directories that an ordinary user's `PATH` lacks.
#[must_use]
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// A command for a program that Debian's `package` brings.
pub(crate) fn tool(program: &str, package: &str) -> Result<Command> {
    which(program)
        .map(Command::new)
        .ok_or_else(|| Error::new(format!("{program} is not installed: apt-get install {package}")))
}

/// Runs a command to its end. A failure is an error with the command line and the last of its output.
pub fn run(command: &mut Command) -> Result<Output> {
    let output = output(command)?;
    if output.status.success() {
        return Ok(output);
    }
    Err(Error::new(format!("{} ended with {}\n{}", line(command), output.status, tail(&output, 40))))
}

/// Runs a command to its end, whatever that is.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    output_with(command, None)
}

/// The same with a file as standard input.
pub(crate) fn output_with(command: &mut Command, stdin: Option<&Path>) -> Result<Output> {
    let text = line(command);
    let input = match stdin {
        Some(path) => std::fs::File::open(path).map_err(Error::at(path.display()))?.into(),
        None => Stdio::null(),
    };
    command.stdin(input).output().map_err(Error::at(text))
}

/// The last lines that a command wrote.
pub(crate) fn tail(output: &Output, lines: usize) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// A server that is killed when this is dropped, and by the kernel when the test process dies.
#[derive(Debug)]
pub struct Guard {
    child: Child,
    /// The parent-death signal is tied to the *thread* that spawned: one waits here for as long as we live.
    _keep: mpsc::Sender<()>,
}

impl Guard {
    /// Starts a program with its output in a file.
    pub(crate) fn spawn(program: &Path, args: &[&OsStr], log: &Path) -> Result<Self> {
        let mut command = tool("setpriv", "util-linux")?;
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(args);
        let file = std::fs::File::create(log).map_err(Error::at(log.display()))?;
        let twin = file.try_clone().map_err(Error::at(log.display()))?;
        command.stdin(Stdio::null()).stdout(file).stderr(twin);
        let text = line(&command);
        let (answer, spawned) = mpsc::channel::<io::Result<Child>>();
        let (keep, end) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            let _ = answer.send(command.spawn());
            let _ = end.recv();
        });
        let child = spawned.recv().map_err(Error::at(&text))?.map_err(Error::at(&text))?;
        Ok(Self { child, _keep: keep })
    }

    /// Whether it runs still.
    pub(crate) fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end and waits for that, for as long as `patience` says.
    pub(crate) fn terminate(&mut self, patience: std::time::Duration) {
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let end = std::time::Instant::now() + patience;
        while self.alive() && std::time::Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
