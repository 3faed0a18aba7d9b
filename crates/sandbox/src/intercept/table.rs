//! The ownership table on the builder's side: what a step believed of its files, kept from step to step and read by
//! the layer.
//!
//! ```text
//! file     = "coopown1" count(u64) entry*                                        all numbers little endian
//! entry    = ino(u64) seconds(i64) nanoseconds(u32) flags(u32: 1 owner, 2 mode)
//!            uid(u32) gid(u32) mode(u32) major(u32) minor(u32) xattrs(u32) xattr*
//! xattr    = name length(u32) value length(u32) name value
//! ```
//! Entries are sorted by key, so that equal tables are equal files.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use agent::table::{Key, Table};

/// A file: inode number and birth time (an inode number alone is used again after a file is deleted).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileKey {
    /// Inode number.
    pub ino: u64,
    /// Birth time: seconds since 1970. 0 where the file system keeps none.
    pub seconds: i64,
    /// Birth time: nanoseconds.
    pub nanoseconds: u32,
}

impl FileKey {
    /// The key of a file.
    pub fn of(found: &std::fs::Metadata) -> FileKey {
        use std::os::unix::fs::MetadataExt;
        let born =
            found.created().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
        let seconds = i64::try_from(born.as_secs()).unwrap_or(0);
        FileKey { ino: found.ino(), seconds, nanoseconds: born.subsec_nanos() }
    }
}

/// What is remembered of one file. What is `None` is as the file system says, an owner that is the builder's own user
/// counting as root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remembered {
    /// uid and gid.
    pub owner: Option<(u32, u32)>,
    /// File type and permission bits, as in `st_mode`.
    pub mode: Option<u32>,
    /// Major and minor number of a device node.
    pub rdev: (u32, u32),
    /// Extended attributes of the namespaces `security.` and `trusted.`.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A table of what is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnershipTable {
    entries: BTreeMap<FileKey, Remembered>,
}

const MAGIC: &[u8; 8] = b"coopown1";

impl OwnershipTable {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is remembered of a file.
    pub fn get(&self, key: FileKey) -> Option<&Remembered> {
        self.entries.get(&key)
    }

