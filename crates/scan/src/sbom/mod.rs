//! SBOM documents, read: SPDX 2.2 and 2.3 and CycloneDX 1.x, both JSON, alone or as the predicate of an in-toto
//! statement.
//!
//! A document becomes an [`Inventory`], as if its image had been read. What is known of a package is its package URL;
//! distribution, source package, layer and place come from wherever Cooperage, syft and trivy write them. What cannot
//! be looked up is told in the inventory's warnings: an SBOM that says little is no clean result.
mod cyclonedx;
mod spdx;

use crate::purl::Purl;
use attest::inventory::{Component, ImageFacts, Inventory, LayerFacts};
use attest::package::{Evidence, OsRelease, Package, PackageType, SourcePackage};
use oci::{Digest, Platform};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, HashMap};

/// More packages than this are refused.
const MAX_PACKAGES: usize = 500_000;
/// Names that a warning lists.
const MAX_NAMES: usize = 5;

/// Why a document cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SbomError {
    /// It is no JSON, or not of the form that it says it is.
    #[error("it cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// It is something else.
    #[error("it is no SBOM: it has neither spdxVersion nor bomFormat")]
    Unknown,
    /// It is of a version that is not known.
    #[error("it is {0}, which is not read")]
    Version(String),
    /// It lists more packages than can be.
    #[error("it lists more than {MAX_PACKAGES} packages")]
    TooMany,
}

#[derive(Deserialize)]
struct Probe {
    #[serde(default, rename = "spdxVersion")]
    spdx: Option<String>,
    #[serde(default, rename = "bomFormat")]
    bom: Option<String>,
    #[serde(default, rename = "specVersion")]
    version: Option<String>,
    #[serde(default, rename = "@context")]
    context: Option<serde_json::Value>,
    #[serde(default, rename = "predicateType")]
    predicate: Option<String>,
}

#[derive(Deserialize)]
struct Statement<T> {
    predicate: T,
}

