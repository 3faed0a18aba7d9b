//! `cooperage factory synth`: resources for Kargo, Argo CD and Kubernetes, from images.yaml and the state files.
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use factory::enrol::{Image, Managed, Source};
use factory::state::{State, Status};
use gitops::synth::{Enrolment, argocd, kargo, kubernetes};

use super::{FileArgs, Place, shown};
use crate::app::Context;
use crate::error::{CliError, Result};

/// The image of this program, where none is given.
const RUNNER: &str = concat!("ghcr.io/cooperage-build/cooperage:", env!("CARGO_PKG_VERSION"));

/// Write resources for a cluster.
#[derive(Debug, Args)]
pub(crate) struct SynthArgs {
    #[command(subcommand)]
    command: SynthCommand,
}

#[derive(Debug, Subcommand)]
enum SynthCommand {
    /// Kargo: Project, Warehouses and Stages for the enrolled images and their bases
    Kargo(Box<KargoArgs>),
    /// Argo CD: an Application that keeps a directory of manifests in a cluster
    Argocd(ArgocdArgs),
    /// Kubernetes: a runner that builds in the cluster
    Kubernetes(Box<KubernetesArgs>),
}

#[derive(Debug, Args)]
struct KargoArgs {
    /// The Kargo Project and its namespace
    #[arg(long, value_name = "NAME", default_value = "image-factory-kargo")]
    project: String,
    /// The image of cooperage that the Jobs run
    #[arg(long, value_name = "IMAGE", default_value = RUNNER)]
    runner: String,
    /// The Secret whose key `token` may read the sources and dispatch workflows
    #[arg(long, value_name = "NAME")]
    token_secret: Option<String>,
    /// The Secret of type kubernetes.io/dockerconfigjson with registry credentials for the Jobs
    #[arg(long, value_name = "NAME")]
    registry_secret: Option<String>,
    /// Inputs of the GitHub workflows, and variables of the GitLab pipelines, that rebuild
    #[arg(long = "workflow-input", value_name = "KEY=VALUE", default_value = "version_bump=patch")]
    inputs: Vec<String>,
    /// How often the registries and sources of built images are asked
    #[arg(long, value_name = "TIME", default_value = "5m0s")]
    interval: String,
    /// How often the registries of base images are asked
    #[arg(long, value_name = "TIME", default_value = "24h0m0s")]
    base_interval: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    file: FileArgs,
}