    /// All entries, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&FileKey, &Remembered)> {
        self.entries.iter()
    }

    /// Remembers something of a file; nothing at all forgets the file.
    pub fn insert(&mut self, key: FileKey, facts: Remembered) {
        if facts == Remembered::default() {
            self.entries.remove(&key);
        } else {
            self.entries.insert(key, facts);
        }
    }

    /// Number of files.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keeps only files for which `alive` holds: deleted files stay in a table until somebody knows that they are gone.
    pub fn retain(&mut self, mut alive: impl FnMut(&FileKey) -> bool) {
        self.entries.retain(|key, _| alive(key));
    }

    /// Takes over all entries of another table.
    pub fn merge(&mut self, other: OwnershipTable) {
        self.entries.extend(other.entries);
    }

    /// Takes out the entries of all files below a directory, itself included.
    pub fn split_off(&mut self, dir: &Path) -> OwnershipTable {
        let mut part = OwnershipTable::new();
        let mut todo = vec![dir.to_owned()];
        while let Some(path) = todo.pop() {
            if self.is_empty() {
                break;
            }
            let Ok(found) = std::fs::symlink_metadata(&path) else { continue };
            if let Some((key, facts)) = self.entries.remove_entry(&FileKey::of(&found)) {
                part.entries.insert(key, facts);
            }
            if found.is_dir()
                && let Ok(entries) = std::fs::read_dir(&path)
            {
                todo.extend(entries.flatten().map(|entry| entry.path()));
            }
        }
        part
    }

    /// Reads a table; a missing file is an empty table.
    pub fn load(path: &Path) -> io::Result<Self> {
        match std::fs::read(path) {
            Ok(bytes) => Self::parse(&bytes).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{}: not an ownership table", path.display()))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes the table, by way of a temporary file beside it.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(&self.to_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    }

    /// The table as a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.entries.len() * 48);
        out.extend(MAGIC);
        out.extend((self.entries.len() as u64).to_le_bytes());
        for (key, facts) in &self.entries {
            out.extend(key.ino.to_le_bytes());
            out.extend(key.seconds.to_le_bytes());
            out.extend(key.nanoseconds.to_le_bytes());
            let flags = u32::from(facts.owner.is_some()) | u32::from(facts.mode.is_some()) << 1;
            let (uid, gid) = facts.owner.unwrap_or_default();
            let count = u32::try_from(facts.xattrs.len()).unwrap_or(u32::MAX);
            for number in [flags, uid, gid, facts.mode.unwrap_or(0), facts.rdev.0, facts.rdev.1, count] {
                out.extend(number.to_le_bytes());
            }
            for (name, value) in &facts.xattrs {
                for part in [name, value] {
                    out.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
                }
                out.extend(name);
                out.extend(value);
            }
        }
        out
    }

    /// Reads the table from a file's content; `None` where it is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let mut table = Self::default();
        let count = u64::from_le_bytes(take(&mut rest)?);
        for _ in 0..count {
            let key = FileKey {
                ino: u64::from_le_bytes(take(&mut rest)?),
                seconds: i64::from_le_bytes(take(&mut rest)?),
                nanoseconds: u32::from_le_bytes(take(&mut rest)?),
            };
            let mut numbers = [0u32; 7];
            for number in &mut numbers {
                *number = u32::from_le_bytes(take(&mut rest)?);
            }
            let [flags, uid, gid, mode, major, minor, xattrs] = numbers;
            let mut facts = Remembered {
                owner: (flags & 1 != 0).then_some((uid, gid)),
                mode: (flags & 2 != 0).then_some(mode),
                rdev: (major, minor),
                xattrs: BTreeMap::new(),
            };
            for _ in 0..xattrs {
                let name = u32::from_le_bytes(take(&mut rest)?) as usize;
                let value = u32::from_le_bytes(take(&mut rest)?) as usize;
                let (name, tail) = rest.split_at_checked(name)?;
                let (value, tail) = tail.split_at_checked(value)?;
                rest = tail;
                facts.xattrs.insert(name.to_vec(), value.to_vec());
            }
            table.entries.insert(key, facts);
        }
        rest.is_empty().then_some(table)
    }

    /// Puts everything into the memory that a step shares. The number of entries that found no room.
    pub(crate) fn store(&self, memory: Table) -> usize {
        let mut lost = 0;
        for (key, facts) in &self.entries {
            let at = Key { ino: key.ino, sec: key.seconds, nsec: key.nanoseconds };
            let mut kept = true;
            if let Some(owner) = facts.owner {
                kept &= memory.set_owner(at, Some(owner));
            }
            if let Some(mode) = facts.mode {
                kept &= memory.set_mode(at, Some((mode, facts.rdev)));
            }
            // A directory that may give its group, or the bit, to what is made in it: the agent then looks first. Where
            // no mode is recorded, the bit may be on disk.
            let other_group = facts.owner.is_some_and(|(_, gid)| gid != 0);
            if facts.mode.map_or(other_group, |mode| mode & libc::S_IFMT == libc::S_IFDIR && mode & 0o2000 != 0) {
                memory.header().setgid_dirs.store(1, std::sync::atomic::Ordering::Relaxed);
            }
            if facts.mode.is_some_and(|mode| matches!(mode & libc::S_IFMT, libc::S_IFCHR | libc::S_IFBLK)) {
                memory.header().devices.store(1, std::sync::atomic::Ordering::Relaxed);
            }
            for (name, value) in &facts.xattrs {
                kept &= memory.set_xattr(at, name, Some(value));
            }
            lost += usize::from(!kept);
        }
        lost
    }

    /// Reads the memory that a step shared, when its last process is gone; `written` are the parts of it that exist.
    ///
    /// A hostile step may have written anything there. So attributes are taken that the agent would have kept, and
    /// altogether no more than `room` bytes: what a table of the agent's making holds.
    pub(crate) fn collect(memory: Table, written: impl Iterator<Item = Range<usize>>, room: usize) -> Self {
        let mut table = Self::default();
        let mut room = room;
        for (key, found, blob) in written.flat_map(|range| memory.iter_within(range)) {
            let facts = Remembered {
                owner: found.owner,
                mode: found.mode.map(|(mode, _)| mode),
                rdev: found.mode.map_or((0, 0), |(_, rdev)| rdev),
                xattrs: attributes(memory, blob, &mut room),
            };
            table.insert(FileKey { ino: key.ino, seconds: key.sec, nanoseconds: key.nsec }, facts);
        }
        table
    }
}

