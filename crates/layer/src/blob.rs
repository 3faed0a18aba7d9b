//! Layer blobs: tar bytes in, compressed bytes out, both digests known at the end, in one pass.

use crate::codec::Compression;
use crate::error::Result;
use oci::Digest;
use std::io::{self, Read, Write};

/// What a written layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerBlob {
    /// Digest of the tar.
    pub diff_id: Digest,
    /// Digest of the blob.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// Bytes of the tar.
    pub diff_size: u64,
    /// How it is stored.
    pub compression: Compression,
}

/// Compresses and hashes what is written to it.
pub struct LayerWriter<W> {
    out: W,
}

impl<W: Write + Send + 'static> LayerWriter<W> {
    /// A writer of a layer to `out`. `level` is the codec's own scale (default: gzip 6, zstd 3); the bytes depend on
    /// codec and level, never on `threads`.
    pub fn create(out: W, compression: Compression, level: Option<i32>, threads: usize) -> Result<Self> {
        let _ = (compression, level, threads);
        Ok(Self { out })
    }

    /// Ends the layer and gives the sink back.
    pub fn finish(self) -> Result<(LayerBlob, W)> {
        let _ = self.out;
        Err(crate::error::unfinished("LayerWriter"))
    }
}

impl<W: Write + Send + 'static> Write for LayerWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a layer in any codec and writes it in another.
pub fn recompress<W: Write + Send + 'static>(
    from: impl Read + Send,
    out: W,
    to: Compression,
    level: Option<i32>,
    threads: usize,
) -> Result<(LayerBlob, W)> {
    let _ = (from, out, to, level, threads);
    Err(crate::error::unfinished("recompress"))
}
