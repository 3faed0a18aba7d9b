//! Finding images: in a registry, in the store, in an OCI layout.
use crate::error::{BuildError, Kind, Result};
use crate::event::{Event, Events, Outcome};
use crate::plan::{Images, ResolvedImage};
use crate::request::{BuildRequest, ContextSource};
use crate::store::{NameRecord, Store};
use crate::vertices::Vertices;
use oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference, media_type};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Manifests and configs above this are refused.
const LIMIT: u64 = 8 << 20;

/// The error of a registry with its hint.
pub(crate) fn registry_error(error: registry::Error) -> BuildError {
    if error.kind() == registry::ErrorKind::Cancelled {
        return BuildError::canceled();
    }
    let mut this = BuildError::new(Kind::Remote, error.to_string());
    if let Some(hint) = error.hint() {
        this = this.hint(hint);
    }
    this.caused_by(error)
}

type Slot = Option<std::result::Result<Arc<ResolvedImage>, Arc<BuildError>>>;

/// Resolves each image of a build once, several at a time.
pub(crate) struct ImageResolver<'a> {
    pub(crate) store: &'a Store,
    pub(crate) client: &'a registry::Client,
    pub(crate) request: &'a BuildRequest,
    pub(crate) events: &'a Events,
    pub(crate) vertices: &'a Vertices,
    known: Mutex<HashMap<(String, Platform), Slot>>,
    changed: Condvar,
}

impl<'a> ImageResolver<'a> {
    pub(crate) fn new(
        store: &'a Store,
        client: &'a registry::Client,
        request: &'a BuildRequest,
        events: &'a Events,
        vertices: &'a Vertices,
    ) -> Self {
        Self { store, client, request, events, vertices, known: Mutex::default(), changed: Condvar::new() }
    }

    fn fetch(&self, name: &str, platform: &Platform) -> Result<Arc<ResolvedImage>> {
        if let Some(key) = name.strip_prefix("context://") {
            return self.layout(key, platform).map(Arc::new);
        }
        let reference: Reference = name.parse().map_err(|e: oci::ReferenceError| {
            let error = BuildError::new(Kind::Dockerfile, format!("failed to parse stage name {name:?}: {}", e.why));
            match name.to_lowercase().parse::<Reference>() {
                Ok(_) if name.bytes().any(|b| b.is_ascii_uppercase()) => {
                    error.hint(format!("write {:?}", name.to_lowercase()))
                }
                _ => error,
            }
        })?;
        let reference = reference.or_latest();
        let line = format!("[internal] load metadata for {reference}");
        let id = self.vertices.start(self.events, &line, None, &[]);
        let result = self.registry_image(&reference, platform);
        let outcome = match &result {
            Ok(_) => Outcome::Done,
            Err(e) => Outcome::Failed(e.message().to_owned()),
        };
        self.vertices.end(self.events, id, outcome);
        result.map(Arc::new).map_err(|e| e.context(reference.familiar()))
    }

    fn registry_image(&self, reference: &Reference, platform: &Platform) -> Result<ResolvedImage> {
        let top = self.descriptor(reference)?;
        if let Some(check) = &self.request.base_check {
            let line = format!("[internal] verify signatures of {reference}");
            let id = self.vertices.start(self.events, &line, None, &[]);
            let verdict = (check.0)(reference, &top.digest);
            let outcome = verdict.as_ref().map_or_else(|why| Outcome::Failed(why.clone()), |()| Outcome::Done);
            self.vertices.end(self.events, id, outcome);
            verdict.map_err(|why| {
                BuildError::new(Kind::Input, format!("{} is refused: {why}", top.digest))
                    .hint("have the image signed, or change the policy; docs/signing.md describes both")
            })?;
        }
        let by_digest = reference.with_digest(top.digest.clone());
        let load = |descriptor: &Descriptor| self.manifest_bytes(&by_digest, descriptor);
        let blob = |descriptor: &Descriptor| -> Result<Vec<u8>> {
            if let Some(bytes) = self.store.read_blob(&descriptor.digest) {
                return Ok(bytes);
            }
            let bytes = self.client.blob_bytes(&by_digest, descriptor, LIMIT).map_err(registry_error)?;
            self.store.put_blob(&bytes)?;
            Ok(bytes)
        };
        let (manifest, config) = select_manifest(&top, platform, &reference.familiar(), &load, &blob)?;
        resolved(
            by_digest.to_string(),
            top.digest.clone(),
            manifest,
            &config,
            crate::plan::ImageOrigin::Registry(by_digest),
        )
    }

