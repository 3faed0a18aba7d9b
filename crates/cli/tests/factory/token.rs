//! Who sees the token: the git server, the forge's API, and git, which is handed it in its environment. Nobody finds it
//! in the process list, in what is printed, in files of this machine or in what is pushed. Pull requests of the factory
//! are opened on the way.
#[path = "../../../gitops/tests/it/http.rs"]
mod http;

use super::{Place, holds};
use http::Request;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

const TOKEN: &str = "ghp_seen_by_git_alone_9876543210";
const NPM: &str = "npm_seen_by_one_step_0123456789";
const HOOK: &str = "hook-p4th-that-is-a-secret";

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk.iter().enumerate().fold(0_u32, |bits, (i, byte)| bits | u32::from(*byte) << (16 - 8 * i));
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i) & 63) as usize];
            out.push(if i > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    out
}

/// `git http-backend` behind a server that wants the token.
fn git_server(root: PathBuf) -> String {
    let wanted = format!("Basic {}", base64(&format!("x-access-token:{TOKEN}"))).to_lowercase();
    http::serve(move |request: Request| {
        let given = request.headers.get("authorization").map(|header| header.to_lowercase());
        if given.as_ref() != Some(&wanted) {
            return (401, "WWW-Authenticate: Basic realm=\"x\"\r\n".into(), Vec::new());
        }
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let header = |name: &str| request.headers.get(name).cloned().unwrap_or_default();
        let mut command = Command::new("git");
        command.arg("http-backend").env("GIT_PROJECT_ROOT", &root).env("GIT_HTTP_EXPORT_ALL", "1");
        command.env("PATH_INFO", path).env("QUERY_STRING", query).env("REQUEST_METHOD", &request.method);
        command.env("CONTENT_TYPE", header("content-type")).env("CONTENT_LENGTH", request.body.len().to_string());
        command.env("HTTP_CONTENT_ENCODING", header("content-encoding")).env("REMOTE_USER", "bot");
        command.env("GIT_PROTOCOL", header("git-protocol")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || stdin.write_all(&request.body));
        let output = child.wait_with_output().unwrap().stdout;
        let _ = writer.join();
        let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let headers = String::from_utf8_lossy(&output[..end + 2]).into_owned();
        let status = headers.lines().find_map(|line| line.strip_prefix("Status: ")?.get(..3)?.parse().ok());
        (status.unwrap_or(200), headers, output[end + 4..].to_vec())
    })
}

/// GitHub's API as far as pull requests go, and a webhook beside it; gives what it was asked.
fn github() -> (String, Arc<Mutex<Vec<String>>>) {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&asked);
    let url = http::serve(move |request: Request| {
        let mut log = log.lock().unwrap();
        let open = log.iter().any(|line| line.starts_with("POST /repos/o/app/pulls "));
        if request.path.contains(HOOK) {
            log.push("hook".into());
            return (204, String::new(), Vec::new());
        }
        let answer = |status: u16, value: &Value| (status, String::new(), value.to_string().into_bytes());
        if request.headers.get("authorization") != Some(&format!("Bearer {TOKEN}")) {
            return answer(401, &json!({ "message": "Bad credentials" }));
        }
        log.push(format!("{} {} {}", request.method, request.path, String::from_utf8_lossy(&request.body)));
        let one = json!({ "number": 7, "html_url": "https://github.example/o/app/pull/7" });
        match request.method.as_str() {
            "GET" => answer(200, &if open { json!([one]) } else { json!([]) }),
            _ => answer(201, &one),
        }
    });
    (url, asked)
}

/// What the process list showed.
#[derive(Debug, Default)]
struct Seen {
    /// Processes that had what they must not have.
    wrong: BTreeSet<String>,
    /// Looks at a git with the token.
    git: usize,
    /// Looks at a step.
    steps: usize,
}

/// Looks at all processes until it is told to stop.
fn watch(stop: &AtomicBool, secrets: &[&str]) -> Seen {
    let program = Path::new(env!("CARGO_BIN_EXE_cooperage"));
    let holds = |bytes: &[u8]| {
        secrets.iter().any(|secret| bytes.windows(secret.len()).any(|window| window == secret.as_bytes()))
    };
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let dir = entry.path();
            let read = |name: &str| std::fs::read(dir.join(name)).unwrap_or_default();
            let (exe, line) = (std::fs::read_link(dir.join("exe")), read("cmdline"));
            let environ = read("environ");
            // A process that became another one meanwhile says nothing.
            let (Ok(exe), true) = (exe, line == read("cmdline")) else { continue };
            if std::fs::read_link(dir.join("exe")).ok().as_ref() != Some(&exe) {
                continue;
            }
            let text = String::from_utf8_lossy(&line).replace('\0', " ");
            if holds(&line) {
                seen.wrong.insert(format!("command line: {text}"));
            }
            seen.steps += usize::from(text.contains("a-step-that-takes-a-while"));
            if !holds(&environ) {
                continue;
            }
            let git = exe.file_name().is_some_and(|name| name.to_string_lossy().starts_with("git"));
            let ours = exe == program && text.starts_with(&format!("{} factory ", program.display()));
            seen.git += usize::from(git);
            if !git && !ours {
                seen.wrong.insert(format!("environment of {}: {text}", exe.display()));
            }
        }
    }
    seen
}

