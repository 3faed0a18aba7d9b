//! `cooperage factory workflow`: CI that builds the enrolled images.
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use factory::Graph;
use factory::enrol::{Managed, Source};
use factory::init::repository_of;
use gitops::ci::{self, Pipeline, github, gitlab};

use super::{FileArgs, Place, shown};
use crate::app::Context;
use crate::error::{CliError, Result};

const RUNNER: &str = concat!("ghcr.io/cooperage-build/cooperage:", env!("CARGO_PKG_VERSION"));
const ACTION: &str = concat!("cooperage-build/cooperage@v", env!("CARGO_PKG_VERSION"));

/// Write a workflow for CI.
#[derive(Debug, Args)]
pub(crate) struct WorkflowArgs {
    #[command(subcommand)]
    command: WorkflowCommand,
}

#[derive(Debug, Subcommand)]
enum WorkflowCommand {
    /// For GitHub Actions: .github/workflows/images.yml
    Github(Box<GithubArgs>),
    /// For GitLab CI: .gitlab/images.yml, to be included in .gitlab-ci.yml
    Gitlab(Box<GitlabArgs>),
}

#[derive(Debug, Args)]
struct GithubArgs {
    /// The workflow's name
    #[arg(long, value_name = "NAME", default_value = "Images")]
    name: String,
    /// The action that installs cooperage; name a commit to pin it
    #[arg(long, value_name = "OWNER/NAME@REF", default_value = ACTION)]
    action: String,
    /// The runner
    #[arg(long, value_name = "LABEL", default_value = "ubuntu-24.04")]
    runner: String,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Args)]
struct GitlabArgs {
    /// The image of the jobs: cooperage, git and a shell
    #[arg(long, value_name = "IMAGE", default_value = RUNNER)]
    runner: String,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Args)]
struct CommonArgs {
    /// A branch whose pushes are built (default: the branches of the images here)
    #[arg(long, value_name = "BRANCH")]
    branch: Vec<String>,
    /// A pattern of tags whose pushes are built
    #[arg(long, value_name = "PATTERN", default_value = "v*")]
    tags: Vec<String>,
    /// Leave out SBOM and provenance, and on GitHub its attestations of them
    #[arg(long)]
    no_attest: bool,
    /// When base images are checked and what is due is rebuilt (GitLab: whether; the time is set in the project's
    /// pipeline schedules); none: never
    #[arg(long, value_name = "CRON", default_value = "23 4 * * *")]
    schedule: String,
    /// The file; - for standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write nothing; fail where the file is not what would be written
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    file: FileArgs,
}

pub(super) fn run(args: &WorkflowArgs, context: &Context<'_>) -> Result<()> {
    match &args.command {
        WorkflowCommand::Github(args) => {
            let (pipeline, top) = pipeline(&args.common, context)?;
            let file = target(&args.common, &top, ".github/workflows/images.yml", context);
            let inside = file.as_ref().and_then(|file| file.strip_prefix(&top).ok());
            let options = github::Options {
                name: args.name.clone(),
                file: inside.map_or(".github/workflows/images.yml".into(), |file| file.display().to_string()),
                action: args.action.clone(),
                runner: args.runner.clone(),
                attest: !args.common.no_attest,
            };
            put(&args.common, file.as_deref(), &github::synth(&pipeline, &options), "github", context)
        }
        WorkflowCommand::Gitlab(args) => {
            let (pipeline, top) = pipeline(&args.common, context)?;
            let file = target(&args.common, &top, ".gitlab/images.yml", context);
            let options = gitlab::Options { image: args.runner.clone(), attest: !args.common.no_attest };
            put(&args.common, file.as_deref(), &gitlab::synth(&pipeline, &options), "gitlab", context)
        }
    }
}

/// The file; `None` for standard output.
fn target(args: &CommonArgs, top: &Path, usual: &str, context: &Context<'_>) -> Option<PathBuf> {
    match &args.output {
        Some(file) if file.as_os_str() == "-" => None,
        Some(file) => Some(context.env.path(file)),
        None => Some(top.join(usual)),
    }
}

fn put(args: &CommonArgs, file: Option<&Path>, text: &str, kind: &str, context: &Context<'_>) -> Result<()> {
    let Some(file) = file else {
        return context.ui.out(text);
    };
    let old = match std::fs::read_to_string(file) {
        Ok(old) => Some(old),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(CliError::io("read", file, &e)),
    };
    let (current, name) = (old.as_deref() == Some(text), shown(file, context));
    if args.check {
        if current {
            context.ui.note(&format!("{name} is current"));
            return Ok(());
        }
        let what = if old.is_some() { "is not what images.yaml asks for" } else { "is not there" };
        return Err(
            CliError::failed(format!("{name} {what}")).hint(format!("cooperage factory workflow {kind} writes it"))
        );
    }
    if current {
        context.ui.note(&format!("{name} is current"));
        return Ok(());
    }
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir).map_err(|e| CliError::io("create", dir, &e))?;
    }
    factory::init::save(file, text).map_err(|e| CliError::io("write", file, &e))?;
    context.ui.note(&format!("{name} written"));
    if kind == "gitlab" && old.is_none() && args.output.is_none() {
        context.ui.note("add to .gitlab-ci.yml: include: [{local: .gitlab/images.yml}]");
    }
    Ok(())
}