#[derive(Debug, Args)]
struct ArgocdArgs {
    /// The git repository that holds the manifests
    #[arg(long, value_name = "URL")]
    repo: String,
    /// Their directory in it
    #[arg(long, value_name = "PATH")]
    path: String,
    /// The branch, tag or commit
    #[arg(long, value_name = "REVISION", default_value = "main")]
    revision: String,
    /// The Application's name
    #[arg(long, value_name = "NAME", default_value = "image-factory")]
    name: String,
    /// Argo CD's namespace
    #[arg(long, value_name = "NAMESPACE", default_value = "argocd")]
    argocd_namespace: String,
    /// Argo CD's project
    #[arg(long, value_name = "NAME", default_value = "default")]
    project: String,
    /// The namespace that the resources go to
    #[arg(long, value_name = "NAMESPACE", default_value = "image-factory-kargo")]
    namespace: String,
    /// Sync only when asked to
    #[arg(long)]
    manual: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
struct KubernetesArgs {
    /// The name of all resources
    #[arg(long, value_name = "NAME", default_value = "cooperage")]
    name: String,
    /// The namespace
    #[arg(long, value_name = "NAMESPACE", default_value = "image-factory")]
    namespace: String,
    /// The image of cooperage
    #[arg(long, value_name = "IMAGE", default_value = RUNNER)]
    runner: String,
    /// deployment, job or cronjob
    #[arg(long, value_name = "KIND", default_value = "deployment", value_parser = ["deployment", "job", "cronjob"])]
    workload: String,
    /// When a cronjob runs
    #[arg(long, value_name = "CRON", default_value = "0 3 * * *")]
    schedule: String,
    /// The Secret of type kubernetes.io/dockerconfigjson with registry credentials
    #[arg(long, value_name = "NAME")]
    registry_secret: Option<String>,
    /// The Secret whose keys become environment variables
    #[arg(long, value_name = "NAME")]
    environment_secret: Option<String>,
    /// A ConfigMap of yours with images.yaml, mounted at /etc/cooperage (default: where there is an images.yaml here, one
    /// is written with it and with what it names beside it)
    #[arg(long, value_name = "NAME")]
    config_map: Option<String>,
    /// The size of the cache volume; none: the cache lives as long as the pod
    #[arg(long, value_name = "SIZE", default_value = "20Gi")]
    cache: String,
    /// CPU request
    #[arg(long, value_name = "CPU", default_value = "500m")]
    cpu: String,
    /// CPU limit; none where it is not given
    #[arg(long, value_name = "CPU")]
    cpu_limit: Option<String>,
    /// Memory request and limit
    #[arg(long, value_name = "SIZE", default_value = "1Gi")]
    memory: String,
    /// TCP ports that the runner may reach, besides DNS
    #[arg(long = "egress-port", value_name = "PORT", default_values_t = [80, 443])]
    egress_ports: Vec<u16>,
    /// What the runner does (deployment: keep a registry for the pod itself running; job: build all images; cronjob: ask
    /// for new base images and rebuild what is due)
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    file: FileArgs,
}

/// Where the resources go.
#[derive(Debug, Args)]
struct OutputArgs {
    /// Write to this file, if its content changes
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl OutputArgs {
    fn write(&self, text: &str, context: &Context<'_>) -> Result<()> {
        let Some(path) = &self.output else { return context.ui.out(text) };
        let path = context.env.path(path);
        if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        factory::init::save(&path, text).map_err(|e| CliError::io("write", &path, &e))
    }
}

pub(super) fn run(args: &SynthArgs, context: &Context<'_>) -> Result<()> {
    let wrong = |error: gitops::synth::Error| match error {
        gitops::synth::Error::TooLarge { .. } => CliError::usage(error.to_string())
            .hint("let these images be built from a repository (source), or leave files out with .dockerignore"),
        error => CliError::usage(error.to_string()),
    };
    match &args.command {
        SynthCommand::Kargo(args) => {
            let place = Place::open(&args.file, context)?;
            let state = place.state(context)?;
            let file = &place.enrolment.file;
            let beside = super::beside::collect(&place, context)?;
            let project = project(args, &place.enrolment.images, &state, beside)?;
            let unknown = |image: &&kargo::Image| {
                image.bases.is_empty()
                    && state.images.get(&image.enrolled).is_none_or(|state| state.status != Status::Complete)
            };
            let unknown: Vec<&str> =
                project.images.iter().filter(unknown).map(|image| image.enrolled.as_str()).collect();
            if !unknown.is_empty() {
                let (names, file) = (unknown.join(", "), shown(file, context));
                context.ui.note(&format!(
                    "{file}: what {names} are made from is not known yet; cooperage factory discover finds it"
                ));
            }
            for (name, hold) in state.images.iter().filter_map(|(name, of)| Some((name, of.hold.as_ref()?))) {
                context.ui.note(&format!("{name} is held ({}): no Stage rebuilds it", hold.reason));
            }
            args.output.write(&kargo::synth(&project).map_err(wrong)?, context)
        }
        SynthCommand::Argocd(args) => {
            let application = argocd::Application {
                name: args.name.clone(),
                namespace: args.argocd_namespace.clone(),
                project: args.project.clone(),
                repo_url: args.repo.clone(),
                revision: args.revision.clone(),
                path: args.path.clone(),
                destination: args.namespace.clone(),
                automated: !args.manual,
            };
            args.output.write(&argocd::synth(&application).map_err(wrong)?, context)
        }
        SynthCommand::Kubernetes(args) => {
            args.output.write(&kubernetes::synth(&runner(args, context)?).map_err(wrong)?, context)
        }
    }
}

fn runner(args: &KubernetesArgs, context: &Context<'_>) -> Result<kubernetes::Runner> {
    let there = args.file.file.is_some() || args.file.path(context)?.is_file();
    let enrolment = match (&args.config_map, there) {
        (None, true) => Some(super::beside::collect(&Place::open(&args.file, context)?, context)?),
        _ => None,
    };
    let config_map = args.config_map.clone().or_else(|| enrolment.as_ref().map(|_| format!("{}-images", args.name)));
    let or = |usual: &[&str]| match args.arguments.is_empty() {
        true => usual.iter().map(|word| (*word).to_owned()).collect(),
        false => args.arguments.clone(),
    };
    let cache = Some(args.cache.clone()).filter(|size| !size.is_empty() && size != "none");
    let usual = args.arguments.is_empty();
    if args.workload != "deployment" && usual && config_map.is_none() {
        return Err(CliError::usage(format!(
            "a {} that builds needs images.yaml, and there is none here",
            args.workload
        ))
        .hint("name it with --file, or a ConfigMap that has it with --config-map"));
    }
    let workload = match args.workload.as_str() {
        "job" => kubernetes::Workload::Job { arguments: or(&["factory", "build", "--all"]) },
        "cronjob" => {
            if usual && cache.is_none() {
                return Err(CliError::usage("a cronjob that watches base images needs a cache volume")
                    .hint("what it saw last time is kept there; leave --cache none out"));
            }
            let before = if usual { vec!["factory".to_owned(), "check-bases".to_owned()] } else { vec![] };
            let (schedule, arguments) = (args.schedule.clone(), or(&["factory", "rebuild", "--eligible"]));
            kubernetes::Workload::CronJob { schedule, before, arguments }
        }
        _ => kubernetes::Workload::Deployment { arguments: or(&["registry", "serve"]), port: None },
    };
    Ok(kubernetes::Runner {
        name: args.name.clone(),
        namespace: args.namespace.clone(),
        image: args.runner.clone(),
        workload,
        registry_secret: args.registry_secret.clone(),
        environment_secret: args.environment_secret.clone(),
        config_map,
        enrolment,
        cache,
        cpu: args.cpu.clone(),
        cpu_limit: args.cpu_limit.clone(),
        memory: args.memory.clone(),
        egress_ports: args.egress_ports.clone(),
    })
}

/// What is enrolled, in Kargo's terms. An image without a repository of its own (a Dockerfile beside images.yaml) is
/// watched only.
fn project(args: &KargoArgs, enrolled: &[Image], state: &State, enrolment: Enrolment) -> Result<kargo::Project> {
    let mut inputs = BTreeMap::new();
    for input in args.inputs.iter().filter(|input| !input.is_empty()) {
        let (key, value) = input
            .split_once('=')
            .ok_or_else(|| CliError::usage(format!("--workflow-input {input}: write it as KEY=VALUE")))?;
        inputs.insert(key.to_owned(), value.to_owned());
    }
    let (mut images, mut bases) = (Vec::new(), Vec::new());
    for image in enrolled {
        let known = state.images.get(&image.name);
        let versioned = known.is_some_and(|state| state.current_version.is_some());
        match image.managed().and_then(|managed| Some((managed, managed.source.as_ref()?))) {
            Some((managed, source)) => {
                let mut of = Vec::new();
                for base in known.map(|state| state.bases.as_slice()).unwrap_or_default() {
                    of.push(name_of_base(base, enrolled, state));
                }
                of.sort();
                of.dedup();
                images.push(kargo::Image {
                    name: kube(&image.name),
                    enrolled: image.name.clone(),
                    repository: image.reference(),
                    git_url: source.url.clone(),
                    branch: source.branch.clone(),
                    dockerfile: source.dockerfile_path(),
                    paths: source.paths.clone(),
                    versioned,
                    bases: of,
                    rebuild: match known.and_then(|state| state.hold.as_ref()) {
                        // A Job knows nothing of holds.
                        Some(_) => None,
                        None => rebuild(image, managed, source, &inputs),
                    },
                });
            }
            None => bases.push(watched(image, versioned)),
        }
    }
    let mut there: BTreeSet<String> = images.iter().map(|image| image.name.clone()).collect();
    there.extend(bases.iter().map(|base| base.name.clone()));
    for base in state.bases.values() {
        let name = name_of_base(&base.name, enrolled, state);
        let used = images.iter().any(|image| image.bases.contains(&name));
        if used && there.insert(name.clone()) {
            let digest = base.strategy == "Digest";
            bases.push(kargo::Base {
                name,
                repository: base.repo_url.clone(),
                strategy: if base.strategy.is_empty() { "Lexical".into() } else { base.strategy.clone() },
                constraint: base.tag.clone().filter(|_| digest),
                allow_tags: base.allow_tags.clone().filter(|_| !digest).into_iter().collect(),
                ignore_tags: vec![],
            });
        }
    }
    let words = ["factory", "discover", "{{args.imageName}}"];
    Ok(kargo::Project {
        name: args.project.clone(),
        runner_image: args.runner.clone(),
        analyze: words.map(str::to_owned).into(),
        token_secret: args.token_secret.clone(),
        registry_secret: args.registry_secret.clone(),
        enrolment: Some(enrolment),
        image_interval: Some(args.interval.clone()),
        base_interval: Some(args.base_interval.clone()),
        images,
        bases,
    })
}

/// The enrolled image that a base image is, else the base image's own name.
fn name_of_base(base: &str, enrolled: &[Image], state: &State) -> String {
    let url = state.bases.get(base).map(|base| base.repo_url.as_str());
    let ours = enrolled.iter().find(|image| image.managed().is_some() && Some(image.reference().as_str()) == url);
    kube(ours.map_or(base, |image| &image.name))
}

fn watched(image: &Image, versioned: bool) -> kargo::Base {
    let selection = &image.selection;
    let (strategy, constraint) = match (image.managed().is_some(), versioned) {
        (true, true) => ("SemVer", None),
        (true, false) => ("Digest", Some("latest".to_owned())),
        (false, _) => (selection.strategy.name(), selection.constraint.clone()),
    };
    kargo::Base {
        name: kube(&image.name),
        repository: image.reference(),
        strategy: strategy.into(),
        constraint,
        allow_tags: selection.allow.clone().into_iter().collect(),
        ignore_tags: selection.ignore.clone(),
    }
}

fn rebuild(
    image: &Image,
    managed: &Managed,
    source: &Source,
    inputs: &BTreeMap<String, String>,
) -> Option<kargo::Rebuild> {
    if !managed.auto_rebuild {
        return None;
    }
    Some(match (source.provider.as_str(), &source.repo, &source.workflow) {
        ("github", Some(repository), Some(workflow)) => kargo::Rebuild::GitHub {
            api: "https://api.github.com".into(),
            repository: repository.clone(),
            workflow: workflow.clone(),
            inputs: inputs.clone(),
        },
        ("gitlab", Some(repository), _) => {
            // As the pipeline knows them that `factory workflow gitlab` writes.
            let named = |key: &String| if key == "version_bump" { "BUMP".to_owned() } else { key.clone() };
            let mut variables: BTreeMap<String, String> =
                inputs.iter().map(|(key, value)| (named(key), value.clone())).collect();
            variables.insert("IMAGE".into(), image.name.clone());
            kargo::Rebuild::GitLab {
                api: "https://gitlab.com/api/v4".into(),
                repository: repository.clone(),
                variables,
            }
        }
        _ => kargo::Rebuild::Job { arguments: ["factory", "build", "{{args.imageName}}"].map(str::to_owned).into() },
    })
}

/// A name as Kubernetes takes it.
fn kube(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' };
    name.chars().map(letter).collect::<String>().trim_matches(['-', '.']).to_owned()
}
