//! Follows a run: a tree that is redrawn, a line for each change, or JSON.
use std::io::Write as _;
use std::time::Duration;

use gitops::actions::follow::{Change, Snapshot, changes};
use gitops::actions::{Actions, Conclusion, Phase, Run};
use serde_json::json;

use super::show::{headline, plain, took, tree};
use super::{result, wrong};
use crate::app::Context;
use crate::error::{CliError, Result};

/// How it is shown.
pub(super) struct WatchOptions {
    pub(super) json: bool,
    pub(super) tree: bool,
    pub(super) interval: Duration,
}

/// Follows a run to its end; its result is the command's.
pub(super) fn follow(actions: &Actions<'_>, run: Run, options: &WatchOptions, context: &Context<'_>) -> Result<()> {
    let id = run.id;
    if !options.json && !options.tree {
        context.ui.note(&run.url);
    }
    let stopped = |error| match wrong(error) {
        error if context.cancel.is_cancelled() => {
            error.hint(format!("the run goes on: cooperage remote watch {id} follows it again"))
        }
        error => error,
    };
    let mut run = Some(run);
    let mut before: Option<Snapshot> = None;
    let mut drawn = 0;
    loop {
        let current = match run.take() {
            Some(run) => run,
            None => actions.run(id).map_err(&stopped)?,
        };
        // A run that waits for an approval or a runner may have no jobs yet.
        let jobs = actions.jobs(&current).map_err(&stopped)?;
        let now = Snapshot { run: current, jobs };
        if options.tree {
            drawn = draw(&now, drawn, context)?;
        } else {
            for change in changes(before.as_ref(), &now) {
                let line = if options.json { object(&change) } else { line(&change) };
                context.ui.out(&format!("{line}\n"))?;
            }
        }
        if now.run.phase() == Phase::Ended {
            let end = result(&now.run);
            if end.is_err() && !options.json {
                ends(actions, &now, context);
            }
            return end;
        }
        before = Some(now);
        actions.pause(options.interval).map_err(&stopped)?;
    }
}

/// The last lines of what failed.
fn ends(actions: &Actions<'_>, now: &Snapshot, context: &Context<'_>) {
    use gitops::actions::log::{Slice, readable, split};
    for job in now.jobs.iter().filter(|job| job.ended() == Some(Conclusion::Failure)).take(3) {
        let Some(step) = job.steps.iter().find(|step| step.ended() == Some(Conclusion::Failure)) else { continue };
        let mut last = std::collections::VecDeque::new();
        let mut keep = |line: &str| {
            if let Some(text) = readable(split(line).1, context.ui.colour) {
                last.push_back(text);
                if last.len() > 20 {
                    last.pop_front();
                }
            }
        };
        let mut slice = Slice::new(step);
        // Without a log there is the result still.
        if actions.log(job, |line| slice.line(line, &mut keep)).is_ok() {
            slice.finish(&mut keep);
            context.ui.note(&format!("{} / {}:", plain(&job.name), plain(&step.name)));
            last.iter().for_each(|line| context.ui.note(&format!("  {line}")));
        }
    }
}

fn time(from: Option<jiff::Timestamp>, to: Option<jiff::Timestamp>) -> String {
    let text = took(from, to);
    if text.is_empty() { text } else { format!(" ({text})") }
}

fn line(change: &Change<'_>) -> String {
    match change {
        Change::Run(run) if run.phase() == Phase::Ended => {
            format!("run {}: {}{}", run.id, run.word(), time(run.started, run.updated))
        }
        Change::Run(run) => format!("run {}: {} · {}", run.id, run.word(), headline(run)),
        Change::Job(job) => match job.ended() {
            Some(Conclusion::Skipped) => format!("{}: {}", plain(&job.name), job.word()),
            Some(_) => format!("{}: {}{}", plain(&job.name), job.word(), time(job.started, job.completed)),
            None => format!("{}: {}", plain(&job.name), job.word()),
        },
        Change::Step(job, step) => {
            format!(
                "{} / {}: {}{}",
                plain(&job.name),
                plain(&step.name),
                step.word(),
                if step.phase() == Phase::Ended { time(step.started, step.completed) } else { String::new() }
            )
        }
    }
}

fn object(change: &Change<'_>) -> String {
    let value = match change {
        Change::Run(run) => json!({ "type": "run", "run": run.json() }),
        Change::Job(job) => {
            let mut value = job.json();
            if let Some(map) = value.as_object_mut() {
                map.remove("steps");
            }
            json!({ "type": "job", "job": value })
        }
        Change::Step(job, step) => json!({ "type": "step", "job": job.name, "jobId": job.id, "step": step.json() }),
    };
    value.to_string()
}

/// Draws over what was drawn before; gives the number of lines. What has no room is left out at the top.
fn draw(now: &Snapshot, before: usize, context: &Context<'_>) -> Result<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok().filter(|size| size.ws_row > 0 && size.ws_col > 0);
    let (rows, columns) =
        size.map_or((24, 80), |size| (usize::from(size.ws_row).max(4), usize::from(size.ws_col).max(20)));
    let ended = now.run.phase() == Phase::Ended;
    let text = tree(&now.run, &now.jobs, context.ui.colour, (!ended).then(jiff::Timestamp::now));
    let lines: Vec<&str> = text.lines().collect();
    // The end is shown in full: it stays.
    let from = if ended { 0 } else { lines.len().saturating_sub(rows - 1) };
    let mut out = String::new();
    if before > 0 {
        out.push_str(&format!("\x1b[{before}A"));
    }
    out.push_str("\x1b[J");
    for line in &lines[from..] {
        out.push_str(&cut(line, columns - 1));
        out.push('\n');
    }
    let mut stderr = std::io::stderr().lock();
    match stderr.write_all(out.as_bytes()).and_then(|()| stderr.flush()) {
        Ok(()) => Ok(lines.len() - from),
        Err(error) => {
            Err(CliError::failed(format!("cannot write to the terminal: {}", crate::error::plain_io(&error))))
        }
    }
}

/// At most this many columns; sequences of colours have none.
fn cut(line: &str, columns: usize) -> String {
    use unicode_width::UnicodeWidthChar as _;
    let (mut out, mut width, mut escape) = (String::new(), 0, false);
    for c in line.chars() {
        escape |= c == '\x1b';
        let wide = if escape { 0 } else { c.width().unwrap_or(0) };
        if width + wide > columns {
            break;
        }
        width += wide;
        out.push(c);
        escape &= c != 'm';
    }
    out
}
