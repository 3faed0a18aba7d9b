//! `cooperage factory`: images enrolled in one file, from Dockerfile to deployment.
mod add;
mod batch;
mod beside;
mod build;
mod check_bases;
mod discover;
mod graph;
mod history;
mod init;
mod list;
mod rollback;
mod runs;
mod schema;
mod show;
mod synth;
mod validate;
mod workflow;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use factory::state::{State, StateDir, StateError};
use factory::{Enrolment, Problems};

use crate::app::Context;
use crate::error::{CliError, Result};

/// Build and keep up to date the images that images.yaml lists.
#[derive(Debug, Args)]
pub(crate) struct FactoryArgs {
    #[command(subcommand)]
    pub(crate) command: FactoryCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FactoryCommand {
    /// Write a first images.yaml from the repositories and Dockerfiles found here
    Init(init::InitArgs),
    /// Enrol one more image
    Add(add::AddArgs),
    /// List the enrolled images with their state
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    /// Show all that is known of an image
    Show(show::ShowArgs),
    /// Look for mistakes in images.yaml and the state files
    Validate(validate::ValidateArgs),
    /// Read the Dockerfiles and write which base images they use
    Discover(discover::DiscoverArgs),
    /// Ask the registries whether base images have changed, and say what is to be rebuilt
    CheckBases(Box<check_bases::CheckBasesArgs>),
    /// Show which image is made from what
    Graph(graph::GraphArgs),
    /// Build, push and tag images, and update the manifests that deploy them
    Build(Box<build::BuildArgs>),
    /// Rebuild the images whose base images have changed
    Rebuild(Box<build::RebuildArgs>),
    /// Go back to an older version, and hold the image there
    Rollback(Box<rollback::RollbackArgs>),
    /// End an image's hold: automation builds and updates it again
    Release(Box<rollback::ReleaseArgs>),
    /// Show what was published of an image: versions, digests, commits, scans, who and why
    History(Box<history::HistoryArgs>),
    /// List the runs of the pipeline
    Runs(Box<runs::RunsArgs>),
    /// Show the steps of a run and what they said
    Logs(Box<runs::LogsArgs>),
    /// Write resources for Kargo, Argo CD and Kubernetes
    Synth(synth::SynthArgs),
    /// Write the CI workflow that builds the enrolled images
    Workflow(workflow::WorkflowArgs),
    /// Print the JSON schema of images.yaml, for editors
    Schema,
}

impl FactoryArgs {
    /// Where the command builds: what it was told about it.
    pub(crate) fn builds(&self) -> Option<&crate::args::build::PlaceArgs> {
        match &self.command {
            FactoryCommand::Build(args) => Some(&args.more.place),
            FactoryCommand::Rebuild(args) => Some(&args.more.place),
            FactoryCommand::Rollback(args) => Some(&args.more.place),
            _ => None,
        }
    }
}

/// Where the factory is.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct FileArgs {
    /// The list of images (default: images.yaml here or in a directory above) [env: COOPERAGE_IMAGES]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The directory of the state files (default: beside images.yaml) [env: COOPERAGE_STATE]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

pub(crate) fn run(args: &FactoryArgs, context: &Context<'_>) -> Result<()> {
    match &args.command {
        FactoryCommand::Init(args) => init::run(args, context),
        FactoryCommand::Add(args) => add::run(args, context),
        FactoryCommand::List(args) => list::run(args, context),
        FactoryCommand::Show(args) => show::run(args, context),
        FactoryCommand::Validate(args) => validate::run(args, context),
        FactoryCommand::Discover(args) => discover::run(args, context),
        FactoryCommand::CheckBases(args) => check_bases::run(args, context),
        FactoryCommand::Build(args) => build::run(args, context),
        FactoryCommand::Rebuild(args) => build::rebuild(args, context),
        FactoryCommand::Rollback(args) => rollback::run(args, context),
        FactoryCommand::Release(args) => rollback::release(args, context),
        FactoryCommand::History(args) => history::run(args, context),
        FactoryCommand::Runs(args) => runs::list(args, context),
        FactoryCommand::Logs(args) => runs::logs(args, context),
        FactoryCommand::Graph(args) => graph::run(args, context),
        FactoryCommand::Synth(args) => synth::run(args, context),
        FactoryCommand::Workflow(args) => workflow::run(args, context),
        FactoryCommand::Schema => schema::run(context),
    }
}

/// A factory that was opened: its images and where their state is.
pub(crate) struct Place {
    pub(crate) enrolment: Enrolment,
    pub(crate) state_dir: StateDir,
}

impl Place {
    pub(crate) fn open(args: &FileArgs, context: &Context<'_>) -> Result<Self> {
        let path = args.path(context)?;
        let text = std::fs::read_to_string(&path).map_err(|e| {
            let error = CliError::usage(format!("cannot read {}: {}", path.display(), crate::error::plain_io(&e)));
            match e.kind() {
                std::io::ErrorKind::NotFound => error.hint("cooperage factory init writes a first one"),
                _ => error,
            }
        })?;
        let enrolment = Enrolment::parse(&path, &text).map_err(|problems| problems_error(&problems, context))?;
        let state_dir = match args.state.clone().or_else(|| context.env.get("COOPERAGE_STATE").map(Into::into)) {
            Some(dir) => StateDir::new(context.env.path(dir)),
            None => StateDir::beside(enrolment.dir()),
        };
        Ok(Self { enrolment, state_dir })
    }

