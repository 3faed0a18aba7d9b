//! Back to an older image: a hold, so that automation does not undo it, the manifests in one commit
//! for each repository, then the tags that move.
//!
//! It is a run like any other: recorded, shown by `history`, and taken up again where it stopped.
use super::steps::repository;
use super::{Ended, Factory, Failure, Machine, Options, Outcome, finish, update};
use crate::enrol::Image;
use crate::runs::{RunStatus, RunsError};
use crate::state::{Hold, ImageState};
use crate::time;
use gitops::version::TagVersion;
use oci::Digest;
use registry::ErrorKind;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Rollback {
    /// A version or a digest; without it, what was published before.
    pub to: Option<String>,
    /// Who asks.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Rolls an image back; `resume` takes up a rollback that did not come to its end.
///
/// # Errors
/// [`RunsError`] where nothing can be recorded. A step that fails is in the outcome.
pub fn rollback(
    factory: &Factory<'_>,
    image: &Image,
    wanted: &Rollback,
    resume: Option<i64>,
) -> Result<Outcome, RunsError> {
    let runs = factory.runs;
    let file = factory.enrolment.file.display().to_string();
    let _turn = runs.lock(&file, &image.name)?;
    let run = match resume {
        Some(run) => {
            runs.resume(run)?;
            run
        }
        None => {
            let options = Options {
                trigger: "rollback".into(),
                by: wanted.by.clone(),
                reason: wanted.reason.clone(),
                tag: wanted.to.clone(),
                ..Options::default()
            };
            runs.begin(&file, &image.name, &options.trigger, &options.json(), (factory.clock)())?
        }
    };
    let earlier = runs.steps(run)?;
    let mut machine = Machine { factory, image, run, earlier, steps: Vec::new(), failure: None };
    let result = steps(&mut machine, wanted);
    finish(machine, result)
}

fn steps(machine: &mut Machine<'_>, wanted: &Rollback) -> Result<(), Failure> {
    let image = machine.image;
    let Some(managed) = image.managed() else {
        machine.failure = Some("validate".into());
        return Err(Failure::new(format!("{} is watched only: nothing of it is published here", image.name)));
    };
    let plan = machine.step("configure", |_| true, |m| target(m, wanted).map(Ended::Done))?;
    let digest = plan["digest"].as_str().unwrap_or_default().to_owned();
    machine.factory.runs.result(machine.run, plan["version"].as_str(), Some(&digest))?;
    machine.step("hold", |_| true, |m| hold(m, wanted, &plan).map(Ended::Done))?;
    let message = format!("{{name}}: back to {{version}} from {}", plan["from"].as_str().unwrap_or("a newer one"));
    machine.step(
        "update",
        |_| true,
        |m| update::all(m, managed, &Options::default(), &plan, &digest, Some(&message)),
    )?;
    machine.step("tag", |_| true, |m| move_tags(m, &plan, &digest).map(Ended::Done))?;
    Ok(())
}

fn state_of(machine: &Machine<'_>) -> Result<ImageState, Failure> {
    let now = time::stamp((machine.factory.clock)());
    let state = machine.factory.state_dir.image(&machine.image.name)?;
    Ok(state.unwrap_or_else(|| ImageState::new(machine.image, &now)))
}

/// What was published: version, digest and the bases it stands on, the newest first.
fn published(machine: &Machine<'_>) -> Result<Vec<(String, String, Value)>, Failure> {
    let runs = machine.factory.runs;
    let file = machine.factory.enrolment.file.display().to_string();
    let mut out = Vec::new();
    for run in runs.list(&file, Some(&machine.image.name), 1000)? {
        let (Some(version), Some(digest)) = (run.version, run.digest) else { continue };
        if run.id == machine.run || run.status != RunStatus::Done || run.trigger == "rollback" {
            continue;
        }
        let steps = runs.steps(run.id)?;
        let output = |name: &str| steps.iter().find(|s| s.name == name).map_or(Value::Null, |s| s.output.clone());
        // Builds into the store and scans were not published.
        if output("tag")["tags"].is_array() {
            out.push((version, digest, output("build")));
        }
    }
    Ok(out)
}

/// Which image it goes back to.
fn target(machine: &Machine<'_>, wanted: &Rollback) -> Result<Value, Failure> {
    let (name, client) = (repository(machine)?, machine.factory.client);
    let state = state_of(machine)?;
    let history = published(machine)?;
    let unknown = |what: &str| {
        Failure::new(format!("the registry has no {}{what}", name.name()))
            .hint(format!("cooperage factory history {} lists what was published", machine.image.name))
    };
    let (version, digest): (Option<String>, Digest) = match wanted.to.as_deref() {
        Some(text) if text.contains(':') => {
            let digest: Digest = text.parse().map_err(|_| {
                Failure::new(format!("{text:?} is no digest")).hint("give a version, or sha256: and 64 digits")
            })?;
            match client.resolve(&signing::bare(&name, &digest)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => return Err(unknown(&format!("@{digest}"))),
                Err(error) => return Err(error.into()),
            }
            let known =
                history.iter().find(|(_, of, _)| *of == digest.to_string()).map(|(version, ..)| version.clone());
            (known, digest)
        }
        Some(version) => match client.resolve(&name.with_tag(version)) {
            Ok(found) => (Some(version.to_owned()), found.digest),
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(unknown(&format!(":{version}"))),
            Err(error) => return Err(error.into()),
        },
        None => {
            let current = state.current_digest.clone();
            let behind = history
                .iter()
                .skip_while(|(_, digest, _)| current.as_ref().is_some_and(|current| current != digest))
                .find(|(_, digest, _)| current.as_ref() != Some(digest));
            match behind {
                Some((version, digest, _)) => {
                    let digest = digest.parse().map_err(|_| Failure::new(format!("{digest:?} is no digest")))?;
                    (Some(version.clone()), digest)
                }
                // No record here: the version before, as the registry has it.
                None => {
                    let now = state.current_version.as_deref().and_then(TagVersion::parse);
                    let tags = client.tags(&name)?;
                    let before = tags
                        .iter()
                        .filter_map(|tag| TagVersion::parse(tag).map(|version| (version, tag)))
                        .filter(|(version, _)| !version.is_partial() && now.as_ref().is_some_and(|now| version < now))
                        .max();
                    let Some((_, tag)) = before else {
                        return Err(Failure::new(format!("nothing older of {} is known", machine.image.name))
                            .hint("say what to go back to: --to VERSION or --to sha256:…"));
                    };
                    (Some(tag.clone()), client.resolve(&name.with_tag(tag))?.digest)
                }
            }
        }
    };
    let text = digest.to_string();
    if state.current_digest.as_deref() == Some(&text) {
        return Err(Failure::new(format!("{} is at {text} already", machine.image.name))
            .hint(format!("cooperage factory history {} lists what was published", machine.image.name)));
    }
    let pins_tag = machine.image.managed().is_some_and(|m| m.updates.iter().any(|update| update.write != "digest"));
    if version.is_none() && pins_tag {
        return Err(Failure::new(format!("no version of {text} is known, and the manifests want one"))
            .hint("name the version: --to VERSION"));
    }
    let bases = history.iter().find(|(_, of, _)| *of == text).map_or(Value::Null, |(.., built)| built["bases"].clone());
    let shown = version.as_deref().unwrap_or(&text);
    machine.log("configure", &format!("back to {shown} ({text})"));
    Ok(json!({
        "version": version, "tags": [version], "digest": text, "bases": bases,
        "from": state.current_version, "fromDigest": state.current_digest, "at": (machine.factory.clock)(),
    }))
}

/// First of all: automation keeps its hands off.
fn hold(machine: &Machine<'_>, wanted: &Rollback, plan: &Value) -> Result<Value, Failure> {
    let state_dir = machine.factory.state_dir;
    let mut state = state_of(machine)?;
    let shown = plan["version"].as_str().or(plan["digest"].as_str()).unwrap_or_default();
    let reason = if wanted.reason.is_empty() { format!("rolled back to {shown}") } else { wanted.reason.clone() };
    let since = time::stamp(plan["at"].as_i64().unwrap_or(0));
    state.hold = Some(Hold { since, reason, by: wanted.by.clone() });
    state.current_version = plan["version"].as_str().map(str::to_owned);
    state.current_digest = plan["digest"].as_str().map(str::to_owned);
    state.built_from = match plan["bases"].is_array() {
        true => super::steps::built_from(&state.bases, &state_dir.load()?, plan),
        false => BTreeMap::new(),
    };
    state_dir.put_image(&state)?;
    Ok(json!({ "reason": state.hold.as_ref().map(|hold| &hold.reason) }))
}

/// Every tag that moves and stands on what is taken back: `latest`, `1`, `1.2`, branches; no version.
fn move_tags(machine: &Machine<'_>, plan: &Value, digest: &str) -> Result<Value, Failure> {
    let (name, client) = (repository(machine)?, machine.factory.client);
    let target: Digest = digest.parse().map_err(|_| Failure::new(format!("{digest:?} is no digest")))?;
    let fetched = client.manifest(&signing::bare(&name, &target))?;
    let from = plan["fromDigest"].as_str().unwrap_or_default();
    let mut moved = Vec::new();
    let moves = |tag: &&String| {
        !tag.starts_with("sha256-") && TagVersion::parse(tag).is_none_or(|version| version.is_partial())
    };
    for tag in client.tags(&name)?.iter().filter(moves) {
        let reference = name.with_tag(tag);
        if client.resolve(&reference)?.digest.to_string() == from {
            client.push_manifest(&reference, &fetched.media_type, &fetched.bytes)?;
            machine.log("tag", &format!("{reference} is {digest}"));
            moved.push(tag.clone());
        }
    }
    Ok(json!({ "moved": moved }))
}
