//! CycloneDX 1.x, JSON. Files are components too, and are passed over.
use super::{Entry, Gathered};
use attest::inventory::LayerFacts;
use attest::package::SourcePackage;
use oci::Digest;
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct Bom {
    #[serde(default)]
    metadata: Option<Metadata>,
    #[serde(default)]
    components: Option<Vec<Component>>,
    #[serde(default)]
    dependencies: Option<Vec<Dependency>>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    component: Option<Component>,
}

#[derive(Deserialize)]
struct Component {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default, rename = "bom-ref")]
    id: Option<String>,
    #[serde(default)]
    group: Option<String>,
    name: String,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    purl: Option<String>,
    #[serde(default)]
    properties: Option<Vec<Property>>,
    #[serde(default)]
    components: Option<Vec<Component>>,
    #[serde(default)]
    evidence: Option<Evidence>,
}

impl Component {
    fn has(&self, property: &str) -> bool {
        self.properties.iter().flatten().any(|p| p.name == property)
    }
}

#[derive(Deserialize)]
struct Property {
    #[serde(default)]
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Evidence {
    #[serde(default)]
    occurrences: Option<Vec<Occurrence>>,
}

#[derive(Deserialize)]
struct Occurrence {
    #[serde(default)]
    location: String,
}

#[derive(Deserialize)]
struct Dependency {
    #[serde(rename = "ref")]
    of: String,
    #[serde(default, rename = "dependsOn")]
    on: Option<Vec<String>>,
}

pub(super) fn gather(bom: Bom) -> Gathered {
    let mut out = Gathered::default();
    if let Some(about) = bom.metadata.and_then(|metadata| metadata.component) {
        subject(&mut out, about);
    }
    let mut waiting: Vec<Component> = bom.components.unwrap_or_default();
    waiting.reverse();
    while let Some(mut component) = waiting.pop() {
        waiting.extend(component.components.take().into_iter().flatten());
        match component.kind.as_str() {
            "operating-system" => {
                out.distribution(&component.name, component.version.as_deref(), component.description.as_deref());
            }
            "file" | "container" | "device" | "platform" | "data" if component.purl.is_none() => {}
            // A lock file, as trivy has it; its packages stand beside it.
            "application" if component.purl.is_none() && component.has("aquasecurity:trivy:Class") => {}
            _ => out.entries.push(entry(component)),
        }
    }
    for Dependency { of, on } in bom.dependencies.into_iter().flatten() {
        out.parts.extend(on.into_iter().flatten().map(|part| (of.clone(), part)));
    }
    out
}

/// What the document is about: an image, or something that is itself a package.
fn subject(out: &mut Gathered, about: Component) {
    let (mut layers, mut platform, mut config) = (Vec::new(), None, None);
    for Property { name, value } in about.properties.iter().flatten() {
        match name.as_str() {
            "cooperage:platform" => platform = value.parse().ok(),
            "cooperage:config" => config = value.parse().ok(),
            "cooperage:layer:diffID" | "aquasecurity:trivy:DiffID" => layers.extend(value.parse::<Digest>().ok()),
            "aquasecurity:trivy:ImageID" if config.is_none() => config = value.parse().ok(),
            _ => {}
        }
    }
    out.layers = layers.into_iter().map(|diff_id| LayerFacts { diff_id, digest: None, instruction: None }).collect();
    (out.platform, out.config) = (platform, config);
    out.name = Some(about.name.clone());
    out.digest = about.version.as_deref().and_then(|version| version.parse().ok());
    match &about.purl {
        Some(purl) if purl.starts_with("pkg:oci/") => out.image(purl),
        Some(_) if about.kind != "container" => out.entries.push(entry(about)),
        _ => {}
    }
}

fn entry(component: Component) -> Entry {
    let mut out = Entry {
        id: component.id.unwrap_or_default(),
        version: component.version.unwrap_or_default(),
        purl: component.purl,
        ..Entry::default()
    };
    let occurrences = component.evidence.and_then(|evidence| evidence.occurrences).unwrap_or_default();
    out.locations.extend(occurrences.into_iter().map(|occurrence| occurrence.location));
    let (mut index, mut diff_id, mut instruction): (Option<usize>, Option<Digest>, Option<String>) = Default::default();
    let (mut source, mut parts): (Option<SourcePackage>, [String; 4]) = Default::default();
    for Property { name, value } in component.properties.into_iter().flatten() {
        match name.as_str() {
            "cooperage:layer:index" => index = value.parse().ok(),
            "cooperage:layer:diffID" | "aquasecurity:trivy:LayerDiffID" => diff_id = value.parse().ok(),
            "cooperage:layer:instruction" => instruction = Some(value),
            "cooperage:package:evidence" => out.lock = value == "lock",
            "cooperage:package:source" => {
                let (name, version) = value.split_once(' ').unwrap_or((&value, ""));
                source = Some(SourcePackage { name: name.to_owned(), version: version.to_owned() });
            }
            "aquasecurity:trivy:FilePath" => out.locations.push(value),
            "aquasecurity:trivy:SrcName" | "syft:metadata:source" => parts[0] = value,
            "aquasecurity:trivy:SrcVersion" | "syft:metadata:sourceVersion" => parts[1] = value,
            "aquasecurity:trivy:SrcRelease" => parts[2] = value,
            "aquasecurity:trivy:SrcEpoch" => parts[3] = value,
            name if name.starts_with("syft:location:") && name.ends_with(":path") => out.locations.push(value),
            name if name.starts_with("syft:location:") && name.ends_with(":layerID") && diff_id.is_none() => {
                diff_id = value.parse().ok();
            }
            _ => {}
        }
    }
    let [name, version, release, epoch] = parts;
    if source.is_none() && !name.is_empty() {
        let release = if release.is_empty() { release } else { format!("-{release}") };
        let epoch = if epoch.is_empty() || epoch == "0" { String::new() } else { format!("{epoch}:") };
        let version = if version.is_empty() { version } else { format!("{epoch}{version}{release}") };
        source = Some(SourcePackage { name, version });
    }
    out.source = source;
    out.layer = diff_id.map(|diff_id| (index, diff_id, instruction));
    out.name = match component.group.filter(|group| !group.is_empty()) {
        Some(group) if out.purl.as_deref().is_some_and(|purl| purl.starts_with("pkg:maven/")) => {
            format!("{group}:{}", component.name)
        }
        Some(group) => format!("{group}/{}", component.name),
        None => component.name,
    };
    out
}
