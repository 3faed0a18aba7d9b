//! Stages: which are needed, what they start from, what they become.
use super::args;
use super::dispatch::{PlanInput, StageState};
use super::env::Env;
use super::op::{CopyItem, CopyOp, Op, OpKind, SourceRef};
use crate::epoch::NAME as EPOCH;
use crate::error::{BuildError, Kind, Result};
use dockerfile::ast::{self, Dockerfile, MountKind};
use oci::{Descriptor, Digest, ImageConfig, Platform, Reference};
use std::collections::HashMap;
use std::sync::Arc;

/// An image that a build starts from or copies from.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// The name as it was asked for, with the digest that it had.
    pub name: String,
    /// The digest of the manifest or index that the name pointed to.
    pub digest: Digest,
    /// Its config.
    pub config: ImageConfig,
    /// Its layers, lowest first: diff ID and descriptor.
    pub layers: Vec<(Digest, Descriptor)>,
    /// Where the layers' blobs are.
    pub origin: ImageOrigin,
}

/// Where an image's blobs are.
#[derive(Debug, Clone)]
pub enum ImageOrigin {
    /// In a registry.
    Registry(Reference),
    /// In an OCI layout on disk.
    Layout(std::path::PathBuf),
}

/// What the planner asks about images.
pub trait Images {
    /// The image of this name for a platform.
    ///
    /// # Errors
    /// Where the name is none, or the image cannot be found.
    fn resolve(&self, name: &str, platform: &Platform) -> Result<Arc<ResolvedImage>>;
    /// Tells that these will be asked for, so that they can be fetched at once.
    fn prefetch(&self, names: &[(String, Platform)]);
}

/// What a stage starts from.
#[derive(Debug, Clone)]
pub(crate) enum Base {
    Scratch,
    Stage(usize),
    Image(usize),
}

/// A stage that the target needs.
#[derive(Debug, Clone)]
pub(crate) struct PlannedStage {
    /// The name that progress shows; empty where the Dockerfile has a single stage.
    pub(crate) title: String,
    pub(crate) base: Base,
    /// The `FROM` line of the progress display, for images.
    pub(crate) from_line: Option<String>,
    pub(crate) platform: Platform,
    pub(crate) ops: Vec<Op>,
    /// Everything but the diff IDs and the creation time.
    pub(crate) config: ImageConfig,
    pub(crate) no_cache: bool,
}

/// What is to be done for one platform.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// In an order in which each stage stands behind what it needs.
    pub(crate) stages: Vec<PlannedStage>,
    pub(crate) target: usize,
    pub(crate) images: Vec<Arc<ResolvedImage>>,
    /// Which of `images` a name in a `FROM` means, after expansion.
    pub(crate) named: HashMap<String, usize>,
    pub(crate) epoch: Option<i64>,
    pub(crate) warnings: Vec<String>,
}

/// Evaluates the stages that the target needs.
pub(crate) fn plan(input: &PlanInput<'_>, images: &dyn Images) -> Result<Plan> {
    let file = input.dockerfile;
    let target = find_target(file, input.request.target.as_deref())?;
    let mut globals = globals(input)?;
    // The Dockerfile's own has become that of the request by now (`crate::epoch`).
    if globals.get(EPOCH).is_some() && !input.request.build_args.contains_key(EPOCH) {
        globals.set(EPOCH, &input.request.source_date_epoch.map_or_else(String::new, |seconds| seconds.to_string()));
    }
    let epoch = match input.request.build_args.get(EPOCH).map(String::as_str) {
        Some("") | None => input.request.source_date_epoch,
        Some(text) => Some(text.parse().map_err(|_| {
            BuildError::new(Kind::Input, format!("invalid SOURCE_DATE_EPOCH {text:?}: expected seconds since 1970"))
        })?),
    };
    let mut planner = Planner {
        input,
        images,
        globals,
        states: HashMap::new(),
        done: HashMap::new(),
        plan: Plan {
            stages: Vec::new(),
            target: 0,
            images: Vec::new(),
            named: HashMap::new(),
            epoch,
            warnings: Vec::new(),
        },
        image_ids: HashMap::new(),
        used_args: std::collections::BTreeSet::new(),
    };
    planner.prefetch(target);
    let place = planner.stage(target)?;
    planner.plan.target = place;
    planner.finish_config(place);
    planner.warn_unused_args();
    planner.plan.named = planner.image_ids.into_iter().map(|((name, _), id)| (name, id)).collect();
    Ok(planner.plan)
}