    /// What the reference points to: by digest from the store, by tag from the registry; a registry that cannot be
    /// reached is forgiven where the store knows what the tag pointed to.
    fn descriptor(&self, reference: &Reference) -> Result<Descriptor> {
        let name = reference.to_string();
        let known = self.store.name(&name).map(|r| r.descriptor);
        if reference.digest().is_some()
            && let Some(descriptor) = &known
        {
            return Ok(descriptor.clone());
        }
        match self.client.resolve(reference) {
            Ok(descriptor) => {
                if known.as_ref() != Some(&descriptor) {
                    let record =
                        NameRecord { name: name.clone(), descriptor: descriptor.clone(), seen: crate::time::now() };
                    self.store.put_name(&name, &record)?;
                }
                Ok(descriptor)
            }
            Err(error) => match known {
                Some(descriptor) if !self.request.pull && error.is_transient() => {
                    self.events.send(Event::Warning {
                        id: None,
                        message: format!(
                            "{error}; going on with {reference} as it was seen last ({})",
                            descriptor.digest
                        ),
                    });
                    Ok(descriptor)
                }
                _ => Err(registry_error(error)),
            },
        }
    }

    fn manifest_bytes(&self, by_digest: &Reference, descriptor: &Descriptor) -> Result<Vec<u8>> {
        if let Some(bytes) = self.store.read_blob(&descriptor.digest) {
            return Ok(bytes);
        }
        let reference = by_digest.with_digest(descriptor.digest.clone());
        let fetched = self.client.manifest(&reference).map_err(registry_error)?;
        self.store.put_blob(&fetched.bytes)?;
        Ok(fetched.bytes)
    }

    /// A named context that is an OCI layout.
    fn layout(&self, key: &str, platform: &Platform) -> Result<ResolvedImage> {
        let found = self.request.named_contexts.iter().find_map(|(name, source)| match source {
            ContextSource::OciLayout { path, tag, digest } if name == key => Some((path, tag, digest)),
            _ => None,
        });
        let Some((path, tag, digest)) = found else {
            return Err(BuildError::new(Kind::Input, format!("there is no OCI layout context named {key:?}")));
        };
        let layout_error = |e: crate::source::oci_layout::LayoutError| {
            BuildError::new(Kind::Input, format!("context {key}: {e}")).caused_by(e)
        };
        let (layout, top) =
            crate::source::oci_layout::resolve(path, tag.as_deref(), digest.as_ref()).map_err(layout_error)?;
        let load = |descriptor: &Descriptor| {
            layout
                .read_blob(&descriptor.digest)
                .map_err(|e| BuildError::new(Kind::Input, format!("context {key}: {e}")).caused_by(e))
        };
        let (manifest, config) = select_manifest(&top, platform, key, &load, &load)?;
        let name = format!("{key}@{}", top.digest);
        resolved(name, top.digest.clone(), manifest, &config, crate::plan::ImageOrigin::Layout(path_of(path)))
    }
}

fn path_of(path: &Path) -> PathBuf {
    path.to_owned()
}

