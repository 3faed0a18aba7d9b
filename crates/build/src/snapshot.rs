//! Layers in the form in which they are needed: a table of contents, a directory, a tar, a blob.
//!
//! A chain is a list of layers, the lowest first. Base layers are fetched when a form of them is asked for that the
//! store does not hold: download, check, inflate and unpack are one pass, and a lock file per layer keeps two
//! processes from doing it twice.
mod flat;
mod growing;
mod pack;
mod reader;
mod remote;

pub(crate) use pack::PackingGuard;

use crate::cache::Imports;
use crate::error::{BuildError, Kind, Result};
use crate::event::{Event, Events, Phase, VertexId};
use crate::export::{BlobSource, Early};
use crate::images::registry_error;
use crate::place::Place;
use crate::plan::{ImageOrigin, ResolvedImage};
use crate::store::{FileLock, LayerId, LayerMeta, Lock, Store, StoredBlob, create_root, fs_name, remove_tree};
use crate::tree::{ContentSource, SnapshotTree};
use layer::codec::ReadAhead;
use layer::{ApplyOptions, Owners, Toc, View, Whiteouts};
use oci::media_type::{self, Compression};
use oci::{Descriptor, Digest};
use pack::Packing;
use reader::{Keep, LayerReader};
use rustix::fs::{Mode, OFlags};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

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

/// What a layer is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Files,
    /// Its table of contents. Where nobody keeps the blob, its own digest is not checked: the diff ID says the same of
    /// what is in it, at less than half of the cost of checking both.
    Table,
    /// The same, with all that can be checked.
    CheckedTable,
}

/// Layers of the store and of registries, for one build.
pub(crate) struct Layers {
    pub(crate) store: Arc<Store>,
    pub(crate) client: registry::Client,
    pub(crate) events: Events,
    place: Arc<Place>,
    /// Ends waiting for other builds.
    stop: sandbox::CancelToken,
    tocs: Mutex<HashMap<LayerId, Arc<Toc>>>,
    /// Merged views of chains, for the steps that come next.
    views: Mutex<Vec<(Vec<LayerId>, Arc<View>)>>,
    packing: Packing,
    pub(crate) early: Early,
    locks: Mutex<HashMap<LayerId, Arc<Mutex<()>>>>,
    /// Blobs of base layers, and whether anybody in this build wants more of them than a table of contents.
    wanted: Mutex<HashMap<Digest, bool>>,
    /// What `--cache-from` brought.
    imports: OnceLock<Arc<Imports>>,
}

impl Layers {
    pub(crate) fn new(
        store: Arc<Store>,
        client: registry::Client,
        events: Events,
        place: Arc<Place>,
        stop: sandbox::CancelToken,
        early: Early,
    ) -> Self {
        Self {
            store,
            client,
            events,
            place,
            stop,
            tocs: Mutex::default(),
            views: Mutex::default(),
            packing: Packing::default(),
            early,
            locks: Mutex::default(),
            wanted: Mutex::default(),
            imports: OnceLock::new(),
        }
    }

