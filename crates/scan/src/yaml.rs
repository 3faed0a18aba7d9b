//! A small strict reader of YAML: mappings, lists and scalars with their places. Aliases are refused: a file of rules
//! has no need of them, and so it cannot grow when it is read.
use granit_parser::{Event, Parser, ScalarStyle};

/// Line and column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mark {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) mark: Mark,
    pub(crate) content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Null,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Mark, String, Node)>),
}

/// What is wrong, and where.
pub(crate) type Wrong = (Mark, String);

struct Open {
    node: Node,
    key: Option<(Mark, String)>,
}

/// Parses a text with at most one document.
pub(crate) fn parse(text: &str) -> Result<Option<Node>, Wrong> {
    let mut stack: Vec<Open> = Vec::new();
    let mut root = None;
    for next in Parser::new_from_str(text) {
        let (event, span) = next.map_err(|error| {
            let text = error.to_string();
            let end = text.find(" at char ").or_else(|| text.find(" at byte ")).unwrap_or(text.len());
            (Mark { line: error.marker().line(), column: error.marker().col() + 1 }, text[..end].to_owned())
        })?;
        let mark = Mark { line: span.start.line(), column: span.start.col() + 1 };
        let done = match event {
            Event::DocumentStart(..) if root.is_some() => {
                return Err((mark, "a second document (---) in one file".into()));
            }
            Event::Alias(_) => return Err((mark, "aliases (*name) are not read here; write the value out".into())),
            Event::Scalar(text, style, ..) => {
                let null = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let content = if null { Content::Null } else { Content::Text(text.into_owned()) };
                Node { mark, content }
            }
            Event::SequenceStart(..) => {
                stack.push(Open { node: Node { mark, content: Content::List(Vec::new()) }, key: None });
                continue;
            }
            Event::MappingStart(..) => {
                stack.push(Open { node: Node { mark, content: Content::Map(Vec::new()) }, key: None });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match stack.pop() {
                Some(open) => open.node,
                None => continue,
            },
            _ => continue,
        };
        let Some(open) = stack.last_mut() else {
            root = Some(done);
            continue;
        };
        match &mut open.node.content {
            Content::List(items) => items.push(done),
            Content::Map(entries) => match open.key.take() {
                Some((mark, key)) => entries.push((mark, key, done)),
                None => {
                    let Content::Text(key) = done.content else {
                        return Err((done.mark, "a key must be a plain word".into()));
                    };
                    if let Some((first, ..)) = entries.iter().find(|(_, known, _)| *known == key) {
                        let line = first.line;
                        return Err((done.mark, format!("the key {key} stands here twice; first in line {line}")));
                    }
                    open.key = Some((done.mark, key));
                }
            },
            _ => {}
        }
    }
    Ok(root.filter(|node| node.content != Content::Null))
}

impl Node {
    /// What it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.content {
            Content::Null => "nothing",
            Content::Text(_) => "a text",
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
        }
    }
}
