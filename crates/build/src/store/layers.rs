//! Layers: what a step changed, in one or more forms.
use super::{Store, remove_tree};
use crate::error::{BuildError, Kind, Result};
use layer::Toc;
use oci::Digest;
use oci::media_type::Compression;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of a layer in the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct LayerId(String);

impl LayerId {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a step made it: its directory says all that its tar holds.
    pub(crate) fn is_of_step(&self) -> bool {
        self.0.contains('-')
    }

    /// The layer of a base image with this diff ID.
    pub(crate) fn of_diff(diff_id: &Digest) -> Self {
        Self(diff_id.hex().to_owned())
    }
}

impl TryFrom<String> for LayerId {
    type Error = String;
    fn try_from(text: String) -> std::result::Result<Self, String> {
        let fine = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if fine { Ok(Self(text)) } else { Err(format!("{text:?} is no layer ID")) }
    }
}

impl From<LayerId> for String {
    fn from(id: LayerId) -> Self {
        id.0
    }
}

/// The directory with a layer's files: with owners as the layer has them, fit for overlayfs, or with everything owned by
/// the user who unpacked it, fit for reading. The two must not stand for each other.
pub(crate) fn fs_name(real_owners: bool) -> &'static str {
    if real_owners { "fs" } else { "files" }
}

/// Makes the directory that will be the guest's `/`. Whatever the builder's umask, other users of the image may enter it.
pub(crate) fn create_root(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::create_dir(path).map_err(|e| BuildError::io("make", path, e))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(|e| BuildError::io("chmod", path, e))
}

/// A compressed form of a layer that lies in `blobs/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredBlob {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) compression: Compression,
    /// The level that was asked for; `None` for the default.
    pub(crate) level: Option<i32>,
}

/// What is known of a layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerMeta {
    /// Digest of the tar, once it was packed.
    pub(crate) diff_id: Option<Digest>,
    /// Bytes of the tar.
    pub(crate) tar_size: u64,
    /// When it was made: seconds since 1970.
    pub(crate) created: i64,
    /// Compressed forms.
    pub(crate) blobs: Vec<StoredBlob>,
    /// The time of whiteouts where it is not 1970, for a tar that is made from the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) whiteout_time: Option<i64>,
}

impl Store {
    fn layer_dir(&self, id: &LayerId) -> PathBuf {
        self.root.join("layers").join(id.as_str())
    }

    /// What is known of a layer; `None` where it is not in the store.
    pub(crate) fn layer(&self, id: &LayerId) -> Option<LayerMeta> {
        serde_json::from_slice(&fs::read(self.layer_dir(id).join("meta.json")).ok()?).ok()
    }

    /// The layer's files as a directory, where they were unpacked: see [`fs_name`].
    pub(crate) fn layer_fs(&self, id: &LayerId, real_owners: bool) -> Option<PathBuf> {
        let path = self.layer_dir(id).join(fs_name(real_owners));
        path.is_dir().then_some(path)
    }

    /// The layer's files in either directory form: the table of contents has the owners.
    pub(crate) fn layer_any_fs(&self, id: &LayerId) -> Option<PathBuf> {
        self.layer_fs(id, true).or_else(|| self.layer_fs(id, false))
    }

    /// The layer's plain tar, where there is one.
    pub(crate) fn layer_tar(&self, id: &LayerId) -> Option<PathBuf> {
        let path = self.layer_dir(id).join("tar");
        path.is_file().then_some(path)
    }

    /// A compressed form whose blob is really there.
    pub(crate) fn layer_blob(&self, meta: &LayerMeta) -> Option<StoredBlob> {
        meta.blobs.iter().find(|b| self.has_blob(&b.digest, b.size)).cloned()
    }

    /// The layer's table of contents, where it is stored.
    pub(crate) fn layer_toc(&self, id: &LayerId) -> Option<Arc<Toc>> {
        let bytes = fs::read(self.layer_dir(id).join("toc")).ok()?;
        Toc::from_bytes(&bytes).ok().map(Arc::new)
    }

    /// The layer with this diff ID.
    pub(crate) fn layer_of_diff(&self, diff_id: &Digest) -> Option<LayerId> {
        let text = fs::read_to_string(self.root.join("diffs").join(diff_id.hex())).ok()?;
        let id = LayerId::try_from(text).ok()?;
        self.layer(&id).map(|_| id)
    }

    /// Makes a layer from a directory of work in progress that holds `toc` and `fs` or `tar`. The directory is
    /// renamed; where a layer of this name is there already, that one is kept.
    pub(crate) fn add_layer(&self, id: &LayerId, work: &Path, meta: &LayerMeta, toc: &Toc) -> Result<()> {
        let io = |verb: &'static str| move |e: std::io::Error| BuildError::io(verb, work, e);
        fs::write(work.join("toc"), toc.to_bytes()).map_err(io("write"))?;
        let text = serde_json::to_vec(meta).map_err(|e| BuildError::new(Kind::Io, e.to_string()))?;
        fs::write(work.join("meta.json"), text).map_err(io("write"))?;
        let target = self.layer_dir(id);
        match self.publish(work, &target) {
            Ok(()) => {}
            Err(_) if target.join("meta.json").exists() => remove_tree(work),
            Err(e) => return Err(BuildError::io("make", &target, e)),
        }
        self.note_diff(id, meta)
    }

    /// Adds an unpacked directory to a layer that has none yet.
    pub(crate) fn add_layer_fs(&self, id: &LayerId, work: &Path, real_owners: bool) -> Result<PathBuf> {
        let target = self.layer_dir(id).join(fs_name(real_owners));
        match self.publish(work, &target) {
            Ok(()) => {}
            Err(_) if target.is_dir() => remove_tree(work),
            Err(e) => return Err(BuildError::io("make", &target, e)),
        }
        Ok(target)
    }

    /// Replaces what is known of a layer.
    pub(crate) fn update_layer(&self, id: &LayerId, change: impl FnOnce(&mut LayerMeta)) -> Result<LayerMeta> {
        let mut meta = self
            .layer(id)
            .ok_or_else(|| BuildError::new(Kind::Io, format!("layer {} is gone from the store", id.as_str())))?;
        change(&mut meta);
        let text = serde_json::to_vec(&meta).map_err(|e| BuildError::new(Kind::Io, e.to_string()))?;
        self.write(&self.layer_dir(id).join("meta.json"), &text)?;
        self.note_diff(id, &meta)?;
        Ok(meta)
    }

    fn note_diff(&self, id: &LayerId, meta: &LayerMeta) -> Result<()> {
        let Some(diff_id) = &meta.diff_id else { return Ok(()) };
        let path = self.root.join("diffs").join(diff_id.hex());
        if self.layer_of_diff(diff_id).is_some() {
            return Ok(());
        }
        self.write(&path, id.as_str().as_bytes())
    }

    /// A name for a new layer of a step.
    pub(crate) fn new_layer_id(&self, key: &crate::key::Key) -> LayerId {
        let unique = self.work.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let n = self.counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        LayerId(format!("{}-{nanos:x}-{unique}-{n}", &key.hex()[..16]))
    }
}
