//! Collects what becomes of a build's steps, finds the reason of a miss, and writes the record at the end.
//!
//! A history that cannot be written or read is never an error of the build.
use super::record::{BaseEntry, BuildOutcome, BuildRecord, Cause, CauseKind, StepEntry, StepOutcome};
use super::{FORMAT, align, cause};
use crate::error::{BuildError, Kind};
use crate::key::{Fields, Key};
use crate::request::{BuildRequest, Context, ContextSource};
use crate::source::redact;
use crate::store::{StepRecord, Store};
use dockerfile::lint::rules::secrets_used_in_arg_or_env::is_secret;
use oci::Digest;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Older builds that a miss is compared with, the nearest first.
const COMPARED: usize = 4;

/// Records one build.
pub(crate) struct Recorder {
    store: Arc<Store>,
    begun: Instant,
    record: Mutex<BuildRecord>,
    older: OnceLock<Vec<Older>>,
}

/// An older build, and which of its steps is which of this build.
struct Older {
    record: BuildRecord,
    places: Vec<Option<usize>>,
}

/// What is known of a step before anything runs.
pub(crate) struct Announced<'a> {
    pub(crate) name: &'a str,
    pub(crate) stage: &'a str,
    pub(crate) platform: String,
    pub(crate) line: usize,
    pub(crate) after: Option<usize>,
    pub(crate) base: Option<BaseEntry>,
    pub(crate) definition: &'a Key,
}

impl Recorder {
    pub(crate) fn new(store: Arc<Store>, request: &BuildRequest, dockerfile: &str, text: &str) -> Self {
        let context = match &request.context {
            Context::Source(ContextSource::Directory(path)) => path.display().to_string(),
            Context::Source(ContextSource::Git(url) | ContextSource::Http(url)) => redact(url),
            Context::Source(_) => "an image".to_owned(),
            Context::Stdin(_) => "-".to_owned(),
        };
        let record = BuildRecord {
            format: FORMAT,
            id: random_id(),
            started: milliseconds(SystemTime::now()),
            duration: 0,
            outcome: BuildOutcome::Failed,
            error: None,
            context,
            dockerfile: redact(dockerfile),
            dockerfile_digest: Digest::sha256(text.as_bytes()).to_string(),
            target: request.target.clone(),
            names: request.tags.iter().map(ToString::to_string).collect(),
            build_args: request.build_args.keys().cloned().collect(),
            digest: None,
            steps: Vec::new(),
        };
        Self { store, begun: Instant::now(), record: Mutex::new(record), older: OnceLock::new() }
    }

