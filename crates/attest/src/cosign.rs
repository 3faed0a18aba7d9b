//! cosign's objects in a registry: what is signed, where it lies, and whether it holds.
//!
//! A signature is a layer of the manifest under the tag `sha256-HEX.sig`: a "simple signing" document that names the
//! image's digest, with the signature over it in an annotation. An attestation is a layer of `sha256-HEX.att`: a DSSE
//! envelope. A bundle (both in one) is a manifest with the image as `subject`.
//! Source: `cosign/specs/SIGNATURE_SPEC.md`, `ATTESTATION_SPEC.md`, `BUNDLE_SPEC.md`.
use crate::bundle::{self, Bundle};
use crate::dsse::Envelope;
use crate::key::{KeyError, PrivateKey, PublicKey};
use crate::statement::{Statement, Subject};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oci::{Descriptor, Digest, Manifest, media_type};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A "simple signing" document.
pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// A DSSE envelope.
pub const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
/// The annotation that holds the signature of a layer.
pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The annotation of a layer that was signed by an identity.
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
/// What a document says it is.
const KIND: &str = "cosign container image signature";

/// The tag under which signatures (`sig`) or attestations (`att`) of an image lie.
#[must_use]
pub fn tag(digest: &Digest, suffix: &str) -> String {
    format!("{}-{}.{suffix}", digest.algorithm(), digest.hex())
}

/// An object to be stored: what it is, and its bytes.
#[derive(Debug, Clone)]
pub struct Blob {
    /// Type, digest, size, and the annotations that the manifest gives it.
    pub descriptor: Descriptor,
    /// The content.
    pub bytes: Vec<u8>,
}

impl Blob {
    fn new(kind: &str, bytes: Vec<u8>) -> Self {
        Self { descriptor: Descriptor::of(kind, &bytes), bytes }
    }
}

/// A signature of an image: the layer of `sha256-HEX.sig`. `repository` is the image's name without a tag.
///
/// # Errors
/// Where there are no random numbers.
pub fn signature(
    key: &PrivateKey,
    repository: &str,
    digest: &Digest,
    annotations: &BTreeMap<String, String>,
) -> Result<Blob, KeyError> {
    let optional = if annotations.is_empty() { Value::Null } else { json!(annotations) };
    let payload = json!({
        "critical": {
            "identity": { "docker-reference": repository },
            "image": { "docker-manifest-digest": digest },
            "type": KIND,
        },
        "optional": optional,
    });
    let bytes = payload.to_string().into_bytes();
    let signature = STANDARD.encode(key.sign(&bytes)?);
    let mut blob = Blob::new(SIMPLE_SIGNING, bytes);
    blob.descriptor.annotations.insert(SIGNATURE.to_owned(), signature);
    Ok(blob)
}

/// An attestation: the layer of `sha256-HEX.att`.
///
/// # Errors
/// Where there are no random numbers.
pub fn attestation(key: &PrivateKey, statement: &Statement) -> Result<Blob, KeyError> {
    let mut blob = Blob::new(ENVELOPE, Envelope::sign(statement, key)?.to_bytes());
    blob.descriptor.annotations =
        [(SIGNATURE.to_owned(), String::new()), ("predicateType".to_owned(), statement.predicate_type.clone())].into();
    Ok(blob)
}

/// The statement that stands for a plain signature in a bundle.
#[must_use]
pub fn signature_statement(repository: &str, digest: &Digest, annotations: &BTreeMap<String, String>) -> Statement {
    let predicate = if annotations.is_empty() { json!({}) } else { json!({ "annotations": annotations }) };
    Statement::new(vec![Subject::new(repository, digest)], bundle::SIGNATURE, predicate)
}

/// The manifest under a tag of signatures or attestations, with one layer more, and its new config. A layer that is
/// there already is not added again.
#[must_use]
pub fn extended(existing: Option<&Manifest>, layer: &Descriptor) -> (Blob, Vec<u8>) {
    let mut layers = existing.map(|m| m.layers.clone()).unwrap_or_default();
    if !layers.contains(layer) {
        layers.push(layer.clone());
    }
    let diff_ids: Vec<&Digest> = layers.iter().map(|l| &l.digest).collect();
    let config = json!({
        "architecture": "",
        "created": "0001-01-01T00:00:00Z",
        "history": layers.iter().map(|_| json!({ "created": "0001-01-01T00:00:00Z" })).collect::<Vec<_>>(),
        "os": "",
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "config": {},
    });
    let config = Blob::new(media_type::OCI_CONFIG, config.to_string().into_bytes());
    let manifest = Manifest::new(config.descriptor.clone(), layers, true);
    (config, serde_json::to_vec(&manifest).unwrap_or_default())
}

