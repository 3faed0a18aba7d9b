//! The blobs of steps: packed, hashed and compressed while later steps run.
//!
//! A step that leaves a directory is done when the directory and its table are in the store: they say all that the
//! tar will hold. So a record never waits for a blob, and a process that is killed while it packs loses nothing but
//! the work. Who needs the blob calls [`Layers::step_blob`], which waits for the one that is being made, or makes it.
use super::{Layers, codec, gone, layer_error, open_dir};
use crate::error::{BuildError, Kind, Result};
use crate::event::Phase;
use crate::export::BlobSource;
use crate::plan::{ImageOrigin, ResolvedImage};
use crate::store::{LayerId, LayerMeta, StoredBlob};
use layer::{LayerBlob, LayerWriter, TarWriter, Toc};
use oci::media_type::{self, Compression};
use oci::{Descriptor, Digest};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Layers that are packed at once; each is compressed by as many threads as there are processors.
const WIDTH: usize = 2;

/// What waits to be packed.
#[derive(Default)]
pub(super) struct Packing {
    state: Mutex<State>,
    changed: Condvar,
    stopped: AtomicBool,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(LayerId, Compression, Option<i32>, bool)>,
    workers: usize,
    threads: Vec<JoinHandle<()>>,
}

/// Ends the packing in the background when it is dropped: nothing is written after a build that failed has returned.
pub(crate) struct PackingGuard(pub(crate) Arc<Layers>);

impl Drop for PackingGuard {
    fn drop(&mut self) {
        let packing = &self.0.packing;
        packing.stopped.store(true, Ordering::Relaxed);
        self.0.early.stop();
        let mut state = packing.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.queue.clear();
        while state.workers > 0 {
            state = packing.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // A worker that has counted itself out still holds the store for a moment: who holds it last clears up, and
        // must not be a thread that the end of the process cuts short.
        let threads = std::mem::take(&mut state.threads);
        drop(state);
        for thread in threads {
            let _ = thread.join();
        }
    }
}

/// Counts a worker out, however it ends.
struct Leaving<'a>(&'a Packing);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).workers -= 1;
        self.0.changed.notify_all();
    }
}

impl Layers {
    /// Has the blob of a layer made in the background. An error is not reported here: it comes again where the blob is
    /// needed. With `send` it goes to where the image will be pushed.
    pub(crate) fn pack_soon(self: &Arc<Self>, id: &LayerId, compression: Compression, level: Option<i32>, send: bool) {
        let mut state = self.packing.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.queue.push_back((id.clone(), compression, level, send));
        if state.workers >= WIDTH || self.packing.stopped.load(Ordering::Relaxed) {
            return;
        }
        state.workers += 1;
        drop(state);
        let layers = Arc::clone(self);
        let work = move || {
            let _leaving = Leaving(&layers.packing);
            loop {
                let next = layers.packing.state.lock().unwrap_or_else(PoisonError::into_inner).queue.pop_front();
                let Some((id, compression, level, send)) = next else { return };
                if let Ok((_, blob)) = layers.step_blob(&id, compression, level)
                    && send
                {
                    layers.upload_soon(&blob);
                }
            }
        };
        let spawned = std::thread::Builder::new().name("pack".to_owned()).spawn(work);
        let mut state = self.packing.state.lock().unwrap_or_else(PoisonError::into_inner);
        match spawned {
            Ok(thread) => state.threads.push(thread),
            // Without a thread the export does it.
            Err(_) => state.workers -= 1,
        }
    }

    /// Has the layers of the exported image's base brought to where the image will be pushed: mounted at once, or sent
    /// on when this build fetches them.
    pub(crate) fn send_base(&self, image: &ResolvedImage) {
        let ImageOrigin::Registry(origin) = &image.origin else { return };
        if !self.early.is_on() {
            return;
        }
        for (_, descriptor) in &image.layers {
            let path = self.store.blob_path(&descriptor.digest);
            let source: BlobSource = Arc::new(move || Ok(Box::new(File::open(&path)?)));
            match self.store.has_blob(&descriptor.digest, descriptor.size) {
                true => self.early.send(descriptor, &source, Some(origin)),
                false => self.early.base(origin, descriptor, &source),
            }
        }
    }

    /// Has a blob of the store sent to where the image will be pushed.
    fn upload_soon(&self, blob: &StoredBlob) {
        if self.early.is_on() {
            let path = self.store.blob_path(&blob.digest);
            let source: BlobSource = Arc::new(move || Ok(Box::new(File::open(&path)?)));
            let descriptor = Descriptor::new(media_type::layer(blob.compression, true), blob.digest.clone(), blob.size);
            self.early.send(&descriptor, &source, None);
        }
    }

    /// A step's layer as a blob with this compression, made where the store has none.
    pub(crate) fn step_blob(
        &self,
        id: &LayerId,
        compression: Compression,
        level: Option<i32>,
    ) -> Result<(Digest, StoredBlob)> {
        let lock = self.lock_of(id);
        let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let meta = self.store.layer(id).ok_or_else(|| gone(id))?;
        let fits = |b: &&StoredBlob| {
            b.compression == compression && b.level == level && self.store.has_blob(&b.digest, b.size)
        };
        if let (Some(diff_id), Some(blob)) = (&meta.diff_id, meta.blobs.iter().find(fits)) {
            return Ok((diff_id.clone(), blob.clone()));
        }
        let written = self.write_blob(id, &meta, compression, level)?;
        let stored = StoredBlob { digest: written.digest, size: written.size, compression, level };
        let (add, diff_id) = (stored.clone(), written.diff_id.clone());
        self.store.update_layer(id, move |meta| {
            meta.diff_id = Some(diff_id);
            meta.tar_size = written.diff_size;
            meta.blobs.retain(|b| b.digest != add.digest);
            meta.blobs.push(add);
        })?;
        Ok((written.diff_id, stored))
    }

