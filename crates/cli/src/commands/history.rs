//! `cooperage history`: the builds that the store knows of.
use build::Store;
use build::history::{BuildOutcome, BuildRecord};
use clap::{Args, Subcommand};

use crate::app::Context;
use crate::args::build::PlaceArgs;
use crate::config::{Flags, Settings};
use crate::error::{CliError, Result};

/// List the builds that were made with this store.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    #[command(subcommand)]
    command: HistoryCommand,
}

#[derive(Debug, Subcommand)]
enum HistoryCommand {
    /// List builds, the newest first
    Ls(Box<ListArgs>),
    /// Print the record of a build as JSON: its steps, and what went into their keys
    Inspect(Box<InspectArgs>),
    /// Forget builds; what they made stays
    Rm(Box<RemoveArgs>),
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
struct InspectArgs {
    /// The beginning of a build's ID, or ^N for the Nth before the last (default: the last)
    #[arg(value_name = "BUILD", default_value = "^0")]
    build: String,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
struct RemoveArgs {
    /// Builds, by the beginnings of their IDs
    #[arg(value_name = "BUILD", required_unless_present = "all")]
    builds: Vec<String>,
    /// Forget all builds
    #[arg(long, short, conflicts_with = "builds")]
    all: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(crate) fn run(args: &HistoryArgs, context: &Context<'_>) -> Result<()> {
    match &args.command {
        HistoryCommand::Ls(args) => list(&open(&args.place, context)?, args.format == "json", context),
        HistoryCommand::Inspect(args) => {
            let store = open(&args.place, context)?;
            let record = store.build(&args.build).map_err(|e| failed(&e, context))?;
            context.ui.out(&format!("{:#}\n", serde_json::to_value(&record).unwrap_or_default()))
        }
        HistoryCommand::Rm(args) => {
            let store = open(&args.place, context)?;
            let ids = args.builds.iter().map(|name| store.build(name).map(|b| b.id)).collect::<build::Result<Vec<_>>>();
            let ids = ids.map_err(|e| failed(&e, context))?;
            let count = store.forget_builds((!args.all).then_some(ids.as_slice())).map_err(|e| failed(&e, context))?;
            context.ui.out(&format!("Forgot {count} {}\n", if count == 1 { "build" } else { "builds" }))
        }
    }
}

pub(super) fn open(place: &PlaceArgs, context: &Context<'_>) -> Result<Store> {
    let flags = Flags { place: Some(place), config: context.config.clone(), ..Flags::default() };
    let settings = Settings::load(&flags, context.env)?;
    Store::open(&settings.root.value).map_err(|e| failed(&e, context))
}

pub(super) fn failed(error: &build::BuildError, context: &Context<'_>) -> CliError {
    crate::report::build_error(error, None, context)
}

/// RFC 3339, seconds.
pub(super) fn time(milliseconds: i64) -> String {
    jiff::Timestamp::from_second(milliseconds.div_euclid(1000)).map_or_else(|_| "?".into(), |stamp| stamp.to_string())
}

pub(super) fn seconds(milliseconds: u64) -> String {
    format!("{:.1}s", milliseconds as f64 / 1000.0)
}

pub(super) fn outcome(record: &BuildRecord) -> &'static str {
    match record.outcome {
        BuildOutcome::Done => "done",
        BuildOutcome::Failed => "failed",
        BuildOutcome::Canceled => "canceled",
    }
}

/// What was built: the first name, else context and target.
fn subject(record: &BuildRecord) -> String {
    let target = record.target.as_deref().map(|target| format!(" ({target})")).unwrap_or_default();
    format!("{}{target}", record.names.first().unwrap_or(&record.context))
}

/// The list, for `history ls` and `explain ls`.
pub(super) fn list(store: &Store, json: bool, context: &Context<'_>) -> Result<()> {
    let builds = store.builds();
    if json {
        let rows: Vec<serde_json::Value> = builds
            .iter()
            .map(|b| {
                let (hits, misses) = b.hits_and_misses();
                serde_json::json!({
                    "id": b.id, "started": time(b.started), "duration": b.duration, "outcome": outcome(b),
                    "context": b.context, "dockerfile": b.dockerfile, "target": b.target, "names": b.names,
                    "digest": b.digest, "steps": b.steps.len(), "hits": hits, "misses": misses,
                })
            })
            .collect();
        return context.ui.out(&format!("{:#}\n", serde_json::Value::Array(rows)));
    }
    let mut out = format!("{:12}  {:20}  {:>8}  {:8}  {:>9}  OF\n", "BUILD", "STARTED", "TOOK", "OUTCOME", "HITS");
    for build in &builds {
        let (hits, _) = build.hits_and_misses();
        let hits = format!("{hits}/{}", build.steps.len());
        out.push_str(&format!(
            "{:12}  {:20}  {:>8}  {:8}  {hits:>9}  {}\n",
            build.id,
            time(build.started),
            seconds(build.duration),
            outcome(build),
            subject(build)
        ));
    }
    context.ui.out(&out)
}
