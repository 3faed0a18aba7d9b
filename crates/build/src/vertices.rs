//! Numbers for the lines of the progress display.
use crate::event::{Event, Events, Outcome, VertexId};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

/// Hands out numbers.
#[derive(Debug, Default)]
pub(crate) struct Vertices(AtomicUsize);

impl Vertices {
    /// Announces a line.
    pub(crate) fn announce(&self, events: &Events, name: &str, stage: Option<&str>, inputs: &[VertexId]) -> VertexId {
        let id = self.0.fetch_add(1, Ordering::Relaxed);
        let (name, stage) = (name.to_owned(), stage.map(str::to_owned));
        events.send(Event::Vertex { id, name, stage, inputs: inputs.to_vec() });
        id
    }

    /// Announces a line that begins at once.
    pub(crate) fn start(&self, events: &Events, name: &str, stage: Option<&str>, inputs: &[VertexId]) -> VertexId {
        let id = self.announce(events, name, stage, inputs);
        self.begin(events, id);
        id
    }

    pub(crate) fn begin(&self, events: &Events, id: VertexId) {
        events.send(Event::Started { id, at: SystemTime::now() });
    }

    pub(crate) fn end(&self, events: &Events, id: VertexId, outcome: Outcome) {
        events.send(Event::Completed { id, at: SystemTime::now(), outcome });
    }
}
