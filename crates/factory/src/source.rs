//! Where an image's files come from: a checkout that is at hand, else the repository itself.
//!
//! Tokens come from the environment and go to git in its environment (`GIT_CONFIG_VALUE_n`): they
//! appear on no command line, in no URL, no file and no message.
use crate::enrol::{Image, Managed, Source};
use crate::init;
use base64::Engine;
use build::source::git::{Checkout, GitAuth, GitCommit, GitError, GitOptions, GitUrl, checkout, file, resolve};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long one call of git may take.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Why a source cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The URL is none.
    #[error(transparent)]
    Url(#[from] build::source::git::GitUrlError),
    /// Git failed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A file beside `images.yaml`, or in a checkout, cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The repository has no such file.
    #[error("{url} has no {path} on branch {branch}")]
    NoFile {
        /// The repository.
        url: String,
        /// Its branch.
        branch: String,
        /// The file.
        path: String,
    },
}

impl SourceError {
    /// What to do, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Git(GitError::Failed { message, .. })
                if ["could not read Username", "Authentication failed", "401", "403", "not found"]
                    .iter()
                    .any(|word| message.contains(word)) =>
            {
                Some("a private repository needs a token: GITHUB_TOKEN, GITLAB_TOKEN or GIT_AUTH_TOKEN in the environment".into())
            }
            Self::Git(error) => error.hint(),
            Self::NoFile { .. } => Some("name it with source.dockerfile, or the branch with source.branch".into()),
            _ => None,
        }
    }
}

/// Reads sources.
pub struct Sources<'a> {
    env: &'a BTreeMap<String, String>,
    temp: &'a Path,
    cancelled: &'a (dyn Fn() -> bool + Sync),
    /// Checkouts at hand: top directory and what its remote is.
    checkouts: Vec<(PathBuf, init::Remote)>,
    commits: Mutex<BTreeMap<(String, String), GitCommit>>,
}

impl std::fmt::Debug for Sources<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").field("checkouts", &self.checkouts).finish_non_exhaustive()
    }
}

impl<'a> Sources<'a> {
    /// `env` is the user's environment, `temp` a directory for clones, `checkouts` directories in
    /// repositories that are used as they are in the place of a clone.
    #[must_use]
    pub fn new(
        env: &'a BTreeMap<String, String>,
        temp: &'a Path,
        cancelled: &'a (dyn Fn() -> bool + Sync),
        checkouts: &[PathBuf],
    ) -> Self {
        let found = checkouts.iter().filter_map(|dir| init::repository_of(dir)).collect();
        Self { env, temp, cancelled, checkouts: found, commits: Mutex::default() }
    }

    /// The checkout at hand of a source.
    #[must_use]
    pub fn at_hand(&self, source: &Source) -> Option<&Path> {
        let same = |remote: &init::Remote| match (&source.repo, &remote.repo) {
            (Some(a), Some(b)) => a.eq_ignore_ascii_case(b) && source.provider == remote.provider,
            _ => bare(&remote.url) == bare(&source.url),
        };
        self.checkouts.iter().find(|(_, remote)| same(remote)).map(|(top, _)| top.as_path())
    }

    /// The text of an image's Dockerfile. `dir` is that of `images.yaml`.
    ///
    /// # Errors
    /// [`SourceError`]
    pub fn dockerfile(&self, dir: &Path, managed: &Managed) -> Result<String, SourceError> {
        let local = |path: PathBuf| std::fs::read_to_string(&path).map_err(|source| SourceError::Io { path, source });
        if let Some(path) = &managed.local.dockerfile {
            return local(dir.join(path));
        }
        let Some(source) = &managed.source else {
            let below = managed.local.dir.as_deref().unwrap_or(".");
            return local(dir.join(below).join("Dockerfile"));
        };
        let path = source.dockerfile_path();
        if let Some(top) = self.at_hand(source) {
            return local(top.join(path));
        }
        let url = url_of(source)?;
        let temp = self.temp()?;
        let options = self.options(&url, source, temp.path());
        let commit = self.commit_with(&url, source, &options)?;
        file(&url, &commit, &path, &options)?.ok_or_else(|| SourceError::NoFile {
            url: url.display(),
            branch: source.branch.clone(),
            path,
        })
    }

    /// The commit at the tip of a source's branch; asked for once.
    ///
    /// # Errors
    /// [`SourceError`]
    pub fn commit(&self, source: &Source) -> Result<GitCommit, SourceError> {
        let url = url_of(source)?;
        let temp = self.temp()?;
        self.commit_with(&url, source, &self.options(&url, source, temp.path()))
    }

