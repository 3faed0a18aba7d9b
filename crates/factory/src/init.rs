//! Finding what could be enrolled: repositories and Dockerfiles below a directory; and adding an
//! entry to `images.yaml` without touching what stands there.
use crate::problem::Problems;
use crate::yaml::Value;
use crate::{Enrolment, names};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A Dockerfile that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// A name for the image.
    pub name: String,
    /// Where it would be pushed.
    pub registry: String,
    /// The path in the registry.
    pub repository: String,
    /// The repository: provider and OWNER/NAME, or a URL; `None` outside of one.
    pub source: Option<Remote>,
    /// The Dockerfile, from the repository's top, or from `images.yaml` where there is no repository.
    pub dockerfile: String,
    /// The build context, from the repository's top, where its files say that it is not the repository.
    pub context: Option<String>,
}

/// Where a repository comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// `github`, `gitlab`, `git`
    pub provider: String,
    /// OWNER/NAME
    pub repo: Option<String>,
    /// The URL without credentials.
    pub url: String,
    /// The branch.
    pub branch: String,
}

/// Directories that hold nothing to enrol.
const SKIPPED: &[&str] = &["node_modules", "target", "vendor", "dist", "build", "third_party", "testdata"];
/// Directories that are looked into, all in all.
const DIRECTORIES: usize = 20_000;

/// Looks for Dockerfiles below `dir`, in its own repository and in those below it.
///
/// # Errors
/// Where `dir` itself cannot be read.
pub fn find(dir: &Path) -> std::io::Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut taken = BTreeSet::new();
    let mut open = vec![dir.to_owned()];
    let mut seen = 0;
    std::fs::read_dir(dir)?;
    while let Some(at) = open.pop() {
        seen += 1;
        if seen > DIRECTORIES {
            break;
        }
        let Ok(entries) = std::fs::read_dir(&at) else { continue };
        let mut entries: Vec<_> = entries.flatten().collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        let mut below = Vec::new();
        for entry in entries {
            let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                if !name.starts_with('.') && !SKIPPED.contains(&name.as_str()) {
                    below.push(path);
                }
            } else if kind.is_file() && is_dockerfile(&name) {
                found.push(describe(dir, &path, &mut taken));
            }
        }
        open.extend(below.into_iter().rev());
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn is_dockerfile(name: &str) -> bool {
    let lower = name.to_lowercase();
    let plain = lower == "dockerfile" || lower == "containerfile";
    plain || (lower.starts_with("dockerfile.") && !lower.ends_with(".dockerignore")) || lower.ends_with(".dockerfile")
}

fn describe(dir: &Path, path: &Path, taken: &mut BTreeSet<String>) -> Found {
    let top = path.ancestors().skip(1).find(|at| at.join(".git").exists()).map(Path::to_owned);
    let source = top.as_deref().and_then(remote);
    let from = if source.is_some() { top.as_deref().unwrap_or(dir) } else { dir };
    let relative = path.strip_prefix(from).unwrap_or(path);
    let parent = relative.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let project = from.file_name().map(|name| name.to_string_lossy().into_owned());
    let repository_name =
        source.as_ref().and_then(|s| s.repo.as_deref()).and_then(|repo| repo.rsplit('/').next()).map(str::to_owned);
    let mut wanted = parent.or(repository_name).or(project).unwrap_or_else(|| "image".into());
    // Dockerfile.worker, worker.Dockerfile
    let file = relative.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let suffix = file.strip_prefix("dockerfile.").or_else(|| file.strip_suffix(".dockerfile"));
    if let Some(suffix) = suffix {
        wanted = format!("{wanted}-{suffix}");
    }
    let wanted = crate::enrol::name_like(&wanted);
    let mut name = wanted.clone();
    let mut number = 2;
    while !taken.insert(name.clone()) {
        name = format!("{wanted}-{number}");
        number += 1;
    }
    let owner = source
        .as_ref()
        .and_then(|s| s.repo.as_deref())
        .and_then(|repo| repo.split_once('/'))
        .map(|(owner, _)| owner.to_lowercase());
    let registry = match source.as_ref().map(|s| s.provider.as_str()) {
        Some("gitlab") => "registry.gitlab.com",
        _ => "ghcr.io",
    };
    let repository = format!("{}/{name}", owner.unwrap_or_else(|| "owner".into()));
    let context = context(from, relative);
    Found { name, registry: registry.into(), repository, source, dockerfile: relative.display().to_string(), context }
}

