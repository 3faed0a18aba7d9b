//! From a git URL to a commit, and from a commit to a tree.
//!
//! Only one commit is fetched. Servers differ in what they give: first the commit is asked for by
//! its id, then by the reference it was resolved from, and only then all branches and tags.
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::command::{Git, GitError};
use super::url::GitUrl;
use crate::source::Cancelled;

/// What the functions of this module need.
pub struct GitOptions<'a> {
    /// The user's environment; git sees an allow-list of it.
    pub env: &'a BTreeMap<String, String>,
    /// A directory of its own for this source: scratch repositories, and the tree of [`checkout`].
    pub temp_dir: &'a Path,
    /// Credentials for HTTP(S) remotes.
    pub auth: Option<GitAuth>,
    /// The agent's socket for SSH remotes, where it differs from the environment's.
    pub ssh_auth_sock: Option<PathBuf>,
    /// Whether a `file://` remote is allowed, and its submodules with it. A remote of any other
    /// kind never leads to a `file://` submodule.
    pub allow_file: bool,
    /// How long one call of git may take.
    pub timeout: Duration,
    /// Whether to stop.
    pub cancelled: Cancelled<'a>,
}

impl std::fmt::Debug for GitOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GitOptions").field("temp_dir", &self.temp_dir).field("auth", &self.auth).finish_non_exhaustive()
    }
}

/// Credentials, from the secrets `GIT_AUTH_TOKEN` and `GIT_AUTH_HEADER` (or `….HOST`).
#[derive(Clone)]
pub enum GitAuth {
    /// A token, sent as the password of `x-access-token`.
    Token(String),
    /// The whole value of the `Authorization` header.
    Header(String),
}

impl std::fmt::Debug for GitAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GitAuth(…)")
    }
}

impl GitAuth {
    /// The credentials that a build's secrets hold for a host, in BuildKit's order:
    /// `GIT_AUTH_HEADER.HOST`, `GIT_AUTH_TOKEN.HOST`, `GIT_AUTH_HEADER`, `GIT_AUTH_TOKEN`.
    pub fn from_secrets(host: Option<&str>, lookup: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let get = |name: &str, make: fn(String) -> Self| lookup(name).map(|value| make(value.trim().to_owned()));
        host.and_then(|host| {
            get(&format!("GIT_AUTH_HEADER.{host}"), Self::Header)
                .or_else(|| get(&format!("GIT_AUTH_TOKEN.{host}"), Self::Token))
        })
        .or_else(|| get("GIT_AUTH_HEADER", Self::Header))
        .or_else(|| get("GIT_AUTH_TOKEN", Self::Token))
    }
}

/// What a URL stands for at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitCommit {
    /// The commit's id: 40 or 64 hex digits.
    pub commit: String,
    /// The full name of the reference that it was found under.
    pub reference: Option<String>,
}

/// A tree that was checked out.
#[derive(Debug, Clone)]
pub struct Checkout {
    /// The directory that the URL means: `dest`, or the subdirectory in it.
    pub root: PathBuf,
    /// The commit.
    pub commit: String,
    /// The commit's time; every file has it, unless the URL asks for the times of the checkout.
    pub time: SystemTime,
}

/// Asks the remote which commit the URL means.
///
/// A full commit id is taken at its word. An abbreviated one costs a fetch of the history.
///
/// # Errors
/// [`GitError`]: no `git`, no such reference, another commit than the checksum asks for, or what
/// git says.
pub fn resolve(url: &GitUrl, options: &GitOptions<'_>) -> Result<GitCommit, GitError> {
    let found = lookup(url, options)?;
    if let Some(expected) = &url.checksum
        && !found.commit.starts_with(&expected.to_ascii_lowercase())
    {
        return Err(GitError::Checksum {
            url: url.display(),
            reference: url.reference.clone().unwrap_or_else(|| "HEAD".into()),
            expected: expected.clone(),
            actual: found.commit,
        });
    }
    Ok(found)
}

