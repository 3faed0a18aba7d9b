//! Attestations, signatures, and images as objects: against Debian's registry, read by programs that nobody here wrote.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use testkit::Registry;

/// A context with a store of its own, and a registry.
struct Place {
    dir: tempfile::TempDir,
    registry: Registry,
}

/// What a command printed and how it ended.
struct Outcome {
    out: String,
    err: String,
    ok: bool,
}

impl Place {
    fn new(dockerfile: &str) -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap(), registry: Registry::start().unwrap() };
        fs::create_dir(place.path("context")).unwrap();
        fs::write(place.path("context/Dockerfile"), dockerfile).unwrap();
        fs::write(place.path("context/hello"), "hello\n").unwrap();
        fs::copy("/bin/busybox", place.path("context/busybox")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs `cooperage` with these words; `DIR` and `REG` stand for the place and the registry.
    fn try_run(&self, words: &str) -> Outcome {
        let words = words.replace("DIR", self.dir.path().to_str().unwrap()).replace("REG", &self.registry.host());
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooperage"));
        command.args(words.split_whitespace()).current_dir(self.dir.path());
        command.env("COOPERAGE_ROOT", self.path("store")).env("HOME", self.dir.path());
        command.env("COSIGN_PASSWORD", "secret").env("BUILDKIT_PROGRESS", "plain").env("SECRET_VALUE", "pa55w0rd");
        for name in ["GITHUB_ACTIONS", "BUILDX_GIT_LABELS", "BUILDX_GIT_INFO", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG"] {
            command.env_remove(name);
        }
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&self.registry.host(), "REG");
        Outcome { out: text(&output.stdout), err: text(&output.stderr), ok: output.status.success() }
    }

    fn run(&self, words: &str) -> String {
        let outcome = self.try_run(words);
        assert!(outcome.ok, "{words}: {}", outcome.err);
        outcome.out
    }

    #[expect(dead_code, reason = "the tests of signatures use it")]
    fn refused(&self, words: &str) -> String {
        let outcome = self.try_run(words);
        assert!(!outcome.ok, "{words} was accepted: {}", outcome.out);
        outcome.err
    }

    /// A manifest of the registry, as it is.
    fn manifest(&self, name: &str) -> Value {
        let name = format!("docker://{}", self.registry.reference(name));
        serde_json::from_str(&program("skopeo", &["inspect", "--raw", "--tls-verify=false", &name])).unwrap()
    }

    fn blob(&self, repository: &str, digest: &str) -> Value {
        let stored = self.stored(digest);
        assert!(stored.is_file(), "{repository} has no blob {digest}");
        serde_json::from_slice(&fs::read(stored).unwrap()).unwrap()
    }

    /// Where the registry keeps a blob.
    fn stored(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        self.registry.storage().join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]))
    }

    fn git(&self, words: &[&str]) {
        program(
            "git",
            &[&["-C", text(&self.path("context")), "-c", "user.name=n", "-c", "user.email=e@x"], words].concat(),
        );
    }
}

