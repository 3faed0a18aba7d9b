//! How much the store holds, and taking away what is old.
//!
//! A layer is kept by the step records that name it, and by its age: base layers have no record. A blob is kept by
//! the layers, the built images and the names that refer to it. Collection needs the store for itself, so that it
//! never takes what a running build holds; it removes records before layers and layers before blobs, so that one
//! that is interrupted leaves nothing that points nowhere.
use super::{ImageRecord, LayerId, LayerMeta, NameRecord, StepRecord, Store, remove_tree};
use crate::error::{BuildError, Kind, Result};
use oci::{Digest, Index, Manifest, media_type};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// How much lies in one part of a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    /// How many objects.
    pub count: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// What a store holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Records of steps.
    pub steps: Part,
    /// Layers: directories, tars and tables of contents.
    pub layers: Part,
    /// Compressed layers, manifests, configs.
    pub blobs: Part,
    /// Cache mounts.
    pub mounts: Part,
    /// Records of builds, and lists of the files that they read.
    pub history: Part,
}

impl Usage {
    /// All of it, in bytes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.steps.bytes + self.layers.bytes + self.blobs.bytes + self.mounts.bytes + self.history.bytes
    }
}

/// One cached step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedStep {
    /// The first digits of its key.
    pub key: String,
    /// Its line of progress.
    pub name: String,
    /// When it was run: seconds since 1970.
    pub created: i64,
    /// When it was used last: seconds since 1970.
    pub used: i64,
    /// Bytes of its layer on disk.
    pub bytes: u64,
}

/// What to take away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrunePolicy {
    /// Everything that is no built image.
    pub all: bool,
    /// What was not used for this many seconds.
    pub unused_for: Option<i64>,
    /// The least recently used, until the store is no larger than this.
    pub max_bytes: Option<u64>,
    /// Cache mounts, too.
    pub mounts: bool,
    /// Say what would go, and take nothing.
    pub dry_run: bool,
}

/// What went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Steps.
    pub steps: u64,
    /// Layers.
    pub layers: u64,
    /// Blobs.
    pub blobs: u64,
    /// Cache mounts.
    pub mounts: u64,
    /// Records of builds.
    pub builds: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// A layer while it is decided on.
struct Layer {
    id: LayerId,
    meta: LayerMeta,
    bytes: u64,
    used: i64,
}