fn lookup(url: &GitUrl, options: &GitOptions<'_>) -> Result<GitCommit, GitError> {
    let wanted = url.reference.as_deref().unwrap_or("HEAD");
    if is_commit(wanted) {
        return Ok(GitCommit { commit: wanted.to_ascii_lowercase(), reference: None });
    }
    let git = git(url, options);
    let peeled = format!("{wanted}^{{}}");
    let listing = git.run("resolve", options.temp_dir, true, &["ls-remote", "--", &url.remote, wanted, &peeled])?;
    let refs: Vec<(&str, &str)> = listing.lines().filter_map(|line| line.split_once('\t')).collect();
    let find = |name: &str| refs.iter().find(|(_, found)| *found == name).map(|(id, _)| (*id).to_owned());
    for prefix in ["", "refs/", "refs/tags/", "refs/heads/"] {
        let name = format!("{prefix}{wanted}");
        if let Some(commit) = find(&format!("{name}^{{}}")).or_else(|| find(&name)) {
            return Ok(GitCommit { commit, reference: Some(name) });
        }
    }
    if wanted.len() >= 7 && wanted.bytes().all(|b| b.is_ascii_hexdigit()) {
        return abbreviated(url, wanted, options);
    }
    Err(GitError::NoReference { url: url.display(), reference: wanted.to_owned() })
}

/// Finds a commit by a prefix of its id, in a scratch copy of the history without files.
fn abbreviated(url: &GitUrl, prefix: &str, options: &GitOptions<'_>) -> Result<GitCommit, GitError> {
    let scratch = scratch(options)?;
    let git = git(url, options);
    git.run("resolve", scratch.path(), false, &["init", "--quiet", "--bare"])?;
    git.run(
        "resolve",
        scratch.path(),
        true,
        &[
            "fetch",
            "--quiet",
            "--filter=tree:0",
            "--",
            &url.remote,
            "+refs/heads/*:refs/heads/*",
            "+refs/tags/*:refs/tags/*",
        ],
    )?;
    let spec = format!("{prefix}^{{commit}}");
    match git.run("resolve", scratch.path(), false, &["rev-parse", "--verify", "--quiet", "--end-of-options", &spec]) {
        Ok(id) => Ok(GitCommit { commit: id.trim().to_owned(), reference: None }),
        Err(GitError::Failed { .. }) => Err(GitError::NoReference { url: url.display(), reference: prefix.to_owned() }),
        Err(other) => Err(other),
    }
}

/// Puts the commit's files into `tree` in the temporary directory, which must not exist yet.
///
/// `.git` stays only where the URL says so, and never when a subdirectory was asked for.
///
/// # Errors
/// [`GitError`]; a part of the tree may then be left.
pub fn checkout(url: &GitUrl, commit: &GitCommit, options: &GitOptions<'_>) -> Result<Checkout, GitError> {
    let dest = &options.temp_dir.join("tree");
    let git = git(url, options);
    fs::create_dir_all(dest).map_err(GitError::io("create", dest))?;
    git.run("check out", dest, false, &["init", "--quiet"])?;
    git.run("check out", dest, false, &["remote", "add", "--", "origin", &url.remote])?;
    let tip = fetch(&git, url, commit, dest)?;
    git.run("check out", dest, false, &["checkout", "--quiet", "--force", "--detach", &tip, "--"])?;
    if url.submodules && dest.join(".gitmodules").is_file() {
        git.run(
            "fetch submodules of",
            dest,
            true,
            &["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"],
        )?;
    }
    let id = git.run("check out", dest, false, &["rev-parse", "--verify", "HEAD"])?.trim().to_owned();
    let seconds = git.run("check out", dest, false, &["show", "--quiet", "--format=%ct", "HEAD"])?;
    let seconds: u64 = seconds.lines().last().and_then(|line| line.trim().parse().ok()).unwrap_or(0);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    if url.keep_git_dir == Some(true) && url.subdir.is_none() {
        // The URL that stays in the image's .git/config must not hold a password.
        let clean = url.remote.split_once("://").map_or_else(
            || url.remote.clone(),
            |(scheme, rest)| match rest.split_once('/') {
                Some((authority, path)) => {
                    format!("{scheme}://{}/{path}", authority.rsplit('@').next().unwrap_or(authority))
                }
                None => url.remote.clone(),
            },
        );
        git.run("check out", dest, false, &["remote", "set-url", "--", "origin", &clean])?;
        git.run("check out", dest, false, &["reflog", "expire", "--all", "--expire=now"])?;
        let _ = fs::remove_file(dest.join(".git/FETCH_HEAD"));
    } else {
        remove_git_dirs(dest)?;
    }
    normalise(dest, dest, if url.checkout_times { SystemTime::now() } else { time })?;
    let root = match &url.subdir {
        None => dest.to_owned(),
        Some(subdir) => subdirectory(url, dest, subdir)?,
    };
    Ok(Checkout { root, commit: id, time })
}

