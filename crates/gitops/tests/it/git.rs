//! Commits pushed with real git: over `git daemon` with eight who push at once, over HTTP with a token.
use crate::http::{Request, serve};
use base64::Engine as _;
use gitops::forge::{Forge, Kind, Opened, PullRequest};
use gitops::git::{Change, Commit, Credentials, Error, Git, Outcome, Person, Published, Repository, Retry, Snapshot};
use gitops::image::{ImageUpdate, Pin};
use gitops::manifest::kustomize;
use gitops::secret::Secret;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TOKEN: &str = "ghp_S3cretT0kenThatNobodyMaySee";

fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=Setup", "-c", "user.email=setup@example.org", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
}

/// A bare repository `repo.git` with one commit on `main`.
fn bare(root: &Path, files: &[(&str, &str)]) -> PathBuf {
    let (work, repo) = (root.join("work"), root.join("repo.git"));
    std::fs::create_dir_all(&work).expect("a directory");
    git(&work, &["init", "-q"]);
    for (path, text) in files {
        std::fs::create_dir_all(work.join(path).parent().expect("a parent")).expect("a directory");
        std::fs::write(work.join(path), text).expect("a file");
    }
    // The first file is a program.
    std::fs::set_permissions(work.join(files[0].0), std::fs::Permissions::from_mode(0o755)).expect("a mode");
    git(&work, &["add", "-A"]);
    git(&work, &["commit", "-q", "-m", "first"]);
    git(root, &["clone", "-q", "--bare", "work", "repo.git"]);
    git(&repo, &["config", "http.receivepack", "true"]);
    repo
}

fn show(repo: &Path, what: &str) -> String {
    let output = Command::new("git").args(["show", what]).current_dir(repo).output().expect("git runs");
    String::from_utf8(output.stdout).expect("text")
}

fn environment() -> BTreeMap<String, String> {
    ["PATH", "HOME"].into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))).collect()
}

fn open(url: &str, dir: &Path) -> Repository {
    Repository::open(Git::new(url, environment(), Credentials::None).expect("a URL"), dir).expect("a repository")
}

fn commit(message: &str) -> Commit {
    Commit {
        branch: "main".into(),
        head: None,
        message: message.into(),
        author: Person::parse("Image Bot <bot@example.org>").expect("a person"),
        committer: None,
        sign_off: false,
        push_options: vec![],
    }
}

fn put(path: &str, text: impl AsRef<[u8]>) -> Vec<Change> {
    vec![Change { path: path.into(), content: Some(text.as_ref().to_vec()) }]
}

fn tag(
    snapshot: &Snapshot<'_>,
    image: &str,
    tag: &str,
) -> Result<Vec<Change>, Box<dyn std::error::Error + Send + Sync>> {
    let text = snapshot.text("k8s/kustomization.yaml")?;
    let update = ImageUpdate { name: None, pin: Pin::Tag(tag.into()) };
    Ok(put("k8s/kustomization.yaml", kustomize::set_image(&text, image, &update)?))
}

/// `git daemon` over a directory; ends with the value.
struct Daemon(Child, String);