/// Follows indexes to the manifest for a platform, and reads its config.
pub(crate) fn select_manifest(
    top: &Descriptor,
    platform: &Platform,
    name: &str,
    load: &dyn Fn(&Descriptor) -> Result<Vec<u8>>,
    blob: &dyn Fn(&Descriptor) -> Result<Vec<u8>>,
) -> Result<(Manifest, Vec<u8>)> {
    let mut descriptor = top.clone();
    for _ in 0..4 {
        let bytes = load(&descriptor)?;
        let value: serde_json::Value = parse(&bytes, name)?;
        let is_index = media_type::is_index(&descriptor.media_type)
            || value.get("mediaType").and_then(|m| m.as_str()).is_some_and(media_type::is_index)
            || value.get("manifests").is_some();
        if !is_index {
            if value.get("schemaVersion").and_then(serde_json::Value::as_u64) == Some(1) {
                return Err(BuildError::new(
                    Kind::Remote,
                    format!("{name} has a manifest of Docker's schema 1, which nobody should use any more"),
                )
                .hint("push the image again with a current tool"));
            }
            let manifest: Manifest = parse(&bytes, name)?;
            if let Some(kind) = &manifest.artifact_type
                && manifest.config.media_type == media_type::OCI_EMPTY
            {
                return Err(BuildError::new(
                    Kind::Remote,
                    format!("{name} is no image but an artifact of type {kind}"),
                ));
            }
            let config = blob(&manifest.config)?;
            return Ok((manifest, config));
        }
        let index: Index = parse(&bytes, name)?;
        descriptor = index.select(platform).cloned().ok_or_else(|| {
            let offered: Vec<String> = index
                .manifests
                .iter()
                .filter_map(|m| m.platform.as_ref())
                .filter(|p| p.os != "unknown")
                .map(ToString::to_string)
                .collect();
            BuildError::new(Kind::Remote, format!("no match for platform {platform} in the image's index"))
                .hint(format!("it has these platforms: {}", offered.join(", ")))
        })?;
    }
    Err(BuildError::new(Kind::Remote, format!("{name}: indexes are nested too deep")))
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8], name: &str) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|e| BuildError::new(Kind::Remote, format!("{name}: not a valid image manifest: {e}")).caused_by(e))
}

fn resolved(
    name: String,
    digest: Digest,
    manifest: Manifest,
    config: &[u8],
    origin: crate::plan::ImageOrigin,
) -> Result<ResolvedImage> {
    let config: ImageConfig = serde_json::from_slice(config).map_err(|e| {
        BuildError::new(Kind::Remote, format!("{name}: failed to parse image config: {e}")).caused_by(e)
    })?;
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        return Err(BuildError::new(
            Kind::Remote,
            format!("{name}: the config lists {} layers, the manifest {}", diff_ids.len(), manifest.layers.len()),
        )
        .hint("the image was put together wrongly: ask whoever pushed it to build it again"));
    }
    let layers = diff_ids.iter().cloned().zip(manifest.layers).collect();
    Ok(ResolvedImage { name, digest, config, layers, origin })
}

impl Images for ImageResolver<'_> {
    fn resolve(&self, name: &str, platform: &Platform) -> Result<Arc<ResolvedImage>> {
        let key = (name.to_owned(), platform.clone());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match known.get(&key) {
                None => break,
                Some(Some(Ok(image))) => return Ok(Arc::clone(image)),
                Some(Some(Err(error))) => return Err(error.duplicate()),
                Some(None) => known = self.changed.wait(known).unwrap_or_else(PoisonError::into_inner),
            }
        }
        known.insert(key.clone(), None);
        drop(known);
        let result = self.fetch(name, platform).map_err(Arc::new);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(key, Some(result.clone()));
        self.changed.notify_all();
        result.map_err(|e| e.duplicate())
    }

    fn prefetch(&self, names: &[(String, Platform)]) {
        if names.len() < 2 {
            return;
        }
        std::thread::scope(|scope| {
            for (name, platform) in names.iter().take(16) {
                // The error, if there is one, comes again when the stage asks, with its place.
                scope.spawn(move || drop(self.resolve(name, platform)));
            }
        });
    }
}
