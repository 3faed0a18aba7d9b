//! Every reason for a miss, in one line at the miss, in words and in JSON afterwards.
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use super::support::{Log, Place, registry};

impl Place {
    /// `cooperage WORDS --root STORE`: standard output.
    fn cooperage(&self, words: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooperage"));
        let output = command.args(words.split_whitespace()).arg("--root").arg(self.store()).output().unwrap();
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn explained(&self, words: &str) -> Value {
        serde_json::from_str(&self.cooperage(&format!("explain --format json {words}"))).unwrap()
    }

    /// The step of the last build whose line holds this.
    fn step(&self, text: &str) -> Value {
        let all = self.explained("");
        let steps = all["steps"].as_array().unwrap();
        steps.iter().find(|s| s["name"].as_str().unwrap().contains(text)).cloned().unwrap_or_else(|| panic!("{all:#}"))
    }

    /// Builds, and checks what is said of a step: at the miss, and afterwards.
    fn says(&self, words: &str, step: &str, reason: &str, kinds: &[&str]) -> Log {
        let log = self.attempt(words);
        let heading = log.text.lines().find(|l| l.starts_with('#') && l.contains("] ") && l.contains(step));
        let number = heading.unwrap_or_else(|| panic!("no step {step} in\n{}", log.text)).split(' ').next().unwrap();
        let line = format!("{number} cache miss: {reason}");
        assert!(log.text.lines().any(|l| l == line), "no {line:?} in\n{}", log.text);
        let explained = self.step(step);
        assert_eq!(explained["reason"], reason, "{explained:#}");
        let found: Vec<&str> =
            explained["changes"].as_array().unwrap().iter().map(|c| c["kind"].as_str().unwrap()).collect();
        assert_eq!(found, kinds, "{explained:#}");
        log
    }
}

#[test]
fn each_input_that_differs_is_named() {
    let place = Place::new().file("src/a.c", "1").file("src/b.c", "1").file("src/c.c", "1");
    let base = registry().reference("explained:1");
    let push_base = |version: &str| {
        let other = Place::dockerfile(&format!("FROM busybox\nRUN echo {version} > /version\n"));
        other.build(&format!("--push -t {base}"));
    };
    push_base("1");
    let dockerfile = format!(
        "FROM {base}\nWORKDIR /work\nCOPY src /src\nARG VERSION=1\nENV MODE=fast\nENV API_TOKEN=secret-value-1\n\
         RUN --mount=type=secret,id=one,required=false --mount=type=bind,source=src/b.c,target=/b cat /src/a.c /b\n\
         RUN echo last\n"
    );
    place.write("Dockerfile", &dockerfile);
    let run = "cat /src/a.c";
    let first = place.says("", "WORKDIR", "never built here", &[]);
    assert!(!first.text.contains("follows"), "{}", first.text);
    let explained = place.explained("");
    assert_eq!(explained["outcome"], "done");
    assert!(explained["steps"].as_array().unwrap().iter().all(|s| s["status"] == "miss"), "{explained:#}");

    // A hit says nothing.
    assert!(!place.build("").text.contains("cache miss"));
    assert_eq!(place.step("COPY src")["status"], "hit");

    // Files: content, several, mode, new, gone; and one that is only mounted.
    place.write("src/a.c", "2");
    let log = place.says("", "COPY src", "src/a.c changed", &["file"]);
    assert!(log.text.contains("cache miss: follows [3/5] COPY src /src"), "{}", log.text);
    place.write("src/a.c", "3");
    place.write("src/c.c", "3");
    place.write("src/d.c", "3");
    place.says("", "COPY src", "src/a.c changed and 2 more files", &["file", "file", "file"]);
    fs::set_permissions(place.context().join("src/c.c"), Permissions::from_mode(0o755)).unwrap();
    place.says("", "COPY src", "mode of src/c.c changed from 644 to 755", &["file"]);
    fs::remove_file(place.context().join("src/c.c")).unwrap();
    place.says("", "COPY src", "src/c.c was removed", &["file"]);
    place.write("src/sub/new.c", "1");
    place.says("", "COPY src", "src/sub/new.c was added", &["file"]);
    place.write("src/b.c", "2");
    place.says("", run, "src/b.c changed (mounted at /b)", &["file", "step"]);

    // Arguments, variables, instructions, mounts, settings: each against the build before.
    let vary = |from: &str, to: &str, words: &str, step: &str, reason: &str, kinds: &[&str]| {
        place.write("Dockerfile", &dockerfile);
        place.build("");
        let changed = dockerfile.replace(from, to);
        assert!(from.is_empty() || changed != dockerfile);
        place.write("Dockerfile", changed);
        place.says(words, step, reason, kinds);
    };
    vary("", "", "--build-arg VERSION=2", run, "build arg VERSION changed", &["build-arg"]);
    let change = &place.step(run)["changes"][0];
    assert_eq!((change["old"].as_str(), change["new"].as_str()), (Some("1"), Some("2")));
    vary("MODE=fast", "MODE=slow", "", run, "variable MODE changed", &["env"]);
    vary("RUN echo last", "RUN echo other", "", "RUN echo other", "the instruction changed", &["instruction"]);
    assert_eq!(place.step("RUN echo other")["changes"][0]["old"], "RUN echo last");
    vary("COPY src /src", "COPY src /src2", "", "COPY src", "the instruction changed", &["instruction"]);
    vary("RUN echo last", "RUN echo last\nRUN echo more", "", "echo more", "a new step, never built here", &[]);
    let moved = "id of the secret mount changed from one to two";
    vary("id=one", "id=two", "", run, moved, &["secret", "mount"]);
    vary(",target=/b", ",target=/b,rw", "", run, "options of the mount at /b changed", &["mount"]);
    let more = "RUN --mount=type=tmpfs,target=/t --mount=type=secret";
    vary("RUN --mount=type=secret", more, "", run, "tmpfs mount at /t was added", &["mount"]);
    vary("", "", "--add-host a:127.0.0.1", run, "--add-host changed", &["setting"]);
    vary("WORKDIR /work", "WORKDIR /other", "", "RUN echo last", "WORKDIR changed", &["setting", "step"]);
    vary("", "", "--no-cache", "COPY src", "--no-cache", &[]);
    vary("RUN echo last", "RUN exit 7", "", "RUN exit 7", "the instruction changed", &["instruction"]);
    assert_eq!(place.step("RUN exit 7")["status"], "failed");
    place.says("", "RUN exit 7", "it failed the last time", &[]);

    // The value of what is named like a secret is nowhere.
    vary("secret-value-1", "secret-value-2", "", run, "variable API_TOKEN changed", &["env"]);
    for text in [place.explained("").to_string(), place.cooperage("explain"), place.cooperage("history inspect")] {
        assert!(text.contains("API_TOKEN") && !text.contains("secret-value"), "{text}");
    }

    // The base image moved; what was pruned; what nothing needs.
    place.write("Dockerfile", &dockerfile);
    place.build("");
    push_base("2");
    place.says("", "WORKDIR", &format!("base image {base} changed"), &["base-image"]);
    place.cooperage("cache prune --all");
    place.says("", "COPY src", "its result is no longer in the store", &[]);
    place.write("Dockerfile", "FROM busybox AS made\nRUN echo 1 > /1\nFROM scratch\nCOPY --from=made /1 /1\n");
    place.build("");
    place.build("");
    assert_eq!(place.step("RUN echo 1")["status"], "unneeded");
    assert_eq!(place.step("COPY --from=made")["status"], "hit");
}

/// Builds are compared with what is like them, and any two with each other.
#[test]
fn builds_are_found_and_compared() {
    let place = Place::dockerfile("FROM busybox\nRUN echo 1\nRUN echo 2\n");
    place.build("-t first");
    // Another directory with the same steps, as every run of a CI has it.
    let other = Place::new();
    let log = {
        other.write("Dockerfile", "FROM busybox\nRUN echo 1\nRUN echo 2 and 3\n");
        let mut command = place.command("-t second");
        super::support::run(command.arg(other.context()).env("UNUSED", ""))
    };
    assert_eq!(log.code, Some(2), "two contexts: {}", log.text);
    fs::rename(place.context(), place.path("moved")).unwrap();
    fs::create_dir(place.context()).unwrap();
    place.write("Dockerfile", "FROM busybox\nRUN echo 1\nRUN echo 2 and 3\n");
    place.says("-t second", "RUN echo 2", "the instruction changed", &["instruction"]);

    let list = place.cooperage("history ls");
    let ids: Vec<&str> = list.lines().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(ids.len(), 2, "{list}");
    assert_eq!(list, place.cooperage("explain ls"));
    let compared = place.explained(&format!("{} {}", ids[1], &ids[0][..11]));
    let status: Vec<&str> =
        compared["steps"].as_array().unwrap().iter().map(|s| s["status"].as_str().unwrap()).collect();
    assert_eq!((compared["against"].as_str(), status), (Some(ids[1]), vec!["same", "differs"]));
    let text = place.cooperage("explain ^1 ^0 --step 2/3");
    assert!(text.contains("\n  compared with build "), "{text}");
    let steps = place.cooperage("explain --step 3/3");
    insta::assert_snapshot!(normal(&steps), @r"
    Build: 1 hit, 1 miss
      context
      Dockerfile
      compared with build ID

    miss      [3/3] RUN echo 2 and 3
                the instruction changed
                    - RUN echo 2
                    + RUN echo 2 and 3
    ");
    let error = |words: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooperage"));
        let output = command.args(words.split_whitespace()).arg("--root").arg(place.store()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words}");
        String::from_utf8(output.stderr).unwrap().replace(ids[0], "ID")
    };
    insta::assert_snapshot!(error("explain zzz"), @r"
    error: there is no build zzz in the store
      hint: `cooperage history ls` lists the builds
    ");
    insta::assert_snapshot!(error("explain --step NOTHING"), @r#"
    error: build ID has no step with "NOTHING" in its line
      hint: lines look like this: [2/3] RUN echo 1
    "#);
    assert_eq!(place.cooperage(&format!("history rm {}", ids[0])), "Forgot 1 build\n");
    assert_eq!(place.cooperage("history rm --all"), "Forgot 1 build\n");
    insta::assert_snapshot!(error("explain"), @r"
    error: the store has no record of a build
      hint: builds are recorded in the store that they use: --root names another
    ");
}

/// Without what is different in every run.
fn normal(text: &str) -> String {
    let mut lines = text.lines();
    let heading = lines.next().unwrap_or_default();
    let (_, counts) = heading.split_once(": ").unwrap();
    let rest: Vec<String> = lines
        .map(|line| match line.split_once("compared with build") {
            Some((head, _)) => format!("{head}compared with build ID"),
            None if line.contains("  /") => line.split("  /").next().unwrap().trim_end().to_owned(),
            None => line.split("  (").next().unwrap().to_owned(),
        })
        .collect();
    format!("Build: {counts}\n{}", rest.join("\n"))
}

/// A trace of a real build: every step, what it did inside of it, also where the build fails.
#[test]
fn a_trace_shows_what_each_step_did() {
    let place = Place::new().file("src/a", "1");
    let name = registry().reference("traced:1");
    place.write("Dockerfile", "FROM busybox\nCOPY src /src\nRUN echo 1 > /one && sleep 0.02\nRUN cat /src/a /one\n");
    let trace = |words: &str| -> (Log, Vec<(String, String)>) {
        let path = place.path("trace.json");
        let log = place.attempt(&format!("{words} --timings --trace {}", path.display()));
        let trace: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        let row = |tid: &Value| {
            let named = events.iter().find(|e| e["name"] == "thread_name" && e["tid"] == *tid).unwrap();
            named["args"]["name"].as_str().unwrap().to_owned()
        };
        let slices = events.iter().filter(|e| e["ph"] == "X");
        (log, slices.map(|e| (row(&e["tid"]), e["name"].as_str().unwrap().to_owned())).collect())
    };
    let (log, slices) = trace(&format!("--push -t {name}"));
    assert_eq!(log.code, Some(0), "{}", log.text);
    assert!(log.text.contains("Where the time went: "), "{}", log.text);
    let has = |step: &str, what: &str| slices.iter().any(|(row, name)| row.contains(step) && name.contains(what));
    for (step, what) in [
        ("COPY src", "scan"),
        ("COPY src", "hash"),
        ("COPY src", "write"),
        ("RUN echo 1", "run"),
        ("RUN echo 1", "diff"),
        ("RUN cat", "run"),
        ("", "unpack"),
        ("", "pull"),
        ("", "push"),
        ("FROM", "FROM"),
        ("COPY src", "COPY src"),
        ("exporting", "exporting"),
    ] {
        assert!(has(step, what), "no {what:?} in {step:?}: {slices:#?}");
    }
    place.write("Dockerfile", "FROM busybox\nRUN exit 3\n");
    let (log, slices) = trace("");
    assert_eq!(log.code, Some(1));
    assert!(slices.iter().any(|(_, name)| name == "run"), "{slices:#?}");
    place.write("Dockerfile", "FROM scratch\nCOPY src /\n");
    let log = place.attempt("--trace /nowhere/trace.json");
    assert_eq!(log.code, Some(1));
    assert!(log.text.contains("error: --trace /nowhere/trace.json: No such file or directory"), "{}", log.text);
}
