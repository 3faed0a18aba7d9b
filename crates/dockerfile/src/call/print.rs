//! What the renderings share: Go's JSON, Go's tab writer, BuildKit's source excerpts.
use super::Location;
use crate::LineIndex;
use serde::Serialize;
use std::fmt::Write;

/// `json.MarshalIndent` with two blanks, and a line break behind it.
pub(super) fn json(value: &impl Serialize) -> String {
    // These types hold nothing that cannot be JSON: no maps with other keys than strings.
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut out = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        match c {
            // Go keeps HTML out of JSON.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('\n');
    out
}

/// Rows of cells: every cell but the last of a row is padded to its column's width.
pub(super) fn table<const N: usize>(rows: &[[&str; N]], padding: usize) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count()).filter(|width| *width > 0);
        cells.max().unwrap_or(0) + padding
    };
    let mut out = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < N {
                out.extend(std::iter::repeat_n(' ', width(column).saturating_sub(cell.chars().count())));
            }
        }
        out.push('\n');
    }
    out
}

/// The lines of a location with a few around them, as BuildKit shows them.
pub fn excerpt(file: &str, index: &LineIndex<'_>, location: &Location) -> String {
    let marked = |line: usize| location.ranges.iter().any(|r| r.start.line <= line && line <= r.end.line);
    let (Some(first), Some(last)) = (location.ranges.first(), location.ranges.last()) else { return String::new() };
    let (mut start, mut end) = (first.start.line, last.end.line.min(index.len()));
    if start < 1 || start > index.len() {
        return String::new();
    }
    let mut out = format!("{file}:{start}\n--------------------\n");
    // Both sides get a line in turn until the padding is used up, also where there is nothing left to show.
    let padding = if start == end { 4 } else { 2 };
    let mut used = 0;
    while used < padding {
        if start > 1 {
            start -= 1;
            used += 1;
        }
        if end != index.len() {
            end += 1;
            used += 1;
        }
        used += 1;
    }
    for line in start..=end {
        let mark = if marked(line) { ">>>" } else { "   " };
        let _ = writeln!(out, " {line:3} | {mark} {}", index.text(line));
    }
    out + "--------------------\n"
}

/// Bytes in a JSON text, as Go writes them.
pub(super) fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(text.len().div_ceil(3) * 4);
    for chunk in text.as_bytes().chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}
