//! Tables of contents: what is in a layer, without unpacking it.
//!
//! Stored (`wire.rs` has numbers, paths and the frame, magic `cprgtoc` 1):
//! ```text
//! count │ lines: tag, path, then for entries
//!         mode uid gid mtime │ file: size, offset − end of the file before, sparse pieces
//!                            │ link: text │ device: major minor │ attributes
//! ```

use crate::entry::{Entry, Kind};
use crate::error::Result;
use crate::tar_reader::TarReader;
use crate::wire::{Decoder, Encoder};
use std::ffi::OsStr;
use std::io::{BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where the content of a file lies in the layer's tar stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Content {
    /// First byte, counted from the start of the uncompressed tar.
    pub offset: u64,
    /// For sparse files: (place in the file, length) of each stored piece; the pieces follow one another from
    /// `offset`. Empty when the whole content is stored.
    pub sparse: Vec<(u64, u64)>,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TocItem {
    /// An object that the layer brings.
    Entry {
        /// The object.
        entry: Entry,
        /// Where its bytes are; all zero for what has none.
        content: Content,
    },
    /// `.wh.NAME`: the path is gone.
    Whiteout(PathBuf),
    /// `.wh..wh..opq`: what lower layers have in this directory is gone.
    Opaque(PathBuf),
}

impl TocItem {
    /// The path that the line is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Entry { entry, .. } => &entry.path,
            Self::Whiteout(path) | Self::Opaque(path) => path,
        }
    }
}

/// What is in a layer, in the order of its tar. Later lines for the same path replace earlier ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Toc {
    /// The lines.
    pub items: Vec<TocItem>,
}

impl Toc {
    /// Reads the table from a tar stream without unpacking anything.
    pub fn scan(tar: impl Read, limits: &crate::apply::Limits) -> Result<Self> {
        let mut reader = TarReader::new(BufReader::with_capacity(256 << 10, tar), *limits);
        let mut items = Vec::new();
        while let Some(header) = reader.next_entry()? {
            items.extend(crate::apply::toc_item(&header)?);
        }
        Ok(Self { items })
    }

    /// The stored form: versioned, compact, deterministic.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Encoder::new(MAGIC);
        out.number(self.items.len() as u64);
        let mut end = 0u64;
        for item in &self.items {
            match item {
                TocItem::Whiteout(path) => {
                    out.number(WHITEOUT);
                    out.path(path);
                }
                TocItem::Opaque(path) => {
                    out.number(OPAQUE);
                    out.path(path);
                }
                TocItem::Entry { entry, content } => {
                    out.number(entry.kind.code());
                    out.path(&entry.path);
                    for value in [entry.mode, entry.uid, entry.gid] {
                        out.number(value.into());
                    }
                    out.time(entry.mtime);
                    match entry.kind {
                        Kind::File => {
                            out.number(entry.size);
                            out.signed(content.offset.wrapping_sub(end) as i64);
                            end = content.offset.wrapping_add(entry.size);
                            out.number(content.sparse.len() as u64);
                            for (place, length) in &content.sparse {
                                out.number(*place);
                                out.number(*length);
                            }
                        }
                        Kind::Symlink | Kind::Hardlink => {
                            out.string(entry.link.as_ref().map_or(b"", |l| l.as_os_str().as_bytes()));
                        }
                        Kind::CharDevice | Kind::BlockDevice => {
                            out.number(entry.rdev.0.into());
                            out.number(entry.rdev.1.into());
                        }
                        Kind::Dir | Kind::Fifo => {}
                    }
                    out.number(entry.xattrs.len() as u64);
                    for (name, value) in &entry.xattrs {
                        out.string(name);
                        out.string(value);
                    }
                }
            }
        }
        out.finish()
    }

    /// Reads the stored form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut from = Decoder::new(bytes, MAGIC, "table of contents")?;
        let count = from.number()?;
        let mut items = Vec::with_capacity(usize::try_from(count).unwrap_or(0).min(bytes.len() / 4));
        let mut end = 0u64;
        for _ in 0..count {
            let tag = from.number()?;
            let path = from.path()?;
            items.push(match tag {
                WHITEOUT => TocItem::Whiteout(path),
                OPAQUE => TocItem::Opaque(path),
                _ => {
                    let kind = Kind::from_code(tag).ok_or_else(|| from.bad())?;
                    let mut entry = Entry::dir(path, 0);
                    entry.kind = kind;
                    (entry.mode, entry.uid, entry.gid) = (from.small()?, from.small()?, from.small()?);
                    entry.mtime = from.time()?;
                    let mut content = Content::default();
                    match kind {
                        Kind::File => {
                            entry.size = from.number()?;
                            content.offset = end.wrapping_add(from.signed()? as u64);
                            end = content.offset.wrapping_add(entry.size);
                            for _ in 0..from.number()? {
                                content.sparse.push((from.number()?, from.number()?));
                            }
                        }
                        Kind::Symlink | Kind::Hardlink => {
                            entry.link = Some(PathBuf::from(OsStr::from_bytes(from.string()?)));
                        }
                        Kind::CharDevice | Kind::BlockDevice => entry.rdev = (from.small()?, from.small()?),
                        Kind::Dir | Kind::Fifo => {}
                    }
                    for _ in 0..from.number()? {
                        let name = from.string()?.to_vec();
                        entry.xattrs.insert(name, from.string()?.to_vec());
                    }
                    TocItem::Entry { entry, content }
                }
            });
        }
        if from.is_empty() { Ok(Self { items }) } else { Err(from.bad()) }
    }
}

const MAGIC: &[u8; 8] = b"cprgtoc\x01";
const WHITEOUT: u64 = 7;
const OPAQUE: u64 = 8;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Time;

    fn sample() -> Toc {
        let mut file = Entry::file("usr/bin/ping", 0o4755, 1234);
        file.xattrs.insert(b"security.capability".to_vec(), vec![1, 0, 0, 2]);
        file.mtime = Time { secs: -5, nanos: 7 };
        let mut device = Entry::dir("dev/null", 0o666);
        (device.kind, device.rdev) = (Kind::CharDevice, (1, 3));
        let plain = |entry| TocItem::Entry { entry, content: Content::default() };
        Toc {
            items: vec![
                plain(Entry::dir("usr", 0o755)),
                TocItem::Entry { entry: file, content: Content { offset: 1536, sparse: vec![(0, 100), (900, 4)] } },
                plain(Entry::symlink("usr/lib64", "lib")),
                plain(Entry::hardlink("usr/bin/ping6", "usr/bin/ping")),
                TocItem::Whiteout("etc/motd".into()),
                TocItem::Opaque("var".into()),
                plain(device),
            ],
        }
    }

    #[test]
    fn stored_form_round_trips() {
        let toc = sample();
        assert_eq!(Toc::from_bytes(&toc.to_bytes()).unwrap(), toc);
        assert_eq!(Toc::from_bytes(&Toc::default().to_bytes()).unwrap(), Toc::default());
    }

    #[test]
    fn damage_is_noticed() {
        let bytes = sample().to_bytes();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x40;
            assert!(Toc::from_bytes(&bad).is_err(), "byte {at}");
            assert!(Toc::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
        }
        let mut newer = bytes;
        newer[7] = 9;
        let text = Toc::from_bytes(&newer).unwrap_err().to_string();
        assert_eq!(
            text,
            "unusable table of contents: its version is 9, this program knows 1; delete it, it is made anew"
        );
    }
}