/// The text of one file of a commit; `None` where the commit has no such file. Of the repository only
/// the commit, its directories and this file are fetched, where the server can do that.
///
/// # Errors
/// [`GitError`]: as [`checkout`].
pub fn file(
    url: &GitUrl,
    commit: &GitCommit,
    path: &str,
    options: &GitOptions<'_>,
) -> Result<Option<String>, GitError> {
    let scratch = scratch(options)?;
    let (git, dest) = (git(url, options), scratch.path());
    git.run("fetch", dest, false, &["init", "--quiet", "--bare"])?;
    git.run("fetch", dest, false, &["remote", "add", "--", "origin", &url.remote])?;
    let tip = fetch_some(&git, url, commit, dest, &["--filter=blob:none"])?;
    let listed = git.run("read", dest, false, &["ls-tree", "--full-tree", "-z", &tip, "--", path])?;
    // `MODE blob ID\tPATH`
    let Some((kind, _)) = listed.split('\0').next().and_then(|entry| entry.split_once('\t')) else { return Ok(None) };
    match kind.split(' ').collect::<Vec<_>>()[..] {
        ["100644" | "100755", "blob", id] => git.run("read", dest, true, &["cat-file", "blob", id]).map(Some),
        _ => Err(GitError::Failed { verb: "read", url: url.display(), message: format!("{path} is no regular file") }),
    }
}

/// Fetches the commit and returns its id.
fn fetch(git: &Git<'_>, url: &GitUrl, commit: &GitCommit, dest: &Path) -> Result<String, GitError> {
    fetch_some(git, url, commit, dest, &[])
}

/// As [`fetch`], without the objects that a filter leaves out.
fn fetch_some(
    git: &Git<'_>,
    url: &GitUrl,
    commit: &GitCommit,
    dest: &Path,
    filter: &[&str],
) -> Result<String, GitError> {
    let has = |id: &str| {
        git.run("check out", dest, false, &["cat-file", "-e", &format!("{id}^{{commit}}")]).map(|_| id.to_owned())
    };
    let shallow = [&["fetch", "--quiet", "--depth=1", "--no-tags", "--force"], filter, &["origin"]].concat();
    let by_id = git.run("fetch", dest, true, &[&shallow[..], &[&commit.commit]].concat());
    match by_id {
        Ok(_) => return has(&commit.commit),
        Err(GitError::Failed { .. }) => {}
        Err(other) => return Err(other),
    }
    if let Some(reference) = &commit.reference {
        let spec = format!("+{reference}:refs/cooperage/wanted");
        match git.run("fetch", dest, true, &[&shallow[..], &[&spec]].concat()) {
            Ok(_) => {
                if let Ok(id) = has(&commit.commit) {
                    return Ok(id);
                }
            }
            // A plain file server knows no shallow fetches: the whole history then.
            Err(GitError::Failed { .. }) => {}
            Err(other) => return Err(other),
        }
    }
    let unshallow: &[&str] = if dest.join(".git/shallow").exists() { &["--unshallow"] } else { &[] };
    let all = ["origin", "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
    git.run("fetch", dest, true, &[&["fetch", "--quiet", "--force"], unshallow, &all[..]].concat())?;
    has(&commit.commit).map_err(|error| match error {
        GitError::Failed { .. } => GitError::NoReference { url: url.display(), reference: commit.commit.clone() },
        other => other,
    })
}

/// The subdirectory in the tree; symbolic links on the way are refused, since they can lead out.
fn subdirectory(url: &GitUrl, dest: &Path, subdir: &str) -> Result<PathBuf, GitError> {
    let fail = |why: &str| GitError::Subdir { url: url.display(), subdir: subdir.to_owned(), why: why.to_owned() };
    let mut path = dest.to_owned();
    for part in subdir.split('/') {
        path.push(part);
        let meta = fs::symlink_metadata(&path).map_err(|_| fail("does not exist"))?;
        if meta.is_symlink() {
            return Err(fail("goes through a symbolic link"));
        }
        if !meta.is_dir() {
            return Err(fail("is a file"));
        }
    }
    Ok(path)
}

/// Removes `.git` of the repository and of its submodules.
fn remove_git_dirs(dir: &Path) -> Result<(), GitError> {
    for entry in fs::read_dir(dir).map_err(GitError::io("read", dir))? {
        let entry = entry.map_err(GitError::io("read", dir))?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(GitError::io("read", dir))?);
        if entry.file_name() == ".git" {
            if kind.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }
                .map_err(GitError::io("remove", &path))?;
        } else if kind.is_dir() {
            remove_git_dirs(&path)?;
        }
    }
    Ok(())
}

