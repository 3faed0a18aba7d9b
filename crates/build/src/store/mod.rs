//! The store: one directory that holds everything a build leaves behind.
//!
//! ```text
//! ROOT/
//!   blobs/sha256/HEX       manifests, configs, compressed layers: content named by its digest
//!   layers/ID/             one layer: what a step changed, or a layer of a base image
//!     meta.json            what is known of it (`LayerMeta`)
//!     toc                  its table of contents
//!     fs/                  its files, unpacked as an overlayfs upper directory (where a RUN needed them)
//!     tar                  its files as a plain tar (where no directory was made)
//!   diffs/HEX              the layer with this diff ID: a file that holds its ID
//!   steps/HEX.json         step records: cache key to layer
//!   names/HEX.json         what a name pointed to when a registry was last asked
//!   images/HEX.json        built images by name
//!   mounts/ID/             cache mounts
//!   tmp/PID-N/             work in progress; removed when its owner is gone
//!   locks/ID               who fetches a layer, or uses a cache mount, holds its lock
//!   lock                   builds hold it shared; collection takes it exclusively
//! ```
//!
//! Everything appears by rename, so that a process killed at any point leaves nothing half-made under a final name.
//! Several processes may use one store: two that make the same thing make it twice, and the second rename loses.
mod blobs;
mod layers;
mod lock;
mod records;

pub(crate) use blobs::BlobFile;
pub(crate) use layers::{LayerId, LayerMeta, StoredBlob};
pub(crate) use lock::FileLock;
pub use records::ImageRecord;
pub(crate) use records::{NameRecord, StepRecord};

use crate::error::{BuildError, Result};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The format of the directory; a store of another format is refused.
const FORMAT: &str = "1";

/// An open store.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    work: PathBuf,
    counter: AtomicU64,
    _work_lock: FileLock,
    _shared: FileLock,
}

impl Store {
    /// Opens the store in this directory, making it where it does not exist, and clears away what killed builds left.
    ///
    /// # Errors
    /// Where the directory cannot be used, or holds a store of another format.
    pub fn open(root: &Path) -> Result<Self> {
        for dir in ["blobs/sha256", "layers", "diffs", "steps", "names", "images", "mounts", "tmp", "locks"] {
            let path = root.join(dir);
            fs::create_dir_all(&path).map_err(|e| {
                BuildError::io("make the store's directory", &path, e)
                    .hint("choose a directory that you can write with --root or COOPERAGE_ROOT")
            })?;
        }
        let root = root.canonicalize().map_err(|e| BuildError::io("open", root, e))?;
        let format = root.join("format");
        match fs::read_to_string(&format) {
            Ok(text) if text.trim() == FORMAT => {}
            Ok(text) => {
                return Err(BuildError::new(
                    crate::error::Kind::Io,
                    format!(
                        "the store {} has format {}, this program knows format {FORMAT}",
                        root.display(),
                        text.trim()
                    ),
                )
                .hint("use another directory with --root, or the program that made this store"));
            }
            Err(_) => write_atomic(&root, &format, FORMAT.as_bytes())?,
        }
        let shared = FileLock::shared(&root.join("lock"))?;
        clear_abandoned(&root.join("tmp"));
        let (work, work_lock) = make_work(&root.join("tmp"))?;
        Ok(Self { root, work, counter: AtomicU64::new(0), _work_lock: work_lock, _shared: shared })
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A new path for work in progress, not made yet, on the store's file system.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.work.join(format!("{}-{name}", self.counter.fetch_add(1, Ordering::Relaxed)))
    }

    /// The lock file of a thing with this name.
    pub(crate) fn lock_path(&self, name: &str) -> PathBuf {
        self.root.join("locks").join(name)
    }

    /// A new empty directory for work in progress.
    pub(crate) fn scratch_dir(&self, name: &str) -> Result<PathBuf> {
        let path = self.scratch(name);
        fs::create_dir(&path).map_err(|e| BuildError::io("make", &path, e))?;
        Ok(path)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        remove_tree(&self.work);
        let _ = fs::remove_file(self.work.with_extension("lock"));
    }
}

/// Writes a file that appears whole or not at all.
pub(crate) fn write_atomic(root: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = format!("write-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let temporary = root.join("tmp").join(name);
    let written = fs::File::create(&temporary).and_then(|mut f| f.write_all(bytes));
    written.map_err(|e| BuildError::io("write", path, e))?;
    fs::rename(&temporary, path).map_err(|e| BuildError::io("write", path, e))
}

/// Removes a tree whose directories may be closed to us; what cannot be removed stays for the next run.
pub(crate) fn remove_tree(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if fs::remove_dir_all(path).is_ok() || !path.exists() {
        return;
    }
    fn open_up(path: &Path) {
        let Ok(meta) = fs::symlink_metadata(path) else { return };
        if !meta.is_dir() {
            return;
        }
        let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
        if let Ok(list) = fs::read_dir(path) {
            list.flatten().for_each(|entry| open_up(&entry.path()));
        }
    }
    open_up(path);
    let _ = fs::remove_dir_all(path);
}

/// A work directory of this process, with a lock that ends with the process.
fn make_work(tmp: &Path) -> Result<(PathBuf, FileLock)> {
    for n in 0_u32.. {
        let work = tmp.join(format!("{}-{n}", std::process::id()));
        let lock = work.with_extension("lock");
        if work.exists() || lock.exists() {
            continue;
        }
        if let Some(lock) = FileLock::try_exclusive(&lock)? {
            fs::create_dir(&work).map_err(|e| BuildError::io("make", &work, e))?;
            return Ok((work, lock));
        }
    }
    unreachable!("the counter never ends")
}

/// Removes the work directories of processes that are gone.
fn clear_abandoned(tmp: &Path) {
    let Ok(list) = fs::read_dir(tmp) else { return };
    for entry in list.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|e| e == "lock") {
            let free = FileLock::try_exclusive(&path);
            if let Ok(Some(_held)) = free {
                remove_tree(&path.with_extension(""));
                let _ = fs::remove_file(&path);
            }
        }
    }
}
