//! `RUN --mount=key=value,…`: comma-separated fields to a [`MountFlag`].
use super::{Context, flags::RawFlag};
use crate::ast::{MountField, MountFlag, Text};
use crate::{Diagnostic, Span, mount};

pub(super) fn parse(context: &mut Context, flag: &RawFlag) -> Option<MountFlag> {
    let value = flag.value.as_ref()?;
    let fields = match fields(value) {
        Ok(fields) => fields,
        Err(problem) => {
            let diagnostic = Diagnostic::error("invalid-mount", flag.span, format!("invalid mount: {problem}"));
            context.report(diagnostic.help("write --mount=type=TYPE,key=value,…"));
            return None;
        }
    };
    if let Some(from) = fields.iter().find(|f| f.key == "from").and_then(|f| f.value.as_ref())
        && has_variable(&from.value)
    {
        let message = "'from' doesn't support variable expansion, define alias stage instead";
        let help = format!("add a stage FROM {} AS NAME at the top and write from=NAME", from.value);
        context.report(Diagnostic::error("variable-in-from", from.span, message).help(help));
        return None;
    }
    let mount = match mount::check(&fields, flag.span) {
        Ok(mount) => mount,
        Err(diagnostic) => {
            context.report(*diagnostic);
            return None;
        }
    };
    let text =
        |keys: &[&str]| fields.iter().rev().find(|f| keys.contains(&f.key.as_str())).and_then(|f| f.value.clone());
    let given = |keys: &[&str]| fields.iter().any(|f| keys.contains(&f.key.as_str()));
    Some(MountFlag {
        kind: mount.kind,
        target: text(&["target", "dst", "destination"]),
        source: text(&["source", "src"]),
        from: text(&["from"]),
        id: text(&["id"]),
        sharing: text(&["sharing"]),
        readonly: given(&["readonly", "ro", "readwrite", "rw"]).then_some(mount.readonly),
        required: given(&["required"]).then_some(mount.required),
        env: text(&["env"]),
        mode: text(&["mode"]),
        uid: text(&["uid"]),
        gid: text(&["gid"]),
        size: text(&["size"]),
        fields,
        span: flag.span,
    })
}

/// Whether a `$` with something behind it is in the text.
pub(super) fn has_variable(text: &str) -> bool {
    text.find('$').is_some_and(|at| at + 1 < text.len())
}

/// One record of comma-separated values; a field may be quoted as in CSV.
fn fields(value: &Text) -> Result<Vec<MountField>, &'static str> {
    let text = value.value.as_str();
    if text.is_empty() {
        return Err("it is empty");
    }
    // Where quotes or backslashes were taken off, offsets no longer fit: point to the whole value.
    let exact = value.span.end - value.span.start == text.len();
    let place = |from: usize, to: usize| {
        if exact { Span::new(value.span.start + from, value.span.start + to) } else { value.span }
    };
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let (content, length, quoted) = match rest.strip_prefix('"') {
            Some(inner) => {
                let (content, length) = quoted_field(inner)?;
                (content, length + 1, true)
            }
            None => {
                let length = rest.find(',').unwrap_or(rest.len());
                if rest[..length].contains('"') {
                    return Err("a quote in the middle of a field");
                }
                (rest[..length].to_owned(), length, false)
            }
        };
        let span = place(at, at + length);
        let (key, field_value) = match content.split_once('=') {
            None => (content.as_str(), None),
            Some((key, value)) => {
                let start = at + key.len() + 1;
                let span = if quoted { span } else { place(start, at + length) };
                (key, Some(Text { value: value.to_owned(), span }))
            }
        };
        fields.push(MountField { key: key.to_lowercase(), value: field_value, span });
        at += length;
        match text[at..].chars().next() {
            None => return Ok(fields),
            Some(',') => at += 1,
            Some(_) => return Err("text behind a closing quote"),
        }
    }
}

/// A field behind its opening quote: the content and the length with the closing quote.
fn quoted_field(text: &str) -> Result<(String, usize), &'static str> {
    let mut content = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != '"' {
            content.push(c);
        } else if chars.next_if(|(_, c)| *c == '"').is_some() {
            content.push('"');
        } else {
            return Ok((content, at + 1));
        }
    }
    Err("a quote that is not closed")
}
