//! Builds of several images: independent ones beside each other, what others are made from first.
//!
//! An image begins when all images of the batch that it is made from have ended well. One that fails stops those that
//! are made from it, and nobody else.
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use build::source::http::HttpClient;
use factory::Graph;
use factory::enrol::Image;
use factory::pipeline::{Factory, Outcome};
use factory::runs::{Runs, RunsError, StepRecord};
use factory::source::Sources;

use super::build::{MoreArgs, builder, caches, checkpoint, event, open, signing_key, unfinished};
use super::{Place, short, table};
use crate::app::Context;
use crate::config::{Flags, Settings};
use crate::error::{CliError, Result};
use crate::progress::{Mode, Reporter};

/// What is done with one image: a new run, or the one that is taken up again.
pub(super) type Work<'w> =
    &'w (dyn Fn(&Factory<'_>, &Image, Option<i64>) -> std::result::Result<Outcome, RunsError> + Sync);

/// What is done with which images.
pub(super) struct Batch<'b> {
    /// In the order in which they are built.
    pub(super) images: &'b [&'b Image],
    /// What is made from what; without it nothing is.
    pub(super) graph: Option<&'b Graph>,
    /// How many at once.
    pub(super) jobs: usize,
    /// Whether the last runs are taken up again.
    pub(super) resume: bool,
    /// `build`, `rollback`
    pub(super) verb: &'b str,
    pub(super) work: Work<'b>,
}

