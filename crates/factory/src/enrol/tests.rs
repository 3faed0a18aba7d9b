use super::*;
use std::path::Path;

fn parse(text: &str) -> Result<Enrolment, Problems> {
    Enrolment::parse(Path::new("images.yaml"), text)
}

const GOOD: &str = "\
- name: backstage
  registry: ghcr.io
  repository: owner/backstage
  source:
    provider: github
    repo: owner/repo
    branch: main
    dockerfile: apps/backstage/Dockerfile
    workflow: backstage.yml
  rebuildDelay: 7d
  autoRebuild: true
- name: tools
  enrollment:
    registry: ghcr.io
    repository: owner/tools
    source: {url: 'https://git.example/tools.git', context: images/tools}
    secrets: [npm, {id: pip, env: PIP_TOKEN}]
    buildArgs: {VERSION: 1.10, DEBUG: false}
  dependsOn: [backstage]
- name: beside
  repository: owner/beside
  local:
    dockerfile: beside/Dockerfile
- name: postgres
  registry: docker.io
  repository: postgres
  allowTags: ^16-
  imageSelectionStrategy: SemVer
  rebuildDelay: 30d
";

#[test]
fn a_file_is_read() {
    let enrolment = parse(GOOD).unwrap();
    let [backstage, tools, beside, postgres] = &enrolment.images[..] else { panic!("four images") };
    let source = backstage.managed().unwrap().source.clone().unwrap();
    assert_eq!((source.url.as_str(), source.branch.as_str()), ("https://github.com/owner/repo.git", "main"));
    assert_eq!(backstage.rebuild_delay.seconds(), 7 * 24 * 3600);
    let managed = tools.managed().unwrap();
    assert_eq!(managed.build_args["VERSION"], "1.10", "a version is no number");
    assert_eq!(managed.build_args["DEBUG"], "false");
    assert_eq!(managed.secrets[1].env.as_deref(), Some("PIP_TOKEN"));
    assert_eq!(managed.source.as_ref().unwrap().dockerfile_path(), "images/tools/Dockerfile");
    assert!(beside.managed().unwrap().source.is_none());
    assert_eq!((postgres.reference().as_str(), postgres.kind_name()), ("docker.io/library/postgres", "external"));
    assert_eq!(postgres.selection.strategy, Strategy::SemVer);
    assert!(parse("").unwrap().images.is_empty());
    assert!(parse("# nothing yet\n").unwrap().images.is_empty());
}

