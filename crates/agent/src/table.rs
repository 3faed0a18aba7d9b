//! The ownership table: what the guest believes of files, where that differs from what the file system holds.
//!
//! Keyed by inode number and birth time, so that a number used again is another file. Lock-free: any number of
//! processes read and write at the same time.
//!
//! ```text
//! record (40 bytes)
//!   ino     u64  0 where the slot is free; set once
//!   stamp   u64  birth time, seconds << 30 | nanoseconds, plus 1; 0 while the record changes hands
//!   owner   u64  uid << 32 | gid, all ones where the real owner counts
//!   mode    u64  bit 63 set where valid; st_mode << 32 | major << 20 | minor
//!   blobs   u32  offset / 8 of the newest extended attribute; 0 where there is none
//!   pad     u32
//! blob: next u32 (offset / 8) | name length u16 | flags u16 (1: removed) | value length u32 | name | value, 8-aligned
//! ```
//! Slots are taken by blocks: files made together have neighbouring inode numbers, and their records share pages, so
//! that a table of few records costs few pages of memory although its room is large.

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU32, AtomicU64};

use crate::protocol::{CONFIG_MAGIC, Header, TABLE_OFFSET};

/// One record.
#[repr(C)]
#[derive(Debug)]
pub struct Record {
    ino: AtomicU64,
    stamp: AtomicU64,
    owner: AtomicU64,
    mode: AtomicU64,
    blobs: AtomicU32,
    pad: u32,
}

const NO_OWNER: u64 = u64::MAX;
const MODE_VALID: u64 = 1 << 63;
const PROBES: usize = 4096;
const BLOCK_BITS: u32 = 10;
const BLOB_HEAD: usize = 12;
const BLOB_REMOVED: u16 = 1;

/// A file: inode number and birth time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Inode number.
    pub ino: u64,
    /// Seconds of the birth time.
    pub sec: i64,
    /// Nanoseconds of the birth time.
    pub nsec: u32,
}

impl Key {
    fn stamp(self) -> u64 {
        (((self.sec as u64) << 30) | u64::from(self.nsec & 0x3fff_ffff)).wrapping_add(1).max(1)
    }
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// uid and gid.
    pub owner: Option<(u32, u32)>,
    /// `st_mode`, and device number as (major, minor).
    pub mode: Option<(u32, (u32, u32))>,
}

/// The table in the shared memory at some address.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    base: *mut u8,
    /// log2 of the number of slots and bytes of blobs, where the header is not trusted to say so.
    room: Option<(u32, u32)>,
}

/// Bytes of shared memory for a table of `1 << slots_log2` records and so many bytes of blobs.
pub const fn shared_size(slots_log2: u32, blob_size: u32) -> usize {
    let end = TABLE_OFFSET + (size_of::<Record>() << slots_log2) + blob_size as usize;
    (end + 4095) & !4095
}

impl Table {
    /// The table of the shared memory at `base`.
    ///
    /// # Safety
    /// There, memory that was set up by [`Table::format`] is mapped for reading and writing, as long as the value is
    /// used.
    pub const unsafe fn at(base: *mut u8) -> Table {
        Table { base, room: None }
    }

    /// The table at `base` after somebody wrote to it who may not mean well: its header is not asked for sizes, and
    /// nothing outside of so much room is read.
    ///
    /// # Safety
    /// As for [`Table::at`], and [`shared_size`] bytes for these sizes are mapped.
    pub const unsafe fn untrusted(base: *mut u8, slots_log2: u32, blob_size: u32) -> Table {
        Table { base, room: Some((slots_log2, blob_size)) }
    }

    /// Prepares zeroed memory of [`shared_size`] bytes.
    ///
    /// # Safety
    /// So many bytes at `base` can be written, and nobody else uses them yet.
    pub unsafe fn format(base: *mut u8, slots_log2: u32, blob_size: u32) -> Table {
        let table = Table { base, room: None };
        let header = table.header();
        header.slots_log2.store(slots_log2, Relaxed);
        header.blob_size.store(blob_size, Relaxed);
        header.blob_used.store(8, Relaxed);
        header.magic.store(CONFIG_MAGIC, Release);
        table
    }

