//! A YAML stream as a tree whose every node knows its bytes.
//!
//! The parser is `granit-parser` (YAML 1.2, bounded nesting); this file only collects its events. Aliases
//! are kept as aliases: an edit addresses what stands in the text, not what a loader makes of it.
use super::Error;
use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};
use std::collections::BTreeMap;
use std::ops::Range;

/// One node, with the place of its text.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// The bytes of the node itself: without anchor, tag and comments. Empty for a value that is not there
    /// (`key:`), and then just behind its key's colon.
    pub span: Range<usize>,
    /// The line of its first byte, from 1.
    pub line: usize,
    /// The column of its first byte in characters, from 0. For a block sequence that of its first dash.
    pub column: usize,
    /// The number of its anchor, where it has one.
    anchor: usize,
}

/// The kinds of nodes.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Text: the value after unescaping, and how it is written.
    Scalar {
        /// The value after unescaping and folding.
        value: String,
        /// How it is written.
        style: ScalarStyle,
    },
    /// Keys and values in the order of the text.
    Mapping {
        /// Written with braces.
        flow: bool,
        /// Keys and values.
        entries: Vec<(Node, Node)>,
    },
    /// Items in the order of the text.
    Sequence {
        /// Written with brackets.
        flow: bool,
        /// The items.
        items: Vec<Node>,
    },
    /// `*name`, with the line of the anchor that it stands for.
    Alias {
        /// The name with its asterisk.
        name: String,
        /// The line where the anchored node begins, from 1.
        line: usize,
    },
}

impl Node {
    /// The value, where this is a scalar.
    pub fn scalar(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { value, .. } => Some(value),
            _ => None,
        }
    }

    /// The entries, where this is a mapping.
    pub fn entries(&self) -> Option<&[(Node, Node)]> {
        match &self.kind {
            Kind::Mapping { entries, .. } => Some(entries),
            _ => None,
        }
    }

    /// The items, where this is a sequence.
    pub fn items(&self) -> Option<&[Node]> {
        match &self.kind {
            Kind::Sequence { items, .. } => Some(items),
            _ => None,
        }
    }

    /// Key and value of the entry `key`, where this is a mapping that has it.
    pub fn entry(&self, key: &str) -> Option<&(Node, Node)> {
        self.entries()?.iter().find(|(name, _)| name.scalar() == Some(key))
    }

    /// The value under `key`, where this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, value)| value)
    }

    /// Nothing is written here: `key:`, or `~`, `null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { value, style: ScalarStyle::Plain }
            if matches!(value.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Where the text of the node ends, its last child included.
    pub fn end(&self) -> usize {
        match &self.kind {
            Kind::Mapping { flow: false, entries } => {
                entries.last().map_or(self.span.end, |(key, value)| value.end().max(key.span.end))
            }
            Kind::Sequence { flow: false, items } => items.last().map_or(self.span.end, Node::end),
            _ => self.span.end,
        }
    }
}

/// A comment and where it stands.
#[derive(Debug, Clone)]
pub struct Comment {
    /// The text behind `#`.
    pub text: String,
    /// The bytes from `#` to the end of the line.
    pub span: Range<usize>,
}

/// A whole text: its documents and comments.
#[derive(Debug, Clone)]
pub struct Stream {
    /// The root nodes. A document without content has a null scalar.
    pub documents: Vec<Node>,
    /// All comments in the order of the text.
    pub comments: Vec<Comment>,
}

/// A collection that is being filled.
struct Open {
    node: Node,
    key: Option<Node>,
    anchor: usize,
}