/// The arguments above the first `FROM`, with those of the platforms.
pub(crate) fn globals(input: &PlanInput<'_>) -> Result<Env> {
    let file = input.dockerfile;
    let target = find_target(file, input.request.target.as_deref())?;
    let stage_name = file.stages[target].from.name.as_ref().map_or("", |n| &n.value);
    let mut globals = args::platform_args(input.build_platform, input.platform, stage_name, &input.request.build_args);
    for instruction in &file.global_args {
        let ast::Kind::Arg(declared) = &instruction.kind else { continue };
        for arg in declared {
            let value = match (input.request.build_args.get(&arg.name.value), &arg.value) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(input.word(default, &globals)?),
                (None, None) => None,
            };
            if let Some(value) = value {
                globals.set(&arg.name.value, &value);
            }
        }
    }
    Ok(globals)
}

/// The stage that is to be built: by name (without case), or the last.
fn find_target(file: &Dockerfile, target: Option<&str>) -> Result<usize> {
    let Some(target) = target.filter(|t| !t.is_empty()) else { return Ok(file.stages.len() - 1) };
    if let Some(found) = find_base(file, target, file.stages.len()) {
        return Ok(found);
    }
    let names: Vec<&str> = file.stages.iter().filter_map(|s| s.from.name.as_ref()).map(|n| n.value.as_str()).collect();
    let mut error = BuildError::new(Kind::Input, format!("target stage {target:?} could not be found"));
    if let Some(near) = dockerfile::suggest::nearest(target, names.iter().copied()) {
        error = error.hint(format!("did you mean {near:?}?"));
    }
    if !names.is_empty() {
        error = error.hint(format!("the Dockerfile has these stages: {}", names.join(", ")));
    }
    Err(error)
}

/// The last stage before `limit` with this name, or the stage with this number.
fn find_stage(file: &Dockerfile, name: &str, limit: usize) -> Option<usize> {
    find_base(file, name, limit).or_else(|| name.parse::<usize>().ok().filter(|n| *n < limit))
}

/// The last stage before `limit` with this name.
fn find_base(file: &Dockerfile, name: &str, limit: usize) -> Option<usize> {
    file.stages[..limit].iter().rposition(|s| s.from.name.as_ref().is_some_and(|n| n.value.eq_ignore_ascii_case(name)))
}

pub(super) struct Planner<'a> {
    pub(super) input: &'a PlanInput<'a>,
    pub(super) images: &'a dyn Images,
    pub(super) globals: Env,
    states: HashMap<usize, StageState>,
    done: HashMap<usize, usize>,
    pub(super) plan: Plan,
    image_ids: HashMap<(String, Platform), usize>,
    pub(super) used_args: std::collections::BTreeSet<String>,
}

