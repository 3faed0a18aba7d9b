//! `cooperage sbom`: what it finds is what the package managers themselves say, from wherever the image is read; what
//! is hostile costs a warning.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use testkit::{Registry, bases};

struct Place {
    dir: tempfile::TempDir,
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn run(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(place.path("context")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of the build context.
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path("context").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooperage"));
        command.args(words).arg("--root").arg(self.path("store"));
        command.current_dir(self.dir.path()).env("HOME", self.dir.path()).env("SOURCE_DATE_EPOCH", "1700000000");
        command
    }

    fn output(&self, words: &[&str]) -> Output {
        let output = self.command(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    fn build(&self, dockerfile: &str, words: &[&str]) {
        self.file("Dockerfile", dockerfile);
        let mut all = vec!["build", "--progress", "plain", "context"];
        all.extend(words);
        self.output(&all);
    }

    /// The document of our own form.
    fn inventory(&self, image: &str) -> Value {
        let output = self.output(&["sbom", "--format", "json", image]);
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// `NAME VERSION` of each package of a type, where a location begins with a path.
fn packages(inventory: &Value, kind: &str, place: &str) -> BTreeSet<String> {
    let of = inventory["packages"].as_array().unwrap().iter().filter(|p| p["type"] == kind);
    let of = of.filter(|p| p["locations"].as_array().unwrap().iter().any(|l| l.as_str().unwrap().starts_with(place)));
    of.map(|p| format!("{} {}", p["name"].as_str().unwrap(), p["version"].as_str().unwrap())).collect()
}

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().filter(|line| !line.trim().is_empty()).map(|line| line.trim().to_owned()).collect()
}

/// Both documents of an image against the official schemas: SPDX's as a crate ships it, CycloneDX's (with those of
/// licences and signatures that it refers to) as its Python library ships them.
const VALIDATE: &str = r#"
import json, sys, jsonschema
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
schema, spdx, cyclonedx = sys.argv[1:]
checker = jsonschema.Draft7Validator(json.load(open(schema)), format_checker=jsonschema.FormatChecker())
for error in checker.iter_errors(json.load(open(spdx))):
    print(error.json_path, error.message[:300])
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(cyclonedx).read())
if error is not None:
    print(str(error)[:1000])
"#;

fn valid(place: &Place, test: &str, image: &str) {
    let Some(packages) = bases::python_packages(test, "cyclonedx-python-lib[json-validation]==11.12.0") else { return };
    let schema = bases::crate_source("serde-spdx", "0.10.0").unwrap().join("schemas/spdx_2_3.json");
    for name in ["valid.spdx.json", "valid.cdx.json"] {
        place.output(&["sbom", image, "-o", name, "--files", "all"]);
    }
    let output = Command::new("python3")
        .args(["-c", VALIDATE])
        .args([schema, place.path("valid.spdx.json"), place.path("valid.cdx.json")])
        .env("PYTHONPATH", packages)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{image}");
}

const TOOLS: &[(&str, &str)] =
    &[("gem", "ruby"), ("rpmbuild", "rpm"), ("go", "golang-go"), ("objcopy", "binutils"), ("python3", "python3")];

/// Writes rpm's ndb format as `lib/backend/ndb/rpmpkg.c` has it: header, slots, blobs with their marks.
const NDB: &str = r#"
import sqlite3, struct, sys, zlib
blobs = [row[0] for row in sqlite3.connect(sys.argv[1]).execute("select blob from Packages order by hnum")]
slots, data, block = b"", b"", 4096 // 16
for number, blob in enumerate(blobs, 1):
    body = struct.pack("<4sIII", b"BlbS", number, 1, len(blob)) + blob
    body += b"\0" * (-(len(body) + 12) % 16)
    body += struct.pack("<II4s", zlib.adler32(body), len(blob), b"BlbE")
    slots += struct.pack("<4sIII", b"Slot", number, block, len(body) // 16)
    data += body
    block += len(body) // 16
while len(slots) < 4096 - 32:
    slots += struct.pack("<4sIII", b"Slot", 0, 0, 0)
head = struct.pack("<4sIIII12x", b"RpmP", 0, 1, 1, len(blobs) + 1)
open(sys.argv[2], "wb").write(head + slots + data)
"#;

/// Packages of six worlds in an image that nothing could run in: each as the tool that put it there lists it.
#[test]
fn gems_rpms_modules_and_crates_as_their_tools_list_them() {
    if !testkit::available("gems_rpms_modules_and_crates_as_their_tools_list_them", TOOLS) {
        return;
    }
    let place = Place::new();
    let context = place.path("context");

    // Gems: those of this machine's Ruby.
    let paths = run(
        "ruby",
        &["-e", "puts Gem.path.map { |p| File.join(p, 'specifications') }.select { |p| File.directory?(p) }"],
    );
    for path in paths.lines() {
        let target = context.join(path.trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        run("cp", &["-rL", path, text(&target)]);
    }
    let gems = "Gem::Specification.each { |s| puts \"#{s.name} #{s.version}\" if Gem.path.any? { |p| s.loaded_from.start_with?(File.join(p, 'specifications')) } }";
    let gems = lines(&run("ruby", &["-e", gems]));

    // RPM packages in both kinds of database.
    let spec = "Name: tool\nEpoch: 2\nVersion: 1.4\nRelease: 3.test\nSummary: A tool\nLicense: GPLv2+ and MIT\nBuildArch: noarch\n%description\nNothing.\n%install\nmkdir -p %{buildroot}/usr/bin\necho x > %{buildroot}/usr/bin/tool\n%files\n/usr/bin/tool\n%package libs\nSummary: Its libraries\n%description libs\nNothing.\n%files libs\n";
    fs::write(place.path("tool.spec"), spec).unwrap();
    let top = format!("_topdir {}", text(&place.path("rpmbuild")));
    run("rpmbuild", &["-bb", "--quiet", "--nodeps", "--define", &top, text(&place.path("tool.spec"))]);
    let built = place.path("rpmbuild/RPMS/noarch");
    let rpms: Vec<String> = fs::read_dir(built).unwrap().map(|f| text(&f.unwrap().path()).to_owned()).collect();
    let root = place.path("rpmroot");
    let base = ["--root", text(&root), "--dbpath", "/db", "--define", "_db_backend sqlite"];
    let mut words = base.to_vec();
    words.extend(["-i", "--nodeps", "--justdb", "--noscripts", "--nosignature"]);
    words.extend(rpms.iter().map(String::as_str));
    run("rpm", &words);
    let mut words = base.to_vec();
    words.extend(["-qa", "--qf", "%{NAME} %|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\n"]);
    let listed = lines(&run("rpm", &words));
    for target in ["usr/lib/sysimage/rpm", "var/lib/rpm"] {
        fs::create_dir_all(context.join(target)).unwrap();
    }
    let database = context.join("usr/lib/sysimage/rpm/rpmdb.sqlite");
    fs::copy(root.join("db/rpmdb.sqlite"), &database).unwrap();
    // Debian's rpm is built without ndb: the same headers in that format.
    run("python3", &["-c", NDB, text(&database), text(&context.join("var/lib/rpm/Packages.db"))]);

    // A Go program with a module of its own, and one with the list of its crates.
    let go = place.path("go");
    fs::create_dir_all(go.join("dep")).unwrap();
    fs::write(
        go.join("go.mod"),
        "module example.com/app\n\ngo 1.19\n\nrequire example.com/dep v1.2.3\n\nreplace example.com/dep => ./dep\n",
    )
    .unwrap();
    fs::write(go.join("dep/go.mod"), "module example.com/dep\n\ngo 1.19\n").unwrap();
    fs::write(go.join("dep/dep.go"), "package dep\n\nfunc One() int { return 1 }\n").unwrap();
    fs::write(go.join("main.go"), "package main\n\nimport \"example.com/dep\"\n\nfunc main() { println(dep.One()) }\n")
        .unwrap();
    let program = context.join("app");
    let output = Command::new("go")
        .args(["build", "-trimpath", "-ldflags", "-s -w", "-o", text(&program), "."])
        .current_dir(&go)
        .envs([("GOFLAGS", "-mod=mod"), ("GOPROXY", "off"), ("GOTOOLCHAIN", "local"), ("CGO_ENABLED", "0")])
        .env("GOCACHE", place.path("gocache"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let modules = run("go", &["version", "-m", text(&program)]);
    let mut expected: BTreeSet<String> = modules
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            matches!(words.first(), Some(&"mod" | &"dep"))
                .then(|| words[1..].iter().take(2).copied().collect::<Vec<_>>().join(" "))
        })
        .collect();
    expected.insert(modules.lines().next().unwrap().rsplit_once(": go").map(|(_, v)| format!("stdlib {v}")).unwrap());
    let list = place.path("crates");
    let pack = "import sys,zlib;open(sys.argv[1],'wb').write(zlib.compress(sys.argv[2].encode()))";
    let crates = r#"{"packages":[{"name":"serde","version":"1.0.1","source":"crates.io"},{"name":"cc","version":"1.0.2","source":"crates.io","kind":"build"}]}"#;
    run("python3", &["-c", pack, text(&list), crates]);
    let section = format!(".dep-v0={}", text(&list));
    run("objcopy", &["--add-section", &section, text(&program), text(&context.join("both"))]);

    place
        .build("FROM scratch\nCOPY app both /opt/\nCOPY usr /usr\nCOPY var /var\n", &["-o", "type=oci,dest=image.tar"]);
    let found = place.inventory("image.tar");
    assert_eq!(packages(&found, "gem", ""), gems);
    assert!(!gems.is_empty());
    assert_eq!(listed.len(), 2);
    for target in ["usr/lib/sysimage/rpm", "var/lib/rpm"] {
        assert_eq!(packages(&found, "rpm", target), listed, "{target}");
    }
    assert_eq!(packages(&found, "golang", "opt/app"), expected);
    assert_eq!(packages(&found, "cargo", "opt/both"), ["serde 1.0.1".to_owned()].into());
    assert_eq!(found["warnings"].as_array().unwrap().len(), 0, "{}", found["warnings"]);
    let tool = found["packages"].as_array().unwrap().iter().find(|p| p["name"] == "tool-libs").unwrap();
    assert_eq!(tool["purl"], "pkg:rpm/tool-libs@1.4-3.test?arch=noarch&epoch=2&upstream=tool");
    assert_eq!(tool["licenses"][0], "GPLv2+ and MIT");
    valid(&place, "gems_rpms_modules_and_crates_as_their_tools_list_them", "image.tar");
}

/// Debian's and Python's packages, asked of their tools inside of the same image; and each to its layer.
#[test]
fn debian_and_python_packages_as_the_image_itself_lists_them() {
    let name = "debian_and_python_packages_as_the_image_itself_lists_them";
    if !testkit::available(name, testkit::DEBIAN_TOOLS) || !testkit::is_root() {
        return;
    }
    let registry = Registry::start().unwrap();
    let base = bases::PYTHON.push(&registry).unwrap();
    let place = Place::new();
    let meta = "Metadata-Version: 2.1\nName: Own_Thing\nVersion: 1.0.post1\nLicense: MIT\n";
    place.file("own_thing-1.0.post1.dist-info/METADATA", meta);
    place.file("own_thing-1.0.post1.dist-info/RECORD", "own_thing.py,,\n");
    place.file("own_thing.py", "");
    let target = registry.reference("python-app");
    let dockerfile = format!(
        "FROM {base}\nCOPY own_thing* /usr/lib/python3/dist-packages/\nCOPY own_thing-1.0.post1.dist-info /usr/lib/python3/dist-packages/own_thing-1.0.post1.dist-info\nRUN dpkg --purge --force-all e2fsprogs\n"
    );
    place.build(&dockerfile, &["--push", "-t", &target]);
    let bundle = testkit::Bundle::pull(&registry, "python-app").unwrap();
    let debian = bundle.run(&["dpkg-query", "--show", "--showformat=${Package} ${Version}\\n"]).unwrap();
    let python = bundle.run(&["pip", "list", "--format=freeze", "--disable-pip-version-check"]).unwrap();
    // From the registry: the store is another.
    let remote = place.output(&["sbom", "--remote", "--format", "json", &target]);
    let found: Value = serde_json::from_slice(&remote.stdout).unwrap();
    assert_eq!(packages(&found, "deb", ""), lines(&debian));
    let python: BTreeSet<String> = lines(&python).iter().map(|line| line.replace("==", " ")).collect();
    let ours: BTreeSet<String> = packages(&found, "pypi", "").iter().map(|p| p.replace('_', "-")).collect();
    assert_eq!(ours, python.iter().map(|p| p.replace('_', "-")).collect());
    let package = |name: &str| found["packages"].as_array().unwrap().iter().find(|p| p["name"] == name).unwrap();
    let layers = found["layers"].as_array().unwrap();
    let own = package("Own_Thing")["layer"].as_u64().unwrap() as usize;
    assert!(layers[own]["instruction"].as_str().unwrap().starts_with("COPY own_thing"), "{own}: {layers:?}");
    assert_eq!(package("libc6")["layer"], 0);
    // Debian's own pip is a part of a Debian package.
    let whole = package("pip")["partOf"].as_u64().expect("owned") as usize;
    assert_eq!(found["packages"][whole]["name"], "python3-pip");
    // The store has the image too, and none of its base layer's files were needed to make it.
    let mut local = place.inventory(&target);
    local["image"] = found["image"].clone();
    assert_eq!(local, found);
    valid(&place, name, &target);
}

fn small(place: &Place) {
    let apk = "P:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\nF:lib\nR:libc.so\n\n";
    place.file("root/lib/apk/db/installed", apk).file("root/lib/libc.so", "libc");
    place.file("root/etc/os-release", "ID=alpine\nVERSION_ID=3.20\n");
    place.file("app/node_modules/@s/a/package.json", r#"{"name":"@s/a","version":"1.0.0","license":"ISC"}"#);
    place.file("app/yarn.lock", "b@^1:\n  version \"1.0.0\"\n");
    place.build(
        "FROM scratch AS base\nCOPY root /\nFROM base\nCOPY app /app\n",
        &[
            "-t",
            "example.org/app:1",
            "-o",
            "type=oci,dest=oci.tar",
            "-o",
            "type=docker,dest=docker.tar",
            "-o",
            "type=oci,dest=layout,tar=false",
            "-o",
            "type=image",
        ],
    );
}

#[test]
fn every_place_of_an_image_gives_the_same_packages() {
    let place = Place::new();
    small(&place);
    run("gzip", &["-k", text(&place.path("docker.tar"))]);
    let reference = place.inventory("example.org/app:1");
    assert_eq!(packages(&reference, "apk", ""), ["musl 1.2.5-r0".to_owned()].into());
    assert_eq!(packages(&reference, "npm", ""), ["@s/a 1.0.0".to_owned(), "b 1.0.0".to_owned()].into());
    for image in ["oci.tar", "docker.tar", "docker.tar.gz", "layout", "oci-layout://layout:1", "oci-archive:oci.tar"] {
        assert_eq!(place.inventory(image)["packages"], reference["packages"], "{image}");
    }
    let table = String::from_utf8(place.output(&["sbom", "layout"]).stdout).unwrap();
    insta::assert_snapshot!(table.lines().take(4).collect::<Vec<_>>().join("\n"), @r#"
    NAME  VERSION   TYPE  LAYER  LICENCES
    musl  1.2.5-r0  apk   0      MIT
    @s/a  1.0.0     npm   1      ISC
    b     1.0.0     npm   1      -
    "#);
}

#[test]
fn two_builds_give_one_document() {
    let (first, second) = (Place::new(), Place::new());
    for place in [&first, &second] {
        small(place);
    }
    for name in ["a.spdx.json", "a.cdx.json", "a.json"] {
        for place in [&first, &second] {
            place.output(&["sbom", "example.org/app:1", "-o", name, "--files", "all"]);
        }
        assert_eq!(fs::read(first.path(name)).unwrap(), fs::read(second.path(name)).unwrap(), "{name}");
    }
    let spdx: Value = serde_json::from_slice(&fs::read(first.path("a.spdx.json")).unwrap()).unwrap();
    assert_eq!(
        (spdx["spdxVersion"].as_str(), spdx["creationInfo"]["created"].as_str()),
        (Some("SPDX-2.3"), Some("2023-11-14T22:13:20Z"))
    );
    assert!(spdx["files"].as_array().unwrap().iter().any(|f| f["fileName"] == "./lib/libc.so"));
    let cyclonedx: Value = serde_json::from_slice(&fs::read(first.path("a.cdx.json")).unwrap()).unwrap();
    assert_eq!(cyclonedx["specVersion"], "1.6");
}

#[test]
fn what_is_hostile_costs_a_warning_that_names_it() {
    let place = Place::new();
    let elf = [&b"\x7fELF\x02\x01\x01"[..], &[0xff; 120]].concat();
    let files: &[(&str, &[u8])] = &[
        ("usr/lib/sysimage/rpm/rpmdb.sqlite", b"SQLite format 3\0\x10\0and then nothing"),
        ("var/lib/rpm/Packages.db", b"RpmP\0\0\0\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        ("var/lib/rpm/Packages", b"\0\0\0\0\0\0\0\0\0\0\0\0\x61\x15\x06\0berkeley"),
        ("opt/broken.jar", b"PK\x05\x06 and not a directory behind it, as it should be"),
        ("opt/program", &elf),
        ("app/package-lock.json", b"{\"packages\": "),
        ("app/Cargo.lock", b"[[package]\n"),
        ("app/node_modules/a/package.json", b"\xff\xfe"),
        ("usr/lib/ruby/specifications/a.gemspec", b"raise 'never run'"),
        ("lib/apk/db/installed", b"P:only-a-name\n\n"),
        ("var/lib/dpkg/status", b"Package: x\nStatus: install ok installed\nVersion: 1\n\nVersion: 2\n"),
    ];
    for (name, content) in files {
        place.file(&format!("root/{name}"), content);
    }
    place.build("FROM scratch\nCOPY root /\n", &["-t", "hostile"]);
    let output = place.output(&["sbom", "hostile", "--format", "json"]);
    let warnings = String::from_utf8(output.stderr).unwrap();
    for (name, _) in files {
        assert!(warnings.lines().any(|line| line.starts_with(&format!("warning: {name}: "))), "{name}: {warnings}");
    }
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(packages(&found, "deb", ""), ["x 1".to_owned()].into());
    assert_eq!(found["warnings"].as_array().unwrap().len(), files.len());
    valid(&place, "what_is_hostile_costs_a_warning_that_names_it", "hostile");
}

#[test]
fn what_is_no_image_is_refused() {
    let place = Place::new();
    fs::write(place.path("note.txt"), "not a tar").unwrap();
    small(&place);
    let mut damaged = fs::read(place.path("oci.tar")).unwrap();
    let half = damaged.len() / 2;
    damaged.truncate(half);
    fs::write(place.path("half.tar"), damaged).unwrap();
    let refused = |words: &[&str]| {
        let output = place.command(words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).replace(text(place.dir.path()), "DIR");
        format!("exit {}\n{text}", output.status.code().unwrap())
    };
    insta::assert_snapshot!(refused(&["sbom", "note.txt"]), @r#"
    exit 2
    error: DIR/note.txt is no image archive: broken tar archive at byte 0: it ends in the middle of a header
      hint: give what `docker save`, `podman save` or `cooperage build -o type=oci,dest=FILE` writes
    "#);
    insta::assert_snapshot!(refused(&["sbom", "./nowhere"]), @r#"
    exit 2
    error: DIR/nowhere does not exist
      hint: give an image's name, oci-layout://DIR, or a file that `docker save` or -o type=oci wrote
    "#);
    insta::assert_snapshot!(refused(&["sbom", "half.tar"]), @r#"
    exit 2
    error: DIR/half.tar is no image archive: it has neither index.json nor manifest.json
      hint: give what `docker save`, `podman save` or `cooperage build -o type=oci,dest=FILE` writes
    "#);
    insta::assert_snapshot!(refused(&["sbom", "oci-layout://layout:2"]), @r#"
    exit 2
    error: the OCI layout DIR/layout has no entry 2; it has 1
    "#);
    insta::assert_snapshot!(refused(&["sbom", "layout", "--format", "xml"]), @r#"
    exit 2
    error: invalid value 'xml' for '--format <FORMAT>'
      [possible values: table, spdx-json, cyclonedx-json, json]

    For more information, try '--help'.
    "#);
}

#[test]
fn a_build_attaches_what_is_in_its_images() {
    let place = Place::new();
    small(&place);
    let dockerfile = fs::read_to_string(place.path("context/Dockerfile")).unwrap();
    let outputs = ["-o", "type=oci,dest=attested,tar=false", "-o", "files", "-o", "type=docker,dest=plain.tar"];
    place.file("Dockerfile", dockerfile);
    let mut words = vec!["build", "context", "--sbom", "-t", "example.org/app:2"];
    words.extend(outputs);
    let output = place.output(&words);
    assert!(String::from_utf8_lossy(&output.stderr).contains("a Docker archive carries no attestations"));
    let blob = |descriptor: &Value| -> Value {
        let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
        serde_json::from_slice(&fs::read(place.path("attested/blobs").join(digest)).unwrap()).unwrap()
    };
    let top: Value = serde_json::from_slice(&fs::read(place.path("attested/index.json")).unwrap()).unwrap();
    let index = blob(&top["manifests"][0]);
    let (image, attestation) = (&index["manifests"][0], &index["manifests"][1]);
    assert_eq!(attestation["annotations"]["vnd.docker.reference.type"], "attestation-manifest");
    assert_eq!(attestation["annotations"]["vnd.docker.reference.digest"], image["digest"]);
    let layer = &blob(attestation)["layers"][0];
    assert_eq!(layer["annotations"]["in-toto.io/predicate-type"], "https://spdx.dev/Document");
    let statement = blob(layer);
    assert_eq!(statement["predicateType"], "https://spdx.dev/Document");
    let hex = statement["subject"][0]["digest"]["sha256"].as_str().unwrap();
    assert_eq!(Some(format!("sha256:{hex}").as_str()), image["digest"].as_str());
    // What the build says of the image is what the command says.
    let output = place.output(&["sbom", "attested", "--format", "spdx-json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(statement["predicate"] == document, "{document:#}");
    let beside: Value = serde_json::from_slice(&fs::read(place.path("files/sbom.spdx.json")).unwrap()).unwrap();
    let names = |document: &Value| {
        let packages = document["packages"].as_array().unwrap().iter();
        packages
            .filter(|p| p["SPDXID"].as_str().unwrap().starts_with("SPDXRef-Package"))
            .map(|p| p["SPDXID"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&beside["predicate"]), names(&document));
    assert_eq!(names(&document).len(), 3);
}
