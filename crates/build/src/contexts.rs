//! The files that a build reads: the main context, the Dockerfile, named contexts.
use crate::error::{BuildError, Kind, Result};
use crate::event::{Event, Events, Outcome};
use crate::images::registry_error;
use crate::provenance::Materials;
use crate::request::{BuildRequest, Context, ContextSource, DockerfileSource};
use crate::source::{self, archive, git, http};
use crate::ssh::Agents;
use crate::store::Store;
use crate::tree::{DirTree, Tree};
use crate::vertices::Vertices;
use dockerfile::ignore::Ignore;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What fetching needs from outside.
#[derive(Clone)]
pub(crate) struct Fetcher<'a> {
    pub(crate) store: &'a Arc<Store>,
    pub(crate) http: &'a http::HttpClient,
    pub(crate) env: &'a BTreeMap<String, String>,
    pub(crate) request: &'a BuildRequest,
    pub(crate) events: &'a Events,
    pub(crate) vertices: &'a Vertices,
    pub(crate) cancelled: &'a (dyn Fn() -> bool + Sync),
    /// What came from the network, for the provenance.
    pub(crate) materials: Arc<Materials>,
    /// For `RUN --mount=type=ssh` and git sources.
    pub(crate) ssh: Arc<Agents>,
}

/// The loaded Dockerfile and the context that it speaks of.
pub(crate) struct Loaded {
    /// Its name, as the user knows it.
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) context: Arc<dyn Tree>,
    /// The patterns of the ignore file, for the lint rule on ignored files.
    pub(crate) ignore_text: Option<String>,
    /// The commit of a git context.
    pub(crate) commit: Option<String>,
    /// The time of a remote context, in seconds since 1970.
    pub(crate) time: Option<i64>,
}

/// Where the main context is.
#[derive(Default)]
struct Place {
    dir: PathBuf,
    /// The Dockerfile, where that is all there is.
    text: Option<String>,
    commit: Option<String>,
    time: Option<i64>,
    /// The tree of an archive, with the owners that it names.
    tree: Option<Arc<dyn Tree>>,
}

