//! Attestations, signatures, and images as objects: against Debian's registry, read by programs that nobody here wrote.
#[path = "supply_chain/buildx.rs"]
mod buildx;
#[path = "supply_chain/keyless.rs"]
mod keyless;
#[path = "supply_chain/platforms.rs"]
mod platforms;
#[path = "supply_chain/same.rs"]
mod same;

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
        self.try_with(&[], words)
    }

    /// The same with more variables.
    fn try_with(&self, env: &[(&str, &str)], words: &str) -> Outcome {
        let words = words.replace("DIR", self.dir.path().to_str().unwrap()).replace("REG", &self.registry.host());
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooperage"));
        command.args(words.split_whitespace()).current_dir(self.dir.path());
        command.env("COOPERAGE_ROOT", self.path("store")).env("HOME", self.dir.path());
        command.env("COSIGN_PASSWORD", "secret").env("BUILDKIT_PROGRESS", "plain").env("SECRET_VALUE", "pa55w0rd");
        for name in ["GITHUB_ACTIONS", "BUILDX_GIT_LABELS", "BUILDX_GIT_INFO", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG"] {
            command.env_remove(name);
        }
        let output = command.envs(env.iter().copied()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&self.registry.host(), "REG");
        Outcome { out: text(&output.stdout), err: text(&output.stderr), ok: output.status.success() }
    }

    fn run(&self, words: &str) -> String {
        let outcome = self.try_run(words);
        assert!(outcome.ok, "{words}: {}", outcome.err);
        outcome.out
    }

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

/// The real cosign, without a transparency log: there is none to be reached.
fn cosign(place: &Place, program: &Path, words: &str) -> Outcome {
    let words = words.replace("DIR", place.dir.path().to_str().unwrap()).replace("REG", &place.registry.host());
    let output = Command::new(program)
        .args(words.split_whitespace())
        .env("HOME", place.dir.path())
        .env("COSIGN_PASSWORD", "secret")
        .env("COSIGN_YES", "true")
        .current_dir(place.dir.path())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Outcome { out: text(&output.stdout), err: text(&output.stderr), ok: output.status.success() }
}

const TRUSTED_ROOT: &str = r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[],"certificateAuthorities":[],"ctlogs":[],"timestampAuthorities":[]}"#;

