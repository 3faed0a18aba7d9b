//! Changes to a text, by the byte, each checked against the content that should come out.
use super::tree::{Kind, Node, Stream, item_path, key_path, leaves, parse};
use super::{Error, scalar};
use granit_parser::ScalarStyle;
use std::collections::BTreeMap;
use std::ops::Range;

/// A node with its path and surroundings: what an edit needs to know.
#[derive(Debug, Clone)]
pub struct Place<'s> {
    /// The node.
    pub node: &'s Node,
    /// Its path, as the check names it.
    path: String,
    /// The column of the key under which it stands, or of its dash.
    column: usize,
    /// Whether it stands inside braces or brackets.
    flow: bool,
}

impl<'s> Place<'s> {
    /// The root of document `number`.
    pub fn root(stream: &'s Stream, number: usize) -> Option<Self> {
        let node = stream.documents.get(number)?;
        Some(Self { node, path: number.to_string(), column: 0, flow: false })
    }

    /// The roots of all documents.
    pub fn roots(stream: &'s Stream) -> impl Iterator<Item = Self> {
        (0..stream.documents.len()).filter_map(|number| Self::root(stream, number))
    }

    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<Self> {
        let (name, node) = self.node.entry(key)?;
        Some(Self { node, path: key_path(&self.path, key), column: name.column, flow: self.in_flow() })
    }

    /// The items of a sequence; none for anything else.
    pub fn items(&self) -> Vec<Self> {
        let column = self.dash_column();
        let items = self.node.items().unwrap_or_default().iter().enumerate();
        let place = |(number, node)| Self { node, path: item_path(&self.path, number), column, flow: self.in_flow() };
        items.map(place).collect()
    }

    /// All values of a mapping with their keys; none for anything else.
    pub fn values(&self) -> Vec<(&'s str, Self)> {
        let keys = self.node.entries().unwrap_or_default().iter().filter_map(|(key, _)| key.scalar());
        keys.filter_map(|key| Some((key, self.get(key)?))).collect()
    }

    /// The keys of a mapping.
    pub fn keys(&self) -> impl Iterator<Item = &'s str> {
        self.node.entries().unwrap_or_default().iter().filter_map(|(key, _)| key.scalar())
    }

    fn in_flow(&self) -> bool {
        self.flow || matches!(self.node.kind, Kind::Mapping { flow: true, .. } | Kind::Sequence { flow: true, .. })
    }

    /// The column of a block sequence's dashes. One that is not indented begins, for the parser, with its first
    /// item: its dashes stand under its key.
    fn dash_column(&self) -> usize {
        match self.node.items().and_then(<[Node]>::first) {
            Some(first) if first.span.start > self.node.span.start => self.node.column,
            _ => self.column,
        }
    }
}

/// Collects changes to one text and applies them all at the end.
#[derive(Debug)]
pub struct Editor<'t> {
    text: &'t str,
    edits: Vec<(Range<usize>, String)>,
    expected: BTreeMap<String, String>,
}

impl<'t> Editor<'t> {
    /// For `text`, which was parsed to `stream`.
    pub fn new(text: &'t str, stream: &Stream) -> Self {
        Self { text, edits: Vec::new(), expected: leaves(stream) }
    }

    /// Gives a scalar another value, in the same style where that can hold it. The value that is there already
    /// changes nothing. An alias is replaced; an anchor stays.
    ///
    /// # Errors
    /// [`Error::Form`] where no one-line scalar stands there, [`Error::Value`].
    pub fn set(&mut self, place: &Place<'_>, value: &str) -> Result<(), Error> {
        let node = place.node;
        let style = match &node.kind {
            Kind::Scalar { style: ScalarStyle::Literal | ScalarStyle::Folded, .. } => {
                let what = "a block of text (`|` or `>`) stands here; write the value on its key's line first".into();
                return Err(Error::Form { line: node.line, what });
            }
            Kind::Scalar { value: old, .. } if old == value && !node.is_null() => return Ok(()),
            Kind::Scalar { style, .. } => *style,
            Kind::Alias { .. } => ScalarStyle::Plain,
            Kind::Mapping { .. } | Kind::Sequence { .. } => {
                let what = "a mapping or a list stands here, not one value; name the value inside it".into();
                return Err(Error::Form { line: node.line, what });
            }
        };
        let mut text = scalar::render(value, style)?;
        if node.span.is_empty() {
            text.insert(0, ' ');
        }
        self.edits.push((node.span.clone(), text));
        self.expected.insert(place.path.clone(), format!("{value:?}"));
        Ok(())
    }

