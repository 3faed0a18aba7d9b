//! What is known about a build so far.
use std::collections::{HashMap, VecDeque};
use std::time::SystemTime;

use build::event::{Event, Outcome, Phase, VertexId};

use super::sanitize::Lines;

/// Lines of a step's output that are kept for the terminal.
const TAIL: usize = 8;

/// Something below a vertex that moves: a layer, a push.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) current: u64,
    pub(crate) total: Option<u64>,
    pub(crate) started: SystemTime,
    pub(crate) completed: Option<SystemTime>,
}

/// Work that is over.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) vertex: Option<VertexId>,
    pub(crate) phase: Phase,
    pub(crate) detail: String,
    pub(crate) started: SystemTime,
    pub(crate) ended: SystemTime,
}

/// One row.
#[derive(Debug)]
pub(crate) struct Vertex {
    pub(crate) id: VertexId,
    pub(crate) name: String,
    pub(crate) stage: Option<String>,
    pub(crate) inputs: Vec<VertexId>,
    pub(crate) started: Option<SystemTime>,
    pub(crate) completed: Option<SystemTime>,
    pub(crate) outcome: Option<Outcome>,
    /// Why its result did not come from the cache.
    pub(crate) miss: Option<build::history::Cause>,
    pub(crate) items: Vec<Item>,
    pub(crate) tail: VecDeque<String>,
    pub(crate) lines: Lines,
}

impl Vertex {
    pub(crate) fn is_running(&self) -> bool {
        self.started.is_some() && self.completed.is_none()
    }
}

/// All rows, in the order in which they appeared.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) vertices: Vec<Vertex>,
    pub(crate) warnings: Vec<String>,
    pub(crate) spans: Vec<Span>,
    index: HashMap<VertexId, usize>,
}

impl State {
    /// The row of a number.
    pub(crate) fn get(&self, id: VertexId) -> Option<&Vertex> {
        self.index.get(&id).and_then(|at| self.vertices.get(*at))
    }

    /// How many ended, of how many.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.vertices.iter().filter(|v| v.completed.is_some()).count(), self.vertices.len())
    }

    /// Whether all that began also ended, and ended well.
    pub(crate) fn all_well(&self) -> bool {
        self.vertices.iter().all(|v| matches!(v.outcome, Some(Outcome::Done | Outcome::Cached)))
    }

    /// Takes an event in. Events about unknown vertices make them known.
    pub(crate) fn apply(&mut self, at: SystemTime, event: &Event) {
        match event {
            Event::Vertex { id, name, stage, inputs } => {
                let vertex = self.entry(*id);
                vertex.name = one_line(name);
                vertex.stage.clone_from(stage);
                vertex.inputs.clone_from(inputs);
            }
            Event::Started { id, at } => self.entry(*id).started = Some(*at),
            Event::Completed { id, at, outcome } => {
                let vertex = self.entry(*id);
                vertex.started.get_or_insert(*at);
                vertex.completed = Some(*at);
                vertex.outcome = Some(outcome.clone());
            }
            Event::Miss { id, cause } => self.entry(*id).miss = Some(cause.clone()),
            Event::Log { id, data, .. } => {
                let vertex = self.entry(*id);
                let Vertex { lines, tail, .. } = vertex;
                lines.push(data, false, |line| {
                    if tail.len() == TAIL {
                        tail.pop_front();
                    }
                    tail.push_back(line);
                });
            }
            Event::Progress { id, item, current, total, done } => {
                let vertex = self.entry(*id);
                let found = match vertex.items.iter().position(|known| known.name == *item) {
                    Some(found) => found,
                    None => {
                        vertex.items.push(Item {
                            name: one_line(item),
                            current: 0,
                            total: None,
                            started: at,
                            completed: None,
                        });
                        vertex.items.len() - 1
                    }
                };
                if let Some(item) = vertex.items.get_mut(found) {
                    item.current = *current;
                    item.total = *total;
                    item.completed = done.then_some(at);
                }
            }
            Event::Span { id, phase, detail, started, ended } => self.spans.push(Span {
                vertex: *id,
                phase: *phase,
                detail: one_line(detail),
                started: *started,
                ended: *ended,
            }),
            Event::Warning { message, .. } => self.warnings.push(one_line(message)),
        }
    }

    fn entry(&mut self, id: VertexId) -> &mut Vertex {
        let at = *self.index.entry(id).or_insert_with(|| {
            self.vertices.push(Vertex {
                id,
                name: format!("step {id}"),
                stage: None,
                inputs: Vec::new(),
                started: None,
                completed: None,
                outcome: None,
                miss: None,
                items: Vec::new(),
                tail: VecDeque::new(),
                lines: Lines::default(),
            });
            self.vertices.len() - 1
        });
        &mut self.vertices[at]
    }
}

/// Names come from Dockerfiles: they are cleaned like output.
fn one_line(text: &str) -> String {
    super::sanitize::clean(text.replace(['\n', '\r'], " ").as_bytes(), false)
}
