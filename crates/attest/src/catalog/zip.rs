//! Zip archives: the central directory, and single members, with bounds on everything (APPNOTE.TXT 6.3).
//!
//! Only what a jar needs: stored and deflated members, archives with something before them (a script that starts the
//! program), zip64. Nothing is ever unpacked to disk.
use super::{Result, Source, malformed};
use std::io::{Read, SeekFrom};

const MAX_MEMBERS: usize = 300_000;
const MAX_DIRECTORY: u64 = 64 << 20;

pub(super) struct Member {
    pub(super) name: String,
    method: u16,
    packed: u64,
    offset: u64,
}

pub(super) struct Zip<'a> {
    content: &'a mut dyn Source,
    pub(super) members: Vec<Member>,
    /// Where the archive begins in the file.
    base: u64,
}

fn number(bytes: &[u8], at: usize, size: usize) -> u64 {
    bytes[at..at + size].iter().rev().fold(0, |acc, byte| acc << 8 | u64::from(*byte))
}

impl<'a> Zip<'a> {
    pub(super) fn open(content: &'a mut dyn Source) -> Result<Self> {
        let size = content.seek(SeekFrom::End(0))?;
        let tail_start = size.saturating_sub(22 + 65_535 + 20);
        content.seek(SeekFrom::Start(tail_start))?;
        let mut tail = Vec::new();
        content.read_to_end(&mut tail)?;
        let Some(at) = (0..tail.len().saturating_sub(21)).rev().find(|at| tail[*at..].starts_with(b"PK\x05\x06"))
        else {
            return malformed("it is no zip archive");
        };
        let end = &tail[at..];
        let (mut length, mut offset) = (number(end, 12, 4), number(end, 16, 4));
        let mut directory_end = tail_start + at as u64;
        if offset == 0xffff_ffff || length == 0xffff_ffff {
            let damaged = || malformed("it is a damaged zip archive: its 64-bit end record is missing");
            if at < 20 || !tail[at - 20..].starts_with(b"PK\x06\x07") {
                return damaged();
            }
            let place = number(&tail, at - 20 + 8, 8);
            let mut record = [0; 56];
            content.seek(SeekFrom::Start(place.min(size)))?;
            if content.read_exact(&mut record).is_err() || !record.starts_with(b"PK\x06\x06") {
                return damaged();
            }
            (length, offset) = (number(&record, 40, 8), number(&record, 48, 8));
            directory_end = place;
        }
        let start = directory_end.checked_sub(length);
        let base = start.and_then(|start| start.checked_sub(offset));
        let (Some(start), Some(base)) = (start, base) else {
            return malformed("it is a damaged zip archive: its directory lies outside of it");
        };
        if length > MAX_DIRECTORY {
            return malformed("it is a damaged zip archive: its directory is too large");
        }
        content.seek(SeekFrom::Start(start))?;
        let mut directory = vec![0; usize::try_from(length).unwrap_or(0)];
        content.read_exact(&mut directory)?;
        let members = members(&directory)?;
        Ok(Self { content, members, base })
    }

    /// A member's content, where it is no more than `limit` bytes and stored or deflated.
    pub(super) fn read(&mut self, member: usize, limit: u64) -> Result<Vec<u8>> {
        let Some(&Member { method, packed, offset, .. }) = self.members.get(member) else { return Ok(Vec::new()) };
        let Some(place) = self.base.checked_add(offset) else {
            return malformed("it is a damaged zip archive: a member lies outside of it");
        };
        self.content.seek(SeekFrom::Start(place))?;
        let mut head = [0; 30];
        if self.content.read_exact(&mut head).is_err() || !head.starts_with(b"PK\x03\x04") {
            return malformed("it is a damaged zip archive: a member is not where its directory says");
        }
        let skip = number(&head, 26, 2) + number(&head, 28, 2);
        self.content.seek(SeekFrom::Current(i64::try_from(skip).unwrap_or(0)))?;
        let packed = Read::take(&mut *self.content, packed);
        let mut out = Vec::new();
        let read = match method {
            0 => packed.take(limit + 1).read_to_end(&mut out),
            8 => flate2::read::DeflateDecoder::new(packed).take(limit + 1).read_to_end(&mut out),
            other => return malformed(format!("a member is compressed by method {other}, which is not read")),
        };
        if let Err(error) = read {
            return malformed(format!("a member cannot be inflated: {error}"));
        }
        if out.len() as u64 > limit {
            return malformed(format!("a member has more than {limit} bytes"));
        }
        Ok(out)
    }
}

fn members(mut directory: &[u8]) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    while directory.len() >= 46 && directory.starts_with(b"PK\x01\x02") {
        let lengths = [28, 30, 32].map(|at| usize::try_from(number(directory, at, 2)).unwrap_or(0));
        let whole = 46 + lengths.iter().sum::<usize>();
        if directory.len() < whole {
            break;
        }
        if members.len() >= MAX_MEMBERS {
            return malformed("it is a zip archive of too many members");
        }
        let name = String::from_utf8_lossy(&directory[46..46 + lengths[0]]).into_owned();
        let (mut packed, size, mut offset) =
            (number(directory, 20, 4), number(directory, 24, 4), number(directory, 42, 4));
        let mut extra = &directory[46 + lengths[0]..46 + lengths[0] + lengths[1]];
        while extra.len() >= 4 {
            let length = usize::try_from(number(extra, 2, 2)).unwrap_or(0);
            let Some(data) = extra.get(4..4 + length) else { break };
            if number(extra, 0, 2) == 1 {
                let mut wide = data.chunks_exact(8).map(|chunk| number(chunk, 0, 8));
                if size == 0xffff_ffff {
                    wide.next();
                }
                if packed == 0xffff_ffff {
                    packed = wide.next().unwrap_or(packed);
                }
                if offset == 0xffff_ffff {
                    offset = wide.next().unwrap_or(offset);
                }
            }
            extra = &extra[4 + length..];
        }
        members.push(Member {
            name,
            method: u16::try_from(number(directory, 10, 2)).unwrap_or(u16::MAX),
            packed,
            offset,
        });
        directory = &directory[whole..];
    }
    Ok(members)
}
