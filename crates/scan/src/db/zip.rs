//! Zip archives of records: members one after another, with bounds on everything (APPNOTE.TXT 6.3).
//!
//! OSV's exports have some hundred thousand members, so zip64 is read, and the directory is never held as a whole.
use std::io::{self, BufReader, Read};

/// Something that can be read at any place.
pub trait ReadAt {
    /// How long it is.
    ///
    /// # Errors
    /// As the file system has it.
    fn size(&self) -> io::Result<u64>;
    /// Reads some bytes; none at the end.
    ///
    /// # Errors
    /// As the file system has it.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for std::fs::File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }
}

impl ReadAt for &[u8] {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

/// A part of it, to be read from the front.
struct Part<'a, S> {
    source: &'a S,
    at: u64,
    left: u64,
}

impl<S: ReadAt> Read for Part<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.source.read_at(&mut buffer[..most], self.at)?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// More members than this are refused.
const MAX_MEMBERS: u64 = 5_000_000;

/// A member, as the directory has it.
#[derive(Debug)]
pub struct Member {
    /// Its name.
    pub name: String,
    method: u16,
    crc: u32,
    packed: u64,
    offset: u64,
}

/// An archive.
pub struct Zip<'a, S> {
    source: &'a S,
    directory: BufReader<Part<'a, S>>,
    /// Where the archive begins in the file.
    base: u64,
    left: u64,
}

impl<S> std::fmt::Debug for Zip<'_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Zip").field("left", &self.left).finish_non_exhaustive()
    }
}

fn number(bytes: &[u8], at: usize, size: usize) -> u64 {
    bytes[at..at + size].iter().rev().fold(0, |acc, byte| acc << 8 | u64::from(*byte))
}

fn text(error: &io::Error) -> String {
    format!("it cannot be read: {error}")
}

impl<'a, S: ReadAt> Zip<'a, S> {
    /// Finds the directory.
    ///
    /// # Errors
    /// What is wrong with the archive.
    pub fn open(source: &'a S) -> Result<Self, String> {
        let size = source.size().map_err(|e| text(&e))?;
        let start = size.saturating_sub(22 + 65_535 + 20);
        let mut tail = Vec::new();
        Part { source, at: start, left: size - start }.read_to_end(&mut tail).map_err(|e| text(&e))?;
        let at = (0..tail.len().saturating_sub(21))
            .rev()
            .find(|at| tail[*at..].starts_with(b"PK\x05\x06"))
            .ok_or("it is no zip archive")?;
        let end = &tail[at..];
        let (mut count, mut length, mut offset) = (number(end, 10, 2), number(end, 12, 4), number(end, 16, 4));
        let mut directory_end = start + at as u64;
        if count == 0xffff || offset == 0xffff_ffff || length == 0xffff_ffff {
            // An archive of exactly 65535 members has no such record.
            if at >= 20 && tail[at - 20..].starts_with(b"PK\x06\x07") {
                let place = number(&tail, at - 20 + 8, 8);
                let mut record = [0; 56];
                let read = Part { source, at: place, left: 56 }.read_exact(&mut record);
                if read.is_err() || !record.starts_with(b"PK\x06\x06") {
                    return Err("it is a damaged zip archive: its 64-bit end record is missing".into());
                }
                (count, length, offset) = (number(&record, 32, 8), number(&record, 40, 8), number(&record, 48, 8));
                directory_end = place;
            }
        }
        let start = directory_end.checked_sub(length);
        let base = start.and_then(|start| start.checked_sub(offset));
        let (Some(start), Some(base)) = (start, base) else {
            return Err("it is a damaged zip archive: its directory lies outside of it".into());
        };
        if count > MAX_MEMBERS {
            return Err(format!("it has {count} members, more than {MAX_MEMBERS}"));
        }
        let directory = BufReader::with_capacity(64 << 10, Part { source, at: start, left: length });
        Ok(Self { source, directory, base, left: count })
    }

    /// The next member; none at the end.
    ///
    /// # Errors
    /// What is wrong with the archive.
    pub fn next_member(&mut self) -> Result<Option<Member>, String> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let damaged = |_| "it is a damaged zip archive: its directory is shorter than it says".to_owned();
        let mut head = [0; 46];
        self.directory.read_exact(&mut head).map_err(damaged)?;
        if !head.starts_with(b"PK\x01\x02") {
            return Err("it is a damaged zip archive: something else stands in its directory".into());
        }
        let lengths = [28, 30, 32].map(|at| usize::try_from(number(&head, at, 2)).unwrap_or(0));
        let mut rest = vec![0; lengths.iter().sum()];
        self.directory.read_exact(&mut rest).map_err(damaged)?;
        let (mut packed, size, mut offset) = (number(&head, 20, 4), number(&head, 24, 4), number(&head, 42, 4));
        let mut extra = &rest[lengths[0]..lengths[0] + lengths[1]];
        while extra.len() >= 4 {
            let length = usize::try_from(number(extra, 2, 2)).unwrap_or(0);
            let Some(data) = extra.get(4..4 + length) else { break };
            if number(extra, 0, 2) == 1 {
                let mut wide = data.chunks_exact(8).map(|chunk| number(chunk, 0, 8));
                if size == 0xffff_ffff {
                    wide.next();
                }
                for field in [&mut packed, &mut offset] {
                    if *field == 0xffff_ffff {
                        *field = wide.next().unwrap_or(*field);
                    }
                }
            }
            extra = &extra[4 + length..];
        }
        Ok(Some(Member {
            name: String::from_utf8_lossy(&rest[..lengths[0]]).into_owned(),
            method: u16::try_from(number(&head, 10, 2)).unwrap_or(u16::MAX),
            crc: u32::try_from(number(&head, 16, 4)).unwrap_or(0),
            packed,
            offset,
        }))
    }

    /// A member's content, where it is no more than `limit` bytes and stored or deflated.
    ///
    /// # Errors
    /// What is wrong with the member.
    pub fn read(&self, member: &Member, limit: u64) -> Result<Vec<u8>, String> {
        let outside = "it is not where the archive's directory says";
        let at = self.base.checked_add(member.offset).ok_or(outside)?;
        let mut head = [0; 30];
        let read = Part { source: self.source, at, left: 30 }.read_exact(&mut head);
        if read.is_err() || !head.starts_with(b"PK\x03\x04") {
            return Err(outside.into());
        }
        let at = at + 30 + number(&head, 26, 2) + number(&head, 28, 2);
        let packed = BufReader::new(Part { source: self.source, at, left: member.packed });
        let mut out = Vec::new();
        let read = match member.method {
            0 => packed.take(limit + 1).read_to_end(&mut out),
            8 => flate2::bufread::DeflateDecoder::new(packed).take(limit + 1).read_to_end(&mut out),
            other => return Err(format!("it is compressed by method {other}, which is not read")),
        };
        read.map_err(|error| format!("it cannot be inflated: {error}"))?;
        if out.len() as u64 > limit {
            return Err(format!("it has more than {limit} bytes"));
        }
        let mut crc = flate2::Crc::new();
        crc.update(&out);
        if crc.sum() != member.crc {
            return Err("it is damaged: its checksum is another".into());
        }
        Ok(out)
    }
}