/// Gives every entry the modes that git knows (0644, 0755) and the commit's time, whatever the
/// umask and the clock were.
fn normalise(top: &Path, dir: &Path, time: SystemTime) -> Result<(), GitError> {
    for entry in fs::read_dir(dir).map_err(GitError::io("read", dir))? {
        let entry = entry.map_err(GitError::io("read", dir))?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(GitError::io("read", dir))?);
        if kind.is_dir() {
            if dir == top && entry.file_name() == ".git" {
                continue;
            }
            normalise(top, &path, time)?;
        } else if kind.is_file() {
            let meta = entry.metadata().map_err(GitError::io("read", &path))?;
            let mode = if meta.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))
                .map_err(GitError::io("change the mode of", &path))?;
            set_time(&path, time)?;
        } else {
            set_time(&path, time)?;
        }
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).map_err(GitError::io("change the mode of", dir))?;
    set_time(dir, time)
}

fn set_time(path: &Path, time: SystemTime) -> Result<(), GitError> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let stamp = Timespec { tv_sec: i64::try_from(seconds).unwrap_or(0), tv_nsec: 0 };
    let times = Timestamps { last_access: stamp, last_modification: stamp };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| GitError::io("set the time of", path)(errno.into()))
}

fn scratch(options: &GitOptions<'_>) -> Result<tempfile::TempDir, GitError> {
    tempfile::Builder::new()
        .prefix("git-")
        .tempdir_in(options.temp_dir)
        .map_err(GitError::io("create a directory in", options.temp_dir))
}

fn git<'a>(url: &GitUrl, options: &GitOptions<'a>) -> Git<'a> {
    let mut config = Vec::new();
    let mut secrets = Vec::new();
    if let Some(auth) = &options.auth
        && let Some(scope) = http_scope(&url.remote)
    {
        let header = match auth {
            GitAuth::Header(header) => header.clone(),
            GitAuth::Token(token) => {
                secrets.push(token.clone());
                format!("basic {}", STANDARD.encode(format!("x-access-token:{}", token.trim())))
            }
        };
        secrets.push(header.clone());
        config.push((format!("http.{scope}.extraheader"), format!("Authorization: {header}")));
    }
    if let Some(sock) = &options.ssh_auth_sock {
        config.push(("core.sshCommand".into(), format!("ssh -o BatchMode=yes -o IdentityAgent='{}'", sock.display())));
    }
    Git {
        env: options.env,
        config,
        secrets,
        // A submodule's URL comes from the repository: it must not name a file of this machine.
        allow_file: options.allow_file && url.remote.starts_with("file://"),
        timeout: options.timeout,
        cancelled: options.cancelled,
        url: url.display(),
    }
}

/// `https://host/`: the header goes to this host alone, also after redirects and for submodules.
fn http_scope(remote: &str) -> Option<String> {
    let (scheme, rest) = remote.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "https" && scheme != "http" {
        return None;
    }
    let authority = rest.split('/').next()?;
    Some(format!("{scheme}://{}/", authority.rsplit('@').next().unwrap_or(authority)))
}

fn is_commit(text: &str) -> bool {
    (text.len() == 40 || text.len() == 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
