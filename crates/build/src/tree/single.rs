//! A tree of one file: a heredoc, or a download.
use super::{Node, Tree};
use crate::error::{BuildError, Result};
use layer::{Entry, Time};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the file's bytes are.
#[derive(Debug, Clone)]
pub(crate) enum Bytes {
    Memory(Arc<[u8]>),
    File(PathBuf),
}

/// One file in the root of a tree.
pub(crate) struct SingleTree {
    name: OsString,
    entry: Entry,
    bytes: Bytes,
}

impl SingleTree {
    pub(crate) fn new(name: &str, mode: u32, size: u64, mtime: Time, bytes: Bytes) -> Self {
        let mut entry = Entry::file(name, mode, size);
        entry.mtime = mtime;
        Self { name: name.into(), entry, bytes }
    }
}

impl Tree for SingleTree {
    fn lookup(&self, path: &Path) -> Result<Option<Node>> {
        if path.as_os_str().is_empty() {
            return Ok(Some(Node::of(Entry::dir("", 0o755))));
        }
        Ok((path.as_os_str() == self.name).then(|| Node::of(self.entry.clone())))
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<(OsString, Node)>> {
        if path.as_os_str().is_empty() {
            return Ok(vec![(self.name.clone(), Node::of(self.entry.clone()))]);
        }
        Ok(Vec::new())
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>> {
        match &self.bytes {
            Bytes::Memory(bytes) => Ok(Box::new(Cursor::new(Arc::clone(bytes)))),
            Bytes::File(file) => Ok(Box::new(File::open(file).map_err(|e| BuildError::io("open", path, e))?)),
        }
    }

    fn describe(&self) -> String {
        self.name.to_string_lossy().into_owned()
    }
}
