//! The one error of the command line: what kind, what happened, why, and what to do next.
use std::fmt;

/// What the process ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// The build or check failed: 1.
    Failed,
    /// A flag, a file or a reference cannot be used: 2.
    Usage,
    /// What was found is not allowed by a policy: 3.
    Refused,
    /// Ctrl-C or a signal: 130.
    Interrupted,
}

impl ErrorKind {
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Interrupted => 130,
        }
    }
}

/// An error as the user sees it.
#[derive(Debug)]
pub(crate) struct CliError {
    pub(crate) kind: ErrorKind,
    /// One sentence without a full stop. Empty where `report` says it all.
    pub(crate) message: String,
    /// A picture that is shown above the message: an excerpt, the end of a log.
    pub(crate) report: Option<String>,
    /// Causes, outermost first.
    pub(crate) causes: Vec<String>,
    /// What to do next.
    pub(crate) hints: Vec<String>,
}

/// Shorthand.
pub(crate) type Result<T> = std::result::Result<T, CliError>;

impl CliError {
    fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), report: None, causes: Vec::new(), hints: Vec::new() }
    }

    /// Wrong usage or input.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// Something failed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, message)
    }

    /// A policy does not allow what was found.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, message)
    }

    /// A failure whose text is on standard output already.
    pub(crate) fn silent() -> Self {
        Self::new(ErrorKind::Failed, "")
    }

    /// The user stopped it.
    pub(crate) fn interrupted() -> Self {
        Self::new(ErrorKind::Interrupted, "interrupted")
    }

    /// A file system call that failed.
    pub(crate) fn io(verb: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::failed(format!("cannot {verb} {}: {}", path.display(), plain_io(error)))
    }

    /// Adds what to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds a picture.
    pub(crate) fn with_report(mut self, report: impl Into<String>) -> Self {
        self.report = Some(report.into());
        self
    }

    /// Adds the causes below an error, without those that the message repeats already.
    pub(crate) fn caused_by(mut self, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            if !self.message.contains(&text) && !self.causes.iter().any(|cause| cause.contains(&text)) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }
}

/// The text of a system error without `(os error 2)`.
pub(crate) fn plain_io(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}
