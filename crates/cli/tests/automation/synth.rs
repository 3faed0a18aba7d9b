//! `cooperage factory synth`: from images.yaml and the state files to resources. `kargo.yaml` beside this file is held
//! against Kargo's schemas by the tests of `gitops`.
use crate::{Place, TOKEN, assert_file};
use std::os::unix::fs::PermissionsExt;
use testkit::{PodKind, PodSpec, REGISTRY_TOOLS, Registry, bases, pod};

const IMAGES: [&str; 5] = [
    "- name: api\n  registry: ghcr.io\n  repository: acme/api\n  \
     source: {repo: acme/platform, dockerfile: api/Dockerfile, workflow: build.yml, paths: [api/, lib/]}\n",
    "- name: web_app\n  registry: ghcr.io\n  repository: acme/web\n  \
     source: {provider: gitlab, repo: acme/web, branch: trunk}\n",
    "- name: node-base\n  registry: ghcr.io\n  repository: acme/node-base\n  source: {repo: acme/bases}\n  autoRebuild: false\n",
    "- name: here\n  registry: ghcr.io\n  repository: acme/here\n  local: {dockerfile: Dockerfile}\n",
    "- name: postgres\n  registry: docker.io\n  repository: library/postgres\n  allowTags: ^16-\n  imageSelectionStrategy: SemVer\n",
];

fn state(name: &str, bases: &[&str], version: &str) -> String {
    let bases: String = bases.iter().map(|base| format!("  - {base}\n")).collect();
    format!(
        "name: {name}\nenrolledAt: '2026-11-01T10:00:00Z'\ndiscoveryStatus: complete\nbaseImages:\n{bases}currentVersion: {version}\n"
    )
}

fn base(name: &str, url: &str, tag: &str) -> String {
    let (registry, repository) = url.split_once('/').unwrap();
    format!(
        "name: {name}\nfullImage: {url}:{tag}\nregistry: {registry}\nrepository: {repository}\ntag: {tag}\n\
         allowTags: ^{tag}$\nimageSelectionStrategy: Lexical\nrepoURL: {url}\nfirstDiscovered: '2026-11-01T10:00:00Z'\n"
    )
}

fn place(images: &[&str]) -> Place {
    Place::new()
        .file("images.yaml", &images.concat())
        .file("Dockerfile", "FROM scratch\n")
        .file("images/api.yaml", &state("api", &["node-22", "acme-node-base-1"], "1.2.3"))
        .file("images/web_app.yaml", &state("web_app", &["node-22"], "null"))
        .file("base-images/node-22.yaml", &base("node-22", "docker.io/library/node", "22"))
        .file("base-images/acme-node-base-1.yaml", &base("acme-node-base-1", "ghcr.io/acme/node-base", "1"))
        .file("base-images/unused.yaml", &base("unused", "docker.io/library/unused", "1"))
}

#[test]
fn kargo_from_images_and_state() {
    let first = place(&IMAGES);
    let text = first.ok(&["factory", "synth", "kargo", "--token-secret", "forge", "--registry-secret", "registry"]);
    // The version of this program changes with each release.
    let text = text.replace(concat!(":", env!("CARGO_PKG_VERSION")), ":VERSION");
    assert_file("kargo.yaml", &text);
    // Another order, another directory, another time zone: all but the copy of images.yaml is the same.
    let mut other: Vec<&str> = IMAGES.into();
    other.reverse();
    let other = place(&other).var("TZ", "Asia/Tokyo").ok(&[
        "factory",
        "synth",
        "kargo",
        "--token-secret=forge",
        "--registry-secret=registry",
    ]);
    let without = |text: &str| -> Vec<String> {
        text.split("---\n").filter(|resource| !resource.contains("kind: ConfigMap")).map(str::to_owned).collect()
    };
    assert_eq!(without(&text), without(&other.replace(concat!(":", env!("CARGO_PKG_VERSION")), ":VERSION")));
    // A file that says the same already is not touched.
    first.ok(&["factory", "synth", "kargo", "-o", "kargo.yaml"]);
    let written = || std::fs::metadata(first.path("kargo.yaml")).unwrap().modified().unwrap();
    let before = written();
    first.ok(&["factory", "synth", "kargo", "-o", "kargo.yaml"]);
    assert_eq!(written(), before);
}

