//! The database and the matching: against a second implementation on real records, and on records of every kind.
use attest::inventory::{Component, ImageFacts, Inventory, LayerFacts};
use attest::package::{Evidence, OsRelease, Package, PackageType, SourcePackage};
use oci::Digest;
use scan::db::{Database, DbError, Report, Source, build, touch};
use scan::version::Order;
use scan::{Finding, Scan, Severity};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

fn package(kind: PackageType, name: &str, version: &str) -> Package {
    Package::new(kind, name, version, Evidence::Installed)
}

fn with_source(mut package: Package, name: &str, version: &str) -> Package {
    package.source = Some(SourcePackage { name: name.into(), version: version.into() });
    package
}

fn inventory(os: Option<(&str, &str)>, packages: Vec<Package>) -> Inventory {
    let digest = Digest::sha256(b"x");
    let os = os.map(|(id, version)| OsRelease {
        id: id.into(),
        version: (!version.is_empty()).then(|| version.into()),
        ..OsRelease::default()
    });
    let components = packages.into_iter().map(|package| Component {
        purl: attest::purl::purl(&package, os.as_ref()),
        package,
        layer: 1,
        part_of: None,
        files: Vec::new(),
    });
    let layer = |instruction: &str| LayerFacts {
        diff_id: Digest::sha256(instruction.as_bytes()),
        digest: None,
        instruction: Some(instruction.into()),
    };
    Inventory {
        packages: components.collect(),
        image: ImageFacts { name: "test".into(), digest: None, config: Some(digest), platform: None },
        os,
        layers: vec![layer("ADD rootfs.tar /"), layer("RUN install")],
        files: Vec::new(),
        owners: Vec::new(),
        warnings: Vec::new(),
    }
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn db(&self) -> PathBuf {
        self.0.path().join("osv.db")
    }

    /// Records as files of a directory.
    fn records(&self, records: &[Value]) -> Source {
        let directory = self.0.path().join("records");
        std::fs::create_dir_all(&directory).unwrap();
        for (n, record) in records.iter().enumerate() {
            std::fs::write(directory.join(format!("{n:04}.json")), record.to_string()).unwrap();
        }
        source(None, directory)
    }

    fn build(&self, sources: &[Source]) -> Result<(Database, Report), DbError> {
        let report = build(&self.db(), sources, 1_700_000_000, &mut |_, _| true)?;
        Ok((Database::open(&self.db())?, report))
    }
}

fn source(ecosystem: Option<&str>, path: impl Into<PathBuf>) -> Source {
    let path = path.into();
    Source { ecosystem: ecosystem.map(str::to_owned), origin: path.display().to_string(), path, etag: None }
}

fn names(finding: &Finding) -> BTreeSet<String> {
    finding.aliases.iter().chain([&finding.id]).cloned().collect()
}

fn ids(scan: &Scan) -> Vec<String> {
    scan.findings.iter().map(|f| format!("{} {} {}", f.package.name, f.id, f.fixed.join(","))).collect()
}

/// The second implementation: slow and obvious, on the records as they are. Nothing of `scan` but the comparison.
mod obvious {
    use super::*;

