//! `cooperage factory build` and `rebuild`
use std::collections::BTreeMap;
use std::path::PathBuf;

use build::request::{CacheBackend, CacheTarget};
use build::{Engine, EngineOptions};
use factory::Graph;
use factory::due::due;
use factory::enrol::Image;
use factory::pipeline::{self, Failure, Hand, Options};
use factory::runs::{RunStatus, Runs};
use factory::source::Sources;
use gitops::tags::Event;

use super::batch::{self, Batch};
use super::{FileArgs, Place};
use crate::app::Context;
use crate::args::build::{PlaceArgs, RegistryFlags};
use crate::args::cache;
use crate::commands::sign::With;
use crate::config::Settings;
use crate::error::{CliError, Result};
use crate::signing::cosign::KEYLESS;

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
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',', value_parser = platform)]
    platform: Vec<String>,
    /// Take up the last run of the image where it failed or was interrupted
    #[arg(long, conflicts_with_all = ["tag", "bump", "local", "platform"])]
    resume: bool,
    /// How many images are built at once; what others are made from comes first all the same
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    #[command(flatten)]
    publish: PublishArgs,
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
    /// How many images are rebuilt at once; what others are made from comes first all the same
    #[arg(long, short, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    publish: PublishArgs,
    #[command(flatten)]
    pub(crate) more: MoreArgs,
}

/// What becomes of images that are published.
#[derive(Debug, clap::Args)]
struct PublishArgs {
    /// Open pull requests for manifests where images.yaml says nothing of it, in the place of pushes
    #[arg(long)]
    pull_request: bool,
    /// Attach an SBOM and provenance to images for which images.yaml asks for none
    #[arg(long)]
    attest: bool,
}

/// What builds share.
#[derive(Debug, clap::Args)]
pub(crate) struct MoreArgs {
    /// Build the files of this checkout as they are, in the place of a clone of its repository
    #[arg(long, value_name = "DIR")]
    pub(super) checkout: Vec<PathBuf>,
    /// auto, tty, plain or quiet
    #[arg(long, value_name = "MODE")]
    pub(super) progress: Option<String>,
    /// Take steps from an external cache, as cooperage build does
    #[arg(long, value_name = "SPEC")]
    cache_from: Vec<String>,
    /// Write steps to an external cache when the image is pushed, as cooperage build does
    #[arg(long, value_name = "SPEC")]
    cache_to: Vec<String>,
    /// The vulnerability database, a file or its directory (default: scan/osv.db in the store) [env: COOPERAGE_SCAN_DB]
    #[arg(long, value_name = "PATH")]
    pub(super) scan_db: Option<PathBuf>,
    #[command(flatten)]
    pub(super) file: FileArgs,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(super) registries: RegistryFlags,
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
        pull_request: args.publish.pull_request,
        attest: args.publish.attest,
        trigger: if args.changed.is_some() { "changed" } else { "manual" }.into(),
        by: who(context),
        ..Options::default()
    };
    if args.dry_run {
        return dry_run(&images, &args.platform, context);
    }
    let batch = Batch {
        images: &images,
        graph: Some(&graph),
        jobs: usize::from(args.jobs),
        resume: args.resume,
        verb: "build",
        work: &|factory, image, run| pipeline::run(factory, image, &options, run),
    };
    batch::run(&place, &batch, &args.more, context)
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
        return dry_run(&images, &[], context);
    }
    let options = Options {
        pull_request: args.publish.pull_request,
        attest: args.publish.attest,
        trigger: "base".into(),
        by: who(context),
        ..Options::default()
    };
    let graph = Graph::new(&place.enrolment, &state);
    let batch = Batch {
        images: &images,
        graph: Some(&graph),
        jobs: usize::from(args.jobs),
        resume: false,
        verb: "build",
        work: &|factory, image, run| pipeline::run(factory, image, &options, run),
    };
    batch::run(&place, &batch, &args.more, context)
}

fn platform(text: &str) -> std::result::Result<String, String> {
    text.parse::<oci::Platform>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn dry_run(images: &[&Image], platforms: &[String], context: &Context<'_>) -> Result<()> {
    for image in images {
        let Some(managed) = image.managed() else { continue };
        let from = match &managed.source {
            Some(source) => format!("{} at {} of {}", source.dockerfile_path(), source.branch, source.url),
            None => managed.local.dockerfile.clone().unwrap_or_else(|| "Dockerfile".into()),
        };
        let platforms = if platforms.is_empty() { &managed.platforms } else { platforms };
        let platforms = if platforms.is_empty() { "this machine".into() } else { platforms.join(", ") };
        context.ui.out(&format!("{}: would build {from} for {platforms} as {}\n", image.name, image.reference()))?;
    }
    Ok(())
}

/// The external caches that were named; one that cannot be had here is left out with a word about it.
pub(super) fn caches(more: &MoreArgs, context: &Context<'_>) -> Result<(Vec<CacheBackend>, Vec<CacheTarget>)> {
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
pub(super) fn event(context: &Context<'_>) -> Result<Option<Event>> {
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
pub(super) fn signing_key(
    named: Option<&str>,
    place: &Place,
    settings: &Settings,
    context: &Context<'_>,
) -> std::result::Result<Option<Hand>, Failure> {
    let given = match (named, &settings.signing_key.value) {
        (Some(name), _) if name.contains("://") || name == KEYLESS => name.to_owned(),
        (Some(name), _) => place.enrolment.dir().join(name).display().to_string(),
        (None, Some(path)) => path.display().to_string(),
        (None, None) => return Ok(None),
    };
    let failed = |error: CliError| error.hints.iter().fold(Failure::new(error.message), |f, hint| f.hint(hint));
    Ok(Some(match With::named(&given, settings, context).map_err(failed)? {
        With::Key(key) => Hand::Key(Box::new(key)),
        With::Identity(cosign) => Hand::Identity(Box::new(move |name, digest, statement| {
            // Nobody sits at a pipeline.
            let signed = match statement {
                None => cosign.clone().unasked().sign(name, digest, &BTreeMap::new()),
                Some(statement) => cosign.attest(name, digest, statement),
            };
            signed.map_err(failed)
        })),
    }))
}

/// The run of a CI system, as the builder in provenance.
pub(super) fn builder(context: &Context<'_>) -> String {
    let get = |name: &str| context.env.get(name).filter(|value| !value.is_empty());
    match (get("GITHUB_SERVER_URL"), get("GITHUB_REPOSITORY"), get("GITHUB_RUN_ID")) {
        (Some(server), Some(repository), Some(run)) => format!("{server}/{repository}/actions/runs/{run}"),
        _ => get("CI_JOB_URL").unwrap_or_default().to_owned(),
    }
}

/// Lets tests of debug builds end the process at a place of their choice, as a power cut would:
/// `COOPERAGE_TEST_KILL=STEP:begin|done`.
pub(super) fn checkpoint(step: &str, moment: &str, context: &Context<'_>) {
    if cfg!(debug_assertions) && context.env.get("COOPERAGE_TEST_KILL") == Some(&format!("{step}:{moment}")) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// The last run of an image, where it did not come to its end.
pub(super) fn unfinished(runs: &Runs, place: &Place, image: &Image, verb: &str, context: &Context<'_>) -> Result<i64> {
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

pub(super) fn open(settings: &Settings, context: &Context<'_>) -> Result<Engine> {
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
