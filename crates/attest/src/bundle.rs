//! Sigstore bundles, version 0.3: a signed statement with what is needed to verify it, as one JSON document.
//!
//! Written here: DSSE envelopes signed with a key (`verificationMaterial.publicKey`). Read: those, and bundles of
//! certificates far enough to say that cosign has to verify them.
//! Source: `sigstore/protobuf-specs`, `sigstore_bundle.proto`; `cosign/specs/BUNDLE_SPEC.md`.
use crate::dsse::{Envelope, EnvelopeError};
use crate::key::{KeyError, PrivateKey, PublicKey};
use crate::statement::Statement;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Media type of a bundle, and artifact type of the manifest that holds one.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The predicate type of a plain signature: "this key signed this image".
pub const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";

/// A bundle.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bundle {
    media_type: String,
    verification_material: Material,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dsse_envelope: Option<Envelope>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message_signature: Option<Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key: Option<Hint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    x509_certificate_chain: Option<Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tlog_entries: Vec<Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Hint {
    #[serde(default)]
    hint: String,
}

/// Why a bundle is not accepted.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BundleError {
    /// Not JSON of this shape.
    #[error("the bundle cannot be read: {0}")]
    Json(String),
    /// Another version.
    #[error("the bundle is of type {0:?}; {MEDIA_TYPE} is known")]
    Version(String),
    /// It was signed by an identity.
    #[error(
        "the bundle holds a certificate, not a signature of a key: give --certificate-identity and --certificate-oidc-issuer"
    )]
    Keyless,
    /// A signature over bytes, with no statement about an image.
    #[error("the bundle signs bytes and makes no statement about an image")]
    Message,
    /// The envelope in it.
    #[error("{0}")]
    Envelope(#[from] EnvelopeError),
}

impl Bundle {
    /// Signs a statement.
    ///
    /// # Errors
    /// Where there are no random numbers.
    pub fn sign(statement: &Statement, key: &PrivateKey) -> Result<Self, KeyError> {
        Ok(Self {
            media_type: MEDIA_TYPE.to_owned(),
            verification_material: Material {
                public_key: Some(Hint { hint: key.public().hint() }),
                certificate: None,
                x509_certificate_chain: None,
                tlog_entries: Vec::new(),
            },
            dsse_envelope: Some(Envelope::sign(statement, key)?),
            message_signature: None,
        })
    }

    /// Reads a bundle.
    ///
    /// # Errors
    /// Where the bytes are none, or of another version.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        let this: Self = serde_json::from_slice(bytes).map_err(|e| BundleError::Json(e.to_string()))?;
        let known = [MEDIA_TYPE, "application/vnd.dev.sigstore.bundle+json;version=0.3"];
        if known.contains(&this.media_type.as_str()) { Ok(this) } else { Err(BundleError::Version(this.media_type)) }
    }

    /// The statement inside, if it is signed with one of these keys.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub fn verify(&self, keys: &[PublicKey]) -> Result<Statement, BundleError> {
        let material = &self.verification_material;
        if material.certificate.is_some() || material.x509_certificate_chain.is_some() {
            return Err(BundleError::Keyless);
        }
        match &self.dsse_envelope {
            Some(envelope) => Ok(envelope.verify(keys)?),
            None => Err(BundleError::Message),
        }
    }

    /// The bundle as JSON.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::Subject;

    /// Made by cosign 2.5: `cosign attest --new-bundle-format` with the key beside it.
    const COSIGNS: &[u8] = include_bytes!("../tests/data/bundle.json");

    #[test]
    fn cosigns_bundle_is_read() {
        let key = PublicKey::from_pem(include_str!("../tests/data/cosign.pub")).unwrap();
        let bundle = Bundle::parse(COSIGNS).unwrap();
        let statement = bundle.verify(std::slice::from_ref(&key)).unwrap();
        assert_eq!(statement.predicate_type, "https://cosign.sigstore.dev/attestation/v1");
        assert_eq!(bundle.verification_material.public_key.as_ref().unwrap().hint, key.hint());
        let other = PrivateKey::generate().unwrap().public();
        assert_eq!(bundle.verify(&[other]).unwrap_err(), BundleError::Envelope(EnvelopeError::Signature));
    }

    #[test]
    fn what_is_no_bundle_of_a_key_says_so() {
        let key = PrivateKey::generate().unwrap();
        let statement = Statement::new(vec![Subject::new("_", &oci::Digest::sha256(b""))], SIGNATURE, Value::Null);
        let bundle = Bundle::sign(&statement, &key).unwrap();
        let text = String::from_utf8(bundle.to_bytes()).unwrap();
        assert_eq!(Bundle::parse(text.as_bytes()).unwrap().verify(&[key.public()]).unwrap(), statement);
        let other = text.replace("v0.3+json", "v0.9+json");
        assert!(matches!(Bundle::parse(other.as_bytes()), Err(BundleError::Version(_))));
        let keyless = text.replace("\"publicKey\":{", "\"certificate\":{\"rawBytes\":\"\"},\"publicKey\":{");
        let refused = Bundle::parse(keyless.as_bytes()).unwrap().verify(&[key.public()]);
        assert_eq!(refused.unwrap_err(), BundleError::Keyless);
        assert!(matches!(Bundle::parse(b"[]"), Err(BundleError::Json(_))));
    }
}
