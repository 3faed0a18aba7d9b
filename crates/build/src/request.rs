//! What a build is asked to do: the flags of `docker buildx build`, parsed, with nothing of the
//! machine's environment in them. The command line makes it; a server may make it too.
mod cache;

pub use cache::{CacheBackend, CacheMode, CacheTarget, GhaCache, S3Cache};

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci::{Platform, Reference, media_type::Compression};

/// One build.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The main build context.
    pub context: Context,
    /// `-f`: a path (relative to the current directory), `-` or an HTTP URL; `None` for
    /// `Dockerfile` in the context.
    pub dockerfile: Option<DockerfileSource>,
    /// `--build-context NAME=…`, in order.
    pub named_contexts: Vec<(String, ContextSource)>,
    /// `--build-arg`; without a value the environment's was taken already.
    pub build_args: BTreeMap<String, String>,
    /// `--target`
    pub target: Option<String>,
    /// `--platform`; empty for the host's.
    pub platforms: Vec<Platform>,
    /// `-t`
    pub tags: Vec<Reference>,
    /// `-o`, `--push`, `--load`; empty: the result stays in the store.
    pub outputs: Vec<Output>,
    /// `--label`
    pub labels: BTreeMap<String, String>,
    /// `--annotation [LEVEL[,LEVEL]:]KEY=VALUE`
    pub annotations: Vec<Annotation>,
    /// `--secret`
    pub secrets: Vec<Secret>,
    /// `--ssh`
    pub ssh: Vec<SshAgent>,
    /// `--no-cache`
    pub no_cache: bool,
    /// `--no-cache-filter`: stages whose steps are run anew.
    pub no_cache_filter: Vec<String>,
    /// `--pull`: ask registries even where the store has the image.
    pub pull: bool,
    /// `--network`: the default for RUN.
    pub network: dockerfile::ast::Network,
    /// `--add-host NAME:IP`
    pub add_hosts: Vec<(String, String)>,
    /// `--shm-size` in bytes.
    pub shm_size: Option<u64>,
    /// `--ulimit NAME=SOFT[:HARD]`
    pub ulimits: Vec<(String, u64, u64)>,
    /// `--allow security.insecure` and the like.
    pub allow: Vec<String>,
    /// `--host-ca`: give the host's CA certificates to RUN without a trace in the image.
    pub host_ca: Option<PathBuf>,
    /// Proxy variables given to RUN (already chosen from the environment), never in keys or history.
    pub proxy: BTreeMap<String, String>,
    /// `SOURCE_DATE_EPOCH`, in seconds.
    pub source_date_epoch: Option<i64>,
    /// `--isolation`
    pub isolation: Option<String>,
    /// `--on-error=shell`
    pub on_failure: Option<OnFailure>,
    /// How many steps run at once.
    pub parallelism: usize,
    /// `--cache-from`, in order: the first that knows a step gives it.
    pub cache_from: Vec<CacheBackend>,
    /// `--cache-to`
    pub cache_to: Vec<CacheTarget>,
    /// `--provenance`; `None` for none.
    pub provenance: Option<ProvenanceRequest>,
    /// `--sbom`; `None` for none.
    pub sbom: Option<SbomRequest>,
    /// What the caller found out about the repository of a local context: `source`, `revision`,
    /// `localdir:context`, …
    pub vcs: BTreeMap<String, String>,
    /// Where `org.opencontainers.image.base.name` and `.digest` go.
    pub base_metadata: BaseMetadata,
    /// Asked for every image of a registry before it is used.
    pub base_check: Option<BaseCheck>,
}

/// Says whether an image of a registry may be used: its name, and the digest that the name has now.
#[derive(Clone)]
pub struct BaseCheck(pub std::sync::Arc<CheckImage>);

/// What a [`BaseCheck`] holds; the error is the reason of a refusal.
pub type CheckImage = dyn Fn(&Reference, &oci::Digest) -> Result<(), String> + Send + Sync;

impl std::fmt::Debug for BaseCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BaseCheck")
    }
}

/// Where the image says what it is based on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BaseMetadata {
    /// As labels.
    pub labels: bool,
    /// As annotations of the manifest.
    pub annotations: bool,
}

/// `--sbom`, `--attest type=sbom`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SbomRequest {
    /// `files=`: which files it lists.
    pub files: attest::sbom::Files,
}

/// `--provenance`, `--attest type=provenance`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenanceRequest {
    /// `mode=`
    pub mode: ProvenanceMode,
    /// `version=`
    pub version: attest::provenance::Version,
    /// `builder-id=`; empty where nobody said.
    pub builder_id: String,
    /// `reproducible=true`
    pub reproducible: bool,
}

/// How much the provenance tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProvenanceMode {
    /// What went in; no build arguments, labels or names of secrets.
    Min,
    /// Those, the Dockerfile, every step, its layers and its times.
    Max,
}

/// What a shell in a failed step talks to, and what ends with it.
pub type ShellTerminal = (sandbox::Io, Box<dyn Send>);

/// Opens a terminal for a shell in the root of a RUN that failed; it is given the step's line and how it failed. What
/// comes back beside the descriptors is dropped when the shell has ended.
#[derive(Clone)]
pub struct OnFailure(std::sync::Arc<OpenTerminal>);