/// Files below a directory that hold one of the secrets, also behind gzip.
fn leaks(dir: &Path, secrets: &[&str]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = secrets.iter().flat_map(|secret| holds(dir, secret.as_bytes())).collect();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for path in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            let meta = std::fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                dirs.push(path);
            } else if meta.is_file() && std::fs::read(&path).unwrap().starts_with(&[0x1f, 0x8b]) {
                let plain =
                    Command::new("gzip").arg("-dc").stdin(std::fs::File::open(&path).unwrap()).output().unwrap();
                let hit = |secret: &&&str| plain.stdout.windows(secret.len()).any(|window| window == secret.as_bytes());
                found.extend(secrets.iter().find(hit).map(|_| path.clone()));
            }
        }
    }
    found
}

/// A repository behind the server, and an image whose manifests want `request`.
fn prepare(place: &Place, dockerfile: &str, request: &str) -> String {
    place.write("work/api/Dockerfile", dockerfile);
    place.commit("a step");
    place.git(&["clone", "-q", "--bare", "app.git", "srv/o/app.git"], ".");
    for setting in ["http.receivepack", "uploadpack.allowFilter", "receive.advertisePushOptions"] {
        place.git(&["-C", "srv/o/app.git", "config", setting, "true"], ".");
    }
    let url = format!("{}/o/app.git", git_server(place.path("srv")));
    let images = format!(
        "- name: api\n  registry: {}\n  repository: o/api\n  source: {{url: '{url}', dockerfile: api/Dockerfile}}\n  \
         secrets: [npm]\n  sbom: {{format: spdx}}\n  notify: [{{urlEnv: HOOK, on: [success, failure]}}]\n  \
         updates: [{{path: k8s/kustomization.yml, message: '{{name}} {{version}}', pullRequest: {request}}}]\n",
        place.registry.host()
    );
    place.write("factory/images.yaml", &images);
    url
}

fn run(place: &Place, words: &[&str], api: &str, token: &str) -> (Output, String) {
    let mut command = place.command(words);
    command
        .env("GIT_AUTH_TOKEN", token)
        .env("npm", NPM)
        .env("HOOK", format!("{api}/{HOOK}"))
        .env("GITHUB_API_URL", api);
    let output = command.output().unwrap();
    let text = String::from_utf8([output.stdout.clone(), output.stderr.clone()].concat()).unwrap();
    (output, text)
}

