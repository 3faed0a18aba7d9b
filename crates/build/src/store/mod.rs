//! The store: one directory that holds everything a build leaves behind.
//!
//! ```text
//! ROOT/
//!   blobs/sha256/HEX       manifests, configs, compressed layers: content named by its digest
//!   layers/ID/             one layer: what a step changed, or a layer of a base image
//!     meta.json            what is known of it (`LayerMeta`)
//!     toc                  its table of contents
//!     fs/                  its files, unpacked as an overlayfs upper directory (where a RUN needed them)
//!     files/               the same with everything owned by the user, for reading (where owners cannot be real)
//!     tar                  its files as a plain tar (where no directory was made)
//!   diffs/HEX              the layer with this diff ID: a file that holds its ID
//!   steps/HEX.json         step records: cache key to layer
//!   names/HEX.json         what a name pointed to when a registry was last asked
//!   images/HEX.json        built images by name
//!   builds/TIME-ID-HEX     records of builds, for `explain`: when, which, of what
//!   files/HEX              lists of the files that steps read, by the digest of the selection
//!   mounts/ID/             cache mounts
//!   file-digests           digests of files of build contexts, see `digests`
//!   trash/                 trees that nobody uses any more; the next command removes them beside its work
//!   tmp/PID-N/             work in progress; removed when its owner is gone
//!   locks/ID               who fetches a layer, or uses a cache mount, holds its lock
//!   unsynced/              says what may not be on disk yet (`durable`)
//!   lock                   builds hold it shared; collection takes it exclusively
//! ```
//!
//! Everything appears by rename, so that a process killed at any point leaves nothing half-made under a final name.
//! Several processes may use one store: two that make the same thing make it twice, and the second rename loses.
mod blobs;
mod builds;
mod digests;
mod durable;
mod gc;
mod layers;
mod lock;
mod records;

pub(crate) use blobs::BlobFile;
pub(crate) use digests::Stamp;
pub use gc::{CachedStep, Part, PrunePolicy, Pruned, Usage};
pub(crate) use layers::{LayerId, LayerMeta, StoredBlob, create_root, fs_name};
pub(crate) use lock::{FileLock, Lock};
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
    digests: digests::FileDigests,
    durability: durable::Durability,
    recovered: usize,
    _work_lock: FileLock,
    _shared: FileLock,
}

impl Store {
    /// Opens the store in this directory, making it where it does not exist, and clears away what killed builds left.
    ///
    /// # Errors
    /// Where the directory cannot be used, or holds a store of another format.
    pub fn open(root: &Path) -> Result<Self> {
        Self::open_as(root, Lock::Shared)
    }

    /// Opens a store for collection: nobody else may use it meanwhile.
    ///
    /// # Errors
    /// Where a build uses it, and as [`Store::open`].
    pub fn open_exclusive(root: &Path) -> Result<Self> {
        Self::open_as(root, Lock::Exclusive)
    }

    /// Whether no step was ever run here, or all are forgotten.
    pub(crate) fn has_no_steps(&self) -> bool {
        fs::read_dir(self.root.join("steps")).is_ok_and(|mut list| list.next().is_none())
    }

