//! OCI image layouts: a directory with `oci-layout`, `index.json` and `blobs/ALGORITHM/HEX`.
//!
//! Blobs appear by rename, `index.json` last, so that a reader never sees an entry whose blobs are
//! missing.
use crate::{Descriptor, Digest, Digester, Index};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The content of the `oci-layout` file.
pub const LAYOUT_FILE: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// The annotation that names an entry of `index.json`.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// An image layout on disk.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Opens a layout that exists.
    ///
    /// # Errors
    /// Where there is no `oci-layout` file.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        let file = root.join("oci-layout");
        fs::metadata(&file).map_err(|e| {
            io::Error::new(e.kind(), format!("{} is no OCI layout: {}: {e}", root.display(), file.display()))
        })?;
        Ok(Self { root })
    }

    /// Opens a layout, making it where it does not exist.
    ///
    /// # Errors
    /// Where directories or files cannot be made.
    pub fn create(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        fs::create_dir_all(root.join("blobs/sha256"))?;
        let layout = Self { root };
        if !layout.root.join("oci-layout").exists() {
            layout.write_file("oci-layout", LAYOUT_FILE.as_bytes())?;
        }
        if !layout.root.join("index.json").exists() {
            layout.set_index(&Index::new(Vec::new(), true))?;
        }
        Ok(layout)
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a blob lies.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm()).join(digest.hex())
    }

    /// Whether a blob is there.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.blob_path(digest).exists()
    }

    /// A blob's bytes, checked against its digest. For manifests and configs; layers are streamed.
    ///
    /// # Errors
    /// Where it is missing or its content is wrong.
    pub fn read_blob(&self, digest: &Digest) -> io::Result<Vec<u8>> {
        let path = self.blob_path(digest);
        let bytes = fs::read(&path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        let mut digester = Digester::like(digest);
        digester.update(&bytes);
        let actual = digester.finish();
        if actual == *digest {
            Ok(bytes)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("{}: content has digest {actual}", path.display())))
        }
    }

    /// Writes a blob from bytes and says what it is called.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write_blob(&self, bytes: &[u8]) -> io::Result<Digest> {
        let digest = Digest::sha256(bytes);
        if !self.has(&digest) {
            self.write_file(&format!("blobs/sha256/{}", digest.hex()), bytes)?;
        }
        Ok(digest)
    }

    /// Copies a blob in from a reader; the content must have this digest.
    ///
    /// # Errors
    /// Where it cannot be read or written, or has another digest.
    pub fn copy_blob(&self, digest: &Digest, from: impl Read) -> io::Result<()> {
        if self.has(digest) {
            return Ok(());
        }
        let target = self.blob_path(digest);
        let temporary = self.temporary(&target)?;
        let mut out = File::create(&temporary)?;
        let copied = io::copy(&mut crate::VerifyReader::new(from, digest.clone(), None), &mut out);
        if let Err(error) = copied {
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        drop(out);
        fs::rename(&temporary, &target)
    }

    /// The index.
    ///
    /// # Errors
    /// Where `index.json` cannot be read or parsed.
    pub fn index(&self) -> io::Result<Index> {
        let path = self.root.join("index.json");
        let bytes = fs::read(&path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        serde_json::from_slice(&bytes)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {e}", path.display())))
    }

    /// Replaces the index.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn set_index(&self, index: &Index) -> io::Result<()> {
        self.write_file("index.json", &serde_json::to_vec(index)?)
    }

    /// Adds an entry; one with the same name, or the same digest and no name, gives way.
    ///
    /// # Errors
    /// Where the index cannot be read or written.
    pub fn add(&self, descriptor: Descriptor) -> io::Result<()> {
        let mut index = self.index()?;
        let name = descriptor.annotations.get(REF_NAME).cloned();
        index.manifests.retain(|d| match &name {
            Some(name) => d.annotations.get(REF_NAME) != Some(name),
            None => d.digest != descriptor.digest || d.annotations.contains_key(REF_NAME),
        });
        index.manifests.push(descriptor);
        self.set_index(&index)
    }

    fn temporary(&self, target: &Path) -> io::Result<PathBuf> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let parent = target.parent().unwrap_or(&self.root);
        fs::create_dir_all(parent)?;
        Ok(parent.join(format!(".tmp-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))))
    }

    fn write_file(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let target = self.root.join(name);
        let temporary = self.temporary(&target)?;
        File::create(&temporary)?.write_all(bytes)?;
        fs::rename(&temporary, &target)
    }
}
