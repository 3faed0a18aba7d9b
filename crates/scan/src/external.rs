//! Reports of other scanners, as findings of ours: trivy (schema version 2) and grype (0.60 and later).
//!
//! They are given an image as a file or a directory and asked for JSON. Their word for the severity counts; layer and
//! instruction come from the image itself, by the diff ID that they name or by the package.
mod grype;
mod trivy;

use crate::finding::{LayerRef, Scan};
use crate::purl::Purl;
use crate::report::Scanner;
use attest::inventory::Inventory;
use std::ffi::OsString;
use std::path::PathBuf;

/// A scanner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Aqua's trivy.
    Trivy,
    /// Anchore's grype.
    Grype,
}

impl Tool {
    /// The program's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trivy => "trivy",
            Self::Grype => "grype",
        }
    }

    /// Where it is told how to install it.
    #[must_use]
    pub fn home(self) -> &'static str {
        match self {
            Self::Trivy => "https://trivy.dev",
            Self::Grype => "https://github.com/anchore/grype",
        }
    }

    /// The versions whose reports are known.
    #[must_use]
    pub fn versions(self) -> &'static str {
        match self {
            Self::Trivy => "0.30 and later",
            Self::Grype => "0.60 and later",
        }
    }
}

/// Where the image is for the scanner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A directory with an OCI layout of this one image.
    Layout(PathBuf),
    /// An archive.
    Archive(PathBuf),
    /// An SBOM in the place of an image.
    Sbom(PathBuf),
}

/// Why a report cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ExternalError {
    /// It is not the JSON that is known.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// It is of another form.
    #[error("{0}")]
    Form(String),
}

/// The arguments that make a scanner write its report to standard output.
#[must_use]
pub fn arguments(tool: Tool, place: &Place, platform: Option<&str>) -> Vec<OsString> {
    let mut out: Vec<OsString> = Vec::new();
    match tool {
        Tool::Trivy => {
            let verb = if matches!(place, Place::Sbom(_)) { "sbom" } else { "image" };
            out.extend([verb, "--quiet", "--format", "json", "--scanners", "vuln", "--exit-code", "0"].map(Into::into));
            match place {
                Place::Layout(path) | Place::Archive(path) => out.extend(["--input".into(), path.into()]),
                Place::Sbom(path) => out.push(path.into()),
            }
        }
        Tool::Grype => {
            out.extend(["--quiet", "--output", "json"].map(Into::into));
            let (scheme, path) = match place {
                Place::Layout(path) => ("oci-dir:", path),
                // It tries what kind of archive it is.
                Place::Archive(path) => ("", path),
                Place::Sbom(path) => ("sbom:", path),
            };
            let mut name = OsString::from(scheme);
            name.push(path);
            out.push(name);
        }
    }
    if let Some(platform) = platform {
        out.extend(["--platform".into(), platform.into()]);
    }
    out
}

/// Reads a report about this image.
///
/// # Errors
/// Where it is of a form that is not known: that is never a clean result.
pub fn parse(tool: Tool, report: &[u8], inventory: &Inventory) -> Result<(Scan, Scanner), ExternalError> {
    let (mut scan, scanner) = match tool {
        Tool::Trivy => trivy::parse(report, inventory)?,
        Tool::Grype => grype::parse(report, inventory)?,
    };
    scan.findings.sort_by(|a, b| {
        let key = |f: &crate::Finding| (std::cmp::Reverse(f.severity), f.package.name.clone(), f.id.clone());
        key(a).cmp(&key(b))
    });
    scan.findings.dedup();
    Ok((scan, scanner))
}

/// The layer with this diff ID, else that of the package with this package URL.
fn layer(diff_id: Option<&str>, purl: &str, inventory: &Inventory) -> Option<LayerRef> {
    let by_id = diff_id.and_then(|id| inventory.layers.iter().position(|layer| layer.diff_id.to_string() == id));
    let index = by_id.or_else(|| {
        let wanted = Purl::parse(purl)?;
        let same =
            |purl: &Purl| (&purl.kind, &purl.name, &purl.version) == (&wanted.kind, &wanted.name, &wanted.version);
        inventory.packages.iter().find(|c| Purl::parse(&c.purl).is_some_and(|p| same(&p))).map(|c| c.layer)
    })?;
    let facts = inventory.layers.get(index)?;
    Some(LayerRef { index, diff_id: facts.diff_id.clone(), instruction: facts.instruction.clone() })
}

