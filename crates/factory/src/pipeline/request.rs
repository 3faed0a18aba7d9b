//! Pull requests for manifests: on GitHub through the REST API, on GitLab by options of the push itself, so that it
//! needs no other permission than that to push.
//!
//! The token goes to the server of the repository and nowhere else: the API's address comes from the repository's host
//! or from the environment (`GITHUB_API_URL`), never from `images.yaml`.
use super::update::Target;
use super::{Failure, Machine};
use crate::enrol::{Managed, PullRequest};
use gitops::forge::{self, Forge, Kind};
use gitops::git::Published;
use gitops::secret::Secret;

/// A request that is to be opened.
pub(super) struct Request {
    kind: Kind,
    /// GitHub's API.
    forge: Option<Forge>,
    ask: forge::PullRequest,
}

impl Request {
    pub(super) fn new(
        machine: &Machine<'_>,
        managed: &Managed,
        target: &Target,
        head: &str,
        asked: &PullRequest,
        title: String,
        body: String,
    ) -> Result<Self, Failure> {
        let url = &target.url;
        let wrong = |what: &str| Failure::new(format!("there is no pull request for {url}: {what}"));
        let (host, path) = place(url).ok_or_else(|| wrong("it is no repository on a server"))?;
        let source = managed.source.as_ref().filter(|source| source.url == *url && source.provider != "git");
        let kind = match asked.provider.as_deref().or(source.map(|source| source.provider.as_str())) {
            Some("github") => Kind::GitHub,
            Some("gitlab") => Kind::GitLab,
            _ if of_github(host) => Kind::GitHub,
            _ if host.contains("gitlab") => Kind::GitLab,
            _ => {
                return Err(wrong("whose server it is cannot be told by its host")
                    .hint("write pullRequest: {provider: github} or gitlab"));
            }
        };
        let ask = forge::PullRequest {
            repository: path.to_owned(),
            head: head.to_owned(),
            base: target.branch.clone(),
            title,
            body,
            labels: asked.labels.clone(),
        };
        let forge = match kind {
            Kind::GitLab => None,
            Kind::GitHub => {
                let token = machine.factory.sources.token(url).ok_or_else(|| {
                    wrong("there is no token").hint(
                        "GITHUB_TOKEN, or for a server of your own GIT_AUTH_TOKEN, that may write contents and pull requests",
                    )
                })?;
                let api = api(host, |name| machine.factory.env.get(name).map(String::as_str));
                if !api.starts_with("https://") && !loopback(&api) {
                    return Err(wrong("GITHUB_API_URL is plain HTTP: everybody on the way could read the token")
                        .hint("write https://"));
                }
                Some(Forge { kind, api, token: Secret::new(token) })
            }
        };
        Ok(Self { kind, forge, ask })
    }

    /// What GitLab is told with the push.
    pub(super) fn push_options(&self) -> Vec<String> {
        if self.kind == Kind::GitHub {
            return Vec::new();
        }
        let ask = &self.ask;
        // An option is one line; GitLab takes `\\n` in a description for a break.
        let mut options = vec![
            "merge_request.create".to_owned(),
            format!("merge_request.target={}", ask.base),
            format!("merge_request.title={}", ask.title),
            format!("merge_request.description={}", ask.body.replace('\n', "\\n")),
            "merge_request.remove_source_branch".to_owned(),
        ];
        options.extend(ask.labels.iter().map(|label| format!("merge_request.label={label}")));
        options
    }

    /// Opens it behind the push, and gives its page.
    pub(super) fn open(&self, machine: &Machine<'_>, published: &Published) -> Result<String, Failure> {
        match &self.forge {
            Some(forge) => {
                let opened = (machine.factory.open_request)(forge, &self.ask);
                opened.map(|opened| opened.url).map_err(|error| Failure::new(error.to_string()))
            }
            None => {
                // GitLab says where it is.
                let page = published.said.iter().find(|line| line.contains("/merge_requests/"));
                let words = page.and_then(|line| line.split_whitespace().find(|word| word.contains("://")));
                Ok(words.map_or_else(|| format!("{} into {}", self.ask.head, self.ask.base), str::to_owned))
            }
        }
    }
}

fn of_github(host: &str) -> bool {
    host == "github.com" || host.ends_with(".ghe.com")
}

fn loopback(api: &str) -> bool {
    let host = api.strip_prefix("http://").and_then(|rest| rest.split(['/', '?']).next()).unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    host == "localhost" || host == "[::1]" || host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

/// The API of a server of GitHub's.
fn api<'e>(host: &str, env: impl Fn(&str) -> Option<&'e str>) -> String {
    // A job knows the API of the server that it runs for.
    let elsewhere = env("GITHUB_SERVER_URL").and_then(place_host).is_some_and(|server| server != host);
    match env("GITHUB_API_URL").filter(|url| !url.is_empty() && !elsewhere) {
        Some(url) => url.to_owned(),
        None if host == "github.com" => "https://api.github.com".into(),
        None if of_github(host) => format!("https://api.{host}"),
        None => format!("https://{host}/api/v3"),
    }
}

fn place_host(url: &str) -> Option<&str> {
    url.split_once("://").and_then(|(_, rest)| rest.split('/').next())
}

/// Host and path of a repository's URL: `https://HOST/OWNER/NAME.git`, `ssh://git@HOST:PORT/…`, `git@HOST:OWNER/NAME`.
fn place(url: &str) -> Option<(&str, &str)> {
    let (authority, path) = match url.split_once("://") {
        Some(("file", _)) => return None,
        Some((_, rest)) => rest.split_once('/')?,
        None => url.split_once(':')?,
    };
    let host = authority.rsplit('@').next()?.split(':').next()?;
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    (!host.is_empty() && path.contains('/')).then_some((host, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_request_goes() {
        for url in ["https://github.com/o/r.git", "git@github.com:o/r.git", "ssh://git@github.com:22/o/r/"] {
            assert_eq!(place(url), Some(("github.com", "o/r")), "{url}");
        }
        assert_eq!(place("https://gitlab.com/group/sub/r"), Some(("gitlab.com", "group/sub/r")));
        for url in ["file:///srv/o/r.git", "/srv/o/r", "https://github.com/r.git"] {
            assert_eq!(place(url), None, "{url}");
        }
        let of = |host: &str, server: Option<&'static str>, given: Option<&'static str>| {
            api(host, |name| if name == "GITHUB_API_URL" { given } else { server })
        };
        assert_eq!(of("github.com", None, None), "https://api.github.com");
        assert_eq!(of("acme.ghe.com", None, None), "https://api.acme.ghe.com");
        assert_eq!(of("git.acme.example", None, None), "https://git.acme.example/api/v3");
        let (hub, its) = (Some("https://github.com"), Some("https://api.github.com"));
        assert_eq!(of("git.acme.example", hub, its), "https://git.acme.example/api/v3", "another server's API");
        assert_eq!(of("git.acme.example", None, Some("http://127.0.0.1:1")), "http://127.0.0.1:1");
        assert!(loopback("http://127.0.0.1:1/x") && !loopback("http://127.0.0.1.evil.example/"));
    }
}