/// The attributes of a file, from its newest blob, the newest of each name; `room` is what may still be read.
fn attributes(memory: Table, blob: u32, room: &mut usize) -> BTreeMap<Vec<u8>, Vec<u8>> {
    // xattr(7): the kernel's limits.
    const NAME: usize = 255;
    const VALUE: usize = 64 << 10;
    let mut newest: BTreeMap<&[u8], Option<&[u8]>> = BTreeMap::new();
    for (name, value) in memory.xattr_history(blob) {
        let Some(left) = room.checked_sub(8 + name.len() + value.map_or(0, <[u8]>::len)) else { break };
        *room = left;
        let kept = name.starts_with(b"security.") || name.starts_with(b"trusted.");
        let odd = |byte: &u8| matches!(byte, 0 | b'=' | b'\n');
        if kept && name.len() <= NAME && !name.iter().any(odd) && value.is_none_or(|value| value.len() <= VALUE) {
            newest.entry(name).or_insert(value);
        }
    }
    newest.into_iter().filter_map(|(name, value)| Some((name.to_vec(), value?.to_vec()))).collect()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_at_checked(N)?;
    *rest = tail;
    head.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> OwnershipTable {
        let mut table = OwnershipTable::new();
        let key = |ino| FileKey { ino, seconds: 1_763_700_000, nanoseconds: 123_456_789 };
        table.insert(key(9), Remembered { owner: Some((33, 34)), ..Remembered::default() });
        let device = Remembered { mode: Some(0o20666), rdev: (1, 3), ..Remembered::default() };
        table.insert(key(3), device);
        let xattrs = BTreeMap::from([(b"security.capability".to_vec(), vec![1, 0, 0, 2])]);
        table.insert(key(4), Remembered { owner: Some((0, 5)), xattrs, ..Remembered::default() });
        table.insert(key(8), Remembered::default());
        table
    }

    #[test]
    fn a_table_survives_its_file_and_its_memory() {
        let table = example();
        assert_eq!(table.len(), 3);
        assert_eq!(OwnershipTable::parse(&table.to_bytes()).as_ref(), Some(&table));
        let mut memory = vec![0u64; agent::table::shared_size(10, 4096) / 8];
        // SAFETY: the vector holds so many zeroed bytes and outlives the table.
        let shared = unsafe { Table::format(memory.as_mut_ptr().cast(), 10, 4096) };
        assert_eq!(table.store(shared), 0);
        assert_eq!(OwnershipTable::collect(shared, std::iter::once(0..usize::MAX), 4096), table);
    }

    #[test]
    fn a_part_of_a_tree_can_be_split_off() {
        let dir = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir_all(dir.path().join("a/b")).expect("mkdir");
        std::fs::write(dir.path().join("a/b/file"), "x").expect("write");
        std::fs::write(dir.path().join("other"), "x").expect("write");
        let key = |name: &str| FileKey::of(&std::fs::metadata(dir.path().join(name)).expect("stat"));
        let owned = |uid| Remembered { owner: Some((uid, uid)), ..Remembered::default() };
        let mut table = OwnershipTable::new();
        table.insert(key("a"), owned(1));
        table.insert(key("a/b/file"), owned(2));
        table.insert(key("other"), owned(3));
        let part = table.split_off(&dir.path().join("a"));
        assert_eq!((part.len(), table.len()), (2, 1));
        assert_eq!(part.get(key("a/b/file")), Some(&owned(2)));
        table.merge(part);
        assert_eq!(table.len(), 3);
    }

    #[test]
    fn a_broken_file_is_an_error() {
        let bytes = example().to_bytes();
        for len in 0..bytes.len() {
            assert_eq!(OwnershipTable::parse(&bytes[..len]), None, "{len}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert_eq!(OwnershipTable::parse(&longer), None);
    }

    #[test]
    fn files_come_back_and_missing_ones_are_empty() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("owners");
        assert!(OwnershipTable::load(&path).expect("missing").is_empty());
        example().save(&path).expect("save");
        assert_eq!(OwnershipTable::load(&path).expect("load"), example());
        std::fs::write(&path, "x").expect("write");
        assert!(OwnershipTable::load(&path).expect_err("broken").to_string().contains("not an ownership table"));
    }
}