    /// Puts the entry `key: value` in the place of the entry `old` of a mapping, on its line.
    ///
    /// # Errors
    /// As [`Self::set`]; [`Error::NotFound`] where `old` is not there.
    pub fn rename(&mut self, mapping: &Place<'_>, old: &str, key: &str, value: &str) -> Result<(), Error> {
        let Some((name, _)) = mapping.node.entry(old) else {
            return Err(Error::not_found(format!("`{old}`"), mapping.keys()));
        };
        let Some(place) = mapping.get(old) else { return Ok(()) };
        let same = place.node.scalar() == Some(value);
        self.set(&place, value)?;
        self.edits.push((name.span.clone(), scalar::render(key, ScalarStyle::Plain)?));
        let was = self.expected.remove(&place.path);
        let value = if same { was.unwrap_or_default() } else { format!("{value:?}") };
        self.expected.insert(key_path(&mapping.path, key), value);
        Ok(())
    }

    /// Adds `key: value` to a mapping, behind the entry `after` where there is one, else at its end.
    ///
    /// # Errors
    /// [`Error::Form`] where it is no mapping; [`Error::Value`].
    pub fn insert(&mut self, mapping: &Place<'_>, after: &str, key: &str, value: &str) -> Result<(), Error> {
        let line =
            format!("{}: {}", scalar::render(key, ScalarStyle::Plain)?, scalar::render(value, ScalarStyle::Plain)?);
        self.insert_raw(mapping, after, &[line])?;
        self.expected.insert(key_path(&mapping.path, key), format!("{value:?}"));
        Ok(())
    }

    /// Adds the lines of an entry to a mapping: as they are in block style, the first alone in flow style.
    fn insert_raw(&mut self, mapping: &Place<'_>, after: &str, lines: &[String]) -> Result<(), Error> {
        let entries = mapping.node.entries().unwrap_or_default();
        let behind = mapping.node.entry(after).or(entries.last());
        match (&mapping.node.kind, behind) {
            (Kind::Mapping { flow: true, .. }, None) => {
                let at = mapping.node.span.start + 1;
                self.edits.push((at..at, lines.join(" ")));
            }
            (Kind::Mapping { flow: true, .. }, Some((key, value))) => {
                let at = value.end().max(key.span.end);
                self.edits.push((at..at, format!(", {}", lines.join(" "))));
            }
            (Kind::Mapping { flow: false, .. }, Some((_, value))) => {
                // An anchor or tag before a key moves that key to the right.
                let indent = entries.iter().map(|(key, _)| key.column).min().unwrap_or(0);
                self.insert_lines(value, indent, lines);
            }
            _ => {
                let what = "no mapping stands here, so that no entry can be added".into();
                return Err(Error::Form { line: mapping.node.line, what });
            }
        }
        self.expected.remove(&mapping.path);
        Ok(())
    }

    /// Takes the entry `key` out of a mapping, with its line where it has lines of its own.
    ///
    /// # Errors
    /// [`Error::Form`] for the first entry of a list's item, whose line holds the dash: use [`Self::rename`].
    pub fn remove(&mut self, mapping: &Place<'_>, key: &str) -> Result<(), Error> {
        let Kind::Mapping { flow, entries } = &mapping.node.kind else { return Ok(()) };
        let Some(number) = entries.iter().position(|(name, _)| name.scalar() == Some(key)) else { return Ok(()) };
        let (name, value) = &entries[number];
        let range = if *flow {
            match (number, entries.get(number + 1)) {
                (0, Some((next, _))) => name.span.start..next.span.start,
                (0, None) => name.span.start..value.end().max(name.span.end),
                (number, _) => {
                    let (key, before) = &entries[number - 1];
                    before.end().max(key.span.end)..value.end().max(name.span.end)
                }
            }
        } else {
            let start = self.line_start(name.span.start);
            if !self.text[start..name.span.start].trim().is_empty() {
                let what = format!("`{key}` shares its line with what is before it and cannot be taken out");
                return Err(Error::Form { line: name.line, what });
            }
            start..self.behind(value)
        };
        self.edits.push((range, String::new()));
        let path = key_path(&mapping.path, key);
        self.expected.retain(|leaf, _| {
            !(leaf.starts_with(&path) && matches!(leaf.as_bytes().get(path.len()), None | Some(b'.' | b'[')))
        });
        if entries.len() == 1 {
            self.expected.insert(mapping.path.clone(), "{}".into());
        }
        Ok(())
    }

