//! Layers in the form in which they are needed: a table of contents, a directory, a tar, a blob.
//!
//! A chain is a list of layers, the lowest first. Base layers are fetched when a form of them is asked for that the
//! store does not hold: download, check, inflate and unpack are one pass, and a lock file per layer keeps two
//! processes from doing it twice.
use crate::error::{BuildError, Kind, Result};
use crate::event::{Event, Events, VertexId};
use crate::images::registry_error;
use crate::plan::{ImageOrigin, ResolvedImage};
use crate::store::{BlobFile, FileLock, LayerId, LayerMeta, Lock, Store, StoredBlob, remove_tree};
use crate::tree::{ContentSource, SnapshotTree};
use layer::{ApplyOptions, Owners, Toc, View, Whiteouts};
use oci::media_type::{self, Compression};
use oci::{Descriptor, Digest, Digester};
use rustix::fs::{Mode, OFlags};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// One layer of a chain.
#[derive(Debug, Clone)]
pub(crate) enum ChainLayer {
    /// A layer of a base image: number in the image's list.
    Base(Arc<ResolvedImage>, usize),
    /// What a step made.
    Step(LayerId),
}

impl ChainLayer {
    pub(crate) fn id(&self) -> LayerId {
        match self {
            Self::Base(image, n) => LayerId::of_diff(&image.layers[*n].0),
            Self::Step(id) => id.clone(),
        }
    }
}

/// Layers of the store and of registries, for one build.
pub(crate) struct Layers {
    pub(crate) store: Arc<Store>,
    pub(crate) client: registry::Client,
    pub(crate) events: Events,
    /// Whether files keep their owners on disk.
    pub(crate) real_owners: bool,
    /// Ends waiting for other builds.
    stop: sandbox::CancelToken,
    tocs: Mutex<HashMap<LayerId, Arc<Toc>>>,
    locks: Mutex<HashMap<LayerId, Arc<Mutex<()>>>>,
}

impl Layers {
    pub(crate) fn new(
        store: Arc<Store>,
        client: registry::Client,
        events: Events,
        real_owners: bool,
        stop: sandbox::CancelToken,
    ) -> Self {
        Self { store, client, events, real_owners, stop, tocs: Mutex::default(), locks: Mutex::default() }
    }

