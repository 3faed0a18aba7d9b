//! The live tree on a terminal.
//!
//! ```text
//! [+] Building 3.2s (5/8)
//!  => [internal] load build definition from Dockerfile                    0.0s
//!  => CACHED [build 1/4] FROM docker.io/library/alpine                    0.0s
//!  => [build 2/4] RUN make                                                1.2s
//!  => => # cc -O2 -c a.c
//! ```
//!
//! A frame is drawn over the one before it. Lines are cut to the terminal's width, so a frame has as
//! many rows as lines; when the terminal got narrower since, the terminal has wrapped the old lines,
//! and the number of rows to go up is computed anew. A frame never has more lines than the terminal:
//! what is finished is folded first, then output, never the running steps as long as they fit.
use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use build::event::{Event, Outcome};
use build::history::{CauseKind, ChangeKind};

use super::format::{amount, between, cut, miss, seconds, width};
use super::state::Vertex;
use super::{CURSOR_HIDDEN, Renderer, State};

/// Columns and rows.
pub(super) type Size = (usize, usize);

/// Lines of output below a running step, at most.
const TAIL: usize = 6;
/// How often the tree is drawn.
const INTERVAL: Duration = Duration::from_millis(100);

pub(super) struct Tty {
    out: Box<dyn Write + Send>,
    colour: bool,
    size: Box<dyn Fn() -> Size + Send>,
    begun: SystemTime,
    /// Widths of the lines of the frame on the screen.
    drawn: Vec<usize>,
    last: Option<SystemTime>,
    hidden: bool,
}

/// The size of the terminal behind standard error, 80 × 24 where it does not say.
pub(super) fn terminal_size() -> Size {
    match rustix::termios::tcgetwinsize(std::io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
    }
}

/// A line of a frame: text, its time at the right, and its colour.
struct Row {
    text: String,
    time: String,
    code: &'static str,
}

const DONE: &str = "34";
const FAILED: &str = "31";
const CANCELED: &str = "33";
const DIM: &str = "2";
const RUNNING: &str = "";

impl Tty {
    pub(super) fn new(
        out: Box<dyn Write + Send>,
        colour: bool,
        size: Box<dyn Fn() -> Size + Send>,
        begun: SystemTime,
    ) -> Self {
        Self { out, colour, size, begun, drawn: Vec::new(), last: None, hidden: false }
    }

    fn draw(&mut self, now: SystemTime, state: &State, last: bool) -> std::io::Result<()> {
        let (columns, lines) = (self.size)();
        let (columns, lines) = (columns.max(20), lines.max(5));
        let rows = if last { all(state, now) } else { fitting(state, now, lines.saturating_sub(2)) };
        let mut frame = String::from("\x1b[?2026h");
        if !std::mem::replace(&mut self.hidden, true) {
            CURSOR_HIDDEN.store(true, Ordering::SeqCst);
            frame.push_str("\x1b[?25l");
        }
        let up: usize = self.drawn.iter().map(|width| width.div_ceil(columns).max(1)).sum();
        if up > 0 {
            frame.push_str(&format!("\x1b[{up}A"));
        }
        frame.push('\r');
        let (ended, known) = state.counts();
        let end = if last && state.all_well() { " FINISHED" } else { "" };
        let title = format!("[+] Building {} ({ended}/{known}){end}", seconds(between(self.begun, now)));
        self.drawn.clear();
        self.line(
            &mut frame,
            &Row { text: title, time: String::new(), code: if last && state.all_well() { DONE } else { "" } },
            columns,
        );
        for row in &rows {
            self.line(&mut frame, row, columns);
        }
        // What is left of the old frame goes last: clearing all of a screen at once would make some
        // terminals keep every frame in their history.
        frame.push_str("\x1b[J");
        if last {
            self.drawn.clear();
            frame.push_str("\x1b[?25h");
        }
        frame.push_str("\x1b[?2026l");
        self.out.write_all(frame.as_bytes())?;
        self.out.flush()?;
        if last {
            self.hidden = false;
            CURSOR_HIDDEN.store(false, Ordering::SeqCst);
        }
        self.last = Some(now);
        Ok(())
    }