/// Reads a text of any number of documents.
///
/// # Errors
/// [`Error::Syntax`] with line and column where the text is no YAML.
pub fn parse(text: &str) -> Result<Stream, Error> {
    let mut stream = Stream { documents: Vec::new(), comments: Vec::new() };
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: BTreeMap<usize, usize> = BTreeMap::new();
    // More comments in a row than the parser's default are usual in values files.
    let options = granit_parser::options! { max_buffered_comment_events: 1 << 16 };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| Error::Syntax {
            line: error.marker().line(),
            column: error.marker().col() + 1,
            message: error.info(),
        })?;
        let node = |kind, anchor| Node {
            kind,
            span: span.byte_range().unwrap_or_default(),
            line: span.start.line(),
            column: span.start.col(),
            anchor,
        };
        match event {
            Event::Comment(comment, _) => stream.comments.push(comment_of(&comment, span)),
            Event::Scalar(value, style, anchor, _) => {
                let node = node(Kind::Scalar { value: value.into_owned(), style }, anchor);
                attach(&mut open, &mut stream, &mut anchors, node);
            }
            Event::Alias(id) => {
                let line = anchors.get(&id).copied().unwrap_or(span.start.line());
                let name = span.slice(text).unwrap_or_default().to_owned();
                attach(&mut open, &mut stream, &mut anchors, node(Kind::Alias { name, line }, 0));
            }
            Event::MappingStart(style, anchor, _) => {
                anchors.insert(anchor, span.start.line());
                let kind = Kind::Mapping { flow: style == StructureStyle::Flow, entries: Vec::new() };
                open.push(Open { node: node(kind, anchor), key: None, anchor });
            }
            Event::SequenceStart(style, anchor, _) => {
                anchors.insert(anchor, span.start.line());
                let kind = Kind::Sequence { flow: style == StructureStyle::Flow, items: Vec::new() };
                open.push(Open { node: node(kind, anchor), key: None, anchor });
            }
            Event::MappingEnd | Event::SequenceEnd => {
                let Some(Open { mut node, anchor, .. }) = open.pop() else { continue };
                if matches!(node.kind, Kind::Mapping { flow: true, .. } | Kind::Sequence { flow: true, .. }) {
                    node.span.end = span.byte_range().unwrap_or_default().end;
                } else {
                    node.span.end = node.end();
                }
                node.anchor = anchor;
                attach(&mut open, &mut stream, &mut anchors, node);
            }
            _ => {}
        }
    }
    Ok(stream)
}

fn comment_of(text: &str, span: Span) -> Comment {
    Comment { text: text.to_owned(), span: span.byte_range().unwrap_or_default() }
}

fn attach(open: &mut [Open], stream: &mut Stream, anchors: &mut BTreeMap<usize, usize>, node: Node) {
    anchors.entry(node.anchor).or_insert(node.line);
    let Some(parent) = open.last_mut() else {
        stream.documents.push(node);
        return;
    };
    match &mut parent.node.kind {
        Kind::Sequence { items, .. } => items.push(node),
        Kind::Mapping { entries, .. } => match parent.key.take() {
            None => parent.key = Some(node),
            Some(key) => entries.push((key, node)),
        },
        Kind::Scalar { .. } | Kind::Alias { .. } => {}
    }
}

/// Every leaf of a stream by its path, for comparing two texts by content.
///
/// Paths are JSON-like (`0.spec.containers[1].image`); keys are written with their quotes, so that no key can
/// look like a path. Aliases count as leaves.
pub(super) fn leaves(stream: &Stream) -> BTreeMap<String, String> {
    let mut leaves = BTreeMap::new();
    for (number, document) in stream.documents.iter().enumerate() {
        walk(document, number.to_string(), &mut leaves);
    }
    leaves
}

/// The path of a child by key, as [`leaves`] writes it.
pub(super) fn key_path(parent: &str, key: &str) -> String {
    format!("{parent}.{key:?}")
}

/// The path of a child by number, as [`leaves`] writes it.
pub(super) fn item_path(parent: &str, item: usize) -> String {
    format!("{parent}[{item}]")
}

fn walk(node: &Node, path: String, leaves: &mut BTreeMap<String, String>) {
    match &node.kind {
        Kind::Scalar { value, .. } => {
            leaves.insert(path, if node.is_null() { "null".into() } else { format!("{value:?}") });
        }
        // Not the anchor's line: that moves when a line is added above.
        Kind::Alias { name, .. } => {
            leaves.insert(path, name.clone());
        }
        Kind::Mapping { entries, .. } if entries.is_empty() => {
            leaves.insert(path, "{}".into());
        }
        Kind::Sequence { items, .. } if items.is_empty() => {
            leaves.insert(path, "[]".into());
        }
        Kind::Mapping { entries, .. } => {
            for (number, (key, value)) in entries.iter().enumerate() {
                let key = match &key.kind {
                    Kind::Scalar { value, .. } => key_path(&path, value),
                    _ => format!("{path}.?{number}"),
                };
                walk(value, key, leaves);
            }
        }
        Kind::Sequence { items, .. } => {
            for (number, item) in items.iter().enumerate() {
                walk(item, item_path(&path, number), leaves);
            }
        }
    }
}
