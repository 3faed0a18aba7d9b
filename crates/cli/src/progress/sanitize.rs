//! Output of steps, made harmless for a terminal.
//!
//! A step may print anything: cursor movements, window titles, half of an escape sequence. What
//! is left is text and, where asked for, colours. A carriage return begins the line anew, as
//! it does on a terminal, so that progress bars show their last state.

/// Cuts a stream of bytes into clean lines. A line longer than 64 KiB is cut there.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
}

const LONGEST: usize = 64 << 10;

impl Lines {
    /// Takes bytes and calls `each` with every line that is complete.
    pub(crate) fn push(&mut self, mut data: &[u8], colour: bool, mut each: impl FnMut(String)) {
        while let Some(end) = data.iter().position(|b| *b == b'\n') {
            self.partial.extend_from_slice(&data[..end]);
            each(clean(&self.partial, colour));
            self.partial.clear();
            data = &data[end + 1..];
        }
        self.partial.extend_from_slice(data);
        while self.partial.len() > LONGEST {
            // Keep characters whole.
            let mut end = LONGEST;
            while end > LONGEST - 4 && self.partial[end] & 0xc0 == 0x80 {
                end -= 1;
            }
            let rest = self.partial.split_off(end);
            each(clean(&self.partial, colour));
            self.partial = rest;
        }
    }

    /// The line that has no end yet.
    pub(crate) fn partial(&self, colour: bool) -> Option<String> {
        (!self.partial.is_empty()).then(|| clean(&self.partial, colour))
    }

    /// Takes the line that has no end.
    pub(crate) fn take(&mut self, colour: bool) -> Option<String> {
        let line = self.partial(colour);
        self.partial.clear();
        line
    }
}

/// One line without control sequences; with `colour` those that set colours stay, and are reset at
/// the end of the line.
pub(crate) fn clean(line: &[u8], colour: bool) -> String {
    let text = String::from_utf8_lossy(line);
    let mut out = String::with_capacity(text.len());
    let (mut column, mut coloured, mut restart) = (0usize, false, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' => restart = true,
            '\x1b' => match chars.next() {
                Some('[') => control_sequence(&mut chars, &mut out, colour, &mut coloured),
                Some(']' | 'P' | 'X' | '^' | '_') => control_string(&mut chars),
                Some(' '..='/') => {
                    while chars.next_if(|c| (' '..='/').contains(c)).is_some() {}
                    chars.next();
                }
                _ => {}
            },
            '\u{9b}' => control_sequence(&mut chars, &mut out, colour, &mut coloured),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => control_string(&mut chars),
            '\t' => {
                begin(&mut restart, &mut out, &mut column);
                let stop = 8 - column % 8;
                out.extend(std::iter::repeat_n(' ', stop));
                column += stop;
            }
            '\x08' => {
                if out.chars().next_back().is_some_and(|last| last != 'm' || !coloured) {
                    out.pop();
                    column = column.saturating_sub(1);
                }
            }
            c if c.is_control() || is_invisible(c) => {}
            c => {
                begin(&mut restart, &mut out, &mut column);
                out.push(c);
                column += 1;
            }
        }
    }
    if coloured {
        out.push_str("\x1b[0m");
    }
    out
}

/// A carriage return takes effect when something follows it: `100%\r\n` keeps its text.
fn begin(restart: &mut bool, out: &mut String, column: &mut usize) {
    if std::mem::take(restart) {
        out.clear();
        *column = 0;
    }
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn control_sequence(chars: &mut Chars<'_>, out: &mut String, colour: bool, coloured: &mut bool) {
    let mut parameters = String::new();
    while let Some(c) = chars.next_if(|c| (' '..='?').contains(c)) {
        parameters.push(c);
    }
    let last = chars.next_if(|c| ('@'..='~').contains(c));
    if last == Some('m') && colour && parameters.bytes().all(|b| b.is_ascii_digit() || b == b';' || b == b':') {
        out.push_str("\x1b[");
        out.push_str(&parameters);
        out.push('m');
        *coloured = true;
    }
}

/// Up to BEL or ESC \.
fn control_string(chars: &mut Chars<'_>) {
    while let Some(c) = chars.next() {
        match c {
            '\x07' | '\u{9c}' => return,
            '\x1b' => {
                chars.next_if_eq(&'\\');
                return;
            }
            _ => {}
        }
    }
}

/// Marks that turn the direction of text or break lines: they would disguise what is printed.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_text_gets_through() {
        let table: &[(&str, &str)] = &[
            ("plain", "plain"),
            ("a\x1b[2J\x1b[1;1Hb\x1b[31mred\x1b[0m", "abred"),
            ("\x1b]0;title\x07x\x1b]8;;http://e\x1b\\link\x1b]8;;\x1b\\", "xlink"),
            ("\x1b(B\x1b=\x1b7x\x1bcy", "xy"),
            ("10%\r50%\r100%\r", "100%"),
            ("long text\rab", "ab"),
            ("a\tb", "a       b"),
            ("ab\x08c\x07\x00", "ac"),
            ("\u{9b}2Jx\u{9d}t\u{9c}y", "xy"),
            ("a\u{202e}b\u{2028}c", "abc"),
            ("\x1b[", ""),
            ("\x1b]never ends", ""),
            ("日本\u{301}", "日本\u{301}"),
        ];
        for (given, expected) in table {
            assert_eq!(clean(given.as_bytes(), false), *expected, "{given:?}");
        }
        assert_eq!(clean(b"\xffok", false), "\u{fffd}ok");
    }

    #[test]
    fn colours_stay_where_asked_for_and_end_with_the_line() {
        assert_eq!(clean(b"\x1b[31mred\x1b[2K", true), "\x1b[31mred\x1b[0m");
        assert_eq!(clean(b"\x1b[?25lx", true), "x");
    }

    #[test]
    fn lines_are_put_together() {
        let mut lines = Lines::default();
        let mut got = Vec::new();
        for part in [&b"a"[..], b"b\nc\xc3", b"\xa9\n", b"rest"] {
            lines.push(part, false, |line| got.push(line));
        }
        assert_eq!(got, ["ab", "cé"]);
        assert_eq!(lines.partial(false).as_deref(), Some("rest"));
        assert_eq!(lines.take(false).as_deref(), Some("rest"));
        assert_eq!(lines.take(false), None);
        lines.push(&vec![b'x'; 200_000], false, |line| got.push(line));
        assert_eq!(got[2].len(), LONGEST);
    }
}
