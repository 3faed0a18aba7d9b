//! SSH agents for `RUN --mount=type=ssh` and for git sources: the user's, or one of the build's own that holds the key
//! files of `--ssh ID=KEY`.
//!
//! A step never talks to the agent itself: a socket of the build stands before it and lets requests for listing and
//! signing through, nothing else, so a step cannot add keys, remove them or lock the agent. The socket has the owner
//! and mode that the mount asks for, whatever the agent's own has.
//! (The protocol: draft-ietf-sshm-ssh-agent.)
use crate::error::{BuildError, Kind, Result};
use crate::request::{BuildRequest, SshAgent};
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// The requests that pass (draft-ietf-sshm-ssh-agent §6.1).
const REQUEST_IDENTITIES: u8 = 11;
const SIGN_REQUEST: u8 = 13;
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];
/// What OpenSSH takes in one message.
const MESSAGE: u32 = 256 << 10;
/// How many connections one step may have at a time.
const CONNECTIONS: usize = 32;

/// The agents of a build, each started when it is first asked for.
#[derive(Default)]
pub(crate) struct Agents {
    started: Mutex<BTreeMap<String, KeyAgent>>,
}

impl Agents {
    /// The socket of the agent with this id; `None` where the user named none.
    pub(crate) fn socket(
        &self,
        id: &str,
        request: &BuildRequest,
        env: &BTreeMap<String, String>,
    ) -> Result<Option<PathBuf>> {
        let Some(agent) = request.ssh.iter().find(|agent| agent.id == id) else { return Ok(None) };
        let [first, ..] = agent.paths.as_slice() else {
            return Ok(env.get("SSH_AUTH_SOCK").map(PathBuf::from));
        };
        if fs::metadata(first).is_ok_and(|meta| meta.file_type().is_socket()) {
            if agent.paths.len() > 1 {
                let what = format!("--ssh {id}: {} is an agent's socket, and another path is named", first.display());
                return Err(BuildError::new(Kind::Input, what).hint("name one socket, or key files"));
            }
            return Ok(Some(first.clone()));
        }
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = started.get(id) {
            return Ok(Some(running.socket()));
        }
        let running = KeyAgent::start(agent, env)?;
        let socket = running.socket();
        started.insert(id.to_owned(), running);
        Ok(Some(socket))
    }
}

/// An `ssh-agent` that holds key files, in a directory that nobody else enters.
struct KeyAgent {
    dir: tempfile::TempDir,
    keeper: Child,
}

impl KeyAgent {
    fn socket(&self) -> PathBuf {
        self.dir.path().join("agent")
    }

    fn start(agent: &SshAgent, env: &BTreeMap<String, String>) -> Result<Self> {
        let fail = |why: String| BuildError::new(Kind::Input, format!("--ssh {}: {why}", agent.id));
        let dir = tempfile::Builder::new().prefix("cooperage-ssh-").tempdir();
        let dir = dir.map_err(|e| BuildError::io("make a directory in", std::env::temp_dir(), e))?;
        let socket = dir.path().join("agent");
        // The agent lives as long as its command, and that as long as our end of its input: it does not outlive a
        // build that is killed.
        let mut command = program("ssh-agent", env);
        command.arg("-a").arg(&socket).args(["sh", "-c", "echo; cat; kill \"$SSH_AGENT_PID\""]);
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let missing = |e: io::Error| {
            fail(format!("cannot start ssh-agent, which holds the keys: {}", e))
                .hint("install openssh-client, or give the socket of an agent that runs")
        };
        let mut running = Self { dir, keeper: spawned.map_err(missing)? };
        // It says a word when it listens.
        let mut word = [0_u8; 1];
        let said = running.keeper.stdout.as_mut().map(|out| out.read_exact(&mut word));
        if !matches!(said, Some(Ok(()))) {
            return Err(fail("ssh-agent ended at once".into()).hint("run ssh-agent by hand to see why"));
        }
        for path in &agent.paths {
            // By standard input: OpenSSH refuses files that others may read, as those of a CI system often are.
            let key = fs::File::open(path).map_err(|e| BuildError::io("open", path, e))?;
            let mut add = program("ssh-add", env);
            add.args(["-q", "-"]).env("SSH_AUTH_SOCK", &socket).stdin(key).stdout(Stdio::null());
            // A passphrase is not asked for: there may be nobody to answer.
            add.env("SSH_ASKPASS", "/bin/false").env("SSH_ASKPASS_REQUIRE", "force").env("DISPLAY", ":0");
            let output = add.output().map_err(missing)?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                let why = said.lines().next().unwrap_or("no reason is given").replace("(stdin)", "the key");
                return Err(fail(format!("{} is not taken: {why}", path.display())).hint(
                    "it must be a private key without a passphrase; one with a passphrase goes into an agent: \
                     eval $(ssh-agent) && ssh-add FILE, then --ssh default",
                ));
            }
        }
        Ok(running)
    }
}

