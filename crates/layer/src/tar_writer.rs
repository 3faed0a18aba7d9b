//! Writes tar archives, byte for byte as BuildKit does for the same tree.
//!
//! BuildKit writes layers with Go's `archive/tar`, format PAX, times cut to whole seconds, without user and group
//! names. What follows from that, and is kept here so that diff IDs agree:
//! - an entry whose fields all fit is a plain USTAR header, long ASCII names split over `prefix` where possible;
//! - else an extended header `DIR/PaxHeaders.0/NAME` with sorted records comes first; in the main header that follows
//!   text loses its non-ASCII characters and is cut, numbers that do not fit are 0;
//! - the numbers of the extended header's own header are 0, its user, group and device fields are empty;
//! - whiteouts have mode 0, and the archive ends with two blocks of zeros, without padding to a record.

use crate::entry::{Entry, Kind, split};
use crate::error::{Error, Result};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Size of a tar block.
pub(crate) const BLOCK: usize = 512;
/// Prefix of a whiteout's name.
pub const WHITEOUT_PREFIX: &str = ".wh.";
/// Name of the marker that makes a directory opaque.
pub const OPAQUE_MARKER: &str = ".wh..wh..opq";
/// Go's reader takes no longer extended header than this.
const MAX_EXTENDED: usize = 1 << 20;
const BUFFER: usize = 256 << 10;

const NAME: Field = Field(0, 100);
const MODE: Field = Field(100, 8);
const UID: Field = Field(108, 8);
const GID: Field = Field(116, 8);
const SIZE: Field = Field(124, 12);
const MTIME: Field = Field(136, 12);
const CHECKSUM: Field = Field(148, 8);
const TYPE: usize = 156;
const LINK: Field = Field(157, 100);
const MAGIC: Field = Field(257, 8);
const DEVMAJOR: Field = Field(329, 8);
const DEVMINOR: Field = Field(337, 8);
const PREFIX: Field = Field(345, 155);

/// A field of the header: where it begins and how long it is.
#[derive(Clone, Copy)]
struct Field(usize, usize);

/// Writes a layer's tar.
pub struct TarWriter<W: Write> {
    out: W,
    position: u64,
    whiteout_time: i64,
    buffer: Vec<u8>,
}

impl<W: Write> TarWriter<W> {
    /// An archive on `out`.
    pub fn new(out: W) -> Self {
        Self { out, position: 0, whiteout_time: 0, buffer: Vec::new() }
    }

    /// Time of whiteouts, in seconds after 1970; 0 unless it is set.
    pub fn set_whiteout_time(&mut self, secs: i64) {
        self.whiteout_time = secs;
    }