/// The package's world and name, from its package URL.
fn package(purl: &str) -> Option<(String, String)> {
    let purl = Purl::parse(purl)?;
    let separator = if purl.kind == "maven" { ":" } else { "/" };
    // The namespace of a distribution's package is the distribution.
    let name = match (purl.kind.as_str(), purl.namespace.is_empty()) {
        ("deb" | "apk" | "rpm" | "alpm", _) | (_, true) => purl.name,
        _ => format!("{}{separator}{}", purl.namespace, purl.name),
    };
    Some((purl.kind, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::inventory;

    const TRIVY: &[u8] = include_bytes!("../tests/data/trivy.json");
    const GRYPE: &[u8] = include_bytes!("../tests/data/grype.json");

    #[test]
    fn trivy_as_ours() {
        let (scan, scanner) = parse(Tool::Trivy, TRIVY, &inventory()).unwrap();
        assert_eq!((scanner.name.as_str(), scanner.version.as_deref()), ("trivy", Some("0.57.1")));
        let lines: Vec<String> = scan.findings.iter().map(line).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        CVE-2024-24790 critical None stdlib v1.21.0 None gobinary ["1.21.11", "1.22.4"] None usr/bin/tool
        CVE-2021-23337 high Some(7.2) lodash 4.17.20 None node-pkg ["4.17.21"] Some(1) app/node_modules/lodash/package.json
        CVE-2011-3374 low Some(3.7) apt 2.6.1 None debian [] Some(0)
        "#);
        assert!(scan.findings[1].is_called("GHSA-35jh-r3h4-6jhm"));
    }

    #[test]
    fn grype_as_ours() {
        let (scan, scanner) = parse(Tool::Grype, GRYPE, &inventory()).unwrap();
        assert_eq!((scanner.name.as_str(), scanner.version.as_deref()), ("grype", Some("0.85.0")));
        assert_eq!(scanner.database.as_deref(), Some("2026-11-20T01:31:43Z"));
        let lines: Vec<String> = scan.findings.iter().map(line).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        CVE-2021-23337 high Some(7.2) lodash 4.17.20 None github:language:javascript ["4.17.21"] Some(1) app/node_modules/lodash/package.json
        CVE-2023-4911 negligible Some(7.8) libc6 2.36-9 Some("glibc") debian:distro:debian:12 [] Some(0) var/lib/dpkg/status
        "#);
    }

    fn line(finding: &crate::Finding) -> String {
        let package = &finding.package;
        format!(
            "{} {} {:?} {} {} {:?} {} {:?} {:?} {}",
            finding.id,
            finding.severity,
            finding.score,
            package.name,
            package.version,
            package.source,
            package.ecosystem,
            finding.fixed,
            package.layer.as_ref().map(|layer| layer.index),
            package.paths.join(",")
        )
    }

    #[test]
    fn no_report_is_no_clean_result() {
        for (tool, text) in [
            (Tool::Trivy, ""),
            (Tool::Trivy, "{}"),
            (Tool::Trivy, r#"{"SchemaVersion":3,"Results":[]}"#),
            (Tool::Trivy, r#"[{"Vulnerabilities":[]}]"#),
            (Tool::Grype, "{}"),
            (Tool::Grype, r#"{"matches":[]}"#),
            (Tool::Grype, r#"{"matches":[{}],"descriptor":{"name":"grype"}}"#),
        ] {
            assert!(parse(tool, text.as_bytes(), &inventory()).is_err(), "{text}");
        }
        let (scan, _) = parse(Tool::Trivy, br#"{"SchemaVersion":2,"ArtifactName":"x"}"#, &inventory()).unwrap();
        assert_eq!(scan.findings, Vec::new());
        // Worlds that our catalogues do not know are shown all the same.
        let text =
            br#"{"SchemaVersion":2,"Results":[{"Target":"app.deps.json","Class":"lang-pkgs","Type":"dotnet-core",
            "Vulnerabilities":[{"VulnerabilityID":"CVE-1","PkgName":"Newtonsoft.Json","InstalledVersion":"12.0.2",
            "PkgIdentifier":{"PURL":"pkg:nuget/Newtonsoft.Json@12.0.2"},"Severity":"HIGH"}]}]}"#;
        let (scan, _) = parse(Tool::Trivy, text, &inventory()).unwrap();
        assert_eq!((scan.findings[0].package.kind.as_str(), scan.findings.len()), ("nuget", 1));
    }

    #[test]
    fn what_they_are_told() {
        let words = |tool, place: &Place| {
            let words = arguments(tool, place, Some("linux/arm64"));
            words.iter().map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        let layout = Place::Layout("/t/image".into());
        assert_eq!(
            words(Tool::Trivy, &layout),
            "image --quiet --format json --scanners vuln --exit-code 0 --input /t/image --platform linux/arm64"
        );
        assert_eq!(words(Tool::Grype, &layout), "--quiet --output json oci-dir:/t/image --platform linux/arm64");
        let archive = Place::Archive("/t/a.tar".into());
        assert_eq!(words(Tool::Grype, &archive), "--quiet --output json /t/a.tar --platform linux/arm64");
        let words = |tool| {
            let words = arguments(tool, &Place::Sbom("/t/a.json".into()), None);
            words.iter().map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(words(Tool::Trivy), "sbom --quiet --format json --scanners vuln --exit-code 0 /t/a.json");
        assert_eq!(words(Tool::Grype), "--quiet --output json sbom:/t/a.json");
    }
}
