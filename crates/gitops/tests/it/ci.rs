//! Workflows for CI: their scripts are run with real git, what is written is read back.
use crate::schema::read;
use gitops::ci::{Image, Pipeline, github, gitlab};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

fn image(name: &str, needs: &[&str], paths: &[&str]) -> Image {
    Image {
        name: name.into(),
        registry: "ghcr.io".into(),
        reference: format!("ghcr.io/o/{name}"),
        here: true,
        paths: paths.iter().map(|path| (*path).into()).collect(),
        needs: needs.iter().map(|need| (*need).into()).collect(),
        ..Image::default()
    }
}

fn pipeline() -> Pipeline {
    let mut api = image("api", &["base"], &["api/", "lib/**", "!**/*.md"]);
    (api.secrets, api.updates, api.foreign, api.requests) = (vec!["NPM_TOKEN".into()], true, true, true);
    let mut other = image("other", &[], &[]);
    (other.here, other.registry) = (false, "registry.example:5000".into());
    Pipeline {
        file: "images.yaml".into(),
        branches: vec!["main".into()],
        tags: vec!["v*".into()],
        schedule: None,
        state: String::new(),
        images: vec![api, other, image("base", &[], &["base/**"]), image("web", &[], &["web/**", "!web/*.md"])],
    }
}

fn options() -> github::Options {
    github::Options {
        name: "Images".into(),
        file: ".github/workflows/images.yml".into(),
        action: "o/cooperage@v1".into(),
        runner: "ubuntu-24.04".into(),
        attest: true,
    }
}

fn git(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(args).current_dir(dir).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "a").env(format!("GIT_{role}_EMAIL"), "a@example.com");
    }
    let output = command.output().expect("git");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// A commit with these files, and its name.
fn commit(dir: &Path, files: &[&str]) -> String {
    for file in files {
        let path = dir.join(file);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("it is made");
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(path, old + "x").expect("it is written");
    }
    git(dir, &["add", "--all"]);
    git(dir, &["commit", "-q", "-m", "x", "--allow-empty"]);
    git(dir, &["rev-parse", "HEAD"])
}

#[test]
fn what_changed_is_built_and_what_is_made_from_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    git(dir, &["init", "-q", "-b", "main"]);
    let script = github::changes(&pipeline());
    let run = |event: &str, reference: &str, before: &str, image: &str| {
        let output = dir.join(".git/output");
        let _ = std::fs::remove_file(&output);
        let ended = Command::new("bash")
            .args(["-e", "-c", &script])
            .current_dir(dir)
            .envs([("EVENT", event), ("GITHUB_REF", reference), ("BEFORE", before), ("IMAGE", image)])
            .env("GITHUB_OUTPUT", &output)
            .output()
            .expect("bash");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        let text = std::fs::read_to_string(output).expect("an output");
        assert_eq!(text, String::from_utf8_lossy(&ended.stdout));
        let lists: Vec<Vec<String>> = text
            .lines()
            .map(|line| serde_json::from_str(line.split_once('=').expect("a list").1).expect("JSON"))
            .collect();
        assert_eq!(lists.len(), 2);
        lists.concat().join(" ")
    };
    let push = |before: &str| run("push", "refs/heads/main", before, "");
    let first = commit(dir, &["base/Dockerfile", "api/Dockerfile", "web/Dockerfile", "README.md"]);
    let zero = "0".repeat(40);
    assert_eq!(push(&zero), "base web api", "a new branch");
    let second = commit(dir, &["lib/deep/x.js"]);
    assert_eq!(push(&first), "api");
    let third = commit(dir, &["base/x", "web/notes.md", "README.md"]);
    assert_eq!(push(&second), "base api", "what is made from base, and nothing for notes");
    assert_eq!(push(&first), "base api");
    assert_eq!(push(&third), "");
    assert_eq!(run("push", "refs/tags/v1", &third, ""), "base web api", "tags are for all");
    assert_eq!(run("workflow_dispatch", "refs/heads/main", "", "all"), "base other web api");
    assert_eq!(run("workflow_dispatch", "refs/heads/main", "", "api"), "api");
    assert_eq!(run("workflow_dispatch", "refs/heads/main", "", "other"), "other");
    git(dir, &["checkout", "-q", "-b", "topic", &first]);
    commit(dir, &["web/index.html"]);
    git(dir, &["checkout", "-q", "main"]);
    git(dir, &["merge", "-q", "--no-ff", "-m", "merge", "topic"]);
    assert_eq!(run("pull_request", "refs/pull/1/merge", "", ""), "web");
}