    /// Says of blobs of base layers whether somebody wants their files, or nothing but tables of contents: then they
    /// are not kept.
    pub(crate) fn uses(&self, blobs: impl Iterator<Item = Digest>, files: bool) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        for blob in blobs {
            *wanted.entry(blob).or_default() |= files;
        }
    }

    fn is_only_listed(&self, blob: &Digest) -> bool {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).get(blob) == Some(&false)
    }

    /// Whether files keep their owners on disk.
    pub(crate) fn real_owners(&self) -> bool {
        self.place.real_owners()
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
            None => match self.imported_toc(layer, &id)? {
                Some(toc) => toc,
                None => {
                    self.fetch(layer, None, at)?;
                    self.store.layer_toc(&id).ok_or_else(|| gone(&id))?
                }
            },
        };
        self.remember(&id, Arc::clone(&toc));
        Ok(toc)
    }

    /// The merged view of a chain. A chain that continues a known one costs what it adds.
    pub(crate) fn view(&self, chain: &[ChainLayer], at: Option<VertexId>) -> Result<Arc<View>> {
        /// Views that are kept: a handful of stages at once.
        const KEPT: usize = 8;
        let ids: Vec<LayerId> = chain.iter().map(ChainLayer::id).collect();
        let bases = chain.iter().take_while(|layer| matches!(layer, ChainLayer::Base(..))).count();
        let (mut start, mut view) = (0, View::new());
        {
            let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
            let longest = (0..views.len()).filter(|n| ids.starts_with(&views[*n].0)).max_by_key(|n| views[*n].0.len());
            if let Some(n) = longest {
                start = views[n].0.len();
                if start == ids.len() {
                    return Ok(Arc::clone(&views[n].1));
                }
                // Stages share their base; what a step left behind only the next step needs.
                view = match start > bases {
                    true => Arc::unwrap_or_clone(views.swap_remove(n).1),
                    false => View::clone(&views[n].1),
                };
            }
        }
        let keep = |number: usize, view: &Arc<View>| {
            let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
            if views.len() >= KEPT {
                views.remove(0);
            }
            views.push((ids[..number].to_vec(), Arc::clone(view)));
        };
        for (number, toc) in self.parallel(&chain[start..], |layer| self.toc(layer, at))?.into_iter().enumerate() {
            view.push(toc);
            if start + number + 1 == bases && bases < ids.len() {
                let base = Arc::new(view);
                keep(bases, &base);
                view = View::clone(&base);
            }
        }
        let view = Arc::new(view);
        keep(ids.len(), &view);
        Ok(view)
    }

    /// The files of a chain as a tree.
    pub(crate) fn tree(
        self: &Arc<Self>,
        chain: &[ChainLayer],
        name: &str,
        at: Option<VertexId>,
    ) -> Result<Arc<SnapshotTree>> {
        let view = self.view(chain, at)?;
        let (layers, chain) = (Arc::clone(self), chain.to_vec());
        Ok(Arc::new(SnapshotTree::new(view, name, move |index| layers.content(&chain[index], &chain[..index], at))))
    }

    /// Where the bytes of a layer's files are.
    fn content(&self, layer: &ChainLayer, below: &[ChainLayer], at: Option<VertexId>) -> Result<ContentSource> {
        let id = layer.id();
        if let Some(tar) = self.store.layer_tar(&id) {
            return Ok(ContentSource::Tar(tar));
        }
        self.unpacked(layer, below, at).map(ContentSource::Dir)
    }

    /// The unpacked directories of a chain, lowest first, as overlayfs takes them.
    pub(crate) fn directories(&self, chain: &[ChainLayer], at: Option<VertexId>) -> Result<Vec<PathBuf>> {
        let places: Vec<usize> = (0..chain.len()).collect();
        self.parallel(&places, |place| self.unpacked(&chain[*place], &chain[..*place], at))
    }

    /// A layer's files as a directory.
    fn unpacked(&self, layer: &ChainLayer, below: &[ChainLayer], at: Option<VertexId>) -> Result<PathBuf> {
        let id = layer.id();
        if let Some(path) = self.store.layer_fs(&id, self.real_owners()) {
            return Ok(path);
        }
        self.fetch(layer, Some(below), at)?;
        self.store.layer_fs(&id, self.real_owners()).ok_or_else(|| gone(&id))
    }

    /// Hands over the inflated tar of a layer, which must be read to its end. What is fetched for it is kept.
    pub(crate) fn read_tar(
        &self,
        layer: &ChainLayer,
        take: &mut dyn FnMut(Box<dyn Read + Send>) -> Result<()>,
    ) -> Result<()> {
        let mut reader = self.open(layer, Want::Files, None)?;
        let read = take(reader.take_tar()).and_then(|()| reader.finish(&self.store).map(|_| ()));
        read.inspect_err(|error| self.note_broken(&layer.id(), error))
    }

    /// Makes sure that a base layer is known to the store.
    pub(crate) fn directory_or_toc(&self, layer: &ChainLayer, at: Option<VertexId>) -> Result<()> {
        self.toc(layer, at).map(|_| ())
    }

    /// Does something for each layer, a few at a time, and keeps the order.
    pub(crate) fn parallel<T: Send, L: Sync>(
        &self,
        chain: &[L],
        work: impl Fn(&L) -> Result<T> + Sync,
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

    /// Brings a layer into the store: its table, and its files where `below` is given, the layers that it lies on.
    fn fetch(&self, layer: &ChainLayer, below: Option<&[ChainLayer]>, at: Option<VertexId>) -> Result<()> {
        let id = layer.id();
        let lock = self.lock_of(&id);
        let _in_process = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = |store: &Store| match below.is_some() {
            true => store.layer_fs(&id, self.real_owners()).is_some(),
            false => store.layer_toc(&id).is_some(),
        };
        if ready(&self.store) {
            return Ok(());
        }
        let _between_processes = FileLock::wait(&self.store.lock_path(id.as_str()), Lock::Exclusive, &self.stop)?;
        if ready(&self.store) {
            return Ok(());
        }
        let mut want = if below.is_some() { Want::Files } else { Want::Table };
        loop {
            let mut reader = self.open(layer, want, at)?;
            let work = self.store.scratch_dir("layer")?;
            let Err(error) = self.unpack(&id, &mut reader, &work, below, at) else { return Ok(()) };
            remove_tree(&work);
            if self.drop_damaged(&reader)? {
                continue;
            }
            if reader.is_doubtful() {
                want = Want::CheckedTable;
                continue;
            }
            let error = blame(layer, &mut reader, error);
            if matches!(layer, ChainLayer::Step(_)) {
                self.note_broken(&id, &error);
            }
            return Err(error);
        }
    }

    /// Takes a blob out of the store that is not what its name says (a machine that lost its power, a failing disk), so
    /// that it is fetched anew. True where it was so.
    fn drop_damaged(&self, reader: &LayerReader) -> Result<bool> {
        let Some(stored) = &reader.stored else { return Ok(false) };
        let path = self.store.blob_path(&stored.digest);
        let file = File::open(&path).map_err(|e| BuildError::io("open", &path, e))?;
        let mut reader = oci::VerifyReader::new(file, stored.digest.clone(), Some(stored.size));
        if io::copy(&mut reader, &mut io::sink()).is_ok() {
            return Ok(false);
        }
        let message = format!("blob {} of the store is damaged: it is fetched again", stored.digest);
        self.events.send(Event::Warning { id: None, message });
        fs::remove_file(&path).map_err(|e| BuildError::io("remove", &path, e))?;
        Ok(true)
    }

    fn unpack(
        &self,
        id: &LayerId,
        reader: &mut LayerReader,
        work: &Path,
        below: Option<&[ChainLayer]>,
        at: Option<VertexId>,
    ) -> Result<()> {
        let _span = self.events.span(at, Phase::Unpack, id.as_str());
        let limits = layer::apply::Limits::default();
        let mut tar = ReadAhead::start(reader.take_tar()).map_err(layer_error)?;
        let toc = match below {
            Some(below) => {
                let target = work.join(fs_name(self.real_owners()));
                create_root(&target)?;
                let root = open_dir(&target)?;
                let mut options = self.unpack_options();
                let applied =
                    layer::apply::apply_buffered(&mut tar, root.as_fd(), &mut options).map_err(layer_error)?;
                self.adopt(root.as_fd(), &applied.implied, below, &mut options, at)?;
                applied.toc
            }
            None => Toc::scan(&mut tar, &limits).map_err(layer_error)?,
        };
        let (diff_id, tar_size) = tar.finish().map_err(stream_error)?;
        let blob = match reader.finish(&self.store)? {
            Some(blob) => Some(blob),
            None => reader.stored.clone(),
        };
        check_diff_id(reader, &diff_id)?;
        match self.store.layer(id) {
            Some(_) if below.is_some() => {
                self.store.add_layer_fs(id, &work.join(fs_name(self.real_owners())), self.real_owners())?;
                remove_tree(work);
                if let Some(blob) = blob
                    && self.store.layer(id).is_some_and(|meta| !meta.blobs.contains(&blob))
                {
                    self.store.update_layer(id, |meta| meta.blobs.push(blob))?;
                }
            }
            Some(_) => remove_tree(work),
            None => {
                let meta = LayerMeta {
                    diff_id: Some(diff_id),
                    tar_size,
                    created: self.remote(id).map_or_else(crate::time::now, |remote| remote.created),
                    blobs: blob.into_iter().collect(),
                    whiteout_time: None,
                };
                self.store.add_layer(id, work, &meta, &toc)?;
            }
        }
        Ok(())
    }

    /// How layers are unpacked each by itself, for overlayfs.
    pub(crate) fn unpack_options(&self) -> ApplyOptions<'static> {
        ApplyOptions {
            whiteouts: Whiteouts::Overlay { userxattr: true },
            owners: if self.real_owners() { Owners::Real } else { Owners::Listed },
            write_back: self.store.is_lasting(),
            ..ApplyOptions::default()
        }
    }

    /// Directories that a layer does not name but puts something in look as they do in the layers below: overlayfs
    /// shows the attributes of the uppermost one.
    pub(crate) fn adopt(
        &self,
        root: rustix::fd::BorrowedFd<'_>,
        implied: &[PathBuf],
        below: &[ChainLayer],
        options: &mut ApplyOptions<'_>,
        at: Option<VertexId>,
    ) -> Result<()> {
        if implied.is_empty() || below.is_empty() {
            return Ok(());
        }
        let view = self.view(below, at)?;
        layer::apply::adopt_parents(root, implied, &view, &mut options.owners).map_err(layer_error)
    }

    /// Opens the tar of a layer, from the store or from where the image lives.
    fn open(&self, layer: &ChainLayer, want: Want, at: Option<VertexId>) -> Result<LayerReader> {
        let id = layer.id();
        if let Some(meta) = self.store.layer(&id) {
            if let Some(tar) = self.store.layer_tar(&id) {
                let file = File::open(&tar).map_err(|e| BuildError::io("open", &tar, e))?;
                return Ok(LayerReader::plain(Box::new(file), meta.diff_id));
            }
            if let Some(blob) = self.store.layer_blob(&meta) {
                return self.open_stored(blob, meta.diff_id);
            }
            // A base layer's directory does not say all that its tar held.
            if id.is_of_step()
                && let (Some(dir), Some(toc)) = (self.store.layer_any_fs(&id), self.store.layer_toc(&id))
            {
                let tar = pack::stream(dir, toc, meta.whiteout_time)?;
                return Ok(LayerReader::plain(Box::new(tar), meta.diff_id));
            }
        }
        let ChainLayer::Base(image, n) = layer else {
            let remote = self.remote(&id).ok_or_else(|| gone(&id))?;
            return self.open_cached(&remote, at);
        };
        let (diff_id, descriptor) = &image.layers[*n];
        if media_type::layer_compression(&descriptor.media_type).is_none() {
            let name = image.name.split('@').next().unwrap_or_default();
            return Err(BuildError::new(
                Kind::Remote,
                format!("layer {} of {name} has the unknown type {}", descriptor.digest, descriptor.media_type),
            )
            .hint("layers are plain, gzip or zstd archives: build the image again with such layers"));
        }
        if self.store.has_blob(&descriptor.digest, descriptor.size) {
            return self.open_stored(stored(descriptor), Some(diff_id.clone()));
        }
        let keep = match want != Want::Files && self.is_only_listed(&descriptor.digest) {
            true if self.early.passes(&descriptor.digest) => Keep::Pass,
            true => Keep::Nothing,
            false => Keep::Store,
        };
        let unchecked = keep == Keep::Nothing && want == Want::Table;
        let raw = match unchecked {
            true => self.download_unchecked(image, descriptor, at)?,
            false => self.download(image, descriptor, at)?,
        };
        let mut reader = LayerReader::keeping(raw, &self.store, keep, stored(descriptor), diff_id.clone())?;
        reader.blob_unchecked = unchecked;
        if let Some(growing) = reader.growing() {
            let source: BlobSource = Arc::new(move || Ok(growing.open()));
            self.early.comes_by(descriptor, &source);
        }
        Ok(reader)
    }

    fn open_stored(&self, blob: StoredBlob, diff_id: Option<oci::Digest>) -> Result<LayerReader> {
        let file = self.store.open_blob(&blob.digest).map_err(|e| BuildError::io("open", "blob", e))?;
        let mut reader = LayerReader::plain(layer::decompress(file).map_err(layer_error)?, diff_id);
        reader.stored = Some(blob);
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
            ImageOrigin::Registry(reference) => Ok(Box::new(self.download_from(reference, descriptor, at)?)),
            ImageOrigin::Layout(path) => {
                let path = path.join("blobs").join(descriptor.digest.algorithm()).join(descriptor.digest.hex());
                let file = File::open(&path).map_err(|e| BuildError::io("open", &path, e))?;
                Ok(Box::new(oci::VerifyReader::new(file, descriptor.digest.clone(), Some(descriptor.size))))
            }
        }
    }

    /// The same, for who checks the digest of what is inside.
    fn download_unchecked(
        &self,
        image: &ResolvedImage,
        descriptor: &Descriptor,
        at: Option<VertexId>,
    ) -> Result<Box<dyn Read + Send>> {
        match &image.origin {
            ImageOrigin::Registry(reference) => {
                Ok(Box::new(self.download_from(reference, descriptor, at)?.without_digest()))
            }
            ImageOrigin::Layout(_) => self.download(image, descriptor, at),
        }
    }

    fn download_from(
        &self,
        name: &oci::Reference,
        descriptor: &Descriptor,
        at: Option<VertexId>,
    ) -> Result<registry::BlobReader> {
        let (events, total) = (self.events.clone(), descriptor.size);
        let item = format!("{}", descriptor.digest);
        let progress = registry::Progress::new(move |current| {
            if let Some(id) = at {
                let (item, done) = (item.clone(), current >= total);
                events.send(Event::Progress { id, item, current, total: Some(total), done });
            }
        });
        self.client.blob(name, descriptor, progress).map_err(registry_error)
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
        drop(out);
        blob.commit(&self.store, &descriptor.digest)?;
        let path = self.store.blob_path(&descriptor.digest);
        let source: BlobSource = Arc::new(move || Ok(Box::new(File::open(&path)?)));
        self.early.comes_by(descriptor, &source);
        Ok(())
    }
}