impl Fetcher<'_> {
    /// Finds the context and the Dockerfile.
    pub(crate) fn load(&self) -> Result<Loaded> {
        let Place { dir: place, text, commit, time, tree } = self.place()?;
        let local = matches!(&self.request.context, Context::Source(ContextSource::Directory(_)));
        let (name, text, ignore_beside) = match (text, &self.request.dockerfile) {
            // A Dockerfile instead of a context, on standard input or behind HTTP.
            (Some(text), None) => ("Dockerfile".to_owned(), text, None),
            (_, Some(DockerfileSource::Stdin(path))) => ("Dockerfile".to_owned(), self.read(path, "Dockerfile")?, None),
            (_, Some(DockerfileSource::Url(url))) => {
                let download = self.http(url, None)?;
                (url.clone(), self.read(download.file.path(), url)?, None)
            }
            (_, Some(DockerfileSource::Path(path))) => {
                let full = if local { path.clone() } else { place.join(path) };
                let beside = full
                    .with_file_name(format!("{}.dockerignore", full.file_name().unwrap_or_default().to_string_lossy()));
                (path.display().to_string(), self.read_dockerfile(&full, path)?, Some(beside))
            }
            (None, None) => {
                let full = place.join("Dockerfile");
                (
                    if local { full.display().to_string() } else { "Dockerfile".to_owned() },
                    self.read_dockerfile(&full, Path::new("Dockerfile"))?,
                    Some(place.join("Dockerfile.dockerignore")),
                )
            }
        };
        let mut ignore_text = None;
        for path in ignore_beside.into_iter().chain([place.join(".dockerignore")]) {
            if !local {
                // BuildKit takes remote contexts whole.
                break;
            }
            if let Ok(bytes) = fs::read(&path) {
                ignore_text = Some((path, String::from_utf8_lossy(&bytes).into_owned()));
                break;
            }
        }
        let ignore = match &ignore_text {
            None => None,
            Some((path, text)) => Some(Ignore::parse(text).map_err(|e| {
                BuildError::new(Kind::Input, format!("{}: {e}", path.display()))
                    .hint("mend the pattern; see docs/dockerignore.md")
            })?),
        };
        let context: Arc<dyn Tree> = match tree {
            Some(tree) => tree,
            None => {
                let tree = DirTree::open(&place, ignore, "the build context")?;
                Arc::new(if local { tree.remembering(self.store) } else { tree })
            }
        };
        Ok(Loaded { name, text, context, ignore_text: ignore_text.map(|(_, text)| text), commit, time })
    }

    fn place(&self) -> Result<Place> {
        match &self.request.context {
            Context::Source(ContextSource::Directory(path)) => {
                let meta = fs::metadata(path).map_err(|e| {
                    BuildError::new(Kind::Input, format!("cannot open the build context {}: {e}", path.display()))
                        .hint("the last argument of the command is the directory with the files to build")
                })?;
                if !meta.is_dir() {
                    return Err(BuildError::new(
                        Kind::Input,
                        format!("the build context {} is not a directory", path.display()),
                    )
                    .hint("give the directory that holds the Dockerfile; the Dockerfile itself goes with -f"));
                }
                Ok(Place { dir: path.clone(), ..Place::default() })
            }
            Context::Source(ContextSource::Git(url)) => {
                let git::Checkout { root: dir, commit, time } = self.git(url, None)?;
                Ok(Place { dir, commit: Some(commit), time: Some(seconds(time)), ..Place::default() })
            }
            Context::Source(ContextSource::Http(url)) => {
                let download = self.http(url, None)?;
                let mut place = self.unpack_or_text(download.file.path(), url)?;
                place.time = match (download.last_modified, &place.tree) {
                    (Some(time), _) => Some(seconds(time)),
                    (None, Some(tree)) => crate::epoch::newest(tree.as_ref())?,
                    (None, None) => None,
                };
                Ok(place)
            }
            Context::Stdin(path) => self.unpack_or_text(path, "standard input"),
            Context::Source(_) => Err(BuildError::new(Kind::Input, "an image cannot be the main build context")
                .hint("give it a name with --build-context NAME=docker-image://…")),
        }
    }

    fn unpack_or_text(&self, path: &Path, name: &str) -> Result<Place> {
        let content = archive::detect_file(path).map_err(|e| BuildError::io("read", path, e))?;
        let dir = self.store.scratch_dir("context")?;
        if !matches!(content, archive::Content::Tar(_)) {
            return Ok(Place { dir, text: Some(self.read(path, name)?), ..Place::default() });
        }
        let file = File::open(path).map_err(|e| BuildError::io("open", path, e))?;
        let tree = crate::archive::tree(file, &dir, "the build context")
            .map_err(|e| e.context(format!("the archive of {name}")))?;
        Ok(Place { dir, tree: Some(tree), ..Place::default() })
    }

    fn read_dockerfile(&self, full: &Path, given: &Path) -> Result<String> {
        if !full.exists() {
            let mut error = BuildError::new(
                Kind::Input,
                format!("failed to read the Dockerfile: {}: no such file", given.display()),
            );
            let folder = full.parent().unwrap_or(Path::new("."));
            let mut near: Vec<String> = fs::read_dir(folder)
                .map(|l| l.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect())
                .unwrap_or_default();
            near.retain(|n| n.to_lowercase().contains("dockerfile") || n.to_lowercase().contains("containerfile"));
            near.sort();
            if !near.is_empty() {
                error = error.hint(format!("there is {}: choose it with -f", near.join(", ")));
            }
            return Err(error.hint("name the file with -f PATH, or make one called Dockerfile"));
        }
        self.read(full, &given.display().to_string())
    }

    fn read(&self, path: &Path, name: &str) -> Result<String> {
        const LIMIT: u64 = 16 << 20;
        let meta = fs::metadata(path).map_err(|e| BuildError::io("read", path, e))?;
        if meta.is_dir() {
            return Err(BuildError::new(Kind::Input, format!("failed to read the Dockerfile: {name} is a directory"))
                .hint("name the file itself with -f"));
        }
        if meta.len() > LIMIT {
            return Err(BuildError::new(Kind::Input, format!("{name} is larger than 16 MiB: that is no Dockerfile")));
        }
        let bytes = fs::read(path).map_err(|e| BuildError::io("read", path, e))?;
        String::from_utf8(bytes).map_err(|e| {
            BuildError::new(
                Kind::Input,
                format!("{name} is not UTF-8: byte {} is invalid", e.utf8_error().valid_up_to()),
            )
            .hint("save the file as UTF-8 text")
        })
    }

    /// The time of the commit that a git URL means, in seconds since 1970.
    pub(crate) fn git_time(&self, text: &str, checksum: Option<String>) -> Result<i64> {
        let mut url = git::GitUrl::parse(text).map_err(|e| BuildError::new(Kind::Input, e.to_string()))?;
        if checksum.is_some() {
            url.checksum = checksum;
        }
        self.git_checkout(text, &url).map(|checkout| seconds(checkout.time))
    }

    /// The time of a download in seconds since 1970: what the server says, else that of the newest file in the archive.
    pub(crate) fn http_time(&self, url: &str, checksum: Option<&oci::Digest>) -> Result<Option<i64>> {
        let download = self.http(url, checksum)?;
        if let Some(time) = download.last_modified {
            return Ok(Some(seconds(time)));
        }
        let path = download.file.path();
        let content = archive::detect_file(path).map_err(|e| BuildError::io("read", path, e))?;
        if !matches!(content, archive::Content::Tar(_)) {
            return Ok(None);
        }
        let file = File::open(path).map_err(|e| BuildError::io("open", path, e))?;
        let tree = crate::archive::tree(file, &self.store.scratch_dir("time")?, "the download")
            .map_err(|e| e.context(format!("the archive of {}", source::redact(url))))?;
        crate::epoch::newest(tree.as_ref())
    }

    /// A checkout of a git URL.
    pub(crate) fn git(&self, text: &str, keep_git_dir: Option<bool>) -> Result<git::Checkout> {
        let mut url = git::GitUrl::parse(text).map_err(|e| BuildError::new(Kind::Input, e.to_string()))?;
        if keep_git_dir.is_some() {
            url.keep_git_dir = keep_git_dir;
        }
        self.git_checkout(text, &url)
    }

    fn git_checkout(&self, text: &str, url: &git::GitUrl) -> Result<git::Checkout> {
        let line = format!("[internal] load git source {}", url.display());
        let id = self.vertices.start(self.events, &line, None, &[]);
        let parent = self.store.scratch_dir("git")?;
        let options = self.git_options(url, &parent)?;
        let result =
            git::resolve(url, &options).and_then(|commit| git::checkout(url, &commit, &options)).map_err(git_error);
        let outcome = result.as_ref().map_or_else(|e| Outcome::Failed(e.message().to_owned()), |_| Outcome::Done);
        self.vertices.end(self.events, id, outcome);
        let checkout = result?;
        self.materials.git(text, &checkout.commit);
        Ok(checkout)
    }

    /// The commit that a git URL means now.
    pub(crate) fn git_commit(&self, text: &str) -> Result<String> {
        let url = git::GitUrl::parse(text).map_err(|e| BuildError::new(Kind::Dockerfile, e.to_string()))?;
        let parent = self.store.scratch_dir("git")?;
        let commit = git::resolve(&url, &self.git_options(&url, &parent)?).map_err(git_error)?.commit;
        self.materials.git(text, &commit);
        Ok(commit)
    }

    /// The value of a secret of the request, where it is text.
    fn secret_text(&self, id: &str) -> Option<String> {
        use crate::request::SecretSource;
        let secret = self.request.secrets.iter().find(|s| s.id == id)?;
        match &secret.source {
            SecretSource::File(path) => fs::read_to_string(path).ok(),
            SecretSource::Env(name) => self.env.get(name).cloned(),
        }
    }

    fn git_options<'b>(&'b self, url: &git::GitUrl, parent: &'b Path) -> Result<git::GitOptions<'b>> {
        let agent = self.ssh.socket("default", self.request, self.env)?;
        let ssh_auth_sock = agent.or_else(|| self.env.get("SSH_AUTH_SOCK").map(PathBuf::from));
        Ok(git::GitOptions {
            env: self.env,
            temp_dir: parent,
            auth: git::GitAuth::from_secrets(url.host(), |id| self.secret_text(id)),
            ssh_auth_sock,
            allow_file: true,
            timeout: std::time::Duration::from_secs(600),
            cancelled: self.cancelled,
        })
    }

    /// Downloads a file.
    pub(crate) fn http(&self, url: &str, checksum: Option<&oci::Digest>) -> Result<http::Download> {
        let id = self.vertices.start(self.events, &format!("[internal] load {}", source::redact(url)), None, &[]);
        let item = "downloading".to_owned();
        let progress = |current: u64, total: Option<u64>| {
            let done = total == Some(current);
            self.events.send(Event::Progress { id, item: item.clone(), current, total, done });
        };
        let authorization = http::authorization(url, |id| self.secret_text(id));
        let request = http::Request {
            url,
            checksum,
            authorization: authorization.as_deref(),
            etag: None,
            temp_dir: &self.store.scratch_dir("http")?,
            progress: &progress,
            cancelled: self.cancelled,
        };
        let result = match self.http.download(&request) {
            Ok(http::Answer::File(download)) => Ok(download),
            Ok(http::Answer::NotModified) => {
                Err(BuildError::new(Kind::Remote, format!("{}: not modified", source::redact(url))))
            }
            Err(e) => Err(BuildError::new(Kind::Remote, e.to_string()).caused_by(e)),
        };
        let outcome = result.as_ref().map_or_else(|e| Outcome::Failed(e.message().to_owned()), |_| Outcome::Done);
        self.vertices.end(self.events, id, outcome);
        if let Ok(download) = &result {
            self.materials.http(url, &download.digest);
        }
        result
    }
}