/// A bundle as a referrer of an image: its blobs and the manifest.
#[must_use]
pub fn referrer(bundle: &Bundle, predicate_type: &str, subject: &Descriptor, created: &str) -> (Vec<Blob>, Vec<u8>) {
    let content = Blob::new(bundle::MEDIA_TYPE, bundle.to_bytes());
    let config = Blob::new(media_type::OCI_EMPTY, b"{}".to_vec());
    let mut manifest = Manifest::new(config.descriptor.clone(), vec![content.descriptor.clone()], true);
    manifest.artifact_type = Some(bundle::MEDIA_TYPE.to_owned());
    manifest.subject = Some(Descriptor::new(&subject.media_type, subject.digest.clone(), subject.size));
    manifest.annotations = [
        ("dev.sigstore.bundle.content", "dsse-envelope"),
        ("dev.sigstore.bundle.predicateType", predicate_type),
        ("org.opencontainers.image.created", created),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    (vec![config, content], serde_json::to_vec(&manifest).unwrap_or_default())
}

/// Something in a registry that claims to be a signature or an attestation of an image.
#[derive(Debug, Clone)]
pub enum Claim {
    /// A layer of `sha256-HEX.sig`: the document, and the layer's annotations.
    Simple(Vec<u8>, BTreeMap<String, String>),
    /// A layer of `sha256-HEX.att`.
    Envelope(Vec<u8>, BTreeMap<String, String>),
    /// A bundle.
    Bundle(Vec<u8>),
}

/// What was proven.
#[derive(Debug, Clone, PartialEq)]
pub enum Proof {
    /// A key signed the image.
    Signature {
        /// Under which name, as it was said when it was signed.
        repository: String,
        /// What was signed beside the digest.
        annotations: BTreeMap<String, String>,
    },
    /// A key signed a statement about the image.
    Attestation(Statement),
}

impl Claim {
    /// What it proves about the image of this digest, if it is signed with one of these keys.
    ///
    /// # Errors
    /// The reason why it is not accepted.
    pub fn verify(&self, digest: &Digest, keys: &[PublicKey]) -> Result<Proof, String> {
        match self {
            Self::Simple(payload, annotations) => simple(payload, annotations, digest, keys),
            Self::Envelope(bytes, annotations) => {
                if has(annotations, CERTIFICATE) {
                    return Err(KEYLESS.to_owned());
                }
                let envelope: Envelope =
                    serde_json::from_slice(bytes).map_err(|e| format!("the envelope cannot be read: {e}"))?;
                proof(envelope.verify(keys).map_err(|e| e.to_string())?, digest)
            }
            Self::Bundle(bytes) => {
                let bundle = Bundle::parse(bytes).map_err(|e| e.to_string())?;
                proof(bundle.verify(keys).map_err(|e| e.to_string())?, digest)
            }
        }
    }
}

const KEYLESS: &str =
    "it was signed by an identity, not by a key: give --certificate-identity and --certificate-oidc-issuer";

fn has(annotations: &BTreeMap<String, String>, key: &str) -> bool {
    annotations.get(key).is_some_and(|value| !value.is_empty())
}

fn proof(statement: Statement, digest: &Digest) -> Result<Proof, String> {
    if !statement.is_about(digest) {
        let about: Vec<String> =
            statement.subject.iter().flat_map(|s| s.digest.iter().map(|(a, hex)| format!("{a}:{hex}"))).collect();
        return Err(format!("the statement is about {}, not about this image", about.join(", ")));
    }
    if statement.predicate_type != bundle::SIGNATURE {
        return Ok(Proof::Attestation(statement));
    }
    let annotations = statement.predicate.get("annotations").cloned();
    Ok(Proof::Signature {
        repository: statement.subject.first().map(|s| s.name.clone()).unwrap_or_default(),
        annotations: annotations.and_then(|a| serde_json::from_value(a).ok()).unwrap_or_default(),
    })
}

fn simple(
    payload: &[u8],
    annotations: &BTreeMap<String, String>,
    digest: &Digest,
    keys: &[PublicKey],
) -> Result<Proof, String> {
    if has(annotations, CERTIFICATE) {
        return Err(KEYLESS.to_owned());
    }
    let text = annotations.get(SIGNATURE).filter(|text| !text.is_empty()).ok_or("the layer has no signature")?;
    let bytes = STANDARD.decode(text).map_err(|_| "the signature is no base64")?;
    if !keys.iter().any(|key| key.verify(payload, &bytes)) {
        return Err("the signature is of another key, or what it signs was changed afterwards".to_owned());
    }
    // From here on the document is what the key's owner wrote.
    let document: Value =
        serde_json::from_slice(payload).map_err(|e| format!("the signed document is no JSON: {e}"))?;
    let critical = &document["critical"];
    if critical["type"] != KIND && critical["type"] != bundle::SIGNATURE {
        return Err(format!("the signed document is a {}, not an image's signature", critical["type"]));
    }
    match critical["image"]["docker-manifest-digest"].as_str() {
        Some(named) if named == digest.as_str() => {}
        Some(named) => return Err(format!("the signature is of the image {named}, not of this one")),
        None => return Err("the signed document names no image".to_owned()),
    }
    Ok(Proof::Signature {
        repository: critical["identity"]["docker-reference"].as_str().unwrap_or_default().to_owned(),
        annotations: serde_json::from_value(document["optional"].clone()).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A signature that cosign 2.5 made with the key beside it.
    const PAYLOAD: &str = r#"{"critical":{"identity":{"docker-reference":"127.0.0.1:5701/bb"},"image":{"docker-manifest-digest":"sha256:417a565296b9e1e46c2b649c06317221363eb064fa45f96886a2eb2d1dfa85fc"},"type":"cosign container image signature"},"optional":null}"#;
    const SIGNED: &str =
        "MEUCIDhlP+U5AvSCCqk/qPZL3ABBvecPusHF0OVtWeWj0bY1AiEAiqj1cndlUn8c31iJ18e072DuBguJo7q4g4sBAlc5JPw=";

    fn annotations(signature: &str) -> BTreeMap<String, String> {
        [(SIGNATURE.to_owned(), signature.to_owned())].into()
    }

    #[test]
    fn cosigns_signature_holds_for_its_image_alone() {
        let keys = [PublicKey::from_pem(include_str!("../tests/data/cosign.pub")).unwrap()];
        let digest: Digest = "sha256:417a565296b9e1e46c2b649c06317221363eb064fa45f96886a2eb2d1dfa85fc".parse().unwrap();
        let claim = |payload: &str, signature: &str| Claim::Simple(payload.into(), annotations(signature));
        let proof = claim(PAYLOAD, SIGNED).verify(&digest, &keys).unwrap();
        let repository = "127.0.0.1:5701/bb".to_owned();
        assert_eq!(proof, Proof::Signature { repository, annotations: BTreeMap::new() });
        let other = Digest::sha256(b"");
        assert!(claim(PAYLOAD, SIGNED).verify(&other, &keys).unwrap_err().starts_with("the signature is of the image"));
        let renamed = PAYLOAD.replace("5701/bb", "5701/cc");
        for (payload, signature) in [(renamed.as_str(), SIGNED), (PAYLOAD, &SIGNED.replace("MEUC", "MEUD"))] {
            let error = claim(payload, signature).verify(&digest, &keys).unwrap_err();
            assert_eq!(error, "the signature is of another key, or what it signs was changed afterwards");
        }
        assert_eq!(claim(PAYLOAD, "!").verify(&digest, &keys).unwrap_err(), "the signature is no base64");
    }

    #[test]
    fn ours_hold_in_all_three_forms() {
        let (key, digest) = (PrivateKey::generate().unwrap(), Digest::sha256(b"image"));
        let keys = [key.public()];
        let extra: BTreeMap<String, String> = [("a".to_owned(), "b".to_owned())].into();
        let blob = signature(&key, "h/r", &digest, &extra).unwrap();
        let expected = Proof::Signature { repository: "h/r".into(), annotations: extra.clone() };
        let claim = Claim::Simple(blob.bytes, blob.descriptor.annotations.clone());
        assert_eq!(claim.verify(&digest, &keys).unwrap(), expected);
        let statement = signature_statement("h/r", &digest, &extra);
        let bundle = Bundle::sign(&statement, &key).unwrap();
        assert_eq!(Claim::Bundle(bundle.to_bytes()).verify(&digest, &keys).unwrap(), expected);
        let error = Claim::Bundle(bundle.to_bytes()).verify(&Digest::sha256(b""), &keys).unwrap_err();
        assert!(error.ends_with("not about this image"), "{error}");
        let statement = Statement::new(vec![Subject::new("_", &digest)], crate::statement::SPDX, json!({}));
        let blob = attestation(&key, &statement).unwrap();
        let claim = Claim::Envelope(blob.bytes, blob.descriptor.annotations.clone());
        assert_eq!(claim.verify(&digest, &keys).unwrap(), Proof::Attestation(statement));
        let (config, manifest) = extended(None, &blob.descriptor);
        let first: Manifest = serde_json::from_slice(&manifest).unwrap();
        assert_eq!((&first.config, first.layers.len()), (&config.descriptor, 1));
        assert_eq!(extended(Some(&first), &blob.descriptor).1, manifest, "the same layer is not added twice");
    }
}
