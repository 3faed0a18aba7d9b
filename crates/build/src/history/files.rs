//! The list of the files that a step read, compact, so that two builds can be compared file by file.
//!
//! ```text
//! "cooperage files 1\n"
//! for each object:  shared  length  suffix  attributes [length text]  digest
//! ```
//! A path is what it shares with the one before it, and the rest. Numbers are LEB128. `attributes` is a number in a
//! table that grows: the number that comes next brings its text (`File 644 0 0`). The digest is the first eight bytes
//! of the content's: enough to see a change, no proof of anything. An object of a source tree costs about twenty bytes.
use std::collections::{BTreeMap, HashMap};

const HEADER: &[u8] = b"cooperage files 1\n";

/// Collects the list.
#[derive(Default)]
pub(crate) struct FileList {
    bytes: Vec<u8>,
    last: Vec<u8>,
    attributes: HashMap<String, u64>,
}

impl FileList {
    pub(crate) fn add(&mut self, path: &[u8], attributes: &str, content: &[u8; 32]) {
        if self.bytes.is_empty() {
            self.bytes.extend(HEADER);
        }
        let shared = path.iter().zip(&self.last).take_while(|(a, b)| a == b).count();
        number(&mut self.bytes, shared as u64);
        number(&mut self.bytes, (path.len() - shared) as u64);
        self.bytes.extend(&path[shared..]);
        self.last.clear();
        self.last.extend(path);
        match self.attributes.get(attributes) {
            Some(known) => number(&mut self.bytes, *known),
            None => {
                let next = self.attributes.len() as u64;
                self.attributes.insert(attributes.to_owned(), next);
                number(&mut self.bytes, next);
                number(&mut self.bytes, attributes.len() as u64);
                self.bytes.extend(attributes.as_bytes());
            }
        }
        self.bytes.extend(&content[..8]);
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        if self.bytes.is_empty() { HEADER.to_vec() } else { self.bytes }
    }
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How an object of a selection differs between two builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileChange {
    pub(crate) path: String,
    pub(crate) what: FileDifference,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileDifference {
    Added,
    Removed,
    Content,
    /// Kind, mode or owner: as they were, as they are.
    Attributes(String, String),
}

type Listed = BTreeMap<Vec<u8>, (String, [u8; 8])>;

/// What differs between two lists, in the order of the paths; `None` where one of them cannot be read.
pub(crate) fn compare(old: &[u8], new: &[u8]) -> Option<Vec<FileChange>> {
    let (old, new) = (parse(old)?, parse(new)?);
    let mut changes = Vec::new();
    let mut say = |path: &[u8], what| {
        changes.push(FileChange { path: String::from_utf8_lossy(path).into_owned(), what });
    };
    for (path, (attributes, digest)) in &new {
        match old.get(path) {
            None => say(path, FileDifference::Added),
            Some((before, _)) if before != attributes => {
                say(path, FileDifference::Attributes(before.clone(), attributes.clone()));
            }
            Some((_, before)) if before != digest => say(path, FileDifference::Content),
            Some(_) => {}
        }
    }
    for path in old.keys().filter(|path| !new.contains_key(*path)) {
        say(path, FileDifference::Removed);
    }
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    Some(changes)
}

fn parse(bytes: &[u8]) -> Option<Listed> {
    let mut rest = bytes.strip_prefix(HEADER)?;
    let (mut list, mut last, mut table) = (Listed::new(), Vec::new(), Vec::<String>::new());
    while !rest.is_empty() {
        let shared = take_number(&mut rest)?;
        if shared > last.len() {
            return None;
        }
        last.truncate(shared);
        let length = take_number(&mut rest)?;
        last.extend(take(&mut rest, length)?);
        let place = take_number(&mut rest)?;
        if place == table.len() {
            let length = take_number(&mut rest)?;
            table.push(String::from_utf8(take(&mut rest, length)?.to_vec()).ok()?);
        }
        let digest: [u8; 8] = take(&mut rest, 8)?.try_into().ok()?;
        list.insert(last.clone(), (table.get(place)?.clone(), digest));
    }
    Some(list)
}

fn take<'b>(rest: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn take_number(rest: &mut &[u8]) -> Option<usize> {
    let mut value = 0_u64;
    for shift in (0..35).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return usize::try_from(value).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(files: &[(&str, &str, &str)]) -> Vec<u8> {
        let mut list = FileList::default();
        for (path, attributes, content) in files {
            list.add(path.as_bytes(), attributes, &[content.bytes().next().unwrap_or(0); 32]);
        }
        list.into_bytes()
    }

    #[test]
    fn lists_are_compared_file_by_file() {
        let old = list(&[
            ("src/a.c", "File 644 0 0", "1"),
            ("src/ab.c", "File 644 0 0", "1"),
            ("src/b.sh", "File 644 0 0", "1"),
            ("z", "File 644 0 0", "1"),
        ]);
        let new = list(&[
            ("src/a.c", "File 644 0 0", "2"),
            ("src/ab.c", "File 644 0 0", "1"),
            ("src/b.sh", "File 755 0 0", "1"),
            ("src/new", "Dir 755 0 0", ""),
        ]);
        let found: Vec<String> =
            compare(&old, &new).unwrap().into_iter().map(|c| format!("{} {:?}", c.path, c.what)).collect();
        assert_eq!(
            found,
            [
                "src/a.c Content",
                "src/b.sh Attributes(\"File 644 0 0\", \"File 755 0 0\")",
                "src/new Added",
                "z Removed"
            ]
        );
        assert_eq!(compare(&old, &old), Some(Vec::new()));
        assert_eq!(compare(&list(&[]), &old).unwrap().len(), 4);
    }

    #[test]
    fn damaged_lists_are_no_lists() {
        let whole = list(&[("src/a.c", "File 644 0 0", "1"), ("src/b.c", "File 644 0 0", "2")]);
        for end in 0..whole.len() {
            if let Some(list) = parse(&whole[..end]) {
                assert!(list.len() < 2, "cut at {end}");
            }
        }
        for place in HEADER.len()..whole.len() {
            let mut bad = whole.clone();
            bad[place] ^= 0xff;
            let _ = parse(&bad);
        }
        assert!(parse(b"cooperage files 2\n").is_none());
    }
}