/// Whether a file that begins like this may be an SBOM: archives of images never begin so.
#[must_use]
pub fn may_be(start: &[u8]) -> bool {
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    start.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

/// Reads a document; `name` is what it is called where it does not say what it is about.
///
/// # Errors
/// Where it is no SBOM that is known.
pub fn read(name: &str, document: &[u8]) -> Result<Inventory, SbomError> {
    let document = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
    let probe: Probe = serde_json::from_slice(document)?;
    let in_statement = probe.predicate.is_some();
    let probe = match probe.predicate {
        Some(_) => serde_json::from_slice::<Statement<Probe>>(document)?.predicate,
        None => probe,
    };
    let gathered = match (&probe.spdx, &probe.bom) {
        (Some(version), _) if ["SPDX-2.2", "SPDX-2.3"].contains(&version.as_str()) => {
            spdx::gather(parse(document, in_statement)?)
        }
        (Some(version), _) => return Err(SbomError::Version(version.clone())),
        (None, Some(bom)) if bom == "CycloneDX" => {
            let version = probe.version.unwrap_or_default();
            if !version.starts_with("1.") {
                return Err(SbomError::Version(format!("CycloneDX {version}")));
            }
            cyclonedx::gather(parse(document, in_statement)?)
        }
        _ if probe.context.is_some_and(|c| c.as_str().is_some_and(|c| c.contains("spdx.org/rdf/3"))) => {
            return Err(SbomError::Version("SPDX 3".into()));
        }
        _ => return Err(SbomError::Unknown),
    };
    gathered.inventory(name)
}

fn parse<T: DeserializeOwned>(document: &[u8], in_statement: bool) -> serde_json::Result<T> {
    if in_statement {
        serde_json::from_slice::<Statement<T>>(document).map(|statement| statement.predicate)
    } else {
        serde_json::from_slice(document)
    }
}

/// A package as a document has it.
#[derive(Debug, Default)]
struct Entry {
    /// What the document calls it.
    id: String,
    name: String,
    version: String,
    purl: Option<String>,
    source: Option<SourcePackage>,
    lock: bool,
    locations: Vec<String>,
    /// The layer: its number where that is told, its diff ID, the instruction.
    layer: Option<(Option<usize>, Digest, Option<String>)>,
}

/// What a document says, in whatever form it says it.
#[derive(Debug, Default)]
struct Gathered {
    name: Option<String>,
    digest: Option<Digest>,
    config: Option<Digest>,
    platform: Option<Platform>,
    os: Option<OsRelease>,
    layers: Vec<LayerFacts>,
    entries: Vec<Entry>,
    /// (whole, part), by what the document calls them.
    parts: Vec<(String, String)>,
}

impl Gathered {
    /// What the package URL of the image itself says.
    fn image(&mut self, purl: &str) {
        let Some(purl) = Purl::parse(purl).filter(|purl| purl.kind == "oci") else { return };
        self.digest = self.digest.take().or_else(|| purl.version.as_ref()?.parse().ok());
        let arch = || Some(Platform::new("linux", purl.qualifiers.get("arch")?, None));
        self.platform = self.platform.take().or_else(arch);
    }

    /// The distribution, as a component of its own says it.
    fn distribution(&mut self, name: &str, version: Option<&str>, pretty: Option<&str>) {
        self.os.get_or_insert_with(|| os(name, version.unwrap_or_default(), pretty));
    }

    fn inventory(self, name: &str) -> Result<Inventory, SbomError> {
        if self.entries.len() > MAX_PACKAGES {
            return Err(SbomError::TooMany);
        }
        let (mut os, mut layers) = (self.os, self.layers);
        let mut missing: Vec<String> = Vec::new();
        let mut others: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut found: Vec<(String, Component)> = Vec::new();
        for entry in self.entries {
            let Some(purl) = entry.purl.as_deref().and_then(Purl::parse) else {
                missing.push(entry.name);
                continue;
            };
            let Some(kind) = kind(&purl.kind) else {
                others.entry(format!("of the type {}", purl.kind)).or_default().push(entry.name);
                continue;
            };
            if kind.is_system() {
                let own = distribution_of(&purl);
                match (&os, own) {
                    (None, own) => os = own,
                    (Some(os), Some(own)) if os.id != own.id => {
                        let what = format!("of {}, while the document is about {}", own.id, os.id);
                        others.entry(what).or_default().push(entry.name);
                        continue;
                    }
                    _ => {}
                }
            }
            let layer = place(&mut layers, entry.layer.as_ref());
            let package = package(kind, &purl, &entry);
            let purl = entry.purl.unwrap_or_default();
            found.push((entry.id, Component { package, purl, layer, part_of: None, files: Vec::new() }));
        }
        found.sort_by(|(_, a), (_, b)| {
            let key =
                |c: &Component| (c.package.kind, c.package.name.clone(), c.package.version.clone(), c.purl.clone());
            key(a).cmp(&key(b))
        });
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let mut packages: Vec<Component> = Vec::new();
        for (id, component) in found {
            // The same in two places is one package.
            match packages.last_mut() {
                Some(last) if last.purl == component.purl && last.package.version == component.package.version => {
                    last.package.locations.extend(component.package.locations);
                }
                _ => packages.push(component),
            }
            if !id.is_empty() {
                numbers.insert(id, packages.len() - 1);
            }
        }
        for (whole, part) in &self.parts {
            if let (Some(&whole), Some(&part)) = (numbers.get(whole), numbers.get(part))
                && packages[whole].package.kind.is_system()
                && !packages[part].package.kind.is_system()
            {
                packages[part].part_of = Some(whole);
            }
        }
        let mut warnings = Vec::new();
        if !missing.is_empty() {
            warnings.push(told(&missing, "without a package URL"));
        }
        warnings.extend(others.iter().map(|(what, names)| told(names, what)));
        Ok(Inventory {
            image: ImageFacts {
                name: self.name.filter(|name| !name.is_empty()).unwrap_or_else(|| name.to_owned()),
                digest: self.digest,
                config: self.config,
                platform: self.platform,
            },
            os,
            layers,
            packages,
            files: Vec::new(),
            owners: Vec::new(),
            warnings,
        })
    }
}

/// `3 packages of the type nuget (a, b, c) were not looked at`.
fn told(names: &[String], what: &str) -> String {
    let mut list = names.iter().take(MAX_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    list.retain(|c| !c.is_control());
    if names.len() > MAX_NAMES {
        list.push_str(", …");
    }
    let (packages, were) = if names.len() == 1 { ("package", "was") } else { ("packages", "were") };
    format!("{} {packages} {what} ({list}) {were} not looked at", names.len())
}

fn kind(name: &str) -> Option<PackageType> {
    use PackageType::{Apk, Cargo, Deb, Gem, Golang, Maven, Npm, Pypi, Rpm};
    [Apk, Cargo, Deb, Gem, Golang, Maven, Npm, Pypi, Rpm].into_iter().find(|kind| kind.as_str() == name)
}

/// A distribution by the names that others have for it, in those of os-release.
fn os(name: &str, version: &str, pretty: Option<&str>) -> OsRelease {
    let name = name.trim().to_lowercase();
    let id = match name.as_str() {
        "redhat" | "red hat" | "red hat enterprise linux" => "rhel",
        "alma" => "almalinux",
        "opensuse.leap" => "opensuse-leap",
        "opensuse.tumbleweed" => "opensuse-tumbleweed",
        "suse linux enterprise server" => "sles",
        "cbl-mariner" => "mariner",
        other => other,
    };
    let version = Some(version.trim()).filter(|version| !version.is_empty()).map(str::to_owned);
    let numeric = version.as_ref().is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()));
    let shown = match &version {
        Some(version) => format!("{name} {version}"),
        None => name.clone(),
    };
    OsRelease {
        id: id.to_owned(),
        version: version.clone().filter(|_| numeric),
        codename: version.filter(|_| !numeric),
        name: Some(pretty.map_or(shown, str::to_owned)),
        like: Vec::new(),
    }
}

