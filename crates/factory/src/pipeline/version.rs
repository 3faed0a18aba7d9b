//! Commit, version and tags of a run, and the git tag.
use super::steps::repository;
use super::{Failure, Machine, Options, update};
use crate::enrol::Managed;
use gitops::git::Repository;
use gitops::tags::moving::{Decision, Policy, decide, next_version};
use gitops::tags::{Event, Flavor, Rule, compute};
use gitops::version::TagVersion;
use gitops::version::bump::{Step, calendar, conventional, next};
use registry::ErrorKind;
use serde_json::{Value, json};

/// The tags that the registry has; none where the repository does not exist yet.
pub(super) fn existing(machine: &Machine<'_>) -> Result<Vec<String>, Failure> {
    match machine.factory.client.tags(&repository(machine)?) {
        Ok(tags) => Ok(tags),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// Commit, version, tags.
pub(super) fn configure(machine: &Machine<'_>, managed: &Managed, options: &Options) -> Result<Value, Failure> {
    let commit = match &managed.source {
        Some(source) if machine.factory.sources.at_hand(source).is_none() => {
            let found = machine.factory.sources.commit(source)?;
            Some((found.commit, found.reference))
        }
        // The checkout of a CI job is the commit that the job is about.
        Some(_) => machine.factory.event.as_ref().and_then(|event| Some((event.sha.clone()?, None))),
        _ => None,
    };
    let (id, reference) = commit.map_or((None, None), |(id, reference)| (Some(id), reference));
    let taken = if options.local { Vec::new() } else { existing(machine)? };
    let now = (machine.factory.clock)();
    let fail = |error: &dyn std::fmt::Display| Failure::new(error.to_string());
    let flavor = Flavor::parse(&managed.flavor.join("\n")).map_err(|error| fail(&error))?;
    let policy = Policy { prefix: flavor.prefix.clone(), suffix: flavor.suffix.clone(), ..Policy::default() };
    let mut tags: Vec<String> = Vec::new();
    let free = |version: &str| next_version(version, taken.iter().map(String::as_str), &policy);
    let version = match (&options.tag, managed.tags.is_empty()) {
        (Some(tag), _) => tag.clone(),
        (None, false) => {
            let rules = Rule::parse_all(&managed.tags.join("\n")).map_err(|error| fail(&error))?;
            let branch = managed.source.as_ref().map_or("main", |source| source.branch.as_str());
            let at_hand = managed.source.as_ref().is_some_and(|s| machine.factory.sources.at_hand(s).is_some());
            let event = match machine.factory.event.as_ref().filter(|_| at_hand) {
                Some(event) => Event { now: jiff::Timestamp::from_second(now).unwrap_or(event.now), ..event.clone() },
                None => Event {
                    git_ref: reference.clone().unwrap_or_else(|| format!("refs/heads/{branch}")),
                    sha: id.clone(),
                    default_branch: branch.to_owned(),
                    now: jiff::Timestamp::from_second(now).unwrap_or(jiff::Timestamp::UNIX_EPOCH),
                    ..Event::default()
                },
            };
            let found = compute(&event, &rules, &flavor).map_err(|error| fail(&error))?;
            tags = found.tags;
            found.version.ok_or_else(|| {
                Failure::new("the tag rules give no tag for this build")
                    .hint("add type=ref,event=branch or type=sha, or name one with --tag")
            })?
        }
        (None, true) => free(&next_of(machine, managed, options, &policy, now, &taken)?),
    };
    if tags.is_empty() {
        let core = format!("{}{version}{}", policy.prefix, policy.suffix);
        tags = vec![if options.tag.is_some() { version.clone() } else { core }];
        if options.tag.is_none() {
            tags.push("latest".into());
        }
    }
    // A tag that cannot be given is told before anything is built.
    if options.tag.is_some()
        && decide(&version, &tags, taken.iter().map(String::as_str), &policy)
            .iter()
            .any(|(_, d)| *d == Decision::Exists)
    {
        return Err(Failure::new(format!(
            "{}:{version} exists already, and a version is never overwritten",
            machine.image.reference()
        ))
        .hint(format!("{} is free", free(&version))));
    }
    machine.log("configure", &format!("version {version}, tags {}", tags.join(", ")));
    Ok(
        json!({ "commit": id, "reference": reference, "version": version, "tags": tags, "prefix": policy.prefix, "suffix": policy.suffix, "at": now }),
    )
}

/// The version that the state tells of, or the newest release in the registry where that is newer: the state may lie
/// in a checkout that others have built since, or be none in a fresh job; after a rollback it is an older one.
fn newest(state: Option<String>, taken: &[String], policy: &Policy) -> Option<String> {
    let release = |tag: &str| {
        let core = tag.strip_prefix(&policy.prefix)?.strip_suffix(&policy.suffix)?;
        let version = TagVersion::parse(core).filter(TagVersion::is_release)?;
        // Without the number of a rebuild, which the next version does not inherit.
        let core = core.split('-').next().unwrap_or(core).to_owned();
        Some((version, core))
    };
    let newest = taken.iter().filter_map(|tag| release(tag)).max_by(|a, b| a.0.cmp(&b.0));
    match (state, newest) {
        (Some(state), Some((version, core))) => match TagVersion::parse(&state) {
            Some(known) if known < version => Some(core),
            _ => Some(state),
        },
        (state, newest) => state.or(newest.map(|(_, core)| core)),
    }
}

/// The next version.
fn next_of(
    machine: &Machine<'_>,
    managed: &Managed,
    options: &Options,
    policy: &Policy,
    now: i64,
    taken: &[String],
) -> Result<String, Failure> {
    let fail = |error: &dyn std::fmt::Display| Failure::new(error.to_string());
    if let Some(file) = managed.local.version_file.as_deref().filter(|_| options.bump.is_none()) {
        return version_of_file(machine, managed, file);
    }
    let bump = options.bump.as_deref().unwrap_or(&managed.version.bump);
    let state = machine.factory.state_dir.image(&machine.image.name)?;
    let built = state.as_ref().and_then(|state| state.current_version.clone());
    let current = newest(built, taken, policy);
    let step = match bump {
        "none" => return Ok(current.unwrap_or_else(|| managed.version.initial.clone())),
        "calver" => {
            let time = jiff::Timestamp::from_second(now).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
            let date = time.to_zoned(jiff::tz::TimeZone::UTC).date();
            return calendar(&managed.version.format, date, taken.iter().map(String::as_str))
                .map_err(|error| fail(&error));
        }
        "conventional" => match &current {
            Some(current) => match step_of_commits(machine, managed, current)? {
                Some(step) => step,
                // Nothing that users see: a rebuild of the same version.
                None => return Ok(core_of(current).to_owned()),
            },
            None => Step::Patch,
        },
        "minor" => Step::Minor,
        "major" => Step::Major,
        _ => Step::Patch,
    };
    match current {
        Some(current) => next(&current, step).map_err(|error| fail(&error)),
        None => Ok(managed.version.initial.clone()),
    }
}

/// What `local.versionFile` says: a file beside `images.yaml`, else one of the source.
fn version_of_file(machine: &Machine<'_>, managed: &Managed, file: &str) -> Result<String, Failure> {
    let beside = machine.factory.enrolment.dir().join(managed.local.dir.as_deref().unwrap_or(".")).join(file);
    let from = |path: &std::path::Path| {
        std::fs::read_to_string(path).map_err(|e| Failure::new(format!("cannot read {}: {e}", path.display())))
    };
    let text = match &managed.source {
        _ if beside.is_file() => from(&beside)?,
        None => from(&beside)?,
        Some(source) => match machine.factory.sources.at_hand(source) {
            Some(top) => from(&top.join(file))?,
            None => {
                let repository = open(machine, &source.url)?;
                let tip = repository.fetch(&source.branch).map_err(|error| Failure::new(error.to_string()))?;
                tip.text(file).map_err(|error| Failure::new(format!("local.versionFile: {error}")))?
            }
        },
    };
    let version = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or("");
    let version = version.strip_prefix('v').unwrap_or(version);
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if version.is_empty()
        || version.len() > 100
        || !version.chars().all(fits)
        || !version.starts_with(|c: char| c.is_ascii_alphanumeric())
    {
        return Err(Failure::new(format!(
            "local.versionFile: {file} holds no version: {:?}",
            version.chars().take(40).collect::<String>()
        ))
        .hint("its first line is the version, such as 1.4.0"));
    }
    Ok(version.to_owned())
}

/// A version without the number of a rebuild.
fn core_of(version: &str) -> &str {
    version.split('-').next().unwrap_or(version)
}

/// How far the commits since the current version move it.
fn step_of_commits(machine: &Machine<'_>, managed: &Managed, current: &str) -> Result<Option<Step>, Failure> {
    let Some(source) = &managed.source else {
        return Err(Failure::new("version.bump: conventional needs a source with a history")
            .hint("use patch, minor, major or calver, or name the version with --tag"));
    };
    let since = machine
        .factory
        .runs
        .list(&machine.factory.enrolment.file.display().to_string(), Some(&machine.image.name), 200)?
        .into_iter()
        .filter(|run| run.id != machine.run && run.status == crate::runs::RunStatus::Done)
        .filter(|run| {
            run.trigger != "rollback" && run.version.as_deref().is_some_and(|v| core_of(v) == core_of(current))
        });
    let mut base = None;
    for run in since {
        let steps = machine.factory.runs.steps(run.id)?;
        base =
            steps.iter().find(|s| s.name == "configure").and_then(|s| s.output["commit"].as_str().map(str::to_owned));
        if base.is_some() {
            break;
        }
    }
    let repository = open(machine, &source.url)?;
    let tag = format!("{}{current}", managed.version.tag_prefix);
    let messages =
        repository.messages(&source.branch, base.as_deref(), &tag).map_err(|error| Failure::new(error.to_string()))?;
    let Some(messages) = messages else {
        machine.log("configure", &format!("which commit {current} was made of is not known: its last number moves"));
        return Ok(Some(Step::Patch));
    };
    machine.log("configure", &format!("{} commits since {current}", messages.len()));
    Ok(conventional(messages.iter().map(String::as_str), current))
}

/// A bare repository of the run's own.
fn open(machine: &Machine<'_>, url: &str) -> Result<Repository, Failure> {
    let dir = machine.factory.runs.work_dir(machine.run).join("history");
    let _ = std::fs::remove_dir_all(&dir);
    Repository::open(update::git(machine, url)?, &dir).map_err(|error| Failure::new(error.to_string()))
}

/// Tags the commit that was built, where that is wanted. A tag that names it already stays.
pub(super) fn git_tag(machine: &Machine<'_>, managed: &Managed, plan: &Value, tree: &Value) -> Result<(), Failure> {
    let (true, Some(source), Some(commit)) = (managed.version.git_tag, &managed.source, tree["commit"].as_str()) else {
        return Ok(());
    };
    let version = plan["version"].as_str().unwrap_or_default();
    let name = format!("{}{version}", managed.version.tag_prefix);
    let repository = open(machine, &source.url)?;
    let fail = |error: gitops::git::Error| Failure::new(error.to_string());
    repository.fetch(&source.branch).map_err(fail)?;
    let message = format!("{} {version}", machine.image.name);
    let outcome = repository.tag(&name, commit, &message, &update::author(machine)).map_err(fail)?;
    machine.log("tag", &format!("git tag {name} on {commit}: {outcome:?}"));
    Ok(())
}
