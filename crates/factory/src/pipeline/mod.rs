//! The pipeline: from an enrolled image to a tag, step by step.
//!
//! ```text
//! validate ► configure ► clone ► build ► push ► sbom ► scan ► sign ► tag ► update ► notify
//! ```
//!
//! `push` puts blobs, manifests and index into the registry by digest alone: nobody sees them. Only
//! `tag`, behind the gate, gives them names. Each step is recorded when it is done; a run that is taken
//! up again goes on at the first step that is not. A step with an effect outside looks first whether
//! the effect is there, since the process may have been killed between effect and record.
mod gate;
mod notify;
mod request;
mod rollback;
mod steps;
mod update;
mod version;

pub use rollback::{Rollback, rollback};

use crate::enrol::Image;
use crate::runs::{RunStatus, Runs, RunsError, StepRecord};
use crate::source::Sources;
use crate::state::StateDir;
use crate::{Enrolment, time};
use attest::statement::Statement;
use build::Engine;
use build::event::Events;
use gitops::forge::{Forge, Opened, PullRequest};
use oci::{Digest, Reference};
use registry::Client;
use sandbox::CancelToken;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// The steps, in order.
pub const STEPS: [&str; 11] =
    ["validate", "configure", "clone", "build", "push", "sbom", "scan", "sign", "tag", "update", "notify"];

/// Finds the private key of a name.
pub type FindKey<'a> = dyn Fn(Option<&str>) -> Result<Option<Hand>, Failure> + 'a;

/// What signs.
pub enum Hand {
    /// A key.
    Key(Box<attest::key::PrivateKey>),
    /// Somebody's identity, by a program that asks who that is.
    Identity(Box<Identity>),
}

/// Signs with an identity: an image, or where there is a statement, that about the image.
pub type Identity = dyn Fn(&Reference, &Digest, Option<&Statement>) -> Result<(), Failure>;

impl std::fmt::Debug for Hand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key",
            Self::Identity(_) => "Identity",
        })
    }
}

/// What a pipeline works with.
pub struct Factory<'a> {
    /// The images.
    pub enrolment: &'a Enrolment,
    /// Their state.
    pub state_dir: &'a StateDir,
    /// The builder.
    pub engine: &'a Engine,
    /// Registries.
    pub client: &'a Client,
    /// The records.
    pub runs: &'a Runs,
    /// Repositories.
    pub sources: &'a Sources<'a>,
    /// The user's environment, for secrets by name.
    pub env: &'a BTreeMap<String, String>,
    /// Ends everything.
    pub cancel: &'a CancelToken,
    /// Where the events of builds go.
    pub events: Events,
    /// Is told of every step that ends.
    pub progress: &'a dyn Fn(&Image, &StepRecord),
    /// Variables of proxies for RUN.
    pub proxy: BTreeMap<String, String>,
    /// How many steps of a build run at once.
    pub parallelism: usize,
    /// External caches that builds take steps from.
    pub cache_from: Vec<build::request::CacheBackend>,
    /// External caches that builds write steps to.
    pub cache_to: Vec<build::request::CacheTarget>,
    /// What happened in the CI job that this is, for tag rules of sources whose checkout is at hand.
    pub event: Option<gitops::tags::Event>,
    /// Seconds since 1970.
    pub clock: &'a dyn Fn() -> i64,
    /// Where the vulnerability database is, or would be.
    pub scan_database: &'a Path,
    /// The key of a name in `images.yaml`, or the one that is used where none is named; `None` where there is none.
    pub signing_key: &'a FindKey<'a>,
    /// Sends JSON to a URL. The URL is a secret: the error does not show it.
    pub post: &'a dyn Fn(&str, &Value) -> Result<(), String>,
    /// Opens a pull request, or brings the open one up to date.
    pub open_request: &'a dyn Fn(&Forge, &PullRequest) -> Result<Opened, gitops::forge::Error>,
    /// Who builds, for the provenance: a URL, or nothing.
    pub builder: String,
    /// Is told that a step is about to begin (`begin`), and that its work is done and not recorded yet (`done`).
    pub checkpoint: &'a dyn Fn(&str, &str),
}

impl std::fmt::Debug for Factory<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Factory").field("enrolment", &self.enrolment.file).finish_non_exhaustive()
    }
}

