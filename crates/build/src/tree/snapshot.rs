//! The layers of a snapshot as one tree, merged through their tables of contents: nothing is mounted.
use super::{Node, Tree};
use crate::error::{BuildError, Result};
use layer::{Entry, Kind, Time, TocItem, View};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Where the bytes of a layer's files are.
#[derive(Debug, Clone)]
pub(crate) enum ContentSource {
    /// A directory with the layer unpacked.
    Dir(PathBuf),
    /// The layer's plain tar.
    Tar(PathBuf),
}

/// Finds the bytes of a layer when they are needed for the first time (by the layer's number in the view).
pub(crate) type ContentFinder = dyn Fn(usize) -> Result<ContentSource> + Send + Sync;

/// A merged tree.
pub(crate) struct SnapshotTree {
    view: Arc<View>,
    find: Box<ContentFinder>,
    found: Mutex<HashMap<usize, ContentSource>>,
    name: String,
}

impl SnapshotTree {
    pub(crate) fn new(
        view: impl Into<Arc<View>>,
        name: impl Into<String>,
        find: impl Fn(usize) -> Result<ContentSource> + Send + Sync + 'static,
    ) -> Self {
        Self { view: view.into(), find: Box::new(find), found: Mutex::default(), name: name.into() }
    }

    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    fn source(&self, index: usize) -> Result<ContentSource> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = found.get(&index) {
            return Ok(source.clone());
        }
        let source = (self.find)(index)?;
        found.insert(index, source.clone());
        Ok(source)
    }

    fn node(path: &Path, node: &layer::Node<'_>) -> Node {
        let Some(entry) = node.entry else {
            return Node::of(Entry::dir(path, 0o755));
        };
        let mut copy = entry.clone();
        path.clone_into(&mut copy.path);
        let inode = node.item.filter(|_| copy.kind == Kind::File).map(|item| (node.layer as u64, item as u64));
        Node { entry: copy, inode, stamp: None }
    }
}

impl Tree for SnapshotTree {
    fn lookup(&self, path: &Path) -> Result<Option<Node>> {
        if path.as_os_str().is_empty() {
            let mut root = Entry::dir("", 0o755);
            if let Some(node) = self.view.lookup(path)
                && let Some(entry) = node.entry
            {
                root = entry.clone();
            }
            return Ok(Some(Node::of(root)));
        }
        Ok(self.view.lookup(path).map(|node| Self::node(path, &node)))
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<(OsString, Node)>> {
        let list = self.view.read_dir(path);
        Ok(list.into_iter().map(|(name, node)| (name.to_owned(), Self::node(&path.join(name), &node))).collect())
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>> {
        let gone = || BuildError::io("read", path, io::Error::from(io::ErrorKind::NotFound));
        let node = self.view.lookup(path).ok_or_else(gone)?;
        let toc: Arc<_> = Arc::clone(self.view.layers().get(node.layer).ok_or_else(gone)?);
        let Some(TocItem::Entry { entry, content }) = node.item.and_then(|item| toc.items.get(item)) else {
            return Err(gone());
        };
        match self.source(node.layer)? {
            ContentSource::Dir(dir) => {
                let full = dir.join(&entry.path);
                let file = File::options()
                    .read(true)
                    .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
                    .open(&full)
                    .map_err(|e| BuildError::io("open", &full, e))?;
                Ok(Box::new(file))
            }
            ContentSource::Tar(tar) => {
                let file = File::open(&tar).map_err(|e| BuildError::io("open", &tar, e))?;
                let pieces = if content.sparse.is_empty() { vec![(0, entry.size)] } else { content.sparse.clone() };
                Ok(Box::new(TarContent {
                    file,
                    offset: content.offset,
                    pieces,
                    piece: 0,
                    position: 0,
                    size: entry.size,
                }))
            }
        }
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}

/// The content of a file inside a tar, holes filled with zeros.
struct TarContent {
    file: File,
    /// Where the next stored byte of the current piece lies.
    offset: u64,
    /// Place in the file and length of each stored piece.
    pieces: Vec<(u64, u64)>,
    piece: usize,
    position: u64,
    size: u64,
}

impl Read for TarContent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.size - self.position;
        if left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        while self.pieces.get(self.piece).is_some_and(|(start, length)| self.position >= start + length) {
            self.piece += 1;
        }
        let (limit, stored) = match self.pieces.get(self.piece) {
            Some((start, length)) if self.position >= *start => (start + length - self.position, true),
            Some((start, _)) => (start - self.position, false),
            None => (left, false),
        };
        let count = usize::try_from(limit.min(left)).unwrap_or(usize::MAX).min(buffer.len());
        let count = if stored {
            let count = self.file.read_at(&mut buffer[..count], self.offset)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.offset += count as u64;
            count
        } else {
            buffer[..count].fill(0);
            count
        };
        self.position += count as u64;
        Ok(count)
    }
}

/// An entry's time as a plain directory made by the builder has it.
pub(crate) fn builder_time(epoch: Option<i64>) -> Time {
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    Time::secs(epoch.unwrap_or_else(|| i64::try_from(now()).unwrap_or(0)))
}
