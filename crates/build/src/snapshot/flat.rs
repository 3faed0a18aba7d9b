//! Layers over one another in one directory: the `tree` strategy.
use super::{ChainLayer, Layers, blame, check_diff_id, layer_error, read_error, stream_error};
use crate::error::Result;
use crate::event::{Phase, VertexId};
use crate::store::{FileLock, LayerMeta, Lock};
use layer::ApplyOptions;
use layer::codec::ReadAhead;
use rustix::fd::BorrowedFd;
use std::io;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

impl Layers {
    /// Unpacks a layer over a tree. A base layer that is met for the first time leaves its table of contents in the
    /// store: download, inflating, checking, listing and unpacking are one pass.
    pub(crate) fn apply_flat(
        &self,
        layer: &ChainLayer,
        root: BorrowedFd<'_>,
        options: &mut ApplyOptions<'_>,
        at: Option<VertexId>,
    ) -> Result<()> {
        let id = layer.id();
        let _span = self.events.span(at, Phase::Unpack, id.as_str());
        let lock = self.lock_of(&id);
        let _in_process = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let mut between_processes = None;
        if self.store.layer(&id).is_none() {
            between_processes = Some(FileLock::wait(&self.store.lock_path(id.as_str()), Lock::Exclusive, &self.stop)?);
        }
        if self.store.layer(&id).is_some() {
            drop(between_processes);
            let mut reader = self.open(layer, super::Want::Files, at)?;
            let mut apply = || -> Result<()> {
                let applied = layer::apply(&mut reader.tar, root, options).map_err(layer_error);
                applied.map_err(|error| blame(layer, &mut reader, error))?;
                io::copy(&mut reader.tar, &mut io::sink()).map_err(read_error)?;
                reader.finish(&self.store).map(drop)
            };
            return apply().inspect_err(|error| self.note_broken(&id, error));
        }
        let mut reader = self.open(layer, super::Want::Files, at)?;
        let mut tar = ReadAhead::start(reader.take_tar()).map_err(layer_error)?;
        let applied = layer::apply::apply_buffered(&mut tar, root, options).map_err(layer_error);
        let applied = applied.map_err(|error| blame(layer, &mut reader, error))?;
        let (diff_id, tar_size) = tar.finish().map_err(stream_error)?;
        let blob = match reader.finish(&self.store)? {
            Some(blob) => Some(blob),
            None => reader.stored.clone(),
        };
        check_diff_id(&reader, &diff_id)?;
        let meta = LayerMeta {
            diff_id: Some(diff_id),
            tar_size,
            created: self.remote(&id).map_or_else(crate::time::now, |remote| remote.created),
            blobs: blob.into_iter().collect(),
            whiteout_time: None,
        };
        self.store.add_layer(&id, &self.store.scratch_dir("layer")?, &meta, &applied.toc)
    }

    /// Downloads the blobs of base layers that the store lacks, one after the other, until `enough`. An error is not
    /// reported here: it comes again where the layer is unpacked.
    pub(crate) fn bring(&self, chain: &[ChainLayer], enough: &AtomicBool, at: Option<VertexId>) {
        for layer in chain {
            let ChainLayer::Base(image, n) = layer else { continue };
            if enough.load(Ordering::Relaxed) || self.stop.is_cancelled() {
                return;
            }
            let (id, descriptor) = (layer.id(), &image.layers[*n].1);
            if self.store.layer_tar(&id).is_some() || self.store.has_blob(&descriptor.digest, descriptor.size) {
                continue;
            }
            let lock = self.lock_of(&id);
            let _in_process = lock.lock().unwrap_or_else(PoisonError::into_inner);
            let path = self.store.lock_path(id.as_str());
            let Ok(_between_processes) = FileLock::wait(&path, Lock::Exclusive, &self.stop) else { return };
            if self.base_blob(image, descriptor, at).is_err() {
                return;
            }
        }
    }
}
