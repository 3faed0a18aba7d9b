//! An image's layers applied to an empty table: the oracle of the comparison.
//!
//! Slow and obvious on purpose, and without any of the product's code. A layer is read whole; its
//! whiteouts take away from what lower layers left, then its entries are put in place, in order.
//! Hard links are groups: names that share one inode share one entry of `inodes`.
use crate::command::{Error, Result};
use oci::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;
use tar::EntryType;

/// What a name in the image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A character device.
    Char,
    /// A block device.
    Block,
}

/// Everything about one name that two builders must agree on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// File, directory, …
    pub kind: Kind,
    /// The twelve permission bits, in octal.
    pub mode: String,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Bytes, of a regular file.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: u64,
    /// Of a regular file's content, unless `text` holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// A small regular file's content, where it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A symbolic link's target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// A device's `major:minor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rdev: Option<String>,
    /// Extended attributes; a value that is no text in hexadecimal after `0x`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, String>,
    /// The other names of the same inode.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hardlinks: Vec<String>,
    /// Seconds since 1970; not compared unless a test asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// A file system: path (without a leading slash; the root is left out) to facts.
pub type Files = BTreeMap<String, FileFacts>;

/// Content up to this size is kept as text, so that a difference can be read.
const TEXT_LIMIT: u64 = 4096;

/// Applies layers, lowest first.
pub fn flatten(layers: impl IntoIterator<Item = Result<Box<dyn Read>>>) -> Result<Files> {
    let mut table = Table::default();
    for (number, layer) in layers.into_iter().enumerate() {
        let entries = read_layer(layer?).map_err(Error::at(format!("layer {number}")))?;
        table.apply(entries).map_err(Error::at(format!("layer {number}")))?;
    }
    Ok(table.finish())
}

#[derive(Debug)]
enum Entry {
    Whiteout(String),
    Opaque(String),
    Hardlink { path: String, target: String },
    Node { path: String, facts: FileFacts },
}

fn read_layer(reader: Box<dyn Read>) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries().map_err(Error::at("tar"))? {
        let mut entry = entry.map_err(Error::at("tar"))?;
        let raw = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = normal(&raw)?;
        if path.is_empty() || entry.header().entry_type() == EntryType::XGlobalHeader {
            continue;
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name == ".wh..wh..opq" {
            entries.push(Entry::Opaque(parent.to_owned()));
        } else if let Some(gone) = name.strip_prefix(".wh.") {
            entries.push(Entry::Whiteout(join(parent, gone)));
        } else if entry.header().entry_type() == EntryType::Link {
            let target = entry.link_name_bytes().ok_or_else(|| Error::new(format!("{raw}: a hard link to nothing")))?;
            let target = normal(&String::from_utf8_lossy(&target))?;
            entries.push(Entry::Hardlink { path, target });
        } else {
            let facts = facts(&mut entry).map_err(Error::at(&raw))?;
            entries.push(Entry::Node { path, facts });
        }
    }
    Ok(entries)
}

fn facts(entry: &mut tar::Entry<'_, impl Read>) -> Result<FileFacts> {
    let mut xattrs = BTreeMap::new();
    if let Some(records) = entry.pax_extensions().map_err(Error::at("pax"))? {
        for record in records {
            let record = record.map_err(Error::at("pax"))?;
            let key = record.key().map_err(Error::at("pax"))?.to_owned();
            if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                xattrs.insert(name.to_owned(), readable(record.value_bytes()));
            }
        }
    }
    let header = entry.header().clone();
    let kind = match header.entry_type() {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
        EntryType::Directory => Kind::Dir,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Fifo => Kind::Fifo,
        EntryType::Char => Kind::Char,
        EntryType::Block => Kind::Block,
        other => return Err(Error::new(format!("an entry of type {other:?}"))),
    };
    let number = |what: std::io::Result<u64>| what.map_err(Error::at("header"));
    let mut facts = FileFacts {
        kind,
        mode: format!("{:04o}", header.mode().map_err(Error::at("mode"))? & 0o7777),
        uid: number(header.uid())?,
        gid: number(header.gid())?,
        size: 0,
        sha256: None,
        text: None,
        link: None,
        rdev: None,
        xattrs,
        hardlinks: Vec::new(),
        mtime: Some(number(header.mtime())?),
    };
    match kind {
        Kind::File => {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(Error::at("content"))?;
            facts.size = content.len() as u64;
            facts.text = (facts.size <= TEXT_LIMIT).then(|| String::from_utf8(content.clone()).ok()).flatten();
            facts.text = facts.text.filter(|text| !text.contains('\0'));
            facts.sha256 = facts.text.is_none().then(|| Digest::sha256(&content).hex().to_owned());
        }
        Kind::Symlink => {
            let target = entry.link_name_bytes().ok_or_else(|| Error::new("a link to nothing"))?;
            facts.link = Some(String::from_utf8_lossy(&target).into_owned());
        }
        Kind::Char | Kind::Block => {
            let part = |n: std::io::Result<Option<u32>>| n.map_err(Error::at("device")).map(Option::unwrap_or_default);
            facts.rdev = Some(format!("{}:{}", part(header.device_major())?, part(header.device_minor())?));
        }
        Kind::Dir | Kind::Fifo => {}
    }
    Ok(facts)
}

fn readable(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => value.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}")),
    }
}

/// `./a//b/` as `a/b`. A path that leaves the root is an error: no builder may write one.
fn normal(path: &str) -> Result<String> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(Error::new(format!("{path}: a path with ..")))?,
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") }
}

#[derive(Debug, Default)]
struct Table {
    names: BTreeMap<String, usize>,
    inodes: Vec<FileFacts>,
}

