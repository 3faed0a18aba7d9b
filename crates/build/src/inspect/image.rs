//! Finding an image, and opening its layers.
use super::archive::{Archive, DOCUMENT, not_an_image};
use crate::error::{BuildError, Kind, Result};
use crate::images::{registry_error, select_manifest};
use crate::source::oci_layout;
use crate::store::Store;
use oci::layout::Layout;
use oci::{Descriptor, Digest, Digester, ImageConfig, Index, Platform, Reference, media_type};
use serde::Deserialize;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageLocation {
    /// In the store, or else in its registry.
    Named(Reference),
    /// In an image layout.
    Layout {
        /// The layout's directory.
        path: PathBuf,
        /// The entry's name.
        tag: Option<String>,
        /// The entry's digest.
        digest: Option<Digest>,
    },
    /// In an archive: a layout, or what `docker save` writes.
    Archive(PathBuf),
}

/// What finding an image needs.
#[derive(Clone)]
pub struct OpenOptions<'a> {
    /// The store; without it names are asked of registries.
    pub store: Option<Arc<Store>>,
    /// Makes the client for registries, which is needed only where something is not here.
    pub client: &'a (dyn Fn() -> Result<registry::Client> + Sync),
    /// Which image of an index.
    pub platform: Platform,
    /// Ask the registry even where the store has the image.
    pub remote: bool,
}

impl std::fmt::Debug for OpenOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenOptions").field("platform", &self.platform).field("remote", &self.remote).finish()
    }
}

/// A layer of an image.
#[derive(Debug, Clone)]
pub struct OpenLayer {
    /// The digest of its tar.
    pub diff_id: Digest,
    /// Its blob; an archive of the old kind says nothing of it.
    pub descriptor: Option<Descriptor>,
    /// Where an archive of the old kind has it.
    member: Option<String>,
}

/// An image that was found.
#[derive(Debug, Clone)]
pub struct OpenImage {
    /// Its name, as a person would write it.
    pub name: String,
    /// The digest of its manifest; an archive of the old kind has none.
    pub digest: Option<Digest>,
    /// Its config.
    pub config: ImageConfig,
    /// The digest of its config.
    pub config_digest: Digest,
    /// Its layers, lowest first.
    pub layers: Vec<OpenLayer>,
    blobs: Blobs,
}

#[derive(Clone)]
enum Blobs {
    Store(Arc<Store>, Reference, Option<registry::Client>),
    Registry(registry::Client, Reference),
    Layout(Layout),
    Archive(Archive),
}

impl std::fmt::Debug for Blobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Store(..) => "Store",
            Self::Registry(..) => "Registry",
            Self::Layout(_) => "Layout",
            Self::Archive(_) => "Archive",
        })
    }
}

/// Finds an image.
///
/// # Errors
/// Where it is not there, is no image, or has nothing for the platform.
pub fn open(location: &ImageLocation, options: &OpenOptions<'_>) -> Result<OpenImage> {
    match location {
        ImageLocation::Named(name) => named(name, options),
        ImageLocation::Layout { path, tag, digest } => {
            let failed = |e: oci_layout::LayoutError| BuildError::new(Kind::Input, e.to_string()).caused_by(e);
            let (layout, top) = oci_layout::resolve(path, tag.as_deref(), digest.as_ref()).map_err(failed)?;
            // No path of the machine in what is written: only the directory's own name.
            let short = path.file_name().map_or_else(|| "layout".into(), |name| name.to_string_lossy());
            let name = entry_name(&top).unwrap_or_else(|| match tag {
                Some(tag) => format!("{short}:{tag}"),
                None => short.into_owned(),
            });
            let blobs = Blobs::Layout(layout);
            of_manifest(name, &top, blobs, &options.platform)
        }
        ImageLocation::Archive(path) => {
            let archive = Archive::open(path)?;
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            if archive.has("index.json") && archive.has("oci-layout") {
                let index: Index = serde_json::from_slice(&archive.document("index.json")?)
                    .map_err(|e| not_an_image(path, &format!("index.json: {e}")))?;
                let top = match index.manifests.as_slice() {
                    [] => return Err(not_an_image(path, "its index is empty")),
                    [only] => only.clone(),
                    many if many.iter().all(|entry| entry.digest == many[0].digest) => many[0].clone(),
                    _ => index.select(&options.platform).cloned().ok_or_else(|| {
                        not_an_image(path, &format!("it has several images and none for {}", options.platform))
                    })?,
                };
                let name = entry_name(&top).unwrap_or(name);
                return of_manifest(name, &top, Blobs::Archive(archive), &options.platform);
            }
            of_docker_archive(name, archive, path)
        }
    }
}

