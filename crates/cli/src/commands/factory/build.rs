//! `cooperage factory build` and `rebuild`
use std::path::PathBuf;

use build::request::{CacheBackend, CacheTarget};
use build::source::http::HttpClient;
use build::{Engine, EngineOptions};
use factory::Graph;
use factory::due::due;
use factory::enrol::Image;
use factory::pipeline::{self, Factory, Failure, Options, Outcome};
use factory::runs::{RunStatus, Runs, RunsError, StepRecord};
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
    #[arg(value_name = "IMAGE", required_unless_present_any = ["all", "changed"], conflicts_with_all = ["all", "changed"])]
    images: Vec<String>,
    /// All managed images, what others are made from first
    #[arg(long)]
    all: bool,
    /// The images whose files differ from this commit, branch or tag in the checkout here (or in --checkout)
    #[arg(long, value_name = "REF", conflicts_with = "all")]
    changed: Option<String>,
    /// The version, in the place of the next one
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// How far the version moves, in the place of version.bump: patch, minor, major, conventional, calver or none
    #[arg(long, value_name = "BUMP", value_parser = ["patch", "minor", "major", "conventional", "calver", "none"], conflicts_with = "tag")]
    bump: Option<String>,
    /// Build for this machine into the store; push and tag nothing
    #[arg(long)]
    local: bool,
    /// Scan the image that the registry has (of --tag, else the current version), and build nothing
    #[arg(long, conflicts_with_all = ["local", "platform", "resume"])]
    scan_only: bool,
    /// Build although the image is held
    #[arg(long)]
    force: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// The platforms, in the place of those enrolled
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    platform: Vec<String>,
    /// Take up the last run of the image where it failed or was interrupted
    #[arg(long, conflicts_with_all = ["tag", "bump", "local", "platform"])]
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
    /// The vulnerability database (default: COOPERAGE_SCAN_DB)
    #[arg(long, value_name = "FILE")]
    scan_db: Option<PathBuf>,
    #[command(flatten)]
    pub(super) file: FileArgs,
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
    let touched =
        args.changed.as_deref().map(|reference| changed(&place, reference, &args.more, context)).transpose()?;
    let several = args.all || args.changed.is_some();
    let wanted = |name: &str| match &touched {
        Some(touched) => touched.iter().any(|image| image == name),
        None => args.all || args.images.iter().any(|wanted| wanted == name),
    };
    let mut images: Vec<&Image> = Vec::new();
    for image in graph.order().into_iter().filter(|name| wanted(name)).filter_map(|name| place.enrolment.image(name)) {
        if several && image.managed().is_none() {
            continue;
        }
        let hold = state.images.get(&image.name).and_then(|state| state.hold.as_ref());
        if let Some(hold) = hold.filter(|_| several && !args.force && !args.local) {
            context.ui.note(&format!("{} is left out: held: {}", image.name, hold.reason));
            continue;
        }
        images.push(image);
    }
    if images.is_empty() {
        context.ui.note("nothing is to be built");
        return Ok(());
    }
    let options = Options {
        tag: args.tag.clone(),
        bump: args.bump.clone(),
        local: args.local,
        platforms: args.platform.clone(),
        scan_only: args.scan_only,
        force: args.force,
        trigger: if args.changed.is_some() { "changed" } else { "manual" }.into(),
        by: who(context),
        ..Options::default()
    };
    if args.dry_run {
        return dry_run(&images, context);
    }
    all(
        &place,
        &images,
        args.resume,
        &args.more,
        context,
        ("build", &|factory, image, run| pipeline::run(factory, image, &options, run)),
    )
}

/// The images that a change touches.
fn changed(place: &Place, reference: &str, more: &MoreArgs, context: &Context<'_>) -> Result<Vec<String>> {
    let dirs: Vec<PathBuf> = match more.checkout.is_empty() {
        true => vec![context.env.cwd.clone()],
        false => more.checkout.iter().map(|dir| context.env.path(dir)).collect(),
    };
    let cancelled = || context.cancel.is_cancelled();
    let sources = Sources::new(&context.env.vars, &context.env.cwd, &cancelled, &dirs);
    let beside = std::path::absolute(place.enrolment.dir()).unwrap_or_else(|_| context.env.cwd.clone());
    let mut out = Vec::new();
    for dir in &dirs {
        let top = dir.ancestors().find(|at| at.join(".git").exists()).ok_or_else(|| {
            CliError::usage(format!("--changed {reference}: {} is no checkout of a repository", dir.display()))
                .hint("name one with --checkout")
        })?;
        let files = factory::changed::files_since(top, reference, &context.env.vars)
            .map_err(|why| CliError::usage(format!("--changed {reference}: {why}")))?;
        let touched = |image: &&Image| factory::changed::touches(image, &files, top, &beside, &sources);
        out.extend(place.enrolment.images.iter().filter(touched).map(|image| image.name.clone()));
    }
    Ok(out)
}

