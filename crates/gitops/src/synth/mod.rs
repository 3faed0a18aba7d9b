//! Resources for a cluster, from plain descriptions: [`kargo`], [`kubernetes`], [`argocd`].
//!
//! Pure and deterministic: the same description gives the same bytes whatever its order, so that a git diff shows only
//! what changed. Wrong descriptions (names that Kubernetes does not take, cycles, unknown bases) are errors before
//! anything is written.
pub mod argocd;
mod enrolment;
pub mod kargo;
pub mod kubernetes;

pub use enrolment::{Enrolment, File};

use serde_json::{Value, json};

/// Why a description cannot be written as resources.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A name that Kubernetes does not take.
    #[error(
        "`{name}` is no name of a {kind}: small letters, digits, `-` and `.`, at most {limit}, beginning and ending with a letter or digit"
    )]
    Name {
        /// The name.
        name: String,
        /// Of what.
        kind: &'static str,
        /// The longest.
        limit: usize,
    },
    /// A field that Kargo or Kubernetes would refuse.
    #[error("{of}: {field} `{value}` {problem}")]
    Field {
        /// Whose.
        of: String,
        /// Which.
        field: &'static str,
        /// What it says.
        value: String,
        /// Why it is refused.
        problem: &'static str,
    },
    /// More than a ConfigMap takes.
    #[error(
        "images.yaml and what lies beside it have {size} KiB, and a ConfigMap holds 1024{}{largest}",
        if largest.is_empty() { "" } else { "; the largest are " }
    )]
    TooLarge {
        /// All of it, in KiB.
        size: usize,
        /// The largest files, in words.
        largest: String,
    },
    /// Two images with the same name.
    #[error("`{0}` is there twice")]
    Twice(String),
    /// A base that nothing describes.
    #[error("`{image}` is based on `{base}`, which is described nowhere")]
    UnknownBase {
        /// The image.
        image: String,
        /// The base.
        base: String,
    },
    /// Images that are each other's base.
    #[error("these images are each other's base, and a rebuild would never end: {0}")]
    Cycle(String),
}

/// Checks an RFC 1123 name.
pub(crate) fn check_name(name: &str, kind: &'static str, limit: usize) -> Result<(), Error> {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let good = name.len() <= limit
        && ends(name.chars().next())
        && ends(name.chars().last())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.'))
        && (limit > 63 || !name.contains('.'));
    if good { Ok(()) } else { Err(Error::Name { name: name.to_owned(), kind, limit }) }
}

/// What every resource written here carries.
pub(crate) fn labels(name: &str) -> Value {
    json!({ "app.kubernetes.io/managed-by": "cooperage", "app.kubernetes.io/name": name })
}

/// The pod's and the container's part of the Pod Security Standard "restricted".
pub(crate) fn restricted_pod() -> Value {
    json!({
        "runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000,
        "seccompProfile": { "type": "RuntimeDefault" },
    })
}

pub(crate) fn restricted_container() -> Value {
    json!({
        "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] }, "readOnlyRootFilesystem": true,
    })
}

/// The line above what is written.
pub(crate) fn header(command: &str) -> String {
    format!("Written by `cooperage {command}`. Changes made by hand are lost.")
}