    fn line(&mut self, frame: &mut String, row: &Row, columns: usize) {
        // The last column stays free: a full line would leave the cursor on the next one in some terminals.
        let space = columns - 1;
        let right = width(&row.time);
        let text = if right == 0 { cut(&row.text, space) } else { cut(&row.text, space.saturating_sub(right + 1)) };
        let used = width(&text);
        let (on, off) = if self.colour && !row.code.is_empty() {
            (format!("\x1b[{}m", row.code), "\x1b[0m")
        } else {
            (String::new(), "")
        };
        frame.push_str(&on);
        frame.push_str(&text);
        let mut total = used;
        if right > 0 {
            let gap = space.saturating_sub(used + right);
            frame.extend(std::iter::repeat_n(' ', gap));
            frame.push_str(&row.time);
            total += gap + right;
        }
        frame.push_str(off);
        frame.push_str("\x1b[K\r\n");
        self.drawn.push(total);
    }
}

/// Rows of a vertex: its own, then what moves below it.
fn head(vertex: &Vertex, now: SystemTime) -> Row {
    let time = match vertex.started {
        Some(started) => seconds(between(started, vertex.completed.unwrap_or(now))),
        None => String::new(),
    };
    let (word, code) = match &vertex.outcome {
        Some(Outcome::Done) => ("", DONE),
        Some(Outcome::Cached) => ("CACHED ", DONE),
        Some(Outcome::Failed(_)) => ("ERROR ", FAILED),
        Some(Outcome::Canceled) => ("CANCELED ", CANCELED),
        None => ("", RUNNING),
    };
    Row { text: format!(" => {word}{}", vertex.name), time, code }
}

/// Why the step is done, where that is news: not that nothing like it was built here, nor that one before it changed.
fn reason(vertex: &Vertex) -> Option<Row> {
    let cause = vertex.miss.as_ref().filter(|cause| cause.kind != CauseKind::NeverBuilt)?;
    let follows = cause.changes.first().is_some_and(|change| change.kind == ChangeKind::Step);
    (!follows).then(|| Row { text: format!(" => => {}", miss(cause)), time: String::new(), code: DIM })
}

fn items(vertex: &Vertex, now: SystemTime) -> Vec<Row> {
    vertex
        .items
        .iter()
        .map(|item| {
            let text = format!(" => => {} {}", item.name, amount(item.current, item.total));
            let time = seconds(between(item.started, item.completed.unwrap_or(now)));
            let code = if item.completed.is_some() { DONE } else { RUNNING };
            Row { text: text.trim_end().to_owned(), time, code }
        })
        .collect()
}

fn output(vertex: &Vertex, most: usize) -> Vec<Row> {
    let partial = vertex.lines.partial(false).filter(|line| !line.is_empty());
    let mut lines: Vec<&str> = vertex.tail.iter().map(String::as_str).collect();
    lines.extend(partial.as_deref());
    lines[lines.len().saturating_sub(most)..]
        .iter()
        .map(|line| Row { text: format!(" => => # {line}"), time: String::new(), code: DIM })
        .collect()
}

/// The vertices that began, those of one stage together, stages in the order of their first vertex.
fn ordered(state: &State) -> Vec<&Vertex> {
    let mut stages: Vec<Option<&str>> = Vec::new();
    let mut keyed: Vec<(usize, &Vertex)> = Vec::new();
    for vertex in &state.vertices {
        let stage = vertex.stage.as_deref();
        // What belongs to no stage keeps its place: each is a group of its own.
        let group = match stages.iter().position(|known| stage.is_some() && *known == stage) {
            Some(group) => group,
            None => {
                stages.push(stage);
                stages.len() - 1
            }
        };
        if vertex.started.is_some() {
            keyed.push((group, vertex));
        }
    }
    keyed.sort_by_key(|(group, _)| *group);
    keyed.into_iter().map(|(_, vertex)| vertex).collect()
}

/// Everything, for the last frame.
fn all(state: &State, now: SystemTime) -> Vec<Row> {
    let mut rows = Vec::new();
    for vertex in ordered(state) {
        rows.push(head(vertex, now));
        rows.extend(reason(vertex));
        rows.extend(items(vertex, now));
    }
    rows
}

