//! What `images.yaml` says, checked.
use crate::duration::Delay;
use crate::yaml::Mark;
use std::collections::BTreeMap;

/// An enrolled image.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its name, unique in the file.
    pub name: String,
    /// Where its entry begins.
    pub mark: Mark,
    /// Host and port.
    pub registry: String,
    /// The path in the registry, with `library/` where Docker adds it.
    pub repository: String,
    /// Built here, or watched only.
    pub kind: Kind,
    /// How long a rebuild waits after a change.
    pub rebuild_delay: Delay,
    /// The names in `dependsOn`.
    pub depends_on: Vec<String>,
    /// Which tags count, of the image itself or of an external one.
    pub selection: Selection,
}

/// Built here, or watched only.
#[derive(Debug, Clone)]
pub enum Kind {
    /// With a source.
    Managed(Box<Managed>),
    /// Without.
    External,
}

/// How the newest tag of an external image is found.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// `allowTags`
    pub allow: Option<String>,
    /// `ignoreTags`
    pub ignore: Vec<String>,
    /// `constraint`
    pub constraint: Option<String>,
    /// `imageSelectionStrategy`
    pub strategy: Strategy,
}

/// How the newest tag is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// The digest that the tag has now.
    Digest,
    /// The highest version.
    SemVer,
    /// The image that was made last.
    NewestBuild,
    /// The last name in the order of the alphabet.
    #[default]
    Lexical,
}

impl Strategy {
    /// As Kargo writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Digest => "Digest",
            Self::SemVer => "SemVer",
            Self::NewestBuild => "NewestBuild",
            Self::Lexical => "Lexical",
        }
    }

    /// The strategy of a name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        [Self::Digest, Self::SemVer, Self::NewestBuild, Self::Lexical].into_iter().find(|s| s.name() == name)
    }
}

/// How an image is built.
#[derive(Debug, Clone, Default)]
pub struct Managed {
    /// Where its files come from; `None` for an image beside `images.yaml`.
    pub source: Option<Source>,
    /// What lies beside `images.yaml`.
    pub local: Local,
    /// Empty for the platform of the machine that builds.
    pub platforms: Vec<String>,
    /// Tag rules.
    pub tags: Vec<String>,
    /// `flavor`
    pub flavor: Vec<String>,
    /// Build arguments.
    pub build_args: BTreeMap<String, String>,
    /// Named contexts.
    pub build_contexts: BTreeMap<String, String>,
    /// The stage.
    pub target: Option<String>,
    /// Secrets by name.
    pub secrets: Vec<Secret>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Whether a changed base asks for a rebuild.
    pub auto_rebuild: bool,
    /// How versions are made.
    pub version: Version,
    /// The gate.
    pub scan: Scan,
    /// The bill of materials: format, and whether the image is refused without.
    pub sbom: Policy,
    /// Signatures: the key, and whether the image is refused without.
    pub signing: Policy,
    /// Manifests.
    pub updates: Vec<Update>,
    /// Who is told.
    pub notify: Vec<Notify>,
}

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// `github`, `gitlab`, `git`
    pub provider: String,
    /// OWNER/NAME
    pub repo: Option<String>,
    /// The URL that git is given.
    pub url: String,
    /// The branch.
    pub branch: String,
    /// The Dockerfile, from the top of the repository.
    pub dockerfile: Option<String>,
    /// The build context, from the top of the repository.
    pub context: Option<String>,
    /// The GitHub workflow.
    pub workflow: Option<String>,
    /// Patterns of files whose change asks for a build.
    pub paths: Vec<String>,
    /// Whether submodules are fetched.
    pub submodules: bool,
}

impl Source {
    /// The Dockerfile's path from the top of the repository.
    #[must_use]
    pub fn dockerfile_path(&self) -> String {
        match (&self.dockerfile, &self.context) {
            (Some(path), _) => path.trim_start_matches("./").to_owned(),
            (None, Some(context)) if context != "." => format!("{}/Dockerfile", context.trim_end_matches('/')),
            (None, _) => "Dockerfile".into(),
        }
    }
}

