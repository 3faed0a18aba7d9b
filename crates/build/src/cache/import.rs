//! `--cache-from`: what other builds left, ready for look-ups.
use super::document::Document;
use super::mounts::ImportedMounts;
use super::tables::{self, RemoteTable};
use super::{CacheStore, open};
use crate::error::{BuildError, Kind, Result};
use crate::event::{Event, Events, Outcome};
use crate::key::Key;
use crate::request::CacheBackend;
use crate::store::{LayerId, StepRecord, Store};
use crate::vertices::Vertices;
use oci::{Descriptor, Digest, media_type};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A layer that lies in an external cache.
pub(crate) struct Remote {
    pub(crate) diff_id: Digest,
    pub(crate) blob: Descriptor,
    /// The compression level that was asked for when it was packed.
    pub(crate) level: Option<i32>,
    /// When its step was run: seconds since 1970.
    pub(crate) created: i64,
    pub(crate) cache: Arc<dyn CacheStore>,
    /// The place of its cache among those of the request.
    number: usize,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("blob", &self.blob).field("cache", &self.cache.name()).finish_non_exhaustive()
    }
}

/// A record as a document has it.
struct Imported {
    key: Key,
    layer: Option<LayerId>,
    created: i64,
}

/// All that was imported.
#[derive(Default)]
pub(crate) struct Imports {
    steps: HashMap<Key, Arc<Imported>>,
    layers: HashMap<LayerId, Arc<Remote>>,
    /// Tables of contents, also of layers that lie elsewhere.
    tables: HashMap<LayerId, RemoteTable>,
    /// The digest of the document that each cache has now, by the cache's name.
    documents: HashMap<String, Digest>,
    /// The contents of cache mounts, in the order of the caches.
    mounts: Vec<ImportedMounts>,
    /// Records that were used, by definition key.
    used: Mutex<HashMap<Key, StepRecord>>,
    broken: Mutex<Option<(usize, String)>>,
}

/// The thread that loads one cache.
type Import = JoinHandle<Result<Vec<Document>>>;

/// An import that is under way, beside the reading of the context and the look-up of base images.
pub(crate) struct Loading {
    threads: Vec<(usize, Arc<dyn CacheStore>, Import)>,
}

impl Loading {
    /// Begins to load all caches at once, but for those in `skip`.
    pub(crate) fn start(
        caches: &[CacheBackend],
        skip: &BTreeSet<usize>,
        client: &registry::Client,
        http: &crate::source::http::HttpClient,
        events: &Events,
        vertices: &Arc<Vertices>,
    ) -> Self {
        let mut threads = Vec::new();
        for (number, backend) in caches.iter().enumerate().filter(|(number, _)| !skip.contains(number)) {
            let Some(cache) = open(backend, client, http) else { continue };
            let (events, vertices, loader) = (events.clone(), Arc::clone(vertices), Arc::clone(&cache));
            let work = move || {
                let line =
                    vertices.start(&events, &format!("importing cache manifest from {}", loader.name()), None, &[]);
                let result = loader.load();
                let outcome = match &result {
                    Ok(_) => Outcome::Done,
                    Err(e) if e.kind() == Kind::Canceled => Outcome::Canceled,
                    // A warning follows; the build goes on.
                    Err(_) => Outcome::Done,
                };
                vertices.end(&events, line, outcome);
                result
            };
            if let Ok(thread) = std::thread::Builder::new().name("import".to_owned()).spawn(work) {
                threads.push((number, cache, thread));
            }
        }
        Self { threads }
    }

    /// Waits for all of them. What cannot be used costs a warning.
    pub(crate) fn finish(self, events: &Events) -> Arc<Imports> {
        let mut imports = Imports::default();
        for (number, cache, thread) in self.threads {
            let result = thread.join().unwrap_or_else(|_| Err(super::unusable("its import died")));
            let warn = |message: String| events.send(Event::Warning { id: None, message });
            match result {
                Ok(documents) if documents.is_empty() => {
                    warn(format!("there is no cache in {} yet: building without it", cache.name()));
                }
                Ok(documents) => {
                    for document in &documents {
                        imports.add(number, &cache, document);
                    }
                }
                Err(error) if error.kind() == Kind::Canceled => {}
                Err(error) => warn(format!("cannot use the cache in {}: {error}; building without it", cache.name())),
            }
        }
        Arc::new(imports)
    }
}

