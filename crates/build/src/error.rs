//! The one error of a build: what failed, where in the Dockerfile, why, and what to do.
use dockerfile::Span;
use std::fmt;
use std::path::Path;

/// What kind of failure it is. The command line maps it to an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A flag, a path, a reference that cannot be used.
    Input,
    /// The Dockerfile, or what it asks of the context.
    Dockerfile,
    /// A RUN step ended with a failure.
    Step,
    /// A registry or another server.
    Remote,
    /// The store, the disk, the kernel.
    Io,
    /// The user stopped the build.
    Canceled,
}

/// How a RUN step ended that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFailure {
    /// The vertex' name.
    pub name: String,
    /// The command, as it was run.
    pub command: String,
    /// Its exit code, or 128 and the signal's number.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The last of its output.
    pub log_tail: Vec<u8>,
}

/// A build that failed.
#[derive(Debug)]
pub struct BuildError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    message: String,
    span: Option<Span>,
    hints: Vec<String>,
    step: Option<StepFailure>,
    diagnostics: Option<Box<Diagnostics>>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A Dockerfile that could not be parsed: everything that is wrong with it.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    /// The file's name, as the user knows it.
    pub file: String,
    /// Its text.
    pub source: String,
    /// What is wrong.
    pub list: Vec<dockerfile::Diagnostic>,
}

/// Shorthand.
pub type Result<T> = std::result::Result<T, BuildError>;

impl BuildError {
    /// An error with a message of one line.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            span: None,
            hints: Vec::new(),
            step: None,
            diagnostics: None,
            source: None,
        }))
    }

    /// A system call that failed, with what was tried on which path.
    pub fn io(verb: &str, path: impl AsRef<Path>, error: impl Into<std::io::Error>) -> Self {
        let error = error.into();
        let mut this = Self::new(Kind::Io, format!("cannot {verb} {}: {}", path.as_ref().display(), plain(&error)));
        if error.kind() == std::io::ErrorKind::StorageFull {
            this = this.hint("free space on that volume, or choose another place with --root");
        }
        this
    }

    /// Marks the place in the Dockerfile, unless one is marked already.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.0.span.get_or_insert(span);
        self
    }

    /// Marks the place in the Dockerfile, whatever was marked before.
    #[must_use]
    pub(crate) fn moved_to(mut self, span: Span) -> Self {
        self.0.span = Some(span);
        self
    }

    /// Adds what the user can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    /// Adds how a step ended.
    #[must_use]
    pub fn with_step(mut self, step: StepFailure) -> Self {
        self.0.step = Some(step);
        self
    }

    /// Adds what the parser found.
    #[must_use]
    pub fn with_diagnostics(mut self, diagnostics: Diagnostics) -> Self {
        self.0.diagnostics = Some(Box::new(diagnostics));
        self
    }

    /// Adds the error below this one.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Puts words in front of the message.
    #[must_use]
    pub fn context(mut self, words: impl fmt::Display) -> Self {
        self.0.message = format!("{words}: {}", self.0.message);
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }
    /// The message, one line.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }
    /// The place in the Dockerfile.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        self.0.span
    }
    /// What the user can do.
    #[must_use]
    pub fn hints(&self) -> &[String] {
        &self.0.hints
    }
    /// How the step ended, where a step failed.
    #[must_use]
    pub fn step(&self) -> Option<&StepFailure> {
        self.0.step.as_ref()
    }
    /// What the parser found, where the Dockerfile could not be parsed.
    #[must_use]
    pub fn diagnostics(&self) -> Option<&Diagnostics> {
        self.0.diagnostics.as_deref()
    }
    /// The error of a build that the user stopped.
    #[must_use]
    pub fn canceled() -> Self {
        Self::new(Kind::Canceled, "the build was canceled")
    }
    /// A copy for the other steps that waited for the same thing.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(Box::new(Inner {
            kind: self.0.kind,
            message: self.0.message.clone(),
            span: self.0.span,
            hints: self.0.hints.clone(),
            step: self.0.step.clone(),
            diagnostics: self.0.diagnostics.clone(),
            source: None,
        }))
    }
}

/// The system's words without Rust's number behind them.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|e| e as _)
    }
}
