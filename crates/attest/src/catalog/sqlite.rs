//! A reader of SQLite 3 database files, enough for a table of blobs (sqlite.org/fileformat2.html).
//!
//! ```text
//! page 1: 100 bytes of header (page size at 16, reserved bytes at 20) │ root of the schema's table
//! page of a table: 0x05 inner: pointers to pages │ 0x0d leaf: cells │ right-most pointer at 8 (inner)
//! cell of a leaf: varint length, varint rowid, payload; what does not fit is a chain of overflow pages
//! ```
//! Pages are read as they are needed, each at most once on the way down, so a file that points to itself ends in an
//! error and not in a loop.
use super::{Result, Source, malformed};
use std::collections::HashSet;
use std::io::SeekFrom;

pub(super) const MAGIC: &[u8] = b"SQLite format 3\0";
/// No row of a package database is larger.
const MAX_ROW: u64 = 64 << 20;
const MAX_DEPTH: usize = 16;

pub(super) struct Database<'a> {
    content: &'a mut dyn Source,
    page_size: usize,
    usable: usize,
    pages: u64,
    /// Bytes of rows that may still be read: a file cannot hold more than it is long.
    budget: u64,
}

/// One value of a row.
enum Value<'a> {
    Integer(i64),
    Bytes(&'a [u8]),
    Other,
}

impl<'a> Database<'a> {
    pub(super) fn open(content: &'a mut dyn Source) -> Result<Self> {
        let size = content.seek(SeekFrom::End(0))?;
        content.rewind()?;
        let mut head = [0; 100];
        if content.read_exact(&mut head).is_err() || !head.starts_with(MAGIC) {
            return malformed("it is no SQLite database");
        }
        let page_size = match u16::from_be_bytes([head[16], head[17]]) {
            1 => 65536,
            size if size >= 512 && size.is_power_of_two() => usize::from(size),
            _ => return malformed("it is a damaged SQLite database: its page size makes no sense"),
        };
        let usable = page_size - usize::from(head[20]);
        if usable < 480 {
            return malformed("it is a damaged SQLite database: its page size makes no sense");
        }
        Ok(Self { content, page_size, usable, pages: size.div_ceil(page_size as u64), budget: size })
    }

    /// Hands over the column with this number, where it holds bytes, of each row of a table.
    pub(super) fn column(&mut self, table: &str, column: usize, row: &mut dyn FnMut(&[u8])) -> Result<()> {
        let mut root = None;
        self.rows(1, &mut |payload| {
            let bytes = |n: usize| match value(payload, n) {
                Some(Value::Bytes(bytes)) => bytes,
                _ => b"",
            };
            if bytes(0) == b"table"
                && bytes(1) == table.as_bytes()
                && let Some(Value::Integer(page)) = value(payload, 3)
            {
                root = u64::try_from(page).ok();
            }
        })?;
        let Some(root) = root else { return malformed(format!("it has no table {table}")) };
        self.rows(root, &mut |payload| {
            if let Some(Value::Bytes(bytes)) = value(payload, column) {
                row(bytes);
            }
        })
    }

    fn page(&mut self, number: u64) -> Result<Vec<u8>> {
        if number == 0 || number > self.pages {
            return malformed("it is a damaged SQLite database: a page lies outside of it");
        }
        let mut page = vec![0; self.page_size];
        self.content.seek(SeekFrom::Start((number - 1) * self.page_size as u64))?;
        if self.content.read_exact(&mut page).is_err() {
            return malformed("it is a damaged SQLite database: it is cut off");
        }
        Ok(page)
    }

    fn rows(&mut self, root: u64, row: &mut dyn FnMut(&[u8])) -> Result<()> {
        let mut seen = HashSet::new();
        let mut todo = vec![(root, 0)];
        while let Some((number, depth)) = todo.pop() {
            if !seen.insert(number) || depth > MAX_DEPTH {
                return malformed("it is a damaged SQLite database: its pages form a loop");
            }
            let page = self.page(number)?;
            let start = if number == 1 { 100 } else { 0 };
            let short = |at: usize| page.get(at..at + 2).map_or(0, |b| usize::from(u16::from_be_bytes([b[0], b[1]])));
            let (leaf, header) = match page[start] {
                0x0d => (true, 8),
                0x05 => (false, 12),
                _ => return malformed("it is a damaged SQLite database: a page is not of a table"),
            };
            let cells: Vec<usize> = (0..short(start + 3)).map(|n| short(start + header + 2 * n)).collect();
            if leaf {
                for cell in cells {
                    let payload = self.payload(&page, cell)?;
                    row(&payload);
                }
            } else {
                let long = |at: usize| {
                    page.get(at..at + 4).map_or(0, |b| u64::from(u32::from_be_bytes([b[0], b[1], b[2], b[3]])))
                };
                let children = cells.iter().map(|cell| long(*cell)).chain([long(start + 8)]);
                // The first child is looked at first.
                let children: Vec<u64> = children.collect();
                todo.extend(children.into_iter().rev().map(|child| (child, depth + 1)));
            }
        }
        Ok(())
    }

    fn payload(&mut self, page: &[u8], cell: usize) -> Result<Vec<u8>> {
        let damaged = || malformed("it is a damaged SQLite database: a row lies outside of its page");
        let Some((length, used)) = page.get(cell..).and_then(varint) else { return damaged() };
        let Some((_, more)) = page.get(cell + used..).and_then(varint) else { return damaged() };
        let start = cell + used + more;
        if length > MAX_ROW.min(self.budget) {
            return malformed("it is a damaged SQLite database: its rows are larger than it is");
        }
        self.budget -= length;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let most = self.usable - 35;
        if length <= most {
            return page.get(start..start + length).map_or_else(damaged, |bytes| Ok(bytes.to_vec()));
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let local = least + (length - least) % (self.usable - 4);
        let local = if local <= most { local } else { least };
        let (Some(bytes), Some(next)) = (page.get(start..start + local), page.get(start + local..start + local + 4))
        else {
            return damaged();
        };
        let mut out = bytes.to_vec();
        let mut next = u64::from(u32::from_be_bytes([next[0], next[1], next[2], next[3]]));
        while out.len() < length {
            let page = self.page(next)?;
            next = u64::from(u32::from_be_bytes([page[0], page[1], page[2], page[3]]));
            let take = (length - out.len()).min(self.usable - 4);
            out.extend_from_slice(&page[4..4 + take]);
        }
        Ok(out)
    }
}

/// A variable-length number and how many bytes it takes.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        if at == 8 {
            return Some((value << 8 | u64::from(*byte), 9));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

/// The value in a column of a row.
fn value(payload: &[u8], column: usize) -> Option<Value<'_>> {
    let (header, used) = varint(payload)?;
    let header = usize::try_from(header).ok()?;
    let mut types = payload.get(used..header)?;
    let mut at = header;
    for number in 0..=column {
        let (kind, used) = varint(types)?;
        types = &types[used..];
        let size = match kind {
            0 | 8 | 9 => 0,
            1..=4 => usize::try_from(kind).ok()?,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            kind => usize::try_from((kind - 12) / 2).ok()?,
        };
        let bytes = payload.get(at..at.checked_add(size)?)?;
        at += size;
        if number == column {
            return Some(match kind {
                1..=6 => {
                    let sign = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
                    Value::Integer(bytes.iter().fold(sign, |acc: i64, byte| acc << 8 | i64::from(*byte)))
                }
                8 => Value::Integer(0),
                9 => Value::Integer(1),
                0 | 7 => Value::Other,
                _ => Value::Bytes(bytes),
            });
        }
    }
    None
}
