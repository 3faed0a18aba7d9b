//! Digests of files of build contexts, so that a file that did not change is not read again.
//!
//! A file is known by what the file system says of it, not by its path: device, inode, size, times of modification
//! and of change to the nanosecond. Nobody can set the time of change, so an editor or a checkout that puts times back
//! does not deceive; and a digest is remembered only where both times lay two seconds back when the file was read
//! (the rule that git has for its index): a change within the clock's tick would not show.
//!
//! ```text
//! file-digests:  "cprgfsum" │ version 1 │ sha256 of the rest │ entries, each
//!                device inode size mtime-s mtime-ns ctime-s ctime-ns day │ sha256      (little endian)
//! ```
//! The file is read when the first digest is asked for and replaced at the end of a build that learnt something. It is
//! a hint: damaged, lost, or overwritten by another build at the same time it costs reading files once more. Of more
//! than [`LIMIT`] entries those are forgotten that were not used for the longest time.
use super::Store;
use oci::Digest;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

const MAGIC: &[u8; 8] = b"cprgfsum";
const VERSION: u32 = 1;
const HEAD: usize = 8 + 4 + 32;
const ENTRY: usize = 8 + 8 + 8 + 8 + 4 + 8 + 4 + 4 + 32;
/// Entries that are kept: 17 MB.
const LIMIT: usize = 200_000;
/// How far back a change must lie, in seconds.
const SETTLED: i64 = 2;

/// What a file system says of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Stamp {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    /// Seconds and nanoseconds.
    pub(crate) modified: (i64, u32),
    /// Of the inode, which nobody can set.
    pub(crate) changed: (i64, u32),
}

/// A digest, and the day (since 1970) on which it was last used.
type Known = ([u8; 32], u32);

/// The digests of one open store.
#[derive(Debug, Default)]
pub(crate) struct FileDigests {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: Option<HashMap<Stamp, Known>>,
    learnt: bool,
}

impl Store {
    /// The digest of the content of a file, where it is known.
    pub(crate) fn file_digest(&self, stamp: &Stamp) -> Option<[u8; 32]> {
        let mut state = self.digests.state.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.digests_path();
        let known = state.known.get_or_insert_with(|| load(&path));
        let (digest, day) = known.get_mut(stamp)?;
        let (digest, old) = (*digest, std::mem::replace(day, today()));
        // The day of the last use is not worth a new file each day.
        if today().saturating_sub(old) > 7 {
            state.learnt = true;
        }
        Some(digest)
    }

    /// Remembers a digest of a file that had this stamp before and after it was read. `now` is the time before.
    pub(crate) fn learn_file_digest(&self, stamp: &Stamp, digest: [u8; 32], now: i64) {
        if now - stamp.modified.0.max(stamp.changed.0) < SETTLED {
            return;
        }
        let mut state = self.digests.state.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.digests_path();
        let known = state.known.get_or_insert_with(|| load(&path));
        if known.len() < 2 * LIMIT {
            known.insert(*stamp, (digest, today()));
            state.learnt = true;
        }
    }

    /// Keeps what was learnt.
    pub(crate) fn save_file_digests(&self) {
        let mut state = self.digests.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::take(&mut state.learnt) {
            return;
        }
        let Some(own) = &state.known else { return };
        // Another build may have learnt something, too.
        let path = self.digests_path();
        let mut all = load(&path);
        for (stamp, known) in own {
            let entry = all.entry(*stamp).or_insert(*known);
            entry.1 = entry.1.max(known.1);
        }
        let mut list: Vec<(Stamp, Known)> = all.into_iter().collect();
        list.sort_unstable_by_key(|(stamp, (_, day))| (std::cmp::Reverse(*day), stamp.device, stamp.inode));
        list.truncate(LIMIT);
        let temporary = self.scratch("file-digests");
        if fs::write(&temporary, encode(&list)).is_ok() {
            // Needs no commit point: what is not whole says so.
            let _ = fs::rename(&temporary, &path);
        }
    }