type OpenTerminal = dyn Fn(&str, &str) -> std::io::Result<ShellTerminal> + Send + Sync;

impl OnFailure {
    /// Calls `open` for each step that fails, never two at once.
    pub fn new(open: impl Fn(&str, &str) -> std::io::Result<ShellTerminal> + Send + Sync + 'static) -> Self {
        Self(std::sync::Arc::new(open))
    }

    pub(crate) fn open(&self, step: &str, error: &str) -> std::io::Result<ShellTerminal> {
        (self.0)(step, error)
    }
}

impl std::fmt::Debug for OnFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnFailure")
    }
}

/// The main context.
#[derive(Debug, Clone)]
pub enum Context {
    /// A directory, URL, …
    Source(ContextSource),
    /// `-`: a tar archive or a Dockerfile on standard input, spooled to this file.
    Stdin(PathBuf),
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextSource {
    /// A local directory.
    Directory(PathBuf),
    /// A git repository: `https://…/x.git#ref:subdir`, `git@host:x.git`, `git://…`.
    Git(String),
    /// A tar archive (or a Dockerfile) behind HTTP(S).
    Http(String),
    /// `docker-image://REF`
    Image(Reference),
    /// `oci-layout://PATH[:TAG][@DIGEST]`
    OciLayout {
        /// The layout's directory.
        path: PathBuf,
        /// The entry's name.
        tag: Option<String>,
        /// The manifest's digest.
        digest: Option<oci::Digest>,
    },
}

/// `-f`
#[derive(Debug, Clone)]
pub enum DockerfileSource {
    /// A file. Relative paths stand for the current directory, or the root of a remote context.
    Path(PathBuf),
    /// Standard input, spooled to this file.
    Stdin(PathBuf),
    /// `http(s)://…`
    Url(String),
}

/// `--secret id=…`
#[derive(Debug, Clone)]
pub struct Secret {
    /// What `RUN --mount=type=secret,id=` names.
    pub id: String,
    /// Where the value is.
    pub source: SecretSource,
}

/// Where a secret's value is. Read when it is needed, never stored.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// `src=`
    File(PathBuf),
    /// `env=`
    Env(String),
}

/// `--ssh ID[=SOCKET|KEY,…]`
#[derive(Debug, Clone)]
pub struct SshAgent {
    /// What `RUN --mount=type=ssh,id=` names; `default` where none is given.
    pub id: String,
    /// The agent's socket, or files with private keys; none: the agent of `SSH_AUTH_SOCK`.
    pub paths: Vec<PathBuf>,
}

/// `--annotation`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// Where it goes.
    pub level: AnnotationLevel,
    /// For one platform only: `manifest[linux/amd64]:`.
    pub platform: Option<Platform>,
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
}

/// Where an annotation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnnotationLevel {
    /// The manifest (default).
    Manifest,
    /// The index.
    Index,
    /// The descriptor of the manifest in the index.
    ManifestDescriptor,
    /// The descriptor of the index in a layout.
    IndexDescriptor,
}

/// `-o`
#[derive(Debug, Clone)]
pub struct Output {
    /// What is written.
    pub kind: OutputKind,
    /// `dest=`; `-` is standard output.
    pub dest: Option<String>,
    /// `name=` (comma separated in quotes); the tags of the request where none is given.
    pub names: Vec<Reference>,
    /// `push=true` of `type=image`.
    pub push: bool,
    /// `push-by-digest=true`
    pub push_by_digest: bool,
    /// `name-canonical=true`
    pub name_canonical: bool,
    /// `compression=`; gzip where none is given.
    pub compression: Option<Compression>,
    /// `compression-level=`
    pub compression_level: Option<i32>,
    /// `force-compression=true`: recompress the base's layers too.
    pub force_compression: bool,
    /// `oci-mediatypes=`
    pub oci_mediatypes: Option<bool>,
    /// `rewrite-timestamp=true`
    pub rewrite_timestamp: bool,
    /// `tar=false` of `type=oci`: a directory instead of an archive.
    pub tar: bool,
    /// `platform-split=`
    pub platform_split: Option<bool>,
    /// `annotation[-LEVEL][[PLATFORM]].KEY=VALUE`
    pub annotations: Vec<Annotation>,
    /// `oci-artifact=true`: attestation manifests with an empty config.
    pub oci_artifact: bool,
    /// `registry.insecure=true`: plain HTTP or an unverified certificate for this push.
    pub insecure: bool,
}

/// `type=`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// Into the store, and with `push=true` to a registry.
    Image,
    /// To a registry.
    Registry,
    /// An OCI layout, as an archive or a directory.
    Oci,
    /// An archive for `docker load`; without `dest` loaded into a running Docker or Podman.
    Docker,
    /// The files as a tar archive.
    Tar,
    /// The files in a directory.
    Local,
}

impl Output {
    /// An output of this kind with nothing else said.
    #[must_use]
    pub fn of_kind(kind: OutputKind) -> Self {
        Self {
            kind,
            dest: None,
            names: Vec::new(),
            push: false,
            push_by_digest: false,
            insecure: false,
            oci_artifact: false,
            name_canonical: false,
            compression: None,
            compression_level: None,
            force_compression: false,
            oci_mediatypes: None,
            rewrite_timestamp: false,
            tar: true,
            platform_split: None,
            annotations: Vec::new(),
        }
    }
}
