//! Package URLs, read: `pkg:TYPE/NAMESPACE/NAME@VERSION?QUALIFIERS#SUBPATH` (purl-spec 1.0).
use std::collections::BTreeMap;

/// A package URL in parts, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purl {
    /// The type, in small letters.
    pub kind: String,
    /// The namespace; empty where there is none.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The version.
    pub version: Option<String>,
    /// Qualifiers by name.
    pub qualifiers: BTreeMap<String, String>,
}

impl Purl {
    /// Reads one; `None` for what is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.trim().strip_prefix("pkg:")?.trim_start_matches('/');
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        // A version holds no slash, a namespace may hold an @.
        let (path, version) = match rest.rsplit_once('@') {
            Some((path, version)) if !version.contains('/') && !path.ends_with('/') => (path, Some(version)),
            _ => (rest, None),
        };
        let (kind, path) = path.split_once('/')?;
        let (namespace, name) = path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path.trim_end_matches('/')));
        let qualifiers = query.split('&').filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            (!value.is_empty()).then(|| (name.to_ascii_lowercase(), decode(value)))
        });
        let parsed = Self {
            kind: kind.to_ascii_lowercase(),
            namespace: decode(namespace.trim_matches('/')),
            name: decode(name),
            version: version.map(decode).filter(|version| !version.is_empty()),
            qualifiers: qualifiers.collect(),
        };
        (!parsed.kind.is_empty() && !parsed.name.is_empty()).then_some(parsed)
    }

    /// Whether a package is one that this speaks of: type, namespace and name are equal, and so is what this says of
    /// version and qualifiers. `repository_url`, `download_url` and the like say where it comes from and do not count.
    #[must_use]
    pub fn covers(&self, package: &Self) -> bool {
        const PLACES: [&str; 5] = ["repository_url", "download_url", "vcs_url", "file_name", "checksum"];
        self.kind == package.kind
            && self.namespace == package.namespace
            && self.name == package.name
            && (self.version.is_none() || self.version == package.version)
            && self.qualifiers.iter().all(|(name, value)| {
                PLACES.contains(&name.as_str())
                    || package.qualifiers.get(name) == Some(value)
                    || (name == "epoch" && value == "0")
            })
    }
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let hex = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            #[allow(clippy::cast_possible_truncation, reason = "two digits")]
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let purl =
            Purl::parse("pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bdeb12u1?distro=debian-12&arch=amd64").unwrap();
        assert_eq!((purl.namespace.as_str(), purl.name.as_str()), ("debian", "libstdc++6"));
        assert_eq!(purl.version.as_deref(), Some("1:12.2.0-14+deb12u1"));
        assert_eq!(purl.qualifiers["arch"], "amd64");
        let npm = Purl::parse("pkg:npm/@babel/core").unwrap();
        assert_eq!((npm.namespace.as_str(), npm.name.as_str(), npm.version), ("@babel", "core", None));
        let go = Purl::parse("pkg:golang/github.com/a/b@v1.0#sub").unwrap();
        assert_eq!((go.namespace.as_str(), go.name.as_str()), ("github.com/a", "b"));
        for none in ["", "npm/x", "pkg:npm", "pkg:npm/", "pkg:/x"] {
            assert_eq!(Purl::parse(none), None, "{none}");
        }
        assert_eq!(Purl::parse("pkg:npm/%zz%4").unwrap().name, "%zz%4");
    }

    #[test]
    fn what_is_not_said_covers_everything() {
        let covers = |a: &str, b: &str| Purl::parse(a).unwrap().covers(&Purl::parse(b).unwrap());
        let package = "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12";
        assert!(covers("pkg:deb/debian/libc6", package));
        assert!(covers("pkg:deb/debian/libc6@2.36-9?distro=debian-12", package));
        assert!(!covers("pkg:deb/debian/libc6@2.36-8", package));
        assert!(!covers("pkg:deb/debian/libc6?distro=debian-13", package));
        assert!(!covers("pkg:deb/ubuntu/libc6", package));
        assert!(covers("pkg:npm/a?repository_url=x", "pkg:npm/a@1"));
    }
}