/// Seconds since 1970; what is older counts as 1970.
fn seconds(time: std::time::SystemTime) -> i64 {
    time.duration_since(std::time::UNIX_EPOCH).ok().and_then(|d| i64::try_from(d.as_secs()).ok()).unwrap_or(0)
}

fn git_error(error: git::GitError) -> BuildError {
    let hint = error.hint();
    let this = BuildError::new(Kind::Remote, error.to_string());
    match hint {
        Some(hint) => this.hint(hint).caused_by(error),
        None => this.caused_by(error),
    }
}

/// Named contexts that are file trees, loaded when they are first read.
pub(crate) struct NamedTrees {
    loaded: Mutex<HashMap<String, Arc<dyn Tree>>>,
}

impl NamedTrees {
    pub(crate) fn new() -> Self {
        Self { loaded: Mutex::default() }
    }

    pub(crate) fn get(&self, fetcher: &Fetcher<'_>, name: &str) -> Result<Arc<dyn Tree>> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tree) = loaded.get(name) {
            return Ok(Arc::clone(tree));
        }
        let source = fetcher.request.named_contexts.iter().rev().find(|(n, _)| n == name).map(|(_, s)| s);
        let mut local = false;
        let place = match source {
            Some(ContextSource::Directory(path)) => {
                local = true;
                path.clone()
            }
            Some(ContextSource::Git(url)) => fetcher.git(url, None)?.root,
            Some(ContextSource::Http(url)) => {
                let download = fetcher.http(url, None)?;
                let place = fetcher.unpack_or_text(download.file.path(), url)?;
                if let Some(tree) = place.tree {
                    loaded.insert(name.to_owned(), Arc::clone(&tree));
                    return Ok(tree);
                }
                if let Some(text) = place.text {
                    let file = http::url_file_name(url).unwrap_or_else(|| "file".to_owned());
                    fs::write(place.dir.join(file), text).map_err(|e| BuildError::io("write", &place.dir, e))?;
                }
                place.dir
            }
            _ => return Err(BuildError::new(Kind::Input, format!("there is no context named {name:?}"))),
        };
        let ignore = match fs::read_to_string(place.join(".dockerignore")) {
            Ok(text) if local => Some(Ignore::parse(&text).map_err(|e| {
                BuildError::new(Kind::Input, format!("{}: {e}", place.join(".dockerignore").display()))
            })?),
            _ => None,
        };
        if !place.is_dir() {
            return Err(BuildError::new(
                Kind::Input,
                format!("the build context {name} is no directory: {}", place.display()),
            )
            .hint(
                "--build-context NAME=PATH takes a directory, docker-image://…, oci-layout://…, a git or an HTTP URL",
            ));
        }
        let tree = DirTree::open(&place, ignore, format!("the context {name}"))?;
        let tree: Arc<dyn Tree> = Arc::new(if local { tree.remembering(fetcher.store) } else { tree });
        loaded.insert(name.to_owned(), Arc::clone(&tree));
        Ok(tree)
    }
}

/// An error of the registry, for callers that have no other reason to know that module.
pub(crate) fn remote_error(error: registry::Error) -> BuildError {
    registry_error(error)
}
