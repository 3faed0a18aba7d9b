//! New YAML documents from JSON values: block style, two spaces, keys in the order of the value, one spelling for each
//! value. The same value always gives the same bytes.
use super::scalar;
use serde_json::Value;
use std::fmt::Write as _;

/// One document, with a line break at its end and without `---`.
pub fn document(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => mapping(&mut out, map, 0, false),
        Value::Array(items) if !items.is_empty() => sequence(&mut out, items, 0),
        _ => {
            inline(&mut out, value, 0);
            out.push('\n');
        }
    }
    out
}

/// Documents with `---` between them, under a comment of one or more lines.
pub fn stream(comment: &str, values: &[Value]) -> String {
    let mut out: String = comment.lines().map(|line| format!("# {line}\n")).collect();
    for value in values {
        out.push_str("---\n");
        out.push_str(&document(value));
    }
    out
}

fn mapping(out: &mut String, map: &serde_json::Map<String, Value>, indent: usize, first_inline: bool) {
    for (number, (key, value)) in map.iter().enumerate() {
        let pad = if number == 0 && first_inline { 0 } else { indent };
        let _ = write!(out, "{:pad$}{}:", "", key_text(key));
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                mapping(out, inner, indent + 2, false);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                sequence(out, items, indent);
            }
            _ => {
                out.push(' ');
                inline(out, value, indent + 2);
                out.push('\n');
            }
        }
    }
}

fn sequence(out: &mut String, items: &[Value], indent: usize) {
    for item in items {
        let _ = write!(out, "{:indent$}- ", "");
        match item {
            Value::Object(map) if !map.is_empty() => mapping(out, map, indent + 2, true),
            // A list in a list is rare in what is written here: JSON is YAML.
            Value::Array(inner) if !inner.is_empty() => {
                let _ = writeln!(out, "{item}");
            }
            _ => {
                inline(out, item, indent + 2);
                out.push('\n');
            }
        }
    }
}

fn inline(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::String(text) => string(out, text, indent),
        // Empty collections, numbers, truth values and null are written as in JSON.
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

fn key_text(key: &str) -> String {
    if scalar::plain(key) { key.to_owned() } else { Value::from(key).to_string() }
}

fn string(out: &mut String, text: &str, indent: usize) {
    let lines = || text.lines();
    let literal = text.contains('\n')
        && !text.starts_with([' ', '\n'])
        && !text.ends_with("\n\n")
        && lines().all(|line| !line.ends_with(' ') && !line.chars().any(char::is_control));
    if literal {
        out.push_str(if text.ends_with('\n') { "|" } else { "|-" });
        for line in lines() {
            let pad = if line.is_empty() { 0 } else { indent };
            let _ = write!(out, "\n{:pad$}{line}", "");
        }
    } else if scalar::plain(text) {
        out.push_str(text);
    } else {
        // JSON's quoting is YAML's.
        out.push_str(&Value::from(text).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents() {
        let value = json!({
            "a": 1, "b c": true, "on": "off", "s": "x: y", "t": "1.10", "m": "one\n  two\n", "o": "one\ntwo", "q": "é\u{7}",
            "l": [{ "x": [], "w": {} }, "z", null, [1, [2]]], "e": { "f": { "g": "" } }, "k": "a\n\n",
        });
        let text = document(&value);
        assert_eq!(
            text,
            "a: 1\nb c: true\n\"on\": \"off\"\ns: \"x: y\"\nt: \"1.10\"\nm: |\n  one\n    two\no: |-\n  one\n  two\n\
             q: \"é\\u0007\"\nl:\n- x: []\n  w: {}\n- z\n- null\n- [1,[2]]\ne:\n  f:\n    g: \"\"\nk: \"a\\n\\n\"\n"
        );
        assert_eq!(stream("hello\nyou", &[json!({"a": 1}), json!([])]), "# hello\n# you\n---\na: 1\n---\n[]\n");
        let read = crate::yaml::tree::parse(&text).unwrap();
        let root = &read.documents[0];
        assert_eq!(root.get("m").unwrap().scalar(), Some("one\n  two\n"));
        assert_eq!(root.get("o").unwrap().scalar(), Some("one\ntwo"));
        assert_eq!(root.get("k").unwrap().scalar(), Some("a\n\n"));
        assert_eq!(root.get("on").unwrap().scalar(), Some("off"));
    }
}
