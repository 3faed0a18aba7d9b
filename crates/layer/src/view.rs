//! The tree that a chain of layers makes, read from their tables of contents.
//!
//! It answers what a builder asks of a root filesystem (where does this path lead, who owns it, what is in here)
//! without unpacking anything. Whiteouts of a layer hide only what lies below it. A parent of an entry that is a link
//! of the same layer is followed; one of a lower layer is replaced by a directory, as overlayfs has it when layers
//! are unpacked each by itself.

use crate::entry::{Entry, Kind, clean, split};
use crate::error::{Error, Result};
use crate::toc::{Toc, TocItem};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many links a path may lead over, as the kernel has it.
const MAX_LINKS: usize = 40;
const IMPLIED: u32 = u32::MAX;
const ROOT: usize = 0;

/// One object of the merged tree.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    /// Its attributes; `None` for a directory that no layer names but something lies in (and for the root). For a
    /// hardlink these are the attributes of the entry that holds the content, under the path of that entry.
    pub entry: Option<&'a Entry>,
    /// Index of the layer that it comes from.
    pub layer: usize,
    /// Index of its line in that layer's table, where it has one.
    pub item: Option<usize>,
}

impl Node<'_> {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.entry.map_or(Kind::Dir, |e| e.kind)
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.kind() == Kind::Dir
    }
}

#[derive(Debug, Clone)]
struct Data {
    layer: u32,
    item: u32,
    /// The last layer that put this or something in it.
    touched: u32,
    children: BTreeMap<Box<[u8]>, usize>,
}

/// A read-only tree merged from layers, the lowest first.
#[derive(Debug, Clone)]
pub struct View {
    layers: Vec<Arc<Toc>>,
    nodes: Vec<Data>,
}

impl Default for View {
    fn default() -> Self {
        let root = Data { layer: 0, item: IMPLIED, touched: 0, children: BTreeMap::new() };
        Self { layers: Vec::new(), nodes: vec![root] }
    }
}

impl View {
    /// The empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree of a chain, the lowest layer first.
    pub fn of(layers: impl IntoIterator<Item = Arc<Toc>>) -> Self {
        let mut view = Self::new();
        for layer in layers {
            view.push(layer);
        }
        view
    }

    /// Puts a layer on top.
    pub fn push(&mut self, layer: Arc<Toc>) {
        let number = self.layers.len() as u32;
        self.layers.push(Arc::clone(&layer));
        for (line, item) in layer.items.iter().enumerate() {
            match item {
                TocItem::Entry { entry, .. } => self.add(entry, number, line as u32),
                TocItem::Opaque(path) => {
                    if let Some(node) = self.find(path) {
                        self.hide_in(node, number);
                    }
                }
                TocItem::Whiteout(path) => {
                    let Some((parent, name)) = split(path) else { continue };
                    if let Some(parent) = self.find(parent) {
                        self.hide(parent, name.as_bytes(), number);
                    }
                }
            }
        }
    }

    /// The layers, lowest first.
    #[must_use]
    pub fn layers(&self) -> &[Arc<Toc>] {
        &self.layers
    }

