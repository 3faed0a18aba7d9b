//! Against real repositories behind `file://`.
use super::*;
use std::process::Command;

fn sh(dir: &Path, script: &str) {
    let status = Command::new("sh")
        .args(["-ec", script])
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_NAME", "a")
        .env("GIT_AUTHOR_EMAIL", "a@example.com")
        .env("GIT_COMMITTER_NAME", "a")
        .env("GIT_COMMITTER_EMAIL", "a@example.com")
        .env("GIT_AUTHOR_DATE", "1700000000 +0000")
        .env("GIT_COMMITTER_DATE", "1700000000 +0000")
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{script}");
}

fn repository() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    sh(
        dir.path(),
        "git init -q -b main .
         mkdir -p sub/deep; echo one > sub/deep/file; echo x > run.sh; chmod 755 run.sh; ln -s run.sh link; ln -s /etc out
         printf '*.txt text eol=crlf\\n' > .gitattributes; printf 'a\\nb\\n' > lf.bin
         git add -A; git commit -qm one; git tag -a v1 -m v1
         git checkout -qb feature/x; echo two > sub/deep/file; git commit -qam two; git checkout -q main
         git checkout -q --detach; echo hidden > hidden; git add hidden; git commit -qm hidden
         git update-ref refs/pull/1/head HEAD; git checkout -q main",
    );
    dir
}

fn head(dir: &Path, rev: &str) -> String {
    let out = Command::new("git").arg("-C").arg(dir).args(["rev-parse", rev]).output().unwrap();
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

fn environment() -> BTreeMap<String, String> {
    BTreeMap::from([("PATH".into(), std::env::var("PATH").unwrap_or_default())])
}

fn never() -> bool {
    false
}

fn options<'a>(env: &'a BTreeMap<String, String>, temp: &'a Path) -> GitOptions<'a> {
    GitOptions {
        env,
        temp_dir: temp,
        auth: None,
        ssh_auth_sock: None,
        allow_file: true,
        timeout: Duration::from_secs(60),
        cancelled: &never,
    }
}

#[test]
fn references_resolve_to_commits() {
    let (repo, temp, env) = (repository(), tempfile::tempdir().unwrap(), environment());
    let options = options(&env, temp.path());
    let resolve = |fragment: &str| {
        resolve(&GitUrl::parse(&format!("file://{}{fragment}", repo.path().display())).unwrap(), &options)
    };
    let main = head(repo.path(), "main");
    assert_eq!(resolve("").unwrap().commit, main);
    assert_eq!(resolve("#v1").unwrap(), GitCommit { commit: main.clone(), reference: Some("refs/tags/v1".into()) });
    assert_eq!(resolve("#feature/x").unwrap().commit, head(repo.path(), "feature/x"));
    assert_eq!(resolve("#refs/pull/1/head").unwrap().commit, head(repo.path(), "refs/pull/1/head"));
    assert_eq!(resolve(&format!("#{}", &main[..9])).unwrap().commit, main);
    assert_eq!(resolve(&format!("?tag=v1&checksum={}", &main[..12])).unwrap().commit, main);
    let error = resolve("#nope").unwrap_err().to_string();
    assert!(error.ends_with("has no branch, tag or commit \"nope\""), "{error}");
    let error = resolve("?branch=feature/x&checksum=0123456").unwrap_err();
    assert!(matches!(error, GitError::Checksum { .. }), "{error}");
}

#[test]
fn trees_depend_on_the_commit_alone() {
    let (repo, temp, env) = (repository(), tempfile::tempdir().unwrap(), environment());
    let options = options(&env, temp.path());
    let url = GitUrl::parse(&format!("file://{}#v1", repo.path().display())).unwrap();
    let commit = resolve(&url, &options).unwrap();
    let dest = temp.path().join("tree");
    let tree = checkout(&url, &commit, &options).unwrap();
    assert_eq!(tree.commit, commit.commit);
    let mut names: Vec<_> =
        fs::read_dir(&dest).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, [".gitattributes", "lf.bin", "link", "out", "run.sh", "sub"]);
    let meta = |name: &str| fs::symlink_metadata(dest.join(name)).unwrap();
    assert_eq!(meta("run.sh").permissions().mode() & 0o7777, 0o755);
    assert_eq!(meta("lf.bin").permissions().mode() & 0o7777, 0o644);
    assert_eq!(meta("sub").permissions().mode() & 0o7777, 0o755);
    for name in ["run.sh", "link", "sub", "sub/deep/file"] {
        assert_eq!(
            meta(name).modified().unwrap(),
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            "{name}"
        );
    }
}

