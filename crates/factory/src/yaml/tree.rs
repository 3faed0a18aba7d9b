//! Text to tree.
use granit_parser::{Event, Parser, ScalarStyle};
use std::collections::BTreeMap;

/// Nodes that one document may have with its aliases written out: an alias of aliases of aliases
/// must not fill the memory.
const NODES: usize = 1_000_000;

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
pub struct Node {
    /// Where it begins.
    pub mark: Mark,
    /// What it is.
    pub content: Content,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing, `null`, `~`.
    Null,
    /// A scalar; `plain` where it was written without quotes.
    Scalar {
        /// Its text, unquoted.
        text: String,
        /// Whether it stood there without quotes.
        plain: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key begins.
    pub mark: Mark,
    /// The value.
    pub value: Node,
}

/// Why a text is no YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct YamlError {
    /// Where.
    pub mark: Mark,
    /// What is wrong.
    pub message: String,
}

impl Node {
    /// What it is, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.content {
            Content::Null => "nothing",
            Content::Scalar { text, plain: true } if text == "true" || text == "false" => "a boolean",
            Content::Scalar { text, plain: true } if text.parse::<f64>().is_ok() => "a number",
            Content::Scalar { .. } => "a text",
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
        }
    }

    /// The value of a key of a mapping.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.content {
            Content::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value),
            _ => None,
        }
    }

    /// The text of a scalar.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The nodes of a list; none of anything else.
    #[must_use]
    pub fn list(&self) -> &[Node] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    /// The entries of a mapping; none of anything else.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Map(entries) => entries,
            _ => &[],
        }
    }
}

/// Parses a text with one document; `None` for a text with none.
///
/// # Errors
/// [`YamlError`]: no YAML, a key twice, a key that is no scalar, a second document, too many nodes.
pub fn parse(text: &str) -> Result<Option<Node>, YamlError> {
    let mut builder = Builder { anchors: BTreeMap::new(), nodes: 0, budget: NODES };
    let mut root = None;
    let mut stack: Vec<Open> = Vec::new();
    let mut documents = 0;
    for next in Parser::new_from_str(text) {
        let (event, span) = next.map_err(|error| YamlError {
            mark: Mark { line: error.marker().line(), column: error.marker().col() + 1 },
            message: plain(&error),
        })?;
        let mark = Mark { line: span.start.line(), column: span.start.col() + 1 };
        let done = match event {
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    return Err(YamlError { mark, message: "a second document (---) in one file".into() });
                }
                continue;
            }
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let content = if plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
                    Content::Null
                } else {
                    Content::Scalar { text: text.into_owned(), plain }
                };
                builder.done(Node { mark, content }, anchor)?
            }
            Event::Alias(anchor) => builder.alias(anchor, mark)?,
            Event::SequenceStart(_, anchor, _) => {
                stack.push(Open { mark, anchor, list: Vec::new(), map: None, key: None });
                continue;
            }
            Event::MappingStart(_, anchor, _) => {
                stack.push(Open { mark, anchor, list: Vec::new(), map: Some(Vec::new()), key: None });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = stack.pop() else { continue };
                let content = match open.map {
                    Some(entries) => Content::Map(entries),
                    None => Content::List(open.list),
                };
                builder.done(Node { mark: open.mark, content }, open.anchor)?
            }
            _ => continue,
        };
        match stack.last_mut() {
            None => root = Some(done),
            Some(open) => open.take(done)?,
        }
    }
    Ok(root.filter(|node| node.content != Content::Null))
}

fn plain(error: &granit_parser::ScanError) -> String {
    let text = error.to_string();
    // The place is told separately.
    match text.find(" at char ").or_else(|| text.find(" at byte ")) {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

struct Open {
    mark: Mark,
    anchor: usize,
    list: Vec<Node>,
    map: Option<Vec<Entry>>,
    key: Option<(String, Mark)>,
}

impl Open {
    fn take(&mut self, node: Node) -> Result<(), YamlError> {
        let Some(entries) = &mut self.map else {
            self.list.push(node);
            return Ok(());
        };
        match self.key.take() {
            Some((key, mark)) => entries.push(Entry { key, mark, value: node }),
            None => {
                let key = match node.content {
                    Content::Scalar { text, .. } => text,
                    _ => return Err(YamlError { mark: node.mark, message: "a key must be a plain word".into() }),
                };
                if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                    let message = format!("the key {key} stands here twice; first in line {}", first.mark.line);
                    return Err(YamlError { mark: node.mark, message });
                }
                self.key = Some((key, node.mark));
            }
        }
        Ok(())
    }
}

struct Builder {
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
    budget: usize,
}

impl Builder {
    fn done(&mut self, node: Node, anchor: usize) -> Result<Node, YamlError> {
        self.count(1, node.mark)?;
        if anchor != 0 {
            let size = size(&node);
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, mark: Mark) -> Result<Node, YamlError> {
        let Some((node, size)) = self.anchors.get(&anchor) else {
            return Err(YamlError { mark, message: "an alias refers to a value that contains it".into() });
        };
        let (node, size) = (node.clone(), *size);
        self.count(size, mark)?;
        Ok(Node { mark, content: node.content })
    }

    fn count(&mut self, more: usize, mark: Mark) -> Result<(), YamlError> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes > self.budget {
            return Err(YamlError { mark, message: format!("more than {NODES} values with aliases written out") });
        }
        Ok(())
    }
}

fn size(node: &Node) -> usize {
    1 + match &node.content {
        Content::List(items) => items.iter().map(size).sum(),
        Content::Map(entries) => entries.iter().map(|entry| size(&entry.value)).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_know_their_places() {
        let node = parse("# c\n- name: a\n  list: [x, 'true', 1.10]\n  none:\n").unwrap().unwrap();
        let first = &node.list()[0];
        assert_eq!(first.get("name").unwrap().mark, Mark { line: 2, column: 9 });
        let list = first.get("list").unwrap().list();
        assert_eq!(list[2].text(), Some("1.10"));
        assert_eq!(
            (list[1].kind(), list[2].kind(), first.get("none").unwrap().kind()),
            ("a text", "a number", "nothing")
        );
        assert_eq!(parse("").unwrap(), None);
        assert_eq!(parse("---\n# nothing\n").unwrap(), None);
    }

    #[test]
    fn what_is_no_yaml_says_where() {
        let error = |text: &str| {
            let error = parse(text).unwrap_err();
            format!("{}:{}: {}", error.mark.line, error.mark.column, error.message)
        };
        let errors = [
            error("a: 1\nb: [1,\nc: 2\n"),
            error("a: 1\na: 2\n"),
            error("a: 1\n---\nb: 2\n"),
            error("? [a]\n: b\n"),
            error("a: *b\n"),
        ];
        insta::assert_snapshot!(errors.join("\n"), @"
        2:4: unclosed bracket '['
        2:1: the key a stands here twice; first in line 1
        2:1: a second document (---) in one file
        1:3: a key must be a plain word
        1:4: while parsing node, found unknown anchor
        ");
    }

    #[test]
    fn aliases_are_written_out_within_limits() {
        let node = parse("a: &x {p: 1}\nb: *x\n").unwrap().unwrap();
        assert_eq!(node.get("b").unwrap().get("p").unwrap().text(), Some("1"));
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..9 {
            let line = (0..10).map(|_| format!("*a{}", i - 1)).collect::<Vec<_>>().join(", ");
            text.push_str(&format!("a{i}: &a{i} [{line}]\n"));
        }
        assert!(parse(&text).unwrap_err().message.starts_with("more than 1000000"));
    }
}
