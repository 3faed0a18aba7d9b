//! Which kind of place this is, for words only: what works is tried, never concluded from a name.

use std::path::Path;

use serde::Serialize;

/// A kind of place. Several may hold at once: a GitHub Actions job in a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// A pod.
    Kubernetes,
    /// A container of Docker's.
    Docker,
    /// A container of Podman's.
    Podman,
    /// A DevPod workspace.
    Devpod,
    /// A GitHub codespace.
    Codespaces,
    /// A Gitpod or Ona workspace.
    Gitpod,
    /// A GitHub Actions job.
    GithubActions,
    /// A GitLab CI job.
    GitlabRunner,
    /// A Jenkins agent.
    Jenkins,
    /// gVisor's kernel.
    Gvisor,
    /// Windows Subsystem for Linux.
    Wsl,
}

impl Place {
    /// Its name, as its makers write it.
    pub fn name(self) -> &'static str {
        match self {
            Place::Kubernetes => "Kubernetes",
            Place::Docker => "Docker",
            Place::Podman => "Podman",
            Place::Devpod => "DevPod",
            Place::Codespaces => "GitHub Codespaces",
            Place::Gitpod => "Gitpod",
            Place::GithubActions => "GitHub Actions",
            Place::GitlabRunner => "GitLab CI",
            Place::Jenkins => "Jenkins",
            Place::Gvisor => "gVisor",
            Place::Wsl => "WSL",
        }
    }
}

/// Environment and files, as far as they tell the place.
pub struct Clues<'a> {
    /// An environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Whether a file exists.
    pub exists: &'a dyn Fn(&Path) -> bool,
    /// The content of a file.
    pub read: &'a dyn Fn(&Path) -> Option<String>,
}

/// gVisor's /proc/version, whatever kernel it runs on.
const GVISOR_VERSION: &str = "Sun Jan 10 15:06:54 PST 2016";

/// Every kind of place that the clues name, in the order of [`Place`].
pub fn recognise(clues: &Clues<'_>) -> Vec<Place> {
    let set = |name: &str| (clues.env)(name).is_some_and(|value| !value.is_empty());
    let is = |name: &str, expected: &str| (clues.env)(name).is_some_and(|value| value == expected);
    let exists = |path: &str| (clues.exists)(Path::new(path));
    let version = (clues.read)(Path::new("/proc/version")).unwrap_or_default();
    let signs = [
        (Place::Kubernetes, set("KUBERNETES_SERVICE_HOST") || exists("/var/run/secrets/kubernetes.io/serviceaccount")),
        (Place::Docker, exists("/.dockerenv")),
        (Place::Podman, exists("/run/.containerenv") || is("container", "podman")),
        (Place::Devpod, set("DEVPOD") || set("DEVPOD_WORKSPACE_ID")),
        (Place::Codespaces, is("CODESPACES", "true")),
        (Place::Gitpod, set("GITPOD_WORKSPACE_ID")),
        (Place::GithubActions, is("GITHUB_ACTIONS", "true")),
        (Place::GitlabRunner, set("GITLAB_CI")),
        (Place::Jenkins, set("JENKINS_URL")),
        (Place::Gvisor, version.contains(GVISOR_VERSION) || version.contains("gVisor")),
        (Place::Wsl, version.to_ascii_lowercase().contains("microsoft")),
    ];
    signs.into_iter().filter_map(|(place, holds)| holds.then_some(place)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_recognised_by_their_clues() {
        let places = |env: &[(&str, &str)], files: &[&str], version: &str| {
            recognise(&Clues {
                env: &|name| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()),
                exists: &|path| files.iter().any(|file| Path::new(file) == path),
                read: &|path| (path == Path::new("/proc/version")).then(|| version.to_owned()),
            })
        };
        assert_eq!(places(&[], &[], "Linux version 6.18.0"), []);
        assert_eq!(
            places(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("GITHUB_ACTIONS", "true")], &["/.dockerenv"], ""),
            [Place::Kubernetes, Place::Docker, Place::GithubActions]
        );
        assert_eq!(places(&[("CODESPACES", "false"), ("GITLAB_CI", "")], &["/run/.containerenv"], ""), [Place::Podman]);
        assert_eq!(places(&[], &[], "Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016"), [Place::Gvisor]);
        assert_eq!(places(&[], &[], "Linux version 5.15.1-microsoft-standard-WSL2"), [Place::Wsl]);
    }
}
