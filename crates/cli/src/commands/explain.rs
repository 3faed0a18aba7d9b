//! `cooperage explain`: which steps of a build came from the cache, and why the others did not.
use build::Store;
use build::history::{BuildRecord, Change, Compared, StepEntry, StepOutcome, compare};
use clap::Args;
use serde_json::{Value, json};

use super::history::{failed, list, open, outcome, seconds, time};
use crate::app::Context;
use crate::args::build::PlaceArgs;
use crate::error::{CliError, Result};
use crate::progress::{bytes, sanitize::clean};

const TEMPLATE: &str = "\
{about}

Examples:
  cooperage explain                  the last build: hits, misses, and the first input that differed
  cooperage explain --step COPY      only steps whose line holds COPY
  cooperage explain ^2               the second before the last
  cooperage explain 3f2a 9c0d        what differs between two builds, step by step
  cooperage explain ls               the builds that are known

{usage-heading} {usage}

{all-args}{after-help}
";

/// Say why steps of a build missed the cache.
#[derive(Debug, Args)]
#[command(help_template = TEMPLATE)]
pub(crate) struct ExplainArgs {
    /// A build, or two to compare, the older first: the beginning of an ID, or ^N for the Nth before the last; ls lists builds
    #[arg(value_name = "BUILD", num_args = 0..=2)]
    builds: Vec<String>,
    /// Only steps whose line holds this text
    #[arg(long, value_name = "TEXT")]
    step: Option<String>,
    /// text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
    #[command(flatten)]
    place: PlaceArgs,
}

/// A step as it is shown.
struct Row<'a> {
    step: &'a StepEntry,
    /// `hit`, `miss`, …
    word: &'static str,
    summary: Option<String>,
    changes: &'a [Change],
}

pub(crate) fn run(args: &ExplainArgs, context: &Context<'_>) -> Result<()> {
    let store = open(&args.place, context)?;
    let json = args.format == "json";
    let build = |name: &str| store.build(name).map_err(|e| failed(&e, context));
    match args.builds.as_slice() {
        [word] if word == "ls" => list(&store, json, context),
        [old, new] => between(args, &store, &build(old)?, &build(new)?, context),
        names => {
            let record = build(names.first().map_or("^0", String::as_str))?;
            let rows: Vec<Row<'_>> = record.steps.iter().map(row).collect();
            let against = record.steps.iter().find_map(|s| s.cause.as_ref()?.against.clone());
            show(args, &record, against.as_deref(), rows, context)
        }
    }
}

fn row(step: &StepEntry) -> Row<'_> {
    let word = match (step.outcome, &step.cause) {
        (StepOutcome::Hit | StepOutcome::ContentHit, _) => "hit",
        (StepOutcome::NotNeeded, _) => "unneeded",
        (StepOutcome::Ran, _) => "miss",
        (StepOutcome::Failed, _) => "failed",
        (StepOutcome::Canceled, _) => "canceled",
        (StepOutcome::NotReached, _) => "not run",
    };
    let summary = match (&step.cause, step.outcome) {
        (Some(cause), _) => Some(cause.summary.clone()),
        (None, StepOutcome::ContentHit) => Some("another definition, the same files".to_owned()),
        _ => None,
    };
    Row { step, word, summary, changes: step.cause.as_ref().map_or(&[], |cause| &cause.changes) }
}

fn between(
    args: &ExplainArgs,
    store: &Store,
    old: &BuildRecord,
    new: &BuildRecord,
    context: &Context<'_>,
) -> Result<()> {
    let compared: Vec<Compared> = compare(store, old, new);
    let rows = compared
        .iter()
        .map(|c| {
            let step = &new.steps[c.step];
            let before = c.old.map(|place| &old.steps[place]);
            let (word, summary) = match before {
                None => ("new", None),
                Some(_) if step.key.is_none() => ("not run", None),
                Some(before) if before.key.is_none() => ("new", Some("the older build did not reach it".to_owned())),
                Some(before) if before.key == step.key => ("same", None),
                Some(_) => ("differs", c.changes.first().map(|change| change.text.clone())),
            };
            Row { step, word, summary, changes: &c.changes }
        })
        .collect();
    show(args, new, Some(&old.id), rows, context)
}

