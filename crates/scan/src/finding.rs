//! What a scan says: one vulnerability of one package of the image.
use crate::severity::{Severity, Vector};
use oci::Digest;
use serde::{Deserialize, Serialize};

/// One vulnerability of one package.
///
/// Records of several sources that speak of the same vulnerability (by their aliases) are one finding.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The CVE where there is one, else the name of the record: what people call it.
    pub id: String,
    /// All its other names, sorted: the records' own (`GHSA-…`, `PYSEC-…`, `DEBIAN-CVE-…`, `DSA-…`) and their aliases.
    pub aliases: Vec<String>,
    /// The package.
    pub package: AffectedPackage,
    /// How bad it is.
    pub severity: Severity,
    /// The score that says so, 0 to 10, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
    /// The CVSS vectors of the records.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vectors: Vec<Vector>,
    /// What the distribution says about it: Debian's urgency, such as `unimportant` or `end-of-life`; Ubuntu's
    /// priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub urgency: Option<String>,
    /// The versions that are not affected any more, lowest first: those above the package's own. Empty where there is
    /// no fix.
    pub fixed: Vec<String>,
    /// One line about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// More about it; long texts are cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
    /// Where to read more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// When it was published (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<String>,
    /// When the record was last changed (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified: Option<String>,
}

impl Finding {
    /// Whether this is one of its names; letters may be of either case.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.id.eq_ignore_ascii_case(name) || self.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
    }
}

/// The package that is affected.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AffectedPackage {
    /// Its world, as the type of package URLs; other scanners know more of them than our catalogues.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name in the image.
    pub name: String,
    /// Its version in the image.
    pub version: String,
    /// The source package that the records name, where it is called otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Its world as OSV names it, with the distribution's release: `Debian:12`, `Alpine:v3.20`, `PyPI`.
    pub ecosystem: String,
    /// Its package URL.
    pub purl: String,
    /// Files in the image that say that it is there, without the leading slash.
    pub paths: Vec<String>,
    /// The layer that brought it; another scanner may not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<LayerRef>,
}

/// A layer of the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerRef {
    /// Its number, 0 for the lowest.
    pub index: usize,
    /// The digest of its tar.
    pub diff_id: Digest,
    /// The instruction that made it, as the image's history has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
}

/// Where to read more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// OSV's word for what is there: `ADVISORY`, `FIX`, `WEB`, …
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The address.
    pub url: String,
}

/// What a scan found, and what it could not look at.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Scan {
    /// Most severe first, then by package and name.
    pub findings: Vec<Finding>,
    /// How many packages were matched.
    pub packages: usize,
    /// Packages about which the database can say nothing: their absence from `findings` means nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uncovered: Vec<Uncovered>,
}

/// Packages that were not matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Uncovered {
    /// Their world: the ecosystem's name, or what the distribution calls itself.
    pub ecosystem: String,
    /// How many.
    pub packages: usize,
    /// Why.
    pub reason: String,
}
