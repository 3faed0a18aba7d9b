//! Reads tar archives with bounds on everything.
//!
//! What it understands: V7, USTAR, STAR, GNU (long names, base-256 numbers, old sparse files) and PAX (all fields that
//! matter, `SCHILY.xattr.*`, sparse files 0.0, 0.1 and 1.0). Where formats are ambiguous it decides as Go's
//! `archive/tar` does, since that is what reads layers elsewhere: a global header is skipped and changes nothing, of
//! several extended headers the last counts, links and devices have no content whatever their size field says, and an
//! archive may end without an end mark. All of an archive's text is data here: [`Header::path`] is as the archive
//! spells it, with `..` and leading slashes.

use crate::apply::Limits;
use crate::entry::{Kind, Time, Xattrs};
use crate::error::{Error, Result};
use std::ffi::OsString;
use std::io::{self, BufRead};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

const BLOCK: usize = 512;
/// Pieces of one sparse file; each costs 16 bytes of memory.
const MAX_PIECES: usize = 1 << 18;

/// One entry as the archive describes it.
#[derive(Debug, Clone)]
pub struct Header {
    /// Name, byte for byte.
    pub path: PathBuf,
    /// Link text, byte for byte; empty for what is no link.
    pub link: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// `mode & 0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of modification.
    pub mtime: Time,
    /// Time of access, where the archive has one.
    pub atime: Option<Time>,
    /// Length of the file, holes included.
    pub size: u64,
    /// Bytes that the archive holds for it.
    pub stored: u64,
    /// For sparse files: (place, length) of the stored pieces, in order.
    pub sparse: Option<Vec<(u64, u64)>>,
    /// Device numbers.
    pub rdev: (u32, u32),
    /// Extended attributes.
    pub xattrs: Xattrs,
    /// Where the stored bytes begin in the tar stream.
    pub offset: u64,
}

/// Reads an archive entry by entry.
#[derive(Debug)]
pub struct TarReader<R> {
    input: R,
    limits: Limits,
    position: u64,
    /// Content of the current entry that was not read yet, and the padding after it.
    left: u64,
    padding: u64,
    entries: u64,
    total: u64,
    metadata: u64,
    parts: u64,
    ended: bool,
}

/// What extended headers said about the next entry.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    uid: Option<u32>,
    gid: Option<u32>,
    size: Option<u64>,
    mtime: Option<Time>,
    atime: Option<Time>,
    xattrs: Xattrs,
    sparse: PaxSparse,
}

#[derive(Default)]
struct PaxSparse {
    major: Option<u64>,
    minor: Option<u64>,
    name: Option<Vec<u8>>,
    size: Option<u64>,
    /// Alternating places and lengths.
    map: Option<Vec<u64>>,
}

impl<R: BufRead> TarReader<R> {
    /// Reads `input`, which is not compressed.
    pub fn new(input: R, limits: Limits) -> Self {
        Self {
            input,
            limits,
            position: 0,
            left: 0,
            padding: 0,
            entries: 0,
            total: 0,
            metadata: 0,
            parts: 0,
            ended: false,
        }
    }

