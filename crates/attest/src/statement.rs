//! in-toto statements: a predicate about artifacts that are named by their digests.
//!
//! Source: in-toto attestation framework, `spec/v0.1` and `spec/v1` (the two differ in `_type` alone for what is used
//! here). BuildKit and cosign 2 write v0.1; both are read.
use oci::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The `_type` that is written.
pub const STATEMENT: &str = "https://in-toto.io/Statement/v0.1";
/// The `_type` of the framework's version 1.
pub const STATEMENT_V1: &str = "https://in-toto.io/Statement/v1";
/// The media type of a statement, and the payload type of a DSSE envelope that holds one.
pub const MEDIA_TYPE: &str = "application/vnd.in-toto+json";

/// SLSA provenance, version 1.
pub const SLSA_V1: &str = "https://slsa.dev/provenance/v1";
/// SLSA provenance, version 0.2.
pub const SLSA_V02: &str = "https://slsa.dev/provenance/v0.2";
/// An SPDX document.
pub const SPDX: &str = "https://spdx.dev/Document";
/// A CycloneDX document.
pub const CYCLONEDX: &str = "https://cyclonedx.org/bom";

/// cosign's short names of predicate types.
const SHORT: &[(&str, &str)] = &[
    ("slsaprovenance", SLSA_V02),
    ("slsaprovenance02", SLSA_V02),
    ("slsaprovenance1", SLSA_V1),
    ("spdx", SPDX),
    ("spdxjson", SPDX),
    ("cyclonedx", CYCLONEDX),
    ("link", "https://in-toto.io/Link/v1"),
    ("vuln", "https://cosign.sigstore.dev/attestation/vuln/v1"),
    ("openvex", "https://openvex.dev/ns"),
    ("custom", "https://cosign.sigstore.dev/attestation/v1"),
];

/// The predicate type that a short name of cosign's (`slsaprovenance1`, `spdxjson`, …) or a URI means; `None` for
/// anything else.
#[must_use]
pub fn predicate_type(text: &str) -> Option<String> {
    if let Some((_, uri)) = SHORT.iter().find(|(short, _)| *short == text) {
        return Some((*uri).to_owned());
    }
    let scheme = text.split_once(':').map(|(scheme, rest)| (scheme, !rest.is_empty()));
    scheme
        .is_some_and(|(scheme, rest)| rest && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)))
        .then(|| text.to_owned())
}

/// The short names that [`predicate_type`] knows.
pub fn short_names() -> impl Iterator<Item = &'static str> {
    SHORT.iter().map(|(short, _)| *short)
}

/// What a statement is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// A name; for an image its package URL, `_` where it has none.
    #[serde(default)]
    pub name: String,
    /// Algorithm to hex digits.
    pub digest: BTreeMap<String, String>,
}

impl Subject {
    /// A subject of this digest.
    #[must_use]
    pub fn new(name: impl Into<String>, digest: &Digest) -> Self {
        Self { name: name.into(), digest: digest_set(digest) }
    }
}

/// A digest as in-toto writes it.
#[must_use]
pub fn digest_set(digest: &Digest) -> BTreeMap<String, String> {
    BTreeMap::from([(digest.algorithm().to_owned(), digest.hex().to_owned())])
}

/// A statement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// [`STATEMENT`] or [`STATEMENT_V1`].
    #[serde(rename = "_type")]
    pub kind: String,
    /// What `predicate` is: a URI.
    pub predicate_type: String,
    /// What it is about.
    pub subject: Vec<Subject>,
    /// What is said.
    #[serde(default)]
    pub predicate: Value,
}

/// Why bytes are no statement.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// Not JSON of this shape.
    #[error("not an in-toto statement: {0}")]
    Json(#[from] serde_json::Error),
    /// Another `_type`.
    #[error("not an in-toto statement: its _type is {0:?}")]
    Type(String),
}

impl Statement {
    /// A statement about these subjects.
    #[must_use]
    pub fn new(subject: Vec<Subject>, predicate_type: impl Into<String>, predicate: Value) -> Self {
        Self { kind: STATEMENT.to_owned(), predicate_type: predicate_type.into(), subject, predicate }
    }

    /// Reads a statement.
    ///
    /// # Errors
    /// Where the bytes are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, StatementError> {
        let this: Self = serde_json::from_slice(bytes)?;
        match this.kind.as_str() {
            STATEMENT | STATEMENT_V1 => Ok(this),
            _ => Err(StatementError::Type(this.kind)),
        }
    }

    /// The statement as JSON.
    ///
    /// # Panics
    /// Never: its parts are JSON values with text keys.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Whether one of the subjects is the artifact of this digest.
    #[must_use]
    pub fn is_about(&self, digest: &Digest) -> bool {
        self.subject.iter().any(|s| s.digest.get(digest.algorithm()).is_some_and(|hex| hex == digest.hex()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_name_their_subject() {
        let (image, other) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        let statement = Statement::new(vec![Subject::new("_", &image)], SPDX, serde_json::json!({ "a": 1 }));
        let read = Statement::parse(&statement.to_bytes()).unwrap();
        assert_eq!(read, statement);
        assert!(read.is_about(&image) && !read.is_about(&other));
        assert!(Statement::parse(b"{}").is_err());
        let text = String::from_utf8(statement.to_bytes()).unwrap().replace("Statement/v0.1", "Statement/v9");
        assert!(Statement::parse(text.as_bytes()).unwrap_err().to_string().contains("v9"));
    }

    #[test]
    fn predicate_types_have_short_names() {
        assert_eq!(predicate_type("slsaprovenance1").as_deref(), Some(SLSA_V1));
        assert_eq!(predicate_type("https://example.com/x").as_deref(), Some("https://example.com/x"));
        assert_eq!(predicate_type("spdxxml"), None);
        assert_eq!(predicate_type("a b:c"), None);
    }
}
