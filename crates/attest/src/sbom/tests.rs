use super::*;
use crate::inventory::{Component, FileDigests, FileFacts, ImageFacts, LayerFacts};
use crate::package::{Evidence, OsRelease, Package, PackageType, SourcePackage};
use oci::{Digest, Platform};
use serde_json::Value;

fn inventory() -> Inventory {
    let mut libc = Package::new(PackageType::Deb, "libc6", "2.36-9", Evidence::Installed);
    libc.arch = Some("amd64".into());
    libc.licenses = vec!["GPL-2+".into(), "LGPL-2.1+".into(), "own words".into()];
    libc.supplier = Some("GNU Libc Maintainers <debian-glibc@lists.debian.org>".into());
    libc.source = Some(SourcePackage { name: "glibc".into(), version: "2.36-9".into() });
    libc.locations = vec!["var/lib/dpkg/status".into()];
    let mut babel = Package::new(PackageType::Npm, "@babel/core", "7.0.0", Evidence::Installed);
    babel.licenses = vec!["MIT".into()];
    babel.locations = vec!["app/node_modules/@babel/core/package.json".into()];
    babel.homepage = Some("https://babel.dev/".into());
    let os = OsRelease { id: "debian".into(), version: Some("12".into()), ..OsRelease::default() };
    let component = |package: Package, layer, files| Component {
        purl: crate::purl::purl(&package, Some(&os)),
        package,
        layer,
        part_of: None,
        files,
    };
    let digests = Some(FileDigests { sha1: [0x11; 20], sha256: [0x22; 32] });
    Inventory {
        image: ImageFacts {
            name: "docker.io/library/app:1".into(),
            digest: Some(Digest::sha256(b"manifest")),
            config: Some(Digest::sha256(b"config")),
            platform: Some(Platform::new("linux", "amd64", None)),
        },
        layers: vec![
            LayerFacts { diff_id: Digest::sha256(b"0"), digest: Some(Digest::sha256(b"z")), instruction: None },
            LayerFacts { diff_id: Digest::sha256(b"1"), digest: None, instruction: Some("RUN npm ci".into()) },
        ],
        packages: vec![component(libc, 0, vec![0]), component(babel, 1, vec![])],
        files: vec![
            FileFacts { path: "lib/libc.so.6".into(), layer: 0, size: 1, mode: 0o644, digests },
            FileFacts { path: "opt/own".into(), layer: 1, size: 1, mode: 0o644, digests },
        ],
        owners: vec![Some(0), None],
        warnings: vec!["a.jar: it is no zip archive".into()],
        os: Some(os.clone()),
    }
}

fn options(files: Files) -> Options {
    Options { files, created: "2026-01-01T00:00:00Z".into(), tool: ("cooperage".into(), "0.1.0".into()), pretty: false }
}

fn document(format: Format, files: Files) -> Value {
    let mut out = Vec::new();
    write(&inventory(), format, &options(files), &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn spdx_has_packages_layers_files_and_licences() {
    let doc = document(Format::Spdx, Files::All);
    let packages = doc["packages"].as_array().unwrap();
    let names: Vec<&str> = packages.iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names[..2], ["docker.io/library/app:1", "debian"]);
    let libc = packages.iter().find(|p| p["name"] == "libc6").unwrap();
    assert_eq!(libc["licenseDeclared"], "GPL-2.0-or-later AND LGPL-2.1-or-later AND LicenseRef-own-words");
    assert_eq!(libc["supplier"], "Organization: GNU Libc Maintainers (debian-glibc@lists.debian.org)");
    assert_eq!(
        libc["externalRefs"][0]["referenceLocator"],
        "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12&upstream=glibc"
    );
    assert_eq!(libc["filesAnalyzed"], true);
    assert_eq!(doc["hasExtractedLicensingInfos"][0]["extractedText"], "own words");
    // Every relationship is between things that are there, and each thing but the document is contained somewhere.
    let mut ids: Vec<&str> =
        packages.iter().chain(doc["files"].as_array().unwrap()).map(|e| e["SPDXID"].as_str().unwrap()).collect();
    ids.push("SPDXRef-DOCUMENT");
    let relationships = doc["relationships"].as_array().unwrap();
    for relationship in relationships {
        for end in ["spdxElementId", "relatedSpdxElement"] {
            assert!(ids.contains(&relationship[end].as_str().unwrap()), "{relationship}");
        }
    }
    for id in ids.iter().filter(|id| **id != "SPDXRef-DOCUMENT") {
        assert!(relationships.iter().any(|r| r["relatedSpdxElement"] == *id), "{id}");
    }
    assert!(doc["creationInfo"]["comment"].as_str().unwrap().contains("a.jar"));
    assert!(document(Format::Spdx, Files::None)["files"].is_null());
    assert_eq!(document(Format::Spdx, Files::Owned)["files"].as_array().unwrap().len(), 1);
}

#[test]
fn cyclonedx_has_layers_as_properties() {
    let doc = document(Format::CycloneDx, Files::Owned);
    assert_eq!((doc["bomFormat"].as_str(), doc["specVersion"].as_str()), (Some("CycloneDX"), Some("1.6")));
    let babel = doc["components"].as_array().unwrap().iter().find(|c| c["name"] == "core").unwrap();
    assert_eq!(
        (babel["group"].as_str(), babel["purl"].as_str()),
        (Some("@babel"), Some("pkg:npm/%40babel/core@7.0.0"))
    );
    assert_eq!(babel["licenses"][0]["license"]["id"], "MIT");
    let property = |name: &str| {
        babel["properties"].as_array().unwrap().iter().find(|p| p["name"] == name).map(|p| p["value"].clone())
    };
    assert_eq!(property("cooperage:layer:instruction"), Some("RUN npm ci".into()));
    let libc = doc["components"].as_array().unwrap().iter().find(|c| c["name"] == "libc6").unwrap();
    assert_eq!(libc["licenses"][0]["expression"], "GPL-2.0-or-later AND LGPL-2.1-or-later AND LicenseRef-own-words");
    assert_eq!(libc["components"][0]["name"], "/lib/libc.so.6");
    assert!(doc["serialNumber"].as_str().unwrap().starts_with("urn:uuid:"));
}

#[test]
fn two_documents_of_one_inventory_are_equal_but_for_the_time() {
    for format in [Format::Spdx, Format::CycloneDx, Format::Json] {
        let first = document(format, Files::All);
        let mut later = options(Files::All);
        later.created = "2027-01-01T00:00:00Z".into();
        let mut out = Vec::new();
        write(&inventory(), format, &later, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap().replace("2027-01-01", "2026-01-01");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), first);
    }
    assert_ne!(
        document(Format::Spdx, Files::All)["documentNamespace"],
        document(Format::Spdx, Files::None)["documentNamespace"]
    );
}
