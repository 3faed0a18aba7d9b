//! `--progress plain`: BuildKit's lines for logs and CI.
//!
//! ```text
//! #5 [build 2/4] RUN make
//! #5 0.312 output
//! #5 DONE 1.2s
//! ```
//!
//! One vertex has the floor until it ends, or until another one waited too long with something to
//! say; then the first one's next lines come under a repeated heading.
use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, SystemTime};

use build::event::{Event, Outcome, VertexId};

use super::format::{amount, between, seconds};
use super::sanitize::Lines;
use super::{Renderer, State};

/// How long a vertex waits for the floor.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the bytes of something that moves are printed.
const REPEAT: Duration = Duration::from_secs(5);

pub(super) struct Plain {
    out: Box<dyn Write + Send>,
    colour: bool,
    floor: Option<VertexId>,
    /// What waits to be printed, in order of arrival of each vertex' first line.
    waiting: Vec<Waiting>,
    numbers: HashMap<VertexId, usize>,
    lines: HashMap<VertexId, Lines>,
    /// When an item was last printed; `None` once it is done.
    items: HashMap<(VertexId, String), Option<SystemTime>>,
    printed: bool,
}

struct Waiting {
    id: VertexId,
    since: SystemTime,
    lines: Vec<String>,
    ended: bool,
}

impl Plain {
    pub(super) fn new(out: Box<dyn Write + Send>, colour: bool) -> Self {
        Self {
            out,
            colour,
            floor: None,
            waiting: Vec::new(),
            numbers: HashMap::new(),
            lines: HashMap::new(),
            items: HashMap::new(),
            printed: false,
        }
    }

    fn say(&mut self, at: SystemTime, id: VertexId, lines: Vec<String>, ended: bool) {
        match self.waiting.iter_mut().find(|waiting| waiting.id == id) {
            Some(waiting) => {
                waiting.lines.extend(lines);
                waiting.ended |= ended;
            }
            None => self.waiting.push(Waiting { id, since: at, lines, ended }),
        }
    }

    /// Prints what may be printed now.
    fn flush(&mut self, now: SystemTime, all: bool, state: &State) -> std::io::Result<()> {
        loop {
            let next =
                match self.floor {
                    None => (!self.waiting.is_empty()).then_some(0),
                    Some(floor) => self.waiting.iter().position(|waiting| waiting.id == floor).or_else(|| {
                        self.waiting.iter().position(|waiting| all || between(waiting.since, now) >= PATIENCE)
                    }),
                };
            let Some(next) = next else { break };
            let waiting = self.waiting.remove(next);
            self.print(waiting, state)?;
        }
        self.out.flush()
    }

    fn print(&mut self, waiting: Waiting, state: &State) -> std::io::Result<()> {
        let next = self.numbers.len() + 1;
        let number = *self.numbers.entry(waiting.id).or_insert(next);
        if self.floor != Some(waiting.id) {
            if let Some(old) = self.floor.and_then(|floor| self.numbers.get(&floor)) {
                writeln!(self.out, "#{old} ...")?;
            }
            if self.printed {
                writeln!(self.out)?;
            }
            let name = state.get(waiting.id).map_or("", |vertex| vertex.name.as_str());
            writeln!(self.out, "#{number} {name}")?;
        }
        self.printed = true;
        for line in &waiting.lines {
            writeln!(self.out, "{}", format!("#{number} {line}").trim_end())?;
        }
        self.floor = (!waiting.ended).then_some(waiting.id);
        Ok(())
    }

    fn since_start(at: SystemTime, id: VertexId, state: &State) -> Duration {
        state.get(id).and_then(|vertex| vertex.started).map_or(Duration::ZERO, |started| between(started, at))
    }

    fn paint(&self, code: &str, text: String) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text }
    }
}

impl Renderer for Plain {
    fn event(&mut self, at: SystemTime, event: &Event, state: &State) -> std::io::Result<()> {
        match event {
            Event::Vertex { .. } | Event::Span { .. } => {}
            Event::Started { id, .. } => self.say(at, *id, Vec::new(), false),
            Event::Miss { id, cause } => self.say(at, *id, vec![super::format::miss(cause)], false),
            Event::Log { id, data, .. } => {
                let time = Self::since_start(at, *id, state);
                let mut lines = Vec::new();
                self.lines
                    .entry(*id)
                    .or_default()
                    .push(data, self.colour, |line| lines.push(format!("{:.3} {line}", time.as_secs_f64())));
                if !lines.is_empty() {
                    self.say(at, *id, lines, false);
                }
            }
            Event::Progress { id, item, current, total, done } => {
                let key = (*id, item.clone());
                let last = self.items.get(&key).copied();
                let worth = match last {
                    Some(None) => false,
                    Some(Some(last)) => *done || between(last, at) >= REPEAT,
                    // The first sight only starts the clock: most are over before they are worth a line.
                    None => *done,
                };
                if worth || last.is_none() {
                    self.items.insert(key, (!*done).then_some(at));
                }
                if !worth {
                    return Ok(());
                }
                let started = state
                    .get(*id)
                    .and_then(|vertex| vertex.items.iter().find(|known| known.name == *item))
                    .map_or(at, |known| known.started);
                let mut line = format!("{item} {}", amount(*current, *total));
                line = format!("{} {}", line.trim_end(), seconds(between(started, at)));
                if *done {
                    line.push_str(" done");
                }
                self.say(at, *id, vec![line], false);
            }
            Event::Completed { id, outcome, .. } => {
                let time = Self::since_start(at, *id, state);
                let mut lines = Vec::new();
                if let Some(rest) = self.lines.remove(id).and_then(|mut lines| lines.take(self.colour)) {
                    lines.push(format!("{:.3} {rest}", time.as_secs_f64()));
                }
                let time = state.get(*id).and_then(|v| Some(between(v.started?, v.completed?))).unwrap_or(time);
                lines.push(match outcome {
                    Outcome::Done => format!("DONE {}", seconds(time)),
                    Outcome::Cached => "CACHED".into(),
                    Outcome::Failed(why) => {
                        self.paint("31", format!("ERROR: {}", super::sanitize::clean(why.as_bytes(), false)))
                    }
                    Outcome::Canceled => "CANCELED".into(),
                });
                self.say(at, *id, lines, true);
            }
            Event::Warning { id, message } => {
                let line = self.paint("33", format!("WARNING: {}", super::sanitize::clean(message.as_bytes(), false)));
                match id {
                    Some(id) => self.say(at, *id, vec![line], false),
                    None => writeln!(self.out, "{line}")?,
                }
            }
        }
        self.flush(at, false, state)
    }

    fn tick(&mut self, now: SystemTime, state: &State) -> std::io::Result<()> {
        self.flush(now, false, state)
    }

    fn pause(&mut self, now: SystemTime, state: &State) -> std::io::Result<()> {
        self.flush(now, true, state)
    }

    fn finish(&mut self, now: SystemTime, state: &State) -> std::io::Result<()> {
        let partial: Vec<(VertexId, String)> =
            self.lines.iter_mut().filter_map(|(id, lines)| Some((*id, lines.take(self.colour)?))).collect();
        for (id, line) in partial {
            let time = Self::since_start(now, id, state);
            self.say(now, id, vec![format!("{:.3} {line}", time.as_secs_f64())], false);
        }
        self.flush(now, true, state)
    }
}
