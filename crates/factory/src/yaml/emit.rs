//! Tree to text, in block style: what a state file looks like.
use std::fmt::Write;

/// A value to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A text; quoted where YAML would take it for something else.
    Text(String),
    /// A text that is always in single quotes: times, as other tools write them.
    Quoted(String),
    /// A sequence.
    List(Vec<Value>),
    /// A mapping, in this order.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// A text, or null.
    #[must_use]
    pub fn text_or_null(text: Option<&str>) -> Self {
        text.map_or(Self::Null, |text| Self::Text(text.to_owned()))
    }

    /// A quoted text, or null.
    #[must_use]
    pub fn quoted_or_null(text: Option<&str>) -> Self {
        text.map_or(Self::Null, |text| Self::Quoted(text.to_owned()))
    }

    /// The lines of `key: value` at an indentation, each with its line break.
    pub(super) fn entry(&self, key: &str, indent: usize, out: &mut String) {
        let _ = write!(out, "{:indent$}{}:", "", scalar(key));
        match self {
            Self::List(items) if !items.is_empty() => {
                out.push('\n');
                self.block(indent + 2, out);
            }
            Self::Map(entries) if !entries.is_empty() => {
                out.push('\n');
                self.block(indent + 2, out);
            }
            inline => {
                let _ = writeln!(out, " {}", inline.inline());
            }
        }
    }

    /// The lines of the value itself at an indentation.
    pub(super) fn block(&self, indent: usize, out: &mut String) {
        match self {
            Self::Map(entries) if !entries.is_empty() => {
                for (key, value) in entries {
                    value.entry(key, indent, out);
                }
            }
            Self::List(items) if !items.is_empty() => {
                for item in items {
                    item.item(indent, out);
                }
            }
            inline => {
                let _ = writeln!(out, "{:indent$}{}", "", inline.inline());
            }
        }
    }

    fn item(&self, indent: usize, out: &mut String) {
        let nested = matches!(self, Self::Map(e) if !e.is_empty()) || matches!(self, Self::List(i) if !i.is_empty());
        if nested {
            let mut lines = String::new();
            self.block(indent + 2, &mut lines);
            let _ = write!(out, "{:indent$}- {}", "", lines.trim_start_matches(' '));
        } else {
            let _ = writeln!(out, "{:indent$}- {}", "", self.inline());
        }
    }

    pub(super) fn inline(&self) -> String {
        match self {
            Self::Null => "null".into(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Text(text) => scalar(text),
            Self::Quoted(text) => single(text),
            Self::List(_) => "[]".into(),
            Self::Map(_) => "{}".into(),
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = String::new();
        self.block(0, &mut out);
        f.write_str(&out)
    }
}

/// A text as a scalar: plain where every YAML reader (1.1 too) takes it for this text, else quoted.
#[must_use]
pub fn scalar(text: &str) -> String {
    if text.chars().any(|c| c.is_control() || c == '\u{feff}' || c == '\u{2028}' || c == '\u{2029}' || c == '\u{85}') {
        let mut out = String::from("\"");
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                c if c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{85}') => {
                    let _ = write!(out, "\\u{:04x}", u32::from(c));
                }
                c => out.push(c),
            }
        }
        out.push('"');
        return out;
    }
    if is_plain(text) { text.to_owned() } else { single(text) }
}

fn single(text: &str) -> String {
    if text.chars().any(char::is_control) {
        return scalar(text);
    }
    format!("'{}'", text.replace('\'', "''"))
}

fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 12] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", ".nan", ".inf", "-.inf"];
    let Some(first) = text.chars().next() else { return false };
    let second = text.chars().nth(1);
    if "-?:".contains(first) && second.is_none_or(|c| c == ' ') {
        return false;
    }
    if "-,[]{}#&*!|>'\"%@`~=<".contains(first) && !(first == '-' && second.is_some_and(|c| c != '-' && c != ' ')) {
        return false;
    }
    if text.starts_with(' ') || text.ends_with(' ') || text.ends_with(':') {
        return false;
    }
    if text.contains(": ") || text.contains(" #") || text.contains(['\t', '\n']) {
        return false;
    }
    if WORDS.contains(&text.to_lowercase().as_str()) {
        return false;
    }
    !looks_like_a_number(text) && !looks_like_a_date(text)
}

/// Numbers of YAML 1.1 and 1.2: signs, underscores, sexagesimal, hexadecimal, octal, exponents.
fn looks_like_a_number(text: &str) -> bool {
    let bare = text.trim_start_matches(['+', '-']).replace('_', "");
    if bare.is_empty() || !bare.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    if bare.parse::<f64>().is_ok() {
        return true;
    }
    let lower = bare.to_lowercase();
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = lower.strip_prefix(prefix) {
            return !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
        }
    }
    let mut parts = lower.split(':');
    lower.contains(':') && parts.all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

fn looks_like_a_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 8 && bytes[..4].iter().all(u8::is_ascii_digit) && bytes[4] == b'-' && bytes[5].is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Content, parse};

    #[test]
    fn scalars_are_quoted_where_they_must_be() {
        for (text, written) in [
            ("node:22-bookworm-slim", "node:22-bookworm-slim"),
            ("^22-bookworm-slim$", "^22-bookworm-slim$"),
            ("1.10", "'1.10'"),
            ("0.6.2", "0.6.2"),
            ("22", "'22'"),
            ("1e3", "'1e3'"),
            ("12:30", "'12:30'"),
            ("0x1f", "'0x1f'"),
            ("yes", "'yes'"),
            ("", "''"),
            ("a: b", "'a: b'"),
            ("a #b", "'a #b'"),
            ("it's", "it's"),
            ("'q'", "'''q'''"),
            ("- a", "'- a'"),
            ("-a", "-a"),
            ("*x", "'*x'"),
            ("2025-12-01T10:00:00+00:00", "'2025-12-01T10:00:00+00:00'"),
            ("a\nb", "\"a\\nb\""),
            (" a", "' a'"),
            ("7d", "7d"),
        ] {
            assert_eq!(scalar(text), written, "{text:?}");
            let node = parse(&format!("k: {written}\n")).unwrap().unwrap();
            assert_eq!(node.get("k").unwrap().text(), Some(text), "{text:?} comes back");
        }
    }

    #[test]
    fn blocks() {
        let value = Value::Map(vec![
            ("name".into(), Value::Text("a".into())),
            (
                "list".into(),
                Value::List(vec![
                    Value::Text("x".into()),
                    Value::Map(vec![("k".into(), Value::Int(1)), ("l".into(), Value::List(vec![]))]),
                ]),
            ),
            ("none".into(), Value::Null),
            ("at".into(), Value::Quoted("t".into())),
            ("empty".into(), Value::Map(vec![])),
        ]);
        let text = value.to_string();
        assert_eq!(text, "name: a\nlist:\n  - x\n  - k: 1\n    l: []\nnone: null\nat: 't'\nempty: {}\n");
        assert!(matches!(parse(&text).unwrap().unwrap().content, Content::Map(entries) if entries.len() == 5));
    }
}
