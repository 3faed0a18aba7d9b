//! The image factory as a team uses it: a repository with two services behind a real git, a real
//! registry, real builds; base images that move, manifests that are written while others push.
#[path = "factory/resume.rs"]
mod resume;
#[path = "factory/story.rs"]
mod story;
#[path = "factory/token.rs"]
mod token;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use testkit::Registry;

/// A token that must not be seen anywhere.
const TOKEN: &str = "ghp_never_to_be_seen_0123456789";

struct Place {
    dir: tempfile::TempDir,
    registry: Registry,
}

impl Place {
    /// A bare repository with two services and their manifests, a base image, and `images.yaml`.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::start().unwrap();
        let place = Self { dir, registry };
        let host = place.registry.host();
        place.base("one");
        place.git(&["init", "-q", "--bare", "-b", "main", "app.git"], ".");
        place.git(&["-C", "app.git", "config", "uploadpack.allowFilter", "true"], ".");
        place.git(&["clone", "-q", "app.git", "work"], ".");
        place.write(
            "work/api/Dockerfile",
            &format!("ARG BASE=base:1\nFROM {host}/${{BASE}} AS deps\nFROM deps\nCOPY api/server.js /\n"),
        );
        place.write("work/api/server.js", "serve()\n");
        place.write(
            "work/web/Dockerfile",
            &format!("FROM scratch\nCOPY --from={host}/base:1 /file /base\nCOPY index.html /\n"),
        );
        place.write("work/web/index.html", "<p>hello\n");
        place.write("work/k8s/kustomization.yml", &format!("# who runs where\nimages:\n  - name: {host}/o/api # the API\n    newTag: old\n  - name: {host}/o/web\n    newTag: old\n"));
        place.commit("first");
        let url = format!("file://{}", place.path("app.git").display());
        place.write(
            "factory/images.yaml",
            &format!(
                "- name: api\n  registry: {host}\n  repository: o/api\n  source: {{url: '{url}', dockerfile: api/Dockerfile}}\n  \
                 rebuildDelay: 0h\n  updates: [{{path: k8s/kustomization.yml}}]\n\
                 - name: web\n  registry: {host}\n  repository: o/web\n  source: {{url: '{url}', dockerfile: web/Dockerfile, context: web}}\n  \
                 rebuildDelay: 30d\n  updates: [{{path: k8s/kustomization.yml, write: both}}]\n"
            ),
        );
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn git(&self, args: &[&str], dir: &str) -> String {
        let mut command = Command::new("git");
        command
            .args(args)
            .current_dir(self.path(dir))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1");
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "a").env(format!("GIT_{role}_EMAIL"), "a@example.com");
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "--all"], "work");
        self.git(&["commit", "-q", "-m", message], "work");
        self.git(&["push", "-q", "origin", "HEAD:main"], "work");
    }

    /// Pushes a base image with this content.
    fn base(&self, content: &str) {
        self.write("base/Dockerfile", "FROM scratch\nCOPY file /file\n");
        self.write("base/file", content);
        let name = self.registry.reference("base:1");
        self.ok(&["build", "-q", "--push", "-t", &name, &self.path("base").display().to_string()]);
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooperage"));
        std::fs::create_dir_all(self.path("factory")).unwrap();
        command.args(words).current_dir(self.path("factory")).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.dir.path()).env("COOPERAGE_ROOT", self.path("store"));
        command.env("GIT_AUTH_TOKEN", TOKEN).env("GITHUB_STEP_SUMMARY", self.path("summary.md"));
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        let output = self.command(words).output().unwrap();
        let all = [&output.stdout[..], &output.stderr[..]].concat();
        assert!(!String::from_utf8_lossy(&all).contains(TOKEN), "the token is printed by {words:?}");
        output
    }

    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn state_files(&self) -> Vec<(PathBuf, String)> {
        let mut out = Vec::new();
        for dir in ["factory/images", "factory/base-images"] {
            for entry in std::fs::read_dir(self.path(dir)).unwrap() {
                let path = entry.unwrap().path();
                out.push((path.clone(), std::fs::read_to_string(path).unwrap()));
            }
        }
        out.sort();
        out
    }

    /// The digest of a name in the registry.
    fn digest(&self, name: &str) -> String {
        let text = self.ok(&["image", "inspect", "--remote", &self.registry.reference(name)]);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        json["descriptor"]["digest"]
            .as_str()
            .or(json["digest"].as_str())
            .unwrap_or_else(|| panic!("{json:#}"))
            .to_owned()
    }
}

fn holds(dir: &Path, needle: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = std::fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            found.extend(holds(&path, needle));
        } else if meta.is_file() && std::fs::read(&path).unwrap().windows(needle.len()).any(|window| window == needle) {
            found.push(path);
        }
    }
    found
}

