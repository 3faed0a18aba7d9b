//! `--progress rawjson`: BuildKit's `SolveStatus`, one JSON object a line, for programs.
//!
//! BuildKit names a vertex by the digest of its definition; here it is the digest of its number
//! and name, stable within a build.
use std::collections::HashMap;
use std::io::Write;
use std::time::SystemTime;

use build::event::{Event, Outcome, Stream, VertexId};
use serde_json::{Map, Value, json};

use super::state::Vertex;
use super::{Renderer, State};

pub(super) struct RawJson {
    out: Box<dyn Write + Send>,
    digests: HashMap<VertexId, String>,
}

impl RawJson {
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, digests: HashMap::new() }
    }

    fn digest(&mut self, id: VertexId, state: &State) -> String {
        let name = state.get(id).map_or("", |vertex| vertex.name.as_str());
        self.digests
            .entry(id)
            .or_insert_with(|| oci::Digest::sha256(format!("{id}\0{name}").as_bytes()).to_string())
            .clone()
    }

    fn vertex(&mut self, vertex: &Vertex, state: &State) -> Value {
        let mut out = Map::new();
        out.insert("digest".into(), self.digest(vertex.id, state).into());
        if !vertex.inputs.is_empty() {
            out.insert(
                "inputs".into(),
                vertex.inputs.iter().map(|id| self.digest(*id, state)).collect::<Vec<_>>().into(),
            );
        }
        out.insert("name".into(), vertex.name.clone().into());
        if let Some(at) = vertex.started {
            out.insert("started".into(), time(at));
        }
        if let Some(at) = vertex.completed {
            out.insert("completed".into(), time(at));
        }
        // Not BuildKit's.
        if let Some(cause) = &vertex.miss {
            out.insert("cacheMiss".into(), serde_json::to_value(cause).unwrap_or_default());
        }
        match &vertex.outcome {
            Some(Outcome::Cached) => {
                out.insert("cached".into(), true.into());
            }
            Some(Outcome::Failed(why)) => {
                out.insert("error".into(), why.clone().into());
            }
            Some(Outcome::Canceled) => {
                out.insert("error".into(), "context canceled".into());
            }
            Some(Outcome::Done) | None => {}
        }
        Value::Object(out)
    }
}

impl Renderer for RawJson {
    fn event(&mut self, at: SystemTime, event: &Event, state: &State) -> std::io::Result<()> {
        let status = match event {
            Event::Vertex { id, .. }
            | Event::Started { id, .. }
            | Event::Miss { id, .. }
            | Event::Completed { id, .. } => {
                let Some(vertex) = state.get(*id) else { return Ok(()) };
                json!({ "vertexes": [self.vertex(vertex, state)] })
            }
            Event::Log { id, stream, data } => {
                let stream = if *stream == Stream::Stdout { 1 } else { 2 };
                json!({ "logs": [{
                    "vertex": self.digest(*id, state),
                    "stream": stream,
                    "data": base64(data),
                    "timestamp": time(at),
                }] })
            }
            Event::Progress { id, item, current, total, done } => {
                let mut status = Map::new();
                status.insert("id".into(), item.clone().into());
                status.insert("vertex".into(), self.digest(*id, state).into());
                if let Some(total) = total {
                    status.insert("total".into(), (*total).into());
                }
                status.insert("current".into(), (*current).into());
                status.insert("timestamp".into(), time(at));
                let known = state.get(*id).and_then(|v| v.items.iter().find(|known| known.name == *item));
                status.insert("started".into(), time(known.map_or(at, |known| known.started)));
                if *done {
                    status.insert("completed".into(), time(at));
                }
                json!({ "statuses": [status] })
            }
            Event::Span { .. } => return Ok(()),
            Event::Warning { id, message } => {
                let mut warning = Map::new();
                if let Some(id) = id {
                    warning.insert("vertex".into(), self.digest(*id, state).into());
                }
                warning.insert("level".into(), 1.into());
                warning.insert("short".into(), base64(message.as_bytes()).into());
                json!({ "warnings": [warning] })
            }
        };
        writeln!(self.out, "{status}")?;
        self.out.flush()
    }

    fn finish(&mut self, _: SystemTime, _: &State) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// RFC 3339 with nanoseconds, UTC.
fn time(at: SystemTime) -> Value {
    jiff::Timestamp::try_from(at).map_or(Value::Null, |stamp| format!("{stamp:.9}").into())
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine;
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}
