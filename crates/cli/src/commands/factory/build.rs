//! `cooperage factory build` and `rebuild`
use std::path::PathBuf;

use build::request::{CacheBackend, CacheTarget};
use build::{Engine, EngineOptions};
use factory::Graph;
use factory::due::due;
use factory::enrol::Image;
use factory::pipeline::{self, Factory, Options, Outcome};
use factory::runs::{RunStatus, Runs, StepRecord};
use factory::source::Sources;
use gitops::tags::Event;

use super::{FileArgs, Place, short, table};
use crate::app::Context;
use crate::args::build::{PlaceArgs, RegistryFlags};
use crate::args::cache;
use crate::config::{Flags, Settings};
use crate::error::{CliError, Result};
use crate::progress::{Mode, Reporter};

/// Build images.
#[derive(Debug, clap::Args)]
pub(crate) struct BuildArgs {
    /// The images
    #[arg(value_name = "IMAGE", required_unless_present = "all", conflicts_with = "all")]
    images: Vec<String>,
    /// All managed images, what others are made from first
    #[arg(long)]
    all: bool,
    /// The version, in the place of the next one
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Build for this machine into the store; push and tag nothing
    #[arg(long)]
    local: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// The platforms, in the place of those enrolled
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    platform: Vec<String>,
    /// Take up the last run of the image where it failed or was interrupted
    #[arg(long, conflicts_with_all = ["tag", "local", "platform"])]
    resume: bool,
    #[command(flatten)]
    pub(crate) more: MoreArgs,
}

/// Rebuild what is due.
#[derive(Debug, clap::Args)]
pub(crate) struct RebuildArgs {
    /// Rebuild the images whose base images have changed and whose delay has passed
    #[arg(long, required = true)]
    eligible: bool,
    /// Rebuild no more than this many
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    pub(crate) more: MoreArgs,
}

/// What builds share.
#[derive(Debug, clap::Args)]
pub(crate) struct MoreArgs {
    /// Build the files of this checkout as they are, in the place of a clone of its repository
    #[arg(long, value_name = "DIR")]
    checkout: Vec<PathBuf>,
    /// auto, tty, plain or quiet
    #[arg(long, value_name = "MODE")]
    progress: Option<String>,
    /// Take steps from an external cache, as cooperage build does
    #[arg(long, value_name = "SPEC")]
    cache_from: Vec<String>,
    /// Write steps to an external cache when the image is pushed, as cooperage build does
    #[arg(long, value_name = "SPEC")]
    cache_to: Vec<String>,
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    registries: RegistryFlags,
}

pub(super) fn run(args: &BuildArgs, context: &Context<'_>) -> Result<()> {
    let place = Place::open(&args.more.file, context)?;
    let state = place.state(context)?;
    let graph = Graph::new(&place.enrolment, &state);
    if let Some(circle) = graph.cycle() {
        return Err(super::circle_error(&circle));
    }
    for name in &args.images {
        if place.image(name)?.managed().is_none() {
            return Err(CliError::usage(format!("{name} is watched only: it has no source"))
                .hint("add source: or local: to its entry in images.yaml"));
        }
    }
    let images: Vec<&Image> = graph
        .order()
        .into_iter()
        .filter(|name| args.all || args.images.iter().any(|wanted| wanted == name))
        .filter_map(|name| place.enrolment.image(name))
        .collect();
    let options = Options {
        tag: args.tag.clone(),
        local: args.local,
        platforms: args.platform.clone(),
        trigger: "manual".into(),
    };
    if args.dry_run {
        return dry_run(&images, context);
    }
    all(&place, &images, &options, args.resume, &args.more, context)
}

pub(super) fn rebuild(args: &RebuildArgs, context: &Context<'_>) -> Result<()> {
    let place = Place::open(&args.more.file, context)?;
    let state = place.state(context)?;
    let waiting = due(&place.enrolment, &state, super::now()).map_err(|circle| super::circle_error(&circle))?;
    let ready: Vec<_> = waiting.iter().filter(|due| due.ready).collect();
    let images: Vec<&Image> =
        ready.iter().take(args.limit).filter_map(|due| place.enrolment.image(&due.image)).collect();
    if images.is_empty() {
        context.ui.note("nothing is to be rebuilt; cooperage factory check-bases asks the registries");
        return Ok(());
    }
    if ready.len() > images.len() {
        context.ui.note(&format!("{} more images wait for the next round (--limit)", ready.len() - images.len()));
    }
    if args.dry_run {
        return dry_run(&images, context);
    }
    let options = Options { trigger: "base".into(), ..Options::default() };
    all(&place, &images, &options, false, &args.more, context)
}