    /// All records in a directory.
    pub(crate) fn records(directory: &Path) -> Vec<Value> {
        let mut out = Vec::new();
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                out.extend(records(&path));
            } else if path.extension().is_some_and(|e| e == "json") {
                out.push(serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap());
            }
        }
        out
    }

    pub(crate) fn order(ecosystem: &str) -> Order {
        match ecosystem {
            "PyPI" => Order::Pep440,
            "Maven" => Order::Maven,
            "Go" | "npm" => Order::Semver,
            other => panic!("{other}"),
        }
    }

    /// Whether `a` is before `b`; of three numbers by the crate of Rust's own package manager.
    fn before(order: Order, a: &str, b: &str) -> bool {
        match (order, semver::Version::parse(a), semver::Version::parse(b)) {
            (Order::Semver, Ok(a), Ok(b)) => a.cmp_precedence(&b).is_lt(),
            _ => order.compare(a, b).is_lt(),
        }
    }

    fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
        value[key].as_array().map_or(&[], Vec::as_slice)
    }

    pub(crate) fn same_package(package: &Value, ecosystem: &str, name: &str) -> bool {
        let plain = |name: &str| match ecosystem {
            "PyPI" => name.to_lowercase().replace(['_', '.'], "-"),
            _ => name.to_owned(),
        };
        package["ecosystem"] == ecosystem && plain(package["name"].as_str().unwrap()) == plain(name)
    }

    /// `IsVulnerable` of the schema's page, as it stands there.
    pub(crate) fn is_affected(record: &Value, ecosystem: &str, name: &str, version: &str) -> bool {
        let order = order(ecosystem);
        record.get("withdrawn").is_none_or(Value::is_null)
            && list(record, "affected").iter().filter(|a| same_package(&a["package"], ecosystem, name)).any(
                |affected| {
                    let listed = list(affected, "versions").iter().any(|listed| {
                        let listed = listed.as_str().unwrap();
                        listed == version || order != Order::Semver && order.compare(listed, version).is_eq()
                    });
                    listed || list(affected, "ranges").iter().any(|range| in_range(range, order, version))
                },
            )
    }

    fn in_range(range: &Value, ecosystem: Order, version: &str) -> bool {
        let order = match range["type"].as_str().unwrap() {
            "SEMVER" => Order::Semver,
            "ECOSYSTEM" => ecosystem,
            _ => return false,
        };
        // The latest event that is not after the version decides: no sorting, no state.
        let events: Vec<(&str, &str)> = list(range, "events")
            .iter()
            .flat_map(|event| event.as_object().unwrap())
            .map(|(kind, version)| (kind.as_str(), version.as_str().unwrap()))
            .collect();
        let at_or_before = |event: &(&str, &str)| match *event {
            ("introduced", "0") => true,
            ("introduced" | "fixed", at) => !before(order, version, at),
            ("last_affected", at) => before(order, at, version),
            _ => false,
        };
        let mut latest: Option<(&str, &str)> = None;
        for event in events.iter().copied().filter(at_or_before) {
            let later = latest.is_none_or(|(_, at)| at == "0" || event.1 != "0" && !before(order, event.1, at));
            if later {
                latest = Some(event);
            }
        }
        latest.is_some_and(|(kind, _)| kind == "introduced")
    }
}

/// Every package of the records at every version that a record names, and between and beyond these.
fn equal_to_the_obvious(directory: &Path, sources: &[Source]) -> (usize, usize) {
    let records = obvious::records(directory);
    let place = Place::new();
    let (database, report) = place.build(sources).unwrap();
    assert_eq!(report.warnings, Vec::<String>::new());
    let all: BTreeSet<&str> = records.iter().map(|r| r["id"].as_str().unwrap()).collect();
    let mut packages: BTreeSet<(String, String)> = BTreeSet::new();
    let mut versions: std::collections::BTreeMap<(String, String), BTreeSet<String>> = Default::default();
    for affected in records.iter().flat_map(|r| r["affected"].as_array().unwrap()) {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let key = (text(&affected["package"]["ecosystem"]), text(&affected["package"]["name"]));
        packages.insert(key.clone());
        let versions = versions.entry(key).or_default();
        versions.extend(["0.0.1".into(), "999.0.0".into()]);
        versions.extend(affected["versions"].as_array().into_iter().flatten().map(text));
        for range in affected["ranges"].as_array().into_iter().flatten().filter(|range| range["type"] != "GIT") {
            for version in range["events"].as_array().unwrap().iter().flat_map(|e| e.as_object().unwrap().values()) {
                let version = text(version);
                versions.extend([format!("{version}.1"), format!("{version}-rc.1"), version]);
            }
        }
    }
    let (mut pairs, mut matches) = (0, 0);
    for (ecosystem, name) in &packages {
        let (kind, order) = match ecosystem.as_str() {
            "Go" => (PackageType::Golang, obvious::order(ecosystem)),
            "npm" => (PackageType::Npm, obvious::order(ecosystem)),
            "Maven" => (PackageType::Maven, obvious::order(ecosystem)),
            _ => (PackageType::Pypi, obvious::order(ecosystem)),
        };
        // As installed packages spell themselves.
        let spelled = if kind == PackageType::Pypi { name.to_uppercase().replace('-', "_") } else { name.clone() };
        let known: Vec<&String> =
            versions[&(ecosystem.clone(), name.clone())].iter().filter(|v| order.is_version(v)).collect();
        let installed = known.iter().map(|version| package(kind, &spelled, version)).collect();
        let scan = database.scan(&inventory(None, installed)).unwrap();
        let near: Vec<&Value> = records
            .iter()
            .filter(|r| {
                let affected = r["affected"].as_array().unwrap();
                affected.iter().any(|a| obvious::same_package(&a["package"], ecosystem, name))
            })
            .collect();
        for version in known {
            pairs += 1;
            let want: BTreeSet<&str> = near
                .iter()
                .filter(|record| obvious::is_affected(record, ecosystem, name, version))
                .map(|record| record["id"].as_str().unwrap())
                .collect();
            let found: Vec<&Finding> = scan.findings.iter().filter(|f| f.package.version == *version).collect();
            let got: BTreeSet<String> =
                found.iter().flat_map(|f| names(f)).filter(|name| all.contains(name.as_str())).collect();
            assert_eq!(got.iter().map(String::as_str).collect::<BTreeSet<_>>(), want, "{ecosystem} {name} {version}");
            matches += want.len();
            // What fixes it is above, and not affected by the record.
            for (finding, fixed) in found.iter().flat_map(|f| f.fixed.iter().map(move |fixed| (f, fixed))) {
                assert!(order.compare(fixed, version).is_gt(), "{name} {version}: {fixed}");
                let own = near.iter().filter(|r| finding.is_called(r["id"].as_str().unwrap()));
                let fixes = own.clone().any(|record| !obvious::is_affected(record, ecosystem, name, fixed));
                assert!(fixes, "{name} {version}: {} is not fixed in {fixed}", finding.id);
            }
        }
    }
    (pairs, matches)
}