#[test]
fn a_held_image_is_not_rebuilt_by_kargo() {
    let held =
        state("api", &["node-22"], "1.2.3") + "hold: {since: '2026-11-21T10:00:00Z', reason: it leaks, by: ada}\n";
    let place = place(&IMAGES).file("images/api.yaml", &held);
    let (code, text, notes) = place.run(&["factory", "synth", "kargo"]);
    assert!(code == Some(0) && notes.contains("api is held (it leaks): no Stage rebuilds it\n"), "{notes}");
    assert!(text.contains("analyze-api") && !text.contains("rebuild-api") && text.contains("rebuild-web-app"));
}

#[test]
fn what_kargo_would_not_take() {
    let ssh = "- name: a\n  registry: ghcr.io\n  repository: o/a\n  source: {url: 'git@github.com:o/a.git'}\n";
    let place = Place::new().file("images.yaml", ssh);
    insta::assert_snapshot!(place.fails(&["factory", "synth", "kargo"]), @"
    exit 2
    images.yaml: what a are made from is not known yet; cooperage factory discover finds it
    error: image a: source `git@github.com:o/a.git` is no HTTP(S) URL, and Kargo takes no other (SSH goes with 1.13)
    ");
    let place = self::place(&IMAGES);
    insta::assert_snapshot!(place.fails(&["factory", "synth", "kargo", "--project", "My Project"]), @"
    exit 2
    images.yaml: what node-base are made from is not known yet; cooperage factory discover finds it
    error: `My Project` is no name of a Project: small letters, digits, `-` and `.`, at most 63, beginning and ending with a letter or digit
    ");
    insta::assert_snapshot!(place.fails(&["factory", "synth", "kargo", "--interval", "5 minutes"]), @"
    exit 2
    images.yaml: what node-base are made from is not known yet; cooperage factory discover finds it
    error: project image-factory-kargo: interval `5 minutes` is no time in Kargo's form; write it like 5m or 24h
    ");
    insta::assert_snapshot!(place.fails(&["factory", "synth", "kargo", "--workflow-input", "patch"]), @"
    exit 2
    error: --workflow-input patch: write it as KEY=VALUE
    ");
}

#[test]
fn a_runner_for_a_cluster() {
    let place = Place::new();
    let words = ["factory", "synth", "kubernetes", "--registry-secret", "ghcr", "--config-map", "images"];
    let text = place.ok(&words);
    let tail = text.split("kind: Deployment").nth(1).unwrap();
    for line in ["- doctor", "value: /etc/cooperage/images.yaml", "value: /var/lib/cooperage/state", "secretName: ghcr"]
    {
        assert!(tail.contains(line), "{line}: {tail}");
    }
    let cron = place.ok(&[&words[..], &["--workload", "cronjob", "--schedule", "@daily", "--cpu-limit", "2"]].concat());
    let pod = cron.split("initContainers:").nth(1).unwrap();
    assert!(pod.contains("- check-bases") && cron.contains("--eligible") && cron.contains("cpu: \"2\""), "{cron}");
    let job = place.ok(&["factory", "synth", "kubernetes", "--workload", "job", "--", "build", "--push", "."]);
    assert!(job.contains("kind: Job") && job.contains("- build\n") && !job.contains("Probe"), "{job}");
    insta::assert_snapshot!(place.fails(&["factory", "synth", "kubernetes", "--workload", "job"]), @"
    exit 2
    error: a job that builds needs images.yaml, and there is none here
      hint: name it with --file, or a ConfigMap that has it with --config-map
    ");
    insta::assert_snapshot!(place.fails(&["factory", "synth", "kubernetes", "--workload", "cronjob", "--config-map", "i", "--cache", "none"]), @"
    exit 2
    error: a cronjob that watches base images needs a cache volume
      hint: what it saw last time is kept there; leave --cache none out
    ");
    insta::assert_snapshot!(place.fails(&["factory", "synth", "kubernetes", "--memory", "lots"]), @"
    exit 2
    error: runner cooperage: memory `lots` is no quantity; write it like 500m, 2 or 20Gi
    ");
    insta::assert_snapshot!(place.fails(&["factory", "synth", "argocd", "--path", "."]), @"
    exit 2
    error: the following required arguments were not provided:
      --repo <URL>

    Usage: cooperage factory synth argocd --repo <URL> --path <PATH>

    For more information, try '--help'.
    ");
}

/// What images.yaml names beside itself is in the ConfigMap, and comes back to its place; no secret is.
#[test]
fn everything_that_the_runner_needs() {
    let images = "- name: api\n  registry: ghcr.io\n  repository: acme/api\n  source: {repo: acme/platform}\n  \
        local: {dir: api, dockerfile: api/Dockerfile, patchFiles: [fix/a.js], versionFile: VERSION}\n  \
        scan: {ignoreFile: ignore.yaml}\n  secrets: [{id: npm, file: npm.secret}]\n  signing: {key: cosign.key}\n\
        - name: tool\n  registry: ghcr.io\n  repository: acme/tool\n  local: {dir: tool}\n\
        - name: bare\n  registry: ghcr.io\n  repository: acme/bare\n  local: {dockerfile: Dockerfile}\n";
    let place = Place::new()
        .file("images.yaml", images)
        .file("api/Dockerfile", "FROM scratch\n")
        .file("api/fix/a.js", "fixed()\n")
        .file("api/VERSION", "1.2.3\n")
        .file("api/not-named", "x")
        .file("ignore.yaml", "[]\n")
        .file("npm.secret", TOKEN)
        .file("cosign.key", TOKEN)
        .file("Dockerfile", "FROM scratch\nLABEL a=b\n")
        .file("notes", "no COPY reads this\n")
        .file("tool/Dockerfile", "FROM busybox\nCOPY . /\nRUN /run.sh\n")
        .file("tool/.dockerignore", "target\n*.log\n")
        .file("tool/target/deep/big", "x")
        .file("tool/a.log", "x")
        .file("tool/run.sh", "#!/bin/sh\n");
    std::fs::set_permissions(place.path("tool/run.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    for kind in ["kubernetes", "kargo"] {
        let (code, text, notes) = place.run(&["factory", "synth", kind]);
        assert_eq!(code, Some(0), "{notes}");
        let paths: Vec<&str> = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("path: "))
            .filter(|path| *path != "config.json")
            .collect();
        let wanted = [
            "Dockerfile",
            "api/Dockerfile",
            "api/VERSION",
            "api/fix/a.js",
            "ignore.yaml",
            "tool/.dockerignore",
            "tool/Dockerfile",
            "tool/run.sh",
        ];
        let first = &paths[..wanted.len() + 1];
        assert_eq!(first, [&["images.yaml"][..], &wanted].concat(), "{kind}: {text}");
        assert!(text.contains("mode: 365") && text.contains("fixed()"), "{text}");
        assert!(
            notes.contains("api: the file of the secret npm") && notes.contains("api: the key cosign.key"),
            "{notes}"
        );
    }
    let text = place.ok(&["factory", "synth", "kubernetes", "--workload", "job"]);
    assert!(text.contains("name: cooperage-images") && text.contains("value: /etc/cooperage/images.yaml"), "{text}");
    let own = place.ok(&["factory", "synth", "kubernetes", "--config-map", "mine"]);
    assert!(!own.contains("kind: ConfigMap") && own.contains("name: mine"), "{own}");
    let place = place.file("tool/data", &"x".repeat(700_000)).file("tool/more", &"y".repeat(500_000));
    let text = place.fails(&["factory", "synth", "kubernetes"]);
    assert!(
        text.contains("a ConfigMap holds 1024; the largest are tool/data (684 KiB), tool/more (489 KiB)"),
        "{text}"
    );
    assert!(text.contains("hint: let these images be built from a repository"), "{text}");
    let place = place.file("tool/huge", &"x".repeat(2_000_000));
    assert!(
        place.fails(&["factory", "synth", "kubernetes"]).contains("tool/huge has 1954 KiB, and a ConfigMap holds 1024")
    );
    std::fs::remove_file(place.path("ignore.yaml")).unwrap();
    let text = place.fails(&["factory", "synth", "kargo"]);
    assert!(text.contains("exit 2") && text.contains("api needs ignore.yaml, which cannot be read"), "{text}");
}

/// The runner's files, variables and user, in a pod under "restricted": probes pass, images are built, pushed and told of.
#[test]
fn commands_work_in_the_runner() {
    let tools = [REGISTRY_TOOLS, &[("runc", "runc"), ("mmdebstrap", "mmdebstrap")]].concat();
    if !testkit::available("commands_work_in_the_runner", &tools) {
        return;
    }
    if !testkit::is_root() {
        assert!(std::env::var_os("CI").is_none(), "commands_work_in_the_runner: needs root");
        return;
    }
    let registry = Registry::start().unwrap();
    let base = bases::BUSYBOX.push(&registry).unwrap();
    let place = Place::new().file("bin/cooperage", "");
    std::fs::copy(env!("CARGO_BIN_EXE_cooperage"), place.path("bin/cooperage")).unwrap();
    let images = format!(
        "- name: tool\n  registry: {}\n  repository: acme/tool\n  local: {{dockerfile: Dockerfile}}\n",
        registry.host()
    );
    let dockerfile = format!("FROM {base}\nRUN id -u > /who && mkdir -m 700 /d\n");
    let place = place.file("etc/images.yaml", &images).file("etc/Dockerfile", &dockerfile);
    for (dir, user) in [("cache", Some(1000)), ("tmp", Some(1000)), ("etc", None), ("bin", None), (".", None)] {
        let path = place.path(dir);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(&path, user, user).unwrap();
    }
    let text = place.ok(&["factory", "synth", "kubernetes", "--config-map", "images"]);
    let after = |from: &str, to: &str| text.split_once(from).unwrap().1.split_once(to).unwrap().0.to_owned();
    let mut spec = PodSpec::new(PodKind::Restricted, pod::rootfs(&bases::BUSYBOX).unwrap())
        .bind_read_only(place.path("bin/cooperage"), "/usr/local/bin/cooperage")
        .bind_read_only(place.path("etc"), "/etc/cooperage")
        .bind(place.path("cache"), "/var/lib/cooperage")
        .bind(place.path("tmp"), "/tmp")
        .current_dir(after("workingDir: ", "\n").trim());
    let env = after("        env:\n", "        workingDir:");
    for variable in env.split("- name: ").skip(1) {
        let (name, value) = variable.split_once("\n").unwrap();
        spec = spec.env(name, value.trim().strip_prefix("value: ").unwrap());
    }
    let pod = spec.start().unwrap();
    let run = |words: &[&str]| {
        let output = pod.run(&[&["cooperage"], words].concat()).unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{words:?}: {text}");
        text
    };
    assert!(run(&["doctor"]).contains("The best way to build here:\n  build here, in this container"));
    run(&["--version"]);
    run(&["factory", "discover"]);
    assert!(run(&["factory", "build", "tool"]).contains("0.1.0, latest"));
    assert!(run(&["factory", "list"]).contains("0.1.0"));
    assert!(run(&["factory", "logs", "tool"]).contains("tag done"));
    run(&["factory", "check-bases"]);
    assert!(run(&["image", "inspect", &registry.reference("acme/tool:latest")]).contains("sha256:"));
    assert!(place.path("cache/state/images/tool.yaml").is_file(), "the state is on the volume");
}