#[test]
fn from_images_yaml_to_the_manifest_and_again_when_the_base_moves() {
    let place = Place::new();
    let host = place.registry.host();
    // Discovery, and once more: not a byte.
    place.ok(&["factory", "discover"]);
    let first = place.state_files();
    assert_eq!(first.len(), 3, "two images and one base: {first:?}");
    place.ok(&["factory", "discover"]);
    assert_eq!(place.state_files(), first);
    assert!(place.ok(&["factory", "check-bases"]).is_empty(), "nothing is due");

    // Both are built; others push in between.
    place.write("work/README", "while it builds\n");
    place.commit("somebody else");
    let table = place.ok(&["factory", "build", "--all"]);
    assert!(table.contains("0.1.0, latest"), "{table}");
    assert!(place.read("summary.md").contains(&format!("| {host}/o/api | 0.1.0 |")));
    let manifest = place.git(&["show", "main:k8s/kustomization.yml"], "app.git");
    let digest = place.digest("o/web:0.1.0");
    assert_eq!(
        manifest,
        format!(
            "# who runs where\nimages:\n  - name: {host}/o/api # the API\n    newTag: 0.1.0\n  - name: {host}/o/web\n    newTag: 0.1.0\n    digest: {digest}\n"
        )
    );
    assert_eq!(place.digest("o/web:latest"), digest);
    assert!(place.read("factory/images/api.yaml").contains("currentVersion: 0.1.0\n"));

    // The base moves: who waits 0h is due, who waits 30d is not.
    place.base("two");
    let due = place.ok(&["factory", "check-bases"]);
    assert!(due.contains("api") && due.contains("now") && due.contains("web"), "{due}");
    let before = place.digest("o/api:latest");
    let table = place.ok(&["factory", "rebuild", "--eligible"]);
    assert!(table.contains("0.1.1, latest") && !table.contains("o/web"), "{table}");
    assert_ne!(place.digest("o/api:latest"), before);
    assert_eq!(place.digest("o/api:0.1.0"), before, "a version is never overwritten");
    assert!(place.git(&["show", "main:k8s/kustomization.yml"], "app.git").contains("newTag: 0.1.1\n"));
    place.ok(&["factory", "rebuild", "--eligible"]);
    assert_eq!(place.ok(&["factory", "runs", "api"]).lines().count(), 3, "it waits no more");

    // A version that exists is refused before anything is built.
    let output = place.run(&["factory", "build", "api", "--tag", "0.1.0"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("o/api:0.1.0 exists already") && text.contains("0.1.0-1 is free"), "{text}");
    assert_eq!(holds(place.dir.path(), TOKEN.as_bytes()), Vec::<PathBuf>::new(), "files that hold the token");
}

#[test]
fn a_run_that_failed_goes_on_where_it_failed() {
    let place = Place::new();
    place.ok(&["factory", "discover"]);
    // The manifest lacks the image: the last step but one fails.
    let manifest = place.read("work/k8s/kustomization.yml");
    place.git(&["mv", "k8s/kustomization.yml", "k8s/other.yml"], "work");
    place.commit("the manifest moves");
    let output = place.run(&["factory", "build", "api"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("api: update: ") && text.contains("--resume"), "{text}");
    let (digest, pushes) =
        (place.digest("o/api:0.1.0"), || place.registry.log().matches("PUT /v2/o/api/manifests/").count());
    let before = pushes();
    assert!(place.ok(&["factory", "logs", "api"]).contains("update failed"));
    assert_eq!(place.run(&["factory", "logs", "api", "--follow"]).status.code(), Some(1));

    place.write("work/k8s/kustomization.yml", &manifest);
    place.commit("and is back");
    place.ok(&["factory", "build", "api", "--resume"]);
    assert_eq!(place.digest("o/api:0.1.0"), digest);
    assert_eq!(pushes(), before, "nothing was pushed twice");
    assert!(place.git(&["show", "main:k8s/kustomization.yml"], "app.git").contains("newTag: 0.1.0\n"));
    let runs = place.ok(&["factory", "runs"]);
    assert_eq!(runs.lines().count(), 2, "one run: {runs}");
    assert!(runs.contains("done"), "{runs}");
    let followed = place.ok(&["factory", "logs", "api", "--follow"]);
    assert!(followed.contains("tag | ") && followed.contains("\nnotify skipped"), "{followed}");
    let again = place.run(&["factory", "build", "api", "--resume"]);
    assert_eq!(again.status.code(), Some(2), "there is nothing to take up");
}

#[test]
fn an_image_that_cannot_be_scanned_gets_no_tag() {
    let place = Place::new();
    let images = place.read("factory/images.yaml");
    let with = |scan: &str| {
        place.write(
            "factory/images.yaml",
            &images.replace("rebuildDelay: 0h", &format!("rebuildDelay: 0h\n  scan: {scan}")),
        );
    };
    let build = |more: &[&str]| {
        let output = place.run(&[&["factory", "build", "api"], more].concat());
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    with("{failOn: high}");
    let missing = format!("there is no vulnerability database at {}", place.path("store/scan/osv.db").display());
    let (done, text) = build(&[]);
    assert!(!done && text.contains(&format!("api: scan: {missing}")), "{text}");
    assert!(text.contains("cooperage scan db update") && text.contains("scan.required: false"), "{text}");
    let log = place.registry.log();
    assert!(
        log.contains("PUT /v2/o/api/manifests/sha256:") && !log.contains("PUT /v2/o/api/manifests/latest"),
        "{log}"
    );
    // The one in the store is found without a word; when it is old, that is said.
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/osv");
    place.ok(&["scan", "db", "update", "--from", &data.display().to_string()]);
    assert!(build(&[]).0);
    assert!(place.ok(&["factory", "logs", "api"]).contains("scan done"));
    let age = "import sqlite3,sys,json; db=sqlite3.connect(sys.argv[1]); i=json.loads(db.execute('SELECT value FROM meta').fetchone()[0]); i['fetched']-=900000; db.execute('UPDATE meta SET value=?', [json.dumps(i)]); db.commit()";
    let aged = Command::new("python3").args(["-c", age]).arg(place.path("store/scan/osv.db")).status().unwrap();
    assert!(aged.success());
    let (done, text) = build(&[]);
    assert!(!done && text.contains("osv.db is 10 days old, and 7 days is the most"), "{text}");
    // Where a scan is not required, and with --local, it is left out with the reason.
    with("{failOn: high, required: false}");
    assert!(build(&[]).1.contains("api scan skipped"));
    with("{failOn: high}\n  sbom: {format: cyclonedx}\n  signing: {key: cosign.key, required: true}");
    let before = place.registry.log().matches(" \"PUT /v2/").count();
    let (done, text) = build(&["--local", "--checkout", "../work"]);
    assert!(done && text.contains("api scan skipped") && text.contains("api sbom done"), "{text}");
    assert!(text.contains(": --local pushes nothing, and signatures need a registry\n"), "{text}");
    place.ok(&["scan", "db", "update", "--from", &data.display().to_string()]);
    let (done, text) = build(&["--local", "--checkout", "../work"]);
    assert!(done && text.contains("api scan done"), "{text}");
    assert_eq!(place.registry.log().matches(" \"PUT /v2/").count(), before, "--local pushes nothing at all");
}

/// What others are made from comes first, the rest side by side; a failure stops dependents alone.
#[test]
fn images_are_built_side_by_side() {
    let place = Place::new();
    let host = place.registry.host();
    let url = format!("file://{}", place.path("app.git").display());
    let mut images = String::new();
    for (name, from) in
        [("last", "mid"), ("mid", "first"), ("first", ""), ("broken", ""), ("behind", "broken"), ("alone", "")]
    {
        let from = if from.is_empty() { "scratch".to_owned() } else { format!("{host}/o/{from}:latest") };
        let file = if name == "broken" { "not-there" } else { "index.html" };
        place.write(&format!("work/{name}/Dockerfile"), &format!("FROM {from}\nCOPY web/{file} /{name}\n"));
        images.push_str(&format!(
            "- name: {name}\n  registry: {host}\n  repository: o/{name}\n  source: {{url: '{url}', dockerfile: {name}/Dockerfile}}\n"
        ));
    }
    place.commit("images");
    place.write("factory/images.yaml", &images);
    place.ok(&["factory", "discover"]);
    let output = place.run(&["factory", "build", "--all", "--jobs", "3", "--progress", "plain"]);
    let (table, text) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("error: 1 of 6 images failed: broken\n"), "{text}");
    assert!(text.contains("not begun, since they are made from these: behind\n"), "{text}");
    assert!(text.contains("error: broken: build: ") && text.contains("not-there"), "{text}");
    assert!(text.contains("alone │ #") && !text.contains("behind │"), "lines by image: {text}");
    for name in ["last", "mid", "first", "alone"] {
        assert!(table.contains(&format!("{host}/o/{name} ")), "{name}: {table}");
    }
    let done = |name: &str| text.find(&format!("\n{name} notify ")).unwrap();
    let begun = |name: &str| text.find(&format!("\n{name} validate ")).unwrap();
    assert!(done("first") < begun("mid") && done("mid") < begun("last"), "{text}");
}

#[test]
fn two_hundred_images_and_what_is_wrong_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooperage"));
        command.args(words).current_dir(dir.path()).env_clear().env("HOME", dir.path()).stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (output.status.code(), text)
    };
    let (code, text) = run(&["factory", "list"]);
    assert!(code == Some(2) && text.contains("cooperage factory init"), "{text}");
    let entry = |i: usize| {
        format!("- name: app{i}\n  registry: ghcr.io\n  repository: o/app{i}\n  source: {{repo: o/app{i}}}\n")
    };
    let images: String = (0..200).map(entry).collect();
    std::fs::write(dir.path().join("images.yaml"), &images).unwrap();
    assert_eq!(run(&["factory", "validate"]), (Some(0), "images.yaml: 200 built, 0 watched; no mistakes\n".into()));
    assert_eq!(run(&["factory", "list"]).1.lines().count(), 201);
    assert_eq!(run(&["factory", "graph"]).1.lines().count(), 200);
    assert_eq!(run(&["factory", "add", "pg", "--image", "postgres:16"]).0, Some(0));
    assert!(run(&["factory", "graph", "-o", "graph.svg"]).0 == Some(0) && dir.path().join("graph.svg").is_file());
    let (code, text) = run(&["factory", "show", "app1999"]);
    assert!(code == Some(2) && text.contains("did you mean app199?"), "{text}");
    std::fs::write(dir.path().join("images.yaml"), images.replace("app7\n  registry", "app7\n  regsitry")).unwrap();
    insta::assert_snapshot!(run(&["factory", "validate"]).1, @"
    images.yaml:30:3: unknown key \"regsitry\" in image
      hint: did you mean registry?
    error: there is 1 mistake in images.yaml
    ");
}

/// In a job of GitHub Actions: tags by the event, results as outputs, an external cache; and a version that goes on
/// where the registry is, since a fresh job has no state.
#[test]
fn in_a_job_of_github_actions() {
    let place = Place::new();
    let images = place.read("factory/images.yaml");
    let (api, web) = images.split_once("- name: web").unwrap();
    let tags = "  tags: ['type=semver,pattern={{version}}', 'type=sha', 'type=ref,event=branch']\n";
    place.write("factory/images.yaml", &format!("{api}{tags}- name: web{web}"));
    place.write("event.json", r#"{"repository": {"default_branch": "main"}}"#);
    let job = |reference: &str, words: &[&str]| {
        let _ = std::fs::remove_file(place.path("output"));
        let mut command = place.command(words);
        command.args(["--checkout", "../work"]).env("GITHUB_ACTIONS", "true").env("GITHUB_EVENT_NAME", "push");
        command.env("GITHUB_EVENT_PATH", place.path("event.json")).env("GITHUB_OUTPUT", place.path("output"));
        command.env("GITHUB_REF", reference).env("GITHUB_SHA", "0123456789abcdef0123456789abcdef01234567");
        let output = command.output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{text}");
        place.read("output")
    };
    let cache = format!("type=local,dest={}", place.path("cache").display());
    let output = job("refs/tags/v1.4.0", &["factory", "build", "api", "--cache-to", &cache]);
    let digest = place.digest("o/api:1.4.0");
    assert_eq!(output, format!("image={}/o/api\nversion=1.4.0\ndigest={digest}\n", place.registry.host()));
    assert_eq!(place.digest("o/api:sha-0123456"), digest);
    assert!(place.path("cache/index.json").is_file());
    assert!(job("refs/heads/main", &["factory", "build", "api"]).contains("version=main\n"));
    let inspected = place.ok(&["image", "inspect", &place.registry.reference("o/api:1.4.0")]);
    assert!(inspected.contains("0123456789abcdef0123456789abcdef01234567"), "{inspected}");
    // Without tag rules, and without the state of the runs before.
    let unknown = place.run(&["factory", "check-bases"]);
    let unknown = String::from_utf8(unknown.stderr).unwrap();
    assert!(unknown.contains("what web are made from is not known yet"), "{unknown}");
    job("refs/heads/main", &["factory", "build", "web"]);
    place.digest("o/web:0.1.0");
    assert!(place.read("factory/images/web.yaml").contains("baseImages:\n  - "), "what was built is known");
    std::fs::remove_dir_all(place.path("factory/images")).unwrap();
    assert!(job("refs/heads/main", &["factory", "build", "web", "--attest"]).contains("version=0.1.1\n"));
    // SBOM and provenance lie beside the image, though images.yaml asks for neither.
    let copied = place.path("copied");
    let to = format!("oci-layout://{}:web", copied.display());
    place.ok(&["image", "copy", "--remote", &place.registry.reference("o/web:0.1.1"), &to]);
    let held = |what: &str| !holds(&copied, what.as_bytes()).is_empty();
    assert!(
        held("application/spdx+json") && held("https://slsa.dev/provenance/v1"),
        "{}",
        place.ok(&["factory", "logs", "web"])
    );
}
