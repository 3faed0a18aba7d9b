//! Small records: which layer a step made, what a name pointed to, which images were built.
use super::{LayerId, Store};
use crate::error::{BuildError, Kind, Result};
use crate::key::{Fields, Key};
use oci::{Descriptor, Digest, Index, Manifest, Reference};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fs;
use std::path::PathBuf;

/// The result of a step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StepRecord {
    /// The key that the steps after it build on: the step's content key.
    pub(crate) key: Key,
    /// What it changed; `None` where that is nothing.
    pub(crate) layer: Option<LayerId>,
    /// The step's line.
    pub(crate) name: String,
    /// What went into the key.
    pub(crate) fields: Fields,
    /// Seconds since 1970.
    pub(crate) created: i64,
}

/// What a name pointed to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NameRecord {
    /// The name; records of earlier versions have none.
    #[serde(default)]
    pub(crate) name: String,
    /// What the registry answered.
    pub(crate) descriptor: Descriptor,
    /// Seconds since 1970.
    pub(crate) seen: i64,
}

/// A built image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Its name.
    pub name: String,
    /// Its manifest or index, a blob of the store.
    pub descriptor: Descriptor,
    /// Seconds since 1970.
    pub created: i64,
}

impl Store {
    pub(super) fn record<T: DeserializeOwned>(&self, path: PathBuf) -> Option<T> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    fn put_record<T: Serialize>(&self, path: PathBuf, record: &T) -> Result<()> {
        let bytes = serde_json::to_vec(record).map_err(|e| BuildError::new(Kind::Io, e.to_string()))?;
        self.write(&path, &bytes)
    }

    fn step_path(&self, key: &Key) -> PathBuf {
        self.root.join("steps").join(format!("{}.json", key.hex()))
    }

    /// The record of a step, where its layer is still there.
    pub(crate) fn step(&self, key: &Key) -> Option<StepRecord> {
        let path = self.step_path(key);
        let record: StepRecord = self.record(path.clone())?;
        // The time of the file is that of the last use: collection takes the oldest.
        let _ = fs::File::open(&path).and_then(|file| file.set_modified(std::time::SystemTime::now()));
        match &record.layer {
            Some(id) => self.layer(id).map(|_| record),
            None => Some(record),
        }
    }

    /// The record of a step by the text of its key, without a use of it.
    pub(crate) fn step_of(&self, key: &str) -> Option<StepRecord> {
        let digest: Digest = key.parse().ok()?;
        self.record(self.root.join("steps").join(format!("{}.json", digest.hex())))
    }

    pub(crate) fn put_step(&self, key: &Key, record: &StepRecord) -> Result<()> {
        self.put_record(self.step_path(key), record)
    }

    fn hashed(&self, dir: &str, name: &str) -> PathBuf {
        self.root.join(dir).join(format!("{}.json", Digest::sha256(name.as_bytes()).hex()))
    }

    pub(crate) fn name(&self, name: &str) -> Option<NameRecord> {
        self.record(self.hashed("names", name))
    }

    pub(crate) fn put_name(&self, name: &str, record: &NameRecord) -> Result<()> {
        self.put_record(self.hashed("names", name), record)
    }

    /// Names of images that have this layer, as far as registries were asked for them.
    pub(crate) fn origins(&self, layer: &Digest) -> Vec<Reference> {
        let Ok(list) = fs::read_dir(self.root.join("names")) else { return Vec::new() };
        let mut records: Vec<NameRecord> = list.flatten().filter_map(|e| self.record(e.path())).collect();
        records.sort_by(|a, b| a.name.cmp(&b.name));
        let manifest = |descriptor: &Descriptor| -> Option<Manifest> {
            serde_json::from_slice(&self.read_blob(&descriptor.digest)?).ok()
        };
        let has = |descriptor: &Descriptor| {
            manifest(descriptor).is_some_and(|manifest| manifest.layers.iter().any(|l| l.digest == *layer))
        };
        let found = records.iter().filter(|record| {
            let index = oci::media_type::is_index(&record.descriptor.media_type)
                .then(|| serde_json::from_slice::<Index>(&self.read_blob(&record.descriptor.digest)?).ok())
                .flatten();
            match index {
                Some(index) => index.manifests.iter().any(has),
                None => has(&record.descriptor),
            }
        });
        found.filter_map(|record| record.name.parse().ok()).collect()
    }

    /// Names a built image.
    ///
    /// # Errors
    /// Where the record cannot be written.
    pub fn put_image(&self, record: &ImageRecord) -> Result<()> {
        self.put_record(self.hashed("images", &record.name), record)
    }

    /// The image that was built under this name (`registry/repository:tag`).
    #[must_use]
    pub fn image(&self, name: &str) -> Option<ImageRecord> {
        self.record(self.hashed("images", name))
    }

    /// All built images, by name.
    #[must_use]
    pub fn images(&self) -> Vec<ImageRecord> {
        let Ok(list) = fs::read_dir(self.root.join("images")) else { return Vec::new() };
        let mut images: Vec<ImageRecord> = list.flatten().filter_map(|e| self.record(e.path())).collect();
        images.sort_by(|a, b| a.name.cmp(&b.name));
        images
    }
}
