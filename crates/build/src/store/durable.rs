//! What a crash of the machine may take, and what it may not.
//!
//! Nothing is synced while a build runs: a step leaves thousands of files, and a sync of each would cost more than the
//! step. Instead the store knows *that* something may not be on disk yet. Before the first object gets its final name, an
//! empty file appears that says which boot of the machine and which process wrote it:
//!
//! ```text
//! unsynced/BOOT-ID.PID-N.GENERATION
//! ```
//!
//! At a commit point one `syncfs` brings everything to disk, and the marker goes. A build whose image lies nowhere but here
//! ends with one. What any other build leaves is a cache, and is not waited for: a command that opens the store more than
//! [`RIPE`] later, when the kernel has written most of it by itself, does that beside its own work. Who opens the store and
//! finds a marker of another boot knows that the machine stopped between the two: all objects that got their name after
//! the marker (by the inode's change time, which a rename sets) are removed and will be made again. Journaling file systems
//! keep the order of changes to directories, so an object cannot outlive a crash that its marker did not.
//!
//! A killed process is no crash: the kernel still has what it wrote. Its marker stays and goes with the next commit.
//! Where the store lies on an overlayfs or in memory, a container's own file system, it does not outlive the machine anyway
//! and nothing is synced.
use super::lock::FileLock;
use super::{Store, remove_tree};
use crate::error::{BuildError, Result};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The directories whose entries are objects.
const OBJECTS: [&str; 6] = ["blobs/sha256", "blobs/sha512", "layers", "diffs", "names", "images"];

/// Where markers lie.
const MARKERS: &str = "unsynced";

/// How old a marker of an ended process is when somebody else takes care of it.
const RIPE: Duration = Duration::from_secs(60);

/// The state of one open store.
#[derive(Debug)]
pub(super) struct Durability {
    /// Whether the store outlives the machine's memory.
    lasting: bool,
    /// The marker of what this process has written since its last commit point.
    current: Mutex<Current>,
}

#[derive(Debug, Default)]
struct Current {
    generation: u64,
    marker: Option<PathBuf>,
}

impl Durability {
    pub(super) fn of(root: &Path) -> Self {
        const OVERLAYFS: i64 = 0x794c_7630;
        const TMPFS: i64 = 0x0102_1994;
        const RAMFS: i64 = 0x8584_58f6;
        #[expect(clippy::unnecessary_cast, reason = "the type of the field differs between architectures")]
        let kind = rustix::fs::statfs(root).map_or(0, |stat| stat.f_type as i64);
        Self { lasting: ![OVERLAYFS, TMPFS, RAMFS].contains(&kind), current: Mutex::default() }
    }
}

/// The number of this boot of the machine.
fn boot() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let id: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    if id.is_empty() { "unknown".to_owned() } else { id }
}

fn markers(root: &Path) -> Vec<PathBuf> {
    fs::read_dir(root.join(MARKERS)).map(|list| list.flatten().map(|e| e.path()).collect()).unwrap_or_default()
}

/// Markers of processes that have ended, so that none is left who could do it.
fn orphans(root: &Path) -> impl Iterator<Item = PathBuf> {
    markers(root).into_iter().filter(|marker| {
        let owner = parts(marker).map(|(_, work)| root.join("tmp").join(work).with_extension("lock"));
        owner.is_some_and(|lock| !lock.exists() || matches!(FileLock::try_exclusive(&lock), Ok(Some(_))))
    })
}

/// Brings to disk what these markers speak of. Where that fails they stay, and a crash of the machine costs a rebuild.
fn settle(root: &Path, done: &[PathBuf]) {
    let synced = fs::File::open(root).map(|root| rustix::fs::syncfs(&root));
    if matches!(synced, Ok(Ok(()))) {
        for marker in done {
            let _ = fs::remove_file(marker);
        }
    }
}

/// Brings to disk what earlier commands left, in a thread that nobody waits for.
pub(super) fn settle_soon(root: &Path) {
    let ripe: Vec<PathBuf> = orphans(root).filter(|marker| is_ripe(marker)).collect();
    if !ripe.is_empty() {
        let root = root.to_owned();
        let _ = std::thread::Builder::new().name("sync".to_owned()).spawn(move || settle(&root, &ripe));
    }
}

fn is_ripe(marker: &Path) -> bool {
    let made = fs::metadata(marker).and_then(|meta| meta.modified());
    made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > RIPE))
}

/// The parts of a marker's name: boot, work directory.
fn parts(marker: &Path) -> Option<(&str, &str)> {
    let mut parts = marker.file_name()?.to_str()?.split('.');
    Some((parts.next()?, parts.next()?))
}

fn of_this_boot(marker: &Path, boot: &str) -> bool {
    parts(marker).is_some_and(|(of, _)| of == boot)
}

/// Whether a marker of another boot lies there: the machine stopped before all was on disk.
pub(super) fn has_crashed(root: &Path) -> bool {
    let boot = boot();
    markers(root).iter().any(|marker| !of_this_boot(marker, &boot))
}