#[test]
fn real_records_match_as_in_a_second_implementation() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/osv");
    let (pairs, matches) = equal_to_the_obvious(&directory, &[source(None, &directory)]);
    assert!(pairs > 900 && matches > 1700, "{pairs} {matches}");
    // A whole export, unpacked, where one is at hand: COOPERAGE_TEST_OSV=DIR
    if let Some(directory) = std::env::var_os("COOPERAGE_TEST_OSV") {
        let (pairs, matches) = equal_to_the_obvious(Path::new(&directory), &[source(None, &directory)]);
        assert!(pairs > 0 && matches > 0, "{pairs} {matches}");
    }
}

fn affected(ecosystem: &str, name: &str, events: Value) -> Value {
    json!({ "package": { "ecosystem": ecosystem, "name": name }, "ranges": [{ "type": "ECOSYSTEM", "events": events }] })
}

#[test]
fn distributions_by_source_package_and_release() {
    let mut unimportant = affected("Debian:12", "glibc", json!([{ "introduced": "0" }]));
    unimportant["ecosystem_specific"] = json!({ "urgency": "unimportant" });
    let place = Place::new();
    let records = place.records(&[
        json!({ "id": "DEBIAN-CVE-2023-4911", "modified": "2024-01-01T00:00:00Z", "upstream": ["CVE-2023-4911"], "affected": [
            affected("Debian:12", "glibc", json!([{ "introduced": "0" }, { "fixed": "2.36-9+deb12u3" }])),
            affected("Debian:11", "glibc", json!([{ "introduced": "0" }, { "fixed": "2.31-13+deb11u7" }])),
        ]}),
        json!({ "id": "DSA-5514-1", "modified": "2024-01-01T00:00:00Z", "upstream": ["CVE-2023-4911", "CVE-2023-9999"], "affected": [
            affected("Debian:12", "glibc", json!([{ "introduced": "0" }, { "fixed": "2.36-9+deb12u3" }])),
        ]}),
        json!({ "id": "DEBIAN-CVE-2010-4756", "modified": "2024-01-01T00:00:00Z", "upstream": ["CVE-2010-4756"], "affected": [unimportant] }),
        json!({ "id": "DEBIAN-CVE-2022-1", "modified": "2024-01-01T00:00:00Z", "upstream": ["CVE-2022-1"], "affected": [
            affected("Debian:12", "krb5", json!([{ "introduced": "0" }, { "fixed": "1:1.0-1" }])),
        ]}),
        json!({ "id": "ALPINE-CVE-2023-5363", "modified": "2024-01-01T00:00:00Z", "upstream": ["CVE-2023-5363"], "affected": [
            affected("Alpine:v3.18", "openssl", json!([{ "introduced": "0" }, { "fixed": "3.1.4-r0" }])),
            affected("Alpine:v3.19", "openssl", json!([{ "introduced": "0" }, { "fixed": "0" }])),
        ]}),
        json!({ "id": "RLSA-2024:1", "modified": "2024-01-01T00:00:00Z", "upstream": ["CVE-2024-1", "CVE-2024-2"], "affected": [
            affected("Rocky Linux:9", "bash", json!([{ "introduced": "0" }, { "fixed": "0:5.1.8-9.el9" }])),
        ]}),
        json!({ "id": "UBUNTU-CVE-2024-3", "modified": "2024-01-01T00:00:00Z", "upstream": ["CVE-2024-3"],
            "severity": [{ "type": "Ubuntu", "score": "medium" }], "affected": [
            affected("Ubuntu:22.04:LTS", "curl", json!([{ "introduced": "0" }, { "fixed": "7.81.0-1ubuntu1.16" }])),
            affected("Ubuntu:Pro:22.04:LTS", "curl", json!([{ "introduced": "0" }])),
        ]}),
    ]);
    let (database, _) = place.build(&[records]).unwrap();
    let libc = || with_source(package(PackageType::Deb, "libc6", "2.36-9+deb12u1+b1"), "glibc", "2.36-9+deb12u1");
    let scan = |os: (&str, &str), packages: Vec<Package>| database.scan(&inventory(Some(os), packages)).unwrap();

    let debian = scan(("debian", "12"), vec![libc(), package(PackageType::Deb, "krb5", "2:0.1-1")]);
    let mut got = ids(&debian);
    got.sort();
    assert_eq!(
        got,
        ["libc6 CVE-2010-4756 ", "libc6 CVE-2023-4911 2.36-9+deb12u3", "libc6 CVE-2023-9999 2.36-9+deb12u3"]
    );
    let looney = debian.findings.iter().find(|f| f.id == "CVE-2023-4911").unwrap();
    assert_eq!(looney.aliases, ["DEBIAN-CVE-2023-4911", "DSA-5514-1"]);
    assert_eq!(looney.package.source.as_deref(), Some("glibc"));
    assert_eq!(looney.package.ecosystem, "Debian:12");
    assert_eq!(looney.package.layer.as_ref().unwrap().instruction.as_deref(), Some("RUN install"));
    let minor = debian.findings.iter().find(|f| f.id == "CVE-2010-4756").unwrap();
    assert_eq!((minor.severity, minor.urgency.as_deref()), (Severity::Negligible, Some("unimportant")));
    assert_eq!(ids(&scan(("debian", "11"), vec![libc()])), Vec::<String>::new());

    // Of a release that no record is about, and of a distribution that OSV does not know, nothing can be said.
    for (os, reason) in [
        (("debian", "10"), "the database has no records of this release"),
        (("debian", ""), "the database has no records of this release"),
        (("slackware", "15"), "OSV has no records of this distribution"),
    ] {
        let unknown = scan(os, vec![libc()]);
        assert_eq!((unknown.findings.len(), unknown.packages), (0, 0));
        assert_eq!((unknown.uncovered[0].packages, unknown.uncovered[0].reason.as_str()), (1, reason));
    }

    let crypto = |version: &str| with_source(package(PackageType::Apk, "libcrypto3", version), "openssl", version);
    assert_eq!(ids(&scan(("alpine", "3.18.4"), vec![crypto("3.1.3-r0")])), ["libcrypto3 CVE-2023-5363 3.1.4-r0"]);
    assert!(scan(("alpine", "3.18.4"), vec![crypto("3.1.4-r0")]).findings.is_empty());
    assert!(scan(("alpine", "3.19.0"), vec![crypto("3.1.3-r0")]).findings.is_empty());
    let bash = package(PackageType::Rpm, "bash", "5.1.8-6.el9");
    let fixed = "0:5.1.8-9.el9";
    assert_eq!(
        ids(&scan(("rocky", "9.3"), vec![bash])),
        [format!("bash CVE-2024-1 {fixed}"), format!("bash CVE-2024-2 {fixed}")]
    );
    let curl = |version: &str| package(PackageType::Deb, "curl", version);
    let found = scan(("ubuntu", "22.04"), vec![curl("7.81.0-1ubuntu1.15")]);
    assert_eq!(ids(&found), ["curl CVE-2024-3 7.81.0-1ubuntu1.16"]);
    assert_eq!(found.findings[0].severity, Severity::Medium);
    assert!(scan(("ubuntu", "22.04"), vec![curl("7.81.0-1ubuntu1.16")]).findings.is_empty());

    // A world that the database was not built of is an error, not an empty answer.
    let error = database.scan(&inventory(None, vec![package(PackageType::Npm, "x", "1.0.0")])).unwrap_err();
    assert!(error.to_string().ends_with("has no records of npm"), "{error}");
}