#[test]
fn a_workflow_of_github() {
    let text = github::synth(&pipeline(), &options());
    let mut other = pipeline();
    other.images.reverse();
    assert_eq!(text, github::synth(&other, &options()), "the order of images.yaml says nothing");
    let all = read(&text).remove(0);
    assert_eq!(all["permissions"], json!({}));
    assert_eq!(
        all["on"]["push"]["paths"],
        json!([".github/workflows/images.yml", "api/**", "base/**", "lib/**", "web/**"])
    );
    assert_eq!(
        all["on"]["workflow_dispatch"]["inputs"]["image"]["options"],
        json!(["all", "api", "base", "other", "web"])
    );
    let (first, second) = (&all["jobs"]["build"], &all["jobs"]["build-2"]);
    assert_eq!(first["permissions"]["contents"], "read");
    assert_eq!(second["permissions"]["contents"], "write", "manifests are updated");
    let requests = |job: &Value| job["permissions"]["pull-requests"] == "write";
    assert!(requests(second) && !requests(first), "by pull requests");
    assert_eq!(second["needs"], json!(["changes", "build"]));
    let step = |job: &Value, id: &str| {
        let steps = job["steps"].as_array().expect("steps");
        steps.iter().find(|step| step["id"] == id || step["name"] == id).cloned().unwrap_or(Value::Null)
    };
    let build = step(second, "build");
    let token = r#"${{ contains(fromJSON('["api"]'), matrix.image) && secrets.NPM_TOKEN || '' }}"#;
    assert_eq!(build["env"]["NPM_TOKEN"], token);
    assert!(step(first, "build")["env"]["NPM_TOKEN"].is_null(), "a secret is shown to the images that ask for it");
    assert!(!step(second, "Emulators for other processors").is_null());
    assert_eq!(
        step(first, "Log in to registry.example:5000")["env"]["REGISTRY_PASSWORD"],
        "${{ secrets.REGISTRY_EXAMPLE_5000_PASSWORD }}"
    );
    // Actions are pinned, scripts hold no expression.
    for job in all["jobs"].as_object().expect("jobs").values() {
        for step in job["steps"].as_array().expect("steps") {
            let uses = step["uses"].as_str().unwrap_or("o/cooperage@v1");
            let pinned = uses.split_once('@').is_some_and(|(_, at)| at.len() == 40);
            assert!(pinned || uses == "o/cooperage@v1", "{uses}");
            assert!(!step["run"].as_str().unwrap_or_default().contains("${{"), "{step}");
        }
    }
    let plain = github::synth(&pipeline(), &github::Options { attest: false, ..options() });
    assert!(!plain.contains("attest") && !plain.contains("id-token"), "{plain}");
    // One image without paths: every change counts.
    let mut every = pipeline();
    every.images.push(image("top", &[], &[]));
    assert!(read(&github::synth(&every, &options()))[0]["on"]["push"]["paths"].is_null());
}

#[test]
fn a_pipeline_of_gitlab() {
    let text = gitlab::synth(&pipeline(), &gitlab::Options { image: "cooperage:1".into(), attest: true });
    let all = read(&text).remove(0);
    assert_eq!(all["stages"], json!(["images", "images-2"]));
    let api = &all["build:api"];
    assert_eq!(api["needs"], json!([{ "job": "build:base", "optional": true }]));
    assert_eq!(api["rules"][0]["changes"]["paths"], json!(["api/**", "base/**", "lib/**"]));
    assert_eq!(all["build:other"]["rules"].as_array().expect("rules").len(), 1);
    for script in api["script"].as_array().expect("scripts").iter().filter_map(Value::as_str) {
        let ended = Command::new("bash").args(["-n", "-c", script]).status().expect("bash");
        assert!(ended.success(), "{script}");
    }
}