    /// Bytes read so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next entry; what was not read of the one before is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Header>> {
        self.skip(self.left.saturating_add(self.padding))?;
        (self.left, self.padding) = (0, 0);
        let mut extended = Extended::default();
        let (mut long_path, mut long_link) = (None, None);
        let mut budget = self.limits.header;
        loop {
            let start = self.position;
            let Some(block) = self.header_block(start)? else { return Ok(None) };
            match block[156] {
                flag @ (b'x' | b'g' | b'L' | b'K') => {
                    let size = number(&block[124..136]).and_then(|n| u64::try_from(n).ok());
                    let size = size.ok_or_else(|| broken(start, "its extended header has no valid size"))?;
                    if size > budget {
                        return Err(Error::Limit {
                            what: "bytes of extended headers for one entry",
                            limit: self.limits.header,
                            path: PathBuf::new(),
                        });
                    }
                    budget -= size;
                    let mut data = vec![0; usize::try_from(size).unwrap_or(0)];
                    self.read_exact(&mut data, start)?;
                    self.skip(pad(size))?;
                    match flag {
                        b'x' => extended = parse_pax(&data, start)?,
                        b'L' => long_path = Some(c_string(&data).to_vec()),
                        b'K' => long_link = Some(c_string(&data).to_vec()),
                        _ => {}
                    }
                }
                _ => {
                    extended.path = long_path.filter(|p| !p.is_empty()).or(extended.path);
                    extended.link = long_link.filter(|p| !p.is_empty()).or(extended.link);
                    return self.entry(&block, extended, start).map(Some);
                }
            }
        }
    }

    /// The next piece of the current entry's content, at most `limit` bytes; empty at its end.
    pub fn content(&mut self, limit: usize) -> Result<&[u8]> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(limit);
        if want == 0 {
            return Ok(&[]);
        }
        let position = self.position;
        let ready = loop {
            match self.input.fill_buf() {
                Ok(ready) => break ready.len(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Stream { verb: "read the layer", source }),
            }
        };
        if ready == 0 {
            return Err(broken(position, "it ends in the middle of a file"));
        }
        // Asked again so that the borrow ends here: data that is there is given at once.
        let ready = self.input.fill_buf().map_err(|source| Error::Stream { verb: "read the layer", source })?;
        Ok(&ready[..ready.len().min(want)])
    }

    /// Says how much of what [`Self::content`] gave was used.
    pub fn used(&mut self, count: usize) {
        self.input.consume(count);
        self.position += count as u64;
        self.left -= count as u64;
    }

    fn header_block(&mut self, start: u64) -> Result<Option<[u8; BLOCK]>> {
        if self.ended {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        let got = self.read_up_to(&mut block)?;
        if got == 0 {
            self.ended = true;
            return Ok(None);
        }
        if got < BLOCK {
            return Err(broken(start, "it ends in the middle of a header"));
        }
        if block.iter().all(|b| *b == 0) {
            let got = self.read_up_to(&mut block)?;
            if got != 0 && (got < BLOCK || block.iter().any(|b| *b != 0)) {
                return Err(broken(start, "data follows a single block of zeros; the end mark is two of them"));
            }
            self.ended = true;
            return Ok(None);
        }
        let stated = number(&block[148..156]);
        let plain = |at: usize, b: u8| if (148..156).contains(&at) { b' ' } else { b };
        let unsigned: i64 = block.iter().enumerate().map(|(at, b)| i64::from(plain(at, *b))).sum();
        let signed: i64 = block.iter().enumerate().map(|(at, b)| i64::from(plain(at, *b) as i8)).sum();
        if stated != Some(unsigned) && stated != Some(signed) {
            let what = if start == 0 { "this is no tar archive" } else { "the header's checksum is wrong" };
            return Err(broken(start, what));
        }
        Ok(Some(block))
    }

    fn entry(&mut self, block: &[u8; BLOCK], mut extended: Extended, start: u64) -> Result<Header> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(Error::Limit { what: "entries", limit: self.limits.entries, path: PathBuf::new() });
        }
        let field = |what: &str, range: std::ops::Range<usize>| {
            number(&block[range]).ok_or_else(|| broken(start, &format!("the header's {what} is no number")))
        };
        let format = Format::of(block);
        let mut path = c_string(&block[..100]).to_vec();
        let prefix = match format {
            Format::Ustar => c_string(&block[345..500]),
            Format::Star => c_string(&block[345..476]),
            Format::V7 | Format::Gnu => b"",
        };
        if !prefix.is_empty() {
            path = [prefix, b"/", &path].concat();
        }
        path = extended.sparse.name.take().or(extended.path).unwrap_or(path);
        let link = extended.link.unwrap_or_else(|| c_string(&block[157..257]).to_vec());
        let flag = block[156];
        let kind = match flag {
            0 if path.ends_with(b"/") => Kind::Dir,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::Hardlink,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Dir,
            b'6' => Kind::Fifo,
            other => {
                let reason = format!("its type {:?} is not one that a file system has", char::from(other));
                return Err(Error::Refused { path: text(path), reason });
            }
        };
        self.check_text(&path, "name", start)?;
        self.check_text(&link, "link text", start)?;
        let path = text(path);
        let id = |what: &str, range: std::ops::Range<usize>, pax: Option<u32>| match pax {
            Some(id) => Ok(id),
            None => {
                let value = field(what, range)?;
                u32::try_from(value).map_err(|_| Error::refused(&path, format!("its {what} {value} is no id")))
            }
        };
        let uid = id("owner", 108..116, extended.uid)?;
        let gid = id("group", 116..124, extended.gid)?;
        let mode = u32::try_from(field("mode", 100..108)? & 0o7777).unwrap_or(0);
        let mtime = match extended.mtime {
            Some(time) => time,
            None => Time::secs(field("time", 136..148)?),
        };
        let stored = match (kind, extended.size) {
            (Kind::File, Some(size)) => size,
            (Kind::File, None) => {
                u64::try_from(field("size", 124..136)?).map_err(|_| broken(start, "the header's size is negative"))?
            }
            _ => 0,
        };
        if stored > i64::MAX as u64 {
            return Err(broken(start, "the header's size is out of range"));
        }
        let device = matches!(kind, Kind::CharDevice | Kind::BlockDevice) && format != Format::V7;
        let part = |what: &str, range| -> Result<u32> {
            let value = if device { field(what, range)? } else { 0 };
            u32::try_from(value).map_err(|_| Error::refused(&path, "its device number is out of range"))
        };
        let rdev = (part("device", 329..337)?, part("device", 337..345)?);
        self.left = stored;
        self.padding = pad(stored);
        let mut header = Header {
            link: text(link),
            kind,
            mode,
            uid,
            gid,
            mtime,
            atime: extended.atime,
            size: stored,
            stored,
            sparse: None,
            rdev,
            xattrs: extended.xattrs,
            offset: 0,
            path,
        };
        if kind == Kind::File {
            if flag == b'S' && format == Format::Gnu {
                self.old_sparse(block, &mut header, start)?;
            } else {
                self.pax_sparse(extended.sparse, &mut header, start)?;
            }
            self.check_sparse(&header, start)?;
        }
        header.offset = self.position;
        self.count_metadata(&header)?;
        self.total = self.total.saturating_add(header.size);
        if self.total > self.limits.total {
            return Err(Error::Limit { what: "bytes of files", limit: self.limits.total, path: header.path });
        }
        Ok(header)
    }

    fn count_metadata(&mut self, header: &Header) -> Result<()> {
        let path = header.path.as_os_str().as_bytes();
        let xattrs: usize = header.xattrs.iter().map(|(name, value)| name.len() + value.len() + 64).sum();
        let pieces = header.sparse.as_ref().map_or(0, |pieces| pieces.len() * 16);
        self.metadata += (path.len() + header.link.as_os_str().len() + xattrs + pieces) as u64;
        self.parts += path.iter().filter(|b| **b == b'/').count() as u64 + 1;
        let over = |what, limit| Err(Error::Limit { what, limit, path: header.path.clone() });
        if self.metadata > self.limits.metadata {
            return over("bytes of names and attributes", self.limits.metadata);
        }
        if self.parts > self.limits.entries.saturating_mul(8).max(4096) {
            return over("components of paths", self.limits.entries.saturating_mul(8));
        }
        Ok(())
    }

    fn check_text(&self, bytes: &[u8], what: &str, start: u64) -> Result<()> {
        if bytes.contains(&0) {
            return Err(broken(start, &format!("the {what} of an entry contains a NUL byte")));
        }
        if bytes.len() as u64 > self.limits.path {
            let shown = text(bytes[..64.min(bytes.len())].to_vec());
            return Err(Error::Limit { what: "bytes in a path", limit: self.limits.path, path: shown });
        }
        Ok(())
    }

    fn old_sparse(&mut self, block: &[u8; BLOCK], header: &mut Header, start: u64) -> Result<()> {
        let value = |bytes: &[u8]| {
            let value = number(bytes).and_then(|n| u64::try_from(n).ok());
            value.ok_or_else(|| broken(start, "the map of a sparse file is no list of numbers"))
        };
        let mut pieces = Vec::new();
        let mut table = |bytes: &[u8]| -> Result<()> {
            for piece in bytes.as_chunks::<24>().0 {
                if piece[0] == 0 {
                    break;
                }
                pieces.push((value(&piece[..12])?, value(&piece[12..])?));
            }
            if pieces.len() > MAX_PIECES { Err(too_many_pieces(header)) } else { Ok(()) }
        };
        table(&block[386..482])?;
        let mut more = block[482] != 0;
        while more {
            let mut next = [0; BLOCK];
            self.read_exact(&mut next, start)?;
            table(&next[..504])?;
            more = next[504] != 0;
        }
        header.size = value(&block[483..495])?;
        header.sparse = Some(pieces);
        Ok(())
    }

    fn pax_sparse(&mut self, sparse: PaxSparse, header: &mut Header, start: u64) -> Result<()> {
        let Some(size) = sparse.size else {
            return match (sparse.major, sparse.map) {
                (None, None) => Ok(()),
                _ => Err(broken(start, "a sparse file does not say how long it is")),
            };
        };
        let map = match (sparse.major, sparse.minor, sparse.map) {
            (Some(1), Some(0), _) => self.sparse_map_in_data(header, start)?,
            (None | Some(0), None | Some(0 | 1), Some(map)) => map,
            (major, minor, _) => {
                let (major, minor) = (major.unwrap_or(0), minor.unwrap_or(0));
                let reason =
                    format!("its sparse format {major}.{minor} is unknown; write the archive without --sparse");
                return Err(Error::Refused { path: header.path.clone(), reason });
            }
        };
        let (pairs, rest) = map.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(broken(start, "the map of a sparse file has a place without a length"));
        }
        header.sparse = Some(pairs.iter().map(|[place, length]| (*place, *length)).collect());
        header.size = size;
        Ok(())
    }

    /// PAX 1.0: decimal numbers, one a line, before the data, padded to a block.
    fn sparse_map_in_data(&mut self, header: &mut Header, start: u64) -> Result<Vec<u64>> {
        let bad = || broken(start, "the map of a sparse file is no list of numbers");
        let mut numbers: Vec<u64> = Vec::new();
        let mut current: Option<u64> = None;
        loop {
            if self.left < BLOCK as u64 {
                return Err(broken(start, "the map of a sparse file is cut off"));
            }
            let mut block = [0; BLOCK];
            self.read_exact(&mut block, start)?;
            self.left -= BLOCK as u64;
            header.stored -= BLOCK as u64;
            for byte in block {
                match byte {
                    b'0'..=b'9' => {
                        let digit = u64::from(byte - b'0');
                        let value = current.unwrap_or(0).checked_mul(10).and_then(|v| v.checked_add(digit));
                        current = Some(value.ok_or_else(bad)?);
                    }
                    b'\n' => numbers.push(current.take().ok_or_else(bad)?),
                    _ => return Err(bad()),
                }
                let wanted = numbers.first().map_or(usize::MAX, |n| usize::try_from(*n).unwrap_or(usize::MAX));
                if wanted != usize::MAX && wanted > MAX_PIECES {
                    return Err(too_many_pieces(header));
                }
                if wanted != usize::MAX && numbers.len() == 1 + 2 * wanted {
                    numbers.remove(0);
                    return Ok(numbers);
                }
            }
        }
    }

    fn check_sparse(&self, header: &Header, start: u64) -> Result<()> {
        let Some(pieces) = &header.sparse else { return Ok(()) };
        let (mut end, mut stored) = (0u64, 0u64);
        for (place, length) in pieces {
            if *place < end || place.checked_add(*length).is_none_or(|end| end > header.size) {
                return Err(broken(start, "the pieces of a sparse file overlap or lie outside of it"));
            }
            end = place + length;
            stored += length;
        }
        if stored != header.stored || header.size > i64::MAX as u64 {
            return Err(broken(start, "the pieces of a sparse file do not add up to what is stored"));
        }
        Ok(())
    }

    fn read_up_to(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.input.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Stream { verb: "read the layer", source }),
            }
        }
        self.position += filled as u64;
        Ok(filled)
    }

    fn read_exact(&mut self, buffer: &mut [u8], start: u64) -> Result<()> {
        if self.read_up_to(buffer)? == buffer.len() {
            Ok(())
        } else {
            Err(broken(start, "it ends in an entry's header"))
        }
    }

    fn skip(&mut self, mut count: u64) -> Result<()> {
        while count > 0 {
            let ready = match self.input.fill_buf() {
                Ok(ready) => ready.len(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(Error::Stream { verb: "read the layer", source }),
            };
            if ready == 0 {
                return Err(broken(self.position, "it ends in the middle of an entry"));
            }
            let step = usize::try_from(count).unwrap_or(usize::MAX).min(ready);
            self.input.consume(step);
            self.position += step as u64;
            count -= step as u64;
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    V7,
    Ustar,
    Star,
    Gnu,
}

impl Format {
    fn of(block: &[u8; BLOCK]) -> Self {
        match (&block[257..263], &block[263..265]) {
            (b"ustar\0", _) if &block[508..512] == b"tar\0" => Self::Star,
            (b"ustar\0", _) => Self::Ustar,
            (b"ustar ", b" \0") => Self::Gnu,
            _ => Self::V7,
        }
    }
}

fn broken(offset: u64, reason: &str) -> Error {
    Error::Tar { offset, reason: reason.to_owned() }
}

fn too_many_pieces(header: &Header) -> Error {
    Error::Limit { what: "pieces of a sparse file", limit: MAX_PIECES as u64, path: header.path.clone() }
}

fn text(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

fn pad(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

fn c_string(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len())]
}

/// A number as headers spell it: octal digits between blanks, or base 256 when the first bit is set.
fn number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        for (at, byte) in field.iter().enumerate() {
            let byte = if at == 0 && !negative { byte & 0x7f } else { *byte };
            value = (value << 8) | i128::from(byte);
            if i64::try_from(value).is_err() {
                return None;
            }
        }
        return i64::try_from(value).ok();
    }
    let start = field.iter().position(|b| !matches!(b, b' ' | 0)).unwrap_or(field.len());
    let digits = c_string(&field[start..]).trim_ascii_end();
    let mut value: i64 = 0;
    for byte in digits {
        let digit = byte.checked_sub(b'0').filter(|d| *d < 8)?;
        value = value.checked_mul(8)?.checked_add(digit.into())?;
    }
    Some(value)
}