    /// How many bytes were written.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Writes one entry. For files, `content` must give exactly `entry.size` bytes. Returns where the content begins.
    pub fn append(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<u64> {
        self.header(entry)?;
        let start = self.position;
        if entry.kind == Kind::File {
            self.content(entry, content)?;
        }
        Ok(start)
    }

    /// Says that a path of the lower layers is gone.
    pub fn whiteout(&mut self, path: &Path) -> Result<()> {
        let Some((parent, name)) = split(path) else {
            return Err(Error::Unstorable { path: path.to_owned(), reason: "the root cannot be removed".into() });
        };
        let mut marker = WHITEOUT_PREFIX.as_bytes().to_vec();
        marker.extend_from_slice(name.as_bytes());
        self.marker(parent, &marker)
    }

    /// Says that what lower layers have in this directory is gone.
    pub fn opaque(&mut self, dir: &Path) -> Result<()> {
        self.marker(dir, OPAQUE_MARKER.as_bytes())
    }

    /// Writes the end mark and gives the sink back.
    pub fn finish(mut self) -> Result<W> {
        self.write(&[0; 2 * BLOCK])?;
        self.out.flush().map_err(stream)?;
        Ok(self.out)
    }

    fn marker(&mut self, dir: &Path, name: &[u8]) -> Result<()> {
        let mut entry = Entry::file(dir.join(std::ffi::OsStr::from_bytes(name)), 0, 0);
        entry.mtime.secs = self.whiteout_time;
        self.header(&entry)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(stream)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self, length: u64) -> Result<()> {
        let rest = (BLOCK as u64 - length % BLOCK as u64) % BLOCK as u64;
        self.write(&[0; BLOCK][..usize::try_from(rest).unwrap_or(0)])
    }

    fn header(&mut self, entry: &Entry) -> Result<()> {
        let fields = Fields::new(entry)?;
        if fields.records.is_empty() {
            return self.write(&fields.block(true));
        }
        let mut data = Vec::new();
        for (key, value) in &fields.records {
            record(&mut data, key, value);
        }
        if data.len() > MAX_EXTENDED {
            return Err(Error::Unstorable {
                path: entry.path.clone(),
                reason: format!("its name and attributes take {} bytes, readers accept {MAX_EXTENDED}", data.len()),
            });
        }
        let mut block = Block::new();
        block.text(NAME, &extended_name(&fields.name));
        block.bytes[TYPE] = b'x';
        for field in [MODE, UID, GID, MTIME] {
            block.octal(field, 0);
        }
        block.octal(SIZE, data.len() as i64);
        self.write(&block.seal())?;
        self.write(&data)?;
        self.pad(data.len() as u64)?;
        self.write(&fields.block(false))
    }

    fn content(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(BUFFER, 0);
        let mut left = entry.size;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            match content.read(&mut buffer[..want]) {
                Ok(0) => {
                    let (path, expected) = (entry.path.clone(), entry.size);
                    return Err(Error::Changed { path, expected, got: expected - left });
                }
                Ok(count) => {
                    self.write(&buffer[..count])?;
                    left -= count as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read", &entry.path, e)),
            }
        }
        loop {
            match content.read(&mut buffer[..1]) {
                Ok(0) => break,
                Ok(_) => {
                    let (path, expected) = (entry.path.clone(), entry.size);
                    return Err(Error::Changed { path, expected, got: expected + 1 });
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read", &entry.path, e)),
            }
        }
        self.buffer = buffer;
        self.pad(entry.size)
    }
}

/// Whether an entry can be stored.
pub(crate) fn check(entry: &Entry) -> Result<()> {
    Fields::new(entry).map(drop)
}

fn stream(source: io::Error) -> Error {
    Error::Stream { verb: "write the layer", source }
}

/// An entry's fields as the tar header spells them, and the records for what does not fit there. An entry with
/// extended attributes or with a field that USTAR cannot hold has records.
struct Fields<'a> {
    entry: &'a Entry,
    name: Vec<u8>,
    link: &'a [u8],
    size: i64,
    records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<'a> Fields<'a> {
    fn new(entry: &'a Entry) -> Result<Self> {
        let unstorable = |reason: &str| Error::Unstorable { path: entry.path.clone(), reason: reason.to_owned() };
        let mut name = entry.path.as_os_str().as_bytes().to_vec();
        if entry.kind == Kind::Dir {
            name.push(b'/');
        }
        let link = match (entry.kind, &entry.link) {
            (Kind::Symlink | Kind::Hardlink, Some(link)) => link.as_os_str().as_bytes(),
            (Kind::Symlink | Kind::Hardlink, None) => return Err(unstorable("a link without a target")),
            _ => b"".as_slice(),
        };
        if name.contains(&0) || link.contains(&0) {
            return Err(unstorable("its name or link text contains a NUL byte"));
        }
        let size = match entry.kind {
            Kind::File => i64::try_from(entry.size).map_err(|_| unstorable("it is larger than 2^63 bytes"))?,
            _ => 0,
        };
        let mut fields = Self { entry, name, link, size, records: Vec::new() };
        let mut numeric = |key: &str, field: Field, value: i64| {
            if !fits(field, value) {
                fields.records.push((key.into(), value.to_string().into_bytes()));
            }
        };
        numeric("gid", GID, entry.gid.into());
        numeric("mtime", MTIME, entry.mtime.secs);
        numeric("size", SIZE, size);
        numeric("uid", UID, entry.uid.into());
        for (key, value) in &entry.xattrs {
            if key.is_empty() || key.iter().any(|b| matches!(b, b'=' | 0)) {
                return Err(unstorable("an extended attribute has an empty name, or '=' or NUL in its name"));
            }
            fields.records.push(([b"SCHILY.xattr.".as_slice(), key].concat(), value.clone()));
        }
        // Text goes to records when USTAR cannot hold it, and also when it is too long for its field while another
        // field makes the header an extended one, in which names are not split.
        if !is_ascii(fields.link) || fields.link.len() > LINK.1 {
            fields.records.push(("linkpath".into(), fields.link.to_vec()));
        }
        let long = !is_ascii(&fields.name) || fields.name.len() > NAME.1;
        if long && (split_name(&fields.name).is_none() || !fields.records.is_empty()) {
            fields.records.push(("path".into(), fields.name.clone()));
        }
        fields.records.sort();
        let (major, minor) = entry.rdev;
        if !fits(DEVMAJOR, major.into()) || !fits(DEVMINOR, minor.into()) {
            return Err(unstorable("its device number does not fit into a tar header"));
        }
        Ok(fields)
    }

    /// The main header.
    fn block(&self, ustar: bool) -> [u8; BLOCK] {
        let mut block = Block::new();
        match split_name(&self.name) {
            Some((prefix, name)) if ustar => {
                block.text(NAME, name);
                block.text(PREFIX, prefix);
            }
            _ => block.text(NAME, &ascii(&self.name)),
        }
        block.text(LINK, &ascii(self.link));
        block.octal(MODE, (self.entry.mode & 0o7777).into());
        block.octal(UID, self.entry.uid.into());
        block.octal(GID, self.entry.gid.into());
        block.octal(SIZE, self.size);
        block.octal(MTIME, self.entry.mtime.secs);
        let device = matches!(self.entry.kind, Kind::CharDevice | Kind::BlockDevice);
        let (major, minor) = if device { self.entry.rdev } else { (0, 0) };
        block.octal(DEVMAJOR, major.into());
        block.octal(DEVMINOR, minor.into());
        block.bytes[TYPE] = match self.entry.kind {
            Kind::File => b'0',
            Kind::Hardlink => b'1',
            Kind::Symlink => b'2',
            Kind::CharDevice => b'3',
            Kind::BlockDevice => b'4',
            Kind::Dir => b'5',
            Kind::Fifo => b'6',
        };
        block.seal()
    }
}

struct Block {
    bytes: [u8; BLOCK],
}

impl Block {
    fn new() -> Self {
        Self { bytes: [0; BLOCK] }
    }

    fn text(&mut self, Field(start, length): Field, text: &[u8]) {
        let field = &mut self.bytes[start..start + length];
        let count = text.len().min(length);
        field[..count].copy_from_slice(&text[..count]);
        // A cut name that ends with a slash would make old readers see a directory.
        if text.len() > length && field[length - 1] == b'/' {
            let kept = field.iter().rposition(|b| *b != b'/').map_or(0, |at| at + 1);
            field[kept] = 0;
        }
    }

    fn octal(&mut self, field: Field, value: i64) {
        let value = if fits(field, value) { value } else { 0 };
        let digits = format!("{value:0width$o}", width = field.1 - 1);
        self.text(field, digits.as_bytes());
    }

    fn seal(mut self) -> [u8; BLOCK] {
        self.text(MAGIC, b"ustar\x0000");
        self.text(CHECKSUM, b"        ");
        let sum: i64 = self.bytes.iter().map(|b| i64::from(*b)).sum();
        let Field(start, length) = CHECKSUM;
        self.octal(Field(start, length - 1), sum);
        self.bytes[start + length - 2] = 0;
        self.bytes
    }
}

/// Whether a number fits into a field of octal digits and an end mark.
fn fits(Field(_, length): Field, value: i64) -> bool {
    value >= 0 && value < 1 << ((length - 1) * 3)
}

fn is_ascii(text: &[u8]) -> bool {
    text.iter().all(|b| (1..0x80).contains(b))
}

fn ascii(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|b| (1..0x80).contains(b)).collect()
}

/// Splits a long name for USTAR's two fields, at the slash that Go chooses.
fn split_name(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = name.len();
    if length <= NAME.1 || !is_ascii(name) {
        return None;
    }
    if length > PREFIX.1 + 1 {
        length = PREFIX.1 + 1;
    } else if name[length - 1] == b'/' {
        length -= 1;
    }
    let at = name[..length].iter().rposition(|b| *b == b'/')?;
    let suffix = name.len() - at - 1;
    (at > 0 && at <= PREFIX.1 && suffix > 0 && suffix <= NAME.1).then(|| (&name[..at], &name[at + 1..]))
}

/// The name of an extended header: for readers that do not know it and make it a file.
fn extended_name(name: &[u8]) -> Vec<u8> {
    let (dir, file) = name.split_at(name.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1));
    let mut out = ascii(&[dir, b"PaxHeaders.0/", file].concat());
    out.truncate(NAME.1);
    while out.last() == Some(&b'/') {
        out.pop();
    }
    out
}

