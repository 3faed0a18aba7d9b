//! `cooperage factory history`
use factory::runs::{Run, RunStatus, Runs, StepRecord};
use serde_json::{Value, json};

use super::{FileArgs, Place, short, table};
use crate::app::Context;
use crate::args::build::PlaceArgs;
use crate::config::{Flags, Settings};
use crate::error::{CliError, Result};

/// Show what was published.
#[derive(Debug, clap::Args)]
pub(crate) struct HistoryArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// No more than this many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    limit: usize,
    /// text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(super) fn run(args: &HistoryArgs, context: &Context<'_>) -> Result<()> {
    let place = Place::open(&args.file, context)?;
    let image = place.image(&args.image)?;
    let flags = Flags { place: Some(&args.place), config: context.config.clone(), ..Flags::default() };
    let settings = Settings::load(&flags, context.env)?;
    let failed = |error: factory::runs::RunsError| CliError::failed(error.to_string());
    let runs = Runs::open(&settings.root.value).map_err(failed)?;
    let file = place.enrolment.file.display().to_string();
    let mut list = Vec::new();
    for run in runs.list(&file, Some(&image.name), args.limit).map_err(failed)? {
        let steps = runs.steps(run.id).map_err(failed)?;
        list.push(entry(&run, &steps));
    }
    if args.format == "json" {
        let text = serde_json::to_string_pretty(&list).map_err(|e| CliError::failed(e.to_string()))?;
        return context.ui.out(&format!("{text}\n"));
    }
    let heads = ["RUN", "WHEN", "WHAT", "VERSION", "DIGEST", "SOURCE", "MANIFESTS", "SCAN", "WHO", "WHY"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for entry in &list {
        let text = |key: &str| entry[key].as_str().filter(|t| !t.is_empty()).unwrap_or("-").to_owned();
        let commit = |text: &str| text.get(..12).unwrap_or(text).to_owned();
        let manifests: Vec<String> = entry["commits"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|c| c["commit"].as_str().map(commit))
            .collect();
        rows.push(vec![
            entry["run"].to_string(),
            text("at"),
            text("what"),
            text("version"),
            short(&text("digest")),
            commit(&text("source")),
            if manifests.is_empty() { "-".into() } else { manifests.join(" ") },
            text("scan"),
            text("by"),
            text("reason"),
        ]);
    }
    context.ui.out(&table(&rows))
}

fn entry(run: &Run, steps: &[StepRecord]) -> Value {
    let step = |name: &str| steps.iter().find(|step| step.name == name);
    let output = |name: &str| step(name).map_or(Value::Null, |step| step.output.clone());
    let scan = match step("scan") {
        Some(step) if step.status == RunStatus::Done => {
            let count = |key: &str| {
                let list = step.output["scans"].as_array();
                list.into_iter().flatten().filter_map(|scan| scan[key].as_u64()).sum::<u64>()
            };
            format!("passed, {} found", count("findings"))
        }
        Some(step) if step.status == RunStatus::Failed => format!("failed: {}", step.message),
        _ => "not scanned".into(),
    };
    let what = match (run.trigger.as_str(), run.status) {
        ("rollback" | "release", RunStatus::Done) => run.trigger.clone(),
        (trigger, RunStatus::Done) if output("tag")["tags"].is_array() => format!("published ({trigger})"),
        (trigger, status) => format!("{} ({trigger})", status.name()),
    };
    let why = run.options["reason"].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let reason = why.unwrap_or_else(|| match run.trigger.as_str() {
        "base" => "a base image changed".into(),
        "changed" => "its files changed".into(),
        _ => String::new(),
    });
    json!({
        "run": run.id, "at": factory::time::stamp(run.started), "what": what, "status": run.status.name(),
        "version": run.version, "digest": run.digest, "tags": output("tag")["tags"], "source": output("configure")["commit"],
        "commits": output("update")["commits"], "scan": scan, "signed": output("sign")["signed"],
        "by": run.options["by"], "reason": reason, "trigger": run.trigger,
    })
}