#[test]
fn everything_that_is_wrong_is_told_with_its_place() {
    let error = parse(
        "- name: Back Stage
  registry: ghcr.io/owner
  repository: Owner/Backstage
  source:
    provider: githib
    repo: owner
    dockerfile: /Dockerfile
    branches: main
  rebuild_delay: 7d
- name: a
  repository: o/a
  rebuildDelay: 7
  autoRebuild: 'yes'
  allowTags: '['
  imageSelectionStrategy: semver
  platforms: linux
- name: a
  repository: o/b:1
- repository: o/c
- name: b
  repository: o/b
  dependsOn: [c, aa]
- name: c
  repository: o/c
  dependsOn: [b]
- name: d
  repository: o/d
  source: {url: 'https://me:tok@host/x.git'}
- name: e
  repository: o/e
  local: {versionFile: VERSION}
  source:
  platforms: [linux/amd64/v8/x, linux]
- name: f
  source: {repo: o/f, url: u}
- just a text
",
    )
    .unwrap_err();
    insta::assert_snapshot!(error.to_string(), @r#"
    images.yaml:1:9: name: "Back Stage" is no name: lower-case letters, digits, '.', '_' and '-', at most 100
      hint: back-stage would do
    images.yaml:2:13: registry: "ghcr.io/owner" is no registry
      hint: write the host, and where it has one the port: ghcr.io, 127.0.0.1:5000
    images.yaml:3:15: repository: "Owner/Backstage" is no repository: a repository's name must be lower case
      hint: owner/backstage would do
    images.yaml:5:15: provider: there is no "githib"
      hint: did you mean github?
    images.yaml:6:11: "owner" is no repository of githib
      hint: write repo: OWNER/NAME with provider github or gitlab, else url: URL
    images.yaml:7:17: dockerfile: "/Dockerfile" is absolute
      hint: write the path from the top of the repository, or from images.yaml
    images.yaml:8:5: unknown key "branches" in source
      hint: did you mean branch?
    images.yaml:9:3: unknown key "rebuild_delay" in image
      hint: did you mean rebuildDelay?
    images.yaml:12:17: rebuildDelay: "7" is no duration; write a number and a unit, such as 12h, 7d or 2w
    images.yaml:13:16: autoRebuild: true or false is expected here, not "yes"
    images.yaml:14:14: allowTags: "[" is no regular expression: unclosed character class
    images.yaml:15:27: imageSelectionStrategy: there is no "semver"
      hint: did you mean SemVer?
    images.yaml:16:14: platforms: a list is expected here, not a text; put "- " before each entry
    images.yaml:17:9: a second image with the name "a"; the first stands in line 10
      hint: rename one of them: state files and runs go by the name
    images.yaml:18:15: repository: "o/b:1" has a tag or a digest
      hint: write the name alone, such as owner/name
    images.yaml:19:3: image has no name
      hint: name: The image's name: lower-case letters, digits, '.', '_' and '-'.
    images.yaml:22:14: images depend on each other in a circle: b → c → b
      hint: take one of these out of dependsOn
    images.yaml:22:18: b depends on "aa", which is no image
      hint: did you mean a?
    images.yaml:28:17: the URL of the source of d holds a password or token
      hint: take it out; GIT_AUTH_TOKEN, GITHUB_TOKEN or GITLAB_TOKEN in the environment is used
    images.yaml:31:10: image e has neither a source nor a local Dockerfile
      hint: add local.dockerfile or local.dir, or a source
    images.yaml:33:15: platforms: invalid platform "linux/amd64/v8/x": expected os[/architecture[/variant]], such as linux/amd64 or linux/arm/v7
      hint: write OS/ARCHITECTURE[/VARIANT], such as linux/arm64
    images.yaml:34:3: image f has no repository
      hint: write where it is in its registry, such as repository: owner/name
    images.yaml:35:28: the source of f has both repo and url
      hint: keep one of them
    images.yaml:36:3: image must be a mapping with keys such as name, enrollment, registry, not a text
    "#);
}

#[test]
fn what_is_no_list_or_no_yaml_is_told() {
    let errors =
        ["images:\n  - name: a\n", "- name: a\n   b: c\n", "- name: a\n  name: b\n  repository: x\n", "text\n"];
    let errors: Vec<String> = errors.iter().map(|text| parse(text).unwrap_err().to_string()).collect();
    insta::assert_snapshot!(errors.join("\n"), @r#"
    images.yaml:1:1: images.yaml must be a list of images, not a mapping
      hint: begin each image with "- name: NAME"
    images.yaml:2:5: mapping values are not allowed in this context
    images.yaml:2:3: the key name stands here twice; first in line 1
    images.yaml:1:1: images.yaml must be a list of images, not a text
      hint: begin each image with "- name: NAME"
    "#);
}

#[test]
fn circles_are_found_however_long() {
    let names: Vec<String> = (0..5000).map(|i| format!("n{i:04}")).collect();
    let mut edges: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for pair in names.windows(2) {
        edges.insert(&pair[0], vec![&pair[1]]);
    }
    assert_eq!(cycle(&edges), None);
    edges.insert(&names[4999], vec![&names[4990]]);
    assert_eq!(cycle(&edges).unwrap().len(), 11);
}

#[test]
fn the_checked_in_schema_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("images.schema.json");
    let text = format!("{:#}\n", json_schema());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == text,
        "crates/factory/images.schema.json is stale: UPDATE_SCHEMA=1 cargo test -p factory schema"
    );
}
