//! Attributes that the file system could not take: the side table.
//!
//! A process without privileges may not chown, make device nodes or set most extended attributes. What it may not
//! set is recorded beside the tree, keyed by inode number and birth time (an inode number alone is used again after
//! a removal), and read back when the tree is packed.
//!
//! Stored (`wire.rs` has numbers and the frame, magic `cprgown` 1):
//! ```text
//! count │ lines, sorted: inode, birth time, kind, owner, group, mode, device, attributes
//! ```

use crate::entry::{Kind, Time, Xattrs};
use crate::error::Result;
use crate::wire::{Decoder, Encoder};
use std::collections::HashMap;

/// Names a file for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileKey {
    /// Inode number.
    pub ino: u64,
    /// Birth time; zero where the file system keeps none.
    pub btime: Time,
}

/// What a file claims to be, whatever the file system says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attrs {
    /// The claimed type: a device node is kept as an empty regular file.
    pub kind: Kind,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    /// Device numbers.
    pub rdev: (u32, u32),
    /// Extended attributes that could not be set.
    pub xattrs: Xattrs,
}

/// Takes attributes that unpacking could not set.
pub trait OwnerSink {
    /// Records what `file` claims to be. Called once for each new file whose attributes differ from what is on disk,
    /// and again when a directory is met twice: the last call wins.
    fn record(&mut self, file: FileKey, attrs: Attrs);
}

/// Gives back what was recorded.
pub trait AttrSource: Sync {
    /// What the file claims to be; `None` when nothing was recorded for it. `mode` is `st_mode` as the file system has
    /// it, for sources that record less than everything.
    fn attrs(&self, file: FileKey, mode: u32) -> Option<Attrs>;
}

/// A side table in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttrTable(HashMap<FileKey, Attrs>);

impl AttrTable {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many files have a record.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All records, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&FileKey, &Attrs)> {
        self.0.iter()
    }

    /// The stored form: versioned, sorted.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Encoder::new(MAGIC);
        let mut records: Vec<_> = self.0.iter().collect();
        records.sort_unstable_by_key(|(key, _)| **key);
        out.number(records.len() as u64);
        for (key, attrs) in records {
            out.number(key.ino);
            out.time(key.btime);
            let ids = [attrs.uid, attrs.gid, attrs.mode, attrs.rdev.0, attrs.rdev.1];
            out.number(attrs.kind.code());
            ids.into_iter().for_each(|id| out.number(id.into()));
            out.number(attrs.xattrs.len() as u64);
            for (name, value) in &attrs.xattrs {
                out.string(name);
                out.string(value);
            }
        }
        out.finish()
    }

    /// Reads the stored form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut from = Decoder::new(bytes, MAGIC, "table of owners")?;
        let mut table = HashMap::new();
        for _ in 0..from.number()? {
            let key = FileKey { ino: from.number()?, btime: from.time()? };
            let tag = from.number()?;
            let kind = Kind::from_code(tag).ok_or_else(|| from.bad())?;
            let (uid, gid, mode) = (from.small()?, from.small()?, from.small()?);
            let rdev = (from.small()?, from.small()?);
            let mut xattrs = Xattrs::new();
            for _ in 0..from.number()? {
                let name = from.string()?.to_vec();
                xattrs.insert(name, from.string()?.to_vec());
            }
            table.insert(key, Attrs { kind, uid, gid, mode, rdev, xattrs });
        }
        if from.is_empty() { Ok(Self(table)) } else { Err(from.bad()) }
    }
}

const MAGIC: &[u8; 8] = b"cprgown\x01";

impl OwnerSink for AttrTable {
    fn record(&mut self, file: FileKey, attrs: Attrs) {
        self.0.insert(file, attrs);
    }
}

impl AttrSource for AttrTable {
    fn attrs(&self, file: FileKey, _: u32) -> Option<Attrs> {
        self.0.get(&file).cloned()
    }
}
