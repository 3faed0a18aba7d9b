//! Attestations in an image's index, as BuildKit stores them: one manifest for each image, whose layers are in-toto
//! statements, listed behind the images with the platform `unknown/unknown`.
//!
//! The manifest names its image as `subject`, too, so that registries list it among the image's referrers (OCI 1.1).
//! Source: BuildKit, `docs/attestations/attestation-storage.md`.
use crate::image::BuiltImage;
use attest::statement::{MEDIA_TYPE, Statement};
use oci::{Descriptor, Digest, Manifest, Platform, media_type};

/// What BuildKit's readers look for.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
const ARTIFACT_TYPE: &str = "application/vnd.docker.attestation.manifest.v1+json";

/// An attestation manifest with its blobs.
#[derive(Debug, Clone)]
pub(crate) struct Attached {
    /// As the index lists it.
    pub(crate) descriptor: Descriptor,
    pub(crate) manifest: Vec<u8>,
    /// Config and statements.
    pub(crate) blobs: Vec<(Descriptor, Vec<u8>)>,
    /// What it says.
    pub(crate) statements: Vec<Statement>,
}

impl Attached {
    /// The attestation manifest of an image. With `artifact` its config is the empty object (BuildKit's
    /// `oci-artifact=true`); else a config in the shape of an image's, which old registries insist on.
    pub(crate) fn new(image: &BuiltImage, statements: Vec<Statement>, artifact: bool) -> Self {
        let mut layers = Vec::new();
        for statement in &statements {
            let bytes = statement.to_bytes();
            let mut descriptor = Descriptor::of(MEDIA_TYPE, &bytes);
            descriptor.annotations.insert("in-toto.io/predicate-type".into(), statement.predicate_type.clone());
            layers.push((descriptor, bytes));
        }
        let config = if artifact {
            (Descriptor::of(media_type::OCI_EMPTY, b"{}"), b"{}".to_vec())
        } else {
            let diff_ids: Vec<&Digest> = layers.iter().map(|(d, _)| &d.digest).collect();
            let config = serde_json::json!({
                "architecture": "unknown",
                "os": "unknown",
                "config": {},
                "rootfs": { "type": "layers", "diff_ids": diff_ids },
            });
            let bytes = config.to_string().into_bytes();
            (Descriptor::of(media_type::OCI_CONFIG, &bytes), bytes)
        };
        let mut manifest = Manifest::new(config.0.clone(), layers.iter().map(|(d, _)| d.clone()).collect(), true);
        manifest.artifact_type = Some(ARTIFACT_TYPE.to_owned());
        let about = &image.descriptor;
        manifest.subject = Some(Descriptor::new(&about.media_type, about.digest.clone(), about.size));
        let bytes = serde_json::to_vec_pretty(&manifest).unwrap_or_default();
        let mut descriptor = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
        descriptor.annotations = [
            (REFERENCE_DIGEST.to_owned(), about.digest.to_string()),
            (REFERENCE_TYPE.to_owned(), "attestation-manifest".to_owned()),
        ]
        .into();
        descriptor.platform = Some(Platform::new("unknown", "unknown", None));
        let mut blobs = vec![config];
        blobs.extend(layers);
        Self { descriptor, manifest: bytes, blobs, statements }
    }
}