/// Removes what may not be whole after a crash of the machine, and says how many objects that were. The caller holds
/// the store for itself.
pub(super) fn recover(root: &Path) -> Result<usize> {
    let boot = boot();
    let stale: Vec<PathBuf> = markers(root).into_iter().filter(|marker| !of_this_boot(marker, &boot)).collect();
    let since = stale.iter().filter_map(|m| fs::metadata(m).ok()).map(|m| (m.mtime(), m.mtime_nsec())).min();
    let mut removed = 0;
    if let Some(since) = since {
        let graves = root.join("tmp/crashed");
        let io = |e| BuildError::io("clear up after a crash in", root, e);
        fs::create_dir_all(&graves).map_err(io)?;
        // Records first: what they point to goes after them.
        for dir in std::iter::once("steps").chain(OBJECTS) {
            let Ok(list) = fs::read_dir(root.join(dir)) else { continue };
            for entry in list.flatten() {
                let path = entry.path();
                let is_young = |path: &Path| {
                    fs::symlink_metadata(path).is_ok_and(|meta| (meta.ctime(), meta.ctime_nsec()) >= since)
                };
                // A layer gets a form or a compressed blob later: that changes its directory or its facts.
                if is_young(&path) || is_young(&path.join("meta.json")) {
                    fs::rename(&path, graves.join(removed.to_string())).map_err(io)?;
                    removed += 1;
                }
            }
        }
        remove_tree(&graves);
    }
    for marker in stale {
        let _ = fs::remove_file(marker);
    }
    Ok(removed)
}

impl Store {
    /// Gives an object its final name: everything that others may find appears through here.
    pub(crate) fn publish(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.mark()?;
        fs::rename(from, to)
    }

    /// Whether what is written is synced at the end.
    pub(crate) fn is_lasting(&self) -> bool {
        self.durability.lasting
    }

    fn mark(&self) -> std::io::Result<()> {
        if !self.durability.lasting {
            return Ok(());
        }
        let mut current = self.durability.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.marker.is_none() {
            let dir = self.root.join(MARKERS);
            let work = self.work.file_name().and_then(OsStr::to_str).unwrap_or_default();
            let marker = dir.join(format!("{}.{work}.{}", boot(), current.generation));
            fs::create_dir_all(&dir)?;
            fs::File::create(&marker)?;
            current.generation += 1;
            current.marker = Some(marker);
        }
        Ok(())
    }

    /// A commit point: when this returns, what was published before is on disk. Costs nothing where nothing was.
    ///
    /// What fails here is not the build's failure: the marker stays, and a crash of the machine costs a rebuild.
    pub(crate) fn sync(&self) {
        let mine = self.durability.current.lock().unwrap_or_else(PoisonError::into_inner).marker.take();
        let Some(mine) = mine else { return };
        let done: Vec<PathBuf> = orphans(&self.root).chain([mine]).collect();
        settle(&self.root, &done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file's change time is taken from a clock that ticks; waits for its next tick.
    fn next_tick(dir: &Path) {
        let time = || {
            let path = dir.join("tick");
            fs::write(&path, "").unwrap();
            let meta = fs::metadata(&path).unwrap();
            (meta.mtime(), meta.mtime_nsec())
        };
        let first = time();
        while time() == first {}
    }

    fn open(root: &Path) -> Store {
        let mut store = Store::open(root).unwrap();
        // Whatever the file system of temporary directories is here.
        store.durability.lasting = true;
        store
    }

    fn crash(root: &Path) {
        for marker in markers(root) {
            let name = marker.file_name().unwrap().to_str().unwrap().replace(&boot(), "another");
            fs::rename(&marker, marker.with_file_name(name)).unwrap();
        }
    }

    #[test]
    fn a_crash_takes_what_was_not_synced_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        let store = open(&root);
        let old = store.put_blob(b"old").unwrap();
        store.sync();
        assert!(markers(&root).is_empty());
        next_tick(dir.path());
        let new = store.put_blob(b"new").unwrap();
        let work = store.scratch_dir("layer").unwrap();
        let id = super::super::LayerId::of_diff(&new);
        store.add_layer(&id, &work, &super::super::LayerMeta::default(), &layer::Toc::default()).unwrap();
        drop(store);
        // A killed process is no crash.
        let store = open(&root);
        assert!(store.read_blob(&new).is_some() && store.layer(&id).is_some());
        assert_eq!(store.recovered(), 0);
        drop(store);
        crash(&root);
        let store = open(&root);
        assert_eq!(store.recovered(), 2);
        assert!(store.read_blob(&old).is_some());
        assert!(store.read_blob(&new).is_none() && store.layer(&id).is_none());
        assert!(markers(&root).is_empty());
    }

    #[test]
    fn a_commit_point_covers_what_killed_processes_left_and_not_what_others_write() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        let (killed, other, store) = (open(&root), open(&root), open(&root));
        killed.put_blob(b"killed").unwrap();
        other.put_blob(b"other").unwrap();
        store.put_blob(b"own").unwrap();
        drop(killed);
        assert_eq!(markers(&root).len(), 3);
        store.sync();
        assert_eq!(markers(&root).len(), 1);
        store.put_blob(b"more").unwrap();
        assert_eq!(markers(&root).len(), 2);
        other.sync();
        store.sync();
        assert!(markers(&root).is_empty());
    }

    #[test]
    fn what_earlier_commands_left_is_settled_when_it_is_old() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        let (old, young, busy) = (open(&root), open(&root), open(&root));
        let marker_of = |store: &Store| store.durability.current.lock().unwrap().marker.clone().unwrap();
        for (store, content) in [(&old, b"old"), (&young, b"new"), (&busy, b"mid")] {
            store.put_blob(content).unwrap();
        }
        let made = [&old, &young, &busy].map(marker_of);
        for marker in [&made[0], &made[2]] {
            let file = fs::File::options().write(true).open(marker).unwrap();
            file.set_modified(std::time::SystemTime::now() - 2 * RIPE).unwrap();
        }
        drop((old, young));
        // Another process still writes; a young marker is left to the kernel.
        let ripe: Vec<PathBuf> = orphans(&root).filter(|marker| is_ripe(marker)).collect();
        assert_eq!(ripe, made[..1]);
        settle(&root, &ripe);
        assert_eq!(made.map(|marker| marker.exists()), [false, true, true]);
    }
}
