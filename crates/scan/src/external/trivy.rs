//! `trivy image --format json`, schema version 2.
use super::{ExternalError, layer, package};
use crate::finding::{AffectedPackage, Finding, Reference, Scan};
use crate::report::Scanner;
use crate::severity::{self, Vector};
use attest::inventory::Inventory;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    schema_version: u32,
    #[serde(default)]
    results: Option<Vec<Target>>,
    #[serde(default)]
    trivy: Option<Program>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Program {
    version: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Target {
    target: String,
    #[serde(default)]
    class: String,
    #[serde(default, rename = "Type")]
    kind: String,
    #[serde(default)]
    packages: Option<Vec<serde_json::Value>>,
    #[serde(default)]
    vulnerabilities: Option<Vec<Vulnerability>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Vulnerability {
    #[serde(rename = "VulnerabilityID")]
    id: String,
    #[serde(default, rename = "VendorIDs")]
    vendor_ids: Vec<String>,
    pkg_name: String,
    #[serde(default)]
    pkg_path: String,
    #[serde(default)]
    pkg_identifier: Option<Identifier>,
    #[serde(default)]
    installed_version: String,
    #[serde(default)]
    fixed_version: String,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    layer: Option<Layer>,
    #[serde(default)]
    severity: String,
    #[serde(default)]
    severity_source: String,
    #[serde(default, rename = "CVSS")]
    cvss: BTreeMap<String, Cvss>,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default, rename = "PrimaryURL")]
    primary_url: Option<String>,
    #[serde(default)]
    references: Vec<String>,
    #[serde(default)]
    published_date: Option<String>,
    #[serde(default)]
    last_modified_date: Option<String>,
}

#[derive(Deserialize)]
struct Identifier {
    #[serde(default, rename = "PURL")]
    purl: Option<String>,
}

#[derive(Deserialize)]
struct Layer {
    #[serde(default, rename = "DiffID")]
    diff_id: Option<String>,
}

#[derive(Deserialize)]
struct Cvss {
    #[serde(default, rename = "V2Vector")]
    v2: Option<String>,
    #[serde(default, rename = "V3Vector")]
    v3: Option<String>,
    #[serde(default, rename = "V40Vector")]
    v4: Option<String>,
}

pub(super) fn parse(bytes: &[u8], inventory: &Inventory) -> Result<(Scan, Scanner), ExternalError> {
    let report: Report = serde_json::from_slice(bytes)?;
    if report.schema_version != 2 {
        return Err(ExternalError::Form(format!("schema version {} is not known, 2 is", report.schema_version)));
    }
    let mut scan = Scan::default();
    for target in report.results.unwrap_or_default() {
        scan.packages += target.packages.as_ref().map_or(0, Vec::len);
        for found in target.vulnerabilities.iter().flatten() {
            scan.findings.push(finding(found, &target, inventory)?);
        }
    }
    let version = report.trivy.and_then(|program| program.version);
    Ok((scan, Scanner { name: "trivy".into(), version, database: None }))
}

fn finding(found: &Vulnerability, target: &Target, inventory: &Inventory) -> Result<Finding, ExternalError> {
    let purl = found.pkg_identifier.as_ref().and_then(|id| id.purl.clone()).unwrap_or_else(|| {
        let kind = kind(&target.kind);
        format!("pkg:{kind}/{}@{}", found.pkg_name, found.installed_version)
    });
    let Some((kind, name)) = package(&purl) else {
        let what = format!("{} is about {purl}, which is no package URL", found.id);
        return Err(ExternalError::Form(what));
    };
    let chosen = [found.severity_source.as_str(), "nvd", "ghsa"].into_iter().find_map(|name| found.cvss.get(name));
    let mut vectors = Vec::new();
    if let Some(cvss) = chosen.or_else(|| found.cvss.values().next()) {
        for (kind, vector) in [("CVSS_V4", &cvss.v4), ("CVSS_V3", &cvss.v3), ("CVSS_V2", &cvss.v2)] {
            vectors.extend(vector.iter().map(|v| Vector { kind: kind.into(), score: v.clone() }));
        }
    }
    let paths = match (found.pkg_path.as_str(), target.class.as_str()) {
        ("", "lang-pkgs") => vec![target.target.clone()],
        ("", _) => Vec::new(),
        (path, _) => vec![path.to_owned()],
    };
    let fixed = found.fixed_version.split(',').map(str::trim).filter(|v| !v.is_empty());
    let mut references: Vec<Reference> =
        found.primary_url.iter().map(|url| Reference { kind: "ADVISORY".into(), url: url.clone() }).collect();
    references.extend(found.references.iter().map(|url| Reference { kind: "WEB".into(), url: url.clone() }));
    let diff_id = found.layer.as_ref().and_then(|layer| layer.diff_id.as_deref());
    Ok(Finding {
        id: found.id.clone(),
        aliases: found.vendor_ids.clone(),
        severity: found.severity.parse().unwrap_or_default(),
        score: severity::rate(&vectors, None, None).score,
        vectors,
        urgency: found.status.clone().filter(|status| status != "fixed" && status != "affected"),
        fixed: fixed.map(str::to_owned).collect(),
        summary: found.title.clone(),
        details: found.description.clone(),
        references,
        published: found.published_date.clone(),
        modified: found.last_modified_date.clone(),
        package: AffectedPackage {
            kind,
            version: found.installed_version.clone(),
            source: None,
            ecosystem: target.kind.clone(),
            layer: layer(diff_id, &purl, inventory),
            paths,
            name,
            purl,
        },
    })
}

/// The package URL's type of one of trivy's result types.
fn kind(result: &str) -> &str {
    match result {
        "debian" | "ubuntu" => "deb",
        "alpine" | "wolfi" | "chainguard" => "apk",
        "gobinary" | "gomod" => "golang",
        "jar" | "pom" | "gradle" => "maven",
        "node-pkg" | "npm" | "yarn" | "pnpm" => "npm",
        "python-pkg" | "pip" | "pipenv" | "poetry" | "uv" => "pypi",
        "gemspec" | "bundler" => "gem",
        "rustbinary" | "cargo" => "cargo",
        "redhat" | "centos" | "rocky" | "alma" | "fedora" | "amazon" | "oracle" | "photon" => "rpm",
        other => other,
    }
}
