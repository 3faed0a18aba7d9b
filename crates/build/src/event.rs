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

/// Kinds of work that take time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Listing the files of a context or of another source.
    Scan,
    /// Reading files for a key.
    Hash,
    /// Downloading.
    Pull,
    /// Unpacking a layer, or reading its table of contents; as it comes in where it is downloaded.
    Unpack,
    /// A command.
    Run,
    /// Finding out what a command changed.
    Diff,
    /// Writing the layer of COPY, ADD or WORKDIR, compressed where it is exported so.
    Write,
    /// Packing and compressing a step's layer.
    Compress,
    /// Uploading.
    Push,
}

impl Phase {
    /// All of them, in the order in which a build comes to them.
    pub const ALL: [Self; 9] = [
        Self::Scan,
        Self::Hash,
        Self::Pull,
        Self::Unpack,
        Self::Run,
        Self::Diff,
        Self::Write,
        Self::Compress,
        Self::Push,
    ];

    /// One word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::Hash => "hash",
            Self::Pull => "pull",
            Self::Unpack => "unpack",
            Self::Run => "run",
            Self::Diff => "diff",
            Self::Write => "write",
            Self::Compress => "compress",
            Self::Push => "push",
        }
    }
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
    /// Work of a kind that is over, for traces. May belong to no vertex: what is done in the background.
    Span {
        /// Which.
        id: Option<VertexId>,
        /// What was done.
        phase: Phase,
        /// To what: a command, a layer, a directory. One line.
        detail: String,
        /// When it began.
        started: SystemTime,
        /// When it ended.
        ended: SystemTime,
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

    /// Work that begins now and ends when the guard is dropped.
    pub(crate) fn span(&self, id: Option<VertexId>, phase: Phase, detail: impl Into<String>) -> SpanGuard<'_> {
        SpanGuard { events: self, id, phase, detail: detail.into(), started: SystemTime::now() }
    }

    /// Hands over one event.
    pub fn send(&self, event: Event) {
        (self.0)(event);
    }
}

/// Reports a span when it is dropped.
#[must_use]
pub(crate) struct SpanGuard<'a> {
    events: &'a Events,
    id: Option<VertexId>,
    phase: Phase,
    detail: String,
    started: SystemTime,
}

impl Drop for SpanGuard<'_> {
    fn drop(&mut self) {
        self.events.send(Event::Span {
            id: self.id,
            phase: self.phase,
            detail: std::mem::take(&mut self.detail),
            started: self.started,
            ended: SystemTime::now(),
        });
    }
}
