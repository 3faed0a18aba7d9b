//! `cooperage scan`: a real Debian with Python's packages against records of OSV; what the policy, rules and OpenVEX
//! make of it; another scanner in the place of ours; SBOMs in the place of images.
#[path = "scan/database.rs"]
mod database;
#[path = "scan/sbom.rs"]
mod sbom;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use testkit::{Registry, bases};

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Exit code, standard output and standard error, without paths of this test.
    fn run(&self, words: &[&str]) -> (Option<i32>, String, String) {
        let output = self.output(words);
        let text = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes).replace(self.dir.path().canonicalize().unwrap().to_str().unwrap(), "/place")
        };
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    fn output(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooperage"));
        command.args(words).arg("--root").arg(self.path("store")).current_dir(self.dir.path().canonicalize().unwrap());
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap_or_default());
        command.env("HOME", self.dir.path()).env("PATH", path).env("SOURCE_DATE_EPOCH", "1700000000");
        command.output().unwrap()
    }

    fn update(&self) {
        let records = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/osv");
        let copy = self.path("osv");
        fs::create_dir_all(&copy).unwrap();
        for record in fs::read_dir(records).unwrap() {
            let record = record.unwrap();
            fs::write(copy.join(record.file_name()), fs::read(record.path()).unwrap()).unwrap();
        }
        let (code, _, stderr) = self.run(&["scan", "db", "update", "--from", copy.to_str().unwrap()]);
        assert_eq!(code, Some(0), "{stderr}");
    }

    fn build(&self, dockerfile: &str, words: &[&str]) {
        self.file("context/Dockerfile", dockerfile);
        let output = self.output(&[&["build", "--progress", "plain", "context"], words].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn json(&self, words: &[&str]) -> Value {
        let output = self.output(&[&["scan", "--format", "json"], words].concat());
        assert!(matches!(output.status.code(), Some(0 | 3)), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn findings(report: &Value) -> Vec<String> {
    let of = |f: &Value| format!("{} {}", f["id"].as_str().unwrap(), f["package"]["name"].as_str().unwrap());
    report["findings"].as_array().unwrap().iter().map(of).collect()
}

const REQUIREMENTS: &str = "aiohttp==3.9.0\njinja2==2.10\n";

#[test]
fn a_debian_with_flaws_of_its_own_and_of_python() {
    let name = "a_debian_with_flaws_of_its_own_and_of_python";
    if !testkit::available(name, testkit::DEBIAN_TOOLS) || !testkit::is_root() {
        return;
    }
    let registry = Registry::start().unwrap();
    let base = bases::DEBIAN.push(&registry).unwrap();
    let place = Place::new();
    place.file("context/requirements.txt", REQUIREMENTS);
    let target = registry.reference("scanned");
    let dockerfile = format!("FROM {base}\nCOPY requirements.txt /srv/requirements.txt\n");
    place.build(&dockerfile, &["--push", "-t", &target, "-o", "type=oci,dest=app.tar"]);
    place.update();

    let report = place.json(&["--remote", &target]);
    let found = findings(&report);
    for expected in ["CVE-2099-0001 libc6", "CVE-2024-23334 aiohttp", "CVE-2019-10906 jinja2"] {
        assert!(found.iter().any(|f| f == expected), "{expected}: {found:?}");
    }
    let of = |name: &str| {
        report["findings"].as_array().unwrap().iter().find(|f| f["package"]["name"] == name).unwrap().clone()
    };
    let (libc, aiohttp) = (of("libc6"), of("aiohttp"));
    assert_eq!((&libc["severity"], &libc["package"]["source"]), (&"critical".into(), &"glibc".into()));
    assert_eq!((&libc["fixed"][0], &libc["package"]["layer"]["index"]), (&"9.99-1".into(), &0.into()));
    let layer = &aiohttp["package"]["layer"];
    assert!(layer["instruction"].as_str().unwrap().starts_with("COPY requirements.txt"), "{layer}");
    assert_eq!(aiohttp["package"]["paths"][0], "srv/requirements.txt");
    // The same from an archive.
    assert_eq!(findings(&place.json(&["app.tar"])), found);

    // Policy, rules, VEX.
    let (code, _, stderr) = place.run(&["scan", "app.tar", "--fail-on", "critical"]);
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("error: the policy allows no vulnerabilities that are critical; "), "{stderr}");
    place.file(
        ".cooperage/ignore.yaml",
        "ignore:\n  - id: CVE-2099-0001\n    reason: made up\n    expires: 2999-01-01\n  - id: CVE-1-1\n    reason: none\n    expires: 2999-01-01\n",
    );
    let vex = json!({
        "@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://example.com/vex/1", "author": "Ada",
        "timestamp": "2026-01-01T00:00:00Z", "version": 1,
        "statements": [{
            "vulnerability": { "name": "CVE-2024-23334" }, "products": [{ "@id": "pkg:pypi/aiohttp@3.9.0" }],
            "status": "not_affected", "justification": "vulnerable_code_not_in_execute_path",
        }],
    });
    place.file("app.vex.json", vex.to_string());
    let words = ["scan", "app.tar", "--fail-on", "high", "--vex", "app.vex.json"];
    let (code, stdout, stderr) = place.run(&words);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stderr.contains("the ignore rule for CVE-1-1 in line 5 fits nothing in this image"), "{stderr}");
    assert!(stdout.contains("made up (until 2999-01-01)"), "{stdout}");
    assert!(stdout.contains("not_affected: vulnerable_code_not_in_execute_path (app.vex.json)"), "{stdout}");
    let output = place.output(&["scan", "app.tar", "--vex", "app.vex.json", "--format", "sarif", "-o", "out.sarif"]);
    assert!(output.status.success());
    let sarif: Value = serde_json::from_slice(&fs::read(place.path("out.sarif")).unwrap()).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let suppressed = results.iter().filter(|r| r["suppressions"].is_array()).count();
    assert!(suppressed >= 2 && results.len() > suppressed, "{suppressed} of {}", results.len());

    // Another scanner sees the same image, and the same policy counts.
    let bundle = json!({
        "SchemaVersion": 2, "Trivy": { "Version": "0.57.1" },
        "Results": [{ "Target": "Python", "Class": "lang-pkgs", "Type": "pip", "Vulnerabilities": [
            { "VulnerabilityID": "CVE-2024-23334", "PkgName": "aiohttp", "InstalledVersion": "3.9.0",
              "PkgIdentifier": { "PURL": "pkg:pypi/aiohttp@3.9.0" }, "FixedVersion": "3.9.2", "Severity": "HIGH" },
            { "VulnerabilityID": "CVE-2019-10906", "PkgName": "jinja2", "InstalledVersion": "2.10",
              "PkgIdentifier": { "PURL": "pkg:pypi/jinja2@2.10" }, "FixedVersion": "2.10.1", "Severity": "HIGH" }
        ] }],
    });
    place.file("trivy.json", bundle.to_string());
    let script = "#!/bin/sh\necho \"$@\" > \"$HOME/arguments\"\nwhile [ $# -gt 0 ]; do [ \"$1\" = --input ] && input=$2; shift; done\n[ -e \"$input/oci-layout\" ] || exit 9\ncat \"$HOME/trivy.json\"\n";
    let program = place.file("bin/trivy", script);
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    let words = ["scan", &target, "--remote", "--scanner", "trivy", "--vex", "app.vex.json", "--fail-on", "high"];
    let (code, stdout, stderr) = place.run(&words);
    assert_eq!(code, Some(3), "{stdout}{stderr}");
    assert!(stdout.contains("COPY requirements.txt") && stdout.contains(", by trivy 0.57.1"), "{stdout}");
    assert!(stdout.contains("1 vulnerability in 1 package: 1 high; 1 with a fix; 1 not counted"), "{stdout}");
    assert!(fs::read_to_string(place.path("arguments")).unwrap().starts_with("image --quiet --format json"));
    place.file("trivy.json", "{}");
    let (code, _, stderr) = place.run(&words);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("trivy wrote a report that cannot be read"), "{stderr}");
}

#[test]
fn what_cannot_be_answered_is_no_clean_result() {
    let place = Place::new();
    place.file("context/requirements.txt", REQUIREMENTS);
    place.build("FROM scratch\nCOPY requirements.txt /\n", &["-t", "app", "-o", "type=oci,dest=app.tar"]);
    let errors = |words: &[&str]| {
        let (code, stdout, stderr) = place.run(&[&["scan", "app.tar"], words].concat());
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{words:?}: {stderr}");
        stderr
    };
    insta::assert_snapshot!(errors(&[]), @r#"
    error: there is no vulnerability database at /place/store/scan/osv.db
      hint: build it with: cooperage scan db update
    "#);
    place.update();
    assert!(errors(&["--max-db-age", "0s"]).contains(" old, and 0 seconds is the most that is allowed"));
    place.file(
        "rules.yaml",
        "ignore:\n  - id: CVE-1\n    reason: later\n    expires: 2020-01-01\n  - id: CVE-2\n    until: 2020-01-01\n",
    );
    insta::assert_snapshot!(errors(&["--ignore-file", "rules.yaml"]), @r#"
    /place/rules.yaml:4:14: the rule for CVE-1 expired on 2020-01-01
    /place/rules.yaml:5:5: the rule has no reason
    /place/rules.yaml:5:5: the rule has no expiry date
    /place/rules.yaml:6:5: unknown key until
    error: /place/rules.yaml cannot be used
      hint: look at it again: remove the rule, or give it a new date
      hint: say why the finding does not count: reason: …
      hint: say until when it holds: expires: YYYY-MM-DD
      hint: a rule has the keys id, package, path, reason, expires
    "#);
    place.file("not.vex.json", r#"{"bomFormat":"CycloneDX"}"#);
    insta::assert_snapshot!(errors(&["--vex", "not.vex.json"]), @r#"
    error: /place/not.vex.json cannot be used: it is no OpenVEX document (it is CycloneDX): its @context is "", expected https://openvex.dev/ns/v0.2.0
      hint: --vex reads OpenVEX, https://openvex.dev; vexctl writes it
    "#);
    insta::assert_snapshot!(errors(&["--scanner", "grype"]), @r#"
    error: --scanner grype: the program grype is not installed
      hint: install it (https://github.com/anchore/grype)
      hint: or leave --scanner out: cooperage scans by itself
    "#);
}