/// What a run is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The version, in the place of the next one.
    pub tag: Option<String>,
    /// How far the version moves, in the place of `version.bump`.
    pub bump: Option<String>,
    /// Build for this machine into the store, and push nothing.
    pub local: bool,
    /// The platforms, in the place of those enrolled.
    pub platforms: Vec<String>,
    /// Scan the image that the registry has (of `tag`, else of the current version), and build nothing.
    pub scan_only: bool,
    /// Build although the image is held.
    pub force: bool,
    /// Manifests get a pull request where `images.yaml` says nothing of one.
    pub pull_request: bool,
    /// Attach an SBOM and provenance although `images.yaml` asks for none.
    pub attest: bool,
    /// Why: `manual`, `base`, `rollback`.
    pub trigger: String,
    /// Who asked for it.
    pub by: String,
    /// What they said.
    pub reason: String,
}

impl Options {
    /// As runs record them.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "tag": self.tag, "bump": self.bump, "local": self.local, "platforms": self.platforms, "scanOnly": self.scan_only,
            "force": self.force, "pullRequest": self.pull_request, "attest": self.attest, "trigger": self.trigger, "by": self.by, "reason": self.reason,
        })
    }

    fn of(value: &Value) -> Self {
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        Self {
            tag: text("tag"),
            bump: text("bump"),
            local: value["local"].as_bool().unwrap_or_default(),
            platforms: value["platforms"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            scan_only: value["scanOnly"].as_bool().unwrap_or_default(),
            force: value["force"].as_bool().unwrap_or_default(),
            pull_request: value["pullRequest"].as_bool().unwrap_or_default(),
            attest: value["attest"].as_bool().unwrap_or_default(),
            trigger: text("trigger").unwrap_or_else(|| "manual".into()),
            by: text("by").unwrap_or_default(),
            reason: text("reason").unwrap_or_default(),
        }
    }
}

/// Why a step failed.
#[derive(Debug)]
pub struct Failure {
    /// One line.
    pub message: String,
    /// What to do.
    pub hints: Vec<String>,
    /// The build's own error, with places.
    pub build: Option<Box<build::BuildError>>,
}