impl Daemon {
    fn start(root: &Path) -> Self {
        for port in 20_000 + u16::try_from(std::process::id() % 20_000).expect("small").. {
            let mut child = Command::new("git")
                .args([
                    "daemon",
                    "--export-all",
                    "--enable=receive-pack",
                    "--listen=127.0.0.1",
                    "--reuseaddr",
                    "--verbose",
                ])
                .args([format!("--port={port}"), format!("--base-path={}", root.display())])
                .arg(root)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("git daemon starts");
            let url = format!("git://127.0.0.1:{port}");
            // It answers, or the port was taken and it has ended.
            loop {
                let up =
                    Command::new("git").args(["ls-remote", &format!("{url}/repo.git")]).output().expect("git runs");
                if up.status.success() && child.try_wait().expect("a child").is_none() {
                    return Self(child, url);
                }
                if child.try_wait().expect("a child").is_some() {
                    break;
                }
            }
        }
        unreachable!("there is a free port");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn eight_who_push_at_once_lose_nothing() {
    const EACH: usize = 2;
    let root = tempfile::tempdir().expect("a directory");
    let images: String = (0..8).map(|n| format!("- name: app{n}  # of team {n}\n  newTag: \"0\"\n")).collect();
    let text = format!("# who runs what\nresources:\n- base\nimages:\n{images}");
    let repo = bare(root.path(), &[("run.sh", "x"), ("k8s/kustomization.yaml", &text)]);
    let daemon = Daemon::start(root.path());
    let attempts = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (daemon, attempts, dir) = (&daemon, &attempts, root.path().join(format!("clone{n}")));
            scope.spawn(move || {
                let repository = open(&format!("{}/repo.git", daemon.1), &dir);
                for step in 1..=EACH {
                    let commit = commit(&format!("app{n}: v{step}"));
                    let retry = Retry { attempts: 80, longest: Duration::from_millis(800), ..Retry::default() };
                    let done = repository
                        .publish(&commit, retry, &|| false, |tip| tag(tip, &format!("app{n}"), &format!("v{step}")))
                        .expect("it is pushed");
                    assert_eq!(done.outcome, Outcome::Pushed);
                    attempts.fetch_add(done.attempts as usize, Ordering::Relaxed);
                }
            });
        }
    });
    let mut log: Vec<String> = git(&repo, &["log", "--format=%s", "main"]).lines().map(str::to_owned).collect();
    assert_eq!(log.pop().as_deref(), Some("first"));
    log.sort();
    let wanted: Vec<String> = (0..8).flat_map(|n| (1..=EACH).map(move |step| format!("app{n}: v{step}"))).collect();
    assert_eq!(log, wanted);
    assert_eq!(git(&repo, &["rev-list", "--merges", "main"]), "");
    assert_eq!(show(&repo, "main:k8s/kustomization.yaml"), text.replace("newTag: \"0\"", "newTag: \"v2\""));
    let attempts = attempts.into_inner();
    assert!(attempts > 8 * EACH, "{attempts} attempts: they never met");
}

#[test]
fn an_edit_is_applied_to_what_others_pushed() {
    let root = tempfile::tempdir().expect("a directory");
    let attributes = "* text=auto eol=lf\n";
    let repo = bare(root.path(), &[("run.sh", "a"), ("b.txt", "b"), (".gitattributes", attributes), ("link/x", "y")]);
    let work = root.path().join("work");
    let repository = open(repo.to_str().expect("text"), &root.path().join("mine"));
    let mut seen = Vec::new();
    let mut asked = commit("why: because\n\nRefs: 7");
    asked.sign_off = true;
    asked.committer = Person::parse("CI <ci@example.org>");
    let done = repository
        .publish(&asked, Retry::default(), &|| false, |tip| {
            let text = tip.text("run.sh")?;
            if seen.is_empty() {
                std::fs::write(work.join("run.sh"), "other\n").expect("a file");
                git(&work, &["commit", "-qam", "faster"]);
                git(&work, &["push", "-q", "../repo.git", "main"]);
            }
            seen.push(text.clone());
            Ok::<_, Error>(put("run.sh", format!("{text}+mine\r\n")))
        })
        .expect("it is pushed");
    assert_eq!(seen, ["a", "other\n"]);
    assert_eq!(done.attempts, 2);
    // Bytes are bytes, whatever attributes say; the mode stays; the message and the people are those asked for.
    assert_eq!(show(&repo, "main:run.sh"), "other\n+mine\r\n");
    assert!(git(&repo, &["ls-tree", "main", "run.sh"]).starts_with("100755"));
    assert_eq!(
        git(&repo, &["log", "-1", "--format=%an|%ae|%cn|%B", "main"]),
        "Image Bot|bot@example.org|CI|why: because\n\nRefs: 7\nSigned-off-by: CI <ci@example.org>"
    );
    // The same again changes nothing, and a file can be added and taken away.
    let once = |changes: Vec<Change>| {
        repository.publish(&commit("x"), Retry::default(), &|| false, |_| Ok::<_, Error>(changes.clone()))
    };
    let same = once(put("run.sh", "other\n+mine\r\n")).expect("nothing to do");
    assert_eq!(same, Published { commit: done.commit, outcome: Outcome::Unchanged, attempts: 1, said: vec![] });
    let more = [put("new/dir/file", "new"), vec![Change { path: "b.txt".into(), content: None }]].concat();
    assert_eq!(once(more).expect("it is pushed").outcome, Outcome::Pushed);
    let tip = repository.fetch("main").expect("a tip");
    assert_eq!(tip.files("").expect("a list"), [".gitattributes", "link/x", "new/dir/file", "run.sh"]);
    assert_eq!(tip.files("new").expect("a list"), ["new/dir/file"]);
    assert_eq!(tip.read("b.txt").expect("no error"), None);
    // Errors say what is wrong, and nothing is pushed.
    let before = git(&repo, &["rev-parse", "main"]);
    let error = |changes| once(changes).expect_err("it is refused").to_string();
    assert!(error(put("link", "x")).contains("is no regular file"));
    assert!(error(put("../x", "x")).contains("is no path inside the repository"));
    assert!(error(put(".git/config", "x")).contains("is no path inside the repository"));
    let missing = tip.text("nope.yaml").expect_err("it is missing").to_string();
    assert!(missing.starts_with("`nope.yaml` in ") && missing.ends_with("does not exist"), "{missing}");
    let failed = repository.publish(&commit("x"), Retry::default(), &|| false, |_| Err::<Vec<Change>, _>("no good"));
    assert_eq!(failed.expect_err("the edit fails").to_string(), "no good");
    let mut other = commit("x");
    other.branch = "nope".into();
    let failed = repository.publish(&other, Retry::default(), &|| false, |_| Ok::<_, Error>(vec![]));
    assert!(matches!(failed, Err(Error::NoBranch { .. })), "{failed:?}");
    let cancelled = repository.publish(&commit("x"), Retry::default(), &|| true, |_| Ok::<_, Error>(vec![]));
    assert!(matches!(cancelled, Err(Error::Cancelled)));
    assert_eq!(git(&repo, &["rev-parse", "main"]), before);
}