fn parse_pax(data: &[u8], start: u64) -> Result<Extended> {
    let mut out = Extended::default();
    let mut rest = data;
    while !rest.is_empty() {
        let (key, value, next) = pax_record(rest).ok_or_else(|| broken(start, "an extended header is malformed"))?;
        rest = next;
        let bad = || broken(start, &format!("the extended header's {:?} is malformed", String::from_utf8_lossy(key)));
        let unsigned = || parse_decimal(value).ok_or_else(bad);
        let id = || {
            let value = unsigned()?;
            u32::try_from(value).map_err(|_| broken(start, &format!("{value} is no user or group id")))
        };
        let none = value.is_empty();
        match key {
            b"path" => out.path = (!none).then(|| value.to_vec()),
            b"linkpath" => out.link = (!none).then(|| value.to_vec()),
            b"uid" => out.uid = if none { None } else { Some(id()?) },
            b"gid" => out.gid = if none { None } else { Some(id()?) },
            b"size" => out.size = if none { None } else { Some(unsigned()?) },
            b"mtime" => out.mtime = if none { None } else { Some(parse_time(value).ok_or_else(bad)?) },
            b"atime" => out.atime = if none { None } else { Some(parse_time(value).ok_or_else(bad)?) },
            b"GNU.sparse.major" => out.sparse.major = Some(unsigned()?),
            b"GNU.sparse.minor" => out.sparse.minor = Some(unsigned()?),
            b"GNU.sparse.name" => out.sparse.name = Some(value.to_vec()),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => out.sparse.size = Some(unsigned()?),
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                out.sparse.map.get_or_insert_default().push(unsigned()?);
            }
            b"GNU.sparse.map" => {
                let numbers = value.split(|b| *b == b',').map(parse_decimal).collect::<Option<Vec<_>>>();
                out.sparse.map = Some(numbers.ok_or_else(bad)?);
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    if name.is_empty() || name.contains(&0) {
                        return Err(bad());
                    }
                    out.xattrs.insert(name.to_vec(), value.to_vec());
                }
            }
        }
    }
    Ok(out)
}

