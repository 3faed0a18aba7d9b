//! Where credentials are looked for, and in which order.
use super::file::{self, ConfigFile, Entry};
use super::helper::Helper;
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
        let sources = &*self.0;
        for key in file::keys(registry, repository) {
            if let Some((_, credential)) = sources.explicit.iter().find(|(own, _)| file::normal(own) == key) {
                return Ok(Some(Found { credential: credential.clone(), origin: "the command line".to_owned() }));
            }
        }
        let mut failed = None;
        for place in sources.places() {
            match sources.look_in(&place, registry, repository) {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                // Another place may have it; if none has, the first failure is the likely reason.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if let Some(token) = &sources.github_token
            && file::normal(registry) == "ghcr.io"
        {
            let user = sources.github_actor.as_deref().unwrap_or("x-access-token");
            let credential = Credential::basic(user, token.expose());
            return Ok(Some(Found { credential, origin: "GITHUB_TOKEN".to_owned() }));
        }
        failed.map_or(Ok(None), Err)
    }
}

/// Something that a place says it holds, without the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The registry, or a path in it (`ghcr.io/org`); `None` where it cannot be told: a helper for whatever is asked,
    /// or a file that cannot be read.
    pub registry: Option<String>,
    /// Where it lies, for people: a file, a helper, a variable, or why it cannot be read.
    pub origin: String,
}

impl Credentials {
    /// What the places hold, in the order in which they are looked at. No helper is run and no secret is shown.
    #[must_use]
    pub fn held(&self) -> Vec<Held> {
        let sources = &*self.0;
        let held = |registry: Option<String>, origin: String| Held { registry, origin };
        let mut found: Vec<Held> = sources
            .explicit
            .iter()
            .map(|(own, _)| held(Some(file::normal(own)), "the command line".to_owned()))
            .collect();
        for place in sources.places() {
            let (config, origin) = match &place {
                Place::Text(text) => (ConfigFile::parse(text.expose()).map(Some), "DOCKER_AUTH_CONFIG".to_owned()),
                Place::File(path) => (ConfigFile::read(path), path.display().to_string()),
            };
            match config {
                Ok(None) => {}
                Ok(Some(config)) => {
                    for (registry, helper) in config.registries() {
                        let by = helper.map_or_else(String::new, |name| format!(" (docker-credential-{name})"));
                        found.push(held(Some(registry), format!("{origin}{by}")));
                    }
                    if let Some(name) = config.helper_for_all() {
                        found.push(held(None, format!("docker-credential-{name} (named in {origin})")));
                    }
                }
                Err(why) => found.push(held(None, why)),
            }
        }
        if sources.github_token.is_some() {
            found.push(held(Some("ghcr.io".to_owned()), "GITHUB_TOKEN".to_owned()));
        }
        found
    }
}

/// The registry that a user means by an address: `https://index.docker.io/v1/` is `docker.io`,
/// `https://Registry.Example/v2/` is `registry.example`.
#[must_use]
pub fn registry_name(address: &str) -> String {
    let normal = file::normal(address.trim());
    normal.split_once('/').map_or(normal.clone(), |(host, _)| host.to_owned())
}

/// A place that may hold a file.
enum Place<'a> {
    Text(&'a Secret),
    File(PathBuf),
}