/// The directory of a Dockerfile, where that is what it is built in: what it copies lies there, and not at the top, or
/// it copies all there is.
fn context(top: &Path, dockerfile: &Path) -> Option<String> {
    let below = dockerfile.parent().filter(|below| !below.as_os_str().is_empty())?;
    let text = std::fs::read_to_string(top.join(dockerfile)).ok()?.replace("\\\n", " ");
    let (mut here, mut all) = (false, false);
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if !words.next().is_some_and(|word| ["copy", "add"].contains(&word.to_lowercase().as_str())) {
            continue;
        }
        let words: Vec<&str> = words.collect();
        if words.iter().any(|word| word.starts_with("--from") || word.starts_with("<<") || word.starts_with('[')) {
            continue;
        }
        let sources: Vec<&str> = words.into_iter().filter(|word| !word.starts_with("--")).collect();
        for source in sources.split_last().map(|(_, sources)| sources).unwrap_or_default() {
            let source = source.trim_start_matches("./").trim_start_matches('/').trim_end_matches('/');
            if source.is_empty() || source == "." {
                all = true;
            } else if !source.contains(['$', '*', '?', '[']) && !source.contains("://") {
                match (top.join(below).join(source).exists(), top.join(source).exists()) {
                    (false, true) => return None,
                    (true, false) => here = true,
                    _ => {}
                }
            }
        }
    }
    (here || all).then(|| below.display().to_string())
}

/// The repository that holds a directory: its top, and its remote `origin`.
#[must_use]
pub fn repository_of(dir: &Path) -> Option<(PathBuf, Remote)> {
    let top = dir.ancestors().find(|at| at.join(".git").exists())?;
    Some((top.to_owned(), remote(top)?))
}

/// The remote `origin` and the branch of a repository, from its files.
fn remote(top: &Path) -> Option<Remote> {
    let git = top.join(".git");
    let git = if git.is_dir() {
        git
    } else {
        // A worktree or a submodule: `gitdir: PATH`.
        let text = std::fs::read_to_string(&git).ok()?;
        let dir = top.join(text.trim().strip_prefix("gitdir:")?.trim());
        match std::fs::read_to_string(dir.join("commondir")) {
            Ok(common) => dir.join(common.trim()),
            Err(_) => dir,
        }
    };
    let config = std::fs::read_to_string(git.join("config")).ok()?;
    let mut inside = false;
    let mut url = None;
    for line in config.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[remote \"origin\"]";
        } else if inside
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == "url"
        {
            url = Some(value.trim().to_owned());
            break;
        }
    }
    let head = std::fs::read_to_string(git.join("HEAD")).unwrap_or_default();
    let branch = head.trim().strip_prefix("ref: refs/heads/").unwrap_or("main").to_owned();
    Some(parse_remote(&url?, branch))
}

/// What a repository's URL says of it; user and password are left out.
#[must_use]
pub fn remote_of(url: &str, branch: &str) -> Remote {
    parse_remote(url, branch.to_owned())
}