#[test]
fn a_protected_branch_and_a_limit_end_the_attempts() {
    let root = tempfile::tempdir().expect("a directory");
    let repo = bare(root.path(), &[("a", "0")]);
    let repository = open(repo.to_str().expect("text"), &root.path().join("mine"));
    let work = root.path().join("work");
    let mut count = 0;
    let retry = Retry { attempts: 3, first: Duration::ZERO, ..Retry::default() };
    let contended = repository.publish(&commit("x"), retry, &|| false, |_| {
        count += 1;
        git(&work, &["commit", "-q", "--allow-empty", "-m", "again"]);
        git(&work, &["push", "-q", "../repo.git", "main"]);
        Ok::<_, Error>(put("a", count.to_string()))
    });
    assert!(matches!(contended, Err(Error::Contended { attempts: 3, .. })), "{contended:?}");
    let hook = repo.join("hooks/update");
    std::fs::write(&hook, "#!/bin/sh\n[ \"$1\" != refs/heads/main ] || { echo 'main is protected'; exit 1; }\n")
        .expect("a hook");
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let refused = repository.publish(&commit("x"), retry, &|| false, |_| Ok::<_, Error>(put("a", "1")));
    let refused = refused.expect_err("it is protected").to_string();
    assert!(
        refused.contains("hook declined")
            && refused.contains("main is protected; ")
            && refused.ends_with("needs a pull request instead"),
        "{refused}"
    );
}

#[test]
fn tags_are_made_once() {
    let root = tempfile::tempdir().expect("a directory");
    let repo = bare(root.path(), &[("a", "0")]);
    let repository = open(repo.to_str().expect("text"), &root.path().join("mine"));
    let first = repository.fetch("main").expect("a tip").commit;
    let bot = commit("x").author;
    assert_eq!(repository.tag("v1.0.0", &first, "Version 1.0.0", &bot).expect("a tag"), Outcome::Pushed);
    assert_eq!(repository.tag("v1.0.0", &first, "Version 1.0.0", &bot).expect("a tag"), Outcome::Unchanged);
    assert_eq!(git(&repo, &["cat-file", "-t", "v1.0.0"]), "tag");
    assert_eq!(git(&repo, &["tag", "-l", "--format=%(taggername) %(contents)"]), "Image Bot Version 1.0.0");
    let done =
        repository.publish(&commit("x"), Retry::default(), &|| false, |_| Ok::<_, Error>(put("a", "1"))).expect("it");
    let error = repository.tag("v1.0.0", &done.commit, "x", &bot).expect_err("it exists").to_string();
    assert!(error.contains(&format!("the tag exists and names {first}")), "{error}");
}

/// Where the token may be seen by others: the arguments of every process of the machine.
fn in_process_list(text: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .any(|line| line.windows(text.len()).any(|window| window == text.as_bytes()))
}

fn in_files(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).expect("a directory").flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return in_files(&path, text);
        }
        std::fs::read(&path).is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    })
}