    /// The header of the shared memory.
    #[inline]
    pub fn header(&self) -> &Header {
        // SAFETY: the memory begins with a header (constructor), whose fields are atomic.
        unsafe { &*self.base.cast::<Header>() }
    }

    #[inline]
    fn slots(&self) -> usize {
        match self.room {
            Some((slots_log2, _)) => 1 << slots_log2,
            None => 1 << self.header().slots_log2.load(Relaxed).min(32),
        }
    }

    fn blob_size(&self) -> u32 {
        self.room.map_or_else(|| self.header().blob_size.load(Relaxed), |(_, size)| size)
    }

    #[inline]
    fn record(&self, slot: usize) -> &Record {
        // SAFETY: `slot` is below the number of slots at every caller; the fields are atomic.
        unsafe { &*self.base.add(TABLE_OFFSET).cast::<Record>().add(slot) }
    }

    #[inline]
    fn first_slot(&self, ino: u64) -> usize {
        let block = ino >> BLOCK_BITS;
        let mut mixed = block.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^= mixed >> 29;
        let slot = (mixed << BLOCK_BITS) | (ino & ((1 << BLOCK_BITS) - 1));
        slot as usize & (self.slots() - 1)
    }

    #[inline]
    fn find(&self, key: Key) -> Option<&Record> {
        if key.ino == 0 || (self.room.is_none() && self.header().records.load(Relaxed) == 0) {
            return None;
        }
        let mask = self.slots() - 1;
        let first = self.first_slot(key.ino);
        for step in 0..PROBES.min(mask + 1) {
            let record = self.record((first + step) & mask);
            match record.ino.load(Acquire) {
                0 => return None,
                ino if ino == key.ino => return (record.stamp.load(Acquire) == key.stamp()).then_some(record),
                _ => {}
            }
        }
        None
    }

    fn make(&self, key: Key) -> Option<&Record> {
        if key.ino == 0 {
            return None;
        }
        let mask = self.slots() - 1;
        let first = self.first_slot(key.ino);
        for step in 0..PROBES.min(mask + 1) {
            let record = self.record((first + step) & mask);
            let mut ino = record.ino.load(Acquire);
            if ino == 0 {
                match record.ino.compare_exchange(0, key.ino, AcqRel, Acquire) {
                    Ok(_) => {
                        self.header().records.fetch_add(1, Relaxed);
                        ino = key.ino;
                    }
                    Err(other) => ino = other,
                }
            }
            if ino == key.ino {
                if record.stamp.load(Acquire) != key.stamp() {
                    record.stamp.store(0, Release);
                    record.owner.store(NO_OWNER, Release);
                    record.mode.store(0, Release);
                    record.blobs.store(0, Release);
                    record.stamp.store(key.stamp(), Release);
                }
                return Some(record);
            }
        }
        self.header().lost.fetch_add(1, Relaxed);
        None
    }

    /// What is known of a file.
    #[inline]
    pub fn get(&self, key: Key) -> Facts {
        self.find(key).map_or(Facts::default(), Record::facts)
    }

    /// Sets the owner, or with `None` lets the real one count again. False where there is no room.
    pub fn set_owner(&self, key: Key, owner: Option<(u32, u32)>) -> bool {
        let value = owner.map_or(NO_OWNER, |(uid, gid)| u64::from(uid) << 32 | u64::from(gid));
        let record = if owner.is_none() { self.find(key) } else { self.make(key) };
        match record {
            Some(record) => record.owner.store(value, Release),
            None => return owner.is_none(),
        }
        true
    }