    /// Remembers the table of a layer that was just made.
    pub(crate) fn remember(&self, id: &LayerId, toc: Arc<Toc>) {
        self.tocs.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), toc);
    }

    fn lock_of(&self, id: &LayerId) -> Arc<Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(id.clone()).or_default())
    }

    /// The table of contents of a layer.
    pub(crate) fn toc(&self, layer: &ChainLayer, at: Option<VertexId>) -> Result<Arc<Toc>> {
        let id = layer.id();
        if let Some(toc) = self.tocs.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(Arc::clone(toc));
        }
        let toc = match self.store.layer_toc(&id) {
            Some(toc) => toc,
            None => {
                self.fetch(layer, false, at)?;
                self.store.layer_toc(&id).ok_or_else(|| gone(&id))?
            }
        };
        self.remember(&id, Arc::clone(&toc));
        Ok(toc)
    }

    /// The merged view of a chain.
    pub(crate) fn view(&self, chain: &[ChainLayer], at: Option<VertexId>) -> Result<View> {
        let tocs = self.parallel(chain, |layer| self.toc(layer, at))?;
        let mut view = View::new();
        tocs.into_iter().for_each(|toc| view.push(toc));
        Ok(view)
    }

    /// A chain as a tree to read from.
    pub(crate) fn tree(
        self: &Arc<Self>,
        chain: &[ChainLayer],
        name: &str,
        at: Option<VertexId>,
    ) -> Result<Arc<SnapshotTree>> {
        let view = self.view(chain, at)?;
        let (layers, chain) = (Arc::clone(self), chain.to_vec());
        Ok(Arc::new(SnapshotTree::new(view, name, move |index| layers.content(&chain[index], at))))
    }

    /// Where the bytes of a layer's files are.
    fn content(&self, layer: &ChainLayer, at: Option<VertexId>) -> Result<ContentSource> {
        let id = layer.id();
        if let Some(tar) = self.store.layer_tar(&id) {
            return Ok(ContentSource::Tar(tar));
        }
        self.directory(layer, at).map(ContentSource::Dir)
    }

    /// The unpacked directories of a chain, lowest first, as overlayfs takes them.
    pub(crate) fn directories(&self, chain: &[ChainLayer], at: Option<VertexId>) -> Result<Vec<PathBuf>> {
        self.parallel(chain, |layer| self.directory(layer, at))
    }

    /// A layer's files as a directory.
    pub(crate) fn directory(&self, layer: &ChainLayer, at: Option<VertexId>) -> Result<PathBuf> {
        let id = layer.id();
        if let Some(path) = self.store.layer_fs(&id) {
            return Ok(path);
        }
        self.fetch(layer, true, at)?;
        self.store.layer_fs(&id).ok_or_else(|| gone(&id))
    }

    /// Unpacks a layer over a tree.
    pub(crate) fn apply_flat(
        &self,
        layer: &ChainLayer,
        root: rustix::fd::BorrowedFd<'_>,
        options: &mut ApplyOptions<'_>,
        at: Option<VertexId>,
    ) -> Result<()> {
        let mut reader = self.open(layer, at)?;
        layer::apply(&mut reader.tar, root, options).map_err(layer_error)?;
        io::copy(&mut reader.tar, &mut io::sink()).map_err(read_error)?;
        reader.finish(&self.store)?;
        Ok(())
    }

    /// Makes sure that a base layer is known to the store.
    pub(crate) fn directory_or_toc(&self, layer: &ChainLayer, at: Option<VertexId>) -> Result<()> {
        self.toc(layer, at).map(|_| ())
    }

    /// Does something for each layer, a few at a time, and keeps the order.
    fn parallel<T: Send>(
        &self,
        chain: &[ChainLayer],
        work: impl Fn(&ChainLayer) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let width = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 6);
        let mut out = Vec::with_capacity(chain.len());
        for group in chain.chunks(width) {
            let results: Vec<Result<T>> = match group {
                [only] => vec![work(only)],
                _ => std::thread::scope(|scope| {
                    let handles: Vec<_> = group.iter().map(|layer| scope.spawn(|| work(layer))).collect();
                    handles.into_iter().map(|h| h.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
                }),
            };
            for result in results {
                out.push(result?);
            }
        }
        Ok(out)
    }

    /// Brings a layer into the store: its table, and its files where `unpack` says so.
    fn fetch(&self, layer: &ChainLayer, unpack: bool, at: Option<VertexId>) -> Result<()> {
        let id = layer.id();
        let lock = self.lock_of(&id);
        let _in_process = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = |store: &Store| match unpack {
            true => store.layer_fs(&id).is_some(),
            false => store.layer_toc(&id).is_some(),
        };
        if ready(&self.store) {
            return Ok(());
        }
        let _between_processes = FileLock::wait(&self.store.lock_path(id.as_str()), Lock::Exclusive, &self.stop)?;
        if ready(&self.store) {
            return Ok(());
        }
        let short = format!("sha256:{}", &id.as_str()[..12.min(id.as_str().len())]);
        let reader = self.open(layer, at)?;
        let work = self.store.scratch_dir("layer")?;
        let result = self.unpack(&id, reader, &work, unpack);
        if result.is_err() {
            remove_tree(&work);
        }
        result.map_err(|e| e.context(format!("layer {short}")))
    }

    fn unpack(&self, id: &LayerId, mut reader: LayerReader, work: &Path, unpack: bool) -> Result<()> {
        let limits = layer::apply::Limits::default();
        let mut hashed = HashingReader { inner: &mut reader.tar, digester: Digester::new(), count: 0 };
        let toc = if unpack {
            let target = work.join("fs");
            fs::create_dir(&target).map_err(|e| BuildError::io("make", &target, e))?;
            let root = open_dir(&target)?;
            let mut options = ApplyOptions {
                whiteouts: Whiteouts::Overlay { userxattr: true },
                owners: if self.real_owners { Owners::Real } else { Owners::Ignored },
                limits,
                ..ApplyOptions::default()
            };
            layer::apply(&mut hashed, root.as_fd(), &mut options).map_err(layer_error)?.toc
        } else {
            Toc::scan(&mut hashed, &limits).map_err(layer_error)?
        };
        io::copy(&mut hashed, &mut io::sink()).map_err(read_error)?;
        let (diff_id, tar_size) = (hashed.digester.finish(), hashed.count);
        let blob = reader.finish(&self.store)?;
        if let Some(wanted) = &reader.diff_id
            && *wanted != diff_id
        {
            return Err(BuildError::new(
                Kind::Remote,
                format!("the layer's content has diff ID {diff_id}, the image's config says {wanted}"),
            )
            .hint("the image is damaged: ask whoever pushed it to push it again"));
        }
        match self.store.layer(id) {
            Some(_) if unpack => {
                self.store.add_layer_fs(id, &work.join("fs"))?;
                remove_tree(work);
            }
            Some(_) => remove_tree(work),
            None => {
                let meta = LayerMeta {
                    diff_id: Some(diff_id),
                    tar_size,
                    created: crate::time::now(),
                    blobs: blob.into_iter().collect(),
                };
                self.store.add_layer(id, work, &meta, &toc)?;
            }
        }
        Ok(())
    }

    /// Opens the tar of a layer, from the store or from where the image lives.
    fn open(&self, layer: &ChainLayer, at: Option<VertexId>) -> Result<LayerReader> {
        let id = layer.id();
        if let Some(meta) = self.store.layer(&id) {
            if let Some(tar) = self.store.layer_tar(&id) {
                let file = File::open(&tar).map_err(|e| BuildError::io("open", &tar, e))?;
                return Ok(LayerReader::plain(Box::new(file), meta.diff_id));
            }
            if let Some(blob) = self.store.layer_blob(&meta) {
                let file = self.store.open_blob(&blob.digest).map_err(|e| BuildError::io("open", "blob", e))?;
                return Ok(LayerReader::plain(layer::decompress(file).map_err(layer_error)?, meta.diff_id));
            }
        }
        let ChainLayer::Base(image, n) = layer else { return Err(gone(&id)) };
        let (diff_id, descriptor) = &image.layers[*n];
        if self.store.has_blob(&descriptor.digest, descriptor.size) {
            let file = self.store.open_blob(&descriptor.digest).map_err(|e| BuildError::io("open", "blob", e))?;
            let mut reader = LayerReader::plain(layer::decompress(file).map_err(layer_error)?, Some(diff_id.clone()));
            reader.stored = Some(stored(descriptor));
            return Ok(reader);
        }
        let raw = self.download(image, descriptor, at)?;
        let blob = self.store.new_blob();
        let shared = Arc::new(Mutex::new(TeeState {
            out: Some(io::BufWriter::with_capacity(1 << 20, blob.create()?)),
            failed: None,
        }));
        let tee = Tee { inner: raw, state: Arc::clone(&shared) };
        let mut reader = LayerReader::plain(layer::decompress(tee).map_err(layer_error)?, Some(diff_id.clone()));
        reader.tee = Some((shared, blob, stored(descriptor)));
        Ok(reader)
    }

    /// A base layer's compressed bytes, checked.
    pub(crate) fn download(
        &self,
        image: &ResolvedImage,
        descriptor: &Descriptor,
        at: Option<VertexId>,
    ) -> Result<Box<dyn Read + Send>> {
        match &image.origin {
            ImageOrigin::Registry(reference) => {
                let (events, total) = (self.events.clone(), descriptor.size);
                let item = format!("{}", descriptor.digest);
                let progress = registry::Progress::new(move |current| {
                    if let Some(id) = at {
                        let (item, done) = (item.clone(), current >= total);
                        events.send(Event::Progress { id, item, current, total: Some(total), done });
                    }
                });
                let reader = self.client.blob(reference, descriptor, progress).map_err(registry_error)?;
                Ok(Box::new(reader))
            }
            ImageOrigin::Layout(path) => {
                let path = path.join("blobs").join(descriptor.digest.algorithm()).join(descriptor.digest.hex());
                let file = File::open(&path).map_err(|e| BuildError::io("open", &path, e))?;
                Ok(Box::new(oci::VerifyReader::new(file, descriptor.digest.clone(), Some(descriptor.size))))
            }
        }
    }

    /// Makes sure that a base layer's blob is in the store as the image has it.
    pub(crate) fn base_blob(&self, image: &ResolvedImage, descriptor: &Descriptor, at: Option<VertexId>) -> Result<()> {
        if self.store.has_blob(&descriptor.digest, descriptor.size) {
            return Ok(());
        }
        let mut raw = self.download(image, descriptor, at)?;
        let blob = self.store.new_blob();
        let mut out = blob.create()?;
        io::copy(&mut raw, &mut out).map_err(read_error)?;
        blob.commit(&self.store, &descriptor.digest)
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
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let file = self.store.new_blob();
        let sink = io::BufWriter::with_capacity(1 << 20, file.create()?);
        let to = codec(compression);
        let mut reader = self.open(&ChainLayer::Step(id.clone()), None)?;
        let (written, mut sink) = layer::recompress(&mut reader.tar, sink, to, level, threads).map_err(layer_error)?;
        sink.flush().map_err(|e| BuildError::io("write", "blob", e))?;
        drop(sink);
        file.commit(&self.store, &written.digest)?;
        let stored = StoredBlob { digest: written.digest.clone(), size: written.size, compression, level };
        let (add, diff_id) = (stored.clone(), written.diff_id.clone());
        self.store.update_layer(id, move |meta| {
            meta.diff_id = Some(diff_id);
            meta.tar_size = written.diff_size;
            meta.blobs.retain(|b| b.digest != add.digest);
            meta.blobs.push(add);
        })?;
        Ok((written.diff_id, stored))
    }
}