impl Failure {
    /// A failure with this message.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hints: Vec::new(), build: None }
    }

    /// With one more thing to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl From<RunsError> for Failure {
    fn from(error: RunsError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<registry::Error> for Failure {
    fn from(error: registry::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<signing::Error> for Failure {
    fn from(error: signing::Error) -> Self {
        match &error {
            signing::Error::Registry { what, source } => Self::new(format!("{what}: {source}")),
            _ => Self::new(error.to_string()),
        }
    }
}

impl From<crate::source::SourceError> for Failure {
    fn from(error: crate::source::SourceError) -> Self {
        let hints = error.hint().into_iter().collect();
        Self { message: error.to_string(), hints, build: None }
    }
}

impl From<crate::state::StateError> for Failure {
    fn from(error: crate::state::StateError) -> Self {
        Self::new(error.to_string())
    }
}

/// How a step ended well.
enum Ended {
    Done(Value),
    Skipped(String),
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// Its number.
    pub run: i64,
    /// Its steps.
    pub steps: Vec<StepRecord>,
    /// The version.
    pub version: Option<String>,
    /// The digest.
    pub digest: Option<String>,
    /// The tags that were given.
    pub tags: Vec<String>,
    /// The bytes of the image's layers, all platforms.
    pub size: u64,
    /// Why it failed, and at which step.
    pub failure: Option<(String, Failure)>,
}

/// Runs the pipeline of an image: a new run, or `resume`, one that did not come to its end.
///
/// # Errors
/// [`RunsError`] where nothing can be recorded. A step that fails is in the outcome.
pub fn run(factory: &Factory<'_>, image: &Image, options: &Options, resume: Option<i64>) -> Result<Outcome, RunsError> {
    let runs = factory.runs;
    let file = factory.enrolment.file.display().to_string();
    let _turn = runs.lock(&file, &image.name)?;
    let (run, options) = match resume {
        Some(id) => {
            runs.resume(id)?;
            let options = runs.run(id)?.map_or_else(|| options.clone(), |run| Options::of(&run.options));
            (id, options)
        }
        None => {
            let id = runs.begin(&file, &image.name, &options.trigger, &options.json(), (factory.clock)())?;
            (id, options.clone())
        }
    };
    let earlier = runs.steps(run)?;
    let mut machine = Machine { factory, image, run, earlier, steps: Vec::new(), failure: None };
    let result = steps::all(&mut machine, &options);
    if let Err(failure) = &result {
        steps::tell_failure(&machine, &options, failure);
    }
    finish(machine, result)
}

/// Ends the record of a run, and sums it up.
fn finish(machine: Machine<'_>, result: Result<(), Failure>) -> Result<Outcome, RunsError> {
    let (factory, runs, run) = (machine.factory, machine.factory.runs, machine.run);
    let failed = result.is_err();
    let status = if failed { RunStatus::Failed } else { RunStatus::Done };
    runs.end(run, status, (factory.clock)())?;
    if !failed {
        // The clone of a run that may go on stays.
        let _ = std::fs::remove_dir_all(runs.work_dir(run));
    }
    let steps = runs.steps(run)?;
    let output = |step: &str| steps.iter().find(|s| s.name == step).map_or(Value::Null, |s| s.output.clone());
    let (configured, built, tagged) = (output("configure"), output("build"), output("tag"));
    Ok(Outcome {
        run,
        version: configured["version"].as_str().map(str::to_owned),
        // A rollback builds nothing: its digest is the one that it goes to.
        digest: built["digest"].as_str().or(configured["digest"].as_str()).map(str::to_owned),
        size: built["size"].as_u64().unwrap_or(0),
        tags: [&tagged["tags"], &tagged["moved"]]
            .into_iter()
            .filter_map(Value::as_array)
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        failure: result.err().map(|failure| (machine.failure.clone().unwrap_or_default(), failure)),
        steps,
    })
}

/// Goes through the steps and keeps the records.
struct Machine<'a> {
    factory: &'a Factory<'a>,
    image: &'a Image,
    run: i64,
    /// The records of an earlier attempt.
    earlier: Vec<StepRecord>,
    /// The names so far.
    steps: Vec<&'static str>,
    failure: Option<String>,
}

impl Machine<'_> {
    /// Does a step, unless it was done; gives its output. `valid` says whether what an earlier attempt
    /// left can still be used.
    fn step(
        &mut self,
        name: &'static str,
        valid: impl FnOnce(&Value) -> bool,
        work: impl FnOnce(&Self) -> Result<Ended, Failure>,
    ) -> Result<Value, Failure> {
        let position = self.steps.len();
        self.steps.push(name);
        let done =
            self.earlier.iter().find(|s| s.name == name && matches!(s.status, RunStatus::Done | RunStatus::Skipped));
        if let Some(done) = done
            && valid(&done.output)
        {
            (self.factory.progress)(self.image, done);
            return Ok(done.output.clone());
        }
        let runs = self.factory.runs;
        let mut record = StepRecord {
            name: name.to_owned(),
            status: RunStatus::Running,
            started: (self.factory.clock)(),
            took: None,
            message: String::new(),
            // What an interrupted attempt noted stays until there is more.
            output: self.earlier.iter().find(|s| s.name == name).map_or(Value::Null, |s| s.output.clone()),
        };
        runs.put_step(self.run, position, &record)?;
        (self.factory.checkpoint)(name, "begin");
        let started = Instant::now();
        let result = if self.factory.cancel.is_cancelled() { Err(Failure::new("interrupted")) } else { work(self) };
        (self.factory.checkpoint)(name, "done");
        record.took = i64::try_from(started.elapsed().as_millis()).ok();
        let result = match result {
            Ok(Ended::Done(output)) => {
                record.status = RunStatus::Done;
                record.message = output["said"].as_str().unwrap_or_default().to_owned();
                record.output = output;
                Ok(record.output.clone())
            }
            Ok(Ended::Skipped(why)) => {
                record.status = RunStatus::Skipped;
                record.message = why;
                Ok(Value::Null)
            }
            Err(failure) => {
                record.status = RunStatus::Failed;
                record.message.clone_from(&failure.message);
                self.failure = Some(name.to_owned());
                self.log(name, &format!("error: {}", failure.message));
                Err(failure)
            }
        };
        runs.put_step(self.run, position, &record)?;
        (self.factory.progress)(self.image, &record);
        result
    }

    /// Notes what the step that is being done has come to, for a run that is taken up again.
    fn note(&self, name: &str, output: &Value) -> Result<(), RunsError> {
        let record = StepRecord {
            name: name.to_owned(),
            status: RunStatus::Running,
            started: (self.factory.clock)(),
            took: None,
            message: String::new(),
            output: output.clone(),
        };
        self.factory.runs.put_step(self.run, self.steps.len().saturating_sub(1), &record)
    }

    /// A line in a step's log. That it cannot be written stops nothing: the record says the same.
    fn log(&self, step: &str, line: &str) {
        let stamp = time::stamp((self.factory.clock)());
        let _ = self.factory.runs.log(self.run, step, &format!("{stamp} {line}\n"));
    }
}