fn program(name: &str, words: &[&str]) -> String {
    let output = Command::new(name).args(words).output().unwrap();
    assert!(output.status.success(), "{name} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

const BASE: &str = "FROM scratch\nCOPY busybox /bin/sh\n";

#[test]
fn provenance_tells_what_went_in_and_no_secret() {
    if !testkit::available("provenance_tells_what_went_in_and_no_secret", testkit::REGISTRY_TOOLS) {
        return;
    }
    let place = Place::new(BASE);
    place.run("build -t REG/base:1 --push context");
    let base = place.manifest("base:1");
    assert!(base.get("layers").is_some(), "without attestations a plain manifest: {base}");
    let base = place.run("image inspect --remote REG/base:1");
    let base: Value = serde_json::from_str(&base).unwrap();
    let dockerfile = format!(
        "FROM {}/base:1\nARG PLAIN\nCOPY hello /hello\nRUN --mount=type=secret,id=npm --network=none read x < /run/secrets/npm; : > /made\nLABEL a=b\n",
        place.registry.host()
    );
    fs::write(place.path("context/Dockerfile"), dockerfile).unwrap();
    place.git(&["init", "--quiet", "--initial-branch=main"]);
    place.git(&["remote", "add", "origin", "https://me:t0ken@git.example.com/me/app.git"]);
    place.git(&["add", "."]);
    place.git(&["commit", "--quiet", "--message=x"]);
    let commit = program("git", &["-C", text(&place.path("context")), "rev-parse", "HEAD"]).trim().to_owned();

    let common = "--build-arg PLAIN=visible --secret id=npm,env=SECRET_VALUE --git-metadata=annotations context";
    place.run(&format!("build -t REG/app:max --push --provenance=max {common}"));
    place.run(&format!("build -t REG/app:min --push --attest type=provenance,version=v0.2 {common}"));
    let statement = |tag: &str| {
        let index = place.manifest(&format!("app:{tag}"));
        let entries = index["manifests"].as_array().unwrap();
        assert_eq!(entries.len(), 2);
        let (image, attestation) = (&entries[0], &entries[1]);
        assert_eq!(attestation["platform"], serde_json::json!({ "architecture": "unknown", "os": "unknown" }));
        assert_eq!(attestation["annotations"]["vnd.docker.reference.type"], "attestation-manifest");
        assert_eq!(attestation["annotations"]["vnd.docker.reference.digest"], image["digest"]);
        let manifest = place.manifest(&format!("app@{}", attestation["digest"].as_str().unwrap()));
        assert_eq!(manifest["subject"]["digest"], image["digest"]);
        let layer = &manifest["layers"][0];
        assert_eq!(layer["mediaType"], "application/vnd.in-toto+json");
        let statement = place.blob("app", layer["digest"].as_str().unwrap());
        assert_eq!(statement["predicateType"], layer["annotations"]["in-toto.io/predicate-type"]);
        assert_eq!(
            format!("sha256:{}", statement["subject"][0]["digest"]["sha256"].as_str().unwrap()),
            image["digest"]
        );
        // Debian's registry has no referrers API: the tag stands for it.
        let referrers = place.manifest(&format!("app:{}", image["digest"].as_str().unwrap().replace(':', "-")));
        assert!(referrers["manifests"].as_array().unwrap().iter().any(|m| m["digest"] == attestation["digest"]));
        let all = statement.to_string();
        assert!(!all.contains("pa55w0rd") && !all.contains("t0ken"), "{all}");
        assert!(!all.contains(text(place.dir.path())), "no path of this machine: {all}");
        (statement, image["digest"].as_str().unwrap().to_owned())
    };

    let (max, image) = statement("max");
    assert_eq!(max["predicateType"], "https://slsa.dev/provenance/v1");
    let definition = &max["predicate"]["buildDefinition"];
    let dependencies = definition["resolvedDependencies"].as_array().unwrap();
    let purl = format!("pkg:docker/{}/base@1?platform=linux%2F", place.registry.host());
    let found = dependencies.iter().find(|d| d["uri"].as_str().unwrap().starts_with(&purl)).unwrap();
    assert_eq!(format!("sha256:{}", found["digest"]["sha256"].as_str().unwrap()), base["digest"]);
    let context = dependencies.iter().find(|d| d["name"] == "context").unwrap();
    assert_eq!(context["digest"]["gitCommit"], commit.as_str());
    let request = &definition["externalParameters"]["request"];
    assert_eq!(request["args"]["build-arg:PLAIN"], "visible");
    assert_eq!(request["secrets"], serde_json::json!([{ "id": "npm", "optional": true }]));
    let details = &max["predicate"]["runDetails"]["metadata"];
    assert_eq!(details["buildkit_metadata"]["vcs"]["source"], "https://git.example.com/me/app.git");
    assert_eq!(details["buildkit_metadata"]["vcs"]["revision"], commit.as_str());
    assert_eq!(details["cooperage_steps"].as_array().unwrap().len(), 2);
    let manifest = place.manifest(&format!("app@{image}"));
    let steps = definition["internalParameters"]["buildConfig"]["llbDefinition"].as_array().unwrap();
    let last = steps.last().unwrap()["id"].as_str().unwrap();
    let layers = &details["buildkit_metadata"]["layers"][format!("{last}:0")][0];
    assert_eq!(layers, &manifest["layers"], "the last step ends on the image's layers");
    let key = |name: &str| manifest["annotations"][format!("org.opencontainers.image.{name}")].clone();
    assert_eq!(key("revision"), commit.as_str());
    assert_eq!(key("source"), "https://git.example.com/me/app.git");
    assert_eq!(key("title"), "app");
    assert_eq!(key("base.name"), format!("{}/base:1", place.registry.host()));
    assert_eq!(key("base.digest"), base["digest"]);

    let (min, _) = statement("min");
    assert_eq!(min["predicateType"], "https://slsa.dev/provenance/v0.2");
    assert!(!min.to_string().contains("visible") && !min.to_string().contains("npm"), "{min}");
    assert_eq!(min["predicate"]["materials"].as_array().unwrap().len(), 2);
    // The context's digest follows its content.
    let files = |s: &Value| {
        s["predicate"]["materials"].as_array().unwrap().iter().find_map(|m| m["digest"].get("filesSha256").cloned())
    };
    assert_eq!(files(&min).unwrap(), context["digest"]["filesSha256"]);
    fs::write(place.path("context/hello"), "changed\n").unwrap();
    place.run(&format!("build -t REG/app:changed --push --attest type=provenance,version=v0.2 {common}"));
    let (changed, _) = statement("changed");
    assert_ne!(files(&changed), files(&min));
    let vcs = &changed["predicate"]["metadata"]["https://mobyproject.org/buildkit@v1#metadata"]["vcs"];
    assert_eq!(vcs["revision"], format!("{commit}-dirty"));

    // Beside files it is a file, about them.
    place.run("build -o DIR/files --provenance --build-arg PLAIN=visible context");
    let beside: Value = serde_json::from_slice(&fs::read(place.path("files/provenance.json")).unwrap()).unwrap();
    let named = |name: &str| beside["subject"].as_array().unwrap().iter().find(|s| s["name"] == name).cloned().unwrap();
    let sum = program("sha256sum", &[text(&place.path("files/hello"))]);
    assert_eq!(named("hello")["digest"]["sha256"], sum.split_whitespace().next().unwrap());
    place.run("build -o type=oci,dest=DIR/layout,tar=false --provenance --build-arg PLAIN=visible context");
    let copy = format!("oci:{}", text(&place.path("layout")));
    program(
        "skopeo",
        &["copy", "--quiet", "--insecure-policy", "--all", &copy, &format!("dir:{}", text(&place.path("copy")))],
    );
}