fn dry_run(images: &[&Image], context: &Context<'_>) -> Result<()> {
    for image in images {
        let Some(managed) = image.managed() else { continue };
        let from = match &managed.source {
            Some(source) => format!("{} at {} of {}", source.dockerfile_path(), source.branch, source.url),
            None => managed.local.dockerfile.clone().unwrap_or_else(|| "Dockerfile".into()),
        };
        let platforms = if managed.platforms.is_empty() { "this machine".into() } else { managed.platforms.join(", ") };
        context.ui.out(&format!("{}: would build {from} for {platforms} as {}\n", image.name, image.reference()))?;
    }
    Ok(())
}

fn all(
    place: &Place,
    images: &[&Image],
    options: &Options,
    resume: bool,
    more: &MoreArgs,
    context: &Context<'_>,
) -> Result<()> {
    let flags = Flags {
        place: Some(&more.place),
        registries: Some(&more.registries),
        progress: more.progress.as_deref(),
        config: context.config.clone(),
    };
    let settings = Settings::load(&flags, context.env)?;
    let runs = Runs::open(&settings.root.value).map_err(|e| CliError::failed(e.to_string()))?;
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
    let mode = Mode::choose(&settings.progress.value, false, context.env)?;
    let progress = |image: &Image, step: &StepRecord| {
        let took = step.took.map_or(String::new(), |ms| format!(" {}.{}s", ms / 1000, ms % 1000 / 100));
        let why = if step.message.is_empty() { String::new() } else { format!(": {}", step.message) };
        context.ui.note(&format!("{} {} {}{took}{why}", image.name, step.name, step.status.name()));
    };
    let mut outcomes: Vec<(&Image, Outcome)> = Vec::new();
    for image in images {
        let taken_up = if resume { Some(unfinished(&runs, place, image, context)?) } else { None };
        let (reporter, events) = Reporter::start(mode, context.ui.colour, Box::new(std::io::stderr()));
        let factory = Factory {
            enrolment: &place.enrolment,
            state_dir: &place.state_dir,
            engine: &engine,
            client: &client,
            runs: &runs,
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
        };
        let outcome = pipeline::run(&factory, image, options, taken_up);
        drop(factory);
        reporter.finish();
        let mut outcome = outcome.map_err(|e| CliError::failed(e.to_string()))?;
        let failure = outcome.failure.take();
        let run = outcome.run;
        outcomes.push((image, outcome));
        let Some((step, failure)) = failure else { continue };
        summary(&outcomes, context)?;
        if context.cancel.is_cancelled() {
            return Err(CliError::interrupted());
        }
        // What comes next may be made from this one.
        let mut error = match &failure.build {
            Some(build) => crate::report::build_error(build, None, context),
            None => CliError::failed(failure.message.clone()),
        };
        error.message = format!("{}: {step}: {}", image.name, error.message);
        if failure.build.is_none() {
            error.hints.extend(failure.hints);
        }
        return Err(error
            .hint(format!("cooperage factory build {} --resume goes on at this step (run {run})", image.name))
            .hint(format!("cooperage factory logs {run} shows what was done")));
    }
    summary(&outcomes, context)
}

/// The external caches that were named; one that cannot be had here is left out with a word about it.
fn caches(more: &MoreArgs, context: &Context<'_>) -> Result<(Vec<CacheBackend>, Vec<CacheTarget>)> {
    let wrong = |flag: &str, text: &str, why: String| CliError::usage(format!("--{flag} {text}: {why}"));
    let (mut from, mut to) = (Vec::new(), Vec::new());
    for text in &more.cache_from {
        match cache::from(text, context.env).map_err(|why| wrong("cache-from", text, why))? {
            cache::Parsed::Use(backend) => from.push(backend),
            cache::Parsed::Skip(why) => context.ui.note(&format!("--cache-from {why}")),
        }
    }
    for text in &more.cache_to {
        match cache::to(text, context.env).map_err(|why| wrong("cache-to", text, why))? {
            cache::Parsed::Use(target) => to.push(target),
            cache::Parsed::Skip(why) => context.ui.note(&format!("--cache-to {why}")),
        }
    }
    Ok((from, to))
}

