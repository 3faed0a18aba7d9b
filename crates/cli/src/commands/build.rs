//! `cooperage build`
use build::event::Events;
use build::request::{BuildRequest, CacheBackend};
use build::{BuildResult, Engine, EngineOptions};

use crate::app::Context;
use crate::args::build::BuildArgs;
use crate::args::request::{self, Call, Plan};
use crate::config::{Flags, Settings};
use crate::error::{CliError, Result};
use crate::progress::{Mode, Reporter, State};
use crate::report;
use crate::shell;
use crate::signing::build::BuildSigning;
use crate::trace;

pub(crate) fn run(args: &BuildArgs, context: &Context<'_>) -> Result<()> {
    perform(args, context).map(drop)
}

/// Builds, and gives what it came to; nothing where `--call` asked for something else.
pub(super) fn perform(args: &BuildArgs, context: &Context<'_>) -> Result<Option<BuildResult>> {
    let flags = Flags {
        place: Some(&args.place),
        registries: Some(&args.registries),
        progress: args.progress.as_deref(),
        config: context.config.clone(),
    };
    let settings = Settings::load(&flags, context.env)?;
    let mut plan = request::plan(args, &settings, context.env)?;
    let mode = Mode::choose(&settings.progress.value, plan.quiet, context.env)?;
    for note in &plan.notes {
        context.ui.warn(note);
    }
    if let Some(path) = plan.iidfile.as_deref().filter(|path| path.is_file()) {
        // A script must not find the ID of an earlier build when this one fails.
        std::fs::remove_file(path).map_err(|e| CliError::io("replace", path, &e))?;
    }
    let signing = BuildSigning::prepare(args, &plan, &settings, context)?;
    plan.request.base_check = crate::signing::build::base_check(args, &settings, context)?;
    let engine = open(&plan.request, &settings, context)?;
    if context.ui.debug
        && let Ok(choice) = engine.choice()
    {
        for reason in &choice.reasons {
            context.ui.note(&format!("debug: {reason}"));
        }
    }
    if plan.call != Call::Build {
        return super::call::run(&plan, &engine, context).map(|()| None);
    }
    let (reporter, events) = Reporter::start(mode, context.ui.colour, Box::new(std::io::stderr()));
    if plan.shell {
        plan.request.on_failure = Some(shell::on_failure(&reporter));
    }
    let result = build(&engine, &plan.request, &events, context);
    // The shell holds on to the reporter.
    plan.request.on_failure = None;
    let state = reporter.finish();
    let traced = measured(&plan, &state, &settings, context);
    if mode == Mode::Quiet {
        for warning in &state.warnings {
            context.ui.warn(warning);
        }
    }
    // What the build says counts more than that its trace could not be written.
    let result = result?;
    traced?;
    if let Some(signing) = &signing {
        signing.sign(&result, context)?;
    }
    finish(&plan, mode, &result, context)?;
    if matches!(mode, Mode::Tty | Mode::Plain)
        && let Some(why) = engine.chosen().and_then(elsewhere)
    {
        context.ui.note(&format!("note: {why}"));
    }
    drop(engine);
    super::cache::keep_limits(&settings, context);
    Ok(Some(result))
}

/// Why a build that worked here would not have worked with what needs namespaces.
fn elsewhere(choice: &sandbox::Choice) -> Option<String> {
    let refused = "namespaces isolation does not work: ";
    let why = choice.reasons.iter().find_map(|reason| reason.strip_prefix(refused))?;
    let how = match choice.isolation {
        sandbox::Isolation::Intercept => "by intercepting system calls",
        sandbox::Isolation::PlainChroot => "in a chroot",
        sandbox::Isolation::Namespaces => return None,
    };
    Some(format!("builders that need namespaces stop here ({why}); steps were run {how}"))
}

/// `--timings` and `--trace`, however the build ended.
fn measured(plan: &Plan, state: &State, settings: &Settings, context: &Context<'_>) -> Result<()> {
    let now = std::time::SystemTime::now();
    if plan.timings {
        context.ui.note(&format!("\n{}", trace::timings(state, now).trim_end()));
    }
    #[cfg(feature = "otlp")]
    if let Err(why) = export(state, now, settings, context) {
        context.ui.warn(&format!("traces are not sent: {why}"));
    }
    #[cfg(not(feature = "otlp"))]
    let _ = settings;
    match &plan.trace {
        Some(path) => write(path, trace::chrome(state, now).to_string().as_bytes(), "trace"),
        None => Ok(()),
    }
}

/// To the collector that the environment names.
#[cfg(feature = "otlp")]
fn export(
    state: &State,
    now: std::time::SystemTime,
    settings: &Settings,
    context: &Context<'_>,
) -> std::result::Result<(), String> {
    let Some(exporter) = trace::otlp::Exporter::of(context.env)? else { return Ok(()) };
    let options = super::client_options(settings, context.env);
    let client = build::source::http::HttpClient::new(&options.trust, &options.proxy, &options.user_agent)
        .map_err(|e| e.to_string())?;
    exporter.send(&client, state, now)
}