fn parse_remote(url: &str, branch: String) -> Remote {
    let url = without_user(url);
    let rest = url
        .split_once("://")
        .map(|(_, rest)| rest.to_owned())
        .or_else(|| {
            url.split_once(':').filter(|(host, _)| !host.contains('/')).map(|(host, path)| format!("{host}/{path}"))
        })
        .unwrap_or_else(|| url.clone());
    let rest = rest.rsplit_once('@').map_or(rest.as_str(), |(_, rest)| rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let repo = path.trim_end_matches('/').trim_end_matches(".git").to_owned();
    let provider = match host {
        "github.com" => "github",
        "gitlab.com" => "gitlab",
        _ => "git",
    };
    let known = provider != "git" && repo.contains('/');
    Remote { provider: if known { provider } else { "git" }.into(), repo: known.then_some(repo), url, branch }
}

/// Without user and password; `git@` of SSH stays.
fn without_user(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) if scheme != "ssh" => match rest.split_once('/') {
            Some((authority, path)) => {
                format!("{scheme}://{}/{path}", authority.rsplit('@').next().unwrap_or(authority))
            }
            None => url.to_owned(),
        },
        _ => url.to_owned(),
    }
}

impl Found {
    /// As an entry of `images.yaml`.
    #[must_use]
    pub fn entry(&self) -> Value {
        let text = |text: &str| Value::Text(text.to_owned());
        let mut out = vec![
            ("name".to_owned(), text(&self.name)),
            ("registry".to_owned(), text(&self.registry)),
            ("repository".to_owned(), text(&self.repository)),
        ];
        match &self.source {
            Some(remote) => {
                let mut source = Vec::new();
                match &remote.repo {
                    Some(repo) => {
                        source.push(("provider".to_owned(), text(&remote.provider)));
                        source.push(("repo".to_owned(), text(repo)));
                    }
                    None => source.push(("url".to_owned(), text(&remote.url))),
                }
                source.push(("branch".to_owned(), text(&remote.branch)));
                source.push(("dockerfile".to_owned(), text(&self.dockerfile)));
                if let Some(context) = &self.context {
                    source.push(("context".to_owned(), text(context)));
                }
                out.push(("source".to_owned(), Value::Map(source)));
            }
            None => out.push(("local".to_owned(), Value::Map(vec![("dockerfile".to_owned(), text(&self.dockerfile))]))),
        }
        out.push(("rebuildDelay".to_owned(), text("7d")));
        out.push(("autoRebuild".to_owned(), Value::Bool(true)));
        Value::Map(out)
    }
}

/// An external image as an entry.
#[must_use]
pub fn external_entry(name: &str, reference: &oci::Reference) -> Value {
    let text = |text: &str| Value::Text(text.to_owned());
    let mut out = vec![
        ("name".to_owned(), text(name)),
        ("registry".to_owned(), text(reference.registry())),
        ("repository".to_owned(), text(reference.repository())),
    ];
    if let Some(tag) = reference.tag() {
        out.push(("allowTags".to_owned(), text(&names::exactly(tag))));
    }
    out.push(("imageSelectionStrategy".to_owned(), text(if reference.tag().is_some() { "Digest" } else { "SemVer" })));
    out.push(("rebuildDelay".to_owned(), text("30d")));
    Value::Map(out)
}

/// The text of an `images.yaml` with more entries at its end. What stands there stays as it is.
///
/// # Errors
/// What is wrong with the result: a name twice.
pub fn append(file: &Path, old: &str, entries: &[Value]) -> Result<String, Problems> {
    let mut out = old.to_owned();
    if out.trim().is_empty() {
        out = "# Images of the factory. `cooperage factory schema` prints a JSON schema for editors;\n# what each key means: docs/factory.md\n".into();
    } else if !out.ends_with('\n') {
        out.push('\n');
    }
    let text = Value::List(entries.to_vec()).to_string();
    // An existing list may be indented.
    let indent = old
        .lines()
        .find(|line| line.trim_start().starts_with("- "))
        .map_or(0, |line| line.len() - line.trim_start().len());
    for line in text.lines() {
        out.push_str(&" ".repeat(indent));
        out.push_str(line);
        out.push('\n');
    }
    Enrolment::parse(file, &out)?;
    Ok(out)
}