/// The codec of a compression.
pub(crate) fn codec(compression: Compression) -> layer::Compression {
    match compression {
        Compression::Uncompressed => layer::Compression::None,
        Compression::Gzip => layer::Compression::Gzip,
        Compression::Zstd => layer::Compression::Zstd,
    }
}

fn stored(descriptor: &Descriptor) -> StoredBlob {
    StoredBlob {
        digest: descriptor.digest.clone(),
        size: descriptor.size,
        compression: media_type::layer_compression(&descriptor.media_type).unwrap_or(Compression::Gzip),
        level: None,
    }
}

fn gone(id: &LayerId) -> BuildError {
    BuildError::new(Kind::Io, format!("layer {} is gone from the store", id.as_str()))
        .hint("run the build again with --no-cache")
}

pub(crate) fn layer_error(error: layer::Error) -> BuildError {
    BuildError::new(Kind::Io, error.to_string()).caused_by(error)
}

fn read_error(error: io::Error) -> BuildError {
    match registry::Error::from_io(&error) {
        Some(inner) if inner.kind() == registry::ErrorKind::Cancelled => BuildError::canceled(),
        Some(inner) => {
            let mut this = BuildError::new(Kind::Remote, inner.to_string());
            if let Some(hint) = inner.hint() {
                this = this.hint(hint);
            }
            this
        }
        None => BuildError::new(Kind::Io, format!("cannot read a layer: {error}")).caused_by(error),
    }
}

