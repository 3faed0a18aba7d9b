//! Layers that lie in an external cache: used where they are, fetched when their files or bytes are needed.
use super::reader::{Keep, LayerReader};
use super::{ChainLayer, Layers, read_error, stored};
use crate::cache::{Imports, Remote};
use crate::error::{BuildError, Kind, Result};
use crate::event::{Event, VertexId};
use crate::store::{LayerId, LayerMeta, StoredBlob};
use layer::Toc;
use oci::Digest;
use oci::media_type::{self, Compression};
use std::io::{self, Read};
use std::sync::Arc;

impl Layers {
    /// Says what was imported; once, before the first look-up.
    pub(crate) fn set_imports(&self, imports: Arc<Imports>) {
        let _ = self.imports.set(imports);
    }

    /// What was imported.
    pub(crate) fn imports(&self) -> Option<&Arc<Imports>> {
        self.imports.get()
    }

    /// A layer that lies in an external cache and not in the store.
    pub(crate) fn remote(&self, id: &LayerId) -> Option<Arc<Remote>> {
        let remote = self.imports.get()?.layer(id)?;
        match self.store.layer(id) {
            Some(meta) if self.store.layer_blob(&meta).is_some() || self.store.layer_tar(id).is_some() => None,
            _ => Some(Arc::clone(remote)),
        }
    }

    /// A table of contents that an external cache has: then the layer is not fetched for it. That of a base layer is
    /// kept; that of a step's would make the store believe that it has the step's result.
    pub(super) fn imported_toc(&self, layer: &ChainLayer, id: &LayerId) -> Result<Option<Arc<Toc>>> {
        let Some(table) = self.imports.get().and_then(|imports| imports.table(id)) else { return Ok(None) };
        let toc = match table.read() {
            Ok(toc) => toc,
            Err(error) if error.kind() == Kind::Canceled => return Err(error),
            Err(error) => {
                let message = format!("cannot use a table of contents of {}: {error}", table.place());
                self.events.send(Event::Warning { id: None, message });
                return Ok(None);
            }
        };
        if let ChainLayer::Base(image, number) = layer {
            let diff_id = image.layers.get(*number).map(|(diff_id, _)| diff_id.clone());
            let meta = LayerMeta { diff_id, created: crate::time::now(), ..LayerMeta::default() };
            self.store.add_layer(id, &self.store.scratch_dir("layer")?, &meta, &toc)?;
        }
        Ok(Some(Arc::new(toc)))
    }

    /// When a step's layer was made: seconds since 1970.
    pub(crate) fn created(&self, id: &LayerId) -> Option<i64> {
        self.store.layer(id).map(|meta| meta.created).or_else(|| Some(self.imports.get()?.layer(id)?.created))
    }

    /// Notes that a layer could not be had from its cache: the build starts again without that cache.
    pub(crate) fn note_broken(&self, id: &LayerId, error: &BuildError) {
        if let Some(imports) = self.imports.get()
            && let Some(remote) = self.remote(id)
        {
            imports.broken(&remote, error);
        }
    }

    /// The compressed bytes of a layer in an external cache, checked.
    pub(crate) fn open_remote(
        self: &Arc<Self>,
        remote: &Arc<Remote>,
        at: Option<VertexId>,
    ) -> Result<Box<dyn Read + Send>> {
        let inner = self.download_remote(remote, at).inspect_err(|error| self.note(remote, error))?;
        let (layers, remote) = (Arc::clone(self), Arc::clone(remote));
        Ok(Box::new(Watched { inner, layers, remote }))
    }

    fn note(&self, remote: &Remote, error: &BuildError) {
        if let Some(imports) = self.imports.get() {
            imports.broken(remote, error);
        }
    }

    fn download_remote(&self, remote: &Remote, at: Option<VertexId>) -> Result<Box<dyn Read + Send>> {
        let (events, total) = (self.events.clone(), remote.blob.size);
        let item = remote.blob.digest.to_string();
        let progress = registry::Progress::new(move |current| {
            if let Some(id) = at {
                let (item, done) = (item.clone(), current >= total);
                events.send(Event::Progress { id, item, current, total: Some(total), done });
            }
        });
        remote.cache.open(&remote.blob, progress)
    }

    /// The tar of a layer in an external cache; its blob is kept.
    pub(super) fn open_cached(&self, remote: &Remote, at: Option<VertexId>) -> Result<LayerReader> {
        let blob = StoredBlob { level: remote.level, ..stored(&remote.blob) };
        if self.store.has_blob(&blob.digest, blob.size) {
            return self.open_stored(blob, Some(remote.diff_id.clone()));
        }
        let raw = self.download_remote(remote, at).inspect_err(|error| self.note(remote, error))?;
        LayerReader::keeping(raw, &self.store, Keep::Store, blob, remote.diff_id.clone())
    }

    /// Makes sure that the blob of a layer in an external cache is in the store.
    pub(crate) fn remote_blob(&self, remote: &Remote, at: Option<VertexId>) -> Result<()> {
        if self.store.has_blob(&remote.blob.digest, remote.blob.size) {
            return Ok(());
        }
        let fetch = || {
            let mut raw = self.download_remote(remote, at)?;
            let blob = self.store.new_blob();
            let mut out = blob.create()?;
            io::copy(&mut raw, &mut out).map_err(read_error)?;
            blob.commit(&self.store, &remote.blob.digest)
        };
        fetch().inspect_err(|error| self.note(remote, error))
    }

    /// A step's layer as a blob with this compression: where it lies, if that is an external cache, else in the store,
    /// packed now where it is not yet.
    pub(crate) fn packed(
        &self,
        layer: &ChainLayer,
        compression: Compression,
        level: Option<i32>,
        at: VertexId,
    ) -> Result<(Digest, StoredBlob)> {
        let id = layer.id();
        if let Some(remote) = self.remote(&id) {
            if media_type::layer_compression(&remote.blob.media_type) == Some(compression) && remote.level == level {
                return Ok((remote.diff_id.clone(), StoredBlob { level, ..stored(&remote.blob) }));
            }
            self.toc(layer, Some(at))?;
        }
        self.step_blob(&id, compression, level)
    }
}

/// Says so when a layer breaks while it is read.
struct Watched {
    inner: Box<dyn Read + Send>,
    layers: Arc<Layers>,
    remote: Arc<Remote>,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| {
            let same = io::Error::new(error.kind(), error.to_string());
            self.layers.note(&self.remote, &read_error(error));
            same
        })
    }
}
