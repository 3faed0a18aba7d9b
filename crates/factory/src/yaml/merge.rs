//! Brings a file up to a new value line by line: what did not change keeps its bytes.
//!
//! A block mapping is cut into one segment per key: the comment and blank lines above it, the key's
//! line, and everything deeper. A segment whose value is the same is passed on; of others only the
//! value is written anew, and a comment at the end of the line stays. Mappings and lists are gone
//! into. Keys at the top that the new value does not have belong to somebody else and stay; below
//! the top they go.
//!
//! The result is parsed again; should it not say what it must (flow style over several lines, an
//! anchor), the whole value is written anew below the file's first comment.
use super::{Content, Node, Value, parse};

/// The text of `old` changed as little as possible so that it says `new`, which must be a mapping.
/// An empty `old` gives `new` as it is written.
#[must_use]
pub fn update(old: &str, new: &[(String, Value)]) -> String {
    let crlf = old.contains("\r\n");
    let text = old.replace("\r\n", "\n");
    let parsed = parse(&text).ok().flatten();
    let updated = match &parsed {
        Some(node) if matches!(node.content, Content::Map(_)) => {
            let wanted = with_foreign(node, new);
            if same_entries(node, &wanted) {
                return old.to_owned();
            }
            let lines: Vec<&str> = text.lines().collect();
            let mut out = String::new();
            mapping(&lines, 0, node, &wanted, &mut out);
            match parse(&out) {
                Ok(Some(again)) if same_entries(&again, &wanted) => out,
                _ => anew(&text, &wanted),
            }
        }
        _ => anew(&text, new),
    };
    if crlf { updated.replace('\n', "\r\n") } else { updated }
}

/// The comment at the head of the file, and the value.
fn anew(text: &str, entries: &[(String, Value)]) -> String {
    let mut out = String::new();
    for line in text.lines().take_while(|line| line.starts_with('#') || line.trim().is_empty()) {
        out.push_str(line);
        out.push('\n');
    }
    out.push_str(&Value::Map(entries.to_vec()).to_string());
    out
}

/// The new entries with those of the old that the new value says nothing about, each behind the key
/// that it followed.
fn with_foreign(node: &Node, new: &[(String, Value)]) -> Vec<(String, Value)> {
    let mut wanted = new.to_vec();
    let mut before: Option<&str> = None;
    for entry in node.entries() {
        if !wanted.iter().any(|(key, _)| *key == entry.key) {
            let at = before.and_then(|b| wanted.iter().position(|(key, _)| key == b)).map_or(0, |at| at + 1);
            wanted.insert(at, (entry.key.clone(), value_of(&entry.value)));
        }
        before = Some(&entry.key);
    }
    wanted
}

pub(crate) fn value_of(node: &Node) -> Value {
    match &node.content {
        Content::Null => Value::Null,
        Content::Scalar { text, plain: true } if text == "true" => Value::Bool(true),
        Content::Scalar { text, plain: true } if text == "false" => Value::Bool(false),
        Content::Scalar { text, plain: true } => match text.parse::<i64>() {
            Ok(number) if number.to_string() == *text => Value::Int(number),
            _ => Value::Text(text.clone()),
        },
        Content::Scalar { text, plain: false } => Value::Text(text.clone()),
        Content::List(items) => Value::List(items.iter().map(value_of).collect()),
        Content::Map(entries) => Value::Map(entries.iter().map(|e| (e.key.clone(), value_of(&e.value))).collect()),
    }
}

fn same(node: &Node, value: &Value) -> bool {
    match (&node.content, value) {
        (Content::Null, Value::Null) => true,
        (Content::Scalar { text, plain: true }, Value::Bool(value)) => *text == value.to_string(),
        (Content::Scalar { text, plain: true }, Value::Int(value)) => *text == value.to_string(),
        (Content::Scalar { text, .. }, Value::Text(value) | Value::Quoted(value)) => text == value,
        (Content::List(items), Value::List(values)) => {
            items.len() == values.len() && items.iter().zip(values).all(|(item, value)| same(item, value))
        }
        (Content::Map(_), Value::Map(values)) => same_entries(node, values),
        _ => false,
    }
}

/// The order of keys does not matter.
fn same_entries(node: &Node, values: &[(String, Value)]) -> bool {
    node.entries().len() == values.len()
        && values.iter().all(|(key, value)| node.get(key).is_some_and(|node| same(node, value)))
}

