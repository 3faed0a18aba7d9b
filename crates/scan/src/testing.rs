//! What tests of several modules use.
use crate::finding::{AffectedPackage, Finding, LayerRef};
use crate::severity::Severity;
use attest::inventory::{Component, ImageFacts, Inventory, LayerFacts};
use attest::package::{Evidence, Package, PackageType};
use oci::Digest;

/// A finding in version 1.0.0 of an npm package.
pub(crate) fn finding(id: &str, package: &str) -> Finding {
    Finding {
        id: id.to_owned(),
        aliases: Vec::new(),
        package: AffectedPackage {
            kind: PackageType::Npm.as_str().to_owned(),
            name: package.to_owned(),
            version: "1.0.0".to_owned(),
            source: None,
            ecosystem: "npm".to_owned(),
            purl: format!("pkg:npm/{package}@1.0.0"),
            paths: vec![format!("app/node_modules/{package}/package.json")],
            layer: Some(LayerRef {
                index: 1,
                diff_id: Digest::sha256(b"1"),
                instruction: Some("RUN npm ci # buildkit".to_owned()),
            }),
        },
        severity: Severity::High,
        score: Some(7.5),
        vectors: Vec::new(),
        urgency: None,
        fixed: vec!["1.0.1".to_owned()],
        summary: Some("It breaks".to_owned()),
        details: None,
        references: Vec::new(),
        published: None,
        modified: None,
    }
}

/// `ghcr.io/me/app:1`, with the package `lib`.
pub(crate) fn inventory() -> Inventory {
    let package = Package::new(PackageType::Npm, "lib", "1.0.0", Evidence::Installed);
    let layer = |name: &str, instruction: &str| LayerFacts {
        diff_id: Digest::sha256(name.as_bytes()),
        digest: None,
        instruction: Some(instruction.to_owned()),
    };
    Inventory {
        image: ImageFacts {
            name: "ghcr.io/me/app:1".to_owned(),
            digest: Some(Digest::sha256(b"manifest")),
            config: Some(Digest::sha256(b"config")),
            platform: Some("linux/amd64".parse().unwrap()),
        },
        os: None,
        layers: vec![layer("0", "FROM"), layer("1", "RUN npm ci # buildkit")],
        packages: vec![Component {
            purl: attest::purl::purl(&package, None),
            package,
            layer: 1,
            part_of: None,
            files: Vec::new(),
        }],
        files: Vec::new(),
        owners: Vec::new(),
        warnings: Vec::new(),
    }
}