/// The distribution that a package URL names: `distro=debian-12`, `distro=3.18.4`, else the namespace.
fn distribution_of(purl: &Purl) -> Option<OsRelease> {
    let distro = purl.qualifiers.get("distro").map_or("", String::as_str);
    let (name, version) = match distro.rsplit_once('-') {
        Some((name, version)) if version.starts_with(|c: char| c.is_ascii_digit()) => (name, version),
        _ if distro.starts_with(|c: char| c.is_ascii_digit()) => (purl.namespace.as_str(), distro),
        _ if distro.is_empty() => (purl.namespace.as_str(), ""),
        _ => match distro.split_once('-') {
            Some((name, codename)) if name == purl.namespace => (name, codename),
            _ => (distro, ""),
        },
    };
    (!name.is_empty()).then(|| os(name, version, None))
}

/// The number of a layer; one that is not listed yet is listed now. Of none there is no number.
fn place(layers: &mut Vec<LayerFacts>, layer: Option<&(Option<usize>, Digest, Option<String>)>) -> usize {
    let Some((number, diff_id, instruction)) = layer else { return usize::MAX };
    let told = number.filter(|n| layers.get(*n).is_some_and(|layer| layer.diff_id == *diff_id));
    let known = told.or_else(|| layers.iter().position(|layer| layer.diff_id == *diff_id));
    let number = known.unwrap_or_else(|| {
        layers.push(LayerFacts { diff_id: diff_id.clone(), digest: None, instruction: None });
        layers.len() - 1
    });
    if layers[number].instruction.is_none() {
        layers[number].instruction.clone_from(instruction);
    }
    number
}

fn package(kind: PackageType, purl: &Purl, entry: &Entry) -> Package {
    let name = match (kind, purl.namespace.as_str()) {
        (PackageType::Npm | PackageType::Golang, namespace) if !namespace.is_empty() => {
            format!("{namespace}/{}", purl.name)
        }
        (PackageType::Maven, namespace) if !namespace.is_empty() => format!("{namespace}:{}", purl.name),
        _ => purl.name.clone(),
    };
    // Some write package URLs in small letters, which names of modules are not.
    let name = if entry.name.eq_ignore_ascii_case(&name) { entry.name.clone() } else { name };
    let mut version = purl.version.clone().unwrap_or_else(|| entry.version.clone());
    let epoch = purl.qualifiers.get("epoch").filter(|epoch| *epoch != "0" && !version.contains(':'));
    if let Some(epoch) = epoch.filter(|_| kind.is_system()) {
        version = format!("{epoch}:{version}");
    }
    let evidence = if entry.lock { Evidence::Lock } else { Evidence::Installed };
    let mut out = Package::new(kind, name, version, evidence);
    out.arch = purl.qualifiers.get(if kind == PackageType::Gem { "platform" } else { "arch" }).cloned();
    let upstream = purl.qualifiers.get("upstream").filter(|_| kind.is_system());
    out.source = upstream.map(|text| upstream_of(text, &out.version)).or_else(|| entry.source.clone());
    if let Some(source) = out.source.as_mut().filter(|source| source.version.is_empty()) {
        source.version.clone_from(&out.version);
    }
    out.locations = entry.locations.iter().map(|path| path.trim_start_matches('/').to_owned()).collect();
    out
}

/// `glibc@2.36-9`, `glibc`, or the file of a source package: `bash-5.1.8-6.el9.src.rpm`.
fn upstream_of(text: &str, version: &str) -> SourcePackage {
    if let Some(stem) = text.strip_suffix(".src.rpm") {
        let mut parts = stem.rsplitn(3, '-');
        if let (Some(release), Some(number), Some(name)) = (parts.next(), parts.next(), parts.next()) {
            return SourcePackage { name: name.to_owned(), version: format!("{number}-{release}") };
        }
    }
    let (name, version) = text.split_once('@').unwrap_or((text, version));
    SourcePackage { name: name.to_owned(), version: version.to_owned() }
}

#[cfg(test)]
mod tests;
