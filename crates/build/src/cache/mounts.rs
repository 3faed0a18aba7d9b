//! `mounts=true`: the contents of cache mounts (`RUN --mount=type=cache`) in an external cache.
//!
//! A mount is a tar, cut by content into chunks, each compressed and a blob of its own: what has not changed has the
//! same name and is not sent again. The index lists the chunks of each mount:
//!
//! ```text
//! { "version": 1, "mounts": [ { "name": STORE-NAME, "chunks": [ { "digest": …, "size": … } … ] } … ] }
//! ```
//!
//! A document names the index first and then all chunks, so that registries keep them. A mount is filled when a step
//! wants it and the store has none of that name; one that the store has is newer, and stays.
use super::chunks::{Chunker, MOST};
use super::{CacheStore, Open, unusable};
use crate::error::{BuildError, Result};
use crate::event::Event;
use crate::snapshot::{Layers, layer_error, open_dir};
use crate::store::FileLock;
use ::layer::{ApplyOptions, LayerWriter, Owners, PackOptions, TarWriter, Whiteouts};
use oci::{Descriptor, Digest};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, Cursor, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

const INDEX: &str = "application/vnd.cooperage.mounts.v1+json";
const CHUNK: &str = "application/vnd.cooperage.chunk.v1+zstd";

/// An index above this is refused.
const INDEX_LIMIT: u64 = 64 << 20;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Index {
    version: u32,
    mounts: Vec<Mount>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Mount {
    name: String,
    chunks: Vec<Chunk>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Chunk {
    digest: Digest,
    size: u64,
}

impl Chunk {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new(CHUNK, self.digest.clone(), self.size)
    }
}

/// The mounts of one imported cache.
pub(crate) struct ImportedMounts {
    cache: Arc<dyn CacheStore>,
    index: Descriptor,
    chunks: HashSet<Digest>,
}

impl ImportedMounts {
    /// What a document says; `None` where it has no mounts.
    pub(super) fn of(cache: &Arc<dyn CacheStore>, blobs: &[Descriptor]) -> Option<Self> {
        let (index, chunks) = blobs.split_first().filter(|(index, _)| index.media_type == INDEX)?;
        let chunks = chunks.iter().map(|chunk| chunk.digest.clone()).collect();
        Some(Self { cache: Arc::clone(cache), index: index.clone(), chunks })
    }

    fn index(&self) -> Result<Index> {
        let mut bytes = Vec::new();
        let reader = self.cache.open(&self.index, registry::Progress::none())?;
        reader.take(INDEX_LIMIT).read_to_end(&mut bytes).map_err(|e| unusable(e.to_string()))?;
        let index: Index =
            serde_json::from_slice(&bytes).map_err(|e| unusable(format!("its list of mounts is damaged ({e})")))?;
        if index.version == 1 { Ok(index) } else { Err(unusable(format!("its mounts have format {}", index.version))) }
    }

    /// Fills an empty directory with what a mount held; false where the cache does not know it.
    pub(crate) fn fill(&self, name: &str, dir: &Path, real_owners: bool) -> Result<bool> {
        let Some(mount) = self.index()?.mounts.into_iter().find(|mount| mount.name == name) else { return Ok(false) };
        let tar =
            Chunks { cache: Arc::clone(&self.cache), chunks: mount.chunks.into_iter(), current: Box::new(io::empty()) };
        let mut options = ApplyOptions {
            whiteouts: Whiteouts::Literal,
            owners: if real_owners { Owners::Real } else { Owners::Ignored },
            ..ApplyOptions::default()
        };
        ::layer::apply(tar, open_dir(dir)?.as_fd(), &mut options).map_err(layer_error)?;
        Ok(true)
    }

    /// For messages.
    pub(crate) fn place(&self) -> String {
        self.cache.name()
    }
}

/// The chunks of a mount, one after the other.
struct Chunks {
    cache: Arc<dyn CacheStore>,
    chunks: std::vec::IntoIter<Chunk>,
    current: Box<dyn Read + Send>,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.current.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(chunk) = self.chunks.next() else { return Ok(0) };
            let raw = self.cache.open(&chunk.descriptor(), registry::Progress::none()).map_err(io::Error::other)?;
            self.current = ::layer::decompress(raw).map_err(io::Error::other)?;
        }
    }
}

