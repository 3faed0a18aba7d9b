//! File trees that steps read from: a context directory, or the layers of a snapshot.
//!
//! Paths are clean and relative to the tree's root, the root itself is empty, and no method follows a symlink:
//! [`resolve`] does, inside the tree, so that a hostile context or image cannot lead the builder to another file.
mod dir;
mod single;
mod snapshot;

pub(crate) use dir::DirTree;
pub(crate) use single::{Bytes, SingleTree};
pub(crate) use snapshot::{ContentSource, SnapshotTree, builder_time};

use crate::error::{BuildError, Kind, Result};
use crate::store::Stamp;
use layer::Entry;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

/// One object of a tree.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Its attributes. A hardlink is given as the file that it is.
    pub(crate) entry: Entry,
    /// What it shares with other names of the same file; `None` for a file with one name.
    pub(crate) inode: Option<(u64, u64)>,
    /// What a file system says of a file's content, where the tree is a directory.
    pub(crate) stamp: Option<Stamp>,
}

impl Node {
    /// Something with one name, of no file system.
    pub(crate) fn of(entry: Entry) -> Self {
        Self { entry, inode: None, stamp: None }
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.entry.kind == layer::Kind::Dir
    }
}

/// A tree to read from.
pub(crate) trait Tree: Send + Sync {
    /// The object at a path.
    fn lookup(&self, path: &Path) -> Result<Option<Node>>;
    /// What is in a directory, sorted by the bytes of the names; empty where the path is no directory.
    fn read_dir(&self, path: &Path) -> Result<Vec<(OsString, Node)>>;
    /// The digest of a file's content, where it is known without reading it.
    fn known_digest(&self, _: &Node) -> Option<[u8; 32]> {
        None
    }
    /// Remembers the digest of a file that was just read, which began at `since` (seconds since 1970).
    fn learn_digest(&self, _: &Node, _: [u8; 32], _since: i64) {}
    /// The content of a regular file.
    fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>>;
    /// What people call this tree.
    fn describe(&self) -> String;
}

/// How many symlinks a path may lead through (the kernel's limit).
const MAX_LINKS: usize = 40;

/// The path that `path` leads to inside the tree, symlinks followed (the last one only if asked). What does not
/// exist stays as it is.
pub(crate) fn resolve(tree: &dyn Tree, path: &Path, follow_last: bool) -> Result<PathBuf> {
    let mut done = PathBuf::new();
    let mut open: Vec<OsString> = components(path).rev().collect();
    let mut links = 0;
    while let Some(name) = open.pop() {
        if name == ".." {
            done.pop();
            continue;
        }
        let next = done.join(&name);
        let last = open.is_empty();
        match tree.lookup(&next)? {
            Some(node) if node.entry.kind == layer::Kind::Symlink && (follow_last || !last) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(BuildError::new(
                        Kind::Dockerfile,
                        format!("too many symbolic links in /{} of {}", path.display(), tree.describe()),
                    ));
                }
                let target = node.entry.link.unwrap_or_default();
                if target.is_absolute() {
                    done = PathBuf::new();
                }
                open.extend(components(&target).rev());
            }
            _ => done = next,
        }
    }
    Ok(done)
}

fn components(path: &Path) -> impl DoubleEndedIterator<Item = OsString> + '_ {
    path.components().filter_map(|c| match c {
        std::path::Component::Normal(name) => Some(name.to_owned()),
        std::path::Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    })
}

/// A small file of the tree, such as /etc/passwd, symlinks followed; `None` where it does not exist.
pub(crate) fn read_small(tree: &dyn Tree, path: &str) -> Result<Option<Vec<u8>>> {
    const LIMIT: u64 = 16 << 20;
    let path = resolve(tree, Path::new(path), true)?;
    match tree.lookup(&path)? {
        Some(node) if node.entry.kind == layer::Kind::File => {
            let mut bytes = Vec::new();
            let read = tree.open(&path)?.take(LIMIT).read_to_end(&mut bytes);
            read.map_err(|e| BuildError::io("read", &path, e))?;
            Ok(Some(bytes))
        }
        _ => Ok(None),
    }
}