impl Planner<'_> {
    /// Asks for the base images of all stages that may be needed, so that they come in parallel.
    fn prefetch(&self, target: usize) {
        let file = self.input.dockerfile;
        let (mut wanted, mut seen, mut open) = (Vec::new(), vec![false; file.stages.len()], vec![target]);
        while let Some(index) = open.pop() {
            if std::mem::replace(&mut seen[index], true) {
                continue;
            }
            let stage = &file.stages[index];
            if let Ok(name) = self.input.word(&stage.from.image, &self.globals) {
                match find_base(file, &name, index) {
                    Some(base) => open.push(base),
                    None if name == "scratch" || self.input.named(&name).is_some() => {}
                    None => {
                        if let Ok(platform) = self.platform(stage) {
                            wanted.push((name, platform));
                        }
                    }
                }
            }
            for instruction in &stage.instructions {
                let mut note = |from: &str| match find_stage(file, from, index) {
                    Some(stage) => open.push(stage),
                    None if from.contains('$') || from == "scratch" || self.input.named(from).is_some() => {}
                    None => wanted.push((from.to_owned(), self.input.platform.clone())),
                };
                match &instruction.kind {
                    ast::Kind::Copy(copy) => copy.from.iter().for_each(|f| note(&f.value)),
                    ast::Kind::Run(run) => run
                        .mounts
                        .iter()
                        .filter(|m| matches!(m.kind, MountKind::Bind | MountKind::Cache))
                        .filter_map(|m| m.from.as_ref())
                        .for_each(|f| note(&f.value)),
                    _ => {}
                }
            }
        }
        self.images.prefetch(&wanted);
    }

    fn platform(&self, stage: &ast::Stage) -> Result<Platform> {
        let Some(text) = &stage.from.platform else { return Ok(self.input.platform.clone()) };
        let value = self.input.word(text, &self.globals)?;
        if value.is_empty() {
            return Err(BuildError::new(
                Kind::Dockerfile,
                format!("empty platform value from expression {}", text.value),
            )
            .at(text.span)
            .hint("declare the variable with ARG before FROM, or give it with --build-arg"));
        }
        value.parse().map_err(|e: oci::PlatformError| {
            BuildError::new(Kind::Dockerfile, format!("failed to parse platform {:?}: {e}", text.value)).at(text.span)
        })
    }

    /// Evaluates a stage of the Dockerfile (once) and says where it stands in the plan.
    pub(super) fn stage(&mut self, index: usize) -> Result<usize> {
        if let Some(done) = self.done.get(&index) {
            return Ok(*done);
        }
        let file = self.input.dockerfile;
        let stage = &file.stages[index];
        let platform = self.platform(stage)?;
        let given_name = stage.from.name.as_ref().map(|n| n.value.clone());
        let title = match (&given_name, file.stages.len()) {
            (Some(name), _) => name.clone(),
            (None, 1) => String::new(),
            (None, _) => format!("stage-{index}"),
        };
        let no_cache = self.input.request.no_cache
            || self
                .input
                .request
                .no_cache_filter
                .iter()
                .any(|f| given_name.as_ref().is_some_and(|n| n.eq_ignore_ascii_case(f)) || *f == title);

        let title = self.with_platform(title, &platform);

        // A named context with the stage's own name takes its place.
        if let Some(name) = given_name.as_deref()
            && let Some(replaced) = self.replaced(name, stage, &platform, &title, no_cache)?
        {
            return Ok(self.keep(index, replaced));
        }

        let image = self.input.word(&stage.from.image, &self.globals)?;
        if image.is_empty() {
            return Err(BuildError::new(
                Kind::Dockerfile,
                format!("base name ({}) should not be blank", stage.from.image.value),
            )
            .at(stage.from.image.span)
            .hint("give the argument a default with ARG before the first FROM, or pass it with --build-arg"));
        }
        let mut triggers = Vec::new();
        let mut state = if let Some(base) = find_base(file, &image, index) {
            let place = self.stage(base)?;
            let parent = &self.states[&base];
            let mut state = StageState::from_stage(parent, place, &self.plan.stages[place], title, no_cache);
            triggers = state.take_onbuild();
            state.from_line = None;
            state
        } else if image == "scratch" {
            StageState::scratch(&platform, title, no_cache)
        } else if let Some(state) = self.replaced(&image, stage, &platform, &title, no_cache)? {
            state
        } else {
            let id = self.image(&image, &platform).map_err(|e| self.base_error(e, stage, &image))?;
            let mut state = StageState::from_image(id, &self.plan.images[id], &platform, title, no_cache);
            triggers = state.take_onbuild();
            state
        };
        state.from_span = stage.span;
        state.count(stage, &triggers);
        self.run_stage(&mut state, stage, index, &triggers)?;
        Ok(self.keep(index, state))
    }

    fn keep(&mut self, index: usize, state: StageState) -> usize {
        let place = self.plan.stages.len();
        self.plan.stages.push(state.planned());
        self.states.insert(index, state);
        self.done.insert(index, place);
        place
    }

    /// The stage that a named context of this name stands for.
    fn replaced(
        &mut self,
        name: &str,
        stage: &ast::Stage,
        platform: &Platform,
        title: &str,
        no_cache: bool,
    ) -> Result<Option<StageState>> {
        use crate::request::ContextSource;
        let Some((key, source)) = self.input.named(name) else { return Ok(None) };
        let mut state = match source {
            ContextSource::Image(reference) => {
                let id = self.image(&reference.to_string(), platform)?;
                let mut state = StageState::from_image(id, &self.plan.images[id], platform, title.to_owned(), no_cache);
                state.take_onbuild();
                state
            }
            ContextSource::OciLayout { .. } => {
                let id = self.image(&format!("context://{key}"), platform)?;
                let mut state = StageState::from_image(id, &self.plan.images[id], platform, title.to_owned(), no_cache);
                state.take_onbuild();
                state
            }
            ContextSource::Directory(_) | ContextSource::Git(_) | ContextSource::Http(_) => {
                let mut state = StageState::scratch(platform, title.to_owned(), no_cache);
                let copy = CopyOp {
                    items: vec![CopyItem::Tree {
                        from: SourceRef::Named(key.to_owned()),
                        source: "/".to_owned(),
                        parents: None,
                        unpack: false,
                        span: stage.span,
                    }],
                    dest: "/".to_owned(),
                    chown: None,
                    chmod: None,
                    link: false,
                    exclude: Vec::new(),
                };
                state.push_op(
                    format!("[context {key}] load from client"),
                    stage.span,
                    OpKind::Copy(Box::new(copy)),
                    format!("COPY . / (from context {key})"),
                );
                state
            }
        };
        state.from_span = stage.span;
        Ok(Some(state))
    }

    /// The place of an image in the plan.
    pub(super) fn image(&mut self, name: &str, platform: &Platform) -> Result<usize> {
        let key = (name.to_owned(), platform.clone());
        if let Some(id) = self.image_ids.get(&key) {
            return Ok(*id);
        }
        let image = self.images.resolve(name, platform)?;
        let found = image.config.platform();
        if !image.config.architecture.is_empty() && platform.distance_of(&found).is_none() {
            self.plan.warnings.push(format!("{name} is an image for {found}, not for {platform}"));
        }
        self.plan.images.push(image);
        let id = self.plan.images.len() - 1;
        self.image_ids.insert(key, id);
        Ok(id)
    }

    /// What `COPY --from` and `RUN --mount=from=` name.
    pub(super) fn source(&mut self, text: &ast::Text, value: &str, index: usize) -> Result<SourceRef> {
        use crate::request::ContextSource;
        let file = self.input.dockerfile;
        if let Some(found) = find_stage(file, value, index) {
            return Ok(SourceRef::Stage(self.stage(found)?));
        }
        if value == "scratch" {
            return Err(BuildError::new(Kind::Dockerfile, "cannot copy from scratch: it has no files").at(text.span));
        }
        match self.input.named(value) {
            Some((_, ContextSource::Image(reference))) => {
                let name = reference.to_string();
                return Ok(SourceRef::Image(
                    self.image(&name, &self.input.platform.clone()).map_err(|e| e.at(text.span))?,
                ));
            }
            Some((key, ContextSource::OciLayout { .. })) => {
                let name = format!("context://{key}");
                return Ok(SourceRef::Image(
                    self.image(&name, &self.input.platform.clone()).map_err(|e| e.at(text.span))?,
                ));
            }
            Some((key, _)) => return Ok(SourceRef::Named(key.to_owned())),
            None => {}
        }
        if find_stage(file, value, file.stages.len()).is_some() {
            return Err(BuildError::new(
                Kind::Dockerfile,
                format!("cannot copy from stage {value:?}: it must be defined before the stage that copies from it"),
            )
            .at(text.span)
            .hint("move the stage up, or copy in a later stage"));
        }
        if value.parse::<usize>().is_ok() {
            return Err(BuildError::new(Kind::Dockerfile, format!("invalid stage index {value}"))
                .at(text.span)
                .hint(format!("stages before this one have the numbers 0 to {}", index.saturating_sub(1))));
        }
        let platform = self.input.platform.clone();
        Ok(SourceRef::Image(self.image(value, &platform).map_err(|e| self.suggest_stage(e, value).at(text.span))?))
    }

    fn base_error(&self, error: BuildError, stage: &ast::Stage, image: &str) -> BuildError {
        self.suggest_stage(error, image).at(stage.from.image.span)
    }

    /// A name that is nearly a stage's name was probably meant to be one.
    fn suggest_stage(&self, error: BuildError, name: &str) -> BuildError {
        let names = self.input.dockerfile.stages.iter().filter_map(|s| s.from.name.as_ref()).map(|n| n.value.as_str());
        match dockerfile::suggest::nearest(name, names) {
            Some(near) => error.hint(format!("did you mean the stage {near:?}?")),
            None => error,
        }
    }

    /// A build for several platforms says in each step's name which one it is for, and from which one it is built.
    fn with_platform(&self, title: String, platform: &Platform) -> String {
        if self.input.request.platforms.len() < 2 {
            return title;
        }
        let target = self.input.platform;
        let built_for =
            if platform == target { String::new() } else { format!("->{}", target.to_string().replace("linux/", "")) };
        format!("{platform}{built_for} {title}").trim_end().to_owned()
    }

    /// `--label` and the target platform go into the config of the target alone.
    fn finish_config(&mut self, place: usize) {
        let config = &mut self.plan.stages[place].config;
        for (key, value) in &self.input.request.labels {
            config.config.labels.insert(key.clone(), value.clone());
        }
        if !self.input.request.platforms.is_empty() {
            let platform = self.input.platform;
            let same = config.os == platform.os && config.architecture == platform.architecture;
            config.os.clone_from(&platform.os);
            config.architecture.clone_from(&platform.architecture);
            if platform.variant.is_some() || !same {
                config.variant.clone_from(&platform.variant);
            }
        }
        let normal = config.platform();
        (config.os, config.architecture, config.variant) = (normal.os, normal.architecture, normal.variant);
    }

    fn warn_unused_args(&mut self) {
        let mut unused: Vec<&str> = Vec::new();
        let declared: Vec<&str> = self
            .input
            .dockerfile
            .global_args
            .iter()
            .flat_map(|i| match &i.kind {
                ast::Kind::Arg(list) => list.iter().map(|a| a.name.value.as_str()).collect(),
                _ => Vec::new(),
            })
            .collect();
        for name in self.input.request.build_args.keys() {
            let known = args::is_proxy(name)
                || args::is_builder_arg(name)
                || self.used_args.contains(name)
                || declared.contains(&name.as_str())
                || name.starts_with("TARGET")
                || name.starts_with("BUILD");
            if !known {
                unused.push(name);
            }
        }
        if !unused.is_empty() {
            self.plan.warnings.push(format!("one or more build-args [{}] were not consumed", unused.join(" ")));
        }
    }
}
