//! `cooperage cache`: what the store holds, and taking away what is old.
use build::{PrunePolicy, Store};
use clap::{Args, Subcommand};

use crate::app::Context;
use crate::args::build::PlaceArgs;
use crate::args::values;
use crate::config::{Flags, Settings};
use crate::error::{CliError, Result};
use crate::progress::bytes;

/// Look after the store.
#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// List cached steps, the most recently used first
    Ls(Box<ListArgs>),
    /// Show how much the store holds
    Du(Box<ListArgs>),
    /// Remove what was not used for long; built images stay
    Prune(Box<PruneArgs>),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
struct PruneArgs {
    /// Remove every cached step and layer
    #[arg(long, short)]
    all: bool,
    /// Remove what was not used for this long, such as 30m, 24h or 7d (default: 14d when no other limit is given)
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    keep_duration: Option<i64>,
    /// Remove the least recently used until the store is no larger, such as 10gb
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    max_used_space: Option<u64>,
    /// Remove cache mounts (RUN --mount=type=cache), too
    #[arg(long)]
    mounts: bool,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// How long unused things are kept where nothing is said.
const KEEP: i64 = 14 * 24 * 3600;

pub(crate) fn run(args: &CacheArgs, context: &Context<'_>) -> Result<()> {
    match &args.command {
        CacheCommand::Ls(args) => list(args, context),
        CacheCommand::Du(args) => usage(args, context),
        CacheCommand::Prune(args) => prune(args, context),
    }
}

/// How often builds look whether the store is within its limits: sizes of all its files are read for that.
const EVERY: std::time::Duration = std::time::Duration::from_secs(3600);

/// After a build: keeps the store within the limits of the configuration, once an hour. While another build uses the
/// store nothing is removed; what fails is left to the next build.
pub(super) fn keep_limits(settings: &Settings, context: &Context<'_>) {
    let policy = PrunePolicy {
        unused_for: settings.keep_duration.value,
        max_bytes: settings.max_used_space.value,
        ..PrunePolicy::default()
    };
    if policy == PrunePolicy::default() {
        return;
    }
    let mark = settings.root.value.join("pruned");
    let age = std::fs::metadata(&mark).and_then(|meta| meta.modified()).map(|time| time.elapsed());
    if matches!(age, Ok(Ok(age)) if age < EVERY) {
        return;
    }
    let Ok(store) = Store::open_exclusive(&settings.root.value) else { return };
    let pruned = store.prune(&policy);
    let _ = std::fs::write(&mark, "");
    if let Ok(gone) = pruned
        && gone.steps + gone.layers + gone.blobs > 0
        && context.ui.debug
    {
        let size = bytes(gone.bytes);
        context.ui.note(&format!("debug: {} steps and {} layers leave the store: {size}", gone.steps, gone.layers));
    }
}

fn settings(place: &PlaceArgs, context: &Context<'_>) -> Result<Settings> {
    let flags = Flags { place: Some(place), config: context.config.clone(), ..Flags::default() };
    Settings::load(&flags, context.env)
}

fn failed(error: &build::BuildError, context: &Context<'_>) -> CliError {
    crate::report::build_error(error, None, context)
}

fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| "?".into(), |stamp| stamp.to_string())
}

fn list(args: &ListArgs, context: &Context<'_>) -> Result<()> {
    let settings = settings(&args.place, context)?;
    let store = Store::open(&settings.root.value).map_err(|e| failed(&e, context))?;
    let steps = store.cached_steps();
    if args.format == "json" {
        let rows: Vec<serde_json::Value> = steps
            .iter()
            .map(|s| {
                serde_json::json!({
                    "key": s.key, "name": s.name, "size": s.bytes, "created": time(s.created), "used": time(s.used),
                })
            })
            .collect();
        return context.ui.out(&format!("{:#}\n", serde_json::Value::Array(rows)));
    }
    let mut out = format!("{:12}  {:>9}  {:20}  STEP\n", "KEY", "SIZE", "LAST USED");
    for step in &steps {
        out.push_str(&format!("{:12}  {:>9}  {:20}  {}\n", step.key, bytes(step.bytes), time(step.used), step.name));
    }
    context.ui.out(&out)
}

fn usage(args: &ListArgs, context: &Context<'_>) -> Result<()> {
    let settings = settings(&args.place, context)?;
    let store = Store::open(&settings.root.value).map_err(|e| failed(&e, context))?;
    let usage = store.usage();
    let parts = [
        ("steps", usage.steps),
        ("layers", usage.layers),
        ("blobs", usage.blobs),
        ("cache mounts", usage.mounts),
        ("history", usage.history),
    ];
    if args.format == "json" {
        let mut all = serde_json::Map::new();
        for (name, part) in parts {
            all.insert(name.replace(' ', "-"), serde_json::json!({ "count": part.count, "size": part.bytes }));
        }
        all.insert("total".into(), usage.total().into());
        return context.ui.out(&format!("{:#}\n", serde_json::Value::Object(all)));
    }
    let mut out = format!("{:14}  {:>7}  {:>9}\n", "", "COUNT", "SIZE");
    for (name, part) in parts {
        out.push_str(&format!("{name:14}  {:>7}  {:>9}\n", part.count, bytes(part.bytes)));
    }
    out.push_str(&format!("{:14}  {:>7}  {:>9}\n", "total", "", bytes(usage.total())));
    context.ui.out(&out)
}

fn prune(args: &PruneArgs, context: &Context<'_>) -> Result<()> {
    let settings = settings(&args.place, context)?;
    let store = Store::open_exclusive(&settings.root.value).map_err(|e| failed(&e, context))?;
    let limited = args.all || args.keep_duration.is_some() || args.max_used_space.is_some();
    let policy = PrunePolicy {
        all: args.all,
        unused_for: args.keep_duration.or((!limited).then_some(KEEP)),
        max_bytes: args.max_used_space,
        mounts: args.mounts,
        dry_run: args.dry_run,
    };
    let gone = store.prune(&policy).map_err(|e| failed(&e, context))?;
    let verb = if args.dry_run { "Would remove" } else { "Removed" };
    context.ui.out(&format!(
        "{verb} {} steps, {} layers, {} blobs and {} cache mounts: {}\n",
        gone.steps,
        gone.layers,
        gone.blobs,
        gone.mounts,
        bytes(gone.bytes)
    ))
}
