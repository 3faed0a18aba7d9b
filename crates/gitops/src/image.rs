//! Image references as manifests write them (`nginx`, `ghcr.io/a/b:1.2@sha256:…`), and what to put in their place.
use crate::yaml::Error;

/// A reference in its parts, as written: nothing is normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageRef<'a> {
    /// Registry and repository, as written.
    pub name: &'a str,
    /// The tag behind `:`.
    pub tag: Option<&'a str>,
    /// The digest behind `@`.
    pub digest: Option<&'a str>,
}

impl<'a> ImageRef<'a> {
    /// Splits a reference. A port is not taken for a tag.
    pub fn split(text: &'a str) -> Self {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        Self { name, tag, digest }
    }
}

/// Whether two names mean the same repository: `nginx`, `library/nginx`, `docker.io/library/nginx` and
/// `index.docker.io/nginx` do.
pub fn same_name(a: &str, b: &str) -> bool {
    full(a) == full(b)
}

fn full(name: &str) -> String {
    let (registry, path) = match name.split_once('/') {
        Some((registry, path)) if registry.contains(['.', ':']) || registry == "localhost" => (registry, path),
        _ => ("docker.io", name),
    };
    let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
    let library = if registry == "docker.io" && !path.contains('/') { "library/" } else { "" };
    format!("{registry}/{library}{path}")
}

/// What a manifest shall say of an image from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUpdate {
    /// Another name; as it is where none is given.
    pub name: Option<String>,
    /// What names the content.
    pub pin: Pin,
}

/// What names the content of an image in a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// A tag; a digest that is there goes away, since it would win over the tag.
    Tag(String),
    /// A digest alone; a tag that is there goes away.
    Digest(String),
    /// Both: the tag for people, the digest for the node.
    Both {
        /// The tag.
        tag: String,
        /// The digest.
        digest: String,
    },
}

impl Pin {
    /// The tag, where there is one.
    pub fn tag(&self) -> Option<&str> {
        match self {
            Self::Tag(tag) | Self::Both { tag, .. } => Some(tag),
            Self::Digest(_) => None,
        }
    }

    /// The digest, where there is one.
    pub fn digest(&self) -> Option<&str> {
        match self {
            Self::Digest(digest) | Self::Both { digest, .. } => Some(digest),
            Self::Tag(_) => None,
        }
    }
}

impl ImageUpdate {
    /// Checks tag and digest (OCI distribution, "Pulling manifests") and the name's characters.
    ///
    /// # Errors
    /// [`Error::Image`] saying what is wrong.
    pub fn check(&self) -> Result<(), Error> {
        if let Some(tag) = self.pin.tag().filter(|tag| !is_tag(tag)) {
            return Err(Error::Image(format!(
                "`{tag}` is no tag: letters, digits, `_`, `.` and `-`, at most 128, not beginning with `.` or `-`"
            )));
        }
        if let Some(digest) = self.pin.digest().filter(|digest| !is_digest(digest)) {
            return Err(Error::Image(format!(
                "`{digest}` is no digest: write it like sha256: and 64 hexadecimal digits"
            )));
        }
        let wrong = |name: &&String| {
            name.is_empty()
                || ImageRef::split(name).name != name.as_str()
                || !name.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:".contains(c))
        };
        match self.name.as_ref().filter(wrong) {
            Some(name) => Err(Error::Image(format!("`{name}` is no image name without tag and digest"))),
            None => Ok(()),
        }
    }

    /// The reference that takes the place of `old`.
    pub fn apply(&self, old: &str) -> String {
        let name = self.name.as_deref().unwrap_or(ImageRef::split(old).name);
        let tag = self.pin.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = self.pin.digest().map(|digest| format!("@{digest}")).unwrap_or_default();
        format!("{name}{tag}{digest}")
    }
}

/// Whether a registry takes `tag` for a tag.
pub fn is_tag(tag: &str) -> bool {
    tag.len() <= 128
        && tag.chars().next().is_some_and(|first| first.is_ascii_alphanumeric() || first == '_')
        && tag.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

/// Whether `digest` is a SHA-256 or SHA-512 digest.
pub fn is_digest(digest: &str) -> bool {
    let length = match digest.split_once(':') {
        Some(("sha256", hex)) => (hex, 64),
        Some(("sha512", hex)) => (hex, 128),
        _ => return false,
    };
    length.0.len() == length.1 && length.0.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_split_as_written() {
        let split = |text| {
            let ImageRef { name, tag, digest } = ImageRef::split(text);
            (name, tag, digest)
        };
        assert_eq!(split("nginx"), ("nginx", None, None));
        assert_eq!(split("localhost:5000/a"), ("localhost:5000/a", None, None));
        assert_eq!(split("localhost:5000/a:1@sha256:0"), ("localhost:5000/a", Some("1"), Some("sha256:0")));
        assert!(same_name("nginx", "docker.io/library/nginx") && same_name("index.docker.io/a/b", "a/b"));
        assert!(!same_name("ghcr.io/nginx", "nginx") && !same_name("localhost/nginx", "nginx"));
    }

    #[test]
    fn what_no_registry_takes_is_refused() {
        let check = |name: Option<&str>, pin| ImageUpdate { name: name.map(Into::into), pin }.check().is_ok();
        assert!(check(Some("ghcr.io/a/b"), Pin::Tag("1.2.3-4".into())));
        assert!(check(None, Pin::Digest(format!("sha256:{}", "0".repeat(64)))));
        assert!(!check(None, Pin::Tag("a b".into())) && !check(None, Pin::Tag(".a".into())));
        assert!(!check(None, Pin::Digest("sha256:00".into())) && !check(Some("a:1"), Pin::Tag("1".into())));
    }
}
