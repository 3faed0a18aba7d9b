//! From a request's path to what it names. Names hold slashes, so paths are read from their end.
//!
//! Nothing passes that could leave a directory: a name, tag, digest or upload ID is checked against its
//! grammar here, and only the checked types reach the store.
use super::fault::Fault;
use oci::{Digest, Reference};
use std::fmt;

/// A repository's name that has been checked: usable as a relative path. Its components begin with
/// a letter or digit, so they never meet the store's own `_manifests` and the like.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(String);

impl Name {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let parsed: Reference = format!("localhost/{text}").parse().ok()?;
        (parsed.repository() == text && parsed.tag().is_none() && parsed.digest().is_none())
            .then(|| Self(text.to_owned()))
    }
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A tag that has been checked: usable as a file name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tag(String);

impl Tag {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let parsed: Reference = format!("localhost/a:{text}").parse().ok()?;
        (parsed.tag() == Some(text)).then(|| Self(text.to_owned()))
    }
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A tag or a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Tag(Tag),
    Digest(Digest),
}

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Root,
    Catalog,
    Tags { name: Name },
    Manifest { name: Name, reference: Target },
    Blob { name: Name, digest: Digest },
    Uploads { name: Name },
    Upload { name: Name, id: String },
    Referrers { name: Name, digest: Digest },
}

pub(super) fn parse(path: &str) -> Result<Place, Fault> {
    let nothing = || Fault::missing("NAME_UNKNOWN", "there is nothing at this path");
    let path = decode(path).ok_or_else(nothing)?;
    if path == "/v2" || path == "/v2/" {
        return Ok(Place::Root);
    }
    let rest = path.strip_prefix("/v2/").ok_or_else(nothing)?;
    if rest == "_catalog" {
        return Ok(Place::Catalog);
    }
    let parts: Vec<&str> = rest.split('/').collect();
    let name = |parts: &[&str]| {
        let text = parts.join("/");
        Name::parse(&text).ok_or_else(|| {
            Fault::bad("NAME_INVALID", format!("{:?} is no repository name", crate::error::clean(&text, 200)))
        })
    };
    let digest = |text: &str| {
        text.parse::<Digest>()
            .map_err(|_| Fault::bad("DIGEST_INVALID", format!("{:?} is no digest", crate::error::clean(text, 100))))
    };
    match parts.as_slice() {
        [head @ .., "blobs", "uploads", ""] | [head @ .., "blobs", "uploads"] => {
            Ok(Place::Uploads { name: name(head)? })
        }
        [head @ .., "blobs", "uploads", id] => {
            let fine = id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            if !fine {
                return Err(Fault::missing("BLOB_UPLOAD_UNKNOWN", "there is no such upload"));
            }
            Ok(Place::Upload { name: name(head)?, id: (*id).to_owned() })
        }
        [head @ .., "blobs", text] => Ok(Place::Blob { name: name(head)?, digest: digest(text)? }),
        [head @ .., "tags", "list"] => Ok(Place::Tags { name: name(head)? }),
        [head @ .., "referrers", text] => Ok(Place::Referrers { name: name(head)?, digest: digest(text)? }),
        [head @ .., "manifests", text] => {
            let reference = if text.contains(':') {
                Target::Digest(digest(text)?)
            } else {
                let tag = Tag::parse(text).ok_or_else(|| {
                    Fault::bad("TAG_INVALID", format!("{:?} is no tag", crate::error::clean(text, 150)))
                })?;
                Target::Tag(tag)
            };
            Ok(Place::Manifest { name: name(head)?, reference })
        }
        _ => Err(nothing()),
    }
}

/// Undoes percent encoding; `None` for what is not UTF-8 then.
fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
            out.push(digit(bytes.next()?)? << 4 | digit(bytes.next()?)?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// The parameters of a query.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|p| !p.is_empty()).filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(&value.replace('+', " "))?))
        });
        Self(pairs.collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_paths_from_their_end() {
        let digest = Digest::sha256(b"");
        let name = |n: &str| Name::parse(n).unwrap();
        assert_eq!(parse("/v2/").unwrap(), Place::Root);
        assert_eq!(parse("/v2/a/b/tags/list").unwrap(), Place::Tags { name: name("a/b") });
        assert_eq!(
            parse("/v2/blobs/manifests/v1").unwrap(),
            Place::Manifest { name: name("blobs"), reference: Target::Tag(Tag::parse("v1").unwrap()) }
        );
        assert_eq!(
            parse(&format!("/v2/a/blobs/sha256%3A{}", digest.hex())).unwrap(),
            Place::Blob { name: name("a"), digest: digest.clone() }
        );
        assert_eq!(parse("/v2/a/blobs/uploads/").unwrap(), Place::Uploads { name: name("a") });
        assert_eq!(
            parse(&format!("/v2/a/manifests/{digest}")).unwrap(),
            Place::Manifest { name: name("a"), reference: Target::Digest(digest) }
        );
    }

    #[test]
    fn nothing_leaves_the_directory() {
        for bad in [
            "/",
            "/v2",
            "/v3/a/tags/list",
            "/v2/../tags/list",
            "/v2/a/../b/tags/list",
            "/v2/a%2f..%2f..%2fb/tags/list",
            "/v2/a//b/tags/list",
            "/v2/%2e%2e/tags/list",
            "/v2/_uploads/tags/list",
            "/v2/A/tags/list",
            "/v2/a/manifests/..",
            "/v2/a/manifests/.hidden",
            "/v2/a/manifests/%2e%2e",
            "/v2/a/manifests/",
            "/v2/a/blobs/sha256:..",
            "/v2/a/blobs/uploads/../../x",
            "/v2/a/blobs/uploads/..",
            "/v2/a/referrers/x",
            "/v2/a%00/tags/list",
            "/v2/a%ff/tags/list",
            "/v2/a%/tags/list",
            "/v2//tags/list",
        ] {
            if bad != "/v2" {
                assert!(parse(bad).is_err(), "{bad}: {:?}", parse(bad));
            }
        }
    }

    #[test]
    fn queries() {
        let query = Query::parse("n=5&last=a%2Fb&artifactType=application/vnd.x%2Bjson&empty");
        assert_eq!(query.get("last"), Some("a/b"));
        assert_eq!(query.get("artifactType"), Some("application/vnd.x+json"));
        assert_eq!((query.get("empty"), query.get("none")), (Some(""), None));
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_names_stay_inside(path in "/v2/[a-zA-Z0-9._:/%-]{0,60}") {
            if let Ok(Place::Tags { name } | Place::Manifest { name, .. } | Place::Uploads { name }) = parse(&path) {
                let inside = std::path::Path::new(name.as_str())
                    .components()
                    .all(|c| matches!(c, std::path::Component::Normal(_)));
                proptest::prop_assert!(inside);
            }
        }
    }
}
