//! DSSE envelopes: a payload with signatures over it and its type.
//!
//! Source: `secure-systems-lab/dsse`, `protocol.md` (v1.0).
use crate::key::{KeyError, PrivateKey, PublicKey};
use crate::statement::{MEDIA_TYPE, Statement};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::{Deserialize, Serialize};

/// An envelope, as JSON has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// What the payload is.
    pub payload_type: String,
    /// The payload, in base64.
    pub payload: String,
    /// The signatures.
    #[serde(default)]
    pub signatures: Vec<Signature>,
}

/// The most signatures of an envelope.
const MAX_SIGNATURES: usize = 20;

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// A hint which key it is of; nobody vouches for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub keyid: String,
    /// The signature, in base64.
    pub sig: String,
}

/// Why an envelope is not accepted.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Payload or signature is no base64.
    #[error("the envelope is damaged: {0} is no base64")]
    Base64(&'static str),
    /// It has no signature.
    #[error("the envelope has no signature")]
    Unsigned,
    /// It has more signatures than anybody gives, and each costs a pass over the payload.
    #[error("the envelope has {0} signatures; no more than {MAX_SIGNATURES} are looked at")]
    TooMany(usize),
    /// None of its signatures is of the key.
    #[error("the signature is of another key, or the envelope was changed after it was signed")]
    Signature,
    /// It holds something else.
    #[error("the envelope holds {0}, not {MEDIA_TYPE}")]
    Type(String),
    /// The payload is no statement.
    #[error("{0}")]
    Statement(String),
}

/// What is signed: type and payload, each with its length, so that neither can be taken for the other.
#[must_use]
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

/// Both alphabets are allowed in an envelope.
fn decode(text: &str, what: &'static str) -> Result<Vec<u8>, EnvelopeError> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).map_err(|_| EnvelopeError::Base64(what))
}

impl Envelope {
    /// Signs a statement.
    ///
    /// # Errors
    /// Where there are no random numbers.
    pub fn sign(statement: &Statement, key: &PrivateKey) -> Result<Self, KeyError> {
        let payload = statement.to_bytes();
        let signature = key.sign(&pae(MEDIA_TYPE, &payload))?;
        Ok(Self {
            payload_type: MEDIA_TYPE.to_owned(),
            payload: STANDARD.encode(payload),
            signatures: vec![Signature { keyid: String::new(), sig: STANDARD.encode(signature) }],
        })
    }

    /// The statement inside, if one of the signatures is of one of these keys.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub fn verify(&self, keys: &[PublicKey]) -> Result<Statement, EnvelopeError> {
        if self.payload_type != MEDIA_TYPE {
            return Err(EnvelopeError::Type(self.payload_type.clone()));
        }
        if self.signatures.len() > MAX_SIGNATURES {
            return Err(EnvelopeError::TooMany(self.signatures.len()));
        }
        let payload = decode(&self.payload, "the payload")?;
        let signed = pae(&self.payload_type, &payload);
        if self.signatures.is_empty() {
            return Err(EnvelopeError::Unsigned);
        }
        for signature in &self.signatures {
            let bytes = decode(&signature.sig, "a signature")?;
            if keys.iter().any(|key| key.verify(&signed, &bytes)) {
                return Statement::parse(&payload).map_err(|e| EnvelopeError::Statement(e.to_string()));
            }
        }
        Err(EnvelopeError::Signature)
    }

    /// The envelope as JSON.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::{SPDX, Subject};

    #[test]
    fn the_specifications_example() {
        let pae = pae("http://example.com/HelloWorld", b"hello world");
        assert_eq!(pae, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn changes_are_noticed() {
        let key = PrivateKey::generate().unwrap();
        let other = PrivateKey::generate().unwrap().public();
        let about = Subject::new("_", &oci::Digest::sha256(b"image"));
        let statement = Statement::new(vec![about], SPDX, serde_json::json!({}));
        let envelope = Envelope::sign(&statement, &key).unwrap();
        assert_eq!(envelope.verify(&[other.clone(), key.public()]).unwrap(), statement);
        assert_eq!(envelope.verify(&[other]).unwrap_err(), EnvelopeError::Signature);
        let mut changed = envelope.clone();
        changed.payload = STANDARD.encode(String::from_utf8(statement.to_bytes()).unwrap().replace("spdx", "abcd"));
        assert_eq!(changed.verify(&[key.public()]).unwrap_err(), EnvelopeError::Signature);
        let mut unsigned = envelope.clone();
        unsigned.signatures.clear();
        assert_eq!(unsigned.verify(&[key.public()]).unwrap_err(), EnvelopeError::Unsigned);
        let mut many = envelope.clone();
        many.signatures = vec![envelope.signatures[0].clone(); 100_000];
        assert_eq!(many.verify(&[key.public()]).unwrap_err(), EnvelopeError::TooMany(100_000));
        let mut typed = envelope;
        typed.payload_type = "text/plain".into();
        assert!(matches!(typed.verify(&[key.public()]), Err(EnvelopeError::Type(_))));
    }
}
