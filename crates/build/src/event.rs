//! What happens during a build, as typed events that flow one way to one reporter.
//!
//! A *vertex* is one line of the progress display: a step of the graph, a pull, an export. Its
//! number is stable within one build. Every vertex that starts also ends (`Completed`), unless the
//! whole build is killed.
use std::sync::Arc;
use std::time::SystemTime;

/// Number of a vertex within a build.
pub type VertexId = usize;

/// Which stream a log line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a vertex ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It did its work.
    Done,
    /// Its result was in the cache.
    Cached,
    /// It failed; the text is one line.
    Failed(String),
    /// The build ended before it was finished (Ctrl-C, or another step failed).
    Canceled,
}

/// One event.
#[derive(Debug, Clone)]
pub enum Event {
    /// A vertex exists. `name` is what BuildKit prints: `[stage 2/5] RUN make`,
    /// `[internal] load build definition from Dockerfile`, `exporting to image`.
    Vertex {
        /// Its number.
        id: VertexId,
        /// Its name, one line.
        name: String,
        /// The stage it belongs to: rows of one stage are kept together.
        stage: Option<String>,
        /// The vertices that it waits for.
        inputs: Vec<VertexId>,
    },
    /// It began to work.
    Started {
        /// Which.
        id: VertexId,
        /// When.
        at: SystemTime,
    },
    /// It ended.
    Completed {
        /// Which.
        id: VertexId,
        /// When.
        at: SystemTime,
        /// How.
        outcome: Outcome,
    },
    /// The result of a step is not in the cache: it will be done. Comes between `Started` and `Completed`.
    Miss {
        /// Which.
        id: VertexId,
        /// Why.
        cause: crate::history::Cause,
    },
    /// Output of a step, any bytes, not cut at line ends.
    Log {
        /// Which.
        id: VertexId,
        /// From where.
        stream: Stream,
        /// The bytes.
        data: Vec<u8>,
    },
    /// Progress of something below a vertex: a layer's download, a push, an extraction.
    /// The same `item` is reported again as it moves on.
    Progress {
        /// Which.
        id: VertexId,
        /// What: `sha256:… pulling`, `exporting layers`.
        item: String,
        /// Bytes (or files) so far.
        current: u64,
        /// Of how many, where that is known.
        total: Option<u64>,
        /// Whether it is finished.
        done: bool,
    },
    /// Something that the user should know but that does not fail the build.
    Warning {
        /// The vertex it is about.
        id: Option<VertexId>,
        /// One line.
        message: String,
    },
}

/// Where events go. Cheap to clone; may be called from any thread.
#[derive(Clone)]
pub struct Events(Arc<dyn Fn(Event) + Send + Sync>);

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}

impl Events {
    /// Events that are handed to `sink`, in the order in which they happen per vertex.
    pub fn new(sink: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink))
    }

    /// Events that nobody looks at.
    #[must_use]
    pub fn none() -> Self {
        Self::new(|_| {})
    }

    /// Hands over one event.
    pub fn send(&self, event: Event) {
        (self.0)(event);
    }
}