/// Writes a file of the user's whole or not at all.
///
/// # Errors
/// What the system says.
pub fn save(path: &Path, text: &str) -> std::io::Result<()> {
    let path: PathBuf = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    crate::state::replace(&path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes_are_understood() {
        let parse = |url: &str| {
            let remote = parse_remote(url, "main".into());
            (remote.provider, remote.repo.unwrap_or_default(), remote.url)
        };
        let github = |url: &str| ("github".to_owned(), "Owner/repo".to_owned(), url.to_owned());
        assert_eq!(parse("git@github.com:Owner/repo.git"), github("git@github.com:Owner/repo.git"));
        assert_eq!(parse("https://me:token@github.com/Owner/repo"), github("https://github.com/Owner/repo"));
        assert_eq!(parse("https://gitlab.com/g/s/p.git").1, "g/s/p");
        assert_eq!(parse("https://git.example/x.git").0, "git");
        assert_eq!(parse("/srv/x.git").0, "git");
    }

    #[test]
    fn dockerfiles_are_found_and_can_be_enrolled() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(
            "mono/.git/config",
            "[core]\n\tbare = false\n[remote \"origin\"]\n\turl = https://tok@github.com/Acme/mono.git\n",
        );
        write("mono/.git/HEAD", "ref: refs/heads/trunk\n");
        write("mono/Dockerfile", "FROM scratch\n");
        write("mono/api/Dockerfile", "FROM scratch\n");
        write("mono/api/Dockerfile.worker", "FROM scratch\n");
        write("mono/api/Dockerfile.dockerignore", "");
        write("mono/node_modules/x/Dockerfile", "FROM scratch\n");
        write("mono/web/Dockerfile", "FROM scratch\nCOPY --chown=1 package.json \\\n  ./\nCOPY . .\n");
        write("mono/web/package.json", "{}");
        write("mono/cmd/Dockerfile", "FROM scratch\nCOPY go.mod cmd/ /src/\n");
        write("mono/go.mod", "");
        write("alone/Dockerfile", "FROM scratch\n");
        let found = find(dir.path()).unwrap();
        let list: Vec<_> = found
            .iter()
            .map(|f| (f.name.as_str(), f.repository.as_str(), f.dockerfile.as_str(), f.source.is_some()))
            .collect();
        assert_eq!(
            list,
            [
                ("alone", "owner/alone", "alone/Dockerfile", false),
                ("api", "acme/api", "api/Dockerfile", true),
                ("api-worker", "acme/api-worker", "api/Dockerfile.worker", true),
                ("cmd", "acme/cmd", "cmd/Dockerfile", true),
                ("mono", "acme/mono", "Dockerfile", true),
                ("web", "acme/web", "web/Dockerfile", true),
            ]
        );
        let contexts: Vec<_> = found.iter().filter_map(|found| found.context.as_deref()).collect();
        assert_eq!(contexts, ["web"], "what web copies lies beside its Dockerfile, what cmd copies does not");
        assert_eq!(found[1].source.as_ref().unwrap().branch, "trunk");
        let entries: Vec<Value> = found.iter().map(Found::entry).collect();
        let text = append(Path::new("images.yaml"), "", &entries).unwrap();
        assert!(!text.contains("tok@"), "no credentials: {text}");
        let more =
            append(Path::new("images.yaml"), &text, &[external_entry("pg", &"postgres:16".parse().unwrap())]).unwrap();
        assert!(more.starts_with(&text) && more.ends_with("- name: pg\n  registry: docker.io\n  repository: library/postgres\n  allowTags: ^16$\n  imageSelectionStrategy: Digest\n  rebuildDelay: 30d\n"), "{more}");
        assert!(append(Path::new("images.yaml"), &more, &entries).is_err(), "names twice");
    }
}