/// The lines of one key, or of one item.
struct Segment<'a> {
    key: &'a str,
    /// Comments and blank lines above.
    above: Vec<&'a str>,
    line: &'a str,
    below: Vec<&'a str>,
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn is_filler(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// Cuts lines at those of an indentation that begin a segment; what follows the last goes to `rest`.
fn cut<'a>(lines: &[&'a str], begins: impl Fn(&str) -> bool) -> (Vec<Segment<'a>>, Vec<&'a str>) {
    let mut segments: Vec<Segment<'a>> = Vec::new();
    let mut waiting: Vec<&'a str> = Vec::new();
    for &line in lines {
        if is_filler(line) {
            waiting.push(line);
        } else if begins(line) {
            segments.push(Segment { key: "", above: std::mem::take(&mut waiting), line, below: Vec::new() });
        } else if let Some(last) = segments.last_mut() {
            last.below.append(&mut waiting);
            last.below.push(line);
        } else {
            waiting.push(line);
        }
    }
    (segments, waiting)
}

fn write(out: &mut String, lines: &[&str]) {
    for line in lines {
        out.push_str(line);
        out.push('\n');
    }
}

fn mapping(lines: &[&str], indent: usize, node: &Node, new: &[(String, Value)], out: &mut String) {
    let starts = |line: &str| {
        indent_of(line) == indent
            && !line[indent..].starts_with("- ")
            && &line[indent..] != "-"
            && !line.starts_with("---")
    };
    let (mut segments, rest) = cut(lines, starts);
    if segments.len() != node.entries().len() {
        // Flow style, or not one key a line.
        write(out, &lines.iter().copied().take_while(|line| is_filler(line)).collect::<Vec<_>>());
        Value::Map(new.to_vec()).block(indent, out);
        return;
    }
    for (segment, entry) in segments.iter_mut().zip(node.entries()) {
        segment.key = &entry.key;
    }
    let position = |key: &str| new.iter().position(|(name, _)| name == key);
    // New keys go behind the key that they follow in the new value.
    let mut missing: Vec<usize> = (0..new.len()).filter(|i| node.get(&new[*i].0).is_none()).collect();
    let write_missing = |after: Option<usize>, missing: &mut Vec<usize>, out: &mut String| {
        let mut next = after.map_or(0, |at| at + 1);
        while missing.first() == Some(&next) || missing.contains(&next) {
            new[next].1.entry(&new[next].0, indent, out);
            missing.retain(|i| *i != next);
            next += 1;
        }
    };
    let mut first = true;
    for segment in &segments {
        let Some(at) = position(segment.key) else {
            // Comments above a key that goes stay: they may be a heading.
            if first {
                write(out, &segment.above);
            }
            continue;
        };
        write(out, &segment.above);
        if first {
            write_missing(None, &mut missing, out);
            first = false;
        }
        let (Some(old), value) = (node.get(segment.key), &new[at].1) else { continue };
        changed(segment, indent, old, value, out);
        write_missing(Some(at), &mut missing, out);
    }
    for at in missing {
        new[at].1.entry(&new[at].0, indent, out);
    }
    write(out, &rest);
}

fn changed(segment: &Segment<'_>, indent: usize, old: &Node, value: &Value, out: &mut String) {
    if same(old, value) {
        out.push_str(segment.line);
        out.push('\n');
        write(out, &segment.below);
        return;
    }
    // The value stands below its key: block style.
    let block = segment.line.strip_suffix(comment_of(segment.line)).unwrap_or_default().trim_end().ends_with(':');
    let body_indent = segment.below.iter().filter(|_| block).find(|line| !is_filler(line)).map(|line| indent_of(line));
    match (&old.content, value, body_indent) {
        (Content::Map(_), Value::Map(entries), Some(inner)) if !entries.is_empty() && inner > indent => {
            write(out, &[segment.line]);
            mapping(&segment.below, inner, old, entries, out);
        }
        (Content::List(items), Value::List(values), Some(inner)) if !values.is_empty() && inner >= indent => {
            write(out, &[segment.line]);
            list(&segment.below, inner, items, values, out);
        }
        _ => {
            let mut fresh = String::new();
            value.entry(segment.key, indent, &mut fresh);
            let (head, tail) = fresh.split_once('\n').unwrap_or((&fresh, ""));
            out.push_str(head);
            if segment.below.is_empty() {
                out.push_str(comment_of(segment.line));
            }
            out.push('\n');
            out.push_str(tail);
        }
    }
}

