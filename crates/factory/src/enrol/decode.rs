//! From a checked tree to [`Image`]s, and what only the whole file shows: names twice, unknown
//! dependencies, cycles.
use super::schema::IMAGE;
use super::types::*;
use super::{check, cycle};
use crate::problem::Problem;
use crate::yaml::{Content, Node};
use std::collections::BTreeMap;

/// One entry with the keys of `enrollment` beside its own.
struct Entry<'a> {
    own: &'a Node,
    nested: Option<&'a Node>,
}

impl<'a> Entry<'a> {
    fn get(&self, key: &str) -> Option<&'a Node> {
        let set = |node: &'a Node| node.get(key).filter(|value| value.content != Content::Null);
        set(self.own).or_else(|| self.nested.and_then(set))
    }

    fn text(&self, key: &str) -> Option<String> {
        text(self.get(key))
    }
}

fn text(node: Option<&Node>) -> Option<String> {
    node.and_then(Node::text).map(str::to_owned)
}

fn of(node: Option<&Node>, key: &str) -> Option<String> {
    text(node.and_then(|node| node.get(key)))
}

fn flag(node: Option<&Node>, key: &str) -> Option<bool> {
    node.and_then(|node| node.get(key)).and_then(Node::text).map(|text| text == "true")
}

fn texts(node: Option<&Node>) -> Vec<String> {
    node.map(Node::list).unwrap_or_default().iter().filter_map(Node::text).map(str::to_owned).collect()
}

fn pairs(node: Option<&Node>) -> BTreeMap<String, String> {
    let entries = node.map(Node::entries).unwrap_or_default();
    entries.iter().filter_map(|entry| Some((entry.key.clone(), entry.value.text()?.to_owned()))).collect()
}

/// All images of a file, or all that is wrong with it.
pub(super) fn images(root: Option<&Node>) -> Result<Vec<Image>, Vec<Problem>> {
    let Some(root) = root else { return Ok(Vec::new()) };
    let mut problems = Vec::new();
    let Content::List(items) = &root.content else {
        let problem = Problem::new(root.mark, format!("images.yaml must be a list of images, not {}", root.kind()));
        return Err(vec![problem.help("begin each image with \"- name: NAME\"")]);
    };
    let mut images: Vec<Image> = Vec::new();
    for item in items {
        check::object(item, &IMAGE, &mut problems);
        let before = problems.len();
        let entry = Entry { own: item, nested: item.get("enrollment") };
        twice(&entry, &mut problems);
        let Some(name) = entry.text("name") else { continue };
        if let Some(first) = images.iter().find(|image| image.name == name) {
            let mark = item.get("name").map_or(item.mark, |node| node.mark);
            let message =
                format!("a second image with the name {name:?}; the first stands in line {}", first.mark.line);
            problems.push(Problem::new(mark, message).help("rename one of them: state files and runs go by the name"));
            continue;
        }
        let image = image(item, &entry, name, &mut problems);
        if problems.len() == before || !images.iter().any(|known| known.name == image.name) {
            images.push(image);
        }
    }
    dependencies(items, &images, &mut problems);
    if problems.is_empty() { Ok(images) } else { Err(problems) }
}

/// Keys that stand both in the entry and below `enrollment`.
fn twice(entry: &Entry<'_>, problems: &mut Vec<Problem>) {
    for nested in entry.nested.map(Node::entries).unwrap_or_default() {
        if entry.own.entries().iter().any(|own| own.key == nested.key && own.key != "enrollment") {
            let message = format!("{} stands both in the entry and below enrollment", nested.key);
            problems.push(Problem::new(nested.mark, message).help("keep one of them"));
        }
    }
}

fn image(item: &Node, entry: &Entry<'_>, name: String, problems: &mut Vec<Problem>) -> Image {
    let registry = entry.text("registry").unwrap_or_else(|| "docker.io".into());
    let source = entry.get("source");
    let managed = source.is_some() || entry.get("local").is_some();
    let repository = match entry.text("repository") {
        Some(repository) => repository,
        None => {
            let problem = Problem::new(item.mark, format!("image {name} has no repository"));
            problems.push(problem.help("write where it is in its registry, such as repository: owner/name"));
            name.clone()
        }
    };
    // `postgres` on Docker Hub is `library/postgres`.
    let spelled = format!("{registry}/{repository}").parse::<oci::Reference>();
    let (registry, repository) = match spelled {
        Ok(reference) => (reference.registry().to_owned(), reference.repository().to_owned()),
        Err(_) => (registry, repository),
    };
    let selection = Selection {
        allow: entry.text("allowTags"),
        ignore: texts(entry.get("ignoreTags")),
        constraint: entry.text("constraint"),
        strategy: entry.text("imageSelectionStrategy").and_then(|name| Strategy::of(&name)).unwrap_or_default(),
    };
    let rebuild_delay = entry.text("rebuildDelay").unwrap_or_else(|| "7d".into());
    let fallback = || "7d".parse().unwrap_or_else(|_: String| unreachable!("7d is a duration"));
    Image {
        mark: item.mark,
        registry,
        repository,
        kind: if managed { Kind::Managed(Box::new(built(entry, &name, problems))) } else { Kind::External },
        rebuild_delay: rebuild_delay.parse().unwrap_or_else(|_| fallback()),
        depends_on: texts(entry.get("dependsOn")),
        selection,
        name,
    }
}

