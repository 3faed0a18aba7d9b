//! SPDX 2.2 and 2.3, JSON. Layer and place stand in free text: `layerID: …, created by: …` in the comment,
//! `found in: …; built from: …` in the source information.
use super::{Entry, Gathered};
use attest::inventory::LayerFacts;
use attest::package::SourcePackage;
use oci::Digest;
use serde::Deserialize;
use std::collections::HashSet;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    packages: Option<Vec<Package>>,
    #[serde(default)]
    relationships: Option<Vec<Relationship>>,
    #[serde(default)]
    document_describes: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Package {
    #[serde(rename = "SPDXID")]
    id: String,
    name: String,
    #[serde(default)]
    version_info: Option<String>,
    #[serde(default)]
    external_refs: Option<Vec<ExternalRef>>,
    #[serde(default)]
    primary_package_purpose: Option<String>,
    #[serde(default)]
    comment: Option<String>,
    #[serde(default)]
    source_info: Option<String>,
    #[serde(default)]
    description: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExternalRef {
    #[serde(default)]
    reference_type: String,
    #[serde(default)]
    reference_locator: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    spdx_element_id: String,
    related_spdx_element: String,
    relationship_type: String,
    #[serde(default)]
    comment: Option<String>,
}

pub(super) fn gather(document: Document) -> Gathered {
    let mut out = Gathered { name: document.name, ..Gathered::default() };
    let mut described: HashSet<String> = document.document_describes.into_iter().flatten().collect();
    for relationship in document.relationships.into_iter().flatten() {
        let Relationship { spdx_element_id: from, related_spdx_element: to, relationship_type, comment } = relationship;
        match relationship_type.as_str() {
            "DESCRIBES" => drop(described.insert(to)),
            "CONTAINS" => out.parts.push((from, to)),
            "OTHER" if comment.is_some_and(|text| text.starts_with("ownership-by-file-overlap")) => {
                out.parts.push((from, to));
            }
            _ => {}
        }
    }
    let mut layers: Vec<(usize, LayerFacts)> = Vec::new();
    for package in document.packages.into_iter().flatten() {
        let purl = package.external_refs.iter().flatten().find(|r| r.reference_type == "purl");
        let purl = purl.map(|found| found.reference_locator.clone());
        let purpose = package.primary_package_purpose.as_deref().unwrap_or_default().replace('_', "-");
        let number = package.id.strip_prefix("SPDXRef-Layer-").and_then(|number| number.parse().ok());
        match (purpose.as_str(), &purl, number) {
            ("OPERATING-SYSTEM", ..) => {
                out.distribution(&package.name, package.version_info.as_deref(), package.description.as_deref());
            }
            ("ARCHIVE", None, Some(number)) => {
                let instruction = package.comment.as_deref().and_then(|text| text.strip_prefix("created by: "));
                let instruction = instruction.map(str::to_owned);
                if let Ok(diff_id) = package.name.parse() {
                    layers.push((number, LayerFacts { diff_id, digest: None, instruction }));
                }
            }
            (_, Some(purl), _) if purl.starts_with("pkg:oci/") => {
                let comment = package.comment.as_deref().unwrap_or_default();
                for part in comment.split(", ") {
                    match part.split_once(": ") {
                        Some(("platform", value)) => out.platform = value.parse().ok(),
                        Some(("config", value)) => out.config = value.parse().ok(),
                        _ => {}
                    }
                }
                out.image(purl);
            }
            ("CONTAINER" | "FILE" | "DEVICE" | "ARCHIVE" | "SOURCE", None, _) => {}
            (_, None, _) if described.contains(&package.id) => {}
            _ => out.entries.push(entry(package, purl)),
        }
    }
    layers.sort_by_key(|(number, _)| *number);
    out.layers = layers.into_iter().map(|(_, layer)| layer).collect();
    out
}

fn entry(package: Package, purl: Option<String>) -> Entry {
    let mut out = Entry {
        id: package.id,
        name: package.name,
        version: package.version_info.unwrap_or_default(),
        purl,
        ..Entry::default()
    };
    let comment = package.comment.unwrap_or_default();
    if let Some(rest) = comment.strip_prefix("layerID: ") {
        let (diff_id, instruction) = match rest.split_once(", created by: ") {
            Some((diff_id, instruction)) => (diff_id, Some(instruction.to_owned())),
            None => (rest, None),
        };
        out.layer = diff_id.parse::<Digest>().ok().map(|diff_id| (None, diff_id, instruction));
    }
    for part in package.source_info.unwrap_or_default().split("; ") {
        match part.split_once(": ") {
            Some(("built from" | "built package from", source)) => {
                let (name, version) = source.split_once(' ').unwrap_or((source, ""));
                out.source = Some(SourcePackage { name: name.to_owned(), version: version.to_owned() });
            }
            Some((what, places)) if what == "found in" || what.starts_with("acquired package info from") => {
                out.locations.extend(places.split(", ").map(str::to_owned));
            }
            _ => {}
        }
    }
    out
}
