//! SPDX 2.3, JSON.
//!
//! ```text
//! document ─DESCRIBES─► image ─CONTAINS─► layers ─CONTAINS─► packages ─CONTAINS─► files
//!                         └────CONTAINS─► operating system, files of no package
//! ```
//! A package with listed files has a verification code, as the specification (7.9) wants it.
use super::{Files, Options, hex, listed};
use crate::inventory::{Component, Inventory};
use crate::license::{self, License};
use serde::Serialize;
use sha1::Digest as _;
use std::collections::BTreeMap;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    id: &'static str,
    name: String,
    document_namespace: String,
    creation_info: CreationInfo,
    packages: Vec<Package>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<File>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    has_extracted_licensing_infos: Vec<Extracted>,
    relationships: Vec<Relationship>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreationInfo {
    license_list_version: &'static str,
    creators: Vec<String>,
    created: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Package {
    name: String,
    #[serde(rename = "SPDXID")]
    id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version_info: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    supplier: Option<String>,
    download_location: &'static str,
    files_analyzed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    package_verification_code: Option<VerificationCode>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checksums: Vec<Checksum>,
    #[serde(skip_serializing_if = "Option::is_none")]
    homepage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_info: Option<String>,
    license_concluded: &'static str,
    license_declared: String,
    copyright_text: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_refs: Vec<ExternalRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    primary_package_purpose: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VerificationCode {
    package_verification_code_value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checksum {
    algorithm: &'static str,
    checksum_value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalRef {
    reference_category: &'static str,
    reference_type: &'static str,
    reference_locator: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File {
    file_name: String,
    #[serde(rename = "SPDXID")]
    id: String,
    checksums: [Checksum; 2],
    comment: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Extracted {
    license_id: String,
    extracted_text: String,
    name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    spdx_element_id: String,
    related_spdx_element: String,
    relationship_type: &'static str,
}

const NOASSERTION: &str = "NOASSERTION";
const IMAGE: &str = "SPDXRef-Image";

fn package(name: impl Into<String>, id: String) -> Package {
    Package {
        name: name.into(),
        id,
        download_location: NOASSERTION,
        license_concluded: NOASSERTION,
        license_declared: NOASSERTION.to_owned(),
        copyright_text: NOASSERTION,
        ..Package::default()
    }
}

fn purl(locator: String) -> ExternalRef {
    ExternalRef { reference_category: "PACKAGE-MANAGER", reference_type: "purl", reference_locator: locator }
}

fn relate(from: &str, kind: &'static str, to: &str) -> Relationship {
    Relationship { spdx_element_id: from.to_owned(), related_spdx_element: to.to_owned(), relationship_type: kind }
}

pub(super) fn document(inventory: &Inventory, options: &Options) -> Document {
    let mut extracted: BTreeMap<String, String> = BTreeMap::new();
    let mut relationships = vec![relate("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE)];
    let mut packages = vec![image(inventory)];
    if let Some(os) = &inventory.os {
        let id = "SPDXRef-OperatingSystem";
        let mut system = package(os.id.clone(), id.to_owned());
        system.version_info = os.version.clone().or_else(|| os.codename.clone()).unwrap_or_default();
        system.description.clone_from(&os.name);
        system.primary_package_purpose = Some("OPERATING_SYSTEM");
        packages.push(system);
        relationships.push(relate(IMAGE, "CONTAINS", id));
    }
    for (number, facts) in inventory.layers.iter().enumerate() {
        let id = layer_id(number);
        let mut layer = package(facts.diff_id.to_string(), id.clone());
        layer.checksums.extend(facts.digest.as_ref().and_then(checksum));
        layer.comment = facts.instruction.as_deref().map(|text| format!("created by: {text}"));
        layer.primary_package_purpose = Some("ARCHIVE");
        packages.push(layer);
        relationships.push(relate(IMAGE, "CONTAINS", &id));
    }
    let ids: Vec<String> = inventory.packages.iter().map(|c| format!("SPDXRef-Package-{}", c.id())).collect();
    for (component, id) in inventory.packages.iter().zip(&ids) {
        relationships.push(relate(&layer_id(component.layer), "CONTAINS", id));
        if let Some(whole) = component.part_of {
            relationships.push(relate(&ids[whole], "CONTAINS", id));
        }
        packages.push(of_component(inventory, options, component, id, &mut extracted));
    }
    let mut files = Vec::new();
    for number in listed(inventory, options.files) {
        let facts = &inventory.files[number];
        let Some(digests) = &facts.digests else { continue };
        let id = format!("SPDXRef-File-{}", oci::Digest::sha256(facts.path.as_bytes()).short());
        let owner = inventory.owners[number].map_or(IMAGE, |owner| ids[owner].as_str());
        relationships.push(relate(owner, "CONTAINS", &id));
        files.push(File {
            file_name: format!("./{}", facts.path),
            id,
            checksums: [
                Checksum { algorithm: "SHA1", checksum_value: hex(&digests.sha1) },
                Checksum { algorithm: "SHA256", checksum_value: hex(&digests.sha256) },
            ],
            comment: inventory.layers.get(facts.layer).map_or(String::new(), |l| format!("layerID: {}", l.diff_id)),
        });
    }
    let comment =
        (!inventory.warnings.is_empty()).then(|| format!("What could not be read:\n{}", inventory.warnings.join("\n")));
    Document {
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        id: "SPDXRef-DOCUMENT",
        name: inventory.image.name.clone(),
        document_namespace: format!("https://spdx.org/spdxdocs/image-{}", super::uuid(inventory, options, "spdx")),
        creation_info: CreationInfo {
            license_list_version: license_list(),
            creators: vec![format!("Tool: {}-{}", options.tool.0, options.tool.1)],
            created: options.created.clone(),
            comment,
        },
        packages,
        files,
        has_extracted_licensing_infos: extracted
            .into_iter()
            .map(|(license_id, text)| Extracted {
                name: text.lines().next().unwrap_or("").chars().take(100).collect(),
                extracted_text: text,
                license_id,
            })
            .collect(),
        relationships,
    }
}

/// The schema wants two numbers: `3.27` of `3.27.0`.
fn license_list() -> &'static str {
    let version = license::list_version().trim_start_matches('v');
    match version.match_indices('.').nth(1) {
        Some((at, _)) => &version[..at],
        None => version,
    }
}

fn layer_id(number: usize) -> String {
    format!("SPDXRef-Layer-{number}")
}

fn checksum(digest: &oci::Digest) -> Option<Checksum> {
    let algorithm = match digest.algorithm() {
        "sha256" => "SHA256",
        "sha512" => "SHA512",
        _ => return None,
    };
    Some(Checksum { algorithm, checksum_value: digest.hex().to_owned() })
}

fn image(inventory: &Inventory) -> Package {
    let facts = &inventory.image;
    let mut image = package(facts.name.clone(), IMAGE.to_owned());
    if let Some(digest) = &facts.digest {
        image.version_info = digest.to_string();
        image.checksums.extend(checksum(digest));
    }
    let platform = facts.platform.as_ref().map(|platform| format!("platform: {platform}"));
    let config = facts.config.as_ref().map(|config| format!("config: {config}"));
    let about: Vec<String> = platform.into_iter().chain(config).collect();
    image.comment = (!about.is_empty()).then(|| about.join(", "));
    image.external_refs.extend(super::image_purl(inventory).map(purl));
    image.primary_package_purpose = Some("CONTAINER");
    image
}

fn of_component(
    inventory: &Inventory,
    options: &Options,
    component: &Component,
    id: &str,
    extracted: &mut BTreeMap<String, String>,
) -> Package {
    let facts = &component.package;
    let mut out = package(facts.name.clone(), id.to_owned());
    out.version_info.clone_from(&facts.version);
    out.supplier = Some(facts.supplier.as_deref().map_or_else(|| NOASSERTION.to_owned(), supplier));
    out.homepage = facts.homepage.clone().filter(|url| url.starts_with("http://") || url.starts_with("https://"));
    out.description.clone_from(&facts.description);
    let mut info = format!("found in: {}", facts.locations.join(", "));
    if let Some(source) = &facts.source {
        info.push_str(&format!("; built from: {} {}", source.name, source.version));
    }
    out.source_info = Some(info);
    if let Some(License { expression, references }) = license::declared(&facts.licenses) {
        out.license_declared = expression;
        extracted.extend(references);
    }
    out.external_refs.push(purl(component.purl.clone()));
    if let Some(layer) = inventory.layers.get(component.layer) {
        let instruction = layer.instruction.as_deref().map(|text| format!(", created by: {text}")).unwrap_or_default();
        out.comment = Some(format!("layerID: {}{instruction}", layer.diff_id));
    }
    if options.files != Files::None {
        let mut sums: Vec<String> =
            component.files.iter().filter_map(|n| inventory.files[*n].digests.as_ref()).map(|d| hex(&d.sha1)).collect();
        if !sums.is_empty() {
            sums.sort();
            let code = hex(&sha1::Sha1::digest(sums.concat().as_bytes()));
            out.files_analyzed = true;
            out.package_verification_code = Some(VerificationCode { package_verification_code_value: code });
        }
    }
    out
}

/// `Person: Name (address)` of `Name <address>`; teams and lists are organisations.
fn supplier(text: &str) -> String {
    let kind = ["team", "maintainers", "group", "project", "developers", "inc", "ltd", "foundation", "red hat", "suse"];
    let lower = text.to_lowercase();
    let kind =
        if kind.iter().any(|word| lower.contains(word)) || !text.contains('<') { "Organization" } else { "Person" };
    match text.split_once('<') {
        Some((name, address)) if !name.trim().is_empty() => {
            format!("{kind}: {} ({})", name.trim().trim_matches('"'), address.trim_end_matches('>').trim())
        }
        _ => format!("{kind}: {}", text.trim().trim_matches(['<', '>'])),
    }
}
