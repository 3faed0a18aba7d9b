//! `--cache-to`: the records of a build's steps, and their layers, for other builds.
use super::document::{Document, LayerEntry, RecordEntry};
use super::{CacheStore, Open, Remote, mounts, open, tables};
use crate::error::{BuildError, Result};
use crate::event::{Event, VertexId};
use crate::key::Key;
use crate::request::{CacheBackend, CacheMode, CacheTarget};
use crate::snapshot::{ChainLayer, Layers};
use crate::source::http::HttpClient;
use crate::store::{LayerId, StepRecord};
use oci::media_type::{self, Compression};
use oci::{Descriptor, Digest, Reference};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

/// A step of a build whose result is known.
#[derive(Debug, Clone)]
pub(crate) struct Collected {
    pub(crate) definition: Key,
    pub(crate) record: StepRecord,
    /// Whether its layer is part of the image.
    pub(crate) exported: bool,
}

/// Writes caches at the end of a build.
pub(crate) struct Exporter<'a> {
    pub(crate) layers: &'a Arc<Layers>,
    pub(crate) http: &'a HttpClient,
    pub(crate) steps: &'a [Collected],
    /// The cache mounts of the build, as the store names them.
    pub(crate) mounts: &'a BTreeSet<String>,
    /// Layers of the base images: diff ID and blob.
    pub(crate) bases: &'a [(Digest, Descriptor)],
    /// Where the image was pushed to: layers are mounted from there.
    pub(crate) pushed: &'a [Reference],
    /// The compression of the image's layers.
    pub(crate) compression: (Compression, Option<i32>),
    pub(crate) cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// A layer that is exported.
struct Packed {
    entry: LayerEntry,
    remote: Option<Arc<Remote>>,
}

impl Exporter<'_> {
    /// Writes one cache. `inline` is part of the image and no business of this.
    ///
    /// # Errors
    /// Where a layer cannot be packed or the place cannot be written.
    pub(crate) fn export(&self, target: &CacheTarget, line: VertexId) -> Result<()> {
        let Some(cache) = open(&target.backend, &self.layers.client, self.http) else { return Ok(()) };
        let steps: Vec<&Collected> =
            self.steps.iter().filter(|step| target.mode == CacheMode::Max || step.exported).collect();
        let packed = self.pack(&steps, target, line)?;
        let mut document = document_of(&steps, &packed);
        document.tables = tables::export(self.layers, cache.as_ref(), &self.listed(&packed))?;
        if target.mounts {
            document.mounts = mounts::export(self.layers, cache.as_ref(), self.mounts)?;
        }
        let imports = self.layers.imports().filter(|_| !cache.ages());
        if imports.is_some_and(|imports| imports.holds(&cache.name(), &Digest::sha256(&document.to_bytes()))) {
            return Ok(());
        }
        self.put_all(cache.as_ref(), &packed, line)?;
        if (self.cancelled)() {
            return Err(BuildError::canceled());
        }
        cache.commit(&document, target.oci)
    }

    /// The layers whose contents a later build may want to know without having them.
    fn listed(&self, packed: &BTreeMap<LayerId, Packed>) -> BTreeMap<Digest, (LayerId, u64)> {
        let base = |(diff_id, blob): &(Digest, Descriptor)| (diff_id.clone(), (LayerId::of_diff(diff_id), blob.size));
        let step = |(id, packed): (&LayerId, &Packed)| {
            let size = packed.entry.blob.as_ref().map_or(0, |blob| blob.size);
            (packed.entry.diff_id.clone(), (id.clone(), size))
        };
        self.bases.iter().map(base).chain(packed.iter().map(step)).collect()
    }

    /// All layers of these steps in their compressed form.
    fn pack(&self, steps: &[&Collected], target: &CacheTarget, line: VertexId) -> Result<BTreeMap<LayerId, Packed>> {
        let ids: BTreeSet<&LayerId> = steps.iter().filter_map(|step| step.record.layer.as_ref()).collect();
        let ids: Vec<&LayerId> = ids.into_iter().collect();
        let (compression, level) = form(target, self.compression);
        let packed = self.layers.parallel(&ids, |id| -> Result<Option<(LayerId, Packed)>> {
            if (self.cancelled)() {
                return Err(BuildError::canceled());
            }
            let remote = self.layers.remote(id);
            if let Some(remote) = &remote
                && !target.force_compression
            {
                let blob = typed(&remote.blob, target.oci);
                let entry = LayerEntry {
                    diff_id: remote.diff_id.clone(),
                    blob: Some(blob),
                    level: remote.level,
                    created: remote.created,
                };
                return Ok(Some(((*id).clone(), Packed { entry, remote: Some(Arc::clone(remote)) })));
            }
            if remote.is_none() && self.layers.store.layer(id).is_none() {
                // Somebody collected it meanwhile: the record goes with it.
                return Ok(None);
            }
            let (diff_id, stored) = self.layers.packed(&ChainLayer::Step((*id).clone()), compression, level, line)?;
            let blob = Descriptor::new(media_type::layer(compression, target.oci), stored.digest, stored.size);
            let created = self.layers.created(id).unwrap_or_default();
            let entry = LayerEntry { diff_id, blob: Some(blob), level, created };
            Ok(Some(((*id).clone(), Packed { entry, remote })))
        })?;
        Ok(packed.into_iter().flatten().collect())
    }

    fn put_all(&self, cache: &dyn CacheStore, packed: &BTreeMap<LayerId, Packed>, line: VertexId) -> Result<()> {
        let mut jobs: BTreeMap<&Digest, &Packed> = BTreeMap::new();
        for layer in packed.values() {
            if let Some(blob) = &layer.entry.blob {
                jobs.insert(&blob.digest, layer);
            }
        }
        let queue: Mutex<Vec<&Packed>> = Mutex::new(jobs.into_values().collect());
        let failed: Mutex<Option<BuildError>> = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..cache.width() {
                scope.spawn(|| {
                    loop {
                        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                        let Some(job) = job else { return };
                        if let Err(error) = self.put(cache, job, line) {
                            queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
                            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        }
                    }
                });
            }
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn put(&self, cache: &dyn CacheStore, layer: &Packed, line: VertexId) -> Result<()> {
        if (self.cancelled)() {
            return Err(BuildError::canceled());
        }
        let Some(blob) = &layer.entry.blob else { return Ok(()) };
        let mut from: Vec<Reference> = self.pushed.to_vec();
        if let Some(remote) = &layer.remote {
            if remote.cache.name() == cache.name() && !cache.ages() {
                // It came from there.
                return Ok(());
            }
            from.extend(remote.cache.repository().cloned());
        }
        let source = || -> io::Result<Box<dyn Read + Send>> {
            match &layer.remote {
                Some(remote) if !self.layers.store.has_blob(&blob.digest, blob.size) => {
                    self.layers.open_remote(remote, Some(line)).map_err(io::Error::other)
                }
                _ => Ok(Box::new(self.layers.store.open_blob(&blob.digest)?)),
            }
        };
        let open: Open<'_> = &source;
        let item = format!("writing layer {}", blob.digest);
        let (events, total) = (self.layers.events.clone(), blob.size);
        let progress = registry::Progress::new(move |current| {
            let (item, done) = (item.clone(), current >= total);
            events.send(Event::Progress { id: line, item, current, total: Some(total), done });
        });
        cache.put(blob, open, &from, progress)
    }
}

