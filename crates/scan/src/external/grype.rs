//! `grype --output json`.
use super::{ExternalError, layer, package};
use crate::finding::{AffectedPackage, Finding, Reference, Scan};
use crate::report::Scanner;
use crate::severity::{self, Vector};
use attest::inventory::Inventory;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;

#[derive(Deserialize)]
struct Report {
    matches: Vec<Match>,
    descriptor: Descriptor,
}

#[derive(Deserialize)]
struct Descriptor {
    name: String,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    db: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Match {
    vulnerability: Vulnerability,
    #[serde(default)]
    related_vulnerabilities: Vec<Vulnerability>,
    artifact: Artifact,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vulnerability {
    id: String,
    #[serde(default)]
    data_source: Option<String>,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    severity: String,
    #[serde(default)]
    urls: Vec<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    cvss: Vec<Cvss>,
    #[serde(default)]
    fix: Option<Fix>,
}

#[derive(Deserialize)]
struct Cvss {
    version: String,
    vector: String,
}

#[derive(Deserialize)]
struct Fix {
    #[serde(default)]
    versions: Vec<String>,
    #[serde(default)]
    state: String,
}

#[derive(Deserialize)]
struct Artifact {
    name: String,
    version: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    purl: String,
    #[serde(default)]
    locations: Vec<Location>,
    #[serde(default)]
    upstreams: Vec<Upstream>,
}

#[derive(Deserialize)]
struct Location {
    path: String,
    #[serde(default, rename = "layerID")]
    layer: Option<String>,
}

#[derive(Deserialize)]
struct Upstream {
    name: String,
}

pub(super) fn parse(bytes: &[u8], inventory: &Inventory) -> Result<(Scan, Scanner), ExternalError> {
    let report: Report = serde_json::from_slice(bytes)?;
    if report.descriptor.name != "grype" {
        return Err(ExternalError::Form(format!("it says that {:?} wrote it", report.descriptor.name)));
    }
    let findings = report.matches.iter().map(|found| finding(found, inventory)).collect::<Result<_, _>>()?;
    let scan = Scan { findings, packages: 0, uncovered: Vec::new() };
    // Where it says when its records were fetched has changed with its versions.
    let db = &report.descriptor.db;
    let built = [&db["built"], &db["status"]["built"]].into_iter().find_map(Value::as_str).map(str::to_owned);
    Ok((scan, Scanner { name: "grype".into(), version: report.descriptor.version, database: built }))
}

fn finding(found: &Match, inventory: &Inventory) -> Result<Finding, ExternalError> {
    let (about, artifact) = (&found.vulnerability, &found.artifact);
    // What has no package URL (a program that was only recognised) is told by its type and name.
    let (kind, name) = match package(&artifact.purl) {
        Some(found) => found,
        None if artifact.purl.is_empty() => (artifact.kind.clone(), artifact.name.clone()),
        None => {
            return Err(ExternalError::Form(format!(
                "{} is about {:?}, which is no package URL",
                about.id, artifact.purl
            )));
        }
    };
    let related = &found.related_vulnerabilities;
    // What people call it, where that is another name.
    let id = [about].into_iter().chain(related).map(|v| &v.id).find(|id| id.starts_with("CVE-")).unwrap_or(&about.id);
    let names: BTreeSet<&String> =
        related.iter().map(|v| &v.id).chain([&about.id]).filter(|name| *name != id).collect();
    let cvss = if about.cvss.is_empty() { related.iter().find(|v| !v.cvss.is_empty()) } else { Some(about) };
    let vectors: Vec<Vector> = cvss
        .into_iter()
        .flat_map(|v| &v.cvss)
        .map(|cvss| Vector {
            kind: format!("CVSS_V{}", cvss.version.split('.').next().unwrap_or_default()),
            score: cvss.vector.clone(),
        })
        .collect();
    let mut references: Vec<Reference> =
        about.data_source.iter().map(|url| Reference { kind: "ADVISORY".into(), url: url.clone() }).collect();
    references.extend(about.urls.iter().map(|url| Reference { kind: "WEB".into(), url: url.clone() }));
    let diff_id = artifact.locations.first().and_then(|l| l.layer.as_deref());
    let details = about.description.clone().or_else(|| related.iter().find_map(|v| v.description.clone()));
    let fix = about.fix.as_ref();
    Ok(Finding {
        id: id.clone(),
        aliases: names.into_iter().cloned().collect(),
        severity: about.severity.parse().unwrap_or_default(),
        score: severity::rate(&vectors, None, None).score,
        vectors,
        urgency: fix.map(|fix| fix.state.clone()).filter(|state| state == "wont-fix"),
        fixed: fix.map(|fix| fix.versions.clone()).unwrap_or_default(),
        summary: None,
        details,
        references,
        published: None,
        modified: None,
        package: AffectedPackage {
            kind,
            version: artifact.version.clone(),
            source: artifact.upstreams.first().map(|u| u.name.clone()).filter(|source| *source != name),
            ecosystem: about.namespace.clone(),
            layer: layer(diff_id, &artifact.purl, inventory),
            paths: artifact.locations.iter().map(|l| l.path.trim_start_matches('/').to_owned()).collect(),
            name,
            purl: artifact.purl.clone(),
        },
    })
}