pub(crate) fn open_dir(path: &Path) -> Result<rustix::fd::OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| BuildError::io("open", path, e))
}

/// A layer's tar on its way, and the blob that is written beside it.
struct LayerReader {
    tar: Box<dyn Read + Send>,
    diff_id: Option<Digest>,
    stored: Option<StoredBlob>,
    tee: Option<(Arc<Mutex<TeeState>>, BlobFile, StoredBlob)>,
}

impl LayerReader {
    fn plain(tar: Box<dyn Read + Send>, diff_id: Option<Digest>) -> Self {
        Self { tar: Box::new(BufReader::with_capacity(256 << 10, tar)), diff_id, stored: None, tee: None }
    }

    /// Gives the downloaded blob its name. Everything was read before.
    fn finish(&mut self, store: &Store) -> Result<Option<StoredBlob>> {
        let Some((state, blob, stored)) = self.tee.take() else { return Ok(self.stored.take()) };
        // What follows the archive's end (padding, another gzip member) belongs to the blob.
        self.tar = Box::new(io::empty());
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = state.failed.take() {
            return Err(read_error(error));
        }
        if let Some(mut out) = state.out.take() {
            out.flush().map_err(|e| BuildError::io("write", "blob", e))?;
        }
        let size = stored.size;
        blob.commit(store, &stored.digest)?;
        if !store.has_blob(&stored.digest, size) {
            let _ = fs::remove_file(store.blob_path(&stored.digest));
            return Err(BuildError::new(Kind::Remote, format!("{}: bytes follow the end of the layer", stored.digest)));
        }
        Ok(Some(stored))
    }
}

struct TeeState {
    out: Option<io::BufWriter<File>>,
    /// An error that came while nobody was looking: after the archive's end.
    failed: Option<io::Error>,
}

/// Writes what is read to a file as well, and reads to the very end when it is dropped.
struct Tee {
    inner: Box<dyn Read + Send>,
    state: Arc<Mutex<TeeState>>,
}

impl Read for Tee {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if let Some(out) = &mut self.state.lock().unwrap_or_else(PoisonError::into_inner).out {
            out.write_all(&buffer[..count])?;
        }
        Ok(count)
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        let mut buffer = [0_u8; 16 << 10];
        loop {
            match self.read(&mut buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    self.state.lock().unwrap_or_else(PoisonError::into_inner).failed = Some(error);
                    break;
                }
            }
        }
    }
}

struct HashingReader<R> {
    inner: R,
    digester: Digester,
    count: u64,
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.digester.update(&buffer[..count]);
        self.count += count as u64;
        Ok(count)
    }
}