fn show(
    args: &ExplainArgs,
    record: &BuildRecord,
    against: Option<&str>,
    mut rows: Vec<Row<'_>>,
    context: &Context<'_>,
) -> Result<()> {
    if let Some(text) = &args.step {
        rows.retain(|row| row.step.name.contains(text.as_str()));
        if rows.is_empty() {
            let first = record.steps.first().map_or("", |step| step.name.as_str());
            return Err(CliError::usage(format!("build {} has no step with {text:?} in its line", record.id))
                .hint(format!("lines look like this: {first}")));
        }
    }
    if args.format == "json" {
        return context.ui.out(&format!("{:#}\n", as_json(record, against, &rows)));
    }
    let (hits, misses) = record.hits_and_misses();
    let mut out = format!(
        "Build {} of {}, {} in {}: {}, {}\n",
        record.id,
        time(record.started),
        outcome(record),
        seconds(record.duration),
        count(hits, "hit", "hits"),
        count(misses, "miss", "misses"),
    );
    out.push_str(&format!(
        "  context     {}\n  Dockerfile  {}\n",
        one_line(&record.context),
        one_line(&record.dockerfile)
    ));
    if let Some(target) = &record.target {
        out.push_str(&format!("  target      {}\n", one_line(target)));
    }
    if let Some(against) = against {
        out.push_str(&format!("  compared with build {against}\n"));
    }
    if let Some(error) = &record.error {
        out.push_str(&format!("  error       {}\n", one_line(error)));
    }
    out.push('\n');
    for row in rows {
        let mut line = format!("{:8}  {}", row.word, one_line(&row.step.name));
        if !row.step.outcome.is_hit() && row.step.key.is_some() && matches!(row.word, "miss" | "failed") {
            line.push_str(&format!("  ({}", seconds(row.step.duration)));
            if let Some(size) = row.step.size {
                line.push_str(&format!(", {}", bytes(size)));
            }
            line.push(')');
        }
        out.push_str(&format!("{line}\n"));
        if let Some(summary) = &row.summary {
            out.push_str(&format!("            {}\n", one_line(summary)));
        }
        // The first is the summary, but for its values.
        for (number, change) in row.changes.iter().enumerate() {
            let values = values(change);
            if number > 0 || row.summary.as_deref() != Some(change.text.as_str()) {
                out.push_str(&format!("              {}\n", one_line(&change.text)));
            }
            for line in values {
                out.push_str(&format!("                {line}\n"));
            }
        }
    }
    context.ui.out(&out)
}

/// What it was and what it is, where the text does not say it.
fn values(change: &Change) -> Vec<String> {
    use build::history::ChangeKind as K;
    if !matches!(change.kind, K::Instruction | K::BuildArg | K::Env | K::BaseImage | K::Setting | K::Platform) {
        return Vec::new();
    }
    let line = |sign: &str, value: &Option<String>| value.as_ref().map(|value| format!("{sign} {}", one_line(value)));
    [line("-", &change.old), line("+", &change.new)].into_iter().flatten().collect()
}

fn one_line(text: &str) -> String {
    clean(text.replace(['\n', '\r'], " ").as_bytes(), false)
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn as_json(record: &BuildRecord, against: Option<&str>, rows: &[Row<'_>]) -> Value {
    let steps: Vec<Value> = rows
        .iter()
        .map(|row| {
            let step = row.step;
            json!({
                "name": step.name,
                "instruction": step.instruction,
                "stage": step.stage,
                "platform": step.platform,
                "line": step.line,
                "status": row.word,
                "reason": row.summary,
                "kind": step.cause.as_ref().map(|cause| cause.kind),
                "changes": row.changes,
                "key": step.key,
                "duration": step.duration,
                "size": step.size,
            })
        })
        .collect();
    json!({
        "build": record.id,
        "against": against,
        "started": time(record.started),
        "duration": record.duration,
        "outcome": outcome(record),
        "error": record.error,
        "context": record.context,
        "dockerfile": record.dockerfile,
        "target": record.target,
        "names": record.names,
        "digest": record.digest,
        "steps": steps,
    })
}
