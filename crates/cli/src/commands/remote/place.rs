//! Which repository, on which server, with which token.
//!
//! A token goes to the server that it belongs to and nowhere else: `GH_TOKEN` and `GITHUB_TOKEN` to github.com and
//! *.ghe.com, or where `GITHUB_API_URL` says; another host from a git remote gets `GH_ENTERPRISE_TOKEN` alone.
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use gitops::actions::Actions;
use gitops::secret::Secret;

use crate::app::Context;
use crate::config::{Flags, Settings};
use crate::error::{CliError, Result};

/// Where the workflow is.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct PlaceArgs {
    /// The repository: [HOST/]OWNER/NAME (default: GH_REPO, else the git remote here)
    #[arg(long, short = 'R', value_name = "REPOSITORY")]
    repo: Option<String>,
}

/// The repository.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Repository {
    host: String,
    name: String,
}

/// The checkout here, where the repository was found by it.
#[derive(Debug)]
pub(super) struct Here {
    checkout: bool,
}

impl PlaceArgs {
    /// The API of the repository. `token`: nothing can be done without one.
    pub(super) fn open<'c>(&self, context: &'c Context<'_>, token: bool) -> Result<(Actions<'c>, Here)> {
        let (repository, here) = self.repository(context)?;
        let (api, secret) = server(&repository, context)?;
        if token && secret.is_none() {
            let variable =
                if api.given || of_github(&repository.host) { "GITHUB_TOKEN" } else { "GH_ENTERPRISE_TOKEN" };
            return Err(CliError::usage(format!("{variable} is not set, and GitHub does this for nobody unknown"))
                .hint("make a fine-grained token at https://github.com/settings/personal-access-tokens with the permission Actions: write for the repository")
                .hint(format!("export {variable}=…, or put it into a file: cooperage --env-file .env.local remote …")));
        }
        let settings = Settings::load(&Flags { config: context.config.clone(), ..Flags::default() }, context.env)?;
        let client = registry::http_client(&crate::commands::client_options(&settings, context.env))
            .map_err(|error| CliError::usage("GitHub cannot be reached with these settings").caused_by(&error))?;
        let wait = |time: Duration| {
            let end = Instant::now() + time;
            while Instant::now() < end && !context.cancel.is_cancelled() {
                std::thread::sleep((end - Instant::now()).min(Duration::from_millis(50)));
            }
            !context.cancel.is_cancelled()
        };
        Ok((Actions::new(client, &api.url, &repository.name, secret, wait), here))
    }

    fn repository(&self, context: &Context<'_>) -> Result<(Repository, Here)> {
        let env = context.env;
        let host = env.get("GH_HOST").unwrap_or("github.com");
        let given = [("--repo", self.repo.as_deref()), ("GH_REPO", env.get("GH_REPO"))];
        if let Some((what, text)) = given.into_iter().find_map(|(what, text)| Some((what, text?))) {
            let repository = named(text, host).or_else(|| of_url(text)).ok_or_else(|| {
                CliError::usage(format!("{what} {text:?} is no repository")).hint("write OWNER/NAME or HOST/OWNER/NAME")
            })?;
            return Ok((repository, Here { checkout: false }));
        }
        let url = ["@{push}", "@{upstream}"]
            .iter()
            .find_map(|at| {
                let branch = git(&["rev-parse", "--abbrev-ref", at], context)?;
                let remote = branch.split_once('/')?.0.to_owned();
                git(&["remote", "get-url", &remote], context)
            })
            .or_else(|| git(&["remote", "get-url", "origin"], context))
            .or_else(|| {
                let remotes = git(&["remote"], context)?;
                git(&["remote", "get-url", remotes.lines().next()?], context)
            });
        match url {
            Some(url) => {
                let repository = of_url(&url).ok_or_else(|| {
                    CliError::usage("the git remote here is no repository on a server")
                        .hint("name it with --repo OWNER/NAME")
                })?;
                if ["gitlab.com", "bitbucket.org", "codeberg.org"].contains(&repository.host.as_str()) {
                    return Err(CliError::usage(format!(
                        "the git remote here is on {}, and remote is for GitHub Actions",
                        repository.host
                    ))
                    .hint("where the workflows are on GitHub, name that repository with --repo OWNER/NAME"));
                }
                Ok((repository, Here { checkout: true }))
            }
            None => match env.get("GITHUB_REPOSITORY").and_then(|name| named(name, host)) {
                Some(repository) => Ok((repository, Here { checkout: false })),
                None => Err(CliError::usage("which repository? There is no git remote here")
                    .hint("name it with --repo OWNER/NAME or GH_REPO, or go into a checkout")),
            },
        }
    }
}

impl Here {
    /// The branch that is checked out.
    pub(super) fn branch(&self, context: &Context<'_>) -> Option<String> {
        git(&["symbolic-ref", "--quiet", "--short", "HEAD"], context).filter(|_| self.checkout)
    }