/// At most `most` rows: running steps first, then what moves below them, then their output, then
/// finished steps, the latest ones.
fn fitting(state: &State, now: SystemTime, most: usize) -> Vec<Row> {
    let vertices = ordered(state);
    let running: Vec<usize> = (0..vertices.len()).filter(|i| vertices[*i].is_running()).collect();
    let mut space = most;
    let mut shown: Vec<Option<(usize, usize)>> = vec![None; vertices.len()];
    for at in running.iter().rev() {
        if space > 0 {
            shown[*at] = Some((0, 0));
            space -= 1;
        }
    }
    let live: Vec<usize> = running.into_iter().filter(|at| shown[*at].is_some()).collect();
    let mut why = vec![false; vertices.len()];
    for at in &live {
        if space > 0 && reason(vertices[*at]).is_some() {
            why[*at] = true;
            space -= 1;
        }
        // Layers that still move are worth more than those that are done.
        let moving = vertices[*at].items.iter().filter(|item| item.completed.is_none()).count();
        let wanted = if vertices[*at].items.len() <= space { vertices[*at].items.len() } else { moving.min(space) };
        shown[*at] = Some((wanted, 0));
        space -= wanted;
    }
    for (i, at) in live.iter().enumerate() {
        let share = (space / (live.len() - i)).min(TAIL);
        let has =
            vertices[*at].tail.len() + usize::from(vertices[*at].lines.partial(false).is_some_and(|l| !l.is_empty()));
        let taken = has.min(share);
        if let Some((_, tail)) = &mut shown[*at] {
            *tail = taken;
        }
        space -= taken;
    }
    let done: Vec<usize> = (0..vertices.len()).filter(|at| vertices[*at].completed.is_some()).collect();
    let fold = done.len() > space;
    let kept = if fold { space.saturating_sub(1) } else { done.len() };
    for at in &done[done.len() - kept..] {
        shown[*at] = Some((0, 0));
    }
    let mut rows = Vec::new();
    if fold && space > 0 {
        rows.push(Row { text: format!(" => … {} more finished", done.len() - kept), time: String::new(), code: DIM });
    }
    for ((vertex, shown), why) in vertices.iter().zip(&shown).zip(why) {
        let Some((wanted, tail)) = shown else { continue };
        rows.push(head(vertex, now));
        rows.extend(reason(vertex).filter(|_| why));
        let mut below = items(vertex, now);
        if below.len() > *wanted {
            let moving: Vec<bool> = vertex.items.iter().map(|item| item.completed.is_none()).collect();
            let mut keep = moving.iter();
            below.retain(|_| keep.next().copied().unwrap_or(false));
            below.truncate(*wanted);
        }
        rows.extend(below);
        rows.extend(output(vertex, *tail));
    }
    rows
}

impl Renderer for Tty {
    fn event(&mut self, at: SystemTime, _: &Event, state: &State) -> std::io::Result<()> {
        // Frames are drawn on time, not on events; the first one at once.
        if self.last.is_none() { self.draw(at, state, false) } else { Ok(()) }
    }

    fn tick(&mut self, now: SystemTime, state: &State) -> std::io::Result<()> {
        self.draw(now, state, false)
    }

    fn pause(&mut self, now: SystemTime, state: &State) -> std::io::Result<()> {
        self.draw(now, state, true)
    }

    fn finish(&mut self, now: SystemTime, state: &State) -> std::io::Result<()> {
        self.draw(now, state, true)?;
        if !state.warnings.is_empty() {
            let count = state.warnings.len();
            writeln!(self.out, "\r\n {count} {} found:\r", if count == 1 { "warning" } else { "warnings" })?;
            for warning in &state.warnings {
                let text = format!(" - {warning}");
                if self.colour {
                    writeln!(self.out, "\x1b[33m{text}\x1b[0m\r")?
                } else {
                    writeln!(self.out, "{text}\r")?
                }
            }
        }
        self.out.flush()
    }

    fn interval(&self) -> Duration {
        INTERVAL
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        if self.hidden {
            CURSOR_HIDDEN.store(false, Ordering::SeqCst);
            let _ = self.out.write_all(b"\x1b[?25h");
            let _ = self.out.flush();
        }
    }
}
