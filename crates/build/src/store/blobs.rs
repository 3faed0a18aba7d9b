//! Blobs: content named by its digest.
use super::Store;
use crate::error::{BuildError, Result};
use oci::{Digest, Digester};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

/// A blob that is being written. Dropped without [`BlobFile::commit`], nothing remains.
#[derive(Debug)]
pub(crate) struct BlobFile {
    path: PathBuf,
    committed: bool,
}

impl BlobFile {
    /// Opens the file for writing; may be called once.
    pub(crate) fn create(&self) -> Result<File> {
        File::create(&self.path).map_err(|e| BuildError::io("write", &self.path, e))
    }

    /// Where it lies until it has its name.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Gives the content its name. The caller has computed the digest while writing.
    pub(crate) fn commit(mut self, store: &Store, digest: &Digest) -> Result<()> {
        let target = store.blob_path(digest);
        if let Some(dir) = target.parent() {
            fs::create_dir_all(dir).map_err(|e| BuildError::io("make", dir, e))?;
        }
        store.publish(&self.path, &target).map_err(|e| BuildError::io("write", &target, e))?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for BlobFile {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Store {
    /// Where a blob lies.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm()).join(digest.hex())
    }

    /// Whether a blob is there with this size. (Content is checked when it is written, and again where it is read
    /// whole; a size that differs is what a crash of the machine leaves.)
    #[must_use]
    pub fn has_blob(&self, digest: &Digest, size: u64) -> bool {
        fs::metadata(self.blob_path(digest)).is_ok_and(|m| m.len() == size)
    }

    /// A new blob.
    pub(crate) fn new_blob(&self) -> BlobFile {
        BlobFile { path: self.scratch("blob"), committed: false }
    }

    /// Stores bytes.
    pub(crate) fn put_blob(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::sha256(bytes);
        if !self.has_blob(&digest, bytes.len() as u64) {
            self.write(&self.blob_path(&digest), bytes)?;
        }
        Ok(digest)
    }

    /// Reads a small blob whole and checks its digest; `None` where it is not there or damaged.
    pub(crate) fn read_blob(&self, digest: &Digest) -> Option<Vec<u8>> {
        let bytes = fs::read(self.blob_path(digest)).ok()?;
        let mut digester = Digester::like(digest);
        digester.update(&bytes);
        (digester.finish() == *digest).then_some(bytes)
    }

    /// Opens a blob for streaming.
    ///
    /// # Errors
    /// Where it is not there.
    pub fn open_blob(&self, digest: &Digest) -> io::Result<File> {
        let path = self.blob_path(digest);
        File::open(&path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
    }
}