/// What happened, where this is a job of GitHub Actions or GitLab CI.
fn event(context: &Context<'_>) -> Result<Option<Event>> {
    let env = context.env;
    let get = |name: &str| env.get(name).unwrap_or_default();
    if get("GITHUB_ACTIONS") == "true"
        && let Some(path) = env.get("GITHUB_EVENT_PATH")
    {
        let path = env.path(path);
        let payload = std::fs::read_to_string(&path).map_err(|e| CliError::io("read the event in", &path, &e))?;
        let head = get("DOCKER_METADATA_PR_HEAD_SHA") == "true";
        let event = Event::from_github(get("GITHUB_EVENT_NAME"), get("GITHUB_REF"), get("GITHUB_SHA"), &payload, head);
        return event.map(Some).map_err(|error| CliError::failed(format!("{}: {error}", path.display())));
    }
    if get("GITLAB_CI") != "true" {
        return Ok(None);
    }
    let name = match get("CI_PIPELINE_SOURCE") {
        "schedule" => "schedule",
        "merge_request_event" => "pull_request",
        "push" => "push",
        _ => "workflow_dispatch",
    };
    let git_ref = match (env.get("CI_COMMIT_TAG"), env.get("CI_MERGE_REQUEST_IID")) {
        (Some(tag), _) => format!("refs/tags/{tag}"),
        (None, Some(number)) => format!("refs/pull/{number}/merge"),
        (None, None) => format!("refs/heads/{}", get("CI_COMMIT_REF_NAME")),
    };
    Ok(Some(Event {
        name: name.into(),
        git_ref,
        sha: env.get("CI_COMMIT_SHA").map(str::to_owned),
        base_ref: env.get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME").map(str::to_owned),
        default_branch: get("CI_DEFAULT_BRANCH").to_owned(),
        commit_date: get("CI_COMMIT_TIMESTAMP").parse().ok(),
        ..Event::default()
    }))
}

/// The last run of an image, where it did not come to its end.
fn unfinished(runs: &Runs, place: &Place, image: &Image, context: &Context<'_>) -> Result<i64> {
    let file = place.enrolment.file.display().to_string();
    let list = runs.list(&file, Some(&image.name), 1).map_err(|e| CliError::failed(e.to_string()))?;
    let run = list.first().ok_or_else(|| CliError::usage(format!("{} has no run to take up", image.name)))?;
    match run.status {
        RunStatus::Done | RunStatus::Skipped => {
            Err(CliError::usage(format!("run {} of {} came to its end", run.id, image.name)).hint("leave --resume out"))
        }
        RunStatus::Running if std::path::Path::new(&format!("/proc/{}", run.pid)).exists() => {
            Err(CliError::failed(format!("run {} of {} is being done by process {}", run.id, image.name, run.pid)))
        }
        _ => {
            context.ui.note(&format!("taking up run {}", run.id));
            Ok(run.id)
        }
    }
}

fn open(settings: &Settings, context: &Context<'_>) -> Result<Engine> {
    let launcher = sandbox::Launcher::of_this_program().map_err(|e| {
        CliError::io("find this program at", std::path::Path::new("/proc/self/exe"), &e).hint("is /proc mounted?")
    })?;
    let isolation = match settings.isolation.value.as_deref() {
        None | Some("auto") => None,
        Some(name) => Some(name.parse().map_err(|why: String| CliError::usage(why))?),
    };
    Engine::open(EngineOptions {
        root: settings.root.value.clone(),
        registry: crate::commands::client_options(settings, context.env),
        launcher,
        entered: context.entered.clone(),
        isolation,
        resolv_conf: std::fs::read("/etc/resolv.conf").unwrap_or_else(|_| b"nameserver 1.1.1.1\n".to_vec()),
        env: context.env.vars.clone(),
    })
    .map_err(|error| crate::report::build_error(&error, None, context))
}

/// The table at the end, and where GitHub wants one, the same in Markdown.
fn summary(outcomes: &[(&Image, Outcome)], context: &Context<'_>) -> Result<()> {
    let mut rows = vec![["IMAGE", "VERSION", "TAGS", "DIGEST", "SIZE", "RUN"].map(str::to_owned).to_vec()];
    let mut markdown = String::from("| image | version | tags | digest | size |\n|---|---|---|---|---|\n");
    for (image, outcome) in outcomes {
        let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        let tags = if outcome.tags.is_empty() { "-".into() } else { outcome.tags.join(", ") };
        let size = crate::progress::bytes(outcome.size);
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
