//! `--trace`: Chrome's trace event format (JSON), which Perfetto reads.
//!
//! Every step is a row: a complete event (`"ph": "X"`) from its beginning to its end, and inside it what it did. In
//! this format events of one row must nest; what overlaps (layers that come in at once) goes to a further row of the
//! same step. What happens in the background has rows of its own at the end. Times are microseconds since the build
//! began.
use build::event::{Outcome, Phase};
use serde_json::{Map, Value, json};
use std::time::SystemTime;

use super::{beginning, of, spans};
use crate::progress::{Span, State, Vertex};

/// A row: the ends of the events that are open at this moment.
#[derive(Default)]
struct Lane {
    open: Vec<u64>,
}

impl Lane {
    /// Whether an event can stand here; then it does.
    fn take(&mut self, start: u64, end: u64) -> bool {
        while self.open.last().is_some_and(|open| *open <= start) {
            self.open.pop();
        }
        let fits = self.open.last().is_none_or(|open| end <= *open);
        if fits {
            self.open.push(end);
        }
        fits
    }
}

/// An event that has no row yet.
struct Slice {
    name: String,
    category: &'static str,
    start: u64,
    end: u64,
    args: Value,
}

struct Writer {
    zero: SystemTime,
    events: Vec<Value>,
    rows: usize,
}

impl Writer {
    fn micros(&self, at: SystemTime) -> u64 {
        at.duration_since(self.zero).map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX))
    }

    fn slice(&self, span: &Span) -> Slice {
        Slice {
            name: span.phase.name().to_owned(),
            category: span.phase.name(),
            start: self.micros(span.started),
            end: self.micros(span.ended),
            args: json!({ "of": span.detail }),
        }
    }

    fn row(&mut self, name: &str) -> usize {
        self.rows += 1;
        let (tid, pid) = (self.rows, 1);
        let meta = |what: &str, args: Value| json!({ "ph": "M", "name": what, "pid": pid, "tid": tid, "args": args });
        self.events.push(meta("thread_name", json!({ "name": name })));
        self.events.push(meta("thread_sort_index", json!({ "sort_index": tid })));
        tid
    }

    /// Puts slices onto as few rows as it takes.
    fn rows(&mut self, name: &str, mut slices: Vec<Slice>) {
        slices.sort_by_key(|slice| (slice.start, std::cmp::Reverse(slice.end)));
        let mut lanes: Vec<(usize, Lane)> = Vec::new();
        for slice in slices {
            let place = match lanes.iter_mut().position(|(_, lane)| lane.take(slice.start, slice.end)) {
                Some(place) => place,
                None => {
                    let row = self.row(name);
                    let mut lane = Lane::default();
                    lane.take(slice.start, slice.end);
                    lanes.push((row, lane));
                    lanes.len() - 1
                }
            };
            self.events.push(json!({
                "ph": "X", "name": slice.name, "cat": slice.category, "pid": 1, "tid": lanes[place].0,
                "ts": slice.start, "dur": slice.end.saturating_sub(slice.start), "args": slice.args,
            }));
        }
    }
}

/// What a step came to, for its arguments.
fn arguments(vertex: &Vertex) -> Value {
    let mut args = Map::new();
    let (outcome, error) = match &vertex.outcome {
        Some(Outcome::Done) => ("done", None),
        Some(Outcome::Cached) => ("cached", None),
        Some(Outcome::Failed(why)) => ("failed", Some(why.clone())),
        Some(Outcome::Canceled) | None => ("canceled", None),
    };
    args.insert("outcome".into(), outcome.into());
    if let Some(error) = error {
        args.insert("error".into(), error.into());
    }
    if let Some(stage) = &vertex.stage {
        args.insert("stage".into(), stage.clone().into());
    }
    if let Some(cause) = &vertex.miss {
        args.insert("cache miss".into(), cause.summary.clone().into());
    }
    args.into()
}

/// The whole file.
pub(crate) fn chrome(state: &State, now: SystemTime) -> Value {
    let spans = spans(state, now);
    let zero = beginning(state, &spans).unwrap_or(now);
    let mut writer = Writer { zero, events: Vec::new(), rows: 0 };
    writer.events.push(json!({
        "ph": "M", "name": "process_name", "pid": 1, "tid": 0, "args": { "name": "cooperage build" },
    }));
    for vertex in &state.vertices {
        let mut slices: Vec<Slice> = of(&spans, Some(vertex.id)).map(|span| writer.slice(span)).collect();
        let own = vertex.started.map(|started| (started, vertex.completed.unwrap_or(now).max(started)));
        if let Some((started, ended)) = own {
            let (start, end) = (writer.micros(started), writer.micros(ended));
            slices.push(Slice { name: vertex.name.clone(), category: "step", start, end, args: arguments(vertex) });
        }
        writer.rows(&vertex.name, slices);
    }
    for phase in Phase::ALL {
        let slices: Vec<Slice> =
            of(&spans, None).filter(|span| span.phase == phase).map(|span| writer.slice(span)).collect();
        writer.rows(&format!("{} (background)", phase.name()), slices);
    }
    let began = jiff::Timestamp::try_from(zero).map_or_else(|_| String::new(), |stamp| stamp.to_string());
    json!({
        "displayTimeUnit": "ms",
        "otherData": { "program": "cooperage", "version": env!("CARGO_PKG_VERSION"), "began": began },
        "traceEvents": writer.events,
    })
}
