//! SARIF 2.1.0 (OASIS), with what GitHub's code scanning reads beside it: `security-severity`, tags, fingerprints.
//!
//! A rule is a vulnerability, a result one package that has it. The place is the file in the image that says that the
//! package is there; what does not count is there too, suppressed.
use super::Options;
use crate::finding::Finding;
use crate::policy::{Judged, Outcome, Suppressed};
use crate::severity::Severity;
use attest::inventory::Inventory;
use oci::Digest;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
const ROOT: &str = "ROOTPATH";

pub(super) fn document(outcome: &Outcome, inventory: &Inventory, options: &Options) -> Value {
    let all: Vec<(&Finding, Option<&Suppressed>)> = outcome
        .findings
        .iter()
        .map(|Judged { finding, .. }| (finding, None))
        .chain(outcome.suppressed.iter().map(|suppressed| (&suppressed.finding, Some(suppressed))))
        .collect();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut worst: Vec<&Finding> = Vec::new();
    for (finding, _) in &all {
        let next = places.len();
        let place = *places.entry(finding.id.as_str()).or_insert(next);
        match worst.get_mut(place) {
            None => worst.push(finding),
            Some(known) if finding.severity > known.severity => *known = finding,
            Some(_) => {}
        }
    }
    let results: Vec<Value> =
        all.iter().map(|(finding, suppressed)| result(finding, *suppressed, places[finding.id.as_str()])).collect();
    let rules: Vec<Value> = worst.into_iter().map(rule).collect();
    let image = &inventory.image;
    let mut tool = json!({
        "driver": {
            "name": options.tool.0,
            "version": options.tool.1,
            "semanticVersion": options.tool.1,
            "informationUri": env!("CARGO_PKG_REPOSITORY"),
            "rules": rules,
        },
    });
    if options.scanner.name != options.tool.0 {
        let mut extension = json!({ "name": options.scanner.name });
        if let Some(version) = &options.scanner.version {
            extension["version"] = json!(version);
        }
        tool["extensions"] = json!([extension]);
    }
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": tool,
            "automationDetails": { "id": format!("cooperage-scan/{}/", image.name) },
            "originalUriBaseIds": { ROOT: { "uri": "file:///" } },
            "columnKind": "unicodeCodePoints",
            "results": results,
            "properties": {
                "imageName": image.name,
                "imageDigest": image.digest.as_ref().map(ToString::to_string),
                "imageID": image.config.as_ref().map(ToString::to_string),
                "platform": image.platform.as_ref().map(ToString::to_string),
                "database": options.scanner.database,
            },
        }],
    })
}

fn rule(finding: &Finding) -> Value {
    let about = finding.summary.clone().unwrap_or_else(|| format!("{} in {}", finding.id, finding.package.name));
    let names = if finding.aliases.is_empty() { String::new() } else { format!(" ({})", finding.aliases.join(", ")) };
    let text = finding.details.clone().unwrap_or_else(|| about.clone());
    json!({
        "id": finding.id,
        "name": "KnownVulnerability",
        "shortDescription": { "text": format!("{}: {about}", finding.id) },
        "fullDescription": { "text": text },
        "helpUri": address(finding),
        "help": { "text": format!("{}{names}: {text}\n{}", finding.id, address(finding)) },
        "defaultConfiguration": { "level": level(finding.severity) },
        "properties": {
            "security-severity": score(finding),
            "precision": "very-high",
            "tags": ["security", "vulnerability", finding.severity.as_str()],
        },
    })
}

/// Where to read more: what the record calls its advisory, else the public page of the name.
fn address(finding: &Finding) -> String {
    let web = |url: &str| url.starts_with("https://") || url.starts_with("http://");
    let advisory = finding.references.iter().find(|r| r.kind == "ADVISORY" && web(&r.url));
    match advisory {
        Some(reference) => reference.url.clone(),
        None => format!("https://osv.dev/vulnerability/{}", encode(&finding.id)),
    }
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Negligible | Severity::Unknown => "note",
    }
}

/// The number that forges sort by: the score, where it says the same as the severity, else one that does.
fn score(finding: &Finding) -> String {
    let score = finding.score.filter(|score| Severity::of_score(*score) == finding.severity);
    let score = score.unwrap_or(match finding.severity {
        Severity::Critical => 9.5,
        Severity::High => 8.0,
        Severity::Medium => 5.5,
        Severity::Low => 2.0,
        Severity::Negligible | Severity::Unknown => 0.0,
    });
    format!("{score:.1}")
}

fn result(finding: &Finding, suppressed: Option<&Suppressed>, rule: usize) -> Value {
    let package = &finding.package;
    let fixed = match finding.fixed.as_slice() {
        [] => "no fix is known".to_owned(),
        versions => format!("fixed in {}", versions.join(", ")),
    };
    let layer = package.layer.as_ref();
    let brought = match layer {
        Some(layer) => match &layer.instruction {
            Some(instruction) => format!("; brought by layer {}: {instruction}", layer.index),
            None => format!("; brought by layer {}", layer.index),
        },
        None => String::new(),
    };
    let path = package.paths.first().map_or("", String::as_str).trim_start_matches('/');
    // Another scanner may not say which file it is.
    let path = if path.is_empty() { format!("packages/{}", package.name) } else { path.to_owned() };
    let key = format!("{}\0{}\0{path}", finding.id, package.purl);
    let mut properties = Map::new();
    properties.insert("purl".into(), json!(package.purl));
    properties.insert("package".into(), json!(package.name));
    properties.insert("version".into(), json!(package.version));
    properties.insert("fixedVersions".into(), json!(finding.fixed));
    properties.insert("severity".into(), json!(finding.severity));
    if let Some(layer) = layer {
        properties.insert("layer".into(), json!(layer));
    }
    let mut out = json!({
        "ruleId": finding.id,
        "ruleIndex": rule,
        "level": level(finding.severity),
        "message": {
            "text": format!("{} {} has {} ({}); {fixed}{brought}", package.name, package.version, finding.id, finding.severity),
        },
        "locations": [{
            "physicalLocation": {
                "artifactLocation": { "uri": encode(&path), "uriBaseId": ROOT },
                "region": { "startLine": 1 },
            },
            "logicalLocations": [{ "fullyQualifiedName": package.purl, "kind": "package" }],
        }],
        "partialFingerprints": { "vulnerabilityInPackage/v1": Digest::sha256(key.as_bytes()).hex() },
        "properties": properties,
    });
    if let Some(suppressed) = suppressed {
        out["suppressions"] =
            json!([{ "kind": "external", "status": "accepted", "justification": suppressed.because.text() }]);
    }
    out
}

/// A path as a relative URI reference.
fn encode(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
