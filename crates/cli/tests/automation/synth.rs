//! `cooperage factory synth`: from images.yaml and the state files to resources. `kargo.yaml` beside this file is held
//! against Kargo's schemas by the tests of `gitops`.
use crate::{Place, assert_file};

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
    error: a job that builds needs images.yaml
      hint: kubectl create configmap images --from-file=images.yaml, and name it here with --config-map images
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