/// Who is at work, for the record.
pub(super) fn who(context: &Context<'_>) -> String {
    let names = ["GITHUB_ACTOR", "GITLAB_USER_LOGIN", "GIT_AUTHOR_NAME", "USER", "LOGNAME"];
    names.iter().find_map(|name| context.env.get(name)).unwrap_or("unknown").to_owned()
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
    let options = Options { trigger: "base".into(), by: who(context), ..Options::default() };
    all(
        &place,
        &images,
        false,
        &args.more,
        context,
        ("build", &|factory, image, run| pipeline::run(factory, image, &options, run)),
    )
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

/// What is done with one image: a new run, or the one that is taken up again.
type Work<'w> = &'w dyn Fn(&Factory<'_>, &Image, Option<i64>) -> std::result::Result<Outcome, RunsError>;

pub(super) fn all(
    place: &Place,
    images: &[&Image],
    resume: bool,
    more: &MoreArgs,
    context: &Context<'_>,
    (verb, work): (&str, Work<'_>),
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
    let http = {
        let options = crate::commands::client_options(&settings, context.env);
        HttpClient::new(&options.trust, &options.proxy, concat!("cooperage/", env!("CARGO_PKG_VERSION")))
            .map_err(|e| CliError::usage("webhooks cannot be reached with these settings").caused_by(&e))?
    };
    let post = |url: &str, body: &serde_json::Value| http.post_json(url, body);
    let signing_key = |named: Option<&str>| signing_key(named, place, &settings, context);
    let scan_database = match &more.scan_db {
        Some(path) => Some(context.env.path(path)),
        None => context.env.get("COOPERAGE_SCAN_DB").filter(|path| !path.is_empty()).map(|path| context.env.path(path)),
    };
    let mode = Mode::choose(&settings.progress.value, false, context.env)?;
    let progress = |image: &Image, step: &StepRecord| {
        let took = step.took.map_or(String::new(), |ms| format!(" {}.{}s", ms / 1000, ms % 1000 / 100));
        let why = if step.message.is_empty() { String::new() } else { format!(": {}", step.message) };
        context.ui.note(&format!("{} {} {}{took}{why}", image.name, step.name, step.status.name()));
    };
    let mut outcomes: Vec<(&Image, Outcome)> = Vec::new();
    for image in images {
        let taken_up = if resume { Some(unfinished(&runs, place, image, verb, context)?) } else { None };
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
            scan_database: scan_database.clone(),
            signing_key: &signing_key,
            post: &post,
            builder: builder(context),
            checkpoint: &|step, moment| checkpoint(step, moment, context),
        };
        let outcome = work(&factory, image, taken_up);
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
            .hint(format!("cooperage factory {verb} {} --resume goes on at this step (run {run})", image.name))
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

/// The private key that `images.yaml` names (beside itself), else that of the settings.
fn signing_key(
    named: Option<&str>,
    place: &Place,
    settings: &Settings,
    context: &Context<'_>,
) -> std::result::Result<Option<attest::key::PrivateKey>, Failure> {
    let given = match (named, &settings.signing_key.value) {
        (Some(name), _) if name.contains("://") => name.to_owned(),
        (Some(name), _) => place.enrolment.dir().join(name).display().to_string(),
        (None, Some(path)) => path.display().to_string(),
        (None, None) => return Ok(None),
    };
    match crate::signing::keys::private(&given, context) {
        Ok(key) => Ok(Some(key)),
        Err(error) => Err(error.hints.iter().fold(Failure::new(error.message), |f, hint| f.hint(hint))),
    }
}

/// The run of a CI system, as the builder in provenance.
fn builder(context: &Context<'_>) -> String {
    let get = |name: &str| context.env.get(name).filter(|value| !value.is_empty());
    match (get("GITHUB_SERVER_URL"), get("GITHUB_REPOSITORY"), get("GITHUB_RUN_ID")) {
        (Some(server), Some(repository), Some(run)) => format!("{server}/{repository}/actions/runs/{run}"),
        _ => get("CI_JOB_URL").unwrap_or_default().to_owned(),
    }
}

/// Lets tests of debug builds end the process at a place of their choice, as a power cut would:
/// `COOPERAGE_TEST_KILL=STEP:begin|done`.
fn checkpoint(step: &str, moment: &str, context: &Context<'_>) {
    if cfg!(debug_assertions) && context.env.get("COOPERAGE_TEST_KILL") == Some(&format!("{step}:{moment}")) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// The last run of an image, where it did not come to its end.
fn unfinished(runs: &Runs, place: &Place, image: &Image, verb: &str, context: &Context<'_>) -> Result<i64> {
    let file = place.enrolment.file.display().to_string();
    let list = runs.list(&file, Some(&image.name), 1).map_err(|e| CliError::failed(e.to_string()))?;
    let run = list.first().ok_or_else(|| CliError::usage(format!("{} has no run to take up", image.name)))?;
    let kind = if run.trigger == "rollback" { "rollback" } else { "build" };
    if kind != verb && run.status != RunStatus::Done {
        return Err(CliError::usage(format!("the last run of {} is a {kind}", image.name))
            .hint(format!("cooperage factory {kind} {} --resume takes it up", image.name)));
    }
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