    fn commit_with(&self, url: &GitUrl, source: &Source, options: &GitOptions<'_>) -> Result<GitCommit, SourceError> {
        let key = (source.url.clone(), source.branch.clone());
        if let Some(found) = self.commits.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(found.clone());
        }
        let commit = resolve(url, options)?;
        self.commits.lock().unwrap_or_else(PoisonError::into_inner).insert(key, commit.clone());
        Ok(commit)
    }

    /// Puts a commit of a source below `dest`, in `dest/tree`.
    ///
    /// # Errors
    /// [`SourceError`]
    pub fn checkout(&self, source: &Source, commit: &GitCommit, dest: &Path) -> Result<Checkout, SourceError> {
        let url = url_of(source)?;
        let options = self.options(&url, source, dest);
        Ok(checkout(&url, commit, &options)?)
    }

    fn temp(&self) -> Result<tempfile::TempDir, SourceError> {
        std::fs::create_dir_all(self.temp)
            .and_then(|()| tempfile::Builder::new().prefix("source-").tempdir_in(self.temp))
            .map_err(|source| SourceError::Io { path: self.temp.to_owned(), source })
    }

    fn options<'b>(&'b self, url: &GitUrl, source: &Source, temp: &'b Path) -> GitOptions<'b> {
        GitOptions {
            env: self.env,
            temp_dir: temp,
            auth: self.auth(&url.remote, source),
            ssh_auth_sock: None,
            allow_file: url.remote.starts_with("file://"),
            timeout: TIMEOUT,
            cancelled: self.cancelled,
        }
    }

    /// The token for a repository's URL, for pushes.
    #[must_use]
    pub fn token(&self, url: &str) -> Option<String> {
        let get =
            |name: &str| self.env.get(name).map(|value| value.trim()).filter(|v| !v.is_empty()).map(str::to_owned);
        let host = url.split_once("://").and_then(|(_, rest)| rest.split('/').next())?;
        let own = match host {
            "github.com" => get("GITHUB_TOKEN").or_else(|| get("GH_TOKEN")),
            "gitlab.com" => get("GITLAB_TOKEN"),
            _ => None,
        };
        own.or_else(|| get("GIT_AUTH_TOKEN"))
    }

    /// A token for a host: each host's own variable, and `GIT_AUTH_TOKEN` for any.
    fn auth(&self, remote: &str, source: &Source) -> Option<GitAuth> {
        let get = |name: &str| self.env.get(name).filter(|value| !value.trim().is_empty()).cloned();
        let host = remote.split_once("://").and_then(|(_, rest)| rest.split('/').next())?;
        let own = match (source.provider.as_str(), host) {
            ("github", _) | (_, "github.com") => {
                get("GITHUB_TOKEN").or_else(|| get("GH_TOKEN")).map(|token| GitAuth::Token(token.trim().to_owned()))
            }
            ("gitlab", _) | (_, "gitlab.com") => {
                let basic = |user: &str, token: String| {
                    let text = format!("{user}:{}", token.trim());
                    GitAuth::Header(format!("basic {}", base64::engine::general_purpose::STANDARD.encode(text)))
                };
                get("GITLAB_TOKEN")
                    .map(|token| basic("oauth2", token))
                    .or_else(|| get("CI_JOB_TOKEN").map(|token| basic("gitlab-ci-token", token)))
            }
            _ => None,
        };
        GitAuth::from_secrets(Some(host), get).or(own)
    }
}

/// The URL with its branch.
fn url_of(source: &Source) -> Result<GitUrl, SourceError> {
    let remote = if source.url.starts_with('/') { format!("file://{}", source.url) } else { source.url.clone() };
    // The branch goes in by hand: its name may hold what a URL may not.
    let mut url = GitUrl::parse(&remote)?;
    if url.reference.is_none() {
        url.reference = Some(source.branch.clone());
    }
    url.submodules = source.submodules;
    Ok(url)
}

/// Without what does not tell repositories apart.
fn bare(url: &str) -> &str {
    let url = url.strip_prefix("file://").unwrap_or(url);
    url.trim_end_matches('/').trim_end_matches(".git")
}

/// The context's directory and the Dockerfile of an image in a checkout of its source.
#[must_use]
pub fn context_of(image: &Image, top: &Path, dir: &Path) -> (PathBuf, PathBuf) {
    let Some(managed) = image.managed() else { return (top.to_owned(), top.join("Dockerfile")) };
    match &managed.source {
        Some(source) => {
            let context = source.context.as_deref().map_or_else(|| top.to_owned(), |context| top.join(context));
            let dockerfile = match &managed.local.dockerfile {
                Some(path) => dir.join(path),
                None => top.join(source.dockerfile_path()),
            };
            (context, dockerfile)
        }
        None => {
            let dockerfile = managed.local.dockerfile.as_ref().map(|path| dir.join(path));
            let context = match (&managed.local.dir, &dockerfile) {
                (Some(below), _) => dir.join(below),
                (None, Some(path)) => path.parent().unwrap_or(dir).to_owned(),
                (None, None) => dir.to_owned(),
            };
            let dockerfile = dockerfile.unwrap_or_else(|| context.join("Dockerfile"));
            (context, dockerfile)
        }
    }
}
