//! `cooperage remote`: runs of GitHub Actions workflows from where one sits.
mod place;
mod show;
mod watch;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, Subcommand};
use gitops::actions::{Actions, Conclusion, Error, Filter, Run};

use crate::app::Context;
use crate::error::{CliError, Result};
use place::PlaceArgs;
use watch::WatchOptions;

const TEMPLATE: &str = "\
{about}

Examples:
  cooperage remote dispatch build-images.yml --watch          start a run and follow it to its end
  cooperage remote dispatch build.yml --input version=1.2     with inputs
  git push && cooperage remote watch --commit                 follow the run of the commit that was just pushed
  cooperage remote status                                     the last runs
  cooperage remote logs                                       what the failed steps of the last run said
  cooperage remote rerun --failed --watch                     run what failed again
  cooperage remote cancel                                     end the last run of the branch

{usage-heading} {usage}

{all-args}{after-help}

The token is GH_TOKEN or GITHUB_TOKEN (or in a file: --env-file .env.local); for a server of your own
GH_ENTERPRISE_TOKEN. The repository is that of the git remote, GH_REPO or --repo.
";

/// Start and follow workflow runs of GitHub Actions.
#[derive(Debug, Args)]
#[command(help_template = TEMPLATE)]
pub(crate) struct RemoteArgs {
    #[command(subcommand)]
    command: RemoteCommand,
}

#[derive(Debug, Subcommand)]
enum RemoteCommand {
    /// Start a run of a workflow
    Dispatch(Box<DispatchArgs>),
    /// Follow a run, and exit with its result
    Watch(Box<WatchArgs>),
    /// List the last runs, or show the jobs and steps of one
    #[command(visible_alias = "list")]
    Status(Box<StatusArgs>),
    /// Show what the failed steps of a run said, or its jobs
    Logs(Box<LogsArgs>),
    /// Run a run's jobs again
    Rerun(Box<RerunArgs>),
    /// End a run that is not over
    Cancel(Box<CancelArgs>),
}

#[derive(Debug, Args)]
struct DispatchArgs {
    /// The workflow: its file, name or number
    #[arg(value_name = "WORKFLOW")]
    workflow: String,
    /// The branch or tag (default: the repository's default branch)
    #[arg(long = "ref", value_name = "REF")]
    git_ref: Option<String>,
    /// An input of the workflow
    #[arg(long, short, value_name = "NAME=VALUE")]
    input: Vec<String>,
    /// Follow the run, and exit with its result
    #[arg(long, short)]
    watch: bool,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
struct WatchArgs {
    /// The run's number (default: the newest run of the branch that is checked out)
    #[arg(value_name = "RUN")]
    run: Option<u64>,
    #[command(flatten)]
    which: WhichArgs,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
struct StatusArgs {
    /// The run's number
    #[arg(value_name = "RUN")]
    run: Option<u64>,
    #[command(flatten)]
    which: WhichArgs,
    /// List this many runs
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10)]
    limit: usize,
    /// text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
struct LogsArgs {
    /// The run's number (default: the newest run of the branch that is checked out)
    #[arg(value_name = "RUN")]
    run: Option<u64>,
    #[command(flatten)]
    which: WhichArgs,
    /// Jobs whose name holds this, in the place of those that failed
    #[arg(long, value_name = "NAME")]
    job: Option<String>,
    /// All steps of all jobs
    #[arg(long, conflicts_with = "job")]
    all: bool,
    /// Leave the times of the lines
    #[arg(long)]
    timestamps: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
struct RerunArgs {
    /// The run's number (default: the newest run of the branch that is checked out)
    #[arg(value_name = "RUN")]
    run: Option<u64>,
    #[command(flatten)]
    which: WhichArgs,
    /// Only the jobs that failed, and those that need them
    #[arg(long)]
    failed: bool,
    /// Let runner and steps say more
    #[arg(long)]
    verbose: bool,
    /// Follow the run, and exit with its result
    #[arg(long, short)]
    watch: bool,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
struct CancelArgs {
    /// The run's number (default: the newest run of the branch that is checked out)
    #[arg(value_name = "RUN")]
    run: Option<u64>,
    #[command(flatten)]
    which: WhichArgs,
    /// Do not wait for steps that run although the run is cancelled (if: always())
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Which run, where it has no number.
#[derive(Debug, Clone, Default, Args)]
struct WhichArgs {
    /// A run of this workflow: its file, name or number
    #[arg(long, value_name = "WORKFLOW")]
    workflow: Option<String>,
    /// A run of this branch; - for any
    #[arg(long, short, value_name = "BRANCH")]
    branch: Option<String>,
    /// A run of this commit (default: the one that is checked out); waits for one to appear
    #[arg(long, value_name = "COMMIT", num_args = 0..=1, default_missing_value = "HEAD")]
    commit: Option<String>,
}

/// How a run is followed.
#[derive(Debug, Clone, Args)]
struct FollowArgs {
    /// auto, tree (redrawn, on a terminal), plain (a line for each change) or json (an object for each)
    #[arg(long, value_name = "FORMAT", default_value = "auto", value_parser = ["auto", "tree", "plain", "json"])]
    format: String,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = interval)]
    interval: Duration,
}

fn interval(text: &str) -> std::result::Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.01..=3600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("write seconds between 0.01 and 3600".into()),
    }
}

