//! Manifests that get the new image: one commit per repository and branch, pushed while others push,
//! too.
use super::request::Request;
use super::{Ended, Failure, Machine, Options};
use crate::enrol::{Managed, PullRequest, Update};
use gitops::git::{Change, Commit, Credentials, Git, Outcome, Person, Repository, Retry, Snapshot};
use gitops::image::{ImageUpdate, Pin};
use gitops::manifest;
use gitops::secret::Secret;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Git with the token for this repository.
pub(super) fn git(machine: &Machine<'_>, url: &str) -> Result<Git, Failure> {
    let credentials = match machine.factory.sources.token(url) {
        Some(token) => Credentials::token(url, Secret::new(token)),
        None => Credentials::None,
    };
    Git::new(url, machine.factory.env.clone(), credentials).map_err(|error| Failure::new(error.to_string()))
}

/// Whose commits and tags these are.
pub(super) fn author(machine: &Machine<'_>) -> Person {
    let get = |name: &str, other: &str| {
        machine.factory.env.get(name).filter(|v| !v.is_empty()).cloned().unwrap_or_else(|| other.to_owned())
    };
    Person { name: get("GIT_AUTHOR_NAME", "cooperage factory"), email: get("GIT_AUTHOR_EMAIL", "factory@localhost") }
}

/// Where a commit goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) url: String,
    pub(super) branch: String,
    /// The branch of a pull request.
    pub(super) head: Option<String>,
}

/// Brings the manifests to a version. `message` takes the place of the one in `images.yaml`.
pub(super) fn all(
    machine: &Machine<'_>,
    managed: &Managed,
    options: &Options,
    plan: &Value,
    digest: &str,
    message: Option<&str>,
) -> Result<Ended, Failure> {
    if managed.updates.is_empty() {
        return Ok(Ended::Skipped("no manifest is to be updated".into()));
    }
    let version = plan["version"].as_str().unwrap_or_default();
    let tag = plan["tags"][0].as_str().unwrap_or(version);
    let run = machine.run.to_string();
    let filled = |text: &str| {
        [("{name}", machine.image.name.as_str()), ("{version}", version), ("{digest}", digest), ("{run}", &run)]
            .iter()
            .fold(text.to_owned(), |text, (key, value)| text.replace(key, value))
    };
    let always = options.pull_request.then(PullRequest::default);
    let mut places: BTreeMap<Target, Vec<&Update>> = BTreeMap::new();
    for update in &managed.updates {
        let url = update.url.clone().or_else(|| managed.source.as_ref().map(|source| source.url.clone()));
        let Some(url) = url else {
            return Err(
                Failure::new(format!("the update of {} names no repository", update.path)).hint("add url: to it")
            );
        };
        let branch = update
            .branch
            .clone()
            .or_else(|| managed.source.as_ref().filter(|s| s.url == url).map(|s| s.branch.clone()));
        let branch = branch.unwrap_or_else(|| "main".into());
        let asked = update.pull_request.as_ref().or(always.as_ref());
        let head = asked.map(|asked| filled(asked.branch.as_deref().unwrap_or("cooperage/{name}")));
        places.entry(Target { url, branch, head }).or_default().push(update);
    }
    let (mut commits, mut requests) = (Vec::new(), Vec::new());
    for (target, updates) in places {
        let fail = |error: gitops::git::Error| Failure::new(error.to_string());
        let git = git(machine, &target.url)?;
        let work = machine.factory.runs.work_dir(machine.run).join("manifests");
        let _ = std::fs::remove_dir_all(&work);
        let repository = Repository::open(git, &work).map_err(fail)?;
        let author = author(machine);
        let own = || updates.iter().find_map(|update| update.message.clone());
        let message = message.map(str::to_owned).or_else(own).unwrap_or_else(|| "{name}: {version}".into());
        let message = filled(&message);
        let sign_off = updates.iter().any(|update| update.sign_off);
        let request = match &target.head {
            Some(head) => {
                let asked = updates.iter().find_map(|update| update.pull_request.as_ref()).or(always.as_ref());
                let asked = asked.cloned().unwrap_or_default();
                let title = asked.title.as_deref().map_or_else(|| first_line(&message), filled);
                let body = asked.body.as_deref().map_or_else(|| body(machine, options, version, digest), filled);
                Some(Request::new(machine, managed, &target, head, &asked, title, body)?)
            }
            None => None,
        };
        let commit = Commit {
            branch: target.branch.clone(),
            head: target.head.clone(),
            message,
            author,
            committer: None,
            sign_off,
            push_options: request.as_ref().map(Request::push_options).unwrap_or_default(),
        };
        let cancelled = || machine.factory.cancel.is_cancelled();
        let edit = |tip: &Snapshot<'_>| -> Result<Vec<Change>, Box<dyn std::error::Error + Send + Sync>> {
            let mut texts: BTreeMap<&str, String> = BTreeMap::new();
            for update in &updates {
                let text = match texts.remove(update.path.as_str()) {
                    Some(text) => text,
                    None => tip.text(&update.path)?,
                };
                let new = one(&text, update, &machine.image.reference(), tag, digest)?;
                texts.insert(&update.path, new);
            }
            Ok(texts
                .into_iter()
                .map(|(path, text)| Change { path: path.to_owned(), content: Some(text.into_bytes()) })
                .collect())
        };
        let published = repository.publish(&commit, Retry::default(), &cancelled, edit).map_err(fail)?;
        let (url, branch) = (&target.url, target.head.as_ref().unwrap_or(&target.branch));
        machine.log(
            "update",
            &format!(
                "{url} {branch} {:?} {} after {} attempts",
                published.outcome, published.commit, published.attempts
            ),
        );
        let mut entry =
            json!({ "url": url, "branch": branch, "commit": published.commit, "attempts": published.attempts });
        if let Some(request) = request {
            // Where the branch says it all already there is nothing to ask for.
            let there = published.outcome == Outcome::Unchanged
                && repository.fetch(&target.branch).map_err(fail)?.commit == published.commit;
            if !there {
                let page = request.open(machine, &published)?;
                machine.log("update", &format!("pull request {page}"));
                entry["pullRequest"] = json!(page);
                requests.push(page);
            }
        }
        commits.push(entry);
    }
    let said = if requests.is_empty() { Value::Null } else { json!(requests.join(", ")) };
    Ok(Ended::Done(json!({ "commits": commits, "said": said })))
}

