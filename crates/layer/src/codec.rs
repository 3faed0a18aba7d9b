//! Codecs of layers and archives: found by their first bytes, never by a name.

use crate::error::Result;
use std::io::Read;

/// How a layer's tar is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// bzip2: read only, for ADD.
    Bzip2,
    /// xz: read only, for ADD.
    Xz,
}

impl Compression {
    /// The codec whose magic number the bytes begin with; `None` compression when there is none.
    #[must_use]
    pub fn detect(head: &[u8]) -> Self {
        let _ = head;
        Self::None
    }
}

/// The tar of a layer: gzip (several members too), zstd (several frames too) or plain, told by the first bytes.
pub fn decompress<'a>(reader: impl Read + Send + 'a) -> Result<Box<dyn Read + Send + 'a>> {
    let _ = reader;
    Err(crate::error::unfinished("decompress"))
}

/// As [`decompress`], and bzip2 and xz: what ADD unpacks.
pub fn decompress_any<'a>(reader: impl Read + Send + 'a) -> Result<Box<dyn Read + Send + 'a>> {
    let _ = reader;
    Err(crate::error::unfinished("decompress_any"))
}

/// Whether a file that begins with these bytes is an archive that ADD unpacks: a tar, plain or in a codec that
/// BuildKit unpacks (gzip, bzip2, xz, zstd). Give at least [`DETECT_BYTES`] bytes, or the whole file if it is shorter.
#[must_use]
pub fn detect_archive(head: &[u8]) -> bool {
    let _ = head;
    false
}

/// How many bytes [`detect_archive`] wants to see.
pub const DETECT_BYTES: usize = 1 << 20;