impl Drop for KeyAgent {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// A program of OpenSSH that sees nothing of the user's environment but the search path.
fn program(name: &str, env: &BTreeMap<String, String>) -> Command {
    let mut command = Command::new(name);
    command.env_clear();
    for name in ["PATH", "TMPDIR"] {
        command.envs(env.get_key_value(name));
    }
    command
}

/// A socket for one step, before an agent. It is gone when this is dropped.
pub(crate) struct Forward {
    path: PathBuf,
    stop: Option<io::PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Forward {
    /// Listens at `agent` in `dir`, where nobody but the builder comes.
    pub(crate) fn start(dir: &Path, mode: u32, agent: PathBuf) -> io::Result<Self> {
        let path = dir.join("agent");
        // A socket's path is at most 107 bytes long.
        let handle = rustix::fs::open(
            dir,
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )?;
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/agent", handle.as_raw_fd()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        listener.set_nonblocking(true)?;
        let (until, stop) = io::pipe()?;
        let thread = std::thread::Builder::new().name("ssh".into()).spawn(move || accept(&listener, &until, &agent))?;
        Ok(Self { path, stop: Some(stop), thread: Some(thread) })
    }

    /// Where the step's end is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Serves connections until the other end of `until` is closed. (A connection ends with the step's processes.)
fn accept(listener: &UnixListener, until: &io::PipeReader, agent: &Path) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let mut ready = [PollFd::new(listener, PollFlags::IN), PollFd::from_borrowed_fd(until.as_fd(), PollFlags::IN)];
        match poll(&mut ready, None) {
            Ok(_) if ready[1].revents().is_empty() => {}
            Err(rustix::io::Errno::INTR) => continue,
            _ => return,
        }
        let Ok((step, _)) = listener.accept() else { continue };
        if open.load(Ordering::Relaxed) >= CONNECTIONS {
            continue;
        }
        let (agent, counter) = (agent.to_owned(), Arc::clone(&open));
        counter.fetch_add(1, Ordering::Relaxed);
        let served = std::thread::Builder::new().name("ssh".into()).spawn(move || {
            let _ = UnixStream::connect(&agent).and_then(|agent| serve(step, agent));
            counter.fetch_sub(1, Ordering::Relaxed);
        });
        if served.is_err() {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Questions and answers in turn, as the protocol has it.
fn serve(mut step: UnixStream, mut agent: UnixStream) -> io::Result<()> {
    step.set_nonblocking(false)?;
    let mut message = Vec::new();
    while read_message(&mut step, &mut message)? {
        if !matches!(message.get(4), Some(&(REQUEST_IDENTITIES | SIGN_REQUEST))) {
            step.write_all(&FAILURE)?;
            continue;
        }
        agent.write_all(&message)?;
        if !read_message(&mut agent, &mut message)? {
            return Ok(());
        }
        step.write_all(&message)?;
    }
    Ok(())
}

/// A message with its length; false at the end.
fn read_message(from: &mut UnixStream, message: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0_u8; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(e) => return Err(e),
    }
    let count = u32::from_be_bytes(length);
    if count == 0 || count > MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message of an agent is 1 byte to 256 KiB long"));
    }
    message.clear();
    message.extend(length);
    message.resize(4 + count as usize, 0);
    from.read_exact(&mut message[4..])?;
    Ok(true)
}
