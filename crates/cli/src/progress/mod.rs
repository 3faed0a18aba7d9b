//! The progress of a build: one thread receives all events, keeps what is known, and hands both to
//! one of four renderers.
//!
//! Events flow one way. The queue is bounded: a step that prints faster than the terminal takes it
//! is slowed down, and memory stays flat. The end of every line is the renderer's own: what a step
//! prints passes [`sanitize`] first and cannot move the cursor.
mod format;
mod plain;
mod quiet;
mod rawjson;
pub(crate) mod sanitize;
mod state;
mod tty;

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use build::event::{Event, Events};

pub(crate) use format::{bytes, cut};
pub(crate) use state::{Span, State, Vertex};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Tty,
    Plain,
    RawJson,
    Quiet,
}

impl Mode {
    /// `auto` is the tree on a terminal that can move its cursor, else plain lines.
    pub(crate) fn choose(setting: &str, quiet: bool, env: &crate::env::Env) -> crate::error::Result<Self> {
        Ok(match setting {
            _ if quiet => Self::Quiet,
            "quiet" => Self::Quiet,
            "plain" => Self::Plain,
            "rawjson" => Self::RawJson,
            "tty" if env.stderr_terminal => Self::Tty,
            "tty" => {
                return Err(crate::error::CliError::usage("--progress tty: standard error is no terminal")
                    .hint("use --progress plain, or auto to have the right one chosen"));
            }
            _ if env.smart_terminal() && env.get("CI").is_none() => Self::Tty,
            _ => Self::Plain,
        })
    }
}

/// One way to show events. Called from the reporter's thread alone.
trait Renderer: Send {
    /// Something happened at `at`; `state` knows it already.
    fn event(&mut self, at: SystemTime, event: &Event, state: &State) -> std::io::Result<()>;
    /// Time passed without an event.
    fn tick(&mut self, _now: SystemTime, _state: &State) -> std::io::Result<()> {
        Ok(())
    }
    /// The terminal belongs to somebody else until the next call.
    fn pause(&mut self, _now: SystemTime, _state: &State) -> std::io::Result<()> {
        Ok(())
    }
    /// The build is over.
    fn finish(&mut self, now: SystemTime, state: &State) -> std::io::Result<()>;
    /// How long it may take until the next `tick`.
    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }
}

enum Message {
    Event(SystemTime, Event),
    /// The terminal is needed for something else, until the other end of the channel is gone.
    Pause(SyncSender<()>, std::sync::mpsc::Receiver<()>),
    Finish,
}

/// Shows a build until [`Reporter::finish`] or until it is dropped.
pub(crate) struct Reporter {
    sender: SyncSender<Message>,
    thread: Option<JoinHandle<State>>,
}

impl Reporter {
    /// Starts the thread; the events go to the [`Events`].
    pub(crate) fn start(mode: Mode, colour: bool, out: Box<dyn Write + Send>) -> (Self, Events) {
        let renderer: Box<dyn Renderer> = match mode {
            Mode::Tty => Box::new(tty::Tty::new(out, colour, Box::new(tty::terminal_size), SystemTime::now())),
            Mode::Plain => Box::new(plain::Plain::new(out, colour)),
            Mode::RawJson => Box::new(rawjson::RawJson::new(out)),
            Mode::Quiet => Box::new(quiet::Quiet),
        };
        let (sender, receiver) = sync_channel(1024);
        let thread = std::thread::Builder::new().name("progress".into()).spawn(move || run(renderer, &receiver)).ok();
        let events = {
            let sender = sender.clone();
            // A reporter that is gone (its terminal was closed) is no reason to stop building.
            Events::new(move |event| drop(sender.send(Message::Event(SystemTime::now(), event))))
        };
        (Self { sender, thread }, events)
    }

    /// For others who need the terminal.
    pub(crate) fn pauser(&self) -> Pauser {
        Pauser(self.sender.clone())
    }

    /// Shows the end and returns what is known.
    pub(crate) fn finish(mut self) -> State {
        self.end()
    }

    fn end(&mut self) -> State {
        let _ = self.sender.send(Message::Finish);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

/// Makes progress stand still.
#[derive(Clone)]
pub(crate) struct Pauser(SyncSender<Message>);

impl Pauser {
    /// Waits until nothing is drawn any more; it goes on when what comes back is dropped.
    pub(crate) fn pause(&self) -> SyncSender<()> {
        let (done, paused) = sync_channel(1);
        let (resume, until) = sync_channel(1);
        if self.0.send(Message::Pause(done, until)).is_ok() {
            let _ = paused.recv();
        }
        resume
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.end();
        }
    }
}

fn run(mut renderer: Box<dyn Renderer>, receiver: &std::sync::mpsc::Receiver<Message>) -> State {
    let mut state = State::default();
    let mut broken = false;
    let mut next = Instant::now() + renderer.interval();
    loop {
        let result = match receiver.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(Message::Event(at, event)) => {
                state.apply(at, &event);
                if broken { Ok(()) } else { renderer.event(at, &event, &state) }
            }
            Ok(Message::Pause(done, until)) => {
                let result = if broken { Ok(()) } else { renderer.pause(SystemTime::now(), &state) };
                let _ = done.send(());
                let _ = until.recv();
                result
            }
            Ok(Message::Finish) | Err(RecvTimeoutError::Disconnected) => {
                if !broken {
                    let _ = renderer.finish(SystemTime::now(), &state);
                }
                return state;
            }
            Err(RecvTimeoutError::Timeout) => Ok(()),
        };
        let mut result = result;
        if Instant::now() >= next {
            if !broken && result.is_ok() {
                result = renderer.tick(SystemTime::now(), &state);
            }
            next = Instant::now() + renderer.interval();
        }
        broken |= result.is_err();
    }
}

/// Whether the cursor is hidden at this moment.
static CURSOR_HIDDEN: AtomicBool = AtomicBool::new(false);

/// Shows the cursor again where the tree hid it. For panics and hard exits.
pub(crate) fn restore_terminal() {
    if CURSOR_HIDDEN.swap(false, Ordering::SeqCst) {
        let mut err = std::io::stderr().lock();
        let _ = err.write_all(b"\x1b[?7h\x1b[?25h\n");
        let _ = err.flush();
    }
}

#[cfg(test)]
mod tests;
