//! Writes tar archives, byte for byte as BuildKit does for the same tree.

use crate::entry::Entry;
use crate::error::Result;
use std::io::{Read, Write};
use std::path::Path;

/// Writes a layer's tar.
pub struct TarWriter<W: Write> {
    out: W,
}

impl<W: Write> TarWriter<W> {
    /// An archive on `out`.
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// Time of whiteouts, in seconds after 1970; 0 unless it is set.
    pub fn set_whiteout_time(&mut self, secs: i64) {
        let _ = secs;
    }

    /// Writes one entry. For files, `content` must give exactly `entry.size` bytes. Returns where the content begins.
    pub fn append(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<u64> {
        let _ = (entry, content);
        Err(crate::error::unfinished("TarWriter"))
    }

    /// Says that a path of the lower layers is gone.
    pub fn whiteout(&mut self, path: &Path) -> Result<()> {
        let _ = path;
        Err(crate::error::unfinished("TarWriter"))
    }

    /// Says that what lower layers have in this directory is gone.
    pub fn opaque(&mut self, dir: &Path) -> Result<()> {
        let _ = dir;
        Err(crate::error::unfinished("TarWriter"))
    }

    /// Writes the end mark and gives the sink back.
    pub fn finish(self) -> Result<W> {
        Ok(self.out)
    }
}
