//! The log of a job: one text for all its steps, each line with its time.
//!
//! ```text
//! 2026-11-21T10:00:01.1234567Z ##[group]Run make
//! 2026-11-21T10:00:01.1234567Z make
//! 2026-11-21T10:00:01.1240000Z ##[endgroup]
//! 2026-11-21T10:00:02.5000000Z ##[error]Process completed with exit code 2.
//! ```
//!
//! Nothing says which step a line belongs to; steps say when they began and ended, to the second. So a step's lines are
//! those of its time, and the first and last second may hold lines of its neighbours: what stands before the step's
//! own `##[group]Run` in its first second is left out.
use super::run::Step;
use jiff::Timestamp;
use std::io::{BufRead, BufReader, Read};

/// The longest line that is kept whole.
const LONGEST: u64 = 64 << 10;

/// Reads lines, each of at most 64 KiB; what is longer is cut.
pub(super) fn lines(reader: impl Read, line: &mut dyn FnMut(&str)) -> std::io::Result<()> {
    let mut reader = BufReader::new(reader);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if (&mut reader).take(LONGEST).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(());
        }
        if !bytes.ends_with(b"\n") {
            skip(&mut reader)?;
        }
        let text = String::from_utf8_lossy(&bytes);
        line(text.trim_end_matches(['\n', '\r']).trim_start_matches('\u{feff}'));
    }
}

/// To the end of the line.
fn skip(reader: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        let (length, end) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        reader.consume(length);
        if end {
            return Ok(());
        }
    }
}

/// A line's time and text.
#[must_use]
pub fn split(line: &str) -> (Option<Timestamp>, &str) {
    match line.split_once(' ') {
        Some((time, text)) if time.len() >= 20 && time.ends_with('Z') => match time.parse() {
            Ok(time) => (Some(time), text),
            Err(_) => (None, line),
        },
        _ => (None, line),
    }
}

/// A line for people: GitHub's marks as words, colours only where wanted, no other control characters.
#[must_use]
pub fn readable(text: &str, colour: bool) -> Option<String> {
    let marks = [
        ("##[error]", "error: "),
        ("##[warning]", "warning: "),
        ("##[notice]", "notice: "),
        ("##[group]", "▸ "),
        ("##[command]", "$ "),
        ("##[debug]", "debug: "),
        ("##[section]", ""),
    ];
    if text == "##[endgroup]" || text == "##[add-matcher]" {
        return None;
    }
    let (before, text) =
        marks.iter().find_map(|(mark, word)| Some((*word, text.strip_prefix(mark)?))).unwrap_or(("", text));
    let mut out = String::from(before);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' if rest.peek() == Some(&'[') => {
                let mut sequence = String::new();
                for c in rest.by_ref() {
                    sequence.push(c);
                    if c.is_ascii_alphabetic() {
                        break;
                    }
                }
                if colour && sequence.ends_with('m') {
                    out.push('\u{1b}');
                    out.push_str(&sequence);
                }
            }
            '\t' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    Some(out)
}

/// Picks the lines of one step out of its job's log.
#[derive(Debug)]
pub struct Slice {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    /// Lines of the step's first second, until its own beginning is seen.
    first: Vec<String>,
    begun: bool,
    /// Whether the last line with a time is the step's.
    inside: bool,
    over: bool,
}

impl Slice {
    /// For the lines of `step`; all lines where it has no times.
    #[must_use]
    pub fn new(step: &Step) -> Self {
        let begun = step.started.is_none();
        Self { from: step.started, to: step.completed, first: Vec::new(), begun, inside: begun, over: false }
    }

    /// Takes a line of the log; gives lines of the step to `out`. A line without a time goes where the one before it went.
    pub fn line(&mut self, line: &str, out: &mut dyn FnMut(&str)) {
        let (time, text) = split(line);
        let second = time.map(|time| time.as_second());
        let (from, to) = (self.from.map(|t| t.as_second()), self.to.map(|t| t.as_second()));
        let opens = text.starts_with("##[group]Run ");
        if let Some(second) = second {
            let after = to.is_some_and(|to| second > to);
            // The next step's beginning, in this one's last second.
            let next = self.begun && opens && Some(second) == to && from != to;
            if after || next {
                self.over = true;
                self.finish(out);
            }
            self.inside = !self.over && from.is_none_or(|from| second >= from);
        }
        if !self.inside {
            return;
        }
        if self.begun || opens {
            self.first.clear();
            self.begun = true;
            return out(line);
        }
        self.first.push(line.to_owned());
        if self.first.len() > 200 || second.is_some_and(|second| Some(second) != from) {
            self.finish(out);
        }
    }

    /// After the last line.
    pub fn finish(&mut self, out: &mut dyn FnMut(&str)) {
        for line in self.first.drain(..) {
            out(&line);
        }
        self.begun = true;
    }
}

#[cfg(test)]
mod tests {
    use super::super::run::Job;
    use super::*;
    use serde_json::json;

    const LOG: &str = "\u{feff}2026-11-21T10:00:00.1Z ##[group]Run checkout\n2026-11-21T10:00:02.0Z checked out\n\
        2026-11-21T10:00:02.2Z ##[group]Run make\n2026-11-21T10:00:02.3Z cc a.c\n  goes on\n\
        2026-11-21T10:00:04.5Z ##[error]exit code 2\n2026-11-21T10:00:04.6Z ##[group]Run upload\n2026-11-21T10:00:05.0Z sent\n";

    fn slice(from: &str, to: &str) -> Vec<String> {
        let job = json!({ "id": 1, "steps": [{ "number": 2, "started_at": format!("2026-11-21T10:00:{from}Z"), "completed_at": format!("2026-11-21T10:00:{to}Z") }] });
        let mut slice = Slice::new(&Job::read(&job).unwrap().steps[0]);
        let mut out = Vec::new();
        let mut keep = |line: &str| out.push(split(line).1.to_owned());
        lines(LOG.as_bytes(), &mut |line| slice.line(line, &mut keep)).unwrap();
        slice.finish(&mut keep);
        out
    }

    #[test]
    fn the_lines_of_a_step() {
        assert_eq!(slice("02", "04"), ["##[group]Run make", "cc a.c", "  goes on", "##[error]exit code 2"]);
        assert_eq!(slice("00", "02"), ["##[group]Run checkout", "checked out"]);
        assert_eq!(slice("30", "31"), [""; 0]);
    }

    #[test]
    fn lines_for_people() {
        assert_eq!(
            readable("##[error]\u{1b}[31mred\u{1b}[0m\u{7}\u{1b}]0;t", false).as_deref(),
            Some("error: red]0;t")
        );
        assert_eq!(readable("\u{1b}[31mred\u{1b}[2J", true).as_deref(), Some("\u{1b}[31mred"));
        assert_eq!(readable("##[endgroup]", false), None);
        let mut seen = Vec::new();
        let long = format!("{}\nnext", "x".repeat(200_000));
        lines(long.as_bytes(), &mut |line| seen.push(line.len())).unwrap();
        assert_eq!(seen, [65536, 4]);
    }
}