    /// The object at a clean path; no symlink is followed. The root is always there.
    #[must_use]
    pub fn lookup(&self, path: &Path) -> Option<Node<'_>> {
        self.find(path).map(|node| self.node(node))
    }

    /// The clean path that `path` leads to when symlinks are followed inside the root, as in chroot. What does not
    /// exist stays in the result, below what its parents lead to. `follow_last` says whether a link at the end is
    /// followed.
    pub fn resolve(&self, path: &Path, follow_last: bool) -> Result<PathBuf> {
        let mut todo = parts(path);
        let mut done: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        while let Some(part) = todo.pop_front() {
            if part == b".." {
                done.pop();
                continue;
            }
            done.push(part);
            if todo.is_empty() && !follow_last {
                break;
            }
            let here = join(&done);
            let target = match self.lookup(&here).and_then(|n| n.entry) {
                Some(entry) if entry.kind == Kind::Symlink => entry.link.as_deref().unwrap_or(Path::new("")),
                _ => continue,
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(Error::Loop { path: path.to_owned() });
            }
            if target.is_absolute() {
                done.clear();
            } else {
                done.pop();
            }
            for part in parts(target).into_iter().rev() {
                todo.push_front(part);
            }
        }
        Ok(join(&done))
    }

    /// Names in a directory, sorted by bytes; empty when it is no directory.
    #[must_use]
    pub fn read_dir<'a>(&'a self, path: &Path) -> Vec<(&'a OsStr, Node<'a>)> {
        let Some(node) = self.find(path) else { return Vec::new() };
        let children = self.nodes[node].children.iter();
        children.map(|(name, child)| (OsStr::from_bytes(name), self.node(*child))).collect()
    }

    fn node(&self, at: usize) -> Node<'_> {
        let data = &self.nodes[at];
        let layer = data.layer as usize;
        let item = (data.item != IMPLIED).then_some(data.item as usize);
        let entry = item.and_then(|item| match self.layers.get(layer)?.items.get(item)? {
            TocItem::Entry { entry, .. } => Some(entry),
            _ => None,
        });
        Node { entry, layer, item }
    }

    fn find(&self, path: &Path) -> Option<usize> {
        let mut node = ROOT;
        for part in path.as_os_str().as_bytes().split(|b| *b == b'/').filter(|p| !p.is_empty()) {
            node = *self.nodes[node].children.get(part)?;
        }
        Some(node)
    }

    fn add(&mut self, entry: &Entry, layer: u32, line: u32) {
        let Some((parent, name)) = split(&entry.path) else { return };
        let Some(parent) = self.parent(parent, layer) else { return };
        let target = match (entry.kind, &entry.link) {
            (Kind::Hardlink, Some(link)) => self.hardlink_target(link),
            _ => None,
        };
        let (of_layer, item) = target.unwrap_or((layer, line));
        let existing = self.nodes[parent].children.get(name.as_bytes()).copied();
        match existing {
            Some(node) => {
                let merges = entry.kind == Kind::Dir && self.node(node).is_dir();
                let data = &mut self.nodes[node];
                if !merges {
                    data.children.clear();
                }
                (data.layer, data.item, data.touched) = (of_layer, item, layer);
            }
            None => {
                self.child(
                    parent,
                    name.as_bytes(),
                    Data { layer: of_layer, item, touched: layer, children: BTreeMap::new() },
                );
            }
        }
    }

    fn hardlink_target(&self, link: &Path) -> Option<(u32, u32)> {
        let node = match split(link) {
            Some((parent, name)) => self.find(&self.resolve(parent, true).ok()?.join(name))?,
            None => return None,
        };
        let data = &self.nodes[node];
        (data.item != IMPLIED).then_some((data.layer, data.item))
    }

    fn child(&mut self, parent: usize, name: &[u8], data: Data) -> usize {
        self.nodes.push(data);
        let node = self.nodes.len() - 1;
        self.nodes[parent].children.insert(name.into(), node);
        node
    }

    /// The directory that an entry of `layer` lies in, made where it is missing.
    fn parent(&mut self, path: &Path, layer: u32) -> Option<usize> {
        let mut above = vec![ROOT];
        let mut todo = parts(path);
        let mut links = 0;
        while let Some(part) = todo.pop_front() {
            let here = *above.last()?;
            if part == b".." {
                if above.len() > 1 {
                    above.pop();
                }
                continue;
            }
            let next = match self.nodes[here].children.get(part.as_slice()).copied() {
                Some(next) => next,
                None => {
                    let data = Data { layer, item: IMPLIED, touched: layer, children: BTreeMap::new() };
                    self.child(here, &part, data)
                }
            };
            if !self.node(next).is_dir() {
                let own = self.nodes[next].touched == layer;
                let link = self.node(next).entry.filter(|e| own && e.kind == Kind::Symlink);
                if let Some(target) = link.and_then(|e| e.link.clone()) {
                    links += 1;
                    if links > MAX_LINKS {
                        return None;
                    }
                    if target.is_absolute() {
                        above.truncate(1);
                    }
                    for part in parts(&target).into_iter().rev() {
                        todo.push_front(part);
                    }
                    continue;
                }
                let data = &mut self.nodes[next];
                (data.layer, data.item) = (layer, IMPLIED);
                data.children.clear();
            }
            self.nodes[next].touched = layer;
            above.push(next);
        }
        above.last().copied()
    }

    /// Hides what lower layers have under a name.
    fn hide(&mut self, parent: usize, name: &[u8], layer: u32) {
        let Some(node) = self.nodes[parent].children.get(name).copied() else { return };
        if self.nodes[node].touched == layer {
            self.hide_in(node, layer);
        } else {
            self.nodes[parent].children.remove(name);
        }
    }

    fn hide_in(&mut self, node: usize, layer: u32) {
        let names: Vec<Box<[u8]>> = self.nodes[node].children.keys().cloned().collect();
        for name in names {
            self.hide(node, &name, layer);
        }
    }
}

