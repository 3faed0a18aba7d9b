//! What is wrong with a Dockerfile, as plain data.
//!
//! A diagnostic never holds a file name or a rendered excerpt: the caller knows the file, and the
//! binary draws the picture. [`describe`] computes the lines and columns that a renderer needs.
use crate::{LineCol, LineIndex, Span};
use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; the build goes on.
    Warning,
    /// The build cannot go on.
    Error,
}

/// A second place that belongs to the story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What to say there.
    pub message: String,
}

/// One finding: what, where, why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// A stable identifier in kebab case, such as `unknown-instruction`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// Where.
    pub span: Span,
    /// Other places that matter.
    pub labels: Vec<Label>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic { code, severity: Severity::Error, message: message.into(), span, labels: Vec::new(), help: None }
    }

    /// A warning at a place.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, span, message) }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    /// Adds a second place.
    #[must_use]
    pub fn label(mut self, span: Span, message: impl Into<String>) -> Diagnostic {
        self.labels.push(Label { span, message: message.into() });
        self
    }

    /// Whether this stops the build.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// A place as people and editors count it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Located {
    /// The byte range, clamped to the source and to character boundaries.
    pub span: Span,
    /// Where it starts.
    pub start: LineCol,
    /// Where it ends.
    pub end: LineCol,
    /// What to say there; empty for the diagnostic's own place.
    pub message: String,
}

/// A diagnostic with all that a renderer needs and cannot know by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Described<'a> {
    /// The file's name as it is shown.
    pub file: &'a str,
    /// The identifier.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: &'a str,
    /// Where.
    pub primary: Located,
    /// Other places.
    pub labels: Vec<Located>,
    /// What to do.
    pub help: Option<&'a str>,
}

impl std::fmt::Display for Described<'_> {
    /// `FILE:LINE:COLUMN: severity: message`, the form that editors and log readers know.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let LineCol { line, column } = self.primary.start;
        write!(f, "{}:{line}:{column}: {severity}: {}", self.file, self.message)
    }
}

/// Puts lines and columns to a diagnostic. Spans that do not fit the source are clamped, so that a
/// renderer may slice with them.
pub fn describe<'a>(diagnostic: &'a Diagnostic, index: &LineIndex<'_>, file: &'a str) -> Described<'a> {
    let locate = |span: Span, message: &str| {
        let span = index.clamp(span);
        Located { span, start: index.locate(span.start), end: index.locate(span.end), message: message.to_owned() }
    };
    Described {
        file,
        code: diagnostic.code,
        severity: diagnostic.severity,
        message: &diagnostic.message,
        primary: locate(diagnostic.span, ""),
        labels: diagnostic.labels.iter().map(|l| locate(l.span, &l.message)).collect(),
        help: diagnostic.help.as_deref(),
    }
}
