//! Placed objects into a tar or a directory.
use super::place::Placed;
use crate::error::{BuildError, Kind, Result};
use layer::{Content, Entry, Kind as EntryKind, TarWriter, Toc, TocItem, TreeWriter};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::path::PathBuf;

/// What objects are written to.
pub(crate) trait Target {
    /// Writes one and says where its content lies, where that is a question.
    fn put(&mut self, entry: &Entry, content: Option<Box<dyn io::Read + Send>>) -> layer::Result<u64>;
}

impl<W: Write> Target for TarWriter<W> {
    fn put(&mut self, entry: &Entry, content: Option<Box<dyn io::Read + Send>>) -> layer::Result<u64> {
        match content {
            Some(mut content) => self.append(entry, &mut content),
            None => self.append(entry, &mut io::empty()),
        }
    }
}

impl Target for TreeWriter<'_> {
    fn put(&mut self, entry: &Entry, content: Option<Box<dyn io::Read + Send>>) -> layer::Result<u64> {
        self.append(entry, content).map(|()| 0)
    }
}

/// Writes the objects in order and says where their contents lie. Files whose name is reserved for whiteouts cannot
/// be in a layer; their paths are given back.
pub(crate) fn write(placed: &BTreeMap<PathBuf, Placed>, out: &mut impl Target) -> Result<(Toc, Vec<PathBuf>)> {
    let mut toc = Toc::default();
    let mut reserved = Vec::new();
    let mut first_names: HashMap<(usize, u64, u64), PathBuf> = HashMap::new();
    for (path, object) in placed {
        let name = path.file_name().map(|n| n.as_encoded_bytes()).unwrap_or_default();
        if name.starts_with(b".wh.") {
            reserved.push(path.clone());
            continue;
        }
        if let Some(inode) = object.inode
            && object.entry.kind == EntryKind::File
        {
            if let Some(first) = first_names.get(&inode) {
                let mut link = Entry::hardlink(path, first);
                link.mode = object.entry.mode;
                (link.uid, link.gid, link.mtime) = (object.entry.uid, object.entry.gid, object.entry.mtime);
                append(out, &link, None)?;
                toc.items.push(TocItem::Entry { entry: link, content: Content::default() });
                continue;
            }
            first_names.insert(inode, path.clone());
        }
        let offset = match &object.content {
            Some((tree, source)) => append(out, &object.entry, Some(tree.open(source)?))?,
            None => append(out, &object.entry, None)?,
        };
        toc.items.push(TocItem::Entry { entry: object.entry.clone(), content: Content { offset, sparse: Vec::new() } });
    }
    Ok((toc, reserved))
}

fn append(out: &mut impl Target, entry: &Entry, content: Option<Box<dyn io::Read + Send>>) -> Result<u64> {
    out.put(entry, content).map_err(|e| {
        BuildError::new(Kind::Io, format!("cannot write {} into the layer: {e}", entry.path.display())).caused_by(e)
    })
}