#[test]
fn records_of_many_kinds() {
    let fixed = |version: &str| json!([{ "introduced": "0" }, { "fixed": version }]);
    let place = Place::new();
    let records = place.records(&[
        // The same record twice: the newer counts, wherever it stands.
        json!({ "id": "GHSA-1", "modified": "2024-02-01T00:00:00Z", "aliases": ["CVE-1"], "affected": [affected("npm", "@a/b", fixed("2.0.0"))] }),
        json!({ "id": "GHSA-1", "modified": "2024-01-01T00:00:00Z", "affected": [affected("npm", "@a/b", fixed("9.0.0"))] }),
        json!({ "id": "GHSA-2", "modified": "2024-01-01T00:00:00Z", "affected": [affected("npm", "@a/b", fixed("9.0.0"))] }),
        json!({ "id": "GHSA-2", "modified": "2024-02-01T00:00:00Z", "withdrawn": "2024-02-01T00:00:00Z",
                "affected": [affected("npm", "@a/b", fixed("9.0.0"))] }),
        // Two databases about one vulnerability.
        json!({ "id": "NPM-1", "modified": "2024-01-01T00:00:00Z", "aliases": ["CVE-1"], "affected": [affected("npm", "@a/b", fixed("2.0.1"))] }),
        json!({ "id": "MAL-2024-1", "modified": "2024-01-01T00:00:00Z", "affected": [
            { "package": { "ecosystem": "npm", "name": "evil" }, "versions": ["1.0.0"] }] }),
        // A range without versions that can be compared, and one of a kind that is not known.
        json!({ "id": "X-1", "modified": "", "affected": [{ "package": { "ecosystem": "crates.io", "name": "git" },
                "ranges": [{ "type": "GIT", "repo": "https://x", "events": [{ "introduced": "0" }] }] }] }),
        json!({ "id": "X-2", "modified": "", "affected": [{ "package": { "ecosystem": "crates.io", "name": "new" },
                "ranges": [{ "type": "PHASE", "events": [{ "introduced": "0" }] }], "versions": ["0.1.0"] }] }),
        json!({ "id": "GO-1", "modified": "", "affected": [affected("Go", "stdlib", fixed("1.21.0-rc.3")),
                affected("Go", "example.com/main", fixed("1.0.0"))] }),
        json!({ "id": "GEM-1", "modified": "", "affected": [affected("RubyGems", "rack", fixed("2.2.6.4"))] }),
        json!({ "id": "LIN-1", "modified": "", "affected": [affected("Linux", "Kernel", fixed("6.0"))] }),
        json!({ "id": " ", "affected": [] }),
    ]);
    std::fs::write(records.path.join("broken.json"), "{\"id\": \"B\u{1b}[2J\"").unwrap();
    let (database, report) = place.build(&[records]).unwrap();
    assert_eq!(
        report.warnings,
        [
            "0007.json: a range in it is of the type \"PHASE\", which is not known",
            "0011.json: it has no id",
            "broken.json: it is no OSV record: control character (\\u0000-\\u001F) found while parsing a string at line 1 column 10"
        ]
    );
    assert_eq!((report.passed_over, report.info.records), (3, 6));
    let npm = |name: &str, version: &str| package(PackageType::Npm, name, version);
    let scan = database
        .scan(&inventory(
            None,
            vec![
                npm("@a/b", "1.0.0"),
                npm("evil", "1.0.0"),
                npm("evil", "1.0.1"),
                package(PackageType::Cargo, "new", "0.1.0"),
                package(PackageType::Cargo, "git", "0.1.0"),
                package(PackageType::Golang, "stdlib", "1.21rc2"),
                package(PackageType::Golang, "example.com/main", "(devel)"),
                package(PackageType::Golang, "example.com/other", "(devel)"),
                package(PackageType::Gem, "rack", "2.2.6.3"),
            ],
        ))
        .unwrap();
    assert_eq!(
        ids(&scan),
        ["evil MAL-2024-1 ", "@a/b CVE-1 2.0.0,2.0.1", "new X-2 ", "rack GEM-1 2.2.6.4", "stdlib GO-1 1.21.0-rc.3"]
    );
    assert_eq!(scan.findings[0].severity, Severity::Critical);
    assert_eq!(scan.findings[1].aliases, ["GHSA-1", "NPM-1"]);
    let uncovered: Vec<String> = scan.uncovered.iter().map(|u| format!("{}: {}", u.ecosystem, u.reason)).collect();
    assert_eq!(uncovered, ["Go package example.com/main: nothing says which version it is"]);

    // What a package of the distribution brought is the distribution's to fix, where its records are at hand.
    let place = Place::new();
    let both = place.records(&[
        json!({ "id": "GHSA-1", "modified": "", "affected": [affected("npm", "@a/b", fixed("2.0.0"))] }),
        json!({ "id": "DEBIAN-CVE-2", "modified": "", "affected": [affected("Debian:12", "node-b", fixed("0.5"))] }),
    ]);
    let (database, _) = place.build(&[both]).unwrap();
    let mut image =
        inventory(Some(("debian", "12")), vec![npm("@a/b", "1.0.0"), package(PackageType::Deb, "node-b", "1")]);
    assert_eq!(database.scan(&image).unwrap().findings.len(), 1);
    image.packages[0].part_of = Some(1);
    assert_eq!(database.scan(&image).unwrap().findings.len(), 0);
}