fn entry_name(entry: &Descriptor) -> Option<String> {
    let full: Reference = entry.annotations.get("io.containerd.image.name")?.parse().ok()?;
    Some(full.familiar())
}

fn named(name: &Reference, options: &OpenOptions<'_>) -> Result<OpenImage> {
    let full = name.clone().or_latest();
    if !options.remote
        && let Some(store) = &options.store
        && let Some(record) = store.image(&full.to_string())
    {
        // The client comes in only where the store lacks a layer that a build never needed.
        let blobs = Blobs::Store(Arc::clone(store), full.clone(), None);
        let mut image = of_manifest(full.familiar(), &record.descriptor, blobs, &options.platform)?;
        let missing =
            image.layers.iter().filter_map(|l| l.descriptor.as_ref()).any(|d| !store.has_blob(&d.digest, d.size));
        if missing {
            image.blobs = Blobs::Store(Arc::clone(store), full, Some((options.client)()?));
        }
        return Ok(image);
    }
    let client = (options.client)()?;
    let top = client.resolve(&full).map_err(registry_error).map_err(|e| e.context(full.familiar()))?;
    of_manifest(full.familiar(), &top, Blobs::Registry(client, full.clone()), &options.platform)
}

fn of_manifest(name: String, top: &Descriptor, blobs: Blobs, platform: &Platform) -> Result<OpenImage> {
    let load = |descriptor: &Descriptor| blobs.document(descriptor);
    let chosen = std::cell::RefCell::new(top.digest.clone());
    let manifest_of = |descriptor: &Descriptor| {
        chosen.replace(descriptor.digest.clone());
        match &blobs {
            Blobs::Registry(client, reference) => {
                let reference = reference.with_digest(descriptor.digest.clone());
                client.manifest(&reference).map(|fetched| fetched.bytes).map_err(registry_error)
            }
            _ => load(descriptor),
        }
    };
    let (manifest, config) = select_manifest(top, platform, &name, &manifest_of, &load)?;
    let config_digest = manifest.config.digest.clone();
    let config: ImageConfig = serde_json::from_slice(&config).map_err(|e| {
        BuildError::new(Kind::Remote, format!("{name}: failed to parse image config: {e}")).caused_by(e)
    })?;
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        let (config, manifest) = (diff_ids.len(), manifest.layers.len());
        let text = format!("{name}: the config lists {config} layers, the manifest {manifest}");
        return Err(BuildError::new(Kind::Remote, text).hint("an artifact that is no image has no packages"));
    }
    let layers = diff_ids.iter().zip(manifest.layers);
    let layers = layers.map(|(diff_id, d)| OpenLayer { diff_id: diff_id.clone(), descriptor: Some(d), member: None });
    let layers = layers.collect();
    Ok(OpenImage { name, digest: Some(chosen.into_inner()), config, config_digest, layers, blobs })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

fn of_docker_archive(name: String, archive: Archive, path: &std::path::Path) -> Result<OpenImage> {
    if !archive.has("manifest.json") {
        return Err(not_an_image(path, "it has neither index.json nor manifest.json"));
    }
    let wrong = |e: serde_json::Error| not_an_image(path, &format!("manifest.json: {e}"));
    let list: Vec<Saved> = serde_json::from_slice(&archive.document("manifest.json")?).map_err(wrong)?;
    let saved = match list.as_slice() {
        [only] => only,
        [] => return Err(not_an_image(path, "its manifest.json is empty")),
        many => {
            let names: Vec<String> = many.iter().flat_map(|s| s.repo_tags.clone().unwrap_or_default()).collect();
            let text = format!("{} holds {} images: {}", path.display(), many.len(), names.join(", "));
            return Err(BuildError::new(Kind::Input, text).hint("save one image alone"));
        }
    };
    let bytes = archive.document(&saved.config)?;
    let config: ImageConfig =
        serde_json::from_slice(&bytes).map_err(|e| not_an_image(path, &format!("{}: {e}", saved.config)))?;
    if config.rootfs.diff_ids.len() != saved.layers.len() {
        return Err(not_an_image(path, "its config and its manifest.json have different numbers of layers"));
    }
    let layers = config.rootfs.diff_ids.iter().zip(&saved.layers);
    let layers = layers
        .map(|(diff_id, m)| OpenLayer { diff_id: diff_id.clone(), descriptor: None, member: Some(m.clone()) })
        .collect();
    let name = saved.repo_tags.as_ref().and_then(|tags| tags.first().cloned()).unwrap_or(name);
    let config_digest = Digest::sha256(&bytes);
    Ok(OpenImage { name, digest: None, config, config_digest, layers, blobs: Blobs::Archive(archive) })
}