/// Jobs that keep the state beside each other: each file arrives, and the token is on no command line.
#[test]
fn by_the_clock() {
    let pipeline = || Pipeline {
        schedule: Some("23 4 * * *".into()),
        state: "deploy".into(),
        file: "deploy/images.yaml".into(),
        ..pipeline()
    };
    let hub = read(&github::synth(&pipeline(), &options())).remove(0);
    assert_eq!(hub["on"]["schedule"], json!([{ "cron": "23 4 * * *" }]));
    let job = &hub["jobs"]["rebuild"];
    assert_eq!(job["if"], "github.event_name == 'schedule'");
    assert_eq!(hub["jobs"]["changes"]["if"], "github.event_name != 'schedule'");
    assert!(hub["jobs"]["build-2"]["if"].as_str().expect("a condition").contains("needs.changes.result == 'success'"));
    let script = |job: &Value, name: &str| {
        let steps = job["steps"].as_array().expect("steps");
        let step = steps.iter().find(|step| step["name"] == name).unwrap_or_else(|| panic!("no {name}"));
        (step["run"].as_str().expect("a script").to_owned(), step["env"].clone())
    };
    let (rebuild, env) = script(job, "Rebuild what is due");
    assert!(
        rebuild.contains("check-bases --file deploy/images.yaml\n") && rebuild.contains("rebuild --eligible --attest")
    );
    assert_eq!(env["NPM_TOKEN"], "${{ secrets.NPM_TOKEN }}");
    let (keep, _) = script(job, "Keep the state");
    assert_eq!(keep, script(&hub["jobs"]["build"], "Keep the state").0);

    let lab =
        read(&gitlab::synth(&pipeline(), &gitlab::Options { image: "cooperage:1".into(), attest: true })).remove(0);
    assert_eq!(lab["rebuild"]["rules"], json!([{ "if": "$CI_PIPELINE_SOURCE == \"schedule\"" }]));
    assert!(!lab["build:api"]["rules"].to_string().contains("schedule"), "{}", lab["build:api"]["rules"]);
    for job in ["rebuild", "build:api"] {
        for script in lab[job]["script"].as_array().expect("scripts").iter().filter_map(Value::as_str) {
            assert!(Command::new("sh").args(["-n", "-c", script]).status().expect("sh").success(), "{script}");
        }
    }

    // Four jobs at once, each with another file, while the branch moves.
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    git(dir, &["init", "-q", "-b", "main", "seed"]);
    commit(&dir.join("seed"), &["deploy/images/job0.yaml", "README.md"]);
    git(dir, &["clone", "-q", "--bare", "seed", "origin.git"]);
    std::thread::scope(|scope| {
        for i in 0..4 {
            let keep = &keep;
            scope.spawn(move || {
                let name = format!("job{i}");
                git(dir, &["clone", "-q", "--depth=1", &format!("file://{}/origin.git", dir.display()), &name]);
                let top = dir.join(&name);
                let file = top.join(format!("deploy/images/{name}.yaml"));
                std::fs::write(&file, format!("name: {name}\n")).expect("it is written");
                std::fs::write(top.join("README.md"), "built here").expect("it is written");
                let ended = Command::new("sh")
                    .args(["-c", keep])
                    .current_dir(&top)
                    .envs([("BRANCH", "main"), ("GITHUB_TOKEN", "s3cret"), ("GIT_CONFIG_GLOBAL", "/dev/null")])
                    .output()
                    .expect("sh");
                assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
                // Nothing changed since: nothing is pushed.
                let again = Command::new("sh").args(["-c", keep]).current_dir(&top).env("BRANCH", "main").status();
                assert!(again.expect("sh").success());
            });
        }
    });
    let origin = dir.join("origin.git");
    for i in 0..4 {
        assert_eq!(git(&origin, &["show", &format!("main:deploy/images/job{i}.yaml")]), format!("name: job{i}"));
    }
    assert_eq!(git(&origin, &["show", "main:README.md"]), "x", "state files alone");
    assert_eq!(git(&origin, &["rev-list", "--count", "main"]), "5");
}
