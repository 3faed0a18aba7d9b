//! An image read from wherever it lies: a layout, an archive of either kind, a registry.
use crate::command::{Error, Result, run, tool};
use crate::{ConfigFacts, Files, Registry, flatten};
use oci::layout::Layout;
use oci::{Descriptor, Digest, Index, media_type};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// An image: its config and where its layers are, lowest first.
#[derive(Debug, Clone)]
pub struct Image {
    /// The config's bytes, as they lie in the image.
    pub config: Vec<u8>,
    /// The manifest, where the image has one (an old `docker save` archive has not).
    pub manifest: Option<Value>,
    layers: Vec<PathBuf>,
    /// Holds what was unpacked for as long as the image is in use.
    _unpacked: Option<Arc<TempDir>>,
}

impl Image {
    /// From an image layout: the entry with this name or tag, or the only image there is.
    pub fn from_layout(directory: &Path, name: Option<&str>) -> Result<Self> {
        let at = || format!("{}", directory.display());
        let layout = Layout::open(directory).map_err(Error::at(at()))?;
        let index = layout.index().map_err(Error::at(at()))?;
        let entry = choose(&layout, &index, name).map_err(Error::at(at()))?;
        let manifest = layout.read_blob(&entry.digest).map_err(Error::at(at()))?;
        let manifest: Value = serde_json::from_slice(&manifest).map_err(Error::at(at()))?;
        let digest = |descriptor: &Value| -> Result<Digest> {
            descriptor["digest"].as_str().unwrap_or_default().parse().map_err(Error::at(at()))
        };
        // BuildKit writes `"layers": null` for an image without layers.
        let layers = manifest["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let layers = layers.iter().map(|layer| Ok(layout.blob_path(&digest(layer)?))).collect::<Result<_>>()?;
        let config = layout.read_blob(&digest(&manifest["config"])?).map_err(Error::at(at()))?;
        Ok(Self { config, manifest: Some(manifest), layers, _unpacked: None })
    }

    /// From a tar file that holds an image layout or what `docker save` writes.
    pub fn from_archive(file: &Path) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("testkit-image-").tempdir().map_err(Error::at("tempdir"))?;
        let tar = File::open(file).map_err(Error::at(file.display()))?;
        tar::Archive::new(BufReader::new(tar)).unpack(directory.path()).map_err(Error::at(file.display()))?;
        let image = if directory.path().join("oci-layout").exists() {
            Self::from_layout(directory.path(), None)?
        } else {
            Self::from_docker_directory(directory.path())?
        };
        Ok(image.keeping(directory))
    }

    /// From a registry, by `NAME[:TAG]` there.
    pub fn from_registry(registry: &Registry, name: &str) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("testkit-image-").tempdir().map_err(Error::at("tempdir"))?;
        let layout = directory.path().join("layout");
        registry.pull_layout(name, crate::bases::architecture(), &layout)?;
        Ok(Self::from_layout(&layout, None)?.keeping(directory))
    }

    /// From any reference that skopeo knows, such as `containers-storage:…`.
    pub fn from_skopeo(source: &str, options: &[&str]) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("testkit-image-").tempdir().map_err(Error::at("tempdir"))?;
        let layout = directory.path().join("layout");
        let target = format!("oci:{}", layout.display());
        run(tool("skopeo", "skopeo")?
            .args(["copy", "--quiet", "--insecure-policy"])
            .args(options)
            .args([source, &target]))?;
        Ok(Self::from_layout(&layout, None)?.keeping(directory))
    }

    /// Ties a directory that holds the image's blobs to its life.
    pub(crate) fn keeping(mut self, directory: TempDir) -> Self {
        self._unpacked = Some(Arc::new(directory));
        self
    }

    fn from_docker_directory(directory: &Path) -> Result<Self> {
        let path = directory.join("manifest.json");
        let bytes = fs::read(&path).map_err(Error::at(path.display()))?;
        let list: Value = serde_json::from_slice(&bytes).map_err(Error::at(path.display()))?;
        let text = |value: &Value| value.as_str().map(|name| directory.join(name));
        let wrong = || Error::new(format!("{}: not what docker save writes", path.display()));
        let config = text(&list[0]["Config"]).ok_or_else(wrong)?;
        let layers = list[0]["Layers"].as_array().ok_or_else(wrong)?;
        Ok(Self {
            config: fs::read(&config).map_err(Error::at(config.display()))?,
            manifest: None,
            layers: layers.iter().map(text).collect::<Option<_>>().ok_or_else(wrong)?,
            _unpacked: None,
        })
    }

    /// Each layer's tar, lowest first, inflated.
    pub fn layers(&self) -> impl Iterator<Item = Result<Box<dyn Read>>> {
        self.layers.iter().map(|path| open_layer(path).map_err(Error::at(path.display())))
    }

    /// The number of layers.
    #[must_use]
    pub fn layer_count(&self) -> usize {
        self.layers.len()
    }

    /// The image as one table of files.
    pub fn files(&self) -> Result<Files> {
        flatten(self.layers())
    }

    /// The image's config in comparable form.
    pub fn config_facts(&self) -> Result<ConfigFacts> {
        ConfigFacts::parse(&self.config)
    }

    /// The diff IDs of its config.
    #[must_use]
    pub fn diff_ids(&self) -> Vec<String> {
        let config: Value = serde_json::from_slice(&self.config).unwrap_or_default();
        let list = config["rootfs"]["diff_ids"].as_array().cloned().unwrap_or_default();
        list.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect()
    }
}

/// Follows indexes to the image of this machine's architecture; attestations are passed over.
fn choose(layout: &Layout, index: &Index, name: Option<&str>) -> io::Result<Descriptor> {
    let named = |entry: &&Descriptor| {
        name.is_none_or(|name| {
            entry.annotations.values().any(|value| value == name || value.ends_with(&format!(":{name}")))
        })
    };
    let runnable = |entry: &&Descriptor| {
        entry.platform.as_ref().is_none_or(|p| p.os == "linux" && p.architecture == crate::bases::architecture())
    };
    let none = || io::Error::new(io::ErrorKind::NotFound, format!("no image named {name:?} for this machine"));
    let entry = index.manifests.iter().filter(named).find(runnable).ok_or_else(none)?;
    if media_type::is_index(&entry.media_type) {
        let inner: Index = serde_json::from_slice(&layout.read_blob(&entry.digest)?)?;
        return choose(layout, &inner, None);
    }
    Ok(entry.clone())
}

/// By the bytes that it starts with, whatever the media type claims.
fn open_layer(path: &Path) -> io::Result<Box<dyn Read>> {
    let mut file = File::open(path)?;
    let mut magic = [0; 4];
    let read = file.read(&mut magic)?;
    file.rewind()?;
    let file = BufReader::new(file);
    Ok(match &magic[..read] {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::stream::read::Decoder::new(file)?),
        _ => Box::new(file),
    })
}