#[test]
fn signatures_hold_for_cosign_and_for_us() {
    if !testkit::available("signatures_hold_for_cosign_and_for_us", testkit::REGISTRY_TOOLS) {
        return;
    }
    let Some(program) = testkit::cosign_for("signatures_hold_for_cosign_and_for_us") else { return };
    let place = Place::new(BASE);
    fs::write(place.path("root.json"), TRUSTED_ROOT).unwrap();
    fs::write(place.path("predicate.json"), "{\"a\":1}").unwrap();

    // What we sign, cosign verifies.
    place.run("key generate ours");
    let mode = fs::metadata(place.path("ours.key")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
    place.run("build -t REG/app:1 --push --provenance --sign=ours.key context");
    place.run("attest --key ours.key --type spdxjson --predicate predicate.json REG/app:1");
    let insecure = "--insecure-ignore-tlog --allow-http-registry";
    for words in [
        format!("verify --key ours.pub {insecure} REG/app:1"),
        format!("verify-attestation --key ours.pub {insecure} --type slsaprovenance1 REG/app:1"),
        format!("verify-attestation --key ours.pub {insecure} --type spdxjson REG/app:1"),
        format!(
            "verify-attestation --key ours.pub {insecure} --new-bundle-format --trusted-root root.json --type spdxjson REG/app:1"
        ),
        format!(
            "verify-attestation --key ours.pub {insecure} --new-bundle-format --trusted-root root.json --type https://sigstore.dev/cosign/sign/v1 REG/app:1"
        ),
    ] {
        let outcome = cosign(&place, &program, &words);
        assert!(outcome.ok, "cosign {words}: {}", outcome.err);
    }
    let told = place.run("verify --key ours.pub --attestation slsaprovenance1 --attestation spdxjson REG/app:1");
    assert_eq!(told.matches("signed as REG/app").count(), 2, "{told}");

    // What cosign signs, we verify: with its key file, and with ours signing by its key.
    let pair = cosign(&place, &program, "generate-key-pair");
    assert!(pair.ok, "{}", pair.err);
    place.run("build -t REG/theirs:1 --push context");
    for words in [
        "sign --key cosign.key --tlog-upload=false --allow-http-registry REG/theirs:1",
        "attest --key cosign.key --tlog-upload=false --allow-http-registry --predicate predicate.json --type custom REG/theirs:1",
        "attest --key cosign.key --new-bundle-format --tlog-upload=false --allow-http-registry --predicate predicate.json --type vuln REG/theirs:1",
    ] {
        let outcome = cosign(&place, &program, words);
        assert!(outcome.ok, "cosign {words}: {}", outcome.err);
    }
    place.run("verify --key cosign.pub --attestation custom --attestation vuln REG/theirs:1");
    place.run("sign --key cosign.key --storage tag REG/app:1");
    place.run("verify --key cosign.pub REG/app:1");
    assert_eq!(place.run("key public --key cosign.key"), fs::read_to_string(place.path("cosign.pub")).unwrap());

    // A policy for base images.
    fs::write(place.path("context/Dockerfile"), format!("FROM {}/app:1\n", place.registry.host())).unwrap();
    let host = place.registry.host();
    let policy = |key: &str, more: &str| {
        fs::write(place.path("policy.toml"), format!("[[image]]\nmatch = \"{host}/a*\"\nkeys = [\"{key}\"]\n{more}"))
            .unwrap();
    };
    let build = "build --verify-bases --signature-policy policy.toml context";
    policy("ours.pub", "attestations = [\"spdxjson\"]");
    place.run(build);
    policy("ours.pub", "attestations = [\"cyclonedx\"]");
    let error = place.refused(build);
    assert!(error.contains("no valid attestation https://cyclonedx.org/bom"), "{error}");
    place.run("key generate others");
    policy("others.pub", "");
    let error = place.refused(build);
    assert!(
        error.contains("no valid signature; tag sha256-") && error.contains("the signature is of another key"),
        "{error}"
    );
    fs::write(place.path("policy.toml"), "").unwrap();
    let error = place.refused(build);
    assert!(error.contains("the policy does not allow it (no rule of"), "{error}");
    place.run("build context");

    // What was changed is refused, and why.
    let error = place.refused("verify --key others.pub REG/app:1");
    assert!(error.contains("the signature is of another key, or what it signs was changed afterwards"), "{error}");
    let index = place.manifest("app:1");
    let image = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
    let verify = format!("verify --key ours.pub --attestation slsaprovenance1 REG/app@{image}");
    place.run(&verify);
    let tag = image.replace(':', "-");
    let damage = |digest: &str, from: &str, to: &str| {
        let path = place.stored(digest);
        let before = fs::read_to_string(&path).unwrap();
        assert!(before.contains(from), "{before}");
        fs::write(&path, before.replacen(from, to, 1)).unwrap();
    };
    let layer = |manifest: &Value| manifest["layers"][0]["digest"].as_str().unwrap().to_owned();
    damage(&layer(&place.manifest(&format!("app:{tag}.sig"))), "cosign container", "cosign Container");
    let referrers = place.manifest(&format!("app:{tag}"));
    let bundles = referrers["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|m| m["artifactType"] == "application/vnd.dev.sigstore.bundle.v0.3+json");
    for bundle in bundles {
        let manifest = place.manifest(&format!("app@{}", bundle["digest"].as_str().unwrap()));
        damage(&layer(&manifest), "\"payload\":\"e", "\"payload\":\"f");
    }
    damage(&layer(&place.manifest(&format!("app:{tag}.att"))), "\"payload\":\"e", "\"payload\":\"f");
    let error = place.refused(&verify);
    assert!(
        error.contains("no valid signature, no valid attestation https://slsa.dev/provenance/v1; tag sha256-"),
        "{error}"
    );
    assert!(error.matches("sha256:").count() > 4, "each damaged object is named: {error}");
    // Another image under the name has no signature.
    fs::write(place.path("context/Dockerfile"), format!("{BASE}LABEL changed=1\n")).unwrap();
    place.run("build -t REG/app:1 --push context");
    let error = place.refused("verify --key ours.pub REG/app:1");
    assert!(error.contains("no valid signature; nothing in the repository claims to be one"), "{error}");
}

/// `cooperage registry serve`, ended with the test.
struct Served(std::process::Child, String);

impl Served {
    fn start(place: &Place) -> Self {
        use std::io::BufRead;
        let mut child = Command::new(env!("CARGO_BIN_EXE_cooperage"))
            .args(["registry", "serve", "--addr", "127.0.0.1:0", "--root"])
            .arg(place.path("served"))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.split_whitespace().nth(1).unwrap().trim_start_matches("http://").to_owned();
        Self(child, address)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn images_are_copied_joined_named_and_compared() {
    if !testkit::available("images_are_copied_joined_named_and_compared", testkit::REGISTRY_TOOLS) {
        return;
    }
    let place = Place::new(&format!("{BASE}COPY hello /hello\nENV A=1\n"));
    place.run("key generate key");
    place.run("build -t REG/app:1 --push --provenance --sign=key.key context");
    let verify = |name: &str| place.run(&format!("verify --key key.pub --attestation slsaprovenance1 {name}"));
    let before = place.manifest("app:1");

    // Registry to repository (mounted), to a layout, to a registry with the referrers API: signatures come along.
    let outcome = place.try_run("image copy --remote REG/app:1 REG/team/app:2");
    assert!(outcome.ok && outcome.err.contains("blobs: 0 copied"), "{}", outcome.err);
    assert_eq!(place.manifest("team/app:2"), before);
    verify("REG/team/app:2");
    place.run("image copy --remote REG/app:1 oci-layout://DIR/layout:1");
    let layout = format!("oci:{}:1", text(&place.path("layout")));
    program(
        "skopeo",
        &["copy", "--quiet", "--insecure-policy", "--all", &layout, &format!("dir:{}", text(&place.path("copy")))],
    );
    let served = Served::start(&place);
    place.run(&format!("image copy oci-layout://DIR/layout:1 {}/app:1", served.1));
    verify(&format!("{}/app:1", served.1));
    if let Some(cosign_program) = testkit::cosign_for("images_are_copied_joined_named_and_compared") {
        fs::write(place.path("root.json"), TRUSTED_ROOT).unwrap();
        let words = format!(
            "verify-attestation --key key.pub --insecure-ignore-tlog --allow-http-registry --new-bundle-format --trusted-root root.json --type slsaprovenance1 {}/app:1",
            served.1
        );
        let outcome = cosign(&place, &cosign_program, &words);
        assert!(outcome.ok, "cosign by the referrers API: {}", outcome.err);
    }
    drop(served);

    // One index of images that were built apart.
    let host = oci_host();
    let other = if host == "linux/amd64" { "linux/arm64" } else { "linux/amd64" };
    fs::write(place.path("context/Dockerfile"), "FROM scratch\nCOPY hello /hello\n").unwrap();
    place.run(&format!("build -t REG/other:1 --push --platform {other} context"));
    place.run(&format!(
        "image merge --remote -t REG/both:1 --annotation org.example.a=b --annotation manifest-descriptor[{other}]:x=y REG/app:1 REG/other:1"
    ));
    let both = place.manifest("both:1");
    assert_eq!(both["annotations"]["org.example.a"], "b");
    let platforms: Vec<String> = both["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| {
            format!("{}/{}", m["platform"]["os"].as_str().unwrap(), m["platform"]["architecture"].as_str().unwrap())
        })
        .collect();
    assert_eq!(platforms, [host.as_str(), other, "unknown/unknown"]);
    assert_eq!(both["manifests"][1]["annotations"]["x"], "y");
    assert_eq!(both["manifests"][0]["digest"], before["manifests"][0]["digest"], "joined by digest, not changed");
    // The same image twice is no conflict, another one for the same platform is.
    place.run("image merge --remote -t REG/both:2 REG/other:1 REG/other:1");
    fs::write(place.path("context/hello"), "hello, again\n").unwrap();
    place.run(&format!("build -t REG/other:2 --push --platform {other} context"));
    let error = place.refused("image merge --remote -t REG/both:3 REG/other:1 REG/other:2");
    assert!(error.contains(&format!("two images are for {other}")), "{error}");

    // What differs.
    let diff = place.run(&format!("image diff --remote --platform {other} REG/other:1 REG/other:2"));
    assert!(diff.contains("~        +7B  /hello") && !diff.contains("Configuration"), "{diff}");
    let diff = place.run("image diff --format json --remote REG/app:1 REG/app:1");
    let diff: Value = serde_json::from_str(&diff).unwrap();
    assert_eq!((&diff["files"], &diff["config"]), (&serde_json::json!([]), &serde_json::json!([])));

    // Names, in the store and in the registry; archives for other programs.
    place.run("image tag REG/app:1 REG/app:stable");
    assert!(place.run("image ls").contains("REG/app:stable"));
    place.run("image tag --remote REG/app:1 REG/app:stable");
    assert_eq!(place.manifest("app:stable"), before);
    place.run("image rm REG/app:stable");
    assert!(place.refused("image rm REG/app:stable").contains("the store has no image"));
    let history = place.run("image history REG/app:1");
    assert!(history.contains("COPY hello /hello # buildkit") && history.contains("ENV A=1"), "{history}");
    place.run("image save REG/app:1 -o DIR/docker.tar --type docker");
    place.run("image save REG/app:1 -o DIR/oci.tar");
    let image = |name: String| testkit::Image::from_skopeo(&name, &[]).unwrap_or_else(|e| panic!("{name}: {e}"));
    let docker = image(format!("docker-archive:{}", text(&place.path("docker.tar"))));
    let oci = image(format!("oci-archive:{}", text(&place.path("oci.tar"))));
    assert!(testkit::compare(&docker, &oci).unwrap().is_empty());
}

fn oci_host() -> String {
    format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" })
}
