//! CycloneDX 1.6, JSON.
//!
//! The image is the document's component; packages are its components, files are components of packages. Layers are
//! properties: `cooperage:layer:index`, `:diffID`, `:instruction`.
use super::{Options, hex, listed};
use crate::inventory::{Component as Found, Inventory};
use crate::license;
use crate::package::{Evidence, PackageType};
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    #[serde(rename = "$schema")]
    schema: &'static str,
    bom_format: &'static str,
    spec_version: &'static str,
    serial_number: String,
    version: u32,
    metadata: Metadata,
    components: Vec<Component>,
    dependencies: Vec<Dependency>,
}

#[derive(Serialize)]
struct Metadata {
    timestamp: String,
    tools: Tools,
    component: Component,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
}

#[derive(Serialize)]
struct Tools {
    components: Vec<Component>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    #[serde(rename = "ref")]
    of: String,
    depends_on: Vec<String>,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Component {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref", skip_serializing_if = "Option::is_none")]
    bom_ref: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supplier: Option<Supplier>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<LicenseChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_references: Vec<ExternalReference>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    components: Vec<Component>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Occurrences>,
}

#[derive(Serialize)]
struct Supplier {
    name: String,
}

#[derive(Serialize)]
struct Hash {
    alg: &'static str,
    content: String,
}

#[derive(Serialize)]
struct LicenseChoice {
    #[serde(skip_serializing_if = "Option::is_none")]
    license: Option<License>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expression: Option<String>,
}

#[derive(Serialize)]
struct License {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

#[derive(Serialize)]
struct ExternalReference {
    #[serde(rename = "type")]
    kind: &'static str,
    url: String,
}

#[derive(Serialize)]
struct Property {
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
struct Occurrences {
    occurrences: Vec<Occurrence>,
}

#[derive(Serialize)]
struct Occurrence {
    location: String,
}

const IMAGE: &str = "image";

pub(super) fn document(inventory: &Inventory, options: &Options) -> Document {
    let refs: Vec<String> = inventory.packages.iter().map(Found::id).collect();
    let mut files: Vec<Vec<Component>> = inventory.packages.iter().map(|_| Vec::new()).collect();
    let mut unowned = Vec::new();
    for number in listed(inventory, options.files) {
        match inventory.owners[number] {
            Some(owner) => files[owner].push(file(inventory, number)),
            None => unowned.push(file(inventory, number)),
        }
    }
    let mut components = Vec::new();
    if let Some(os) = &inventory.os {
        components.push(Component {
            kind: "operating-system",
            bom_ref: Some("os".to_owned()),
            name: os.id.clone(),
            version: os.version.clone().or_else(|| os.codename.clone()),
            description: os.name.clone(),
            ..Component::default()
        });
    }
    for ((found, bom_ref), files) in inventory.packages.iter().zip(&refs).zip(files) {
        components.push(package(inventory, found, bom_ref, files));
    }
    components.extend(unowned);
    // What is known of dependencies: the image has the packages, and packages of the distribution have others in them.
    let mut parts: Vec<Vec<String>> = vec![Vec::new(); refs.len()];
    let mut tops = Vec::new();
    for (found, bom_ref) in inventory.packages.iter().zip(&refs) {
        match found.part_of {
            Some(whole) => parts[whole].push(bom_ref.clone()),
            None => tops.push(bom_ref.clone()),
        }
    }
    let mut dependencies = vec![Dependency { of: IMAGE.to_owned(), depends_on: tops }];
    let with_parts = refs.iter().zip(parts).filter(|(_, parts)| !parts.is_empty());
    dependencies.extend(with_parts.map(|(of, depends_on)| Dependency { of: of.clone(), depends_on }));
    let tool = Component {
        kind: "application",
        name: options.tool.0.clone(),
        version: Some(options.tool.1.clone()),
        ..Component::default()
    };
    Document {
        schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
        bom_format: "CycloneDX",
        spec_version: "1.6",
        serial_number: format!("urn:uuid:{}", super::uuid(inventory, options, "cyclonedx")),
        version: 1,
        metadata: Metadata {
            timestamp: options.created.clone(),
            tools: Tools { components: vec![tool] },
            component: image(inventory),
            properties: inventory
                .warnings
                .iter()
                .map(|warning| Property { name: "cooperage:warning", value: warning.clone() })
                .collect(),
        },
        components,
        dependencies,
    }
}

fn image(inventory: &Inventory) -> Component {
    let facts = &inventory.image;
    let mut properties = Vec::new();
    properties.extend(facts.platform.as_ref().map(|p| Property { name: "cooperage:platform", value: p.to_string() }));
    properties.extend(facts.config.as_ref().map(|c| Property { name: "cooperage:config", value: c.to_string() }));
    for layer in &inventory.layers {
        properties.push(Property { name: "cooperage:layer:diffID", value: layer.diff_id.to_string() });
    }
    Component {
        kind: "container",
        bom_ref: Some(IMAGE.to_owned()),
        name: facts.name.clone(),
        version: facts.digest.as_ref().map(ToString::to_string),
        purl: super::image_purl(inventory),
        properties,
        ..Component::default()
    }
}

fn file(inventory: &Inventory, number: usize) -> Component {
    let facts = &inventory.files[number];
    let hashes = facts.digests.as_ref().map(|digests| {
        vec![Hash { alg: "SHA-1", content: hex(&digests.sha1) }, Hash { alg: "SHA-256", content: hex(&digests.sha256) }]
    });
    Component {
        kind: "file",
        name: format!("/{}", facts.path),
        hashes: hashes.unwrap_or_default(),
        ..Component::default()
    }
}

fn package(inventory: &Inventory, found: &Found, bom_ref: &str, files: Vec<Component>) -> Component {
    let facts = &found.package;
    let (group, name) = match (facts.kind, facts.name.split_once(':'), facts.name.split_once('/')) {
        (PackageType::Maven, Some((group, name)), _) => (Some(group.to_owned()), name.to_owned()),
        (PackageType::Npm, _, Some((scope, name))) if scope.starts_with('@') => {
            (Some(scope.to_owned()), name.to_owned())
        }
        _ => (None, facts.name.clone()),
    };
    let mut properties = vec![
        Property { name: "cooperage:package:type", value: facts.kind.as_str().to_owned() },
        Property {
            name: "cooperage:package:evidence",
            value: match facts.evidence {
                Evidence::Installed => "installed",
                Evidence::Binary => "binary",
                Evidence::Lock => "lock",
            }
            .to_owned(),
        },
    ];
    if let Some(source) = &facts.source {
        properties
            .push(Property { name: "cooperage:package:source", value: format!("{} {}", source.name, source.version) });
    }
    if let Some(layer) = inventory.layers.get(found.layer) {
        properties.push(Property { name: "cooperage:layer:index", value: found.layer.to_string() });
        properties.push(Property { name: "cooperage:layer:diffID", value: layer.diff_id.to_string() });
        if let Some(instruction) = &layer.instruction {
            properties.push(Property { name: "cooperage:layer:instruction", value: instruction.clone() });
        }
    }
    let homepage = facts.homepage.clone().filter(|url| url.starts_with("http://") || url.starts_with("https://"));
    Component {
        kind: "library",
        bom_ref: Some(bom_ref.to_owned()),
        supplier: facts.supplier.clone().map(|name| Supplier { name }),
        group,
        name,
        version: Some(facts.version.clone()),
        description: facts.description.clone(),
        licenses: licenses(&facts.licenses),
        purl: Some(found.purl.clone()),
        external_references: homepage.map(|url| ExternalReference { kind: "website", url }).into_iter().collect(),
        properties,
        components: files,
        evidence: Some(Occurrences {
            occurrences: facts.locations.iter().map(|path| Occurrence { location: format!("/{path}") }).collect(),
        }),
        ..Component::default()
    }
}

/// One expression, or the names of licences that SPDX does not list.
fn licenses(statements: &[String]) -> Vec<LicenseChoice> {
    let named = |license| LicenseChoice { license: Some(license), expression: None };
    match license::declared(statements) {
        None => Vec::new(),
        Some(one) if one.references.len() == 1 && one.references[0].0 == one.expression => {
            let name = one.references[0].1.chars().take(4000).collect();
            vec![named(License { id: None, name: Some(name) })]
        }
        Some(one) if one.references.is_empty() && !one.expression.contains([' ', '+']) => {
            vec![named(License { id: Some(one.expression), name: None })]
        }
        Some(one) => vec![LicenseChoice { license: None, expression: Some(one.expression) }],
    }
}