/// The enrolled images, and the top of the repository that they are listed in.
fn pipeline(args: &CommonArgs, context: &Context<'_>) -> Result<(Pipeline, PathBuf)> {
    let place = Place::open(&args.file, context)?;
    let state = place.state(context)?;
    let graph = Graph::new(&place.enrolment, &state);
    if let Some(circle) = graph.cycle() {
        return Err(super::circle_error(&circle));
    }
    let dir = context.env.path(place.enrolment.dir());
    let found = repository_of(&dir);
    let top = found.as_ref().map_or_else(
        || dir.ancestors().find(|at| at.join(".git").exists()).unwrap_or(&dir).to_owned(),
        |(top, _)| top.clone(),
    );
    let none = Default::default();
    let never = || false;
    let sources = factory::source::Sources::new(&none, &dir, &never, std::slice::from_ref(&dir));
    let below = dir.strip_prefix(&top).unwrap_or(Path::new("")).display().to_string();
    let mut images = Vec::new();
    let mut branches = args.branch.clone();
    for image in &place.enrolment.images {
        let Some(managed) = image.managed() else { continue };
        let here = managed.source.as_ref().is_none_or(|source| sources.at_hand(source).is_some());
        if let (true, Some(source), true) = (here, &managed.source, args.branch.is_empty()) {
            branches.push(source.branch.clone());
        }
        let node = graph.nodes.iter().find(|node| node.id == image.name);
        let needs = node.map(|node| node.needs.iter().map(|at| graph.nodes[*at].id.clone())).into_iter().flatten();
        let host = ["", "linux/amd64", "linux/amd64/v1"];
        images.push(ci::Image {
            name: image.name.clone(),
            registry: image.registry.clone(),
            reference: image.reference(),
            here,
            paths: paths(managed, &below),
            needs: needs.filter(|name| place.enrolment.image(name).is_some_and(|i| i.managed().is_some())).collect(),
            secrets: managed
                .secrets
                .iter()
                .filter(|secret| secret.file.is_none())
                .map(|secret| secret.env.clone().unwrap_or_else(|| secret.id.clone()))
                .collect(),
            updates: !managed.updates.is_empty(),
            requests: managed.updates.iter().any(|update| update.pull_request.is_some()),
            foreign: managed.platforms.iter().any(|platform| !host.contains(&platform.as_str())),
        });
    }
    if images.is_empty() {
        return Err(CliError::usage(format!("{} has no image that is built", shown(&place.enrolment.file, context)))
            .hint("cooperage factory add NAME --image … --source … enrols one"));
    }
    if branches.is_empty() {
        branches.push(found.map_or_else(|| "main".to_owned(), |(_, remote)| remote.branch));
    }
    branches.sort();
    branches.dedup();
    let mut tags = args.tags.clone();
    tags.retain(|tag| !tag.is_empty());
    let file = context.env.path(&place.enrolment.file);
    let file = file.strip_prefix(&top).unwrap_or(&file).display().to_string();
    let schedule = Some(args.schedule.clone()).filter(|cron| !cron.is_empty() && cron != "none");
    if let Some(cron) = schedule.as_ref().filter(|cron| cron.split_whitespace().count() != 5) {
        return Err(CliError::usage(format!("--schedule {cron:?} is no time in cron's form"))
            .hint("write five fields, such as \"23 4 * * *\", or none"));
    }
    let state = context.env.path(place.state_dir.root());
    let inside = state.strip_prefix(&top).map(|state| state.display().to_string());
    let state = match (inside, &schedule) {
        (Ok(state), _) => state,
        (Err(_), None) => String::new(),
        (Err(_), Some(_)) => {
            return Err(CliError::usage(format!("the state files in {} are not in the repository", state.display()))
                .hint("a job by the clock knows what was built by them; leave it out with --schedule none"));
        }
    };
    Ok((Pipeline { file, branches, tags, schedule, state, images }, top))
}

/// What is given, else the context's directory and the Dockerfile; none where that is everything.
fn paths(managed: &Managed, below: &str) -> Vec<String> {
    let join = |dir: &str, path: &str| match dir {
        "" => path.to_owned(),
        dir => format!("{dir}/{path}"),
    };
    let Some(source) = &managed.source else {
        let dir = managed.local.dir.as_deref().unwrap_or(".");
        let dir = join(below, dir).trim_end_matches("/.").trim_start_matches("./").to_owned();
        return if dir.is_empty() || dir == "." { Vec::new() } else { vec![format!("{dir}/**")] };
    };
    if !source.paths.is_empty() {
        return source.paths.clone();
    }
    of_context(source)
}

fn of_context(source: &Source) -> Vec<String> {
    let dockerfile = source.dockerfile_path();
    let context = source.context.as_deref().unwrap_or(".").trim_start_matches("./").trim_end_matches('/');
    if context.is_empty() || context == "." {
        return Vec::new();
    }
    let mut paths = vec![format!("{context}/**")];
    if !dockerfile.starts_with(&format!("{context}/")) {
        paths.push(dockerfile);
    }
    paths
}