#[test]
fn a_token_is_seen_by_git_and_the_forge_alone() {
    let place = Place::new();
    let busybox = testkit::bases::BUSYBOX.push(&place.registry).unwrap();
    let dockerfile = format!(
        "FROM {busybox}\nRUN --mount=type=secret,id=npm test -s /run/secrets/npm && env > /env && \
         sh -c ': a-step-that-takes-a-while; i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done'\nCOPY api/server.js /\n"
    );
    prepare(&place, &dockerfile, "{provider: github, labels: [image], title: 'deploy {name} {version}'}");
    let encoded = base64(&format!("x-access-token:{TOKEN}"));
    let secrets = [TOKEN, &encoded, NPM, HOOK];
    let (api, asked) = github();
    let stop = AtomicBool::new(false);
    let (ended, seen) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(&stop, &secrets));
        let ended: Vec<_> = [
            (&["factory", "discover"][..], TOKEN),
            (&["factory", "build", "api"], TOKEN),
            (&["factory", "build", "api"], TOKEN),
            (&["factory", "logs", "api"], TOKEN),
            (&["factory", "build", "api"], "ghp_of_somebody_else"),
        ]
        .map(|(words, token)| run(&place, words, &api, token))
        .into();
        stop.store(true, Ordering::Relaxed);
        (ended, watcher.join().unwrap())
    });
    for (at, (output, text)) in ended.iter().enumerate() {
        assert_eq!(output.status.success(), at < 4, "{at}: {text}");
        let printed: Vec<&&str> =
            secrets.iter().chain(&["ghp_of_somebody_else"]).filter(|secret| text.contains(**secret)).collect();
        assert_eq!(printed, Vec::<&&str>::new(), "printed by {at}");
    }
    assert_eq!(seen.wrong, BTreeSet::new());
    assert!(seen.git > 0 && seen.steps > 0, "the watcher saw what it is there for: {seen:?}");
    assert_eq!(leaks(place.dir.path(), &secrets), Vec::<PathBuf>::new(), "files here");
    assert_eq!(leaks(&place.registry.storage(), &secrets), Vec::<PathBuf>::new(), "what was pushed");

    // The pull request: opened once, brought up to date after that; nothing went to main.
    assert!(ended[1].1.contains("api update done") && ended[1].1.contains("/o/app/pull/7"), "{}", ended[1].1);
    let asked: Vec<String> = asked.lock().unwrap().iter().filter(|line| *line != "hook").cloned().collect();
    let verbs: Vec<&str> = asked.iter().map(|line| line.split(['?', '{']).next().unwrap().trim()).collect();
    let labels = "POST /repos/o/app/issues/7/labels";
    let (look, open, change) = ("GET /repos/o/app/pulls", "POST /repos/o/app/pulls", "PATCH /repos/o/app/pulls/7");
    assert_eq!(verbs, [look, open, labels, look, change, labels], "{asked:#?}");
    assert!(asked[1].contains(r#""title":"deploy api 0.1.0""#) && asked[1].contains(r#""head":"cooperage/api""#));
    let show = |branch: &str| place.git(&["show", &format!("{branch}:k8s/kustomization.yml")], "srv/o/app.git");
    assert!(show("main").contains("newTag: old\n") && show("cooperage/api").contains("newTag: 0.1.1\n"));
    assert_eq!(place.git(&["rev-list", "--count", "main..cooperage/api"], "srv/o/app.git").trim(), "1");
}

/// On GitLab the push itself asks for the merge request.
#[test]
fn a_merge_request_by_the_push() {
    let place = Place::new();
    let dockerfile = "FROM scratch\nCOPY api/server.js /\n";
    let url = prepare(&place, dockerfile, "{provider: gitlab, branch: 'deploy/{name}-{version}', labels: [image]}");
    let hook = "#!/bin/sh\nfor i in $(seq 0 $((GIT_PUSH_OPTION_COUNT - 1))); do eval echo \"\\\"\\$GIT_PUSH_OPTION_$i\\\"\"; done > options\n\
                echo 'View merge request for deploy/api-0.1.0:'; echo '  https://gitlab.example/o/app/-/merge_requests/3'\n";
    place.write("srv/o/app.git/hooks/pre-receive", hook);
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(place.path("srv/o/app.git/hooks/pre-receive"), mode).unwrap();
    let (output, text) = run(&place, &["factory", "build", "api"], "http://127.0.0.1:9", TOKEN);
    assert!(output.status.success() && text.contains("https://gitlab.example/o/app/-/merge_requests/3"), "{text}");
    let options = place.read("srv/o/app.git/options");
    for option in [
        "merge_request.create\n",
        "merge_request.target=main\n",
        "merge_request.title=api 0.1.0\n",
        "merge_request.remove_source_branch\n",
        "merge_request.label=image\n",
    ] {
        assert!(options.contains(option), "{option}: {options}");
    }
    assert!(
        place.git(&["show", "deploy/api-0.1.0:k8s/kustomization.yml"], "srv/o/app.git").contains("newTag: 0.1.0\n")
    );
    // Without a word whose server it is, that is asked for; --pull-request asks for one where images.yaml does not.
    let images = place.read("factory/images.yaml");
    let plain = images.replace("{provider: gitlab, branch: 'deploy/{name}-{version}', labels: [image]}", "false");
    assert_ne!(images, plain);
    place.write("factory/images.yaml", &images.replace("provider: gitlab, ", ""));
    let (_, text) = run(&place, &["factory", "build", "api"], "http://127.0.0.1:9", TOKEN);
    assert!(text.contains(&format!("no pull request for {url}: whose server")), "{text}");
    assert!(text.contains("pullRequest: {provider: github}"), "{text}");
    assert!(text.contains("error: api: configure: ") && !text.contains("api build"), "before anything is out: {text}");
    place.write("factory/images.yaml", &plain.replace(", pullRequest: false", ""));
    let (_, text) = run(&place, &["factory", "build", "api", "--pull-request"], "http://127.0.0.1:9", TOKEN);
    assert!(text.contains("whose server"), "{text}");
}