/// Whether the pull requests that will be wanted can be.
pub(super) fn check(machine: &Machine<'_>, managed: &Managed, options: &Options) -> Result<(), Failure> {
    let always = options.pull_request.then(PullRequest::default);
    for update in &managed.updates {
        let url = update.url.clone().or_else(|| managed.source.as_ref().map(|source| source.url.clone()));
        if let (Some(asked), Some(url)) = (update.pull_request.as_ref().or(always.as_ref()), url) {
            let target = Target { url, branch: String::new(), head: None };
            Request::new(machine, managed, &target, "", asked, String::new(), String::new())?;
        }
    }
    Ok(())
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

fn body(machine: &Machine<'_>, options: &Options, version: &str, digest: &str) -> String {
    let trigger = if options.trigger.is_empty() { "rollback" } else { &options.trigger };
    format!(
        "{}:{version}\n\n`{digest}`\n\ncooperage factory, run {} ({trigger}).",
        machine.image.reference(),
        machine.run
    )
}

fn one(
    text: &str,
    update: &Update,
    image: &str,
    tag: &str,
    digest: &str,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let pin = match update.write.as_str() {
        "digest" => Pin::Digest(digest.to_owned()),
        "both" => Pin::Both { tag: tag.to_owned(), digest: digest.to_owned() },
        _ => Pin::Tag(tag.to_owned()),
    };
    let change = ImageUpdate { name: None, pin };
    let name = update.image.as_deref().unwrap_or(image);
    let file = update.path.rsplit('/').next().unwrap_or_default();
    let kind = update.kind.as_deref().unwrap_or(match file {
        "kustomization.yaml" | "kustomization.yml" | "Kustomization" => "kustomize",
        file if file.starts_with("values") => "helm",
        _ => "kubernetes",
    });
    Ok(match kind {
        "kustomize" => manifest::kustomize::set_image(text, name, &change)?,
        "helm" if by_keys(update) => helm_keys(text, update, name, tag, digest)?,
        "helm" => {
            let key = update.tag_key.as_deref().and_then(|key| key.strip_suffix(".tag")).unwrap_or("image");
            manifest::helm::set_image(text, &key.parse()?, &change)?
        }
        "flux" => manifest::flux::set_image(text, name, &change)?,
        "argocd" => manifest::argocd::set_image(text, None, name, &change)?,
        _ => {
            let select = manifest::kubernetes::Selector { image: Some(name.to_owned()), ..Default::default() };
            manifest::kubernetes::set_image(text, &select, &change)?
        }
    })
}

/// Whether keys are named that `manifest::helm::set_image` would not find by itself.
fn by_keys(update: &Update) -> bool {
    update.digest_key.is_some()
        || update.repository_key.is_some()
        || update.tag_key.as_deref().is_some_and(|key| !key.ends_with(".tag"))
}

/// Sets the keys that are named, and no others.
fn helm_keys(
    text: &str,
    update: &Update,
    name: &str,
    tag: &str,
    digest: &str,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let (with_tag, with_digest) = (update.write != "digest", update.write != "tag");
    let mut values: Vec<(&str, String)> = Vec::new();
    match (&update.tag_key, &update.digest_key) {
        (Some(key), None) if with_digest && with_tag => values.push((key, format!("{tag}@{digest}"))),
        (tag_key, digest_key) => {
            if let Some(key) = tag_key.as_deref().filter(|_| with_tag) {
                values.push((key, tag.to_owned()));
            }
            if let Some(key) = digest_key.as_deref() {
                // A tag alone: charts let a digest win, so there is none.
                values.push((key, if with_digest { digest.to_owned() } else { String::new() }));
            }
        }
    }
    if with_tag && update.tag_key.is_none() {
        return Err(format!("the update of {} writes the tag and has no tagKey", update.path).into());
    }
    if !with_tag && update.digest_key.is_none() {
        return Err(format!("the update of {} writes the digest and has no digestKey", update.path).into());
    }
    if let Some(key) = &update.repository_key {
        values.push((key, name.to_owned()));
    }
    let mut text = text.to_owned();
    for (key, value) in values {
        text = manifest::helm::set(&text, &key.parse()?, &value, false)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const VALUES: &str = "# web\nweb:\n  name: old/web # where\n  version: \"1.0\"\n  sha: \"\"\n";

    fn update(write: &str, tag: Option<&str>, digest: Option<&str>, name: Option<&str>) -> Result<String, String> {
        let own = |key: Option<&str>| key.map(str::to_owned);
        let update = Update {
            path: "values.yaml".into(),
            write: write.into(),
            tag_key: own(tag),
            digest_key: own(digest),
            repository_key: own(name),
            ..Update::default()
        };
        one(VALUES, &update, "ghcr.io/o/web", "1.1", DIGEST).map_err(|error| error.to_string())
    }

    #[test]
    fn named_keys_of_helm_values_are_set() {
        let (tag, sha, name) = (Some("web.version"), Some("web.sha"), Some("web.name"));
        let version = VALUES.replace("1.0", "1.1");
        assert_eq!(update("tag", tag, None, None).unwrap(), version);
        assert_eq!(update("both", tag, None, None).unwrap(), VALUES.replace("1.0", &format!("1.1@{DIGEST}")));
        let named = version.replace("old/web", "ghcr.io/o/web");
        assert_eq!(update("tag", tag, sha, name).unwrap(), named);
        let pinned = named.replace("sha: \"\"", &format!("sha: \"{DIGEST}\""));
        assert_eq!(update("both", tag, sha, name).unwrap(), pinned);
        assert_eq!(
            update("digest", None, sha, None).unwrap(),
            VALUES.replace("sha: \"\"", &format!("sha: \"{DIGEST}\""))
        );
        assert!(update("tag", None, sha, None).unwrap_err().contains("has no tagKey"));
        assert!(update("digest", tag, None, name).unwrap_err().contains("has no digestKey"));
        assert!(update("tag", Some("web.there.not"), None, None).is_err());
    }
}
