//! `type=registry`: an OCI manifest whose config is the document and whose layers are those of the steps.
//!
//! A document that is small travels in the `data` field of the config's descriptor as well: then an import is one
//! request. The blob itself is there too, as registries demand.
use super::{CacheStore, DOCUMENT_LIMIT, Open, document, unusable};
use crate::cache::document::Document;
use crate::error::Result;
use crate::images::registry_error;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::{Descriptor, Index, Manifest, Reference, media_type};
use registry::{Client, ErrorKind, Progress};
use std::io::{self, Cursor, Read};

/// Documents up to this size stand in the manifest. Registries take manifests of 4 MiB.
const EMBEDDED: usize = 512 << 10;

/// Manifests that an index may lead to.
const MANIFESTS: usize = 32;

pub(super) struct RegistryCache {
    client: Client,
    reference: Reference,
}

impl RegistryCache {
    pub(super) fn new(client: &Client, reference: &Reference) -> Self {
        Self { client: client.clone(), reference: reference.clone().or_latest() }
    }

    fn of_manifest(&self, bytes: &[u8]) -> Result<Option<Document>> {
        let manifest = parse(bytes)?;
        let config = |manifest: &Manifest| -> Result<Vec<u8>> {
            match embedded(&manifest.config) {
                Some(bytes) => Ok(bytes),
                None => {
                    self.client.blob_bytes(&self.reference, &manifest.config, DOCUMENT_LIMIT).map_err(registry_error)
                }
            }
        };
        of_manifest(&manifest, &config)
    }
}

/// The document of a manifest: a cache's own, or that of an image with an inline cache.
pub(super) fn of_manifest(
    manifest: &Manifest,
    config: &dyn Fn(&Manifest) -> Result<Vec<u8>>,
) -> Result<Option<Document>> {
    if matches!(manifest.config.media_type.as_str(), media_type::OCI_CONFIG | media_type::DOCKER_CONFIG) {
        return Document::inline(manifest, &config(manifest)?).map_err(unusable);
    }
    Document::check_type(manifest).map_err(unusable)?;
    Document::parse(&config(manifest)?).map(Some).map_err(unusable)
}

/// The manifest of a document.
pub(super) fn manifest_of(document: &Document, oci: bool) -> (Manifest, Vec<u8>) {
    let bytes = document.to_bytes();
    let mut config = Descriptor::of(document::MEDIA_TYPE, &bytes);
    if bytes.len() <= EMBEDDED {
        config.data = Some(STANDARD.encode(&bytes));
    }
    (Manifest::new(config, document.blobs(), oci), bytes)
}

pub(super) fn parse(bytes: &[u8]) -> Result<Manifest> {
    serde_json::from_slice(bytes).map_err(|e| unusable(format!("its manifest is damaged ({e})")))
}

/// The content that a descriptor carries, where that is what it says.
pub(super) fn embedded(descriptor: &Descriptor) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(descriptor.data.as_ref()?).ok()?;
    (oci::Digest::sha256(&bytes) == descriptor.digest).then_some(bytes)
}

impl CacheStore for RegistryCache {
    fn name(&self) -> String {
        format!("registry {}", self.reference.familiar())
    }

    fn load(&self) -> Result<Vec<Document>> {
        let fetched = match self.client.manifest(&self.reference) {
            Ok(fetched) => fetched,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(registry_error(error)),
        };
        if !media_type::is_index(&fetched.media_type) {
            return Ok(self.of_manifest(&fetched.bytes)?.into_iter().collect());
        }
        // An image for several platforms, each with its inline cache.
        let index: Index =
            serde_json::from_slice(&fetched.bytes).map_err(|e| unusable(format!("its index is damaged ({e})")))?;
        let mut documents = Vec::new();
        let images = index.manifests.iter().filter(|d| media_type::is_manifest(&d.media_type));
        let images = images.filter(|d| d.platform.as_ref().is_none_or(|p| p.os != "unknown"));
        for descriptor in images.take(MANIFESTS) {
            let reference = self.reference.with_digest(descriptor.digest.clone());
            let fetched = self.client.manifest(&reference).map_err(registry_error)?;
            documents.extend(self.of_manifest(&fetched.bytes)?);
        }
        Ok(documents)
    }

    fn open(&self, blob: &Descriptor, progress: Progress) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.client.blob(&self.reference, blob, progress).map_err(registry_error)?))
    }

    fn repository(&self) -> Option<&Reference> {
        Some(&self.reference)
    }

    fn put(&self, blob: &Descriptor, open: Open<'_>, from: &[Reference], progress: Progress) -> Result<()> {
        self.client.push_blob(&self.reference, blob, open, from, progress).map(drop).map_err(registry_error)
    }

    fn commit(&self, document: &Document, oci: bool) -> Result<()> {
        let (manifest, config) = manifest_of(document, oci);
        let open = || -> io::Result<Box<dyn Read + Send>> { Ok(Box::new(Cursor::new(config.clone()))) };
        let mut plain = manifest.config.clone();
        plain.data = None;
        self.put(&plain, &open, &[], Progress::none())?;
        let bytes = serde_json::to_vec(&manifest).map_err(|e| unusable(e.to_string()))?;
        let kind = if oci { media_type::OCI_MANIFEST } else { media_type::DOCKER_MANIFEST };
        self.client.push_manifest(&self.reference, kind, &bytes).map(drop).map_err(registry_error)
    }
}