    /// Sets type, mode and device number, or with `None` lets the real ones count again.
    pub fn set_mode(&self, key: Key, mode: Option<(u32, (u32, u32))>) -> bool {
        let value = mode.map_or(0, |(mode, (major, minor))| {
            MODE_VALID | u64::from(mode & 0xffff) << 32 | u64::from(major & 0xfff) << 20 | u64::from(minor & 0xf_ffff)
        });
        let record = if mode.is_none() { self.find(key) } else { self.make(key) };
        match record {
            Some(record) => record.mode.store(value, Release),
            None => return mode.is_none(),
        }
        true
    }

    /// Forgets what was known of a file with this number: called for files that were just made.
    pub fn forget(&self, key: Key) {
        if let Some(record) = self.find(key) {
            record.owner.store(NO_OWNER, Release);
            record.mode.store(0, Release);
            record.blobs.store(0, Release);
        }
    }

    fn blobs_base(&self) -> usize {
        TABLE_OFFSET + size_of::<Record>() * self.slots()
    }

    /// The blob at an offset, where it lies inside the table: (next, flags, name, value).
    fn blob(&self, at: u32) -> Option<(u32, u16, &[u8], &[u8])> {
        let size = self.blob_size() as usize;
        let start = (at as usize).checked_mul(8)?;
        if at == 0 || start + BLOB_HEAD > size {
            return None;
        }
        // SAFETY: the head lies inside the blobs (checked), which are mapped; it is written before it is linked.
        let (next, name_len, flags, value_len) = unsafe {
            let head = self.base.add(self.blobs_base() + start);
            (
                head.cast::<u32>().read_volatile(),
                head.add(4).cast::<u16>().read_volatile(),
                head.add(6).cast::<u16>().read_volatile(),
                head.add(8).cast::<u32>().read_volatile() as usize,
            )
        };
        let name_len = usize::from(name_len);
        if start.checked_add(BLOB_HEAD)?.checked_add(name_len)?.checked_add(value_len)? > size {
            return None;
        }
        // SAFETY: as above, with the lengths checked.
        unsafe {
            let name = self.base.add(self.blobs_base() + start + BLOB_HEAD);
            Some((
                next,
                flags,
                core::slice::from_raw_parts(name, name_len),
                core::slice::from_raw_parts(name.add(name_len), value_len),
            ))
        }
    }

    /// The value of a remembered extended attribute.
    pub fn xattr(&self, key: Key, name: &[u8]) -> Option<&[u8]> {
        self.chain(key).find(|(_, _, n, _)| *n == name).filter(|(_, flags, ..)| flags & BLOB_REMOVED == 0).map(|b| b.3)
    }

    fn chain(&self, key: Key) -> impl Iterator<Item = (u32, u16, &[u8], &[u8])> {
        self.chain_from(self.find(key).map_or(0, |record| record.blobs.load(Acquire)))
    }

    fn chain_from(&self, mut at: u32) -> impl Iterator<Item = (u32, u16, &[u8], &[u8])> {
        let mut left = 10_000;
        core::iter::from_fn(move || {
            let blob = self.blob(at)?;
            at = blob.0;
            left -= 1;
            (left > 0).then_some(blob)
        })
    }

