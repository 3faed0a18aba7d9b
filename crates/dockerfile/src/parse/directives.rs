//! `# syntax=`, `# escape=` and `# check=`: comments at the very top that are more than comments.
//!
//! They stand before everything else, each once; the first line that is none (also an empty line, also
//! another comment) ends them.
use super::{Context, line::Lines};
use crate::ast::{Directives, Text};
use crate::{Diagnostic, Span, suggest};

const NAMES: [&str; 3] = ["syntax", "escape", "check"];

/// `# name = value` of any name: the name in lower case and the value with its place in the line.
fn split<'a>(line: &'a str, prefix: &str) -> Option<(String, &'a str, usize)> {
    let rest = line.strip_prefix(prefix)?.trim_start();
    let (name, value) = rest.split_once('=')?;
    let name = name.trim_end();
    let mut chars = name.chars();
    if !chars.next()?.is_ascii_alphabetic() || !chars.all(|c| c.is_ascii_alphanumeric()) {
        return None;
    }
    let offset = line.len() - value.len() + (value.len() - value.trim_start().len());
    let value = value.trim();
    (!value.is_empty()).then(|| (name.to_ascii_lowercase(), value, offset))
}

/// The value of a comment of the form `# check=value`, up to the first blank, and where it begins.
pub(super) fn check_comment(text: &str) -> Option<(&str, usize)> {
    let (name, value, offset) = split(text, "#")?;
    (name == "check").then(|| (value.split(' ').next().unwrap_or_default(), offset))
}

pub(super) fn read(source: &str, context: &mut Context) -> Directives {
    let mut directives = Directives { syntax: None, escape: '\\', check: None, end: 0 };
    let mut escape: Option<Text> = None;
    let mut done = false;
    let mut shebang = false;
    for line in Lines::new(source) {
        let text = line.text.trim_start();
        let indent = line.text.len() - text.len();
        let found = split(text, "#").filter(|(name, ..)| NAMES.contains(&name.as_str()));
        let Some((name, value, offset)) = found else {
            // BuildKit finds `syntax` and `check` behind a shebang line, but not `escape`.
            if !done && !shebang && text.starts_with("#!") {
                shebang = true;
            } else {
                hint_at_typo(text, line.start + indent, done, context);
                done = true;
            }
            if text.starts_with('#') || (text.is_empty() && done) {
                continue;
            }
            break;
        };
        let start = line.start + indent + offset;
        let value = Text { value: value.to_owned(), span: Span::new(start, start + value.len()) };
        let whole = Span::new(line.start + indent, value.span.end);
        // Further down `check` holds for the instruction below it.
        if done && name == "check" {
            continue;
        }
        if done || (shebang && name == "escape") {
            let message = format!("# {name}= is not at the top of the file and has no effect");
            let help = "parser directives must come before everything else, also before comments and empty lines";
            context.report(Diagnostic::warning("late-directive", whole, message).help(help));
            continue;
        }
        directives.end = line.next;
        let slot = match name.as_str() {
            "syntax" => &mut directives.syntax,
            "check" => &mut directives.check,
            _ => &mut escape,
        };
        if let Some(first) = slot {
            let message = format!("only one {name} parser directive can be used");
            let diagnostic = Diagnostic::error("duplicate-directive", whole, message);
            context.report(diagnostic.label(first.span, "first given here").help("remove one of them"));
            continue;
        }
        *slot = Some(value);
    }
    if let Some(text) = escape {
        match text.value.as_str() {
            "\\" => {}
            "`" => directives.escape = '`',
            other => {
                let message = format!("invalid escape character {other:?}");
                let diagnostic = Diagnostic::error("invalid-escape-directive", text.span, message);
                context.report(diagnostic.help("write # escape=\\ or # escape=`"));
            }
        }
    }
    directives
}

/// `# syntx=…` at the top is a comment to BuildKit. Say so where it looks meant.
fn hint_at_typo(text: &str, start: usize, done: bool, context: &mut Context) {
    let Some((name, ..)) = split(text, "#").filter(|_| !done) else { return };
    if let Some(near) = suggest::nearest(&name, NAMES) {
        let span = Span::new(start, start + text.len());
        let message = format!("# {name}= is not a parser directive and has no effect");
        let diagnostic = Diagnostic::warning("unknown-directive", span, message);
        context.report(diagnostic.help(format!("did you mean # {near}=?")));
    }
}

/// The frontend that a build definition asks for, whatever the definition's language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detected {
    /// The image, without the arguments behind it.
    pub image: String,
    /// The whole value.
    pub value: String,
    /// Where it stands.
    pub span: Span,
}

/// Finds the `syntax` of a file as BuildKit does to choose a frontend: `# syntax=`, else `// syntax=`, else
/// the field `syntax` of a JSON object; behind a byte order mark and a shebang line.
pub fn detect_syntax(source: &str) -> Option<Detected> {
    let mut lines = Lines::new(source).peekable();
    let start = lines.peek()?.start;
    lines.next_if(|line| line.text.starts_with("#!"));
    for prefix in ["#", "//"] {
        for line in lines.clone() {
            let known = split(line.text, prefix).filter(|(name, ..)| NAMES.contains(&name.as_str()));
            let Some((name, value, offset)) = known else { break };
            if name == "syntax" {
                let image = value.split(' ').next().unwrap_or_default().to_owned();
                let span = Span::new(line.start + offset, line.start + offset + value.len());
                return Some(Detected { image, value: value.to_owned(), span });
            }
        }
    }
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&source[start..]).ok()?;
    let value = object.get("syntax")?.as_str()?.to_owned();
    Some(Detected { image: value.clone(), value, span: Span::new(start, start) })
}
