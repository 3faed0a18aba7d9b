//! `--call=check`, `--call=outline`, `--call=targets`: the data and the text and JSON that buildx prints.
//!
//! The texts end with a line break and hold no colours. Where buildx's own order is that of a hash table,
//! ours is that of the source.
mod check;
mod outline;
mod print;
mod targets;

pub use check::CheckResult;
pub use outline::{Outline, OutlineArg, OutlineMount, outline};
pub use print::excerpt;
pub use targets::{Target, Targets, targets};

use crate::{LineIndex, Span};
use serde::Serialize;

/// A place in BuildKit's terms: lines of a source file, each a range of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Location {
    /// One range for each line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Range>,
}

/// A line of a [`Location`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Range {
    /// Its start.
    pub start: Position,
    /// Its end, the same line.
    pub end: Position,
}

/// A line, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Position {
    /// The line.
    pub line: usize,
}

impl Location {
    /// The lines of a span.
    pub fn new(span: Span, index: &LineIndex<'_>) -> Location {
        let (first, last) = index.lines(span);
        let range = |line| Range { start: Position { line }, end: Position { line } };
        Location { ranges: (first..=last).map(range).collect() }
    }

    /// The first line.
    pub fn line(&self) -> usize {
        self.ranges.first().map_or(0, |range| range.start.line)
    }
}

#[cfg(test)]
mod tests;
