//! `cooperage factory runs` and `logs`
use factory::runs::{Run, RunStatus, Runs};

use super::{FileArgs, short, table};
use crate::app::Context;
use crate::args::build::PlaceArgs;
use crate::config::{Flags, Settings};
use crate::error::{CliError, Result};

/// List runs.
#[derive(Debug, clap::Args)]
pub(crate) struct RunsArgs {
    /// Of this image only
    #[arg(value_name = "IMAGE")]
    image: Option<String>,
    /// No more than this many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Show a run.
#[derive(Debug, clap::Args)]
pub(crate) struct LogsArgs {
    /// The run's number, or an image: its last run
    #[arg(value_name = "RUN|IMAGE")]
    run: String,
    /// Follow a run that another process is doing, and exit with its result
    #[arg(long, short = 'F')]
    follow: bool,
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

fn open(place: &PlaceArgs, context: &Context<'_>) -> Result<Runs> {
    let flags = Flags { place: Some(place), config: context.config.clone(), ..Flags::default() };
    let settings = Settings::load(&flags, context.env)?;
    Runs::open(&settings.root.value).map_err(failed)
}

fn failed(error: factory::runs::RunsError) -> CliError {
    CliError::failed(error.to_string())
}

fn status(run: &Run) -> &'static str {
    let alive = || std::path::Path::new(&format!("/proc/{}", run.pid)).exists();
    match run.status {
        RunStatus::Running if !alive() => "interrupted",
        status => status.name(),
    }
}

pub(super) fn list(args: &RunsArgs, context: &Context<'_>) -> Result<()> {
    let runs = open(&args.place, context)?;
    let file = args.file.path(context)?.display().to_string();
    let found = runs.list(&file, args.image.as_deref(), args.limit).map_err(failed)?;
    if found.is_empty() {
        // An image that is enrolled no more still has its runs.
        if let Some(name) = &args.image {
            super::Place::open(&args.file, context)?.image(name)?;
        }
        context.ui.note("there was no run yet; cooperage factory build begins one");
        return Ok(());
    }
    let mut rows = vec![["RUN", "IMAGE", "STATUS", "STARTED", "TOOK", "VERSION", "DIGEST"].map(str::to_owned).to_vec()];
    for run in found {
        rows.push(vec![
            run.id.to_string(),
            run.image.clone(),
            status(&run).into(),
            factory::time::stamp(run.started),
            run.ended.map_or("-".into(), |ended| format!("{} s", ended - run.started)),
            run.version.clone().unwrap_or_else(|| "-".into()),
            run.digest.as_deref().map_or("-".into(), short),
        ]);
    }
    context.ui.out(&table(&rows))
}

pub(super) fn logs(args: &LogsArgs, context: &Context<'_>) -> Result<()> {
    let runs = open(&args.place, context)?;
    let file = args.file.path(context)?.display().to_string();
    let run = match args.run.parse::<i64>() {
        Ok(id) => runs.run(id).map_err(failed)?,
        Err(_) => runs.list(&file, Some(&args.run), 1).map_err(failed)?.pop(),
    };
    let run = run.ok_or_else(|| {
        CliError::usage(format!("there is no run {}", args.run)).hint("cooperage factory runs lists them")
    })?;
    context.ui.out(&format!("run {} of {}: {}\n", run.id, run.image, status(&run)))?;
    if args.follow {
        return follow(&runs, run.id, context);
    }
    for step in runs.steps(run.id).map_err(failed)? {
        let took = step.took.map_or(String::new(), |ms| format!(" ({ms} ms)"));
        let why = if step.message.is_empty() { String::new() } else { format!(": {}", step.message) };
        context.ui.out(&format!("{} {}{took}{why}\n", step.name, step.status.name()))?;
        if let Ok(text) = std::fs::read_to_string(runs.log_file(run.id, &step.name)) {
            for line in text.lines() {
                context.ui.out(&format!("  {line}\n"))?;
            }
        }
    }
    Ok(())
}

/// Writes each line of each step once, as it comes, until the run has ended.
fn follow(runs: &Runs, id: i64, context: &Context<'_>) -> Result<()> {
    let mut told: std::collections::BTreeMap<String, (bool, u64)> = Default::default();
    loop {
        // Asked before the steps are read: what it wrote last is seen still.
        let run = runs.run(id).map_err(failed)?.ok_or_else(|| CliError::failed(format!("run {id} is gone")))?;
        let now = status(&run);
        for step in runs.steps(id).map_err(failed)? {
            let ended = !matches!(step.status, RunStatus::Running);
            let (said, at) = told.entry(step.name.clone()).or_default();
            let (lines, next) = lines_from(&runs.log_file(id, &step.name), *at, ended);
            *at = next;
            for line in lines {
                context.ui.out(&format!("{} | {line}\n", step.name))?;
            }
            if ended && !*said {
                *said = true;
                let took = step.took.map_or(String::new(), |ms| format!(" ({ms} ms)"));
                let why = if step.message.is_empty() { String::new() } else { format!(": {}", step.message) };
                context.ui.out(&format!("{} {}{took}{why}\n", step.name, step.status.name()))?;
            }
        }
        if now != RunStatus::Running.name() {
            return match run.status {
                RunStatus::Done | RunStatus::Skipped => Ok(()),
                _ => Err(CliError::failed(format!("run {id} of {}: {now}", run.image))
                    .hint(format!("cooperage factory build {} --resume goes on where it stopped", run.image))),
            };
        }
        for _ in 0..5 {
            if context.cancel.is_cancelled() {
                return Err(CliError::interrupted().hint("the run goes on"));
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

/// The whole lines of a log from a place on (its rest, too, where it has ended), at most 1 MiB of them, and where they end.
fn lines_from(path: &std::path::Path, at: u64, ended: bool) -> (Vec<String>, u64) {
    use std::io::{Read as _, Seek as _};
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|mut file| {
        file.seek(std::io::SeekFrom::Start(at))?;
        file.take(1 << 20).read_to_end(&mut bytes)
    });
    if read.is_err() {
        return (Vec::new(), at);
    }
    let end = match bytes.iter().rposition(|byte| *byte == b'\n') {
        _ if ended => bytes.len(),
        Some(last) => last + 1,
        None => 0,
    };
    let text = String::from_utf8_lossy(&bytes[..end]);
    (text.lines().map(str::to_owned).collect(), at + end as u64)
}