/// Writes the mounts of a build to a cache; what the document has to name, the index first. Mounts that the store does
/// not have are carried over from what was imported from the same place.
pub(super) fn export(layers: &Layers, cache: &dyn CacheStore, names: &BTreeSet<String>) -> Result<Vec<Descriptor>> {
    let imported = layers.imports().map(|imports| imports.mounts()).unwrap_or_default();
    let before = imported.iter().find(|mounts| mounts.cache.name() == cache.name() && !cache.ages());
    let known: HashSet<Digest> = before.map(|mounts| mounts.chunks.clone()).unwrap_or_default();
    let mut old: BTreeMap<String, Mount> = match before.map(ImportedMounts::index) {
        Some(Ok(index)) => index.mounts.into_iter().map(|mount| (mount.name.clone(), mount)).collect(),
        _ => BTreeMap::new(),
    };
    let mut all = Vec::new();
    for name in names {
        let dir = layers.store.root().join("mounts").join(name).join("data");
        let free = FileLock::try_exclusive(&layers.store.lock_path(&format!("mount-{name}")))?;
        match free.filter(|_| dir.is_dir()) {
            Some(_held) => all.push(Mount { name: name.clone(), chunks: send(layers, cache, &dir, &known)? }),
            None => {
                if dir.is_dir() {
                    let message = format!("the cache mount {name} is in use by another build: it is not exported");
                    layers.events.send(Event::Warning { id: None, message });
                }
                all.extend(old.remove(name));
            }
        }
    }
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let mut blobs: BTreeMap<Digest, Descriptor> = BTreeMap::new();
    for chunk in all.iter().flat_map(|mount| &mount.chunks) {
        blobs.insert(chunk.digest.clone(), chunk.descriptor());
    }
    let bytes = serde_json::to_vec(&Index { version: 1, mounts: all }).map_err(|e| unusable(e.to_string()))?;
    let index = Descriptor::of(INDEX, &bytes);
    put(cache, &index, bytes)?;
    Ok(std::iter::once(index).chain(blobs.into_values()).collect())
}

fn put(cache: &dyn CacheStore, blob: &Descriptor, bytes: Vec<u8>) -> Result<()> {
    let source = || -> io::Result<Box<dyn Read + Send>> { Ok(Box::new(Cursor::new(bytes.clone()))) };
    let open: Open<'_> = &source;
    cache.put(blob, open, &[], registry::Progress::none())
}

/// Cuts and sends one mount. A few chunks are in memory at once.
fn send(layers: &Layers, cache: &dyn CacheStore, dir: &Path, known: &HashSet<Digest>) -> Result<Vec<Chunk>> {
    const WIDTH: usize = 3;
    let mut chunks = Vec::new();
    let failed: Mutex<Option<BuildError>> = Mutex::new(None);
    let owner = (!layers.real_owners()).then_some((0, 0));
    let options = PackOptions { owner, ..PackOptions::default() };
    let packed = std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel::<(Descriptor, Vec<u8>)>(0);
        let (receiver, failed) = (Arc::new(Mutex::new(receiver)), &failed);
        for _ in 0..WIDTH {
            let receiver = Arc::clone(&receiver);
            scope.spawn(move || {
                loop {
                    let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((blob, bytes)) = next else { return };
                    if failed.lock().unwrap_or_else(PoisonError::into_inner).is_none()
                        && let Err(error) = put(cache, &blob, bytes)
                    {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                }
            });
        }
        let chunker = Chunker::new(|chunk: Vec<u8>| {
            debug_assert!(chunk.len() <= MOST);
            let (digest, bytes) = compressed(&chunk)?;
            let done = Chunk { digest, size: bytes.len() as u64 };
            if !known.contains(&done.digest) {
                sender.send((done.descriptor(), bytes)).map_err(|_| io::Error::other("the upload has ended"))?;
            }
            chunks.push(done);
            Ok(())
        });
        let mut tar = TarWriter::new(chunker);
        ::layer::pack_tree(open_dir(dir)?.as_fd(), &mut tar, &options).map_err(layer_error)?;
        tar.finish().map_err(layer_error)?.finish().map_err(|e| BuildError::io("pack", dir, e))
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => packed.map(|()| chunks),
    }
}

/// The same bytes give the same blob, with the same version of zstd.
fn compressed(chunk: &[u8]) -> io::Result<(Digest, Vec<u8>)> {
    let mut writer = LayerWriter::create(Vec::new(), ::layer::Compression::Zstd, None, 1).map_err(io::Error::other)?;
    io::Write::write_all(&mut writer, chunk)?;
    let (blob, bytes) = writer.finish().map_err(io::Error::other)?;
    Ok((blob.digest, bytes))
}