    /// What was written of a file's attributes, from a blob on, the newest first: name, and value unless it was removed. A
    /// name may come more than once.
    pub fn xattr_history(&self, blob: u32) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.chain_from(blob).map(|(_, flags, name, value)| (name, (flags & BLOB_REMOVED == 0).then_some(value)))
    }

    /// The remembered attributes of a file, each name once.
    pub fn xattrs(&self, key: Key) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.chain(key).enumerate().filter_map(move |(index, (_, flags, name, value))| {
            let newest = self.chain(key).position(|(_, _, n, _)| n == name) == Some(index);
            (newest && flags & BLOB_REMOVED == 0).then_some((name, value))
        })
    }

    /// Whether the file has remembered attributes at all.
    pub fn has_xattrs(&self, key: Key) -> bool {
        self.find(key).is_some_and(|record| record.blobs.load(Acquire) != 0)
    }

    /// Remembers an extended attribute (`None` removes it). False where there is no room.
    pub fn set_xattr(&self, key: Key, name: &[u8], value: Option<&[u8]>) -> bool {
        let Some(record) = self.make(key) else { return false };
        let bytes = value.unwrap_or(b"");
        let need = (BLOB_HEAD + name.len() + bytes.len()).next_multiple_of(8);
        let header = self.header();
        let (Ok(name_len), Ok(value_len), Ok(need)) =
            (u16::try_from(name.len()), u32::try_from(bytes.len()), u32::try_from(need))
        else {
            return false;
        };
        let start = header.blob_used.fetch_add(need, AcqRel);
        if start.checked_add(need).is_none_or(|end| end > self.blob_size()) {
            header.blob_used.fetch_sub(need, AcqRel);
            header.lost.fetch_add(1, Relaxed);
            return false;
        }
        let mut next = record.blobs.load(Acquire);
        // SAFETY: `need` bytes from `start` were just reserved for us and lie inside the blobs.
        unsafe {
            let head = self.base.add(self.blobs_base() + start as usize);
            head.add(4).cast::<u16>().write(name_len);
            head.add(6).cast::<u16>().write(if value.is_none() { BLOB_REMOVED } else { 0 });
            head.add(8).cast::<u32>().write(value_len);
            core::ptr::copy_nonoverlapping(name.as_ptr(), head.add(BLOB_HEAD), name.len());
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), head.add(BLOB_HEAD + name.len()), bytes.len());
            loop {
                head.cast::<u32>().write(next);
                match record.blobs.compare_exchange(next, start / 8, AcqRel, Acquire) {
                    Ok(_) => return true,
                    Err(other) => next = other,
                }
            }
        }
    }

    /// All records that say something, in the order of the slots.
    pub fn iter(&self) -> impl Iterator<Item = (Key, Facts)> {
        self.iter_within(0..usize::MAX).map(|(key, facts, _)| (key, facts))
    }

    /// The records that lie, with their first byte, in a range of the shared memory, each with its newest blob: reading
    /// memory that nobody wrote to would make it real.
    pub fn iter_within(&self, bytes: core::ops::Range<usize>) -> impl Iterator<Item = (Key, Facts, u32)> {
        let slot = |at: usize| at.saturating_sub(TABLE_OFFSET).div_ceil(size_of::<Record>()).min(self.slots());
        (slot(bytes.start)..slot(bytes.end)).filter_map(move |slot| {
            let record = self.record(slot);
            let (ino, stamp) = (record.ino.load(Acquire), record.stamp.load(Acquire));
            if ino == 0 || stamp == 0 {
                return None;
            }
            let (facts, blob) = (record.facts(), record.blobs.load(Acquire));
            if facts == Facts::default() && blob == 0 {
                return None;
            }
            let stamp = stamp.wrapping_sub(1);
            Some((Key { ino, sec: (stamp >> 30) as i64, nsec: (stamp & 0x3fff_ffff) as u32 }, facts, blob))
        })
    }
}