fn built(entry: &Entry<'_>, name: &str, problems: &mut Vec<Problem>) -> Managed {
    let local = entry.get("local");
    let source = entry.get("source").and_then(|node| source(node, name, problems));
    let local = Local {
        dockerfile: of(local, "dockerfile"),
        dir: of(local, "dir"),
        patch_files: texts(local.and_then(|node| node.get("patchFiles"))),
        version_file: of(local, "versionFile"),
    };
    if let (None, Some(node)) = (entry.get("source"), entry.get("local"))
        && local.dockerfile.is_none()
        && local.dir.is_none()
    {
        let problem = Problem::new(node.mark, format!("image {name} has neither a source nor a local Dockerfile"));
        problems.push(problem.help("add local.dockerfile or local.dir, or a source"));
    }
    let scan = entry.get("scan");
    let version = entry.get("version");
    let (scanned, versioned) = (Scan::default(), Version::default());
    Managed {
        source,
        local,
        platforms: texts(entry.get("platforms")),
        tags: texts(entry.get("tags")),
        flavor: texts(entry.get("flavor")),
        build_args: pairs(entry.get("buildArgs")),
        build_contexts: pairs(entry.get("buildContexts")),
        target: entry.text("target"),
        secrets: entry.get("secrets").map(Node::list).unwrap_or_default().iter().filter_map(secret).collect(),
        labels: pairs(entry.get("labels")),
        auto_rebuild: entry.text("autoRebuild").is_none_or(|text| text == "true"),
        version: Version {
            configured: version.is_some(),
            bump: of(version, "bump").unwrap_or(versioned.bump),
            initial: of(version, "initial").unwrap_or(versioned.initial),
            format: of(version, "format").unwrap_or(versioned.format),
            git_tag: flag(version, "gitTag").unwrap_or_default(),
            tag_prefix: of(version, "tagPrefix").unwrap_or(versioned.tag_prefix),
        },
        scan: Scan {
            configured: scan.is_some(),
            fail_on: of(scan, "failOn").unwrap_or(scanned.fail_on),
            only_fixed: flag(scan, "onlyFixed").unwrap_or_default(),
            ignore_file: of(scan, "ignoreFile"),
            required: flag(scan, "required").unwrap_or(scanned.required),
        },
        sbom: policy(entry.get("sbom"), "format"),
        signing: policy(entry.get("signing"), "key"),
        updates: entry.get("updates").map(Node::list).unwrap_or_default().iter().map(update).collect(),
        notify: entry.get("notify").map(Node::list).unwrap_or_default().iter().map(notify).collect(),
    }
}

fn source(node: &Node, name: &str, problems: &mut Vec<Problem>) -> Option<Source> {
    let at = Some(node);
    let (provider, repo, url) = (of(at, "provider"), of(at, "repo"), of(at, "url"));
    let provider = provider.unwrap_or_else(|| if url.is_some() { "git".into() } else { "github".into() });
    let place = |key: &str| node.get(key).map_or(node.mark, |node| node.mark);
    let address = match (&repo, &url) {
        (Some(_), Some(_)) => {
            let problem = Problem::new(place("url"), format!("the source of {name} has both repo and url"));
            problems.push(problem.help("keep one of them"));
            return None;
        }
        (None, None) => {
            let problem = Problem::new(node.mark, format!("the source of {name} has no repo and no url"));
            problems.push(problem.help("write repo: OWNER/NAME, or url: https://HOST/REPOSITORY.git"));
            return None;
        }
        (None, Some(url)) => url.clone(),
        (Some(repo), None) => {
            let parts: Vec<&str> = repo.split('/').collect();
            let word =
                |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
            let fits = if provider == "gitlab" { parts.len() >= 2 } else { parts.len() == 2 };
            if provider == "git" || !fits || !parts.iter().all(word) {
                let problem = Problem::new(place("repo"), format!("{repo:?} is no repository of {provider}"));
                problems.push(problem.help("write repo: OWNER/NAME with provider github or gitlab, else url: URL"));
                return None;
            }
            format!("https://{provider}.com/{repo}.git")
        }
    };
    if url.is_some() && has_credentials(&address) {
        let problem = Problem::new(place("url"), format!("the URL of the source of {name} holds a password or token"));
        problems
            .push(problem.help("take it out; GIT_AUTH_TOKEN, GITHUB_TOKEN or GITLAB_TOKEN in the environment is used"));
        return None;
    }
    Some(Source {
        provider,
        repo,
        url: address,
        branch: of(at, "branch").unwrap_or_else(|| "main".into()),
        dockerfile: of(at, "dockerfile"),
        context: of(at, "context"),
        workflow: of(at, "workflow"),
        paths: texts(node.get("paths")),
        submodules: flag(at, "submodules").unwrap_or_default(),
    })
}