/// An archive of stored members; `wide` with the end records of zip64.
fn zip(members: &[(&str, &[u8])], wide: bool) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let offset = u32::try_from(out.len()).unwrap();
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let crc = crc.sum().to_le_bytes();
        let sizes: Vec<u8> = [content.len() as u32; 2].iter().flat_map(|n| n.to_le_bytes()).collect();
        let lengths = [name.len() as u16, 0].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        out.extend([&b"PK\x03\x04"[..], &[0; 10], &crc, &sizes, &lengths, name.as_bytes(), content].concat());
        directory
            .extend([&b"PK\x01\x02"[..], &[0; 12], &crc, &sizes, &lengths, &[0; 10], &offset.to_le_bytes()].concat());
        directory.extend(name.as_bytes());
    }
    let (start, length, count) = (out.len() as u64, directory.len() as u64, members.len() as u64);
    out.extend(directory);
    if wide {
        let end = out.len() as u64;
        let fields: Vec<u8> = [count, count, length, start].iter().flat_map(|n| n.to_le_bytes()).collect();
        out.extend([&b"PK\x06\x06"[..], &44_u64.to_le_bytes(), &[0; 12], &fields].concat());
        out.extend([&b"PK\x06\x07"[..], &[0; 4], &end.to_le_bytes(), &[1, 0, 0, 0]].concat());
        out.extend([&b"PK\x05\x06"[..], &[0; 4], &[0xff; 12], &[0; 2]].concat());
    } else {
        let counts = [(count as u16).to_le_bytes(); 2].concat();
        let places = [(length as u32).to_le_bytes(), (start as u32).to_le_bytes()].concat();
        out.extend([&b"PK\x05\x06"[..], &[0; 4], &counts, &places, &[0; 2]].concat());
    }
    out
}