    fn open_as(root: &Path, lock: Lock) -> Result<Self> {
        const DIRECTORIES: [&str; 12] = [
            "blobs/sha256",
            "layers",
            "diffs",
            "steps",
            "names",
            "images",
            "builds",
            "files",
            "mounts",
            "tmp",
            "trash",
            "locks",
        ];
        for dir in DIRECTORIES {
            let path = root.join(dir);
            fs::create_dir_all(&path).map_err(|e| {
                BuildError::io("make the store's directory", &path, e)
                    .hint("choose a directory that you can write with --root or COOPERAGE_ROOT")
            })?;
        }
        let root = root.canonicalize().map_err(|e| BuildError::io("open", root, e))?;
        let format = root.join("format");
        let is_new = match fs::read_to_string(&format) {
            Ok(text) if text.trim() == FORMAT => false,
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
            Err(_) => true,
        };
        let recovered = recover(&root)?;
        let shared = match lock {
            Lock::Shared => FileLock::shared(&root.join("lock"))?,
            Lock::Exclusive => FileLock::try_exclusive(&root.join("lock"))?.ok_or_else(|| {
                BuildError::new(crate::error::Kind::Io, format!("the store {} is in use by a build", root.display()))
                    .hint("try again when it has ended")
            })?,
        };
        clear_abandoned(&root.join("tmp"));
        match lock {
            Lock::Shared => {
                empty_soon(root.join("trash"));
                durable::settle_soon(&root);
            }
            Lock::Exclusive => empty(&root.join("trash")),
        }
        let (work, work_lock) = make_work(&root.join("tmp"))?;
        let store = Self {
            durability: durable::Durability::of(&root),
            recovered,
            root,
            work,
            counter: AtomicU64::new(0),
            digests: digests::FileDigests::default(),
            _work_lock: work_lock,
            _shared: shared,
        };
        if is_new {
            store.write(&format, FORMAT.as_bytes())?;
        }
        Ok(store)
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How many objects were removed when the store was opened, because the machine had stopped before they were on disk.
    #[must_use]
    pub fn recovered(&self) -> usize {
        self.recovered
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

    /// Gets rid of a large tree without waiting for it: it is removed while the next command uses the store. (Removing
    /// some ten thousand files takes longer than the step that made them on some file systems.)
    pub(crate) fn discard(&self, tree: &Path) {
        let unique = self.work.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let grave = format!("{unique}-{}", self.counter.fetch_add(1, Ordering::Relaxed));
        if fs::rename(tree, self.root.join("trash").join(grave)).is_err() {
            remove_tree(tree);
        }
    }

    /// Writes a file that appears whole or not at all. Until then it lies in this process's work directory, which
    /// goes away with the process, however that ends.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let temporary = self.scratch("write");
        let written = fs::File::create(&temporary).and_then(|mut f| f.write_all(bytes));
        written.and_then(|()| self.publish(&temporary, path)).map_err(|e| BuildError::io("write", path, e))
    }
}

impl Store {
    /// The same for what nothing depends on (a history): it is not marked, and a crash of the machine may take it.
    pub(crate) fn write_loose(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        let temporary = self.scratch("write");
        fs::write(&temporary, bytes)?;
        fs::rename(&temporary, path)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        remove_tree(&self.work);
        let _ = fs::remove_file(self.work.with_extension("lock"));
    }
}

/// Removes what was discarded.
fn empty(trash: &Path) {
    let Ok(list) = fs::read_dir(trash) else { return };
    list.flatten().for_each(|entry| remove_tree(&entry.path()));
}

/// The same beside whatever this process does. What is left when it ends is for the next one.
fn empty_soon(trash: PathBuf) {
    if fs::read_dir(&trash).is_ok_and(|mut list| list.next().is_some()) {
        let _ = std::thread::Builder::new().name("trash".to_owned()).spawn(move || empty(&trash));
    }
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

/// After a crash of the machine, removes what may not be whole: the first who opens the store does it, alone.
fn recover(root: &Path) -> Result<usize> {
    if !durable::has_crashed(root) {
        return Ok(0);
    }
    let path = root.join("lock");
    match FileLock::try_exclusive(&path)? {
        Some(_alone) => durable::recover(root),
        // Who holds it opened the store in this boot, or is at it now: waiting for the lock waits for that.
        None => FileLock::shared(&path).map(|_| 0),
    }
}

/// A work directory of this process, with a lock that ends with the process.
fn make_work(tmp: &Path) -> Result<(PathBuf, FileLock)> {
    for n in 0_u32.. {
        let work = tmp.join(format!("{}-{n}", std::process::id()));
        let path = work.with_extension("lock");
        if work.exists() || path.exists() {
            continue;
        }
        // Who clears away may have had the file first, and taken it away: then the lock is on nothing.
        if let Some(lock) = FileLock::try_exclusive(&path)?.filter(|lock| lock.is_on(&path)) {
            fs::create_dir(&work).map_err(|e| BuildError::io("make", &work, e))?;
            return Ok((work, lock));
        }
    }
    unreachable!("the counter never ends")
}

/// Removes the work directories of processes that are gone. A process in another container may have our number: only
/// the lock tells whether a directory has an owner.
fn clear_abandoned(tmp: &Path) {
    let Ok(list) = fs::read_dir(tmp) else { return };
    for entry in list.flatten() {
        let (work, path) = (entry.path().with_extension(""), entry.path().with_extension("lock"));
        let Ok(Some(held)) = FileLock::try_exclusive(&path) else { continue };
        if held.is_on(&path) {
            remove_tree(&work);
            let _ = fs::remove_file(&work);
            let _ = fs::remove_file(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_nobody_owns_is_cleared_away() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        let other = Store::open(&root).unwrap();
        let kept = other.scratch_dir("kept").unwrap();
        let tmp = other.root().join("tmp");
        let owned = names(&tmp);
        // Of killed processes: with a lock file, without one, a lock file alone, a file.
        fs::create_dir_all(tmp.join("7-0/layer/closed")).unwrap();
        fs::write(tmp.join("7-0.lock"), "").unwrap();
        fs::create_dir_all(tmp.join("8-0/layer")).unwrap();
        fs::write(tmp.join("9-0.lock"), "").unwrap();
        fs::write(tmp.join("write-9-0"), "half").unwrap();
        drop(Store::open(&root).unwrap());
        assert_eq!(names(&tmp), owned);
        assert!(kept.is_dir());
        drop(other);
        assert!(names(&tmp).is_empty());
    }

    #[test]
    fn a_write_that_fails_leaves_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let path = store.root().join("names/file");
        store.write(&path, b"old").unwrap();
        assert!(store.write(&store.root().join("nowhere/file"), b"new").is_err());
        store.write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_store_of_another_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path()).unwrap());
        assert_eq!(fs::read_to_string(dir.path().join("format")).unwrap(), FORMAT);
        fs::write(dir.path().join("format"), "2").unwrap();
        assert!(Store::open(dir.path()).unwrap_err().to_string().contains("has format 2"));
    }
}