    pub(crate) fn state(&self, context: &Context<'_>) -> Result<State> {
        self.state_dir.load().map_err(|error| state_error(&error, context))
    }

    /// The image of a name, or an error that says which there are.
    pub(crate) fn image(&self, name: &str) -> Result<&factory::enrol::Image> {
        self.enrolment.image(name).ok_or_else(|| {
            let error = CliError::usage(format!("no image {name:?} is enrolled in {}", self.enrolment.file.display()));
            match self.enrolment.nearest(name) {
                Some(near) => error.hint(format!("did you mean {near}?")),
                None => error.hint("cooperage factory list shows those that are; cooperage factory add enrols one"),
            }
        })
    }
}

impl FileArgs {
    /// The file that was named, else the nearest `images.yaml`, else where one would be.
    pub(crate) fn path(&self, context: &Context<'_>) -> Result<PathBuf> {
        if let Some(file) = self.file.clone().or_else(|| context.env.get("COOPERAGE_IMAGES").map(PathBuf::from)) {
            let path = context.env.path(file);
            return Ok(if path.is_dir() { path.join("images.yaml") } else { path });
        }
        let found = context.env.cwd.ancestors().map(|dir| dir.join("images.yaml")).find(|path| path.is_file());
        Ok(found.unwrap_or_else(|| context.env.cwd.join("images.yaml")))
    }
}

/// Seconds since 1970; `SOURCE_DATE_EPOCH` says nothing about when something was looked at.
pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

pub(crate) fn circle_error(circle: &[String]) -> CliError {
    CliError::failed(format!("images are made from each other in a circle: {}", circle.join(" → ")))
        .hint("each would have to be built before the other; build one of them FROM something else")
        .hint("cooperage factory discover reads the Dockerfiles anew")
}

/// A path as the user would write it.
pub(crate) fn shown(path: &Path, context: &Context<'_>) -> String {
    path.strip_prefix(&context.env.cwd).unwrap_or(path).display().to_string()
}

/// What is wrong with a file, each with its place, as one error.
pub(crate) fn problems_error(problems: &Problems, context: &Context<'_>) -> CliError {
    let relative = Problems { file: shown(&problems.file, context).into(), list: problems.list.clone() };
    let count = match relative.list.len() {
        1 => "is 1 mistake".to_owned(),
        many => format!("are {many} mistakes"),
    };
    CliError::usage(format!("there {count} in {}", relative.file.display())).with_report(relative.to_string())
}

pub(crate) fn state_error(error: &StateError, context: &Context<'_>) -> CliError {
    match error {
        StateError::Content(problems) => problems_error(problems, context),
        error => CliError::failed(error.to_string()),
    }
}

/// Columns, each as wide as its widest cell.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    use unicode_width::UnicodeWidthStr;
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width - cell.width() + 3));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// The first digits of a digest, for tables.
pub(crate) fn short(digest: &str) -> String {
    match digest.split_once(':') {
        Some((algorithm, hex)) if hex.len() > 12 && hex.is_ascii() => format!("{algorithm}:{}", &hex[..12]),
        _ => digest.to_owned(),
    }
}
