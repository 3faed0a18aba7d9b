//! To a registry: blobs first, several at once, then manifests, then the names.
use super::{Export, Whole};
use crate::error::{BuildError, Kind, Result};
use crate::event::Event;
use crate::image::ImageLayer;
use crate::images::registry_error;
use crate::plan::ImageOrigin;
use crate::request::Output;
use oci::{Descriptor, Reference};
use std::collections::HashSet;
use std::io::{self, Cursor, Read};
use std::sync::Mutex;
use std::sync::PoisonError;

/// Uploads at once.
const WIDTH: usize = 4;

impl Export<'_> {
    pub(super) fn push(&self, whole: &Whole, output: &Output, names: &[Reference]) -> Result<()> {
        if names.is_empty() {
            return Err(BuildError::new(Kind::Input, "cannot push: the image has no name")
                .hint("name it with -t REGISTRY/REPOSITORY[:TAG]"));
        }
        let mut done: HashSet<String> = HashSet::new();
        for name in names {
            if done.insert(name.name()) {
                self.push_blobs(whole, name)?;
            }
            // A manifest that stands alone gets there with its tag: one request instead of two.
            let alone = whole.index.is_none() && whole.attached.is_empty() && !output.push_by_digest;
            for image in whole.images.iter().filter(|_| !alone) {
                let by_digest = name.with_digest(image.descriptor.digest.clone());
                self.manifest(&by_digest, &image.descriptor, &image.manifest)?;
            }
            for attached in &whole.attached {
                let by_digest = name.with_digest(attached.descriptor.digest.clone());
                self.manifest(&by_digest, &attached.descriptor, &attached.manifest)?;
            }
            let top = whole.top();
            let bytes = match &whole.index {
                Some((_, bytes)) => bytes,
                None => &whole.images[0].manifest,
            };
            let target =
                if output.push_by_digest { name.with_digest(top.digest.clone()) } else { name.clone().or_latest() };
            if output.push_by_digest && whole.index.is_none() {
                continue;
            }
            let target = if output.push_by_digest { target } else { target.with_tag(target.tag().unwrap_or("latest")) };
            self.manifest(&target, &top, bytes)?;
        }
        Ok(())
    }

    fn manifest(&self, reference: &Reference, descriptor: &Descriptor, bytes: &[u8]) -> Result<()> {
        let item = format!("pushing manifest for {reference}");
        self.progress(&item, 0, None, false);
        self.layers.client.push_manifest(reference, &descriptor.media_type, bytes).map_err(registry_error)?;
        self.progress(&item, 1, None, true);
        Ok(())
    }

    fn push_blobs(&self, whole: &Whole, name: &Reference) -> Result<()> {
        enum Job<'b> {
            Layer(&'b ImageLayer),
            Bytes(&'b Descriptor, &'b [u8]),
        }
        let mut seen = HashSet::new();
        let mut jobs: Vec<Job<'_>> = Vec::new();
        for image in &whole.images {
            jobs.extend(image.layers.iter().filter(|l| seen.insert(l.descriptor.digest.clone())).map(Job::Layer));
            if seen.insert(image.config_descriptor.digest.clone()) {
                jobs.push(Job::Bytes(&image.config_descriptor, &image.config));
            }
        }
        for (descriptor, bytes) in whole.attached.iter().flat_map(|a| &a.blobs) {
            if seen.insert(descriptor.digest.clone()) {
                jobs.push(Job::Bytes(descriptor, bytes));
            }
        }
        jobs.reverse();
        let queue = Mutex::new(jobs);
        let failed: Mutex<Option<BuildError>> = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..WIDTH {
                scope.spawn(|| {
                    loop {
                        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                        let Some(job) = job else { return };
                        let result = match job {
                            Job::Layer(layer) => self.push_layer(name, layer),
                            Job::Bytes(descriptor, bytes) => self.push_bytes(name, descriptor, bytes),
                        };
                        if let Err(error) = result {
                            queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
                            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        }
                    }
                });
            }
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn push_bytes(&self, name: &Reference, descriptor: &Descriptor, bytes: &[u8]) -> Result<()> {
        let source = || -> io::Result<Box<dyn Read + Send>> { Ok(Box::new(Cursor::new(bytes.to_vec()))) };
        self.layers
            .client
            .push_blob(name, descriptor, &source, &[], registry::Progress::none())
            .map(|_| ())
            .map_err(registry_error)
    }

    /// A layer: mounted where the registry has it already, streamed from the base's registry where the store has
    /// not, else uploaded from the store.
    fn push_layer(&self, name: &Reference, layer: &ImageLayer) -> Result<()> {
        let descriptor = &layer.descriptor;
        let (events, id, total) = (self.layers.events.clone(), self.line, descriptor.size);
        let item = format!("pushing layer {}", descriptor.digest);
        let label = item.clone();
        let progress = registry::Progress::new(move |current| {
            let (item, done) = (label.clone(), current >= total);
            events.send(Event::Progress { id, item, current, total: Some(total), done });
        });
        let mut mount_from = Vec::new();
        if let Some((image, _)) = &layer.base
            && let ImageOrigin::Registry(reference) = &image.origin
            && self.layers.client.can_mount(name, reference)
        {
            mount_from.push(reference.clone());
        }
        if self.layers.early.take(name, &descriptor.digest) {
            self.progress(&item, total, Some(total), true);
            return Ok(());
        }
        if let Some(remote) = &layer.remote {
            mount_from.extend(remote.cache.repository().filter(|r| self.layers.client.can_mount(name, r)).cloned());
        }
        let store = &self.layers.store;
        let source = || -> io::Result<Box<dyn Read + Send>> {
            if store.has_blob(&descriptor.digest, descriptor.size) {
                return Ok(Box::new(store.open_blob(&descriptor.digest)?));
            }
            match (&layer.base, &layer.remote) {
                (Some((image, original)), _) => {
                    self.layers.download(image, original, Some(self.line)).map_err(io::Error::other)
                }
                (None, Some(remote)) => self.layers.open_remote(remote, Some(self.line)).map_err(io::Error::other),
                (None, None) => {
                    Err(io::Error::new(io::ErrorKind::NotFound, format!("blob {} is gone", descriptor.digest)))
                }
            }
        };
        self.progress(&item, 0, Some(total), false);
        self.layers.client.push_blob(name, descriptor, &source, &mount_from, progress).map_err(registry_error)?;
        self.progress(&item, total, Some(total), true);
        Ok(())
    }

    fn progress(&self, item: &str, current: u64, total: Option<u64>, done: bool) {
        self.layers.events.send(Event::Progress { id: self.line, item: item.to_owned(), current, total, done });
    }
}
