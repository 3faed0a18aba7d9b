//! `cooperage factory workflow`, and the action that takes the inputs of docker/build-push-action.
use crate::{Place, TOKEN};
use std::collections::BTreeSet;
use std::process::Command;

const IMAGES: &str = "- name: api\n  registry: ghcr.io\n  repository: acme/api\n  \
    source: {repo: acme/platform, context: api}\n  secrets: [NPM_TOKEN]\n";

#[test]
fn written_checked_and_written_anew() {
    let place = Place::new()
        .file("deploy/images.yaml", IMAGES)
        .file(".git/config", "[remote \"origin\"]\n\turl = https://github.com/acme/platform.git\n");
    let place = place.file(".git/HEAD", "ref: refs/heads/main\n");
    for (kind, file) in [("github", ".github/workflows/images.yml"), ("gitlab", ".gitlab/images.yml")] {
        let words = ["factory", "workflow", kind, "--file", "deploy/images.yaml"];
        let check = [&words[..], &["--check"]].concat();
        assert!(place.fails(&check).contains(&format!("{file} is not there")));
        place.ok(&words);
        place.ok(&check);
        let written = std::fs::read_to_string(place.path(file)).unwrap();
        assert_eq!(place.ok(&[&words[..], &["-o", "-"]].concat()), written);
        for part in ["api/**", "--file deploy/images.yaml", "main"] {
            assert!(written.contains(part), "{part}: {written}");
        }
        std::fs::write(place.path(file), written.replace("api/**", "api/*")).unwrap();
        let refusal = place.fails(&check);
        assert!(
            refusal.starts_with("exit 1") && refusal.contains(&format!("cooperage factory workflow {kind} writes it"))
        );
        place.ok(&words);
        assert_eq!(std::fs::read_to_string(place.path(file)).unwrap(), written);
    }
    let empty = Place::new().file("images.yaml", "- {name: pg, registry: docker.io, repository: library/postgres}\n");
    insta::assert_snapshot!(empty.fails(&["factory", "workflow", "github"]), @"
    exit 2
    error: images.yaml has no image that is built
      hint: cooperage factory add NAME --image … --source … enrols one
    ");
}

fn action(file: &str) -> String {
    std::fs::read_to_string(testkit::repository().join(file)).unwrap()
}

/// The inputs of docker/build-push-action 7.
const INPUTS: &[&str] = &[
    "add-hosts",
    "allow",
    "annotations",
    "attests",
    "builder",
    "build-args",
    "build-contexts",
    "cache-from",
    "cache-to",
    "call",
    "cgroup-parent",
    "context",
    "file",
    "labels",
    "load",
    "network",
    "no-cache",
    "no-cache-filters",
    "outputs",
    "platforms",
    "provenance",
    "pull",
    "push",
    "sbom",
    "secrets",
    "secret-envs",
    "secret-files",
    "shm-size",
    "ssh",
    "tags",
    "target",
    "ulimit",
    "github-token",
];

#[test]
fn the_inputs_of_the_action_are_flags_that_exist() {
    let (yaml, script) = (action("action.yml"), action("action/build.sh"));
    let section = |from: &str, to: &str| yaml.split_once(from).unwrap().1.split_once(to).unwrap().0.to_owned();
    let keys = |text: &str| -> BTreeSet<String> {
        let key = |line: &str| {
            line.strip_prefix("  ").filter(|l| !l.starts_with([' ', '#']))?.strip_suffix(':').map(str::to_owned)
        };
        text.lines().filter_map(key).collect()
    };
    let inputs = keys(&section("\ninputs:\n", "\noutputs:\n"));
    let expected: BTreeSet<String> =
        INPUTS.iter().chain(&["isolation", "setup-only"]).map(|name| (*name).to_owned()).collect();
    assert_eq!(inputs, expected);
    assert_eq!(
        keys(&section("\noutputs:\n", "\nruns:\n")),
        ["digest", "imageid", "metadata"].map(str::to_owned).into()
    );
    for name in INPUTS {
        let variable = name.replace('-', "_").to_uppercase();
        assert!(yaml.contains(&format!("INPUT_{variable}: ${{{{ inputs.{name} }}}}\n")), "{name} is not handed on");
        assert!(script.contains(&format!(" {variable}")), "{name} is not read");
    }
    // Every flag that the script gives.
    let place = Place::new();
    let help = place.ok(&["build", "--help"]);
    let flags: BTreeSet<&str> = script
        .lines()
        .filter(|line| ["list ", "lines ", "one ", "truth "].iter().any(|word| line.starts_with(word)))
        .filter_map(|line| line.split(' ').nth(2))
        .filter(|flag| !["--secret-env", "--secret-file"].contains(flag))
        .collect();
    assert!(flags.len() > 25, "{flags:?}");
    for flag in flags {
        let known = help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}["));
        assert!(known || place.fails(&["build", &format!("{flag}=x"), "."]).contains(flag), "{flag}");
    }
}

#[test]
fn the_action_builds() {
    let place = Place::new()
        .file(
            "app/Dockerfile",
            "FROM scratch AS one\nARG A\nLABEL a=\"$A\"\nCOPY file /\nFROM scratch AS two\nCOPY --from=more /x /x\n",
        )
        .file("app/file", "x")
        .file("more/x", "x");
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_cooperage")).parent().unwrap().display().to_string();
    let run = |inputs: &[(&str, &str)]| {
        let mut command = Command::new("bash");
        command.arg(testkit::repository().join("action/build.sh")).current_dir(place.dir.path()).env_clear();
        command.env("PATH", format!("{bin}:{}", std::env::var("PATH").unwrap()));
        command.env("HOME", place.dir.path()).env("COOPERAGE_ROOT", place.path("store"));
        command.env("RUNNER_TEMP", place.dir.path()).env("BUILDKIT_PROGRESS", "plain");
        command.env("GITHUB_OUTPUT", place.path("output")).env("GITHUB_STEP_SUMMARY", place.path("summary"));
        command.envs(inputs.iter().map(|(name, value)| (format!("INPUT_{name}"), value)));
        let output = command.output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!text.contains(TOKEN), "{text}");
        (output.status.code(), text)
    };
    let secrets = format!("npm={TOKEN}\n\"lines={TOKEN}\nwith \"\"quotes\"\"\"\n");
    let (code, text) = run(&[
        ("CONTEXT", "app"),
        ("TAGS", "o/app:1\n  o/app:2, o/app:3\n"),
        ("BUILD_ARGS", "A=b c, d\n\n"),
        ("LABELS", "one=1\ntwo=x=y"),
        ("TARGET", "one"),
        ("SECRETS", &secrets),
        ("BUILDER", "buildx"),
        ("PUSH", "false"),
        ("PROVENANCE", "false"),
        ("GITHUB_TOKEN", TOKEN),
    ]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("::notice::the input builder"), "{text}");
    let json: serde_json::Value = serde_json::from_str(
        &place
            .command(&["image", "inspect", "o/app:3"])
            .env("COOPERAGE_ROOT", place.path("store"))
            .output()
            .map(|o| String::from_utf8(o.stdout).unwrap())
            .unwrap(),
    )
    .unwrap();
    let text = json.to_string();
    for part in ["\"a\":\"b c, d\"", "\"one\":\"1\"", "\"two\":\"x=y\""] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let output = std::fs::read_to_string(place.path("output")).unwrap();
    let digest = output.lines().find_map(|line| line.strip_prefix("digest=")).unwrap();
    assert!(
        digest.len() == 71
            && text.contains(digest)
            && output.contains("imageid=sha256:")
            && output.contains("metadata<<"),
        "{output}"
    );
    let summary = std::fs::read_to_string(place.path("summary")).unwrap();
    assert!(summary.contains(&format!("| o/app:2 | `{digest}` |")), "{summary}");
    let (code, text) = run(&[("CONTEXT", "app"), ("TARGET", "two"), ("BUILD_CONTEXTS", "more=more")]);
    assert_eq!(code, Some(0), "{text}");
    // What fails, fails.
    assert_eq!(run(&[("CONTEXT", "app"), ("TARGET", "three")]).0, Some(2));
    assert_eq!(run(&[("CONTEXT", "app"), ("PUSH", "perhaps")]).0, Some(2));
    assert!(run(&[("CONTEXT", "app"), ("CGROUP_PARENT", "x")]).1.contains("--cgroup-parent"));
    assert!(
        std::fs::read_dir(place.dir.path()).unwrap().all(|entry| !entry
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with("cooperage-build."))
    );
}
