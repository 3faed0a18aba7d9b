//! Byte offsets to lines and columns.
use crate::Span;
use serde::Serialize;

/// A line and a column, both from 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct LineCol {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

/// The places of a text's line breaks.
#[derive(Debug, Clone)]
pub struct LineIndex<'a> {
    source: &'a str,
    starts: Vec<usize>,
}

impl<'a> LineIndex<'a> {
    /// Finds the lines of a text; a line ends with `\n`.
    pub fn new(source: &'a str) -> LineIndex<'a> {
        let breaks = source.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1);
        LineIndex { source, starts: std::iter::once(0).chain(breaks).collect() }
    }

    /// The line (from 1) that holds a byte.
    pub fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset).max(1)
    }

    /// Line and column of a byte; the end of the text where the offset is beyond it.
    pub fn locate(&self, offset: usize) -> LineCol {
        let offset = self.floor(offset);
        let line = self.line(offset);
        let start = self.starts[line - 1];
        LineCol { line, column: self.source[start..offset].chars().count() + 1 }
    }

    /// First and last line of a span, from 1. An end directly after a line break counts to the line
    /// before it.
    pub fn lines(&self, span: Span) -> (usize, usize) {
        let last = if span.end > span.start { span.end - 1 } else { span.start };
        (self.line(span.start), self.line(last))
    }

    /// The text of a line (from 1) without its line break.
    pub fn text(&self, line: usize) -> &'a str {
        let Some(start) = line.checked_sub(1).and_then(|i| self.starts.get(i)).copied() else { return "" };
        let end = self.starts.get(line).copied().unwrap_or(self.source.len());
        self.source[start..end].trim_end_matches(['\n', '\r'])
    }

    /// The number of lines; a text that ends with a line break has one empty line more.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Never: a text has at least one line.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The span moved into the text and onto character boundaries.
    pub fn clamp(&self, span: Span) -> Span {
        let start = self.floor(span.start);
        Span { start, end: self.floor(span.end).max(start) }
    }

    fn floor(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.source.len());
        while !self.source.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let index = LineIndex::new("FROM é\r\nRUN x\n");
        assert_eq!(index.locate(0), LineCol { line: 1, column: 1 });
        assert_eq!(index.locate(7), LineCol { line: 1, column: 7 });
        assert_eq!(index.locate(6), LineCol { line: 1, column: 6 }, "inside a character: its start");
        assert_eq!(index.locate(9), LineCol { line: 2, column: 1 });
        assert_eq!(index.locate(99), LineCol { line: 3, column: 1 });
        assert_eq!(index.text(1), "FROM é");
        assert_eq!(index.text(4), "");
        assert_eq!(index.lines(Span::new(0, 9)), (1, 1));
        assert_eq!(index.lines(Span::new(0, 10)), (1, 2));
    }
}