#[test]
fn commits_that_no_branch_holds_and_git_directories() {
    let (repo, temp, env) = (repository(), tempfile::tempdir().unwrap(), environment());
    let options = options(&env, temp.path());
    let mut url =
        GitUrl::parse(&format!("file://{}#{}", repo.path().display(), head(repo.path(), "refs/pull/1/head"))).unwrap();
    url.keep_git_dir = Some(true);
    let commit = resolve(&url, &options).unwrap();
    let dest = temp.path().join("tree");
    checkout(&url, &commit, &options).unwrap();
    assert!(dest.join("hidden").is_file());
    assert!(dest.join(".git/HEAD").is_file());
    assert_eq!(head(&dest, "HEAD"), commit.commit);
}

#[test]
fn subdirectories_stay_inside() {
    let (repo, temp, env) = (repository(), tempfile::tempdir().unwrap(), environment());
    let options = options(&env, temp.path());
    let run = |subdir: &str| {
        let _ = fs::remove_dir_all(temp.path().join("tree"));
        let url = GitUrl::parse(&format!("file://{}#:{subdir}", repo.path().display())).unwrap();
        let commit = resolve(&url, &options).unwrap();
        checkout(&url, &commit, &options)
    };
    assert_eq!(fs::read_to_string(run("sub/deep").unwrap().root.join("file")).unwrap(), "one\n");
    for (subdir, why) in [("out", "goes through a symbolic link"), ("run.sh", "is a file"), ("none", "does not exist")]
    {
        let error = run(subdir).unwrap_err().to_string();
        assert!(error.ends_with(why), "{error}");
    }
}

#[test]
fn submodules_come_along_without_their_git_directories() {
    let (inner, temp, env) = (repository(), tempfile::tempdir().unwrap(), environment());
    let outer = tempfile::tempdir().unwrap();
    sh(
        outer.path(),
        &format!(
            "git init -q -b main .; git -c protocol.file.allow=always submodule -q add file://{} mod; git commit -qm outer",
            inner.path().display()
        ),
    );
    let options = options(&env, temp.path());
    let url = GitUrl::parse(&format!("file://{}", outer.path().display())).unwrap();
    let commit = resolve(&url, &options).unwrap();
    let dest = temp.path().join("tree");
    checkout(&url, &commit, &options).unwrap();
    assert!(dest.join("mod/run.sh").is_file());
    assert!(!dest.join("mod/.git").exists());
    let bare = GitUrl::parse(&format!("file://{}?submodules=false", outer.path().display())).unwrap();
    fs::remove_dir_all(&dest).unwrap();
    checkout(&bare, &commit, &options).unwrap();
    assert!(!dest.join("mod/run.sh").exists());
}

#[test]
fn messages_hold_no_secrets_and_files_are_refused() {
    let (temp, env) = (tempfile::tempdir().unwrap(), environment());
    let mut options = options(&env, temp.path());
    options.allow_file = false;
    options.auth = Some(GitAuth::Token("s3cret".into()));
    let error = resolve(&GitUrl::parse("file:///nowhere").unwrap(), &options).unwrap_err().to_string();
    assert!(error.contains("transport 'file' not allowed"), "{error}");
    let url = GitUrl::parse("http://me:pass@127.0.0.1:9/x.git").unwrap();
    let error = resolve(&url, &options).unwrap_err().to_string();
    assert!(!error.contains("pass") && !error.contains("s3cret"), "{error}");
}

#[test]
fn cancelling_ends_git() {
    let (repo, temp, env) = (repository(), tempfile::tempdir().unwrap(), environment());
    let mut options = options(&env, temp.path());
    options.cancelled = &|| true;
    let url = GitUrl::parse(&format!("file://{}", repo.path().display())).unwrap();
    assert!(matches!(resolve(&url, &options), Err(GitError::Cancelled)));
}

#[test]
fn secrets_are_looked_up_by_host_first() {
    let secrets = BTreeMap::from([("GIT_AUTH_TOKEN", "t"), ("GIT_AUTH_HEADER.e.com", "h")]);
    let lookup = |name: &str| secrets.get(name).map(|s| (*s).to_owned());
    assert!(matches!(GitAuth::from_secrets(Some("e.com"), lookup), Some(GitAuth::Header(h)) if h == "h"));
    assert!(matches!(GitAuth::from_secrets(Some("f.com"), lookup), Some(GitAuth::Token(t)) if t == "t"));
    assert!(GitAuth::from_secrets(None, |_| None).is_none());
}

#[test]
fn one_file_is_read_without_the_others() {
    let (repo, temp, env) = (repository(), tempfile::tempdir().unwrap(), environment());
    sh(repo.path(), "git config uploadpack.allowFilter true");
    let options = options(&env, temp.path());
    let url = GitUrl::parse(&format!("file://{}#v1", repo.path().display())).unwrap();
    let commit = resolve(&url, &options).unwrap();
    let here = fs::read_to_string(repo.path().join("sub/deep/file")).unwrap();
    assert_eq!(file(&url, &commit, "sub/deep/file", &options).unwrap(), Some(here));
    assert_eq!(file(&url, &commit, "sub/nope", &options).unwrap(), None);
    let error = file(&url, &commit, "link", &options).unwrap_err().to_string();
    assert!(error.contains("is no regular file"), "{error}");
}
