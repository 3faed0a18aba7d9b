//! Physical lines joined to logical ones, with the way back to the source.
//!
//! A logical line is one instruction: its continuation lines are glued together without the escape
//! character, the line breaks, the comment lines and the empty lines between them. [`Logical`] remembers
//! which byte came from where.
use crate::{Span, ast::Text};
use std::ops::Range;

/// The blanks that separate arguments (not every Unicode blank does).
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{b}' | '\u{c}' | '\r')
}

/// An instruction's text with its continuation lines joined.
#[derive(Debug, Default)]
pub(super) struct Logical {
    text: String,
    /// `(offset in text, offset in source)` of each piece, ascending.
    pieces: Vec<(usize, usize)>,
}

impl Logical {
    /// Adds a piece of the source.
    pub(super) fn push(&mut self, piece: &str, source_offset: usize) {
        self.pieces.push((self.text.len(), source_offset));
        self.text.push_str(piece);
    }

    /// The whole line.
    pub(super) fn slice(&self) -> Slice<'_> {
        Slice { line: self, range: 0..self.text.len() }
    }

    /// Where a range of the joined text stands in the source.
    fn span(&self, range: Range<usize>) -> Span {
        // A piece that starts at the offset holds the byte behind it; an end belongs to the byte before.
        let at = |offset: usize, piece: usize| match piece.checked_sub(1).and_then(|i| self.pieces.get(i)) {
            Some((text, source)) => source + (offset - text),
            None => offset,
        };
        let start = at(range.start, self.pieces.partition_point(|(text, _)| *text <= range.start));
        if range.is_empty() {
            return Span { start, end: start };
        }
        Span { start, end: at(range.end, self.pieces.partition_point(|(text, _)| *text < range.end)) }
    }
}

/// A part of a logical line.
#[derive(Debug, Clone)]
pub(super) struct Slice<'a> {
    line: &'a Logical,
    /// Which bytes of the joined text.
    range: Range<usize>,
}

impl<'a> Slice<'a> {
    pub(super) fn as_str(&self) -> &'a str {
        &self.line.text[self.range.clone()]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    pub(super) fn span(&self) -> Span {
        self.line.span(self.range.clone())
    }

    /// The text as it stands, with its place.
    pub(super) fn text(&self) -> Text {
        Text { value: self.as_str().to_owned(), span: self.span() }
    }

    /// A part of this part.
    pub(super) fn sub(&self, range: Range<usize>) -> Slice<'a> {
        let start = self.range.start;
        Slice { line: self.line, range: start + range.start..start + range.end }
    }

    pub(super) fn trim(&self) -> Slice<'a> {
        let text = self.as_str();
        let start = text.len() - text.trim_start().len();
        self.sub(start..start.max(text.trim_end().len()))
    }

    /// Splits at the first run of blanks.
    pub(super) fn split_once_blank(&self) -> (Slice<'a>, Slice<'a>) {
        let text = self.as_str();
        let end = text.find(is_blank).unwrap_or(text.len());
        let rest = text[end..].find(|c| !is_blank(c)).map_or(text.len(), |i| end + i);
        (self.sub(0..end), self.sub(rest..text.len()))
    }

    /// Splits at every run of blanks; no empty parts.
    pub(super) fn split_blanks(&self) -> Vec<Slice<'a>> {
        let mut parts = Vec::new();
        let mut rest = self.clone();
        while !rest.is_empty() {
            let (part, after) = rest.split_once_blank();
            if !part.is_empty() {
                parts.push(part);
            }
            rest = after;
        }
        parts
    }
}

/// One line of the source with its line break.
#[derive(Debug, Clone, Copy)]
pub(super) struct Physical<'a> {
    /// The line without `\n` and the `\r`s before it.
    pub(super) text: &'a str,
    /// Where it starts.
    pub(super) start: usize,
    /// Where the next one starts.
    pub(super) next: usize,
}

impl Physical<'_> {
    /// Whether only a comment stands on it.
    pub(super) fn is_comment(&self) -> bool {
        self.text.trim_start().starts_with('#')
    }

    /// Whether nothing stands on it.
    pub(super) fn is_empty(&self) -> bool {
        self.text.trim_start().is_empty()
    }
}

/// Reads a source line by line.
#[derive(Debug, Clone)]
pub(super) struct Lines<'a> {
    source: &'a str,
    at: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(source: &'a str) -> Lines<'a> {
        let at = if source.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Lines { source, at }
    }

    /// Where the next line starts.
    pub(super) fn offset(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Physical<'a>;

    fn next(&mut self) -> Option<Physical<'a>> {
        let start = self.at;
        if start == self.source.len() {
            return None;
        }
        let rest = &self.source[start..];
        let next = rest.find('\n').map_or(self.source.len(), |i| start + i + 1);
        self.at = next;
        Some(Physical { text: self.source[start..next].trim_end_matches(['\n', '\r']), start, next })
    }
}

/// A line without its continuation character; `None` where it has none. An escape character before it
/// makes it an ordinary one.
pub(super) fn continued(text: &str, escape: char) -> Option<&str> {
    let line = text.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!line.ends_with(escape)).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_lead_back_to_the_source() {
        let source = "RUN a \\\n# comment\n  b";
        let mut line = Logical::default();
        line.push(&source[0..6], 0);
        line.push(&source[18..21], 18);
        let whole = line.slice();
        assert_eq!(whole.as_str(), "RUN a   b");
        assert_eq!(whole.span(), Span::new(0, 21));
        let words = whole.split_blanks();
        assert_eq!(words.iter().map(Slice::as_str).collect::<Vec<_>>(), ["RUN", "a", "b"]);
        assert_eq!(words[2].span().text(source), "b");
        assert_eq!(whole.sub(0..6).span(), Span::new(0, 6));
        assert_eq!(whole.sub(6..6).span(), Span::new(18, 18));
    }

    #[test]
    fn continuation_characters() {
        assert_eq!(continued("a \\ \t", '\\'), Some("a "));
        assert_eq!(continued("\\", '\\'), Some(""));
        assert_eq!(continued("a \\\\", '\\'), None, "an escaped escape character");
        assert_eq!(continued("a `", '`'), Some("a "));
        assert_eq!(continued("a \\", '`'), None);
    }
}
