//! Where credentials are looked for, and in which order.
use super::secret::{Credential, Secret};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The places that may hold credentials. All of them come from the caller; [`CredentialSources::from_lookup`]
/// fills them from environment variables.
#[derive(Debug, Clone, Default)]
pub struct CredentialSources {
    /// Credentials given outright, by `registry` or `registry/path`.
    pub explicit: Vec<(String, Credential)>,
    /// `REGISTRY_AUTH_FILE`: this file alone, as podman has it.
    pub registry_auth_file: Option<PathBuf>,
    /// `DOCKER_AUTH_CONFIG`: the text of a `config.json`, as GitLab passes it.
    pub docker_auth_config: Option<Secret>,
    /// `DOCKER_CONFIG`: the directory of docker's `config.json`.
    pub docker_config: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`.
    pub xdg_runtime_dir: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`.
    pub xdg_config_home: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// More files of the same format: a mounted Kubernetes `.dockerconfigjson`, `/kaniko/.docker/config.json`.
    pub extra_files: Vec<PathBuf>,
    /// `GITHUB_TOKEN`, for ghcr.io.
    pub github_token: Option<Secret>,
    /// `GITHUB_ACTOR`: the name that goes with it.
    pub github_actor: Option<String>,
    /// `PATH`, where credential helpers are looked for.
    pub path: Option<OsString>,
    /// How long a credential helper may take; 30 seconds where not given.
    pub helper_timeout: Option<Duration>,
}

impl CredentialSources {
    /// Takes the places from environment variables, which `lookup` reads.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let get = |name: &str| lookup(name).filter(|v| !v.is_empty());
        let path = |name: &str| get(name).map(PathBuf::from);
        let text = |name: &str| get(name).and_then(|v| v.into_string().ok());
        Self {
            explicit: Vec::new(),
            registry_auth_file: path("REGISTRY_AUTH_FILE"),
            docker_auth_config: text("DOCKER_AUTH_CONFIG").map(Secret::new),
            docker_config: path("DOCKER_CONFIG"),
            xdg_runtime_dir: path("XDG_RUNTIME_DIR"),
            xdg_config_home: path("XDG_CONFIG_HOME"),
            home: path("HOME"),
            extra_files: Vec::new(),
            github_token: text("GITHUB_TOKEN").map(Secret::new),
            github_actor: text("GITHUB_ACTOR"),
            path: get("PATH"),
            helper_timeout: None,
        }
    }
}

/// Why credentials could not be had from a place that should have them.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct CredentialError(pub(crate) String);

/// A credential, and where it was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// What to show to the registry.
    pub credential: Credential,
    /// Where it comes from, for people: a file, a helper, a variable.
    pub origin: String,
}

/// Looks up credentials. Cheap to clone; reads files and runs helpers only when asked.
#[derive(Debug, Clone)]
pub struct Credentials(pub(super) Arc<CredentialSources>);

impl Credentials {
    /// Looks in these places.
    #[must_use]
    pub fn new(sources: CredentialSources) -> Self {
        Self(Arc::new(sources))
    }

    /// None at all.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::new(CredentialSources::default())
    }

    /// The credential for a repository (or with an empty `repository`, for the registry).
    pub fn lookup(&self, registry: &str, repository: &str) -> Result<Option<Found>, CredentialError> {
        let _ = repository;
        Ok(self
            .0
            .explicit
            .iter()
            .find(|(n, _)| n == registry)
            .map(|(_, c)| Found { credential: c.clone(), origin: "the command line".into() }))
    }
}