    /// Adds an item to a list: a mapping of `entries` in their order.
    ///
    /// # Errors
    /// [`Error::Form`] where neither a list nor nothing stands there; [`Error::Value`].
    pub fn push(&mut self, list: &Place<'_>, entries: &[(&str, &str)]) -> Result<(), Error> {
        let number = list.node.items().map_or(0, <[Node]>::len);
        let lines = item_lines(entries)?;
        match &list.node.kind {
            Kind::Sequence { flow: true, items } => {
                let at = items.last().map_or(list.node.span.start + 1, Node::end);
                let comma = if items.is_empty() { "" } else { ", " };
                self.edits.push((at..at, format!("{comma}{{{}}}", flow_entries(entries)?)));
            }
            Kind::Sequence { flow: false, .. } => self.insert_lines(list.node, list.dash_column(), &lines),
            Kind::Scalar { .. } if list.node.is_null() && list.node.span.is_empty() && !list.flow => {
                self.insert_lines(list.node, list.column, &lines);
            }
            _ => {
                let what = "no list stands here, so that no item can be added".into();
                return Err(Error::Form { line: list.node.line, what });
            }
        }
        self.expected.remove(&list.path);
        self.expect_item(&list.path, number, entries);
        Ok(())
    }

    /// Adds an item to a list: one scalar, written in the style of the item before it.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn push_scalar(&mut self, list: &Place<'_>, value: &str) -> Result<(), Error> {
        let style = match list.node.items().and_then(<[Node]>::last).map(|last| &last.kind) {
            Some(Kind::Scalar { style, .. }) => *style,
            _ => ScalarStyle::Plain,
        };
        let text = scalar::render(value, style)?;
        let number = list.node.items().map_or(0, <[Node]>::len);
        match &list.node.kind {
            Kind::Sequence { flow: true, items } => {
                let at = items.last().map_or(list.node.span.start + 1, Node::end);
                let comma = if items.is_empty() { "" } else { ", " };
                self.edits.push((at..at, format!("{comma}{text}")));
            }
            Kind::Sequence { flow: false, .. } => {
                self.insert_lines(list.node, list.dash_column(), &[format!("- {text}")]);
            }
            _ => {
                let what = "no list stands here, so that no item can be added".into();
                return Err(Error::Form { line: list.node.line, what });
            }
        }
        self.expected.remove(&list.path);
        self.expected.insert(item_path(&list.path, number), format!("{value:?}"));
        Ok(())
    }

    /// Adds `key:` with a list of one item, a mapping of `entries`, at the end of a block mapping, with dashes
    /// that stand where those of its other lists stand.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn insert_list(&mut self, mapping: &Place<'_>, key: &str, entries: &[(&str, &str)]) -> Result<(), Error> {
        let lists = mapping.values();
        let mut lists = lists.iter().filter(|(_, list)| matches!(list.node.kind, Kind::Sequence { flow: false, .. }));
        let indent = lists.next().map_or(0, |(_, list)| list.dash_column().saturating_sub(list.column));
        if mapping.in_flow() {
            let line = format!("{key}: [{{{}}}]", flow_entries(entries)?);
            self.insert_raw(mapping, "", &[line])?;
        } else {
            let mut lines = vec![format!("{key}:")];
            lines.extend(item_lines(entries)?.into_iter().map(|line| format!("{:indent$}{line}", "")));
            self.insert_raw(mapping, "", &lines)?;
        }
        self.expect_item(&key_path(&mapping.path, key), 0, entries);
        Ok(())
    }

    /// Appends a whole first document to a text that has none (nothing, or only comments).
    ///
    /// # Errors
    /// [`Error::Value`].
    pub fn begin_list(&mut self, key: &str, entries: &[(&str, &str)]) -> Result<(), Error> {
        let mut lines = vec![format!("{key}:")];
        lines.extend(item_lines(entries)?);
        let eol = self.eol();
        let mut text = lines.join(eol) + eol;
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            text.insert_str(0, eol);
        }
        let end = self.text.len();
        self.edits.push((end..end, text));
        self.expected.clear();
        self.expect_item(&key_path("0", key), 0, entries);
        Ok(())
    }

    fn expect_item(&mut self, list: &str, number: usize, entries: &[(&str, &str)]) {
        for (key, value) in entries {
            self.expected.insert(key_path(&item_path(list, number), key), format!("{value:?}"));
        }
    }

    /// The new text.
    ///
    /// # Errors
    /// [`Error::Unsound`] when the new text's content is not the old one with the wanted changes.
    pub fn finish(mut self) -> Result<String, Error> {
        self.edits.sort_by_key(|(range, _)| (range.start, range.end));
        let mut text = String::with_capacity(self.text.len() + 64);
        let mut at = 0;
        for (range, new) in &self.edits {
            if range.start < at {
                return Err(Error::Unsound("the same place twice".into()));
            }
            text.push_str(&self.text[at..range.start]);
            text.push_str(new);
            at = range.end;
        }
        text.push_str(&self.text[at..]);
        let now = leaves(&parse(&text).map_err(|error| Error::Unsound(format!("the structure ({error})")))?);
        if now == self.expected {
            return Ok(text);
        }
        let differs = |path: &&String| now.get(*path) != self.expected.get(*path);
        let path = now.keys().chain(self.expected.keys()).find(differs).cloned();
        Err(Error::Unsound(path.unwrap_or_else(|| "the text".into())))
    }

    /// Adds lines behind the last line of `node`, a block node.
    fn insert_lines(&mut self, node: &Node, indent: usize, lines: &[String]) {
        let (at, eol) = (self.behind(node), self.eol());
        let mut text: String = lines.iter().map(|line| format!("{:indent$}{line}{eol}", "")).collect();
        if at > 0 && !self.text[..at].ends_with('\n') {
            // The last line has no line break, and will have none.
            text.truncate(text.len() - eol.len());
            text.insert_str(0, eol);
        }
        self.edits.push((at..at, text));
    }

    /// The start of the line behind the last line of a block node, or the end of the text.
    fn behind(&self, node: &Node) -> usize {
        let mut last = node;
        loop {
            last = match &last.kind {
                Kind::Mapping { flow: false, entries } => match entries.last() {
                    Some((_, value)) => value,
                    None => break,
                },
                Kind::Sequence { flow: false, items } => match items.last() {
                    Some(item) => item,
                    None => break,
                },
                _ => break,
            };
        }
        let block = matches!(&last.kind, Kind::Scalar { style: ScalarStyle::Literal | ScalarStyle::Folded, .. });
        let end = node.end();
        if block {
            // The parser counts the next line's indentation to the block.
            let start = self.line_start(end);
            if self.text[start..end].trim().is_empty() {
                return start;
            }
        }
        self.text[end..].find('\n').map_or(self.text.len(), |newline| end + newline + 1)
    }

    fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |newline| newline + 1)
    }

    /// The line ending of the text: that of its first line.
    fn eol(&self) -> &'static str {
        match self.text.find('\n') {
            Some(at) if self.text[..at].ends_with('\r') => "\r\n",
            _ => "\n",
        }
    }
}

/// The lines of a list's item, without indentation.
fn item_lines(entries: &[(&str, &str)]) -> Result<Vec<String>, Error> {
    let line = |(number, (key, value)): (usize, &(&str, &str))| {
        let dash = if number == 0 { "- " } else { "  " };
        let (key, value) = (scalar::render(key, ScalarStyle::Plain)?, scalar::render(value, ScalarStyle::Plain)?);
        Ok(format!("{dash}{key}: {value}"))
    };
    entries.iter().enumerate().map(line).collect()
}

fn flow_entries(entries: &[(&str, &str)]) -> Result<String, Error> {
    let entry = |(key, value): &(&str, &str)| {
        let (key, value) = (scalar::render(key, ScalarStyle::Plain)?, scalar::render(value, ScalarStyle::Plain)?);
        Ok(format!("{key}: {value}"))
    };
    let entries: Result<Vec<String>, Error> = entries.iter().map(entry).collect();
    Ok(entries?.join(", "))
}