impl FollowArgs {
    fn options(&self, context: &Context<'_>) -> WatchOptions {
        let json = self.format == "json";
        let tree = self.format == "tree" || (self.format == "auto" && context.env.smart_terminal());
        WatchOptions { json, tree, interval: self.interval }
    }
}

pub(crate) fn run(args: &RemoteArgs, context: &Context<'_>) -> Result<()> {
    match &args.command {
        RemoteCommand::Dispatch(args) => dispatch(args, context),
        RemoteCommand::Watch(args) => {
            let (actions, here) = args.place.open(context, false)?;
            let run = pick(&actions, &here, args.run, &args.which, true, context)?;
            watch::follow(&actions, run, &args.follow.options(context), context)
        }
        RemoteCommand::Status(args) => status(args, context),
        RemoteCommand::Logs(args) => {
            let (actions, here) = args.place.open(context, true)?;
            let run = pick(&actions, &here, args.run, &args.which, false, context)?;
            let what = show::Logs { job: args.job.as_deref(), all: args.all, timestamps: args.timestamps };
            show::logs(&actions, &run, &what, context)
        }
        RemoteCommand::Cancel(args) => {
            let (actions, here) = args.place.open(context, true)?;
            let run = pick(&actions, &here, args.run, &args.which, false, context)?;
            if run.ended().is_some() {
                context.ui.note(&format!("run {} is over: {}", run.id, run.word()));
                return Ok(());
            }
            actions.cancel(&run, args.force).map_err(wrong)?;
            context.ui.out(&format!("run {} is being cancelled: {}\n", run.id, run.url))
        }
        RemoteCommand::Rerun(args) => {
            let (actions, here) = args.place.open(context, true)?;
            let run = pick(&actions, &here, args.run, &args.which, false, context)?;
            actions.rerun(&run, args.failed, args.verbose).map_err(wrong)?;
            if !args.watch {
                return context.ui.out(&format!("run {} runs again: {}\n", run.id, run.url));
            }
            // It takes a moment until the new attempt is there.
            let mut again = run.clone();
            for _ in 0..40 {
                again = actions.run(run.id).map_err(wrong)?;
                if again.attempt > run.attempt {
                    break;
                }
                actions.pause(args.follow.interval.min(Duration::from_millis(500))).map_err(wrong)?;
            }
            watch::follow(&actions, again, &args.follow.options(context), context)
        }
    }
}

fn dispatch(args: &DispatchArgs, context: &Context<'_>) -> Result<()> {
    let mut inputs = BTreeMap::new();
    for input in &args.input {
        let (name, value) = input
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| CliError::usage(format!("--input {input}: write it as NAME=VALUE")))?;
        inputs.insert(name.to_owned(), value.to_owned());
    }
    let (actions, _) = args.place.open(context, true)?;
    let workflow = workflow(&actions, &args.workflow)?;
    let git_ref = match &args.git_ref {
        Some(git_ref) => git_ref.clone(),
        None => actions.default_branch().map_err(wrong)?,
    };
    let found = actions.dispatch(&workflow, &git_ref, &inputs, Duration::from_secs(60)).map_err(wrong)?;
    if found.others > 0 {
        context.ui.warn(&format!(
            "{} more runs of {workflow} began in the same moment; this may be one of them",
            found.others
        ));
    }
    let options = args.follow.options(context);
    if args.watch {
        return watch::follow(&actions, found.run, &options, context);
    }
    match options.json {
        true => context.ui.out(&format!("{}\n", found.run.json())),
        false => {
            context.ui.out(&format!("{}\n", found.run.url))?;
            context.ui.note(&format!(
                "run {} of {workflow} on {git_ref}; to follow it: cooperage remote watch {}",
                found.run.id, found.run.id
            ));
            Ok(())
        }
    }
}

