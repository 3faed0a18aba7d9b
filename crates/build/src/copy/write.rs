//! Placed objects into a tar.
use super::place::Placed;
use crate::error::{BuildError, Kind, Result};
use layer::{Content, Entry, Kind as EntryKind, TarWriter, Toc, TocItem};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::path::PathBuf;

/// Writes the objects in order and says where their contents lie. Files whose name is reserved for whiteouts cannot
/// be in a layer; their paths are given back.
pub(crate) fn write<W: Write>(
    placed: &BTreeMap<PathBuf, Placed>,
    out: &mut TarWriter<W>,
) -> Result<(Toc, Vec<PathBuf>)> {
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
                append(out, &link, &mut io::empty())?;
                toc.items.push(TocItem::Entry { entry: link, content: Content::default() });
                continue;
            }
            first_names.insert(inode, path.clone());
        }
        let offset = match &object.content {
            Some((tree, source)) => {
                let mut reader = tree.open(source)?;
                append(out, &object.entry, &mut reader)?
            }
            None => append(out, &object.entry, &mut io::empty())?,
        };
        toc.items.push(TocItem::Entry { entry: object.entry.clone(), content: Content { offset, sparse: Vec::new() } });
    }
    Ok((toc, reserved))
}

fn append<W: Write>(out: &mut TarWriter<W>, entry: &Entry, content: &mut dyn io::Read) -> Result<u64> {
    out.append(entry, content).map_err(|e| {
        BuildError::new(Kind::Io, format!("cannot write {} into the layer: {e}", entry.path.display())).caused_by(e)
    })
}