/// One record, `LENGTH KEY=VALUE\n`, whose length counts its own digits.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    if length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Time;

    fn tar(entries: &[(Entry, &[u8])]) -> Vec<u8> {
        let mut writer = TarWriter::new(Vec::new());
        for (entry, content) in entries {
            writer.append(entry, &mut &**content).unwrap();
        }
        writer.finish().unwrap()
    }

    fn field(block: &[u8], Field(start, length): Field) -> &[u8] {
        &block[start..start + length]
    }

    #[test]
    fn a_small_file_is_one_ustar_header() {
        let mut entry = Entry::file("etc/hostname", 0o644, 5);
        entry.mtime = Time { secs: 1_700_000_000, nanos: 999 };
        let bytes = tar(&[(entry, b"host\n")]);
        assert_eq!(bytes.len(), 512 + 512 + 1024);
        assert_eq!(field(&bytes, NAME)[..13], *b"etc/hostname\0");
        assert_eq!(field(&bytes, MODE), b"0000644\0");
        assert_eq!(field(&bytes, SIZE), b"00000000005\0");
        assert_eq!(field(&bytes, MTIME), b"14524770400\0");
        assert_eq!(field(&bytes, MAGIC), b"ustar\x0000");
        assert_eq!(field(&bytes, DEVMAJOR), b"0000000\0");
        assert_eq!(bytes[155], b' ');
        assert_eq!(&bytes[512..517], b"host\n");
    }

    #[test]
    fn long_ascii_names_are_split_and_longer_ones_are_extended() {
        let split = format!("{}/{}", "d".repeat(90), "f".repeat(50));
        let bytes = tar(&[(Entry::file(&split, 0o644, 0), b"")]);
        assert_eq!(bytes[TYPE], b'0');
        assert_eq!(field(&bytes, PREFIX)[..91], [&[b'd'; 90][..], b"\0"].concat());
        let long = "f".repeat(150);
        let bytes = tar(&[(Entry::file(&long, 0o644, 0), b"")]);
        assert_eq!(bytes[TYPE], b'x');
        assert_eq!(field(&bytes, NAME)[..20], *b"PaxHeaders.0/fffffff");
        assert!(bytes[512..].starts_with(format!("160 path={long}\n\0").as_bytes()));
    }

    #[test]
    fn attributes_and_large_numbers_are_records_in_order() {
        let mut entry = Entry::file("bin/ping", 0o755, 0);
        entry.uid = 3_000_000;
        entry.mtime.secs = -1;
        entry.xattrs.insert(b"security.capability".to_vec(), vec![1, 0, 0, 2]);
        let bytes = tar(&[(entry, b"")]);
        let data = &bytes[512..1024];
        let all = String::from_utf8_lossy(data);
        let (x, m, u) = (all.find("SCHILY"), all.find("mtime=-1"), all.find("uid=3000000"));
        assert!(x < m && m < u && x.is_some(), "{all}");
        assert_eq!(field(&bytes[1024..], UID), b"0000000\0");
        assert_eq!(field(&bytes[1024..], MTIME), b"00000000000\0");
    }

    #[test]
    fn record_lengths_count_themselves() {
        for size in [1, 5, 90, 91, 92, 93, 94, 980, 990, 991, 992, 993] {
            let mut out = Vec::new();
            record(&mut out, b"k", &vec![b'v'; size]);
            let written: usize =
                String::from_utf8_lossy(&out[..out.iter().position(|b| *b == b' ').unwrap()]).parse().unwrap();
            assert_eq!(written, out.len());
        }
    }

    #[test]
    fn a_file_that_changes_is_named() {
        let mut writer = TarWriter::new(Vec::new());
        let entry = Entry::file("log", 0o644, 4);
        let short = writer.append(&entry, &mut &b"abc"[..]).unwrap_err().to_string();
        assert_eq!(
            short,
            "log changed while it was read: expected 4 bytes, got 3; stop what writes to it and try again"
        );
        assert!(matches!(
            TarWriter::new(Vec::new()).append(&entry, &mut &b"abcde"[..]),
            Err(Error::Changed { got: 5, .. })
        ));
    }

    #[test]
    fn whiteouts_are_empty_files_of_mode_zero() {
        let mut writer = TarWriter::new(Vec::new());
        writer.whiteout(Path::new("etc/motd")).unwrap();
        writer.opaque(Path::new("var")).unwrap();
        let bytes = writer.finish().unwrap();
        assert_eq!(field(&bytes, NAME)[..13], *b"etc/.wh.motd\0");
        assert_eq!(field(&bytes, MODE), b"0000000\0");
        assert_eq!(field(&bytes[512..], NAME)[..17], *b"var/.wh..wh..opq\0");
    }
}