fn status(args: &StatusArgs, context: &Context<'_>) -> Result<()> {
    let json = args.format == "json";
    let (actions, here) = args.place.open(context, false)?;
    if args.run.is_some() || args.which.commit.is_some() {
        let run = pick(&actions, &here, args.run, &args.which, false, context)?;
        let jobs = actions.jobs(&run).map_err(wrong)?;
        if json {
            let mut value = run.json();
            value["jobs"] = jobs.iter().map(gitops::actions::Job::json).collect();
            return context.ui.out(&format!("{value:#}\n"));
        }
        return context.ui.out(&show::tree(&run, &jobs, context.env.stdout_terminal && context.ui.colour, None));
    }
    let filter = Filter {
        workflow: args.which.workflow.as_deref().map(|name| workflow(&actions, name)).transpose()?,
        branch: args.which.branch.clone().filter(|branch| branch != "-"),
        limit: args.limit,
        ..Filter::default()
    };
    let runs = actions.runs(&filter).map_err(wrong)?;
    if json {
        let list: Vec<_> = runs.iter().map(Run::json).collect();
        return context.ui.out(&format!("{:#}\n", serde_json::Value::from(list)));
    }
    if runs.is_empty() {
        context.ui.note("there are no such runs");
        return Ok(());
    }
    context.ui.out(&show::table(&runs))
}

/// The file or number of a workflow that was named in any way.
fn workflow(actions: &Actions<'_>, name: &str) -> Result<String> {
    let known = actions.workflows().map_err(wrong)?;
    let base = name.rsplit('/').next().unwrap_or(name);
    let found = known
        .iter()
        .find(|workflow| workflow.path == name || workflow.file() == base || workflow.id.to_string() == name);
    let found = found.or_else(|| known.iter().find(|workflow| workflow.name == name));
    let Some(found) = found else {
        let list: Vec<String> = known.iter().map(|w| format!("{} ({})", w.file(), w.name)).collect();
        let error = CliError::usage(format!("there is no workflow {name:?} on the default branch"));
        return Err(match list.is_empty() {
            true => error.hint("the repository has no workflows; cooperage factory workflow github writes one"),
            false => error.hint(format!("there are {}", list.join(", "))),
        });
    };
    if found.state.starts_with("disabled") {
        return Err(CliError::failed(format!("the workflow {} is disabled", found.file()))
            .hint("enable it on the repository's page: Actions, the workflow, Enable workflow"));
    }
    Ok(found.file().to_owned())
}

/// The run of a number, or the newest one.
fn pick(
    actions: &Actions<'_>,
    here: &place::Here,
    id: Option<u64>,
    which: &WhichArgs,
    wait: bool,
    context: &Context<'_>,
) -> Result<Run> {
    if let Some(id) = id {
        return actions.run(id).map_err(wrong);
    }
    let mut filter = Filter { limit: 1, ..Filter::default() };
    filter.workflow = which.workflow.as_deref().map(|name| workflow(actions, name)).transpose()?;
    if let Some(commit) = &which.commit {
        filter.sha = Some(here.commit(commit, context)?);
    } else {
        filter.branch = which.branch.clone().or_else(|| here.branch(context)).filter(|branch| branch != "-");
    }
    let mut patience = if wait && filter.sha.is_some() { 30 } else { 0 };
    loop {
        if let Some(run) = actions.runs(&filter).map_err(wrong)?.into_iter().next() {
            return Ok(run);
        }
        if patience == 0 {
            break;
        }
        patience -= 1;
        actions.pause(Duration::from_secs(2)).map_err(wrong)?;
    }
    let of = match (&filter.sha, &filter.branch) {
        (Some(sha), _) => format!(" of commit {}", &sha[..sha.len().min(12)]),
        (None, Some(branch)) => format!(" of branch {branch}"),
        (None, None) => String::new(),
    };
    Err(CliError::failed(format!("there is no run{of}"))
        .hint("cooperage remote status lists all runs; cooperage remote dispatch WORKFLOW starts one"))
}

/// A run's result as the command's.
fn result(run: &Run) -> Result<()> {
    match run.ended() {
        Some(Conclusion::Success | Conclusion::Skipped) | None => Ok(()),
        Some(Conclusion::Cancelled) => Err(CliError::failed(format!("run {} was cancelled", run.id))),
        Some(Conclusion::Failure) => Err(CliError::failed(format!("run {} ended with {}", run.id, run.word()))
            .hint(format!("cooperage remote logs {} shows what failed", run.id))
            .hint(format!("cooperage remote rerun {} --failed runs it again", run.id))),
    }
}

fn wrong(error: Error) -> CliError {
    if matches!(error, Error::Stopped) {
        return CliError::interrupted();
    }
    let hints = error.hints();
    hints.into_iter().fold(CliError::failed(error.to_string()), CliError::hint)
}