/// How layers are compressed for a cache: as the image's, where it does not say.
pub(crate) fn form(target: &CacheTarget, image: (Compression, Option<i32>)) -> (Compression, Option<i32>) {
    match target.compression {
        Some(compression) => (compression, target.level),
        None => (image.0, target.level.or(image.1)),
    }
}

/// The descriptor with the type that a manifest of this kind wants.
fn typed(blob: &Descriptor, oci: bool) -> Descriptor {
    let mut blob = Descriptor::new(blob.media_type.clone(), blob.digest.clone(), blob.size);
    if let Some(compression) = media_type::layer_compression(&blob.media_type) {
        media_type::layer(compression, oci).clone_into(&mut blob.media_type);
    }
    blob
}

/// The document of these steps; those whose layer is not among the packed ones are left out.
fn document_of(steps: &[&Collected], packed: &BTreeMap<LayerId, Packed>) -> Document {
    // By diff ID: names of layers differ between stores.
    let layers: BTreeMap<&Digest, &LayerEntry> = packed.values().map(|p| (&p.entry.diff_id, &p.entry)).collect();
    let places: BTreeMap<&Digest, usize> =
        layers.keys().enumerate().map(|(place, diff_id)| (*diff_id, place)).collect();
    let place = |id: &LayerId| packed.get(id).and_then(|p| places.get(&p.entry.diff_id)).copied();
    let records = records(steps, &place);
    Document::new(layers.into_values().cloned().collect(), records)
}

fn records(steps: &[&Collected], place: &dyn Fn(&LayerId) -> Option<usize>) -> Vec<RecordEntry> {
    let mut records: BTreeMap<&Key, (BTreeSet<&Key>, Option<usize>)> = BTreeMap::new();
    for step in steps {
        let layer = match &step.record.layer {
            None => None,
            Some(id) => match place(id) {
                None => continue,
                found => found,
            },
        };
        let (definitions, _) = records.entry(&step.record.key).or_insert_with(|| (BTreeSet::new(), layer));
        if step.definition != step.record.key {
            definitions.insert(&step.definition);
        }
    }
    let entry = |(key, (definitions, layer)): (&Key, (BTreeSet<&Key>, Option<usize>))| RecordEntry {
        key: key.clone(),
        definitions: definitions.into_iter().cloned().collect(),
        layer,
    };
    records.into_iter().map(entry).collect()
}

/// The document for an image's config: the steps whose layers are in the image, without blobs. `layers` are diff ID and
/// time of the image's own layers, by name.
pub(crate) fn inline(steps: &[Collected], layers: &BTreeMap<LayerId, (Digest, i64)>) -> serde_json::Value {
    let steps: Vec<&Collected> = steps.iter().filter(|step| step.exported).collect();
    let packed: BTreeMap<LayerId, Packed> = layers
        .iter()
        .map(|(id, (diff_id, created))| {
            let entry = LayerEntry { diff_id: diff_id.clone(), blob: None, level: None, created: *created };
            (id.clone(), Packed { entry, remote: None })
        })
        .collect();
    serde_json::to_value(document_of(&steps, &packed)).unwrap_or_default()
}

/// What a line of progress calls this export, in BuildKit's words.
pub(crate) fn title(backend: &CacheBackend) -> &'static str {
    match backend {
        CacheBackend::Registry { .. } => "exporting cache to registry",
        CacheBackend::Inline => "preparing layers for inline cache",
        CacheBackend::Local { .. } => "exporting cache to client directory",
        CacheBackend::Gha(_) => "exporting cache to GitHub Actions Cache",
        CacheBackend::S3(_) => "exporting cache to Amazon S3",
    }
}