impl CredentialSources {
    fn places(&self) -> Vec<Place<'_>> {
        if let Some(only) = &self.registry_auth_file {
            return vec![Place::File(only.clone())];
        }
        let mut places: Vec<Place<'_>> = self.docker_auth_config.iter().map(Place::Text).collect();
        let podman = |directory: &PathBuf| directory.join("containers/auth.json");
        let mut files: Vec<PathBuf> = Vec::new();
        files.extend(self.docker_config.as_ref().map(|d| d.join("config.json")));
        files.extend(self.xdg_runtime_dir.as_ref().map(podman));
        match (&self.xdg_config_home, &self.home) {
            (Some(config), _) => files.push(podman(config)),
            (None, Some(home)) => files.push(podman(&home.join(".config"))),
            (None, None) => {}
        }
        if let Some(home) = &self.home {
            if self.docker_config.is_none() {
                files.push(home.join(".docker/config.json"));
            }
            files.push(home.join(".dockercfg"));
        }
        files.extend(self.extra_files.iter().cloned());
        places.extend(files.into_iter().map(Place::File));
        places
    }

    fn look_in(&self, place: &Place<'_>, registry: &str, repository: &str) -> Result<Option<Found>, CredentialError> {
        let (config, origin) = match place {
            Place::Text(text) => {
                let parsed = ConfigFile::parse(text.expose())
                    .map_err(|why| CredentialError(format!("DOCKER_AUTH_CONFIG: {why}")))?;
                (parsed, "DOCKER_AUTH_CONFIG".to_owned())
            }
            Place::File(path) => match ConfigFile::read(path).map_err(CredentialError)? {
                Some(parsed) => (parsed, path.display().to_string()),
                None => return Ok(None),
            },
        };
        let within = |why: String| CredentialError(format!("{origin}: {why}"));
        let mut failed = None;
        for entry in config.entries(registry, repository).map_err(within)? {
            match entry {
                Entry::Here(credential) => return Ok(Some(Found { credential, origin })),
                Entry::Helper { name, server } => {
                    match Helper::find(self, &name).and_then(|helper| helper.get(&server)) {
                        Ok(Some(credential)) => {
                            let origin = format!("docker-credential-{name} (named in {origin})");
                            return Ok(Some(Found { credential, origin }));
                        }
                        Ok(None) => {}
                        Err(why) => failed = failed.or(Some(within(why))),
                    }
                }
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// The file that `login` writes: `REGISTRY_AUTH_FILE`, docker's, in this order.
    pub(super) fn login_file(&self) -> Option<PathBuf> {
        self.registry_auth_file
            .clone()
            .or_else(|| self.docker_config.as_ref().map(|d| d.join("config.json")))
            .or_else(|| self.home.as_ref().map(|h| h.join(".docker/config.json")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn origin(sources: &CredentialSources, registry: &str) -> Option<String> {
        Credentials::new(sources.clone())
            .lookup(registry, "a/b")
            .unwrap()
            .map(|found| found.credential.username().unwrap_or("token").to_owned())
    }

    fn file(user: &str) -> String {
        serde_json::json!({ "auths": { "r.io": { "username": user, "password": "p" } } }).to_string()
    }

    #[test]
    fn what_is_held_is_listed_without_secrets() {
        let text = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpwYXNz"},"ghcr.io/org":{"auth":"dTpwYXNz"},"empty.io":{}},
            "credHelpers":{"x.dkr.ecr.eu-west-1.amazonaws.com":"ecr-login"}}"#;
        let sources = CredentialSources {
            docker_auth_config: Some(Secret::new(text)),
            github_token: Some(Secret::new("t")),
            ..CredentialSources::default()
        };
        let held = Credentials::new(sources).held();
        let lines: Vec<String> =
            held.iter().map(|h| format!("{} in {}", h.registry.as_deref().unwrap_or("?"), h.origin)).collect();
        assert_eq!(
            lines,
            [
                "x.dkr.ecr.eu-west-1.amazonaws.com in DOCKER_AUTH_CONFIG (docker-credential-ecr-login)",
                "docker.io in DOCKER_AUTH_CONFIG",
                "ghcr.io/org in DOCKER_AUTH_CONFIG",
                "ghcr.io in GITHUB_TOKEN",
            ]
        );
    }

    #[test]
    fn the_order_of_places() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str, user: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, file(user)).unwrap();
        };
        let mut sources = CredentialSources::from_lookup(|name| {
            let path = |p: &str| Some(root.path().join(p).into_os_string());
            match name {
                "HOME" => path("home"),
                "XDG_RUNTIME_DIR" => path("run"),
                "DOCKER_AUTH_CONFIG" => Some("".into()),
                _ => None,
            }
        });
        assert_eq!(origin(&sources, "r.io"), None);
        at("home/.dockercfg", "old");
        assert_eq!(origin(&sources, "r.io").as_deref(), Some("old"));
        at("home/.docker/config.json", "docker");
        assert_eq!(origin(&sources, "r.io").as_deref(), Some("docker"));
        at("home/.config/containers/auth.json", "config");
        assert_eq!(origin(&sources, "r.io").as_deref(), Some("config"));
        at("run/containers/auth.json", "run");
        assert_eq!(origin(&sources, "r.io").as_deref(), Some("run"));
        at("dc/config.json", "dc");
        sources.docker_config = Some(root.path().join("dc"));
        assert_eq!(origin(&sources, "r.io").as_deref(), Some("dc"));
        sources.docker_auth_config = Some(file("text").into());
        assert_eq!(origin(&sources, "r.io").as_deref(), Some("text"));
        at("only.json", "only");
        sources.registry_auth_file = Some(root.path().join("only.json"));
        assert_eq!(origin(&sources, "r.io").as_deref(), Some("only"));
        sources.explicit = vec![("https://r.io/v2/".into(), Credential::basic("explicit", "p"))];
        assert_eq!(origin(&sources, "r.io").as_deref(), Some("explicit"));
        assert_eq!(origin(&sources, "other.io"), None);
    }

    #[test]
    fn github_comes_last_and_for_ghcr_only() {
        let sources = CredentialSources::from_lookup(|name| match name {
            "GITHUB_TOKEN" => Some("ghs_x".into()),
            "GITHUB_ACTOR" => Some("octocat".into()),
            _ => None,
        });
        assert_eq!(origin(&sources, "ghcr.io").as_deref(), Some("octocat"));
        assert_eq!(origin(&sources, "docker.io"), None);
        assert!(!format!("{sources:?}").contains("ghs_x"));
    }

    #[test]
    fn a_broken_place_is_reported_only_when_no_other_has_it() {
        let root = tempfile::tempdir().unwrap();
        let broken = root.path().join("broken.json");
        let good = root.path().join("good.json");
        fs::write(&broken, "{").unwrap();
        fs::write(&good, file("good")).unwrap();
        let sources = CredentialSources { extra_files: vec![broken.clone(), good], ..CredentialSources::default() };
        assert_eq!(origin(&sources, "r.io").as_deref(), Some("good"));
        let error = Credentials::new(sources).lookup("other.io", "").unwrap_err().to_string();
        assert_eq!(error, format!("cannot read {}: no JSON at line 1, column 1", broken.display()));
    }
}