    fn write_blob(
        &self,
        id: &LayerId,
        meta: &LayerMeta,
        compression: Compression,
        level: Option<i32>,
    ) -> Result<LayerBlob> {
        let _span = self.events.span(None, Phase::Compress, id.as_str());
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let file = self.store.new_blob();
        let sink = BufWriter::with_capacity(1 << 20, file.create()?);
        let to = codec(compression);
        let packed = self.store.layer_tar(id).is_some() || self.store.layer_blob(meta).is_some();
        let (written, mut sink) = match self.store.layer_any_fs(id).filter(|_| !packed && id.is_of_step()) {
            Some(dir) => {
                let toc = self.step_toc(id)?;
                let writer = LayerWriter::create(sink, to, level, threads).map_err(layer_error)?;
                let mut tar = TarWriter::new(Stoppable { inner: writer, stopped: &self.packing.stopped });
                pack(&dir, &toc, &mut tar, meta.whiteout_time)?;
                tar.finish().map_err(layer_error)?.inner.finish().map_err(layer_error)?
            }
            None => {
                let mut reader = self.open(&super::ChainLayer::Step(id.clone()), super::Want::Files, None)?;
                layer::recompress(&mut reader.tar, sink, to, level, threads).map_err(layer_error)?
            }
        };
        sink.flush().map_err(|e| BuildError::io("write", "blob", e))?;
        drop(sink);
        if let Some(known) = meta.diff_id.as_ref().filter(|known| **known != written.diff_id) {
            let message = format!("layer {} of the store has changed: its diff ID was {known}", id.as_str());
            return Err(BuildError::new(Kind::Io, message).hint("run the build again with --no-cache"));
        }
        file.commit(&self.store, &written.digest)?;
        Ok(written)
    }

    fn step_toc(&self, id: &LayerId) -> Result<Arc<Toc>> {
        let known = self.tocs.lock().unwrap_or_else(PoisonError::into_inner).get(id).map(Arc::clone);
        known.or_else(|| self.store.layer_toc(id)).ok_or_else(|| gone(id))
    }
}

fn pack<W: Write>(dir: &Path, toc: &Toc, tar: &mut TarWriter<W>, whiteout_time: Option<i64>) -> Result<()> {
    let root = open_dir(dir)?;
    layer::pack_toc(root.as_fd(), toc, tar, whiteout_time).map_err(layer_error)
}

/// Fails when the build has ended.
struct Stoppable<'a, W> {
    inner: W,
    stopped: &'a AtomicBool,
}

impl<W: Write> Write for Stoppable<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(io::Error::other("the build has ended"));
        }
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The tar of a directory, made while it is read.
pub(super) fn stream(dir: PathBuf, toc: Arc<Toc>, whiteout_time: Option<i64>) -> Result<TarStream> {
    let (reader, writer) = io::pipe().map_err(|e| BuildError::io("make", "a pipe", e))?;
    let work = move || -> Result<()> {
        let mut tar = TarWriter::new(BufWriter::with_capacity(256 << 10, writer));
        pack(&dir, &toc, &mut tar, whiteout_time)?;
        tar.finish().map_err(layer_error).map(drop)
    };
    let packer = std::thread::Builder::new().name("pack".to_owned()).spawn(work);
    let packer = packer.map_err(|e| BuildError::io("start", "a thread", e))?;
    Ok(TarStream { reader, packer: Some(packer) })
}

/// See [`stream`].
pub(super) struct TarStream {
    reader: io::PipeReader,
    packer: Option<JoinHandle<Result<()>>>,
}

impl Read for TarStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        if count == 0
            && !buffer.is_empty()
            && let Some(packer) = self.packer.take()
        {
            // The end counts only when the other side says that it is one.
            match packer.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(io::Error::other(error.message().to_owned())),
                Err(_) => return Err(io::Error::other("the thread that packs a layer died")),
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use layer::PackOptions;

    fn packed(dir: &Path) -> (Arc<Toc>, Vec<u8>) {
        let mut tar = TarWriter::new(Vec::new());
        let toc = layer::pack_tree(open_dir(dir).unwrap().as_fd(), &mut tar, &PackOptions::default()).unwrap();
        (Arc::new(toc), tar.finish().unwrap())
    }

    fn sample() -> tempfile::TempDir {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("d")).unwrap();
        for (name, size) in [("a", 10), ("d/b", 300_000), ("d/empty", 0)] {
            std::fs::write(temp.path().join(name), vec![b'x'; size]).unwrap();
        }
        temp
    }

    #[test]
    fn a_directory_and_its_table_are_the_tar() {
        let temp = sample();
        let (toc, tar) = packed(temp.path());
        let mut streamed = Vec::new();
        stream(temp.path().to_owned(), toc, None).unwrap().read_to_end(&mut streamed).unwrap();
        assert!(streamed == tar, "{} bytes instead of {}", streamed.len(), tar.len());
    }

    #[test]
    fn a_file_that_is_gone_is_an_error_and_no_short_tar() {
        let temp = sample();
        let (toc, _) = packed(temp.path());
        std::fs::remove_file(temp.path().join("d/b")).unwrap();
        let error = stream(temp.path().to_owned(), toc, None).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("d/b"), "{error}");
    }

    #[test]
    fn a_build_that_ended_packs_nothing_more() {
        let stopped = AtomicBool::new(false);
        let mut out = Stoppable { inner: Vec::new(), stopped: &stopped };
        out.write_all(b"one").unwrap();
        stopped.store(true, Ordering::Relaxed);
        assert!(out.write_all(b"two").is_err());
        assert_eq!(out.inner, b"one");
    }
}