    fn digests_path(&self) -> std::path::PathBuf {
        self.root.join("file-digests")
    }
}

fn today() -> u32 {
    u32::try_from(crate::time::now() / 86_400).unwrap_or(0)
}

fn encode(list: &[(Stamp, Known)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + list.len() * ENTRY);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 32]);
    for (stamp, (digest, day)) in list {
        for number in [stamp.device, stamp.inode, stamp.size] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for (seconds, nanoseconds) in [stamp.modified, stamp.changed] {
            out.extend_from_slice(&seconds.to_le_bytes());
            out.extend_from_slice(&nanoseconds.to_le_bytes());
        }
        out.extend_from_slice(&day.to_le_bytes());
        out.extend_from_slice(digest);
    }
    let sum = sum(&out[HEAD..]);
    out[HEAD - 32..HEAD].copy_from_slice(&sum);
    out
}

fn sum(bytes: &[u8]) -> [u8; 32] {
    Digest::sha256(bytes).sha256_bytes().unwrap_or_default()
}

fn load(path: &Path) -> HashMap<Stamp, Known> {
    let long = |n: u64| n > (HEAD + LIMIT * ENTRY) as u64;
    if fs::metadata(path).map_or(true, |meta| long(meta.len())) {
        return HashMap::new();
    }
    fs::read(path).ok().and_then(|bytes| decode(&bytes)).unwrap_or_default()
}

fn decode(bytes: &[u8]) -> Option<HashMap<Stamp, Known>> {
    let (head, body) = bytes.split_at_checked(HEAD)?;
    let version: [u8; 4] = head[8..12].try_into().ok()?;
    if !head.starts_with(MAGIC) || u32::from_le_bytes(version) != VERSION || body.len() % ENTRY != 0 {
        return None;
    }
    if sum(body) != head[12..] {
        return None;
    }
    let mut known = HashMap::with_capacity(body.len() / ENTRY);
    for entry in body.chunks_exact(ENTRY) {
        let long = |at: usize| entry[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
        let short = |at: usize| entry[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
        let stamp = Stamp {
            device: long(0),
            inode: long(8),
            size: long(16),
            modified: (long(24).cast_signed(), short(32)),
            changed: (long(36).cast_signed(), short(44)),
        };
        known.insert(stamp, (entry[52..].try_into().ok()?, short(48)));
    }
    Some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(inode: u64, changed: i64) -> Stamp {
        Stamp { device: 1, inode, size: 10, modified: (changed - 5, 3), changed: (changed, 7) }
    }

    #[test]
    fn what_was_learnt_is_known_in_the_next_build_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        let store = Store::open(&root).unwrap();
        store.learn_file_digest(&stamp(1, 100), [1; 32], 102);
        store.learn_file_digest(&stamp(2, 100), [2; 32], 101);
        let other = Store::open(&root).unwrap();
        other.learn_file_digest(&stamp(3, 100), [3; 32], 200);
        other.save_file_digests();
        store.save_file_digests();
        let next = Store::open(&root).unwrap();
        assert_eq!(next.file_digest(&stamp(1, 100)), Some([1; 32]));
        assert_eq!(next.file_digest(&stamp(2, 100)), None, "changed a second before it was read");
        assert_eq!(next.file_digest(&stamp(3, 100)), Some([3; 32]), "of the other build");
        assert_eq!(next.file_digest(&stamp(1, 101)), None);
        let path = next.digests_path();
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(Store::open(&root).unwrap().file_digest(&stamp(1, 100)), None);
    }

    #[test]
    fn the_file_is_bounded() {
        let list: Vec<_> = (0..3).map(|n| (stamp(n, 50), ([7; 32], 1))).collect();
        let bytes = encode(&list);
        assert_eq!(bytes.len(), HEAD + 3 * ENTRY);
        assert_eq!(decode(&bytes).unwrap().len(), 3);
        assert!(decode(&bytes[..bytes.len() - 1]).is_none());
        assert!(decode(b"").is_none());
    }
}
