//! The Dockerfile language: parser with spans, expansion, `.dockerignore`, lint rules. Pure: no I/O.
//!
//! The way through: [`parse()`] turns a source text into a tree of [`ast`] types in which variables and
//! quotes are still as written; [`expand::Expander`] expands them one word at a time with the
//! environment of the moment; [`ignore::Ignore`] and [`glob`] decide which files an instruction sees;
//! [`lint`] judges style. Everything that can be wrong is reported as a [`Diagnostic`], which is plain
//! data with byte spans; nothing here prints.
#![forbid(unsafe_code)]
pub mod ast;
pub mod bases;
pub mod call;
pub mod diagnostic;
pub mod eval;
pub mod expand;
pub mod glob;
pub mod ignore;
pub mod line_index;
pub mod lint;
pub mod mount;
pub mod parse;
pub mod platform;
pub mod ports;
pub mod reference;
pub mod suggest;

pub use diagnostic::{Diagnostic, Label, Severity};
pub use line_index::{LineCol, LineIndex};
pub use parse::{Parsed, parse, parse_trigger};

/// A range of bytes in the source text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, serde::Serialize)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The range `start..end`.
    pub fn new(start: usize, end: usize) -> Span {
        Span { start, end }
    }

    /// The smallest span that holds both.
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// The text of the span; empty where it does not fit the source.
    pub fn text(self, source: &str) -> &str {
        source.get(self.start..self.end).unwrap_or_default()
    }
}