impl Store {
    /// How much the store holds.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let part = |name: &str| {
            let mut part = Part::default();
            for entry in list(&self.root().join(name)) {
                part.count += 1;
                part.bytes += disk_use(&entry);
            }
            part
        };
        let (builds, files) = (part("builds"), part("files"));
        let history = Part { count: builds.count, bytes: builds.bytes + files.bytes };
        Usage {
            history,
            steps: part("steps"),
            layers: part("layers"),
            blobs: part("blobs/sha256"),
            mounts: part("mounts"),
        }
    }

    /// The cached steps, the most recently used first.
    #[must_use]
    pub fn cached_steps(&self) -> Vec<CachedStep> {
        let mut steps: BTreeMap<String, CachedStep> = BTreeMap::new();
        for (path, record) in self.records::<StepRecord>("steps") {
            let key = record.key.hex()[..12].to_owned();
            let used = modified(&path);
            let bytes = record.layer.as_ref().map_or(0, |id| disk_use(&self.root().join("layers").join(id.as_str())));
            let step = CachedStep { key: key.clone(), name: record.name, created: record.created, used, bytes };
            // Definition keys are other names of the same step.
            match steps.get_mut(&key) {
                Some(known) => known.used = known.used.max(used),
                None => drop(steps.insert(key, step)),
            }
        }
        let mut steps: Vec<CachedStep> = steps.into_values().collect();
        steps.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.key.cmp(&b.key)));
        steps
    }

    /// Takes away what the policy says. The store must have been opened with [`Store::open_exclusive`].
    ///
    /// # Errors
    /// Where files cannot be removed.
    pub fn prune(&self, policy: &PrunePolicy) -> Result<Pruned> {
        let now = crate::time::now();
        let mut pruned = Pruned::default();
        let too_old = |used: i64| policy.all || policy.unused_for.is_some_and(|limit| now - used >= limit);

        // Which layers go: those that nothing young refers to, then the oldest until the rest is small enough.
        let records = self.records::<StepRecord>("steps");
        let mut last_use: BTreeMap<LayerId, i64> = BTreeMap::new();
        for (path, record) in &records {
            if let Some(id) = &record.layer {
                let used = last_use.entry(id.clone()).or_insert(i64::MIN);
                *used = (*used).max(modified(path));
            }
        }
        let mut layers: Vec<Layer> = Vec::new();
        for path in list(&self.root().join("layers")) {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let Ok(id) = LayerId::try_from(name) else { continue };
            let meta = self.layer(&id).unwrap_or_default();
            let used = last_use.get(&id).copied().unwrap_or_else(|| modified(&path));
            let blobs: u64 = meta.blobs.iter().map(|b| b.size).sum();
            layers.push(Layer { bytes: disk_use(&path) + blobs, used, id, meta });
        }
        layers.sort_by_key(|l| l.used);
        let mut total = self.usage().total();
        let mut gone: BTreeSet<LayerId> = BTreeSet::new();
        for layer in &layers {
            if too_old(layer.used) || policy.max_bytes.is_some_and(|limit| total > limit) {
                total = total.saturating_sub(layer.bytes);
                gone.insert(layer.id.clone());
            }
        }
        let mut remove = |path: &Path, bytes: u64| {
            pruned.bytes += bytes;
            if !policy.dry_run {
                remove_tree(path);
                if path.is_file() {
                    let _ = fs::remove_file(path);
                }
            }
        };
        for (path, record) in &records {
            let orphan = record.layer.as_ref().is_some_and(|id| gone.contains(id));
            if orphan || (record.layer.is_none() && too_old(modified(path))) {
                remove(path, disk_use(path));
                pruned.steps += 1;
            }
        }
        for layer in layers.iter().filter(|l| gone.contains(&l.id)) {
            if let Some(diff_id) = &layer.meta.diff_id {
                let link = self.root().join("diffs").join(diff_id.hex());
                if fs::read_to_string(&link).is_ok_and(|id| id == layer.id.as_str()) {
                    remove(&link, 0);
                }
            }
            let path = self.root().join("layers").join(layer.id.as_str());
            remove(&path, disk_use(&path));
            pruned.layers += 1;
        }
        // Blobs that nothing refers to any more.
        let mut kept: BTreeSet<Digest> = self.image_blobs();
        for layer in layers.iter().filter(|l| !gone.contains(&l.id)) {
            kept.extend(layer.meta.blobs.iter().map(|b| b.digest.clone()));
        }
        let names = self.records::<NameRecord>("names");
        for (path, record) in &names {
            if too_old(record.seen) {
                remove(path, disk_use(path));
            } else {
                self.keep_manifest(&record.descriptor.digest, &record.descriptor.media_type, false, &mut kept);
            }
        }
        for path in list(&self.root().join("blobs/sha256")) {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let known = format!("sha256:{name}").parse::<Digest>().is_ok_and(|d| kept.contains(&d));
            if !known {
                remove(&path, disk_use(&path));
                pruned.blobs += 1;
            }
        }
        // What was built here is known for as long as its results would be kept: `all` is about results.
        for (dir, records) in [("builds", 1), ("files", 0)] {
            for path in list(&self.root().join(dir)) {
                if policy.unused_for.is_some_and(|limit| now - modified(&path) >= limit) {
                    remove(&path, disk_use(&path));
                    pruned.builds += records;
                }
            }
        }
        if policy.mounts {
            for path in list(&self.root().join("mounts")) {
                remove(&path, disk_use(&path));
                pruned.mounts += 1;
            }
        }
        Ok(pruned)
    }

    /// Everything that the built images need.
    fn image_blobs(&self) -> BTreeSet<Digest> {
        let mut kept = BTreeSet::new();
        for (_, record) in self.records::<ImageRecord>("images") {
            self.keep_manifest(&record.descriptor.digest, &record.descriptor.media_type, true, &mut kept);
        }
        kept
    }

    /// A manifest or index and what it refers to; layers only where the image is our own.
    fn keep_manifest(&self, digest: &Digest, kind: &str, layers: bool, kept: &mut BTreeSet<Digest>) {
        if !kept.insert(digest.clone()) && !layers {
            return;
        }
        let Some(bytes) = self.read_blob(digest) else { return };
        if media_type::is_index(kind) {
            let Ok(index) = serde_json::from_slice::<Index>(&bytes) else { return };
            for entry in &index.manifests {
                self.keep_manifest(&entry.digest, &entry.media_type, layers, kept);
            }
        } else if let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes) {
            kept.insert(manifest.config.digest);
            if layers {
                kept.extend(manifest.layers.into_iter().map(|l| l.digest));
            }
        }
    }

    fn records<T: DeserializeOwned>(&self, dir: &str) -> Vec<(std::path::PathBuf, T)> {
        list(&self.root().join(dir))
            .into_iter()
            .filter_map(|path| Some((path.clone(), serde_json::from_slice(&fs::read(&path).ok()?).ok()?)))
            .collect()
    }

    /// Forgets a built image; its blobs go with the next [`Store::prune`].
    ///
    /// # Errors
    /// Where there is no image of this name.
    pub fn forget_image(&self, name: &str) -> Result<()> {
        for (path, record) in self.records::<ImageRecord>("images") {
            if record.name == name {
                return fs::remove_file(&path).map_err(|e| BuildError::io("remove", &path, e));
            }
        }
        Err(BuildError::new(Kind::Input, format!("there is no image {name} in the store"))
            .hint("`cooperage image ls` lists the images"))
    }
}