/// What is wrong with a layer that could not be unpacked, and which it is.
fn blame(layer: &ChainLayer, reader: &mut LayerReader, error: BuildError) -> BuildError {
    let ChainLayer::Base(image, n) = layer else { return error.context(format!("layer {}", layer.id().as_str())) };
    let (name, blob) = (image.name.split('@').next().unwrap_or_default(), &image.layers[*n].1.digest);
    let error = reader.cause(error);
    match error.message().contains(blob.hex()) {
        true => error,
        false => error.context(format!("layer {}:{} of {name}", blob.algorithm(), blob.short())),
    }
}

fn check_diff_id(reader: &LayerReader, diff_id: &Digest) -> Result<()> {
    match &reader.diff_id {
        Some(wanted) if wanted != diff_id => Err(BuildError::new(
            Kind::Remote,
            format!("the layer's content has diff ID {diff_id}, the image's config says {wanted}"),
        )
        .hint("the image is damaged: ask whoever pushed it to push it again")),
        _ => Ok(()),
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
    // What a registry says comes through the codec: it has its own words and hints.
    if let layer::Error::Stream { source, .. } = &error
        && let Some(inner) = registry::Error::from_io(source)
    {
        return remote_error(inner);
    }
    BuildError::new(Kind::Io, error.to_string()).caused_by(error)
}

/// An error while a layer was read from where it lives: the stream's own words count.
fn stream_error(error: layer::Error) -> BuildError {
    match error {
        layer::Error::Stream { source, .. } => read_error(source),
        other => layer_error(other),
    }
}

fn read_error(error: io::Error) -> BuildError {
    match registry::Error::from_io(&error) {
        Some(inner) => remote_error(inner),
        None => BuildError::new(Kind::Io, format!("cannot read a layer: {error}")).caused_by(error),
    }
}

fn remote_error(error: &registry::Error) -> BuildError {
    if error.kind() == registry::ErrorKind::Cancelled {
        return BuildError::canceled();
    }
    let this = BuildError::new(Kind::Remote, error.to_string());
    match error.hint() {
        Some(hint) => this.hint(hint),
        None => this,
    }
}

pub(crate) fn open_dir(path: &Path) -> Result<rustix::fd::OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| BuildError::io("open", path, e))
}
