//! The tree that a chain of layers makes, read from their tables of contents.

use crate::entry::Entry;
use crate::error::Result;
use crate::toc::Toc;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One object of the merged tree.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    /// Its attributes; `None` for a directory that no layer names but something lies in. For a hardlink these are
    /// the attributes of the entry that holds the content, under the path of that entry.
    pub entry: Option<&'a Entry>,
    /// Index of the layer that it comes from.
    pub layer: usize,
    /// Index of its line in that layer's table.
    pub item: usize,
}

/// A read-only tree merged from layers, the lowest first.
#[derive(Debug, Clone, Default)]
pub struct View {
    layers: Vec<Arc<Toc>>,
}

impl View {
    /// The empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a layer on top.
    pub fn push(&mut self, layer: Arc<Toc>) {
        self.layers.push(layer);
    }

    /// The layers, lowest first.
    #[must_use]
    pub fn layers(&self) -> &[Arc<Toc>] {
        &self.layers
    }

    /// The object at a clean path; no symlink is followed.
    #[must_use]
    pub fn lookup(&self, path: &Path) -> Option<Node<'_>> {
        let _ = path;
        None
    }

    /// The clean path that `path` leads to when symlinks are followed inside the root, as in chroot. What does not
    /// exist stays in the result: its parents are resolved. `follow_last` says whether a link at the end is followed.
    pub fn resolve(&self, path: &Path, follow_last: bool) -> Result<PathBuf> {
        let _ = (path, follow_last);
        Err(crate::error::unfinished("View::resolve"))
    }

    /// Names in a directory, sorted; empty when it is no directory.
    pub fn read_dir<'a>(&'a self, path: &Path) -> Vec<(&'a OsStr, Node<'a>)> {
        let _ = path;
        Vec::new()
    }
}