#[test]
fn archives_good_and_bad() {
    let record =
        json!({ "id": "GHSA-1", "modified": "", "affected": [affected("npm", "a", json!([{ "introduced": "0" }]))] });
    let record = record.to_string();
    let record = record.as_bytes();
    let big = vec![b' '; (16 << 20) + 1];
    let place = Place::new();
    let path = place.0.path().join("all.zip");
    let attempt = |bytes: &[u8], ecosystem: &str| {
        std::fs::write(&path, bytes).unwrap();
        place.build(&[source(Some(ecosystem), &path)])
    };
    for wide in [false, true] {
        let archive = zip(&[("README", b"x"), ("GHSA-1.json", record), ("GHSA-2.json", b"{}"), ("3.json", &big)], wide);
        let (database, report) = attempt(&archive, "npm").unwrap();
        assert_eq!(report.info.records, 1);
        assert_eq!(
            report.warnings,
            [
                "GHSA-2.json: it is no OSV record: missing field `id` at line 1 column 2",
                "3.json: it has more than 16777216 bytes"
            ]
        );
        assert!(database.info().ecosystems["npm"].whole);
        // Cut anywhere, it is refused, and the database that was there stays.
        for end in (0..archive.len()).step_by(archive.len() / 7 + 1).chain([archive.len() - 1]) {
            let error = attempt(&archive[..end], "npm").unwrap_err().to_string();
            assert!(error.contains("all.zip: it is"), "{error}");
            assert_eq!(Database::open(&place.db()).unwrap().info().records, 1);
        }
    }
    let good = zip(&[("GHSA-1.json", record)], false);
    let error = attempt(&good, "PyPI").unwrap_err().to_string();
    assert!(error.ends_with("all.zip: none of its 1 records is about PyPI"), "{error}");
    // A member that is not where the directory says costs a warning.
    let mut lost = zip(&[("GHSA-1.json", record), ("GHSA-2.json", record)], false);
    lost[0] = b'x';
    let (_, report) = attempt(&lost, "npm").unwrap();
    assert_eq!(report.warnings, ["GHSA-1.json: it is not where the archive's directory says"]);
    // One that still reads well, but is not what was packed.
    let mut changed = zip(&[("GHSA-1.json", record), ("GHSA-2.json", record)], false);
    let at = changed.windows(6).position(|window| window == b"GHSA-1").unwrap() + "GHSA-1.json".len();
    let id = changed[at..].windows(6).position(|window| window == b"GHSA-1").unwrap();
    changed[at + id + 5] = b'7';
    let (_, report) = attempt(&changed, "npm").unwrap();
    assert_eq!(report.warnings, ["GHSA-1.json: it is damaged: its checksum is another"]);
    let left: Vec<String> = std::fs::read_dir(place.0.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(".osv-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let stopped = build(&place.db(), &[source(Some("npm"), &path)], 0, &mut |_, _| false);
    assert!(stopped.is_ok(), "a thousand records are read between two questions");
}

#[test]
fn what_cannot_answer_is_an_error() {
    let place = Place::new();
    let text = |result: Result<Database, DbError>| result.unwrap_err().to_string();
    assert!(text(Database::open(&place.db())).starts_with("there is no vulnerability database at "));
    std::fs::write(place.db(), "no database at all, but a text of some length").unwrap();
    assert!(text(Database::open(&place.db())).contains("cannot be read"));
    let records = place.records(&[
        json!({ "id": "X", "modified": "2024-01-01T00:00:00Z", "affected": [affected("npm", "a", json!([{ "introduced": "0" }]))] }),
    ]);
    let (database, report) = place.build(&[records]).unwrap();
    let fetched = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let day = Duration::from_secs(86_400);
    database.check_age(fetched + 7 * day, 7 * day).unwrap();
    let error = database.check_age(fetched + 10 * day, 7 * day).unwrap_err().to_string();
    assert!(error.ends_with("is 10 days old, and 7 days is the most that is allowed"), "{error}");
    // It was looked at again, and nothing had changed.
    let touched = touch(&place.db(), 1_700_500_000).unwrap();
    assert_eq!(touched, scan::db::Info { fetched: 1_700_500_000, ..report.info });
    assert_eq!(*Database::open(&place.db()).unwrap().info(), touched);
    // A page that is damaged is found when it is read.
    let bytes = std::fs::read(place.db()).unwrap();
    std::fs::write(place.db(), &bytes[..4096]).unwrap();
    let image = inventory(None, vec![package(PackageType::Npm, "a", "1.0.0")]);
    let damaged = Database::open(&place.db()).and_then(|database| database.scan(&image));
    assert!(matches!(damaged, Err(DbError::Unreadable { .. })), "{damaged:?}");
}
