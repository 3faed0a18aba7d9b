//! Image manifests and indexes (OCI image-spec; Docker's schema 2 has the same shape).
use crate::{Descriptor, Platform, media_type};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An image manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// OCI's or Docker's manifest type; old OCI manifests leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What an artifact is (OCI 1.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The image's config.
    pub config: Descriptor,
    /// The layers, lowest first.
    #[serde(default, deserialize_with = "crate::config::null_default")]
    pub layers: Vec<Descriptor>,
    /// What this manifest refers to (OCI 1.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free key-value pairs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Fields that this crate does not know.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

impl Manifest {
    /// A manifest of these parts, of OCI's or Docker's type.
    #[must_use]
    pub fn new(config: Descriptor, layers: Vec<Descriptor>, oci: bool) -> Self {
        let media_type = if oci { media_type::OCI_MANIFEST } else { media_type::DOCKER_MANIFEST };
        Self {
            schema_version: 2,
            media_type: Some(media_type.to_owned()),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
            extra: serde_json::Map::new(),
        }
    }
}

/// An image index, or Docker's manifest list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// OCI's or Docker's type; old OCI indexes leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What an artifact is (OCI 1.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests.
    #[serde(default, deserialize_with = "crate::config::null_default")]
    pub manifests: Vec<Descriptor>,
    /// What this index refers to (OCI 1.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free key-value pairs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Fields that this crate does not know.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

impl Index {
    /// An index of these manifests, of OCI's or Docker's type.
    #[must_use]
    pub fn new(manifests: Vec<Descriptor>, oci: bool) -> Self {
        let media_type = if oci { media_type::OCI_INDEX } else { media_type::DOCKER_LIST };
        Self {
            schema_version: 2,
            media_type: Some(media_type.to_owned()),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
            extra: serde_json::Map::new(),
        }
    }

    /// The manifest for a platform: an exact match first, then the nearest that runs there
    /// (containerd's rule: a lower variant runs on a higher one). Attestations (`unknown/unknown`)
    /// never match. An index of one manifest without a platform matches everything.
    #[must_use]
    pub fn select(&self, wanted: &Platform) -> Option<&Descriptor> {
        let candidates = self
            .manifests
            .iter()
            .filter(|d| media_type::is_manifest(&d.media_type) || media_type::is_index(&d.media_type));
        let mut best: Option<(u32, &Descriptor)> = None;
        for descriptor in candidates {
            let Some(platform) = &descriptor.platform else { continue };
            if let Some(distance) = wanted.distance_of(platform)
                && best.is_none_or(|(d, _)| distance < d)
            {
                best = Some((distance, descriptor));
            }
        }
        best.map(|(_, d)| d).or_else(|| match self.manifests.as_slice() {
            [only] if only.platform.is_none() => Some(only),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    fn descriptor(name: &str, platform: Option<&str>) -> Descriptor {
        let mut d = Descriptor::new(media_type::OCI_MANIFEST, Digest::sha256(name.as_bytes()), 1);
        d.platform = platform.map(|p| p.parse().unwrap());
        d
    }

    #[test]
    fn selects_the_nearest_platform() {
        let index = Index::new(
            vec![
                descriptor("att", Some("unknown/unknown")),
                descriptor("v6", Some("linux/arm/v6")),
                descriptor("v7", Some("linux/arm/v7")),
                descriptor("arm64", Some("linux/arm64")),
                descriptor("amd64", Some("linux/amd64")),
            ],
            true,
        );
        let pick = |p: &str| index.select(&p.parse().unwrap()).map(|d| d.digest.clone());
        assert_eq!(pick("linux/amd64"), Some(Digest::sha256(b"amd64")));
        assert_eq!(pick("linux/arm64/v8"), Some(Digest::sha256(b"arm64")));
        assert_eq!(pick("linux/arm/v7"), Some(Digest::sha256(b"v7")));
        assert_eq!(pick("linux/arm/v6"), Some(Digest::sha256(b"v6")));
        assert_eq!(pick("linux/s390x"), None);
    }

    #[test]
    fn null_is_an_empty_list() {
        let digest = Digest::sha256(b"");
        let text =
            format!(r#"{{"schemaVersion":2,"config":{{"mediaType":"a","digest":"{digest}","size":0}},"layers":null}}"#);
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap().layers, []);
    }

    #[test]
    fn unknown_fields_survive() {
        let text = r#"{"schemaVersion":2,"config":{"mediaType":"a","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0},"layers":[],"future":{"x":1}}"#;
        let manifest: Manifest = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&manifest).unwrap(), text);
    }
}
