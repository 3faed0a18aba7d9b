//! Image references: `[registry/]repository[:tag][@digest]`, with Docker's normalisation.
//!
//! Source: `github.com/distribution/reference`. A first component with a dot, a colon or an
//! upper-case letter, or `localhost`, is a registry; anything else lives on `docker.io`, under
//! `library/` when it has a single component.
use crate::Digest;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The registry that a name without one means.
pub(crate) const DEFAULT_REGISTRY: &str = "docker.io";

/// A name of an image in a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no reference.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("invalid image reference {text:?}: {why}")]
pub struct ReferenceError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

impl Reference {
    /// Host and optional port: `docker.io`, `ghcr.io`, `127.0.0.1:5000`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }
    /// The path in the registry, with `library/` where Docker adds it.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }
    /// The tag that was given.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }
    /// The digest that was given.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }
    /// The tag, or `latest` where neither tag nor digest was given.
    #[must_use]
    pub fn tag_or_latest(&self) -> Option<&str> {
        match (&self.tag, &self.digest) {
            (None, None) => Some("latest"),
            (tag, _) => tag.as_deref(),
        }
    }
    /// What to ask a registry for: the digest where there is one, else the tag, else `latest`.
    #[must_use]
    pub fn target(&self) -> &str {
        self.digest.as_ref().map_or_else(|| self.tag.as_deref().unwrap_or("latest"), Digest::as_str)
    }
    /// `registry/repository` without tag and digest.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
    /// The same name with this tag and no digest.
    #[must_use]
    pub fn with_tag(&self, tag: &str) -> Self {
        Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() }
    }
    /// The same name (tag kept) with this digest.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }
    /// The same with `latest` where neither tag nor digest stands.
    #[must_use]
    pub fn or_latest(self) -> Self {
        let tag = self.tag_or_latest().map(str::to_owned);
        Self { tag, ..self }
    }
    /// As people write it: without `docker.io/` and `library/`.
    #[must_use]
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        full.strip_prefix("docker.io/")
            .map_or(full.clone(), |rest| rest.strip_prefix("library/").unwrap_or(rest).to_owned())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let fail = |why: &str| ReferenceError { text: text.to_owned(), why: why.to_owned() };
        if text.is_empty() {
            return Err(fail("it is empty"));
        }
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(fail("64 hex digits are an image ID, not a name"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>().map_err(|e| fail(&e.to_string()))?)),
            None => (text, None),
        };
        let (name, tag) = match rest.rfind(':') {
            Some(colon) if !rest[colon..].contains('/') => (&rest[..colon], Some(&rest[colon + 1..])),
            _ => (rest, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(fail(
                "a tag has 1 to 128 letters, digits, '_', '.' and '-', and does not begin with '.' or '-'",
            ));
        }
        let (registry, path) = match name.split_once('/') {
            Some((first, path))
                if first.contains(['.', ':'])
                    || first == "localhost"
                    || first.bytes().any(|b| b.is_ascii_uppercase()) =>
            {
                (first, path)
            }
            _ => (DEFAULT_REGISTRY, name),
        };
        if !is_registry(registry) {
            return Err(fail(&format!("{registry:?} is no host[:port]")));
        }
        let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
        let repository = if registry == DEFAULT_REGISTRY && !path.contains('/') && !path.is_empty() {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        if repository.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(fail("a repository's name must be lower case"));
        }
        if !repository.split('/').all(is_component) {
            return Err(fail(
                "a repository's name is made of lower-case letters and digits, separated by '.', '_', '__', '-' or '/'",
            ));
        }
        if registry.len() + 1 + repository.len() > 255 {
            return Err(fail("it is longer than 255 characters"));
        }
        Ok(Self { registry: registry.to_owned(), repository, tag: tag.map(str::to_owned), digest })
    }
}

/// `[\w][\w.-]{0,127}`
fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = tag.bytes();
    tag.len() <= 128 && bytes.next().is_some_and(word) && bytes.all(|b| word(b) || matches!(b, b'.' | b'-'))
}

/// `[a-z0-9]+(([.]|_|__|[-]+)[a-z0-9]+)*`
fn is_component(component: &str) -> bool {
    let bytes = component.as_bytes();
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !plain(*first) || !plain(*last) {
        return false;
    }
    bytes
        .split(|b| plain(*b))
        .all(|separator| matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-'))
}

fn is_registry(host: &str) -> bool {
    let (name, port) = if let Some(rest) = host.strip_prefix('[') {
        match rest.split_once(']') {
            Some((v6, port)) if v6.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') => ("v6", port),
            _ => return false,
        }
    } else {
        host.find(':').map_or((host, ""), |colon| host.split_at(colon))
    };
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let port_fine = port.is_empty()
        || port.strip_prefix(':').is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    name.split('.').all(label) && port_fine
}

impl TryFrom<String> for Reference {
    type Error = ReferenceError;
    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn normalises_as_docker_does() {
        for (given, full, familiar) in [
            ("alpine", "docker.io/library/alpine", "alpine"),
            ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"),
            ("user/app", "docker.io/user/app", "user/app"),
            ("index.docker.io/user/app", "docker.io/user/app", "user/app"),
            ("localhost/app", "localhost/app", "localhost/app"),
            ("localhost:5000/a/b:c", "localhost:5000/a/b:c", "localhost:5000/a/b:c"),
            ("127.0.0.1:5000/app", "127.0.0.1:5000/app", "127.0.0.1:5000/app"),
            ("ghcr.io/o/r", "ghcr.io/o/r", "ghcr.io/o/r"),
            ("[::1]:5000/a", "[::1]:5000/a", "[::1]:5000/a"),
            ("a__b/c-d.e_f", "docker.io/a__b/c-d.e_f", "a__b/c-d.e_f"),
        ] {
            let reference: Reference = given.parse().unwrap();
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.familiar(), familiar);
        }
    }

    #[test]
    fn tag_and_digest_together() {
        let digest = Digest::sha256(b"x");
        let reference: Reference = format!("a:b@{digest}").parse().unwrap();
        assert_eq!((reference.tag(), reference.target()), (Some("b"), digest.as_str()));
    }

    #[test]
    fn refuses_with_a_reason() {
        for bad in [
            "",
            "a b",
            "App",
            "a:",
            "a@sha256:12",
            ":tag",
            "a//b",
            "/a",
            "a/",
            "-a",
            "a___b",
            "a:-x",
            "http://a/b",
            "a.b:x/c",
            "..",
            "a/../b",
            &"a".repeat(300),
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_round_trips(text in "[a-zA-Z0-9._:/@\\[\\]-]{0,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
            }
        }
    }
}
