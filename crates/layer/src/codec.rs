//! Codecs of layers and archives: found by their first bytes, never by a name.

use crate::error::{Error, Result};
use oci::{Digest, Digester};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

/// How a layer's tar is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// bzip2: read only, for ADD.
    Bzip2,
    /// xz: read only, for ADD.
    Xz,
}

impl Compression {
    /// The codec whose magic number the bytes begin with; [`Compression::None`] when there is none.
    #[must_use]
    pub fn detect(head: &[u8]) -> Self {
        let skippable = head.len() >= 4 && head[0] & 0xf0 == 0x50 && head[1..4] == [0x2a, 0x4d, 0x18];
        if head.starts_with(&[0x1f, 0x8b, 8]) {
            Self::Gzip
        } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || skippable {
            Self::Zstd
        } else if head.starts_with(b"BZh") {
            Self::Bzip2
        } else if head.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
            Self::Xz
        } else {
            Self::None
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        })
    }
}

const INPUT: usize = 128 << 10;
/// The dictionary of an xz stream may take this much memory, in KiB: `xz -9` needs 64 MiB.
const XZ_MEMORY: u32 = 192 << 10;

/// The tar of a layer: gzip (several members too), zstd (several frames too) or plain, told by the first bytes.
pub fn decompress<'a>(reader: impl Read + Send + 'a) -> Result<Box<dyn Read + Send + 'a>> {
    open(reader, false)
}

/// As [`decompress`], and bzip2 and xz: what ADD unpacks.
pub fn decompress_any<'a>(reader: impl Read + Send + 'a) -> Result<Box<dyn Read + Send + 'a>> {
    open(reader, true)
}

fn open<'a>(mut reader: impl Read + Send + 'a, any: bool) -> Result<Box<dyn Read + Send + 'a>> {
    let failed = |source| Error::Stream { verb: "read the layer", source };
    let mut head = Vec::with_capacity(6);
    reader.by_ref().take(6).read_to_end(&mut head).map_err(failed)?;
    let codec = Compression::detect(&head);
    let whole = BufReader::with_capacity(INPUT, Cursor::new(head).chain(reader));
    Ok(match codec {
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(whole).map_err(failed)?),
        Compression::Bzip2 if any => Box::new(bzip2::bufread::MultiBzDecoder::new(whole)),
        Compression::Xz if any => Box::new(lzma_rust2::XzReader::new_mem_limit(whole, true, XZ_MEMORY)),
        Compression::Bzip2 | Compression::Xz => {
            let reason = format!("it is {codec} data; layers are gzip, zstd or uncompressed tar archives");
            return Err(Error::Tar { offset: 0, reason });
        }
        Compression::None => Box::new(whole),
    })
}

/// How many bytes [`detect_archive`] wants to see.
pub const DETECT_BYTES: usize = 1 << 20;

/// Whether a file that begins with these bytes is an archive that ADD unpacks: a tar, plain or in a codec that
/// BuildKit unpacks (gzip, bzip2, xz, zstd). Give [`DETECT_BYTES`] bytes, or the whole file if it is shorter.
///
/// As in BuildKit a name says nothing and an archive without entries is a plain file.
#[must_use]
pub fn detect_archive(head: &[u8]) -> bool {
    let Ok(tar) = decompress_any(head) else { return false };
    let tar = BufReader::new(tar);
    let mut reader = crate::tar_reader::TarReader::new(tar, crate::apply::Limits::default());
    matches!(reader.next_entry(), Ok(Some(_)))
}

const CHUNK: usize = 256 << 10;
const AHEAD: usize = 6;

/// Reads until the buffer has `size` bytes or the stream has ended: fewer bytes are the end.
///
/// # Errors
/// Those of the reader. What was read before is lost.
pub fn fill(reader: &mut impl Read, buffer: &mut Vec<u8>, size: usize) -> io::Result<()> {
    buffer.resize(size, 0);
    let mut filled = 0;
    while filled < size {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                buffer.clear();
                return Err(error);
            }
        }
    }
    buffer.truncate(filled);
    Ok(())
}

/// Reads on another thread, hashes on a third: inflating, hashing and unpacking run side by side.
pub struct ReadAhead {
    chunks: Receiver<io::Result<Arc<Vec<u8>>>>,
    current: Option<Arc<Vec<u8>>>,
    used: usize,
    ended: bool,
    hasher: Option<JoinHandle<Digest>>,
    size: u64,
}

impl ReadAhead {
    /// Starts to read (usually what [`decompress`] gave).
    pub fn start(mut reader: impl Read + Send + 'static) -> Result<Self> {
        let failed = |source| Error::Stream { verb: "start a thread that reads the layer", source };
        let spawn = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let (hash, queue) = sync_channel::<Arc<Vec<u8>>>(AHEAD);
        let hasher = spawn("layer-digest")
            .spawn(move || {
                let mut digester = Digester::new();
                for chunk in queue {
                    digester.update(&chunk);
                }
                digester.finish()
            })
            .map_err(failed)?;
        let (send, chunks) = sync_channel(AHEAD);
        spawn("layer-inflate")
            .spawn(move || {
                // Chunks that everybody is done with are used again.
                let mut used: VecDeque<Arc<Vec<u8>>> = VecDeque::new();
                loop {
                    let free = used.front_mut().and_then(Arc::get_mut).map(std::mem::take);
                    if free.is_some() || used.len() > 2 * AHEAD {
                        used.pop_front();
                    }
                    let mut chunk = free.unwrap_or_default();
                    let result = fill(&mut reader, &mut chunk, CHUNK);
                    let end = chunk.is_empty();
                    let chunk = Arc::new(chunk);
                    used.push_back(Arc::clone(&chunk));
                    if result.is_ok() && !end && hash.send(Arc::clone(&chunk)).is_err() {
                        return;
                    }
                    let failed = result.is_err();
                    if send.send(result.map(|_| chunk)).is_err() || end || failed {
                        return;
                    }
                }
            })
            .map_err(failed)?;
        Ok(Self { chunks, current: None, used: 0, ended: false, hasher: Some(hasher), size: 0 })
    }

    /// Reads what is left and tells the digest and the length of everything: the diff ID of a layer covers what
    /// stands behind the archive's end mark.
    pub fn finish(mut self) -> Result<(Digest, u64)> {
        let failed = |source| Error::Stream { verb: "read the layer", source };
        while !self.ended {
            let left = self.fill_buf().map_err(failed)?.len();
            self.consume(left);
        }
        let hasher = self.hasher.take().ok_or_else(|| failed(io::Error::other("the digest was taken")))?;
        let digest = hasher.join().map_err(|_| failed(io::Error::other("the hashing thread died")))?;
        Ok((digest, self.size))
    }
}

impl BufRead for ReadAhead {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let empty = self.current.as_ref().is_none_or(|c| self.used == c.len());
        if empty && !self.ended {
            let chunk = self.chunks.recv().map_err(|_| io::Error::other("the reading thread died"))??;
            self.ended = chunk.is_empty();
            self.size += chunk.len() as u64;
            self.used = 0;
            self.current = Some(chunk);
        }
        Ok(self.current.as_ref().map_or(&[], |c| &c[self.used..]))
    }

    fn consume(&mut self, count: usize) {
        self.used += count;
    }
}

impl Read for ReadAhead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let count = ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&ready[..count]);
        self.consume(count);
        Ok(count)
    }
}