pub(super) fn run(place: &Place, batch: &Batch<'_>, more: &MoreArgs, context: &Context<'_>) -> Result<()> {
    let flags = Flags {
        place: Some(&more.place),
        registries: Some(&more.registries),
        progress: more.progress.as_deref(),
        config: context.config.clone(),
    };
    let settings = Settings::load(&flags, context.env)?;
    let failed = |error: RunsError| CliError::failed(error.to_string());
    let runs = Runs::open(&settings.root.value).map_err(failed)?;
    let client = crate::commands::client(&settings, context.env)?;
    let stop = client.clone();
    let _registration = context.cancel.on_cancel(move || stop.cancel());
    let engine = open(&settings, context)?;
    let checkouts: Vec<PathBuf> = more.checkout.iter().map(|dir| context.env.path(dir)).collect();
    let cancelled = || context.cancel.is_cancelled();
    let temp = settings.root.value.join("factory/work");
    let sources = Sources::new(&context.env.vars, &temp, &cancelled, &checkouts);
    let (cache_from, cache_to) = caches(more, context)?;
    let event = event(context)?;
    let options = crate::commands::client_options(&settings, context.env);
    let http = HttpClient::new(&options.trust, &options.proxy, concat!("cooperage/", env!("CARGO_PKG_VERSION")))
        .map_err(|e| CliError::usage("webhooks cannot be reached with these settings").caused_by(&e))?;
    let forge = registry::http_client(&options)
        .map_err(|e| CliError::usage("the forge cannot be reached with these settings").caused_by(&e))?;
    let scan_database = crate::commands::scan::database(more.scan_db.as_deref(), &settings, context);
    let mode = Mode::choose(&settings.progress.value, false, context.env)?;
    let taken_up: Vec<Option<i64>> = batch
        .images
        .iter()
        .map(|image| batch.resume.then(|| unfinished(&runs, place, image, batch.verb, context)).transpose())
        .collect::<Result<_>>()?;
    let jobs = batch.jobs.clamp(1, batch.images.len().max(1));
    let one = |at: usize, runs: &Runs| {
        let image = batch.images[at];
        let post = |url: &str, body: &serde_json::Value| http.post_json(url, body);
        let signing_key = |named: Option<&str>| signing_key(named, place, &settings, context);
        let progress = |image: &Image, step: &StepRecord| {
            let took = step.took.map_or(String::new(), |ms| format!(" {}.{}s", ms / 1000, ms % 1000 / 100));
            let why = if step.message.is_empty() { String::new() } else { format!(": {}", step.message) };
            context.ui.note(&format!("{} {} {}{took}{why}", image.name, step.name, step.status.name()));
        };
        let (reporter, events) = match (jobs, mode) {
            (1, mode) => Reporter::start(mode, context.ui.colour, Box::new(std::io::stderr())),
            (_, Mode::Tty | Mode::Plain) => {
                let out = Named { name: image.name.clone(), line: Vec::new() };
                Reporter::start(Mode::Plain, context.ui.colour, Box::new(out))
            }
            (_, mode) => Reporter::start(mode, context.ui.colour, Box::new(std::io::stderr())),
        };
        let factory = Factory {
            enrolment: &place.enrolment,
            state_dir: &place.state_dir,
            engine: &engine,
            client: &client,
            runs,
            sources: &sources,
            env: &context.env.vars,
            cancel: context.cancel,
            events,
            progress: &progress,
            proxy: Default::default(),
            parallelism: settings.parallelism.value,
            cache_from: cache_from.clone(),
            cache_to: cache_to.clone(),
            event: event.clone(),
            clock: &super::now,
            scan_database: &scan_database,
            signing_key: &signing_key,
            post: &post,
            open_request: &|to, request| to.ensure(&forge, request),
            builder: builder(context),
            checkpoint: &|step, moment| checkpoint(step, moment, context),
        };
        let outcome = (batch.work)(&factory, image, taken_up[at]);
        drop(factory);
        reporter.finish();
        outcome
    };
    let shared = Shared { schedule: Mutex::new(Schedule::new(batch)), moved: Condvar::new(), ended: Mutex::default() };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                // A connection to the records is one thread's.
                let runs = Runs::open(&settings.root.value);
                while let Some(at) = shared.next(context) {
                    let (outcome, error) = match runs.as_ref().map(|runs| one(at, runs)) {
                        Ok(Ok(mut outcome)) => {
                            let error = failure(&mut outcome, batch, at, context);
                            (Some(outcome), error)
                        }
                        Ok(Err(error)) => (None, Some(CliError::failed(error.to_string()))),
                        Err(error) => (None, Some(CliError::failed(error.to_string()))),
                    };
                    if let Some(error) = error.as_ref().filter(|_| batch.images.len() > 1 && !cancelled()) {
                        context.ui.error(error);
                    }
                    shared.end(at, outcome, error);
                }
            });
        }
    });
    let Shared { schedule, ended, .. } = shared;
    let mut ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    ended.sort_by_key(|(at, ..)| *at);
    let mut failures = Vec::new();
    let mut outcomes: Vec<(&Image, Outcome)> = Vec::new();
    for (at, outcome, error) in ended {
        outcomes.extend(outcome.map(|outcome| (batch.images[at], outcome)));
        failures.extend(error.map(|error| (at, error)));
    }
    if !outcomes.is_empty() {
        summary(&outcomes, context)?;
    }
    if cancelled() {
        return Err(CliError::interrupted());
    }
    let schedule = schedule.into_inner().unwrap_or_else(PoisonError::into_inner);
    let Some((first, _)) = failures.first() else { return Ok(()) };
    if batch.images.len() == 1 {
        return Err(failures.swap_remove(0).1);
    }
    let names = |list: &mut dyn Iterator<Item = usize>| {
        list.map(|at| batch.images[at].name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let failed = names(&mut failures.iter().map(|(at, _)| *at));
    let message = format!("{} of {} images failed: {failed}", failures.len(), batch.images.len());
    let error = CliError::failed(message).hint(format!(
        "cooperage factory {} {} --resume goes on where it failed",
        batch.verb, batch.images[*first].name
    ));
    let left = names(&mut schedule.left());
    Err(match left.is_empty() {
        true => error,
        false => error.hint(format!("not begun, since they are made from these: {left}")),
    })
}

/// Why a run failed, for people.
fn failure(outcome: &mut Outcome, batch: &Batch<'_>, at: usize, context: &Context<'_>) -> Option<CliError> {
    let (step, failure) = outcome.failure.take()?;
    let (image, verb, run) = (batch.images[at], batch.verb, outcome.run);
    let mut error = match &failure.build {
        Some(build) => crate::report::build_error(build, None, context),
        None => CliError::failed(failure.message.clone()),
    };
    error.message = format!("{}: {step}: {}", image.name, error.message);
    if failure.build.is_none() {
        error.hints.extend(failure.hints);
    }
    let error = error
        .hint(format!("cooperage factory {verb} {} --resume goes on at this step (run {run})", image.name))
        .hint(format!("cooperage factory logs {run} shows what was done"));
    Some(error)
}

type Ended = (usize, Option<Outcome>, Option<CliError>);

/// What the threads share.
struct Shared {
    schedule: Mutex<Schedule>,
    moved: Condvar,
    ended: Mutex<Vec<Ended>>,
}

impl Shared {
    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next image; waits while only others can say whether there is one.
    fn next(&self, context: &Context<'_>) -> Option<usize> {
        let mut schedule = self.schedule();
        loop {
            if context.cancel.is_cancelled() || schedule.is_over() {
                return None;
            }
            if let Some(at) = schedule.next() {
                return Some(at);
            }
            schedule = self.moved.wait(schedule).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn end(&self, at: usize, outcome: Option<Outcome>, error: Option<CliError>) {
        self.schedule().end(at, error.is_none());
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push((at, outcome, error));
        self.moved.notify_all();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Done,
    Failed,
    /// What it is made from failed.
    Left,
}

/// Which image is at what.
#[derive(Debug)]
struct Schedule {
    /// What each needs of the others.
    needs: Vec<Vec<usize>>,
    states: Vec<State>,
}

impl Schedule {
    fn new(batch: &Batch<'_>) -> Self {
        let mut needs = vec![Vec::new(); batch.images.len()];
        for (at, image) in batch.images.iter().enumerate() {
            let dependents = batch.graph.map(|graph| graph.dependents(&image.name)).unwrap_or_default();
            for name in dependents {
                if let Some(dependent) = batch.images.iter().position(|other| other.name == name) {
                    needs[dependent].push(at);
                }
            }
        }
        let states = vec![State::Waiting; needs.len()];
        Self { needs, states }
    }

    /// The first that can begin; it is running from now on.
    fn next(&mut self) -> Option<usize> {
        let ready = |at: &usize| {
            self.states[*at] == State::Waiting && self.needs[*at].iter().all(|need| self.states[*need] == State::Done)
        };
        let next = (0..self.states.len()).find(ready)?;
        self.states[next] = State::Running;
        Some(next)
    }

    fn end(&mut self, at: usize, well: bool) {
        self.states[at] = if well { State::Done } else { State::Failed };
        if well {
            return;
        }
        // Needs are all that it is made from, directly or not.
        for other in 0..self.states.len() {
            if self.states[other] == State::Waiting && self.needs[other].contains(&at) {
                self.states[other] = State::Left;
            }
        }
    }

    /// Whether nothing begins any more.
    fn is_over(&self) -> bool {
        !self.states.contains(&State::Waiting)
    }

    fn left(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.states.len()).filter(|at| self.states[*at] == State::Left)
    }
}

/// Standard error with an image's name before each line.
struct Named {
    name: String,
    line: Vec<u8>,
}

impl Write for Named {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        for byte in bytes {
            if self.line.is_empty() {
                self.line.extend(format!("{} │ ", self.name).bytes());
            }
            self.line.push(*byte);
            if *byte == b'\n' {
                std::io::stderr().lock().write_all(&self.line)?;
                self.line.clear();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The table at the end, and where GitHub wants one, the same in Markdown.
fn summary(outcomes: &[(&Image, Outcome)], context: &Context<'_>) -> Result<()> {
    let mut rows = vec![["IMAGE", "VERSION", "TAGS", "DIGEST", "SIZE", "RUN"].map(str::to_owned).to_vec()];
    let mut markdown = String::from("| image | version | tags | digest | size |\n|---|---|---|---|---|\n");
    for (image, outcome) in outcomes {
        let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        let tags = if outcome.tags.is_empty() { "-".into() } else { outcome.tags.join(", ") };
        let size = if outcome.size == 0 { "-".into() } else { crate::progress::bytes(outcome.size) };
        rows.push(vec![
            image.reference(),
            or(&outcome.version),
            tags.clone(),
            outcome.digest.as_deref().map_or("-".into(), short),
            size.clone(),
            outcome.run.to_string(),
        ]);
        let (version, digest) = (or(&outcome.version), or(&outcome.digest));
        markdown.push_str(&format!("| {} | {version} | {tags} | `{digest}` | {size} |\n", image.reference()));
    }
    if let Some(path) = context.env.get("GITHUB_STEP_SUMMARY") {
        use std::io::Write;
        let path = context.env.path(path);
        let written = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        written
            .and_then(|mut file| file.write_all(markdown.as_bytes()))
            .map_err(|e| CliError::io("write", &path, &e))?;
    }
    if let (Some(path), [(image, outcome)]) = (context.env.get("GITHUB_OUTPUT"), outcomes) {
        use std::io::Write;
        let (version, digest) = (outcome.version.as_deref(), outcome.digest.as_deref());
        let text = format!(
            "image={}\nversion={}\ndigest={}\n",
            image.reference(),
            version.unwrap_or_default(),
            digest.unwrap_or_default()
        );
        let path = context.env.path(path);
        let written = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        written.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|e| CliError::io("write", &path, &e))?;
    }
    context.ui.out(&table(&rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_stops_dependents_alone() {
        // 0 ◄ 1 ◄ 2, and 3 by itself; needs are transitive.
        let needs = vec![vec![], vec![0], vec![0, 1], vec![]];
        let mut schedule = Schedule { states: vec![State::Waiting; needs.len()], needs };
        assert_eq!((schedule.next(), schedule.next(), schedule.next()), (Some(0), Some(3), None));
        assert!(!schedule.is_over(), "1 waits for 0");
        schedule.end(0, true);
        assert_eq!((schedule.next(), schedule.next()), (Some(1), None));
        schedule.end(1, false);
        assert!(schedule.is_over());
        assert_eq!(schedule.left().collect::<Vec<_>>(), [2]);
        schedule.end(3, true);
        assert_eq!(schedule.states, [State::Done, State::Failed, State::Left, State::Done]);
    }
}