/// What lies beside `images.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Local {
    /// A Dockerfile.
    pub dockerfile: Option<String>,
    /// A directory.
    pub dir: Option<String>,
    /// Files below `dir` that are copied over the source.
    pub patch_files: Vec<String>,
    /// A file with the version.
    pub version_file: Option<String>,
}

/// A secret of the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Its name in the Dockerfile.
    pub id: String,
    /// The variable.
    pub env: Option<String>,
    /// The file.
    pub file: Option<String>,
}

/// The gate between build and tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Whether the entry says anything about it.
    pub configured: bool,
    /// The lowest severity that stops the image.
    pub fail_on: String,
    /// Vulnerabilities without a fix do not count.
    pub only_fixed: bool,
    /// Accepted vulnerabilities.
    pub ignore_file: Option<String>,
    /// Whether an image that was not scanned is refused.
    pub required: bool,
}

impl Default for Scan {
    fn default() -> Self {
        Self { configured: false, fail_on: "critical".into(), only_fixed: false, ignore_file: None, required: true }
    }
}

/// Something that is done where it can be, or must be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Whether the entry says anything about it.
    pub configured: bool,
    /// The SBOM's format, the signature's key.
    pub with: Option<String>,
    /// Whether the image is refused without.
    pub required: bool,
}

/// How versions are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Whether the entry says anything about it.
    pub configured: bool,
    /// `patch`, `minor`, `major`, `conventional`, `calver`, `none`
    pub bump: String,
    /// The first.
    pub initial: String,
    /// The format of calver.
    pub format: String,
    /// Whether the source gets a tag.
    pub git_tag: bool,
    /// What stands before the version in it.
    pub tag_prefix: String,
}

impl Default for Version {
    fn default() -> Self {
        Self {
            configured: false,
            bump: "patch".into(),
            initial: "0.1.0".into(),
            format: "YYYY.0M.0D".into(),
            git_tag: false,
            tag_prefix: "v".into(),
        }
    }
}

/// A manifest that gets the new image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Update {
    /// The file.
    pub path: String,
    /// `kustomize`, `helm`, `kubernetes`, `flux`, `argocd`; `None`: told by its content.
    pub kind: Option<String>,
    /// The image's name in it.
    pub image: Option<String>,
    /// `tag`, `digest`, `both`
    pub write: String,
    /// Helm.
    pub tag_key: Option<String>,
    /// Helm.
    pub digest_key: Option<String>,
    /// Helm.
    pub repository_key: Option<String>,
    /// Another repository than the source's.
    pub url: Option<String>,
    /// Its branch.
    pub branch: Option<String>,
    /// The commit's message.
    pub message: Option<String>,
    /// Whether the commit is signed off.
    pub sign_off: bool,
    /// A request that somebody merges, in the place of a push to the branch.
    pub pull_request: Option<PullRequest>,
}

/// A pull request, on GitLab a merge request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PullRequest {
    /// `github`, `gitlab`; `None`: told by the repository's host.
    pub provider: Option<String>,
    /// The branch that gets the commit; placeholders as in the message. `None`: `cooperage/{name}`.
    pub branch: Option<String>,
    /// `None`: the first line of the commit's message.
    pub title: Option<String>,
    /// The text.
    pub body: Option<String>,
    /// Labels.
    pub labels: Vec<String>,
}

/// A webhook that is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notify {
    /// The variable with its URL.
    pub url_env: String,
    /// Told of images that were made.
    pub on_success: bool,
    /// Told of failures.
    pub on_failure: bool,
    /// `json`, `slack`, `teams`
    pub format: String,
}

impl Image {
    /// `REGISTRY/REPOSITORY`
    #[must_use]
    pub fn reference(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// How it is built; `None` for an external one.
    #[must_use]
    pub fn managed(&self) -> Option<&Managed> {
        match &self.kind {
            Kind::Managed(managed) => Some(managed),
            Kind::External => None,
        }
    }

    /// `managed`, `external`
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Managed(_) => "managed",
            Kind::External => "external",
        }
    }
}