impl Imports {
    fn add(&mut self, number: usize, cache: &Arc<dyn CacheStore>, document: &Document) {
        self.documents.insert(cache.name(), Digest::sha256(&document.to_bytes()));
        self.mounts.extend(ImportedMounts::of(cache, &document.mounts));
        for table in document.tables.iter().filter(|table| table.blob.media_type == tables::MEDIA_TYPE) {
            let remote = RemoteTable { cache: Arc::clone(cache), blob: table.blob.clone() };
            self.tables.entry(LayerId::of_diff(&table.diff_id)).or_insert(remote);
        }
        let mut ids = Vec::new();
        for layer in &document.layers {
            let known = layer.blob.as_ref().filter(|b| media_type::layer_compression(&b.media_type).is_some());
            let Some(blob) = known else {
                ids.push(None);
                continue;
            };
            let id = LayerId::of_diff(&layer.diff_id);
            let remote = Remote {
                diff_id: layer.diff_id.clone(),
                blob: blob.clone(),
                level: layer.level,
                created: layer.created,
                cache: Arc::clone(cache),
                number,
            };
            self.layers.entry(id.clone()).or_insert_with(|| Arc::new(remote));
            ids.push(Some(id));
        }
        for record in &document.records {
            let (layer, created) = match record.layer {
                None => (None, 0),
                Some(place) => match &ids[place] {
                    Some(id) => (Some(id.clone()), document.layers[place].created),
                    // A kind of layer that this program does not know.
                    None => continue,
                },
            };
            let imported = Arc::new(Imported { key: record.key.clone(), layer, created });
            for key in record.definitions.iter().chain([&record.key]) {
                self.steps.entry(key.clone()).or_insert_with(|| Arc::clone(&imported));
            }
        }
    }

    /// The record under a key. A layer that the store has already is named as the store names it.
    pub(crate) fn step(&self, key: &Key, store: &Store) -> Option<StepRecord> {
        let found = self.steps.get(key)?;
        let layer = found.layer.as_ref().map(|id| {
            let diff_id = self.layers.get(id).map(|remote| &remote.diff_id);
            diff_id.and_then(|diff_id| store.layer_of_diff(diff_id)).unwrap_or_else(|| id.clone())
        });
        Some(StepRecord {
            key: found.key.clone(),
            layer,
            name: String::new(),
            fields: Vec::new(),
            created: found.created,
        })
    }

    /// The contents of cache mounts, in the order of the caches.
    pub(crate) fn mounts(&self) -> &[ImportedMounts] {
        &self.mounts
    }

    /// Where a layer's table of contents lies.
    pub(crate) fn table(&self, id: &LayerId) -> Option<RemoteTable> {
        self.tables.get(id).cloned()
    }

    /// Where a layer lies.
    pub(crate) fn layer(&self, id: &LayerId) -> Option<&Arc<Remote>> {
        self.layers.get(id)
    }

    /// Whether a cache holds this very document already.
    pub(super) fn holds(&self, cache: &str, document: &Digest) -> bool {
        self.documents.get(cache) == Some(document)
    }

    /// Notes that a record was used, so that the store can keep it.
    pub(crate) fn note(&self, definition: &Key, record: &StepRecord) {
        self.used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(definition.clone())
            .or_insert_with(|| record.clone());
    }

    /// Keeps the records that were used and whose layers have come into the store.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub(crate) fn keep(&self, store: &Store) -> Result<()> {
        for (definition, record) in self.used.lock().unwrap_or_else(PoisonError::into_inner).drain() {
            if record.layer.as_ref().is_none_or(|id| store.layer(id).is_some()) {
                for key in [&definition, &record.key] {
                    if store.step(key).is_none() {
                        store.put_step(key, &record)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Notes that a layer could not be had.
    pub(crate) fn broken(&self, remote: &Remote, error: &BuildError) {
        if error.kind() != Kind::Canceled {
            let why = format!("{}: {error}", remote.cache.name());
            self.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert((remote.number, why));
        }
    }

    /// The cache that could not give what it promised: its number and what went wrong.
    pub(crate) fn take_broken(&self) -> Option<(usize, String)> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