fn open(request: &BuildRequest, settings: &Settings, context: &Context<'_>) -> Result<Engine> {
    let launcher = sandbox::Launcher::of_this_program().map_err(|e| {
        CliError::io("find this program at", std::path::Path::new("/proc/self/exe"), &e).hint("is /proc mounted?")
    })?;
    let isolation = match settings.isolation.value.as_deref() {
        None | Some("auto") => None,
        Some(name) => Some(name.parse().map_err(|why: String| CliError::usage(why))?),
    };
    let mut registry = super::client_options(settings, context.env);
    // registry.insecure=true speaks of the registries that this output goes to.
    for output in request.outputs.iter().filter(|output| output.insecure) {
        let names = if output.names.is_empty() { &request.tags } else { &output.names };
        registry.insecure.extend(names.iter().map(|name| name.registry().to_owned()));
    }
    let caches = request.cache_to.iter().map(|target| &target.backend).chain(&request.cache_from);
    for cache in caches {
        if let CacheBackend::Registry { reference, insecure: true } = cache {
            registry.insecure.push(reference.registry().to_owned());
        }
    }
    Engine::open(EngineOptions {
        root: settings.root.value.clone(),
        registry,
        launcher,
        entered: context.entered.clone(),
        isolation,
        resolv_conf: resolv_conf(),
        env: context.env.vars.clone(),
    })
    .map_err(|error| report::build_error(&error, None, context))
}

/// What steps find in /etc/resolv.conf. A resolver on loopback (systemd-resolved's stub) is reached
/// as well, since steps share the network of this machine.
fn resolv_conf() -> Vec<u8> {
    std::fs::read("/etc/resolv.conf").unwrap_or_else(|_| b"nameserver 1.1.1.1\nnameserver 8.8.8.8\n".to_vec())
}

fn build(engine: &Engine, request: &BuildRequest, events: &Events, context: &Context<'_>) -> Result<BuildResult> {
    engine.build(request, events, context.cancel).map_err(|error| report::build_error(&error, Some(request), context))
}

/// Files, and the last words.
fn finish(plan: &Plan, mode: Mode, result: &BuildResult, context: &Context<'_>) -> Result<()> {
    let id = image_id(result);
    if let Some(path) = &plan.iidfile {
        write(path, id.as_bytes(), "iidfile")?;
    }
    if let Some(path) = &plan.metadata_file {
        write(path, format!("{:#}", metadata(result)).as_bytes(), "metadata-file")?;
    }
    if let Some(loaded) = &result.loaded
        && mode != Mode::Quiet
    {
        context.ui.note(loaded.trim_end());
    }
    let outputs = &plan.request.outputs;
    if mode == Mode::Quiet && !outputs.iter().any(|output| output.dest.as_deref() == Some("-")) {
        context.ui.out(&format!("{id}\n"))?;
    }
    if outputs.is_empty() && matches!(mode, Mode::Tty | Mode::Plain) {
        context.ui.note(&format!(
            "The image is in the store as {id}. To take it further: --push, --load, or -o type=oci,dest=FILE"
        ));
    }
    Ok(())
}

/// Docker's image ID: the digest of the config; of an image for several platforms, that of its index.
fn image_id(result: &BuildResult) -> String {
    match result.images.as_slice() {
        [only] => only.config.digest.to_string(),
        _ => result.descriptor.digest.to_string(),
    }
}

/// What buildx writes to `--metadata-file`, in the order of its keys.
fn metadata(result: &BuildResult) -> serde_json::Value {
    let mut out = serde_json::Map::new();
    if let [only] = result.images.as_slice() {
        out.insert("containerimage.config.digest".into(), only.config.digest.to_string().into());
    }
    out.insert("containerimage.descriptor".into(), serde_json::to_value(&result.descriptor).unwrap_or_default());
    out.insert("containerimage.digest".into(), result.descriptor.digest.to_string().into());
    if !result.names.is_empty() {
        out.insert("image.name".into(), result.names.join(",").into());
    }
    out.into()
}

/// Writes a small file whole or not at all.
pub(super) fn write(path: &std::path::Path, bytes: &[u8], flag: &str) -> Result<()> {
    use std::io::Write;
    let dir = path.parent().unwrap_or(std::path::Path::new("."));
    let fail =
        |e: std::io::Error| CliError::failed(format!("--{flag} {}: {}", path.display(), crate::error::plain_io(&e)));
    // A device or a pipe (/dev/stderr, a process substitution) cannot be replaced by a rename.
    if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return std::fs::OpenOptions::new().write(true).open(path).and_then(|mut f| f.write_all(bytes)).map_err(fail);
    }
    let mut file = tempfile::Builder::new()
        .prefix(".cooperage-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(dir)
        .map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    file.persist(path).map_err(|e| fail(e.error))?;
    Ok(())
}