    fn with<T>(&self, work: impl FnOnce(&mut BuildRecord) -> T) -> T {
        work(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes a step and gives its place in the record.
    pub(crate) fn announce(&self, step: &Announced<'_>) -> usize {
        let instruction = match step.name.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
            Some((_, instruction)) => instruction,
            None => step.name,
        };
        let entry = StepEntry {
            name: redact(step.name),
            instruction: redact(instruction),
            stage: stage_of(step.stage).to_owned(),
            platform: step.platform.clone(),
            line: step.line,
            after: step.after,
            base: step.base.clone(),
            definition: step.definition.as_str().to_owned(),
            key: None,
            fields: Vec::new(),
            outcome: StepOutcome::NotReached,
            started: 0,
            duration: 0,
            layer: None,
            size: None,
            cause: None,
        };
        self.with(|record| {
            record.steps.push(entry);
            record.steps.len() - 1
        })
    }

    /// A step begins.
    pub(crate) fn begin(&self, step: usize) {
        self.with(|record| record.steps[step].started = milliseconds(SystemTime::now()));
    }

    /// A result was in the cache.
    pub(crate) fn hit(&self, step: usize, found: &StepRecord, by_content: bool) {
        self.with(|record| {
            let entry = &mut record.steps[step];
            fill(entry, &found.key, &found.fields);
            entry.outcome = if by_content { StepOutcome::ContentHit } else { StepOutcome::Hit };
            entry.layer = found.layer.as_ref().map(|id| id.as_str().to_owned());
        });
    }

    /// A result was not in the cache: says why. `told` is that the request asks for it to be run.
    pub(crate) fn miss(&self, step: usize, key: &Key, fields: &Fields, told: Option<String>) -> Cause {
        self.with(|record| {
            fill(&mut record.steps[step], key, fields);
            let cause = match told {
                Some(summary) => Cause { kind: CauseKind::NoCache, summary, against: None, changes: Vec::new() },
                None => self.cause(record, step),
            };
            record.steps[step].cause = Some(cause.clone());
            cause
        })
    }

    /// The end of a step that was done.
    pub(crate) fn end(&self, step: usize, took: Duration, result: Result<&StepRecord, &BuildError>) {
        self.with(|record| {
            let entry = &mut record.steps[step];
            entry.duration = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            match result {
                Ok(done) => {
                    if !entry.outcome.is_hit() {
                        entry.outcome = StepOutcome::Ran;
                    }
                    entry.layer = done.layer.as_ref().map(|id| id.as_str().to_owned());
                }
                Err(e) if e.kind() == Kind::Canceled => entry.outcome = StepOutcome::Canceled,
                Err(_) => entry.outcome = StepOutcome::Failed,
            }
        });
    }

    /// Writes the record.
    pub(crate) fn finish(&self, result: Result<&str, &BuildError>) {
        let mut record = self.with(|record| record.clone());
        record.duration = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        match result {
            Ok(digest) => {
                record.outcome = BuildOutcome::Done;
                record.digest = (!digest.is_empty()).then(|| digest.to_owned());
            }
            Err(error) if error.kind() == Kind::Canceled => record.outcome = BuildOutcome::Canceled,
            Err(error) => record.error = Some(redact(error.message())),
        }
        for step in &mut record.steps {
            if step.outcome == StepOutcome::NotReached && record.outcome == BuildOutcome::Done {
                step.outcome = StepOutcome::NotNeeded;
                if let Some(known) = self.store.step_of(&step.definition) {
                    fill(step, &known.key, &known.fields);
                    step.layer = known.layer.as_ref().map(|id| id.as_str().to_owned());
                }
            }
            step.size = step.layer.as_deref().and_then(|id| self.store.layer_size(id));
        }
        let _ = self.store.put_build(&record);
    }

    fn cause(&self, now: &BuildRecord, step: usize) -> Cause {
        let entry = &now.steps[step];
        let files = |digest: &str| self.store.files(digest);
        let older = self.older.get_or_init(|| nearest(&self.store, now));
        let mut known = false;
        for Older { record, places } in older {
            let Some(place) = places.get(step).copied().flatten() else { continue };
            let before = &record.steps[place];
            if before.key.is_none() {
                // It was not reached: an older build may say more.
                known = true;
                continue;
            }
            if before.key != entry.key {
                let (old, new) = (cause::Side { record, step: place }, cause::Side { record: now, step });
                return cause::because(&record.id, cause::changes(&old, &new, &files));
            }
            let (kind, summary) = match before.outcome {
                StepOutcome::Failed => (CauseKind::FailedBefore, "it failed the last time"),
                StepOutcome::Canceled => (CauseKind::FailedBefore, "it was interrupted the last time"),
                _ => (CauseKind::Removed, "its result is no longer in the store"),
            };
            return Cause { kind, summary: summary.to_owned(), against: Some(record.id.clone()), changes: Vec::new() };
        }
        let summary = match older.is_empty() || known {
            true => "never built here",
            false => "a new step, never built here",
        };
        Cause { kind: CauseKind::NeverBuilt, summary: summary.to_owned(), against: None, changes: Vec::new() }
    }
}

/// The older builds that are most like this one: of the same context and Dockerfile, else with the same steps.
fn nearest(store: &Store, now: &BuildRecord) -> Vec<Older> {
    let mut same = store.builds_of(now, COMPARED);
    if same.is_empty() {
        let least = now.steps.len().div_ceil(2).max(1);
        same = store.latest_builds(2 * COMPARED);
        same.retain(|record| align::likeness(record, now) >= least);
        same.truncate(COMPARED);
    }
    same.into_iter().map(|record| Older { places: align::align(&record, now), record }).collect()
}

/// Key and fields, without the values of secrets.
fn fill(entry: &mut StepEntry, key: &Key, fields: &Fields) {
    entry.key = Some(key.as_str().to_owned());
    let mut secrets: BTreeSet<&str> = BTreeSet::new();
    for (label, value) in fields {
        if label.strip_prefix("env ").is_some_and(is_secret) && value.len() >= 6 {
            secrets.insert(value);
        }
    }
    let hide = |text: &str| {
        let mut text = text.to_owned();
        for secret in &secrets {
            text = text.replace(secret, "(hidden)");
        }
        text
    };
    entry.fields = fields
        .iter()
        .map(|(label, value)| match label.strip_prefix("env ").is_some_and(is_secret) {
            true => (label.clone(), format!("(hidden) {}", Digest::sha256(value.as_bytes()).short())),
            false => (label.clone(), hide(value)),
        })
        .collect();
    entry.name = hide(&entry.name);
    entry.instruction = hide(&entry.instruction);
}

pub(super) fn milliseconds(at: SystemTime) -> i64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// A stage by its title, without the platform that stands first where a build has several: it is the same stage in a
/// build of one.
fn stage_of(title: &str) -> &str {
    match title.split_once(' ') {
        Some((first, rest)) if first.contains('/') => rest,
        None if title.contains('/') => "",
        _ => title,
    }
}

/// Twelve hex digits that no other build has.
fn random_id() -> String {
    let mut bytes = [0_u8; 6];
    if !matches!(rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK), Ok(6)) {
        let seed = format!("{:?} {}", SystemTime::now(), std::process::id());
        return Digest::sha256(seed.as_bytes()).short().to_owned();
    }
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::stage_of;

    #[test]
    fn a_stage_is_the_same_whatever_the_number_of_platforms() {
        for (title, stage) in [
            ("", ""),
            ("x", "x"),
            ("stage-1", "stage-1"),
            ("linux/arm64", ""),
            ("linux/arm64 x", "x"),
            ("linux/amd64->arm64 x", "x"),
        ] {
            assert_eq!(stage_of(title), stage, "{title:?}");
        }
    }
}