impl Record {
    #[inline]
    fn facts(&self) -> Facts {
        let owner = self.owner.load(Acquire);
        let mode = self.mode.load(Acquire);
        Facts {
            owner: (owner != NO_OWNER).then_some(((owner >> 32) as u32, owner as u32)),
            mode: (mode & MODE_VALID != 0)
                .then_some(((mode >> 32) as u32 & 0xffff, ((mode >> 20) as u32 & 0xfff, mode as u32 & 0xf_ffff))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_header_and_endless_chains_stay_inside() {
        let size = shared_size(12, 4096);
        let mut memory = std::vec![0u64; size / 8];
        // SAFETY: the vector holds so many zeroed bytes and outlives the tables.
        let (mine, read) = unsafe {
            let base = memory.as_mut_ptr().cast();
            (Table::format(base, 12, 4096), Table::untrusted(base, 12, 4096))
        };
        assert!(mine.set_xattr(key(3), b"security.a", Some(b"x")));
        let header = mine.header();
        header.slots_log2.store(u32::MAX, Relaxed);
        header.blob_size.store(u32::MAX, Relaxed);
        header.records.store(0, Relaxed);
        assert_eq!(read.iter_within(0..usize::MAX).count(), 1);
        let (_, _, blob) = read.iter_within(0..usize::MAX).next().expect("the record");
        let history: std::vec::Vec<_> = read.xattr_history(blob).collect();
        assert_eq!(history, [(&b"security.a"[..], Some(&b"x"[..]))]);
        // Blobs that lead to themselves, and out of the table.
        // SAFETY: the blob was just written there.
        let head = unsafe { read.base.add(read.blobs_base() + blob as usize * 8).cast::<u32>() };
        // SAFETY: as above.
        unsafe { head.write(blob) };
        assert!(read.xattr_history(blob).count() < 10_000);
        assert_eq!(read.xattr_history(u32::MAX).count(), 0);
    }

    fn with_table(test: impl FnOnce(Table)) {
        let size = shared_size(12, 4096);
        let mut memory = std::vec![0u64; size / 8];
        // SAFETY: the vector holds so many zeroed bytes and outlives the table.
        test(unsafe { Table::format(memory.as_mut_ptr().cast(), 12, 4096) });
    }

    fn key(ino: u64) -> Key {
        Key { ino, sec: 1_700_000_000, nsec: 999_999_999 }
    }

    #[test]
    fn facts_come_back_and_belong_to_one_file() {
        with_table(|table| {
            assert_eq!(table.get(key(7)), Facts::default());
            assert!(table.set_owner(key(7), Some((33, 34))));
            assert!(table.set_mode(key(7), Some((0o020666, (1, 3)))));
            assert_eq!(table.get(key(7)), Facts { owner: Some((33, 34)), mode: Some((0o020666, (1, 3))) });
            let reborn = Key { nsec: 1, ..key(7) };
            assert_eq!(table.get(reborn), Facts::default());
            assert!(table.set_owner(reborn, Some((1, 1))));
            assert_eq!(table.get(key(7)), Facts::default());
            assert_eq!(table.get(reborn), Facts { owner: Some((1, 1)), mode: None });
            assert_eq!(table.iter().collect::<std::vec::Vec<_>>(), [(reborn, table.get(reborn))]);
        });
    }

    #[test]
    fn neighbours_and_far_numbers_do_not_collide() {
        with_table(|table| {
            for n in 0..3000 {
                assert!(table.set_owner(key(1 + n * 37), Some((n as u32, 0))));
            }
            for n in 0..3000 {
                assert_eq!(table.get(key(1 + n * 37)).owner, Some((n as u32, 0)));
            }
            assert_eq!(table.header().lost.load(Relaxed), 0);
        });
    }

    #[test]
    fn a_full_table_says_so() {
        with_table(|table| {
            let kept = (1..6000).filter(|ino| table.set_owner(key(*ino), Some((1, 1)))).count();
            assert_eq!(kept, 4096);
            assert_eq!(table.header().lost.load(Relaxed), 5999 - 4096);
        });
    }

    #[test]
    fn the_newest_attribute_counts() {
        with_table(|table| {
            assert!(table.set_xattr(key(3), b"security.capability", Some(b"one")));
            assert!(table.set_xattr(key(3), b"trusted.x", Some(b"")));
            assert!(table.set_xattr(key(3), b"security.capability", Some(b"two")));
            assert_eq!(table.xattr(key(3), b"security.capability"), Some(&b"two"[..]));
            assert_eq!(table.xattrs(key(3)).count(), 2);
            assert!(table.set_xattr(key(3), b"security.capability", None));
            assert_eq!(table.xattr(key(3), b"security.capability"), None);
            let left: std::vec::Vec<_> = table.xattrs(key(3)).collect();
            assert_eq!(left, [(&b"trusted.x"[..], &b""[..])]);
            assert!(!table.set_xattr(key(3), b"security.big", Some(&[0; 5000])));
            assert_eq!(table.header().lost.load(Relaxed), 1);
        });
    }
}