    /// A commit in full.
    pub(super) fn commit(&self, text: &str, context: &Context<'_>) -> Result<String> {
        let full = |text: &str| text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if full(text) {
            return Ok(text.to_ascii_lowercase());
        }
        let found =
            git(&["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{text}^{{commit}}")], context);
        found.filter(|found| full(found)).ok_or_else(|| {
            CliError::usage(format!("--commit {text}: there is no such commit in the checkout here"))
                .hint("give the commit's full digest")
        })
    }
}

/// What git says, in one go; `None` where it says nothing or there is no git.
fn git(args: &[&str], context: &Context<'_>) -> Option<String> {
    let output = Command::new("git")
        .args(args)
        .current_dir(&context.env.cwd)
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// `OWNER/NAME` or `HOST/OWNER/NAME`.
fn named(text: &str, host: &str) -> Option<Repository> {
    let parts: Vec<&str> = text.split('/').collect();
    let good = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !parts.iter().all(good) || parts.contains(&"..") {
        return None;
    }
    match parts[..] {
        [owner, name] => Some(Repository { host: host.to_owned(), name: format!("{owner}/{name}") }),
        [host, owner, name] => Some(Repository { host: host.to_ascii_lowercase(), name: format!("{owner}/{name}") }),
        _ => None,
    }
}

/// The repository of a git URL: `https://HOST/OWNER/NAME.git`, `ssh://git@HOST[:PORT]/…`, `git@HOST:OWNER/NAME.git`.
fn of_url(url: &str) -> Option<Repository> {
    let (host, path) = match url.split_once("://") {
        Some(("https" | "http" | "ssh" | "git", rest)) => {
            let (authority, path) = rest.split_once('/')?;
            let host = authority.rsplit('@').next()?;
            (host.split(':').next()?, path)
        }
        Some(_) => return None,
        None => {
            let (authority, path) = url.split_once(':')?;
            (authority.rsplit('@').next()?, path)
        }
    };
    // SSH over the HTTPS port has a host of its own.
    let host = if host == "ssh.github.com" { "github.com" } else { host };
    let path = path.trim_matches('/');
    let (owner, name) = path.strip_suffix(".git").unwrap_or(path).split_once('/')?;
    named(&format!("{host}/{owner}/{name}"), host)
}

struct Api {
    url: String,
    /// By `GITHUB_API_URL`.
    given: bool,
}

fn of_github(host: &str) -> bool {
    host == "github.com" || host.ends_with(".ghe.com")
}

/// The API's address, and the token for it.
fn server(repository: &Repository, context: &Context<'_>) -> Result<(Api, Option<Secret>)> {
    let env = context.env;
    let host = repository.host.as_str();
    let api = match env.get("GITHUB_API_URL") {
        Some(url) => Api { url: url.to_owned(), given: true },
        None if host == "github.com" => Api { url: "https://api.github.com".into(), given: false },
        None if host.ends_with(".ghe.com") => Api { url: format!("https://api.{host}"), given: false },
        None => Api { url: format!("https://{host}/api/v3"), given: false },
    };
    let ours = ["GH_TOKEN", "GITHUB_TOKEN"];
    let theirs = ["GH_ENTERPRISE_TOKEN", "GITHUB_ENTERPRISE_TOKEN"];
    let names: Vec<&str> = match (api.given, of_github(host)) {
        (_, true) => ours.into(),
        (true, false) => [theirs, ours].concat(),
        (false, false) => theirs.into(),
    };
    let token = names.into_iter().find_map(|name| env.get(name)).map(Secret::new);
    if token.as_ref().is_some_and(|token| token.expose().chars().any(|c| c.is_control() || c == ' ')) {
        return Err(CliError::usage("the token has blanks or line breaks in it").hint("copy it again"));
    }
    let rest = api.url.strip_prefix("http://");
    let loopback = |rest: &str| ["127.", "localhost", "[::1]"].iter().any(|host| rest.starts_with(host));
    if token.is_some() && rest.is_some_and(|rest| !loopback(rest)) {
        return Err(CliError::usage("GITHUB_API_URL is plain HTTP: everybody on the way could read the token")
            .hint("write https://"));
    }
    if rest.is_none() && !api.url.starts_with("https://") {
        return Err(CliError::usage(format!("GITHUB_API_URL {:?} is no HTTPS URL", api.url))
            .hint("for a server of your own it is https://HOST/api/v3"));
    }
    Ok((api, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_of_urls() {
        let found = |url: &str| of_url(url).map(|found| format!("{} {}", found.host, found.name));
        for url in [
            "https://github.com/o/r.git",
            "https://user:pass@github.com/o/r",
            "git@github.com:o/r.git",
            "ssh://git@ssh.github.com:443/o/r.git",
            "git://github.com/o/r/",
        ] {
            assert_eq!(found(url).as_deref(), Some("github.com o/r"), "{url}");
        }
        assert_eq!(found("git@git.acme.example:o/r.git").as_deref(), Some("git.acme.example o/r"));
        for url in ["file:///srv/o/r.git", "/srv/o/r.git", "https://github.com/o", "https://github.com/o/../r", "x"] {
            assert_eq!(found(url), None, "{url}");
        }
    }
}
