//! Archives that ADD unpacks, and contexts that are archives.
use crate::error::{BuildError, Kind, Result};
use crate::snapshot::{layer_error, open_dir};
use crate::tree::{ContentSource, SnapshotTree, Tree};
use layer::{ApplyOptions, Owners, Toc, View, Whiteouts};
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

/// Unpacks an archive of any compression into an empty directory, with everything owned by this process and
/// placeholders for devices: the table of contents says what things are.
pub(crate) fn unpack(from: impl Read + Send, dir: &Path) -> Result<Toc> {
    let root = open_dir(dir)?;
    let mut options = ApplyOptions { whiteouts: Whiteouts::Literal, owners: Owners::Listed, ..ApplyOptions::default() };
    let tar = layer::decompress_any(from).map_err(layer_error)?;
    let applied = layer::apply(tar, root.as_fd(), &mut options)
        .map_err(|e| BuildError::new(Kind::Input, e.to_string()).caused_by(e))?;
    Ok(applied.toc)
}

/// The archive as a tree with the owners, modes and types that its headers name.
pub(crate) fn tree(from: impl Read + Send, dir: &Path, name: &str) -> Result<Arc<dyn Tree>> {
    let toc = unpack(from, dir)?;
    let mut view = View::new();
    view.push(Arc::new(toc));
    let dir = dir.to_owned();
    Ok(Arc::new(SnapshotTree::new(view, name, move |_| Ok(ContentSource::Dir(dir.clone())))))
}

/// Whether the file is an archive that ADD unpacks.
pub(crate) fn is_archive(tree: &dyn Tree, path: &Path, size: u64) -> Result<bool> {
    if size == 0 {
        return Ok(false);
    }
    let mut head = Vec::new();
    let limit = layer::codec::DETECT_BYTES as u64;
    tree.open(path)?.take(limit).read_to_end(&mut head).map_err(|e| BuildError::io("read", path, e))?;
    Ok(layer::detect_archive(&head))
}
