//! `cooperage remote` against a server that answers as GitHub does. GitHub itself cannot be had in a test; what the
//! server answers is the documented form, cut down to what is read.
#[path = "../../../gitops/tests/it/http.rs"]
mod http;

use crate::{Place, TOKEN};
use http::Request;
use serde_json::{Value, json};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// What a server has seen.
type Seen = Arc<Mutex<Vec<String>>>;

/// Answers by a function of the request (its path without `/repos/o/r`) and of how often its path was asked before.
fn github(answer: impl Fn(&Request, &str, usize) -> (u16, Value) + Send + Sync + 'static) -> (String, Seen) {
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    let url = http::serve(move |request| {
        let path = request.path.split('?').next().unwrap().to_owned();
        let path = path.strip_prefix("/repos/o/r").unwrap_or(&path).to_owned();
        let key = format!("{} {path}", request.method);
        let before = {
            let mut log = log.lock().unwrap();
            let before = log.iter().filter(|entry| **entry == key).count();
            log.push(key);
            before
        };
        if request.headers.get("authorization").map(String::as_str) != Some(&format!("Bearer {TOKEN}")) {
            return (401, String::new(), br#"{"message": "Bad credentials"}"#.to_vec());
        }
        let (status, body) = answer(&request, &path, before);
        let mut headers: String = body["headers"].as_str().unwrap_or_default().to_owned();
        if let Some(text) = body.as_str() {
            return (status, headers, text.as_bytes().to_vec());
        }
        if status == 200 {
            headers.push_str("Content-Type: application/json\r\n");
        }
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        (status, headers, body)
    });
    (url, seen)
}

fn run(id: u64, status: &str, conclusion: Value, actor: &str) -> Value {
    json!({
        "id": id, "run_number": 12, "run_attempt": 1, "name": "Build images", "display_title": "Fix the thing",
        "event": "workflow_dispatch", "head_branch": "main", "head_sha": "0123456789abcdef0123456789abcdef01234567",
        "triggering_actor": { "login": actor }, "status": status, "conclusion": conclusion,
        "html_url": format!("https://github.com/o/r/actions/runs/{id}"), "created_at": "2026-11-21T10:00:00Z",
        "run_started_at": "2026-11-21T10:00:01Z", "updated_at": "2026-11-21T10:01:06Z",
    })
}

fn step(number: u64, name: &str, status: &str, conclusion: Value, from: &str, to: &str) -> Value {
    json!({
        "number": number, "name": name, "status": status, "conclusion": conclusion,
        "started_at": format!("2026-11-21T10:00:{from}Z"), "completed_at": format!("2026-11-21T10:00:{to}Z"),
    })
}

/// The jobs of a run that fails in its second step.
fn jobs(ended: bool) -> Value {
    let no = Value::Null;
    let steps = match ended {
        false => vec![
            step(1, "Set up job", "completed", json!("success"), "01", "02"),
            step(2, "Build", "in_progress", no.clone(), "02", "02"),
        ],
        true => vec![
            step(1, "Set up job", "completed", json!("success"), "01", "02"),
            step(2, "Build", "completed", json!("failure"), "02", "09"),
            step(3, "Push", "completed", json!("skipped"), "09", "09"),
        ],
    };
    let job = json!({
        "id": 5, "name": "build (api)", "status": if ended { "completed" } else { "in_progress" },
        "conclusion": if ended { json!("failure") } else { no }, "html_url": "https://github.com/o/r/job/5",
        "started_at": "2026-11-21T10:00:01Z", "completed_at": "2026-11-21T10:00:10Z", "steps": steps,
    });
    json!({ "total_count": 1, "jobs": [job] })
}

const LOG: &str = "2026-11-21T10:00:01.0Z Current runner version\n2026-11-21T10:00:02.1Z ##[group]Run make\n\
    2026-11-21T10:00:02.1Z ##[endgroup]\n2026-11-21T10:00:08.0Z \u{1b}[31mcc: no\u{1b}[0m\n\
    2026-11-21T10:00:09.0Z ##[error]Process completed with exit code 2.\n";

fn workflows() -> Value {
    let one = |id: u64, file: &str, name: &str, state: &str| json!({ "id": id, "path": format!(".github/workflows/{file}"), "name": name, "state": state });
    json!({ "workflows": [one(1, "build.yml", "Build images", "active"), one(2, "old.yml", "Old", "disabled_manually")] })
}

/// A repository whose run 7 fails.
fn failing() -> (String, Seen) {
    github(|request, path, before| match (request.method.as_str(), path) {
        ("GET", "") => (200, json!({ "default_branch": "main" })),
        ("GET", "/actions/workflows") => (200, workflows()),
        ("GET", "/actions/workflows/build.yml/runs" | "/actions/runs") => (
            200,
            json!({ "workflow_runs": [run(7, "completed", json!("failure"), "me"), run(6, "completed", json!("success"), "me")] }),
        ),
        ("POST", "/actions/workflows/build.yml/dispatches") => {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            assert_eq!(body, json!({ "ref": "main", "inputs": { "version": "1=2" }, "return_run_details": true }));
            (200, json!({ "workflow_run_id": 7 }))
        }
        // The run is known a moment later.
        ("GET", "/actions/runs/7") if before == 0 => (404, json!({ "message": "Not Found" })),
        ("GET", "/actions/runs/7") if before < 3 => (200, run(7, "in_progress", Value::Null, "me")),
        ("GET", "/actions/runs/7") => (200, run(7, "completed", json!("failure"), "me")),
        ("GET", "/actions/runs/7/attempts/1/jobs") => (200, jobs(before > 1)),
        ("GET", "/actions/jobs/5/logs") => (200, json!(LOG)),
        ("POST", "/actions/runs/7/rerun-failed-jobs") => (201, json!({})),
        other => panic!("{other:?}"),
    })
}

fn place(url: &str) -> Place {
    Place::new().var("GITHUB_API_URL", url).var("GITHUB_TOKEN", TOKEN).var("GH_REPO", "o/r")
}

fn all((code, out, err): crate::Ended) -> String {
    format!("exit {}\n{out}---\n{err}", code.unwrap())
}

#[test]
fn dispatched_followed_and_ended_as_the_run_ended() {
    let (url, _) = failing();
    let words = ["remote", "dispatch", "Build images", "-i", "version=1=2", "--watch", "--interval", "0.01"];
    insta::assert_snapshot!(all(place(&url).run(&words)), @"
    exit 1
    run 7: in_progress · Build images #12 · Fix the thing · main 0123456 · workflow_dispatch
    build (api): in_progress
    build (api) / Set up job: success (1s)
    build (api) / Build: in_progress
    build (api) / Build: failure (7s)
    build (api) / Push: skipped (0s)
    build (api): failure (9s)
    run 7: failure (1m 5s)
    ---
    https://github.com/o/r/actions/runs/7
    build (api) / Build:
      ▸ Run make
      cc: no
      error: Process completed with exit code 2.
    error: run 7 ended with failure
      hint: cooperage remote logs 7 shows what failed
      hint: cooperage remote rerun 7 --failed runs it again
    ");
    let (url, _) = failing();
    let place = place(&url);
    let (code, out, _) = place.run(&[&words[..], &["--format", "json"]].concat());
    assert_eq!(code, Some(1));
    let kinds: Vec<String> = out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["run", "job", "step", "step", "step", "step", "job", "run"]);
    let (_, _, tree) = place.run(&["remote", "watch", "7", "--format", "tree"]);
    assert!(tree.contains("✗ build (api) (9s)\n    ✓ Set up job (1s)\n    ✗ Build (7s)\n    - Push\n"), "{tree}");
}

#[test]
fn runs_jobs_and_logs() {
    let (url, seen) = failing();
    let place = place(&url);
    insta::assert_snapshot!(place.ok(&["remote", "status"]), @"
    RUN   RESULT    WORKFLOW       BRANCH   EVENT               BEGAN              TOOK    TITLE
    7     failure   Build images   main     workflow_dispatch   2026-11-21 10:00   1m 5s   Fix the thing
    6     success   Build images   main     workflow_dispatch   2026-11-21 10:00   1m 5s   Fix the thing
    ");
    place.run(&["remote", "status", "7"]);
    for _ in 0..3 {
        place.run(&["remote", "status", "7"]);
    }
    insta::assert_snapshot!(place.ok(&["remote", "status", "7"]), @"
    ✗ Build images #12 · Fix the thing · main 0123456 · workflow_dispatch (1m 5s)
      ✗ build (api) (9s)
        ✓ Set up job (1s)
        ✗ Build (7s)
        - Push
    https://github.com/o/r/actions/runs/7
    ");
    insta::assert_snapshot!(place.ok(&["remote", "logs"]), @"
    === build (api) / Build ===
    ▸ Run make
    cc: no
    error: Process completed with exit code 2.
    ");
    insta::assert_snapshot!(place.ok(&["remote", "logs", "7", "--all", "--timestamps"]), @"
    === build (api) ===
    10:00:01 Current runner version
    10:00:02 ▸ Run make
    10:00:08 cc: no
    10:00:09 error: Process completed with exit code 2.
    ");
    insta::assert_snapshot!(place.fails(&["remote", "logs", "7", "--job", "web"]), @r#"
    exit 2
    error: run 7 has no job "web"
      hint: there are build (api)
    "#);
    insta::assert_snapshot!(place.ok(&["remote", "rerun", "7", "--failed"]), @"run 7 runs again: https://github.com/o/r/actions/runs/7");
    assert!(seen.lock().unwrap().contains(&"POST /actions/runs/7/rerun-failed-jobs".to_owned()));
    let json: Value = serde_json::from_str(&place.ok(&["remote", "status", "7", "--format", "json"])).unwrap();
    assert_eq!(json["jobs"][0]["steps"][1]["conclusion"], "failure");
}

/// A server of one's own that does not say which run was dispatched, while somebody else dispatches too.
#[test]
fn the_run_is_found_where_the_server_does_not_say_which_it_is() {
    let (url, _) = github(|request, path, before| match (request.method.as_str(), path) {
        ("GET", "/user") => (200, json!({ "login": "me" })),
        ("GET", "/actions/workflows") => (200, workflows()),
        ("GET", "/actions/workflows/build.yml/runs") => {
            assert!(
                request.path.contains("branch=rel") && request.path.contains("event=workflow_dispatch"),
                "{}",
                request.path
            );
            let mut list = vec![run(3, "completed", json!("success"), "me")];
            if before > 0 {
                list.insert(0, run(4, "queued", Value::Null, "somebody"));
            }
            if before > 1 {
                list.insert(0, run(5, "queued", Value::Null, "me"));
            }
            (200, json!({ "workflow_runs": list }))
        }
        ("POST", _) => match serde_json::from_slice::<Value>(&request.body).unwrap()["return_run_details"].as_bool() {
            Some(true) => {
                (422, json!({ "message": "Invalid request.\n\n\"return_run_details\" is not a permitted key." }))
            }
            _ => (204, Value::Null),
        },
        other => panic!("{other:?}"),
    });
    insta::assert_snapshot!(all(place(&url).run(&["remote", "dispatch", "build.yml", "--ref", "rel"])), @"
    exit 0
    https://github.com/o/r/actions/runs/5
    ---
    run 5 of build.yml on rel; to follow it: cooperage remote watch 5
    ");
}

#[test]
fn limits_and_failures_that_pass() {
    let (url, seen) = github(|_, _, before| match before {
        0 => (502, json!("bad gateway")),
        1 => (403, json!({ "headers": "retry-after: 0\r\n", "message": "You have exceeded a secondary rate limit" })),
        _ => (200, json!({ "workflow_runs": [] })),
    });
    assert!(all(place(&url).run(&["remote", "status"])).contains("there are no such runs"));
    assert_eq!(seen.lock().unwrap().len(), 3);
    let (url, seen) = github(|_, _, _| {
        (
            403,
            json!({ "headers": "x-ratelimit-remaining: 0\r\nx-ratelimit-reset: 99999999999\r\n", "message": "API rate limit exceeded" }),
        )
    });
    let text = place(&url).fails(&["remote", "status"]);
    assert!(text.contains("the limit of requests is reached") && text.contains("--interval"), "{text}");
    assert_eq!(seen.lock().unwrap().len(), 1);
}

/// What GitHub refuses, with what to do about it.
#[test]
fn refused() {
    let text = |status: u16, message: &'static str| {
        let (url, _) = github(move |request, path, _| match (request.method.as_str(), path) {
            ("GET", "") => (200, json!({ "default_branch": "main" })),
            ("GET", "/actions/workflows") => (200, workflows()),
            ("GET", _) => (200, json!({ "workflow_runs": [] })),
            _ => (status, json!({ "message": message })),
        });
        place(&url).fails(&["remote", "dispatch", "build.yml"])
    };
    insta::assert_snapshot!(text(403, "Resource not accessible by personal access token"), @"
    exit 1
    error: cannot dispatch build.yml: GitHub says 403: Resource not accessible by personal access token
      hint: the token may not: a fine-grained one needs the permission Actions: write for o/r, a classic one the scope repo
    ");
    insta::assert_snapshot!(text(403, "Resource not accessible by integration"), @"
    exit 1
    error: cannot dispatch build.yml: GitHub says 403: Resource not accessible by integration
      hint: the token of this job may not: set permissions: {actions: write} in its workflow
    ");
    insta::assert_snapshot!(text(404, "Not Found"), @"
    exit 1
    error: cannot dispatch build.yml: GitHub says 404: Not Found
      hint: check the name o/r; it is the repository's or that of --repo
      hint: where it exists, the token cannot see it: it needs the permission Actions: write
    ");
    insta::assert_snapshot!(text(422, "Workflow does not have 'workflow_dispatch' trigger"), @"
    exit 1
    error: cannot dispatch build.yml: GitHub says 422: Workflow does not have 'workflow_dispatch' trigger
      hint: add workflow_dispatch: below on: in the workflow, on the branch that is dispatched and on the default branch
    ");
    insta::assert_snapshot!(text(422, "Unexpected inputs provided: [\"versoin\"]"), @r#"
    exit 1
    error: cannot dispatch build.yml: GitHub says 422: Unexpected inputs provided: ["versoin"]
      hint: the inputs are listed below on.workflow_dispatch.inputs in the workflow; give each with --input NAME=VALUE
    "#);
    insta::assert_snapshot!(text(422, "No ref found for: main"), @"
    exit 1
    error: cannot dispatch build.yml: GitHub says 422: No ref found for: main
      hint: push the branch first, or name another with --ref
    ");
    insta::assert_snapshot!(text(500, "Oops"), @"
    exit 1
    error: cannot dispatch build.yml: GitHub says 500: Oops
      hint: it may have been done all the same: cooperage remote status
    ");
    let (url, _) = failing();
    insta::assert_snapshot!(place(&url).var("GITHUB_TOKEN", "wrong").fails(&["remote", "status"]), @"
    exit 1
    error: cannot list the runs: GitHub says 401: Bad credentials
      hint: the token is wrong or has expired; make one at https://github.com/settings/tokens and set GITHUB_TOKEN
    ");
    insta::assert_snapshot!(place(&url).fails(&["remote", "dispatch", "biuld.yml"]), @r#"
    exit 2
    error: there is no workflow "biuld.yml" on the default branch
      hint: there are build.yml (Build images), old.yml (Old)
    "#);
    insta::assert_snapshot!(place(&url).fails(&["remote", "dispatch", "Old"]), @"
    exit 1
    error: the workflow old.yml is disabled
      hint: enable it on the repository's page: Actions, the workflow, Enable workflow
    ");
    insta::assert_snapshot!(place(&url).fails(&["remote", "dispatch", "build.yml", "-i", "x"]), @"
    exit 2
    error: --input x: write it as NAME=VALUE
    ");
}

#[test]
fn which_repository_and_whose_token() {
    insta::assert_snapshot!(Place::new().fails(&["remote", "status"]), @"
    exit 2
    error: which repository? There is no git remote here
      hint: name it with --repo OWNER/NAME or GH_REPO, or go into a checkout
    ");
    insta::assert_snapshot!(Place::new().fails(&["remote", "dispatch", "x", "-R", "o/r"]), @"
    exit 2
    error: GITHUB_TOKEN is not set, and GitHub does this for nobody unknown
      hint: make a fine-grained token at https://github.com/settings/personal-access-tokens with the permission Actions: write for the repository
      hint: export GITHUB_TOKEN=…, or put it into a file: cooperage --env-file .env.local remote …
    ");
    insta::assert_snapshot!(Place::new().fails(&["remote", "status", "-R", "o/r/x/y"]), @r#"
    exit 2
    error: --repo "o/r/x/y" is no repository
      hint: write OWNER/NAME or HOST/OWNER/NAME
    "#);
    insta::assert_snapshot!(Place::new().var("GITHUB_TOKEN", TOKEN).var("GITHUB_API_URL", "http://api.example").fails(&["remote", "status", "-R", "o/r"]), @"
    exit 2
    error: GITHUB_API_URL is plain HTTP: everybody on the way could read the token
      hint: write https://
    ");
    // The token of github.com does not go to the host of a git remote.
    insta::assert_snapshot!(Place::new().var("GITHUB_TOKEN", TOKEN).fails(&["remote", "dispatch", "x", "-R", "git.example/o/r"]), @"
    exit 2
    error: GH_ENTERPRISE_TOKEN is not set, and GitHub does this for nobody unknown
      hint: make a fine-grained token at https://github.com/settings/personal-access-tokens with the permission Actions: write for the repository
      hint: export GH_ENTERPRISE_TOKEN=…, or put it into a file: cooperage --env-file .env.local remote …
    ");
    if !testkit::available("which_repository_and_whose_token", &[("git", "git")]) {
        return;
    }
    let (url, seen) = failing();
    let place = Place::new().var("GITHUB_API_URL", &url).var("GITHUB_TOKEN", TOKEN);
    let git = |args: &[&str]| {
        let status =
            Command::new("git").args(args).current_dir(place.dir.path()).env("HOME", place.dir.path()).status();
        assert!(status.unwrap().success(), "{args:?}");
    };
    git(&["init", "-q", "-b", "main"]);
    git(&["remote", "add", "origin", "git@gitlab.com:o/r.git"]);
    insta::assert_snapshot!(place.fails(&["remote", "status"]), @"
    exit 2
    error: the git remote here is on gitlab.com, and remote is for GitHub Actions
      hint: where the workflows are on GitHub, name that repository with --repo OWNER/NAME
    ");
    git(&["remote", "set-url", "origin", "git@github.com:o/r.git"]);
    assert!(place.ok(&["remote", "status"]).contains("Fix the thing"));
    insta::assert_snapshot!(place.fails(&["remote", "watch", "--commit"]), @"
    exit 2
    error: --commit HEAD: there is no such commit in the checkout here
      hint: give the commit's full digest
    ");
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[test]
fn a_run_is_cancelled() {
    let (url, seen) = github(|request, path, before| match (request.method.as_str(), path) {
        ("GET", "/actions/runs/7") if before < 2 => (200, run(7, "in_progress", Value::Null, "me")),
        ("GET", "/actions/runs/7") => (200, run(7, "completed", json!("cancelled"), "me")),
        ("POST", "/actions/runs/7/cancel" | "/actions/runs/7/force-cancel") => (202, json!({})),
        other => panic!("{other:?}"),
    });
    let place = place(&url);
    insta::assert_snapshot!(place.ok(&["remote", "cancel", "7"]), @"run 7 is being cancelled: https://github.com/o/r/actions/runs/7");
    place.ok(&["remote", "cancel", "7", "--force"]);
    insta::assert_snapshot!(all(place.run(&["remote", "cancel", "7"])), @r"
    exit 0
    ---
    run 7 is over: cancelled
    ");
    let posts: Vec<String> = seen.lock().unwrap().iter().filter(|line| line.starts_with("POST")).cloned().collect();
    assert_eq!(posts, ["POST /actions/runs/7/cancel", "POST /actions/runs/7/force-cancel"]);
}