/// `git http-backend` behind a server that wants the token and looks for it where it must not be.
fn backend(root: PathBuf, seen: Arc<Mutex<Vec<String>>>) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("x-access-token:{TOKEN}"));
    serve(move |request: Request| {
        for text in [TOKEN, &encoded] {
            if in_process_list(text) || request.path.contains(text) {
                seen.lock().expect("a lock").push(format!("{} {}", request.method, request.path));
            }
        }
        if request.headers.get("authorization") != Some(&format!("Basic {encoded}")) {
            return (401, "WWW-Authenticate: Basic realm=\"x\"\r\n".into(), Vec::new());
        }
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let header = |name: &str| request.headers.get(name).cloned().unwrap_or_default();
        let mut child = Command::new("git")
            .arg("http-backend")
            .env("GIT_PROJECT_ROOT", &root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("PATH_INFO", path)
            .env("QUERY_STRING", query)
            .env("REQUEST_METHOD", &request.method)
            .env("CONTENT_TYPE", header("content-type"))
            .env("CONTENT_LENGTH", request.body.len().to_string())
            .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
            .env("GIT_PROTOCOL", header("git-protocol"))
            .env("REMOTE_USER", "bot")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("git http-backend starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        let writer = std::thread::spawn(move || stdin.write_all(&request.body));
        let output = child.wait_with_output().expect("it ends").stdout;
        let _ = writer.join();
        let end = output.windows(4).position(|window| window == b"\r\n\r\n").expect("headers");
        let headers = String::from_utf8_lossy(&output[..end + 2]).into_owned();
        let status = headers.lines().find_map(|line| line.strip_prefix("Status: ")?.get(..3)?.parse().ok());
        (status.unwrap_or(200), headers, output[end + 4..].to_vec())
    })
}

#[test]
fn a_token_is_seen_by_the_remote_alone() {
    let root = tempfile::tempdir().expect("a directory");
    let repo = bare(root.path(), &[("a", "0")]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let url = format!("{}/repo.git", backend(root.path().to_owned(), Arc::clone(&seen)));
    let mine = root.path().join("mine");
    let credentials = Credentials::token(&url, Secret::new(TOKEN));
    assert!(!format!("{credentials:?}").contains(TOKEN));
    let git_with = |credentials| Git::new(&url, environment(), credentials).expect("a URL");
    let repository = Repository::open(git_with(credentials), &mine).expect("a repository");
    let done = repository.publish(&commit("x"), Retry::default(), &|| false, |_| Ok::<_, Error>(put("a", "1")));
    assert_eq!(done.expect("it is pushed").outcome, Outcome::Pushed);
    assert_eq!(git(&repo, &["log", "-1", "--format=%s", "main"]), "x");
    assert_eq!(*seen.lock().expect("a lock"), [""; 0]);
    assert!(!in_files(&mine, TOKEN));
    // A wrong token, and none, are errors that say so and show nothing.
    let wrong = "ghp_WrongTokenOfSomebody";
    for credentials in [Credentials::token(&url, Secret::new(wrong)), Credentials::None] {
        let repository = Repository::open(git_with(credentials), &root.path().join("other")).expect("a repository");
        let error = repository.fetch("main").expect_err("it is not let in");
        let text = format!("{error} {error:?}");
        assert!(text.contains("give a token"), "{text}");
        assert!(!text.contains(wrong), "{text}");
    }
    for bad in ["https://x:s3kr@host/a", "https://s3kr@host/a", "-x", "ext::sh -c x", ""] {
        let error = Git::new(bad, environment(), Credentials::None).expect_err("it is refused").to_string();
        assert!(!error.contains("s3kr"), "{error}");
    }
    assert!(Git::new("ssh://git@host/a", environment(), Credentials::None).is_ok());
    assert!(Git::new("git@host:a/b.git", environment(), Credentials::None).is_ok());
}

/// A forge's API as far as requests go; remembers what it was asked.
fn forge(kind: Kind) -> (Forge, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let open = Mutex::new(false);
    let api = serve(move |request| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        log.lock().expect("a lock").push(format!("{} {} {body}", request.method, request.path));
        let mut open = open.lock().expect("a lock");
        let answer = |status: u16, json: serde_json::Value| (status, String::new(), json.to_string().into_bytes());
        if request.headers.get("authorization") != Some(&format!("Bearer {TOKEN}")) {
            return answer(401, serde_json::json!({ "message": format!("Bad credentials {:?}", request.headers) }));
        }
        let one = match kind {
            Kind::GitHub => serde_json::json!({ "number": 7, "html_url": "https://forge/7" }),
            Kind::GitLab => serde_json::json!({ "iid": 7, "web_url": "https://forge/7" }),
        };
        match request.method.as_str() {
            "GET" if *open => answer(200, serde_json::json!([one])),
            "GET" => answer(200, serde_json::json!([])),
            "POST" if body.contains("refuse") => {
                let errors = serde_json::json!([{ "message": "No commits between main and x" }]);
                answer(422, serde_json::json!({ "message": "Validation Failed", "errors": errors }))
            }
            _ => {
                *open = true;
                answer(201, one)
            }
        }
    });
    (Forge { kind, api, token: Secret::new(TOKEN) }, asked)
}

#[test]
fn a_pull_request_instead_of_a_push() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::blocking::Client::builder().no_proxy().build().expect("a client");
    let root = tempfile::tempdir().expect("a directory");
    let text = "images:\n- name: web\n  newTag: v1\n";
    let repo = bare(root.path(), &[("run.sh", "x"), ("k8s/kustomization.yaml", text)]);
    let repository = open(repo.to_str().expect("text"), &root.path().join("mine"));
    let mut asked = commit("web: v2");
    asked.head = Some("cooperage/web".into());
    let publish = |version: &str| {
        let done = repository.publish(&asked, Retry::default(), &|| false, |tip| tag(tip, "web", version));
        done.expect("it is pushed").outcome
    };
    assert_eq!(publish("v2"), Outcome::Pushed);
    assert_eq!(publish("v2"), Outcome::Unchanged);
    assert_eq!(publish("v3"), Outcome::Pushed);
    assert_eq!(show(&repo, "main:k8s/kustomization.yaml"), text);
    assert_eq!(show(&repo, "cooperage/web:k8s/kustomization.yaml"), text.replace("v1", "v3"));
    assert_eq!(git(&repo, &["rev-list", "--count", "main..cooperage/web"]), "1");

    let request = |title: &str| PullRequest {
        repository: "o/deploy".into(),
        head: "cooperage/web".into(),
        base: "main".into(),
        title: title.into(),
        body: "sha256:…".into(),
        labels: vec!["image".into()],
    };
    for (kind, wanted) in [
        (
            Kind::GitHub,
            [
                "GET /repos/o/deploy/pulls?state=open&head=o%3Acooperage%2Fweb&base=main ",
                "POST /repos/o/deploy/pulls {\"title\":\"v2\",\"body\":\"sha256:…\",\"head\":\"cooperage/web\",\"base\":\"main\"}",
                "POST /repos/o/deploy/issues/7/labels {\"labels\":[\"image\"]}",
                "GET /repos/o/deploy/pulls?state=open&head=o%3Acooperage%2Fweb&base=main ",
                "PATCH /repos/o/deploy/pulls/7 {\"title\":\"v3\",\"body\":\"sha256:…\"}",
                "POST /repos/o/deploy/issues/7/labels {\"labels\":[\"image\"]}",
            ]
            .to_vec(),
        ),
        (
            Kind::GitLab,
            [
                "GET /projects/o%2Fdeploy/merge_requests?state=opened&source_branch=cooperage%2Fweb&target_branch=main ",
                "POST /projects/o%2Fdeploy/merge_requests {\"title\":\"v2\",\"description\":\"sha256:…\",\
                 \"source_branch\":\"cooperage/web\",\"target_branch\":\"main\",\"labels\":\"image\",\"remove_source_branch\":true}",
                "GET /projects/o%2Fdeploy/merge_requests?state=opened&source_branch=cooperage%2Fweb&target_branch=main ",
                "PUT /projects/o%2Fdeploy/merge_requests/7 {\"title\":\"v3\",\"description\":\"sha256:…\",\"add_labels\":\"image\"}",
            ]
            .to_vec(),
        ),
    ] {
        let (forge, log) = forge(kind);
        let opened = |created| Opened { url: "https://forge/7".into(), number: 7, created };
        assert_eq!(forge.ensure(&client, &request("v2")).expect("it opens"), opened(true));
        assert_eq!(forge.ensure(&client, &request("v3")).expect("it is there"), opened(false));
        assert_eq!(*log.lock().expect("a lock"), wanted);
    }
    let (forge_, _) = forge(Kind::GitHub);
    let error = forge_.ensure(&client, &request("refuse")).expect_err("it is refused").to_string();
    assert!(error.ends_with("says 422: Validation Failed; No commits between main and x"), "{error}");
    let wrong = Forge { token: Secret::new("ghp_other_token"), ..forge_ };
    let error = wrong.ensure(&client, &request("x")).expect_err("it is not let in");
    let text = format!("{error} {error:?} {wrong:?}");
    assert!(text.contains("401") && text.contains("the token is wrong") && !text.contains("ghp_other_token"), "{text}");
    let gone = Forge { api: "http://127.0.0.1:9".into(), ..wrong };
    let error = gone.ensure(&client, &request("x")).expect_err("nobody is there").to_string();
    assert!(error.starts_with("cannot reach http://127.0.0.1:9/repos/o/deploy/pulls: "), "{error}");
}