/// The entries of a directory, sorted; none where it cannot be read.
fn list(dir: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<_> = entries.flatten().map(|e| e.path()).collect();
    paths.sort();
    paths
}

fn modified(path: &Path) -> i64 {
    use std::os::unix::fs::MetadataExt;
    fs::symlink_metadata(path).map_or(0, |m| m.mtime())
}

/// Bytes that a file or tree takes on disk.
fn disk_use(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    let own = meta.blocks() * 512;
    if meta.is_dir() { own + list(path).iter().map(|p| disk_use(p)).sum::<u64>() } else { own }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyBuilder;

    fn store_with_steps(dir: &Path, count: usize) -> Store {
        let store = Store::open_exclusive(dir).unwrap();
        for n in 0..count {
            let (key, fields) = KeyBuilder::new(&format!("step {n}")).finish();
            let id = store.new_layer_id(&key);
            let work = store.scratch_dir("layer").unwrap();
            fs::create_dir(work.join("fs")).unwrap();
            fs::write(work.join("fs/file"), vec![1; 64 << 10]).unwrap();
            let digest = store.put_blob(format!("blob {n}").as_bytes()).unwrap();
            let blob = crate::store::StoredBlob {
                digest,
                size: 6,
                compression: oci::media_type::Compression::Gzip,
                level: None,
            };
            let meta = LayerMeta { created: 1, blobs: vec![blob], ..LayerMeta::default() };
            store.add_layer(&id, &work, &meta, &layer::Toc::default()).unwrap();
            let record =
                StepRecord { key: key.clone(), layer: Some(id), name: format!("step {n}"), fields, created: 1 };
            store.put_step(&key, &record).unwrap();
            let path = list(&store.root().join("steps")).into_iter().find(|p| p.to_string_lossy().contains(key.hex()));
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000 + n as u64);
            fs::File::open(path.unwrap()).unwrap().set_modified(time).unwrap();
        }
        store
    }

    #[test]
    fn all_goes_with_all() {
        let dir = tempfile::tempdir().unwrap();
        let store = store_with_steps(dir.path(), 3);
        let dry = store.prune(&PrunePolicy { all: true, dry_run: true, ..PrunePolicy::default() }).unwrap();
        assert_eq!((dry.steps, dry.layers, dry.blobs), (3, 3, 3));
        assert_eq!(store.cached_steps().len(), 3);
        let pruned = store.prune(&PrunePolicy { all: true, ..PrunePolicy::default() }).unwrap();
        assert_eq!(pruned, dry);
        let left = store.usage();
        assert_eq!((left.steps.count, left.layers.count, left.blobs.count), (0, 0, 0));
    }

    #[test]
    fn the_least_recently_used_go_first() {
        let dir = tempfile::tempdir().unwrap();
        let store = store_with_steps(dir.path(), 4);
        let total = store.usage().total();
        let one = disk_use(&list(&store.root().join("layers"))[0]);
        let policy = PrunePolicy { max_bytes: Some(total - one), ..PrunePolicy::default() };
        let pruned = store.prune(&policy).unwrap();
        assert_eq!(pruned.layers, 1);
        let names: Vec<String> = store.cached_steps().into_iter().map(|s| s.name).collect();
        assert_eq!(names, ["step 3", "step 2", "step 1"]);
    }

    #[test]
    fn blobs_of_images_stay() {
        let dir = tempfile::tempdir().unwrap();
        let store = store_with_steps(dir.path(), 1);
        let layer = store.put_blob(b"blob 0").unwrap();
        let config = oci::Descriptor::of(media_type::OCI_CONFIG, b"{}");
        store.put_blob(b"{}").unwrap();
        let manifest =
            Manifest::new(config, vec![oci::Descriptor::new(media_type::OCI_LAYER_GZIP, layer.clone(), 6)], true);
        let bytes = serde_json::to_vec(&manifest).unwrap();
        store.put_blob(&bytes).unwrap();
        let descriptor = oci::Descriptor::of(media_type::OCI_MANIFEST, &bytes);
        let record = ImageRecord { name: "localhost/a:b".to_owned(), descriptor, created: 1 };
        store.put_image(&record).unwrap();
        store.prune(&PrunePolicy { all: true, ..PrunePolicy::default() }).unwrap();
        assert!(store.has_blob(&layer, 6));
        store.forget_image("localhost/a:b").unwrap();
        store.prune(&PrunePolicy { all: true, ..PrunePolicy::default() }).unwrap();
        assert_eq!(store.usage().blobs.count, 0);
    }

    #[test]
    fn a_store_in_use_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let _build = Store::open(dir.path()).unwrap();
        let error = Store::open_exclusive(dir.path()).unwrap_err();
        assert!(error.message().contains("in use by a build"), "{error}");
    }
}
