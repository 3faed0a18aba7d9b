//! A layer's tar on its way in, and the blob that is kept beside it.
use super::growing::Growing;
use super::{layer_error, read_error};
use crate::error::{BuildError, Kind, Result};
use crate::store::{BlobFile, Store, StoredBlob};
use oci::Digest;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};

const PUSHED_BROKEN: &str =
    "the layer is what the manifest says, so it was pushed broken: ask whoever pushed the image to build it again";

const TOO_MUCH: &str = "no usual tool makes such a layer: ask where the image comes from";

/// The uncompressed tar of a layer.
pub(super) struct LayerReader {
    pub(super) tar: Box<dyn Read + Send>,
    /// What the tar must come to, where that is known.
    pub(super) diff_id: Option<Digest>,
    /// The blob that is read from.
    pub(super) stored: Option<StoredBlob>,
    /// Whether the digest of the compressed bytes is not looked at: that of the tar is.
    pub(super) blob_unchecked: bool,
    /// The stream itself has failed: network or registry, or the blob's digest.
    broke: Arc<AtomicBool>,
    kept: Option<Kept>,
}

/// What becomes of the compressed bytes of a layer that comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// They stay in the store.
    Store,
    /// They lie in a file while the build hands them on.
    Pass,
    /// Nobody wants them: only what is in them.
    Nothing,
}

/// A blob that is written while it is read. The reading end may live in another thread: it comes back through the
/// channel when it is dropped.
struct Kept {
    back: Receiver<TeeState>,
    abandoned: Arc<AtomicBool>,
    blob: Option<BlobFile>,
    keep: Keep,
    stored: StoredBlob,
    growing: Option<Arc<Growing>>,
}

impl LayerReader {
    /// What is in the store already.
    pub(super) fn plain(tar: Box<dyn Read + Send>, diff_id: Option<Digest>) -> Self {
        Self::new(Box::new(BufReader::with_capacity(256 << 10, tar)), diff_id, Arc::default())
    }

    fn new(tar: Box<dyn Read + Send>, diff_id: Option<Digest>, broke: Arc<AtomicBool>) -> Self {
        Self { tar, diff_id, stored: None, blob_unchecked: false, broke, kept: None }
    }

    /// What comes from elsewhere, read to its end and checked; the compressed bytes are kept as is asked.
    pub(super) fn keeping(
        raw: Box<dyn Read + Send>,
        store: &Store,
        keep: Keep,
        stored: StoredBlob,
        diff_id: Digest,
    ) -> Result<Self> {
        let (send, back) = channel();
        let abandoned = Arc::new(AtomicBool::new(false));
        let blob = (keep != Keep::Nothing).then(|| store.new_blob());
        let (mut out, mut growing) = (None, None);
        if let Some(blob) = &blob {
            out = Some(io::BufWriter::with_capacity(1 << 20, blob.create()?));
            let file = File::open(blob.path()).map_err(|e| BuildError::io("open", blob.path(), e))?;
            growing = Some(Growing::new(file));
        }
        let state = TeeState { out, written: 0, growing: growing.clone(), failed: None };
        let broke = Arc::new(AtomicBool::new(false));
        let tee = Tee {
            inner: raw,
            state: Some(state),
            back: send,
            abandoned: Arc::clone(&abandoned),
            broke: Arc::clone(&broke),
        };
        let ahead = Ahead::start(tee).map_err(|e| BuildError::io("start", "a thread", e))?;
        let mut this = Self::new(layer::decompress(ahead).map_err(layer_error)?, Some(diff_id), broke);
        this.kept = Some(Kept { back, abandoned, blob, keep, stored, growing });
        Ok(this)
    }

    /// Whether what was read is wrong though it came well, and nobody looked at the blob's digest: read with that, the
    /// layer shows which of the two is damaged.
    pub(super) fn is_doubtful(&self) -> bool {
        self.blob_unchecked && !self.broke.load(Ordering::Relaxed)
    }

    /// The compressed bytes, for who wants them as they come in.
    pub(super) fn growing(&self) -> Option<Arc<Growing>> {
        self.kept.as_ref().and_then(|kept| kept.growing.clone())
    }

    /// The tar, for another thread to read.
    pub(super) fn take_tar(&mut self) -> Box<dyn Read + Send> {
        std::mem::replace(&mut self.tar, Box::new(io::empty()))
    }

    /// What is really wrong with a layer that could not be unpacked: bytes that are no archive are most likely not
    /// the bytes that the manifest names, which shows at their end.
    pub(super) fn cause(&mut self, error: BuildError) -> BuildError {
        let inner = std::error::Error::source(&error).and_then(|e| e.downcast_ref::<layer::Error>());
        let broken = matches!(inner, Some(layer::Error::Tar { .. } | layer::Error::Stream { .. }));
        let error = match inner {
            Some(layer::Error::Limit { .. }) => error.hint(TOO_MUCH),
            _ => error,
        };
        if !broken {
            return error;
        }
        drop(self.take_tar());
        let kept = self.kept.take();
        let _broken = Broken(kept.as_ref().and_then(|kept| kept.growing.clone()));
        match kept.and_then(|kept| kept.back.recv().ok()?.failed) {
            Some(failed) => read_error(failed),
            None => error.hint(PUSHED_BROKEN),
        }
    }

