//! How runs, jobs, steps and logs look.
use gitops::actions::log::{Slice, readable, split};
use gitops::actions::{Actions, Conclusion, Job, Phase, Run, Step};

use super::wrong;
use crate::app::Context;
use crate::error::{CliError, Result};

/// Between two moments, as `1m 5s`; the second may be missing yet.
pub(super) fn took(from: Option<jiff::Timestamp>, to: Option<jiff::Timestamp>) -> String {
    let (Some(from), Some(to)) = (from, to) else { return String::new() };
    let seconds = (to.as_second() - from.as_second()).max(0);
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (hours, minutes, _) => format!("{hours}h {minutes}m"),
    }
}

/// A sign for how far something is.
fn sign(phase: Phase, ended: Option<Conclusion>, colour: bool) -> String {
    let (code, sign) = match (phase, ended) {
        (Phase::Waiting, _) => ("2", "·"),
        (Phase::Running, _) => ("33", "●"),
        (_, Some(Conclusion::Success)) => ("32", "✓"),
        (_, Some(Conclusion::Skipped)) => ("2", "-"),
        (_, Some(Conclusion::Cancelled)) => ("33", "!"),
        _ => ("31", "✗"),
    };
    if colour { format!("\x1b[{code}m{sign}\x1b[0m") } else { sign.to_owned() }
}

/// Text of others without what would move the cursor.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// A line about a run.
pub(super) fn headline(run: &Run) -> String {
    let sha = run.sha.get(..7).unwrap_or(&run.sha);
    plain(&format!("{} #{} · {} · {} {sha} · {}", run.workflow, run.number, run.title, run.branch, run.event))
}

/// A run with its jobs and steps. With `now`, steps of jobs that have ended well are left out, and times go on.
pub(super) fn tree(run: &Run, jobs: &[Job], colour: bool, now: Option<jiff::Timestamp>) -> String {
    let time = |from, to: Option<jiff::Timestamp>| {
        let text = took(from, to.or(now));
        if text.is_empty() { text } else { format!(" ({text})") }
    };
    let word = |phase: Phase, word: &str| match phase {
        Phase::Waiting => format!(" {word}"),
        _ => String::new(),
    };
    let end = run.updated.filter(|_| run.phase() == Phase::Ended);
    let mut out = format!(
        "{} {}{}{}\n",
        sign(run.phase(), run.ended(), colour),
        headline(run),
        word(run.phase(), &run.status),
        time(run.started, end)
    );
    for job in jobs {
        let left_out = job.ended() == Some(Conclusion::Skipped);
        let (from, to) = if left_out { (None, None) } else { (job.started, job.completed) };
        out.push_str(&format!(
            "  {} {}{}{}\n",
            sign(job.phase(), job.ended(), colour),
            plain(&job.name),
            word(job.phase(), &job.status),
            time(from, to)
        ));
        if now.is_some() && matches!(job.ended(), Some(Conclusion::Success | Conclusion::Skipped)) {
            continue;
        }
        for step in &job.steps {
            out.push_str(&format!(
                "    {} {}{}\n",
                sign(step.phase(), step.ended(), colour),
                plain(&step.name),
                if step.ended() == Some(Conclusion::Skipped) {
                    String::new()
                } else {
                    time(step.started, step.completed)
                }
            ));
        }
    }
    out.push_str(&format!("{}\n", run.url));
    out
}

/// Runs as a table.
pub(super) fn table(runs: &[Run]) -> String {
    let mut rows =
        vec![["RUN", "RESULT", "WORKFLOW", "BRANCH", "EVENT", "BEGAN", "TOOK", "TITLE"].map(str::to_owned).to_vec()];
    for run in runs {
        let end = run.updated.filter(|_| run.phase() == Phase::Ended);
        rows.push(vec![
            run.id.to_string(),
            run.word().to_owned(),
            plain(&run.workflow),
            plain(&run.branch),
            run.event.clone(),
            run.created.map_or("-".into(), |time| time.strftime("%Y-%m-%d %H:%M").to_string()),
            if end.is_some() { took(run.started, end) } else { "-".into() },
            plain(&run.title).chars().take(60).collect(),
        ]);
    }
    crate::commands::factory::table(&rows)
}

/// Which logs.
pub(super) struct Logs<'l> {
    pub(super) job: Option<&'l str>,
    pub(super) all: bool,
    pub(super) timestamps: bool,
}

/// Writes logs to standard output, each under its job and step.
pub(super) fn logs(actions: &Actions<'_>, run: &Run, what: &Logs<'_>, context: &Context<'_>) -> Result<()> {
    let jobs = actions.jobs(run).map_err(wrong)?;
    let failed = |job: &&Job| job.ended() == Some(Conclusion::Failure);
    let chosen: Vec<&Job> = match what.job {
        Some(name) => {
            let chosen: Vec<&Job> =
                jobs.iter().filter(|job| job.name.contains(name) || job.id.to_string() == name).collect();
            if chosen.is_empty() {
                let names: Vec<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
                return Err(CliError::usage(format!("run {} has no job {name:?}", run.id))
                    .hint(format!("there are {}", names.join(", "))));
            }
            chosen
        }
        None if what.all => jobs.iter().collect(),
        None => jobs.iter().filter(failed).collect(),
    };
    if chosen.is_empty() {
        context
            .ui
            .note(&format!("no job of run {} failed; --all shows what they said, --job NAME what one said", run.id));
        return Ok(());
    }
    let whole = what.all || what.job.is_some();
    let colour = context.env.stdout_terminal && context.ui.colour;
    for job in chosen {
        if job.phase() != Phase::Ended {
            context.ui.note(&format!("{} has not ended: GitHub has its log then", plain(&job.name)));
            continue;
        }
        let steps: Vec<&Step> =
            job.steps.iter().filter(|step| !whole && step.ended() == Some(Conclusion::Failure)).collect();
        let shown = |line: &str| {
            let (time, text) = split(line);
            let text = readable(text, colour)?;
            Some(match time.filter(|_| what.timestamps) {
                Some(time) => format!("{} {text}\n", time.strftime("%H:%M:%S")),
                None => format!("{text}\n"),
            })
        };
        let mut wrote = Ok(());
        let mut put = |text: &str| {
            if wrote.is_ok() {
                wrote = context.ui.out(text);
            }
        };
        let heading = |step: Option<&Step>| match step {
            Some(step) => format!("=== {} / {} ===\n", plain(&job.name), plain(&step.name)),
            None => format!("=== {} ===\n", plain(&job.name)),
        };
        if steps.is_empty() {
            put(&heading(None));
            actions.log(job, |line| put(&shown(line).unwrap_or_default())).map_err(wrong)?;
        }
        for step in steps {
            put(&heading(Some(step)));
            let mut slice = Slice::new(step);
            let mut line = |line: &str| put(&shown(line).unwrap_or_default());
            actions.log(job, |text| slice.line(text, &mut line)).map_err(wrong)?;
            slice.finish(&mut line);
        }
        wrote?;
    }
    Ok(())
}