fn parts(path: &Path) -> VecDeque<Vec<u8>> {
    let parts = path.as_os_str().as_bytes().split(|b| *b == b'/');
    parts.filter(|p| !matches!(*p, b"" | b".")).map(<[u8]>::to_vec).collect()
}

fn join(parts: &[Vec<u8>]) -> PathBuf {
    clean(Path::new(OsStr::from_bytes(&parts.join(&b'/'))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toc::Content;

    fn toc(items: Vec<TocItem>) -> Arc<Toc> {
        Arc::new(Toc { items })
    }

    fn entry(entry: Entry) -> TocItem {
        TocItem::Entry { entry, content: Content::default() }
    }

    fn names(view: &View, path: &str) -> Vec<String> {
        view.read_dir(Path::new(path)).iter().map(|(n, _)| n.to_string_lossy().into_owned()).collect()
    }

    fn base() -> Arc<Toc> {
        toc(vec![
            entry(Entry::dir("usr", 0o755)),
            entry(Entry::dir("usr/lib", 0o755)),
            entry(Entry::file("usr/lib/a", 0o644, 3)),
            entry(Entry::file("usr/lib/b", 0o644, 3)),
            entry(Entry::symlink("lib", "usr/lib")),
            entry(Entry::symlink("up", "../../usr/./lib/../lib")),
            entry(Entry::symlink("loop", "loop")),
            entry(Entry::symlink("usr/abs", "/lib/a")),
            entry(Entry::hardlink("usr/hard", "usr/lib/a")),
            entry(Entry::file("etc/passwd", 0o644, 9)),
        ])
    }

    #[test]
    fn links_are_resolved_as_in_a_chroot() {
        let view = View::of([base()]);
        let resolve = |p: &str| view.resolve(Path::new(p), true).map(|p| p.to_string_lossy().into_owned());
        for (path, want) in [
            ("/lib/a", "usr/lib/a"),
            ("lib/../x", "usr/x"),
            ("up/b", "usr/lib/b"),
            ("usr/abs", "usr/lib/a"),
            ("../../etc/passwd", "etc/passwd"),
            ("lib/none/deeper", "usr/lib/none/deeper"),
            ("/", ""),
        ] {
            assert_eq!(resolve(path).unwrap(), want, "{path}");
        }
        assert!(matches!(resolve("loop/x"), Err(Error::Loop { .. })));
        assert_eq!(view.resolve(Path::new("lib"), false).unwrap(), Path::new("lib"));
        assert_eq!(view.lookup(Path::new("usr/hard")).unwrap().entry.unwrap().path, Path::new("usr/lib/a"));
        assert!(view.lookup(Path::new("etc")).unwrap().entry.is_none());
    }

    #[test]
    fn whiteouts_hide_lower_layers_only() {
        let mut view = View::of([base()]);
        view.push(toc(vec![
            entry(Entry::file("usr/lib/c", 0o644, 1)),
            TocItem::Opaque("usr/lib".into()),
            TocItem::Whiteout("usr/lib/c".into()),
            TocItem::Whiteout("etc".into()),
            entry(Entry::file("etc/new", 0o644, 1)),
        ]));
        assert_eq!(names(&view, "usr/lib"), ["c"]);
        assert_eq!(names(&view, "etc"), ["new"]);
        assert_eq!(view.lookup(Path::new("usr/lib")).unwrap().layer, 0);
    }

    #[test]
    fn directories_merge_and_others_replace() {
        let mut view = View::of([base()]);
        view.push(toc(vec![
            entry(Entry::dir("usr/lib", 0o700)),
            entry(Entry::file("usr/abs", 0o600, 0)),
            entry(Entry::file("lib/x", 0o600, 0)),
        ]));
        assert_eq!(names(&view, "usr/lib"), ["a", "b"]);
        assert_eq!(view.lookup(Path::new("usr/lib")).unwrap().entry.unwrap().mode, 0o700);
        assert_eq!(view.lookup(Path::new("usr/abs")).unwrap().kind(), Kind::File);
        assert_eq!(names(&view, "lib"), ["x"]);
        view.push(toc(vec![entry(Entry::file("usr", 0o600, 0))]));
        assert!(names(&view, "usr").is_empty());
    }
}