fn blob_member(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

impl Blobs {
    /// A manifest or a config, checked against its digest.
    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let digest = &descriptor.digest;
        match self {
            Self::Store(store, name, _) => store.read_blob(digest).ok_or_else(|| {
                BuildError::new(Kind::Io, format!("{}: the store has no blob {digest}", name.familiar()))
                    .hint("--remote asks the registry; or build the image again")
            }),
            Self::Registry(client, name) => client.blob_bytes(name, descriptor, DOCUMENT).map_err(registry_error),
            Self::Layout(layout) => layout
                .read_blob(digest)
                .map_err(|e| BuildError::new(Kind::Input, format!("the layout is not whole: {e}")).caused_by(e)),
            Self::Archive(archive) => {
                let bytes = archive.document(&blob_member(digest))?;
                let mut digester = Digester::like(digest);
                digester.update(&bytes);
                match digester.finish() {
                    actual if actual == *digest => Ok(bytes),
                    actual => Err(BuildError::new(
                        Kind::Input,
                        format!("the archive is damaged: blob {digest} has digest {actual}"),
                    )),
                }
            }
        }
    }
}

impl OpenImage {
    /// What it runs on.
    #[must_use]
    pub fn platform(&self) -> Platform {
        self.config.platform()
    }

    /// The compressed bytes of a layer, or the tar itself: the first bytes tell.
    ///
    /// # Errors
    /// Where they cannot be had.
    pub fn layer(&self, number: usize) -> Result<Box<dyn Read + Send>> {
        let layer = &self.layers[number];
        if let (Some(member), Blobs::Archive(archive)) = (&layer.member, &self.blobs) {
            return Ok(Box::new(archive.stream(member)?));
        }
        let Some(descriptor) = &layer.descriptor else {
            return Err(BuildError::new(Kind::Io, "a layer that is nowhere"));
        };
        let digest = &descriptor.digest;
        match &self.blobs {
            Blobs::Archive(archive) => Ok(Box::new(archive.stream(&blob_member(digest))?)),
            Blobs::Layout(layout) => {
                let path = layout.blob_path(digest);
                Ok(Box::new(File::open(&path).map_err(|e| BuildError::io("read", &path, e))?))
            }
            Blobs::Registry(client, name) => {
                client.blob(name, descriptor, registry::Progress::none()).map(boxed).map_err(registry_error)
            }
            Blobs::Store(store, name, client) => {
                if store.has_blob(digest, descriptor.size) {
                    let file = store.open_blob(digest).map_err(|e| BuildError::io("open", "a layer", e))?;
                    return Ok(Box::new(file));
                }
                let Some(client) = client else {
                    return Err(BuildError::new(Kind::Io, format!("the store lost layer {digest}")));
                };
                // A build fetches only the base layers that it needs; the others are where the base is.
                let origins = store.origins(digest);
                let mut failed = None;
                for origin in origins.iter().chain([name]) {
                    match client.blob(origin, descriptor, registry::Progress::none()) {
                        Ok(reader) => return Ok(boxed(reader)),
                        Err(error) => failed = failed.or(Some(error)),
                    }
                }
                let error = failed.map(registry_error);
                let error = error.unwrap_or_else(|| BuildError::new(Kind::Io, format!("layer {digest} is nowhere")));
                let text = format!("{}: the store has no layer {}", name.familiar(), digest.short());
                Err(error.context(text))
            }
        }
    }
}

fn boxed(reader: registry::BlobReader) -> Box<dyn Read + Send> {
    Box::new(reader)
}

/// Whether a layer is one that a registry need not have.
pub(super) fn is_foreign(layer: &OpenLayer) -> bool {
    let kind = layer.descriptor.as_ref().map_or("", |d| d.media_type.as_str());
    kind.contains("foreign") || kind.contains("nondistributable") || media_type::is_manifest(kind)
}