    /// Gives the downloaded blob its name. Everything was read before.
    pub(super) fn finish(&mut self, store: &Store) -> Result<Option<StoredBlob>> {
        let Some(Kept { back, blob, keep, stored, growing, .. }) = self.kept.take() else { return Ok(None) };
        // Whatever goes wrong from here on.
        let broken = Broken(growing.clone());
        // What follows the archive's end (padding, another gzip member) belongs to the blob.
        drop(self.take_tar());
        let mut state = back.recv().map_err(|_| BuildError::new(Kind::Io, "the thread that read a layer died"))?;
        if let Some(error) = state.failed.take() {
            return Err(read_error(error));
        }
        if let Some(out) = &mut state.out {
            out.flush().map_err(|e| BuildError::io("write", "blob", e))?;
        }
        if state.written != stored.size {
            return Err(BuildError::new(Kind::Remote, format!("{}: bytes follow the end of the layer", stored.digest)));
        }
        if let Some(growing) = growing {
            growing.end(true);
        }
        drop(broken);
        match blob {
            Some(blob) if keep == Keep::Store => blob.commit(store, &stored.digest)?,
            _ => return Ok(None),
        }
        Ok(Some(stored))
    }
}

impl Drop for LayerReader {
    fn drop(&mut self) {
        if let Some(kept) = &self.kept {
            if let Some(growing) = &kept.growing {
                growing.end(false);
            }
            kept.abandoned.store(true, Ordering::Relaxed);
        }
    }
}

/// Says that a blob will not come, unless it has.
struct Broken(Option<Arc<Growing>>);

impl Drop for Broken {
    fn drop(&mut self) {
        if let Some(growing) = &self.0 {
            growing.end(false);
        }
    }
}

/// Downloading, checking and keeping the bytes in a thread of its own, beside the one that inflates them.
struct Ahead {
    chunks: Receiver<io::Result<Vec<u8>>>,
    /// Chunks that may be filled again.
    give_back: Sender<Vec<u8>>,
    current: Vec<u8>,
    used: usize,
    ended: bool,
}

impl Ahead {
    fn start(mut tee: Tee) -> io::Result<Self> {
        const CHUNK: usize = 256 << 10;
        let (send, chunks) = sync_channel(4);
        let (give_back, used) = channel();
        std::thread::Builder::new().name("layer-download".to_owned()).spawn(move || {
            loop {
                let mut chunk = used.try_recv().unwrap_or_default();
                let result = layer::codec::fill(&mut tee, &mut chunk, CHUNK);
                let last = result.is_err() || chunk.is_empty();
                if send.send(result.map(|()| chunk)).is_err() || last {
                    return;
                }
            }
        })?;
        Ok(Self { chunks, give_back, current: Vec::new(), used: 0, ended: false })
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.current.len() && !self.ended {
            let next = self.chunks.recv().map_err(|_| io::Error::other("the thread that downloads died"))??;
            // At the end nobody takes it.
            let _ = self.give_back.send(std::mem::replace(&mut self.current, next));
            self.used = 0;
            self.ended = self.current.is_empty();
        }
        let count = (self.current.len() - self.used).min(buffer.len());
        buffer[..count].copy_from_slice(&self.current[self.used..self.used + count]);
        self.used += count;
        Ok(count)
    }
}

struct TeeState {
    out: Option<io::BufWriter<File>>,
    written: u64,
    /// Who else reads the file.
    growing: Option<Arc<Growing>>,
    /// What the stream said: while nobody was looking, after the archive's end, or in words that the codec may not
    /// hand on.
    failed: Option<io::Error>,
}

/// Writes what is read to a file as well, and reads to the very end when it is dropped, unless nobody wants the blob
/// any more.
struct Tee {
    inner: Box<dyn Read + Send>,
    state: Option<TeeState>,
    back: Sender<TeeState>,
    abandoned: Arc<AtomicBool>,
    broke: Arc<AtomicBool>,
}

impl Read for Tee {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.inner.read(buffer) {
            Ok(count) => count,
            Err(error) => {
                self.broke.store(true, Ordering::Relaxed);
                if let Some(state) = &mut self.state {
                    let same = io::Error::new(error.kind(), error.to_string());
                    state.failed.get_or_insert(same);
                }
                return Err(error);
            }
        };
        if let Some(state) = &mut self.state {
            state.written += count as u64;
            if let Some(out) = &mut state.out {
                out.write_all(&buffer[..count])?;
                if let Some(growing) = &state.growing {
                    growing.wrote(state.written - out.buffer().len() as u64);
                }
            }
        }
        Ok(count)
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        let mut buffer = [0_u8; 16 << 10];
        while !self.abandoned.load(Ordering::Relaxed) {
            match self.read(&mut buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    if let Some(state) = &mut self.state {
                        state.failed = Some(error);
                    }
                    break;
                }
            }
        }
        if let Some(state) = self.state.take() {
            // Nobody waits where the layer failed.
            let _ = self.back.send(state);
        }
    }
}
