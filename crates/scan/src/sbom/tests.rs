//! Our own documents, and pieces of others', as their tools write them.
use super::*;
use attest::sbom::{Files, Format, Options};

fn lines(inventory: &Inventory) -> String {
    let line = |c: &Component| {
        let p = &c.package;
        let source = p.source.as_ref().map(|s| format!(" of {} {}", s.name, s.version)).unwrap_or_default();
        let layer = inventory.layers.get(c.layer).map(|_| format!(" in {}", c.layer)).unwrap_or_default();
        let part = c.part_of.map(|n| format!(" part of {}", inventory.packages[n].package.name)).unwrap_or_default();
        let line =
            format!("{} {} {}{source}{layer}{part} {}", p.kind.as_str(), p.name, p.version, p.locations.join(","));
        line.trim_end().to_owned()
    };
    let os = inventory.os.as_ref().map(|os| format!("{} {:?}", os.id, os.version));
    let lines: Vec<String> = os.into_iter().chain(inventory.packages.iter().map(line)).collect();
    [lines, inventory.warnings.clone()].concat().join("\n")
}

#[test]
fn what_we_write_is_read_as_it_was() {
    let mut inventory = crate::testing::inventory();
    inventory.os = Some(OsRelease { name: Some("Debian 12".into()), ..os("debian", "12", None) });
    let mut libc = Package::new(PackageType::Deb, "libc6", "1:2.36-9+b1", Evidence::Installed);
    libc.source = Some(SourcePackage { name: "glibc".into(), version: "1:2.36-9".into() });
    libc.arch = Some("amd64".into());
    libc.locations = vec!["var/lib/dpkg/status".into()];
    let mut python = Package::new(PackageType::Pypi, "Some_Thing", "1.0", Evidence::Installed);
    python.locations = vec!["usr/lib/a/METADATA".into(), "usr/lib/b/METADATA".into()];
    let scoped = Package::new(PackageType::Npm, "@a/b", "2.0.0", Evidence::Lock);
    let java = Package::new(PackageType::Maven, "org.apache:lang", "3.1", Evidence::Installed);
    let bash = Package::new(PackageType::Golang, "github.com/Me/Mod", "v1.2.3", Evidence::Installed);
    inventory.packages.clear();
    for (package, layer) in [(libc, 0), (bash, 1), (java, 1), (scoped, 1), (python, 1)] {
        let purl = attest::purl::purl(&package, inventory.os.as_ref());
        inventory.packages.push(Component { purl, package, layer, part_of: None, files: Vec::new() });
    }
    inventory.packages[4].part_of = Some(0);
    for format in [Format::Spdx, Format::CycloneDx] {
        let options = Options {
            files: Files::None,
            created: "2026-01-01T00:00:00Z".into(),
            tool: ("cooperage".into(), "0".into()),
            pretty: true,
        };
        let mut document = Vec::new();
        attest::sbom::write(&inventory, format, &options, &mut document).unwrap();
        let statement =
            [&br#"{"_type":"https://in-toto.io/Statement/v1","predicateType":"x","predicate":"#[..], &document, b"}"];
        for document in [document.clone(), statement.concat()] {
            assert!(may_be(&document));
            let read = super::read("file.json", &document).unwrap();
            assert_eq!(lines(&read), lines(&inventory).replace("Some_Thing", &read.packages[4].package.name));
            assert_eq!(read.packages[4].package.name.to_lowercase().replace('_', "-"), "some-thing");
            assert_eq!((&read.image.name, &read.image.digest), (&inventory.image.name, &inventory.image.digest));
            assert_eq!(
                (&read.image.config, &read.image.platform),
                (&inventory.image.config, &inventory.image.platform)
            );
            assert_eq!(read.os.as_ref().unwrap().name.as_deref(), Some("Debian 12"));
            let layers =
                |i: &Inventory| i.layers.iter().map(|l| (l.diff_id.clone(), l.instruction.clone())).collect::<Vec<_>>();
            assert_eq!(layers(&read), layers(&inventory));
            let purls = |i: &Inventory| i.packages.iter().map(|c| c.purl.clone()).collect::<Vec<_>>();
            assert_eq!(purls(&read), purls(&inventory));
        }
    }
}

/// `trivy image --format cyclonedx`, shortened.
#[test]
fn a_document_of_trivy() {
    let text = br#"{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{"component":{"bom-ref":"r","type":"container","name":"alma:9",
      "purl":"pkg:oci/alma@sha256%3A0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef?arch=arm64&repository_url=index.docker.io%2Flibrary%2Falma",
      "properties":[{"name":"aquasecurity:trivy:DiffID","value":"sha256:1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}]}},
      "components":[{"bom-ref":"o","type":"operating-system","name":"alma","version":"9.4"},
      {"bom-ref":"a","type":"library","name":"bash","version":"5.1.8-6.el9","purl":"pkg:rpm/alma/bash@5.1.8-6.el9?arch=aarch64&distro=alma-9.4&epoch=1",
       "properties":[{"name":"aquasecurity:trivy:SrcName","value":"bash"},{"name":"aquasecurity:trivy:SrcVersion","value":"5.1.8"},
       {"name":"aquasecurity:trivy:SrcRelease","value":"6.el9"},{"name":"aquasecurity:trivy:SrcEpoch","value":"1"},
       {"name":"aquasecurity:trivy:LayerDiffID","value":"sha256:1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}]},
      {"bom-ref":"n","type":"library","group":"@babel","name":"core","version":"7.0.0","purl":"pkg:npm/%40babel/core@7.0.0",
       "properties":[{"name":"aquasecurity:trivy:FilePath","value":"app/package.json"}]},
      {"bom-ref":"x","type":"application","name":"app/package-lock.json","properties":[{"name":"aquasecurity:trivy:Class","value":"lang-pkgs"}]},
      {"bom-ref":"d","type":"library","name":"Newtonsoft.Json","version":"1","purl":"pkg:nuget/Newtonsoft.Json@1"}],
      "dependencies":[{"ref":"a","dependsOn":["n"]},{"ref":"n"}]}"#;
    let inventory = super::read("x", text).unwrap();
    insta::assert_snapshot!(lines(&inventory), @r#"
    almalinux Some("9.4")
    npm @babel/core 7.0.0 part of bash app/package.json
    rpm bash 1:5.1.8-6.el9 of bash 1:5.1.8-6.el9 in 0
    1 package of the type nuget (Newtonsoft.Json) was not looked at
    "#);
    assert_eq!(inventory.image.platform.unwrap().to_string(), "linux/arm64");
    assert!(inventory.image.digest.is_some());
}

/// `syft -o spdx-json`, shortened: the distribution stands in the package URLs alone.
#[test]
fn a_document_of_syft() {
    let text = br#"{"spdxVersion":"SPDX-2.3","name":"app","packages":[
      {"SPDXID":"SPDXRef-root","name":"app","versionInfo":"1","primaryPackagePurpose":"CONTAINER"},
      {"SPDXID":"SPDXRef-a","name":"libcrypto3","versionInfo":"3.1.3-r0","sourceInfo":"acquired package info from APK DB: /lib/apk/db/installed",
       "externalRefs":[{"referenceCategory":"SECURITY","referenceType":"cpe23Type","referenceLocator":"cpe:2.3:a:x"},
       {"referenceCategory":"PACKAGE-MANAGER","referenceType":"purl","referenceLocator":"pkg:apk/alpine/libcrypto3@3.1.3-r0?arch=x86_64&distro=alpine-3.18.4&upstream=openssl"}]},
      {"SPDXID":"SPDXRef-b","name":"six","versionInfo":"1.16.0","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:pypi/six@1.16.0"}]},
      {"SPDXID":"SPDXRef-c","name":"mystery"}],
      "relationships":[{"spdxElementId":"SPDXRef-DOCUMENT","relatedSpdxElement":"SPDXRef-root","relationshipType":"DESCRIBES"},
      {"spdxElementId":"SPDXRef-a","relatedSpdxElement":"SPDXRef-b","relationshipType":"OTHER","comment":"ownership-by-file-overlap: indicates that"}]}"#;
    insta::assert_snapshot!(lines(&super::read("x", text).unwrap()), @r#"
    alpine Some("3.18.4")
    apk libcrypto3 3.1.3-r0 of openssl 3.1.3-r0 lib/apk/db/installed
    pypi six 1.16.0 part of libcrypto3
    1 package without a package URL (mystery) was not looked at
    "#);
}

#[test]
fn what_is_no_document_is_refused() {
    for (text, why) in [
        ("{}", "it is no SBOM: it has neither spdxVersion nor bomFormat"),
        ("{", "it cannot be read: EOF while parsing an object at line 1 column 1"),
        (r#"{"spdxVersion":"SPDX-1.2"}"#, "it is SPDX-1.2, which is not read"),
        (r#"{"bomFormat":"CycloneDX","specVersion":"2.0"}"#, "it is CycloneDX 2.0, which is not read"),
        (
            r#"{"@context":"https://spdx.org/rdf/3.0.1/spdx-context.jsonld","@graph":[]}"#,
            "it is SPDX 3, which is not read",
        ),
        (
            r#"{"spdxVersion":"SPDX-2.3","packages":[{"name":1}]}"#,
            "it cannot be read: invalid type: integer `1`, expected a string at line 1 column 47",
        ),
    ] {
        assert_eq!(super::read("x", text.as_bytes()).unwrap_err().to_string(), why);
    }
    assert!(!may_be(b"") && !may_be(b"\x1f\x8b") && may_be(b"\xef\xbb\xbf\n {"));
    for (distro, want) in [
        ("debian-12.5", "debian 12.5 -"),
        ("opensuse-leap-15.6", "opensuse-leap 15.6 -"),
        ("3.18.4", "alpine 3.18.4 -"),
        ("debian-trixie", "debian - trixie"),
        ("wolfi", "wolfi - -"),
        ("", "alpine - -"),
    ] {
        let namespace = if distro.starts_with("debian") { "debian" } else { "alpine" };
        let os = distribution_of(&Purl::parse(&format!("pkg:apk/{namespace}/x@1?distro={distro}")).unwrap()).unwrap();
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        assert_eq!(format!("{} {} {}", os.id, text(&os.version), text(&os.codename)), want);
    }
    assert_eq!(
        upstream_of("bash-5.1.8-6.el9.src.rpm", "1"),
        SourcePackage { name: "bash".into(), version: "5.1.8-6.el9".into() }
    );
}

/// A document that is damaged anywhere is an error or an inventory whose numbers lead somewhere. The fuzz target `sbom`
/// goes on where this ends.
#[test]
fn damaged_documents_cost_an_error_at_most() {
    let mut document = Vec::new();
    let options = Options {
        files: Files::None,
        created: "2026-01-01T00:00:00Z".into(),
        tool: ("cooperage".into(), "0".into()),
        pretty: false,
    };
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = |limit: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % limit as u64).unwrap()
    };
    for format in [Format::Spdx, Format::CycloneDx] {
        document.clear();
        attest::sbom::write(&crate::testing::inventory(), format, &options, &mut document).unwrap();
        for _ in 0..2000 {
            let mut damaged = document.clone();
            for _ in 0..=below(3) {
                let (at, from) = (below(damaged.len()), below(document.len()));
                match below(3) {
                    0 => damaged[at] = document[from],
                    1 => damaged.truncate(at.max(1)),
                    _ => drop(damaged.splice(at..at, document[from..document.len().min(from + 40)].iter().copied())),
                }
            }
            let Ok(read) = super::read("x", &damaged) else { continue };
            assert!(read.packages.iter().all(|c| c.layer == usize::MAX || c.layer < read.layers.len()));
            assert!(read.packages.iter().all(|c| c.part_of.is_none_or(|whole| whole < read.packages.len())));
        }
    }
}