fn list(lines: &[&str], indent: usize, items: &[Node], values: &[Value], out: &mut String) {
    let (segments, rest) = cut(lines, |line| indent_of(line) == indent && line[indent..].starts_with('-'));
    if segments.len() != items.len() {
        Value::List(values.to_vec()).block(indent, out);
        return;
    }
    let mut used = vec![false; items.len()];
    for value in values {
        let found = (0..items.len()).find(|i| !used[*i] && same(&items[*i], value));
        match found {
            Some(i) => {
                used[i] = true;
                write(out, &segments[i].above);
                write(out, &[segments[i].line]);
                write(out, &segments[i].below);
            }
            None => Value::List(vec![value.clone()]).block(indent, out),
        }
    }
    write(out, &rest);
}

/// ` # …` at the end of a `key: value` line, with the blanks before it.
fn comment_of(line: &str) -> &str {
    let (mut single, mut double, mut blank) = (false, false, None);
    for (i, c) in line.char_indices() {
        match c {
            '\'' if !double => single = !single,
            '"' if !single => double = !double,
            '#' if !single && !double => {
                if let Some(start) = blank {
                    return &line[start..];
                }
            }
            _ => {}
        }
        blank = match (c, blank) {
            (' ', Some(start)) => Some(start),
            (' ', None) => Some(i),
            _ => None,
        };
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    fn entries(list: &[(&str, Value)]) -> Vec<(String, Value)> {
        list.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    }

    const OLD: &str = "\
# head
name: a          # who
# about the status
status: pending  # pending | complete
enrollment:
  registry: ghcr.io
  # the source
  source:
    branch: main
    repo: o/r    # here
baseImages:
  - one   # first
  # two is old
  - two
extra: kept
# the end
";

    fn full(status: &str, branch: &str, bases: &[&str]) -> Vec<(String, Value)> {
        let source = entries(&[("branch", text(branch)), ("repo", text("o/r"))]);
        let enrollment = entries(&[("registry", text("ghcr.io")), ("source", Value::Map(source))]);
        entries(&[
            ("name", text("a")),
            ("status", text(status)),
            ("enrollment", Value::Map(enrollment)),
            ("baseImages", Value::List(bases.iter().map(|b| text(b)).collect())),
        ])
    }

    #[test]
    fn the_same_value_changes_no_byte() {
        assert_eq!(update(OLD, &full("pending", "main", &["one", "two"])), OLD);
        let crlf = OLD.replace('\n', "\r\n");
        assert_eq!(update(&crlf, &full("pending", "main", &["one", "two"])), crlf);
    }

    #[test]
    fn only_the_lines_of_what_changed_change() {
        let new = update(OLD, &full("complete", "next", &["one", "three"]));
        let expected = OLD
            .replace("status: pending  #", "status: complete  #")
            .replace("branch: main", "branch: next")
            .replace("  # two is old\n  - two\n", "  - three\n");
        assert_eq!(new, expected);
    }

    #[test]
    fn keys_come_and_go() {
        let mut new = full("pending", "main", &["one", "two"]);
        new.insert(1, ("since".into(), Value::Quoted("2025".into())));
        new.push(("last".into(), Value::Null));
        let Value::Map(enrollment) = &mut new[3].1 else { unreachable!() };
        enrollment.remove(0);
        let updated = update(OLD, &new);
        let expected = OLD
            .replace("# who\n", "# who\nsince: '2025'\n")
            .replace("  registry: ghcr.io\n", "")
            .replace("extra: kept\n", "extra: kept\nlast: null\n");
        assert_eq!(updated, expected);
        assert_eq!(update("", &entries(&[("a", Value::Int(1))])), "a: 1\n");
        assert_eq!(update("# c\n", &entries(&[("a", Value::Int(1))])), "# c\na: 1\n");
    }

    #[test]
    fn other_styles_are_written_anew_and_nothing_is_lost() {
        let updated = update("# c\n{a: 1,\n b: 2}\n", &entries(&[("a", Value::Int(3))]));
        assert_eq!(updated, "# c\na: 3\nb: 2\n");
        let updated = update(
            "a: [1,\n  2]\nb: 'x'   # y\n",
            &entries(&[("a", Value::List(vec![Value::Int(2)])), ("b", text("z # w"))]),
        );
        assert_eq!(updated, "a:\n  - 2\nb: 'z # w'   # y\n");
    }
}