fn has_credentials(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.rsplit_once('@') {
        // ssh://git@host is a user, no secret.
        Some((user, _)) => !scheme.eq_ignore_ascii_case("ssh") || user.contains(':'),
        None => false,
    }
}

fn secret(node: &Node) -> Option<Secret> {
    match node.text() {
        Some(id) => Some(Secret { id: id.to_owned(), env: None, file: None }),
        None => Some(Secret { id: of(Some(node), "id")?, env: of(Some(node), "env"), file: of(Some(node), "file") }),
    }
}

fn policy(node: Option<&Node>, with: &str) -> Policy {
    Policy { configured: node.is_some(), with: of(node, with), required: flag(node, "required").unwrap_or_default() }
}

fn update(node: &Node) -> Update {
    let at = Some(node);
    Update {
        path: of(at, "path").unwrap_or_default(),
        kind: of(at, "kind"),
        image: of(at, "image"),
        write: of(at, "write").unwrap_or_else(|| "tag".into()),
        tag_key: of(at, "tagKey"),
        digest_key: of(at, "digestKey"),
        repository_key: of(at, "repositoryKey"),
        url: of(at, "url"),
        branch: of(at, "branch"),
        message: of(at, "message"),
        sign_off: flag(at, "signOff").unwrap_or_default(),
        pull_request: node.get("pullRequest").and_then(pull_request),
    }
}

fn pull_request(node: &Node) -> Option<PullRequest> {
    let at = Some(node);
    match node.text() {
        Some(text) => (text == "true").then(PullRequest::default),
        None => Some(PullRequest {
            provider: of(at, "provider"),
            branch: of(at, "branch"),
            title: of(at, "title"),
            body: of(at, "body"),
            labels: texts(node.get("labels")),
        }),
    }
}

fn notify(node: &Node) -> Notify {
    let on = texts(node.get("on"));
    let has = |word: &str| on.iter().any(|on| on == word);
    Notify {
        url_env: of(Some(node), "urlEnv").unwrap_or_default(),
        on_success: has("success"),
        on_failure: on.is_empty() || has("failure"),
        format: of(Some(node), "format").unwrap_or_else(|| "json".into()),
    }
}

/// `dependsOn`: names that exist, and no cycle.
fn dependencies(items: &[Node], images: &[Image], problems: &mut Vec<Problem>) {
    let node_of = |name: &str| {
        items.iter().find(|item| item.get("name").and_then(Node::text) == Some(name)).and_then(|item| {
            item.get("dependsOn").or_else(|| item.get("enrollment").and_then(|nested| nested.get("dependsOn")))
        })
    };
    let mut edges: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for image in images {
        for (i, dependency) in image.depends_on.iter().enumerate() {
            let mark = node_of(&image.name).and_then(|node| node.list().get(i)).map_or(image.mark, |node| node.mark);
            match images.iter().find(|known| known.name == *dependency) {
                Some(known) => edges.entry(&image.name).or_default().push(&known.name),
                None => {
                    let problem =
                        Problem::new(mark, format!("{} depends on {dependency:?}, which is no image", image.name));
                    let names = images.iter().map(|image| image.name.as_str());
                    problems.push(match dockerfile::suggest::nearest(dependency, names) {
                        Some(near) => problem.help(format!("did you mean {near}?")),
                        None => problem.help("dependsOn lists names of this file"),
                    });
                }
            }
        }
    }
    if let Some(path) = cycle(&edges) {
        let mark = node_of(path[0]).map_or_else(Default::default, |node| node.mark);
        let problem = Problem::new(mark, format!("images depend on each other in a circle: {}", path.join(" → ")));
        problems.push(problem.help("take one of these out of dependsOn"));
    }
}