impl Table {
    fn apply(&mut self, entries: Vec<Entry>) -> Result<()> {
        for entry in &entries {
            match entry {
                Entry::Whiteout(path) => self.remove(path),
                Entry::Opaque(path) => self.remove_below(path),
                Entry::Hardlink { .. } | Entry::Node { .. } => {}
            }
        }
        for entry in entries {
            match entry {
                Entry::Whiteout(_) | Entry::Opaque(_) => {}
                Entry::Hardlink { path, target } => {
                    let inode = *self
                        .names
                        .get(&target)
                        .ok_or_else(|| Error::new(format!("{path}: a hard link to {target}, which is not there")))?;
                    self.put(path, inode)?;
                }
                Entry::Node { path, facts } => {
                    self.inodes.push(facts);
                    self.put(path, self.inodes.len() - 1)?;
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, path: String, inode: usize) -> Result<()> {
        if let Some((parent, _)) = path.rsplit_once('/') {
            match self.names.get(parent).map(|i| self.inodes[*i].kind) {
                Some(Kind::Dir) => {}
                None => self.implicit(parent)?,
                Some(kind) => return Err(Error::new(format!("{path} lies below a {kind:?}"))),
            }
        }
        // A directory over a directory changes its attributes only; anything else takes the old thing's place.
        let both = self.inodes[inode].kind == Kind::Dir
            && self.names.get(&path).is_some_and(|i| self.inodes[*i].kind == Kind::Dir);
        if !both {
            self.remove(&path);
        }
        self.names.insert(path, inode);
        Ok(())
    }

    /// A parent that no layer holds: every unpacker makes it as root's, 0755.
    fn implicit(&mut self, path: &str) -> Result<()> {
        self.inodes.push(FileFacts {
            kind: Kind::Dir,
            mode: "0755".to_owned(),
            uid: 0,
            gid: 0,
            size: 0,
            sha256: None,
            text: None,
            link: None,
            rdev: None,
            xattrs: BTreeMap::new(),
            hardlinks: Vec::new(),
            mtime: None,
        });
        self.put(path.to_owned(), self.inodes.len() - 1)
    }

    fn remove(&mut self, path: &str) {
        self.names.remove(path);
        self.remove_below(path);
    }

    fn remove_below(&mut self, path: &str) {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let below = self.names.range(prefix.clone()..).map(|(name, _)| name);
        let gone: Vec<String> = below.take_while(|name| name.starts_with(&prefix)).cloned().collect();
        for name in gone {
            self.names.remove(&name);
        }
    }

    fn finish(self) -> Files {
        let mut groups: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for (name, inode) in &self.names {
            groups.entry(*inode).or_default().push(name.clone());
        }
        let mut files = Files::new();
        for (name, inode) in &self.names {
            let mut facts = self.inodes[*inode].clone();
            facts.hardlinks = groups[inode].iter().filter(|other| *other != name).cloned().collect();
            files.insert(name.clone(), facts);
        }
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Result<Box<dyn Read>> {
        let mut builder = tar::Builder::new(Vec::new());
        build(&mut builder);
        Ok(Box::new(std::io::Cursor::new(builder.into_inner().expect("memory"))))
    }

    fn add(builder: &mut tar::Builder<Vec<u8>>, path: &str, kind: EntryType, content: &str) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_size(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        match kind {
            EntryType::Symlink | EntryType::Link => builder.append_link(&mut header, path, content).expect("memory"),
            _ => {
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, path, content.as_bytes()).expect("memory");
            }
        }
    }

    fn names(files: &Files) -> Vec<&str> {
        files.keys().map(String::as_str).collect()
    }

    #[test]
    fn whiteouts_take_from_lower_layers_only() {
        let files = flatten([
            layer(|b| {
                add(b, "d/", EntryType::Directory, "");
                add(b, "d/old", EntryType::Regular, "1");
                add(b, "gone", EntryType::Regular, "1");
            }),
            layer(|b| {
                add(b, "d/new", EntryType::Regular, "2");
                add(b, "d/.wh..wh..opq", EntryType::Regular, "");
                add(b, ".wh.gone", EntryType::Regular, "");
            }),
        ])
        .expect("two good layers");
        assert_eq!(names(&files), ["d", "d/new"]);
    }

    #[test]
    fn a_directory_merges_and_a_file_replaces() {
        let files = flatten([
            layer(|b| {
                add(b, "a/", EntryType::Directory, "");
                add(b, "a/x", EntryType::Regular, "1");
                add(b, "b/", EntryType::Directory, "");
                add(b, "b/x", EntryType::Regular, "1");
            }),
            layer(|b| {
                add(b, "a/", EntryType::Directory, "");
                add(b, "b", EntryType::Symlink, "a");
            }),
        ])
        .expect("two good layers");
        assert_eq!(names(&files), ["a", "a/x", "b"]);
        assert_eq!(files["b"].link.as_deref(), Some("a"));
    }

    #[test]
    fn hard_links_are_groups_until_one_name_is_replaced() {
        let linked = || {
            layer(|b| {
                add(b, "x", EntryType::Regular, "1");
                add(b, "y", EntryType::Link, "x");
            })
        };
        let files = flatten([linked()]).expect("a good layer");
        assert_eq!(files["x"].hardlinks, ["y"]);
        let files = flatten([linked(), layer(|b| add(b, "x", EntryType::Regular, "2"))]).expect("two good layers");
        assert!(files["x"].hardlinks.is_empty() && files["y"].hardlinks.is_empty());
        assert_eq!(files["y"].text.as_deref(), Some("1"));
    }

    #[test]
    fn paths_out_of_the_root_are_refused() {
        assert!(normal("a/../../b").is_err());
        assert_eq!(normal("./a//b/").expect("a path"), "a/b");
    }
}