/// Splits `LENGTH KEY=VALUE\n` off.
fn pax_record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(21).position(|b| *b == b' ')?;
    let length = usize::try_from(parse_decimal(&data[..space])?).ok()?;
    if length < space + 2 || length > data.len() || data[length - 1] != b'\n' {
        return None;
    }
    let record = &data[space + 1..length - 1];
    let equals = record.iter().position(|b| *b == b'=')?;
    (equals > 0).then(|| (&record[..equals], &record[equals + 1..], &data[length..]))
}

fn parse_decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, byte| {
        let digit = byte.checked_sub(b'0').filter(|d| *d < 10)?;
        value.checked_mul(10)?.checked_add(digit.into())
    })
}

/// Seconds with an optional fraction; digits after the ninth are dropped.
fn parse_time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match text.iter().position(|b| *b == b'.') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &[][..]),
    };
    let secs = i64::try_from(parse_decimal(whole)?).ok()?;
    let mut nanos = 0;
    for at in 0..9 {
        let digit = fraction.get(at).copied().unwrap_or(b'0').checked_sub(b'0').filter(|d| *d < 10)?;
        nanos = nanos * 10 + u32::from(digit);
    }
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(match (negative, nanos) {
        (false, _) => Time { secs, nanos },
        (true, 0) => Time::secs(-secs),
        (true, _) => Time { secs: -secs - 1, nanos: 1_000_000_000 - nanos },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_every_spelling() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"000064x\0"), None);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!(number(&[0xff; 8]), Some(-1));
        assert_eq!(number(&[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(number(b"77777777777777777777777777"), None);
    }

    #[test]
    fn times_are_rounded_down() {
        assert_eq!(parse_time(b"12.5"), Some(Time { secs: 12, nanos: 500_000_000 }));
        assert_eq!(parse_time(b"-1.25"), Some(Time { secs: -2, nanos: 750_000_000 }));
        assert_eq!(parse_time(b"1.1234567899"), Some(Time { secs: 1, nanos: 123_456_789 }));
        assert_eq!(parse_time(b"-3"), Some(Time::secs(-3)));
        for bad in [&b""[..], b".", b"1.x", b"x", b"--1"] {
            assert_eq!(parse_time(bad), None);
        }
    }

    #[test]
    fn pax_records_may_hold_newlines_and_equal_signs() {
        let data = b"22 SCHILY.xattr.a=b=\n\n12 path=a\nb\n";
        let out = parse_pax(data, 0).unwrap();
        assert_eq!(out.xattrs.get(&b"a"[..]), Some(&b"b=\n".to_vec()));
        assert_eq!(out.path, Some(b"a\nb".to_vec()));
        for bad in [&b"8 path=a\n"[..], b"0 a=b\n", b"5 a=b", b"99999999999999999999999 a=b\n", b"6 =bb\n", b" "] {
            assert!(parse_pax(bad, 0).is_err());
        }
    }
}
