//! Walks a Dockerfile as a build would, without building: which stages are needed, what every variable
//! is where, and what each word expands to.
//!
//! The lint rules and the outline look at the walk through a `Visitor`. BuildKit's scoping holds: global
//! arguments count in `FROM` only and in a stage after `ARG NAME`; `ENV` beats `ARG`; a stage made from
//! another one inherits its variables, also its arguments. Where the environment of a base image is not
//! known, `State::complete` is false, and an undefined variable may be defined after all.
mod words;

use crate::ast::{ArgDecl, CommandLine, Dockerfile, Instruction, Kind, MountFlag, Stage, Text};
use crate::expand::{Expanded, Expander};
use crate::mount::{self, Mount};
use crate::platform::{Platform, global_args};
use crate::{Diagnostic, Span, suggest};
use std::collections::{BTreeMap, BTreeSet};

/// What a base image brings that an evaluation depends on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BaseImage {
    /// Its environment.
    pub env: Vec<(String, String)>,
    /// Whether its configuration names a shell.
    pub has_shell: bool,
}

/// Looks up a base image by the name that `FROM` expands to; `None` where it is not known.
pub type BaseImages<'a> = &'a dyn Fn(&str) -> Option<BaseImage>;

/// What a build is asked for.
#[derive(Clone)]
pub struct Options<'a> {
    /// `--build-arg`
    pub build_args: BTreeMap<String, String>,
    /// `--target`; the last stage without one.
    pub target: Option<String>,
    /// Where the build runs.
    pub build_platform: Platform,
    /// What it builds for.
    pub target_platform: Platform,
    /// The base images, as far as they are known.
    pub base_images: BaseImages<'a>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        let platform = Platform::linux("amd64");
        Options {
            build_args: BTreeMap::new(),
            target: None,
            build_platform: platform.clone(),
            target_platform: platform,
            base_images: &|_| None,
        }
    }
}

/// What is true at a place in a stage.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// `ENV`, and `ARG`s with a value.
    pub(crate) env: BTreeMap<String, String>,
    /// Every `ARG` name, also without a value.
    pub(crate) args: BTreeSet<String>,
    /// Whether the base image's environment is in `env`.
    pub(crate) complete: bool,
    /// Whether a `SHELL` is set, here or in the base image.
    pub(crate) has_shell: bool,
    /// Whether `WORKDIR` was used in this Dockerfile.
    pub(crate) workdir_set: bool,
}

impl State {
    fn lookup(&self) -> impl Fn(&str) -> Option<String> {
        |name| self.env.get(name).cloned()
    }
}

/// An expanded word of an instruction.
#[derive(Debug, Clone)]
pub(crate) struct Word {
    /// As it was written.
    pub(crate) text: Text,
    /// Expanded.
    pub(crate) value: String,
    /// The variables in it that are neither defined nor declared, each with a defined one that is near.
    pub(crate) undefined: BTreeMap<String, Option<String>>,
}

/// An `ARG` of a stage with its value.
#[derive(Debug, Clone)]
pub(crate) struct ArgValue<'a> {
    pub(crate) declaration: &'a ArgDecl,
    pub(crate) value: Option<String>,
    /// Whether the value is the global one of the same name.
    pub(crate) inherited: bool,
}

/// A global `ARG` with its value.
#[derive(Debug, Clone)]
pub(crate) struct GlobalArg<'a> {
    pub(crate) declaration: &'a ArgDecl,
    pub(crate) span: Span,
    pub(crate) value: Option<String>,
    /// The variables that its default refers to.
    pub(crate) uses: BTreeSet<String>,
}

/// Values and declarations before the first `FROM`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Globals<'a> {
    pub(crate) values: BTreeMap<String, String>,
    pub(crate) declared: Vec<GlobalArg<'a>>,
}

impl Globals<'_> {
    /// All names that `FROM` may use.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        let declared = self.declared.iter().map(|arg| arg.declaration.name.value.as_str());
        self.values.keys().map(String::as_str).chain(declared).collect()
    }
}

/// `FROM`, expanded.
pub(crate) struct FromStep<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) image: Expanded,
    pub(crate) platform: Option<Expanded>,
    pub(crate) globals: &'a Globals<'a>,
}

/// An instruction, expanded.
pub(crate) struct Step<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) instruction: &'a Instruction,
    /// The instruction, or the `FROM` that triggers it.
    pub(crate) span: Span,
    /// The words that are expanded, in the order of [`words::of`].
    pub(crate) words: Vec<Word>,
    pub(crate) args: Vec<ArgValue<'a>>,
    pub(crate) mounts: Vec<Mount>,
    /// The state in front of the instruction; of `ARG` behind it.
    pub(crate) state: &'a State,
    /// Expands as the file's escape character wants.
    pub(crate) expander: Expander,
}

/// Looks at an evaluation.
pub(crate) trait Visitor {
    /// The arguments before the first `FROM`.
    fn globals(&mut self, globals: &Globals<'_>);
    /// A stage begins. All `FROM`s come before all steps.
    fn from(&mut self, from: &FromStep<'_>);
    /// An instruction of a stage that is needed.
    fn step(&mut self, step: &Step<'_>);
}

/// How the stages depend on each other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    /// The stage that each one is made from, where it is one.
    pub(crate) base: Vec<Option<usize>>,
    /// The stages that its instructions take from.
    pub(crate) sources: Vec<BTreeSet<usize>>,
    /// The stage that is asked for.
    pub(crate) target: usize,
}

impl Graph {
    /// The target and what it needs.
    pub(crate) fn needed(&self) -> BTreeSet<usize> {
        let mut needed = BTreeSet::new();
        let mut open = vec![self.target];
        while let Some(stage) = open.pop() {
            if needed.insert(stage) {
                open.extend(self.base.get(stage).copied().flatten());
                open.extend(self.sources.get(stage).into_iter().flatten());
            }
        }
        needed
    }
}

/// Goes through a Dockerfile; `all` evaluates also the stages that the target does not need.
pub(crate) fn walk(
    dockerfile: &Dockerfile,
    options: &Options<'_>,
    all: bool,
    visitor: &mut dyn Visitor,
) -> Result<Graph, Box<Diagnostic>> {
    let expander = Expander::new(dockerfile.directives.escape);
    let globals = globals(dockerfile, options, &options.build_args)?;
    visitor.globals(&globals);
    let (images, graph) = stages(dockerfile, options, &globals, visitor)?;
    let needed = if all { (0..dockerfile.stages.len()).collect() } else { graph.needed() };
    let mut states: BTreeMap<usize, State> = BTreeMap::new();
    for stage in dockerfile.stages.iter().filter(|stage| needed.contains(&stage.index)) {
        let base = graph.base.get(stage.index).copied().flatten();
        let mut state = match base.and_then(|base| states.get(&base)) {
            Some(state) => state.clone(),
            None => image_state(images.get(stage.index).map_or("", String::as_str), options),
        };
        let mut evaluator = StageEvaluator { options, expander, globals: &globals, stage, visitor: &mut *visitor };
        let triggers = base.into_iter().flat_map(|base| &dockerfile.stages[base].instructions);
        for instruction in triggers {
            if let Kind::Onbuild(_, inner) = &instruction.kind {
                evaluator.step(&mut state, inner, stage.span)?;
            }
        }
        for instruction in &stage.instructions {
            evaluator.step(&mut state, instruction, instruction.span)?;
        }
        states.insert(stage.index, state);
    }
    Ok(graph)
}

/// The global arguments with the build arguments given; pass none for the defaults alone.
pub(crate) fn globals<'a>(
    dockerfile: &'a Dockerfile,
    options: &Options<'_>,
    build_args: &BTreeMap<String, String>,
) -> Result<Globals<'a>, Box<Diagnostic>> {
    let last =
        dockerfile.stages.last().and_then(|stage| stage.from.name.as_ref()).map(|name| name.value.to_lowercase());
    let target = options.target.clone().or(last);
    let values = global_args(&options.build_platform, &options.target_platform, target.as_deref(), &options.build_args);
    let mut globals = Globals { values, declared: Vec::new() };
    let expander = Expander::new(dockerfile.directives.escape);
    for instruction in &dockerfile.global_args {
        let Kind::Arg(declarations) = &instruction.kind else { continue };
        for declaration in declarations {
            let name = &declaration.name.value;
            let mut uses = BTreeSet::new();
            let value = match (build_args.get(name), &declaration.value) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => {
                    let expanded = word(expander, default, &|name| globals.values.get(name).cloned())?;
                    uses = expanded.used;
                    if uses.remove(name) {
                        let earlier = globals.declared.iter().rfind(|arg| arg.declaration.name.value == *name);
                        uses.extend(earlier.into_iter().flat_map(|arg| arg.uses.iter().cloned()));
                    }
                    Some(expanded.value)
                }
                (None, None) => None,
            };
            if let Some(value) = &value {
                globals.values.insert(name.clone(), value.clone());
            }
            globals.declared.push(GlobalArg { declaration, span: instruction.span, value, uses });
        }
    }
    Ok(globals)
}

/// Expands a word; an error points to it.
pub(crate) fn word(expander: Expander, text: &Text, env: crate::expand::Env<'_>) -> Result<Expanded, Box<Diagnostic>> {
    expander.word(&text.value, env).map_err(|error| {
        let message = format!("failed to process {:?}: {}", error.word, error.problem);
        Box::new(Diagnostic::error("invalid-expansion", text.span, message))
    })
}

/// Expands every `FROM` and finds out what depends on what.
fn stages(
    dockerfile: &Dockerfile,
    options: &Options<'_>,
    globals: &Globals<'_>,
    visitor: &mut dyn Visitor,
) -> Result<(Vec<String>, Graph), Box<Diagnostic>> {
    let expander = Expander::new(dockerfile.directives.escape);
    let env = |name: &str| globals.values.get(name).cloned();
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    let mut images = Vec::new();
    let mut graph = Graph::default();
    for stage in &dockerfile.stages {
        let image = word(expander, &stage.from.image, &env)?;
        if image.value.is_empty() {
            let message = format!("base name ({}) should not be blank", stage.from.image.value);
            let diagnostic = Diagnostic::error("blank-base-name", stage.from.image.span, message);
            return Err(Box::new(diagnostic.help("give the ARG a default, or pass it with --build-arg")));
        }
        let platform = stage.from.platform.as_ref().map(|text| word(expander, text, &env)).transpose()?;
        images.push(image.value.clone());
        graph.base.push(names.get(&image.value).copied());
        visitor.from(&FromStep { stage, image, platform: platform.clone(), globals });
        check_platform(stage, platform.as_ref(), globals, options)?;
        if let Some(name) = &stage.from.name {
            names.insert(name.value.to_lowercase(), stage.index);
        }
    }
    graph.sources = dockerfile.stages.iter().map(|stage| stage_sources(stage, &names)).collect();
    graph.target = match &options.target {
        None => dockerfile.stages.len().saturating_sub(1),
        Some(target) => find_target(target, &names)?,
    };
    Ok((images, graph))
}

fn check_platform(
    stage: &Stage,
    platform: Option<&Expanded>,
    globals: &Globals<'_>,
    options: &Options<'_>,
) -> Result<(), Box<Diagnostic>> {
    let (Some(text), Some(platform)) = (&stage.from.platform, platform) else { return Ok(()) };
    if Platform::parse(&platform.value, &options.target_platform).is_some() {
        return Ok(());
    }
    let message = if platform.value.is_empty() {
        format!("empty platform value from expression {}", text.value)
    } else {
        format!("failed to parse platform {}: {:?} is no platform", text.value, platform.value)
    };
    let names = globals.names();
    let near = platform.unmatched.iter().find_map(|name| suggest::nearest(name, names.iter().copied()));
    let help = match near {
        Some(near) => format!("did you mean {near}?"),
        None => "write OS/ARCHITECTURE[/VARIANT], such as linux/arm64".to_owned(),
    };
    Err(Box::new(Diagnostic::error("invalid-platform", text.span, message).help(help)))
}

/// A target is a name; BuildKit takes no numbers here.
fn find_target(target: &str, names: &BTreeMap<String, usize>) -> Result<usize, Box<Diagnostic>> {
    names.get(&target.to_lowercase()).copied().ok_or_else(|| {
        let message = format!("target stage {target:?} could not be found");
        let help = match suggest::nearest(target, names.keys().map(String::as_str)) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("the stages are {}", names.keys().cloned().collect::<Vec<_>>().join(", ")),
        };
        Box::new(Diagnostic::error("unknown-target", Span::default(), message).help(help))
    })
}

/// The earlier stages that a stage copies or mounts from.
fn stage_sources(stage: &Stage, names: &BTreeMap<String, usize>) -> BTreeSet<usize> {
    let mut sources = BTreeSet::new();
    let mut add = |from: Option<&Text>, by_index: bool| {
        let Some(from) = from else { return };
        let index = from.value.parse::<usize>().ok().filter(|_| by_index);
        let found = index.or_else(|| names.get(&from.value.to_lowercase()).copied());
        sources.extend(found.filter(|found| *found < stage.index));
    };
    for instruction in &stage.instructions {
        match &instruction.kind {
            Kind::Copy(copy) => add(copy.from.as_ref(), true),
            Kind::Run(run) => run.mounts.iter().for_each(|mount: &MountFlag| add(mount.from.as_ref(), false)),
            _ => {}
        }
    }
    sources
}

/// The state of a stage that begins with an image.
fn image_state(image: &str, options: &Options<'_>) -> State {
    let known = if image == "scratch" { Some(BaseImage::default()) } else { (options.base_images)(image) };
    let complete = known.is_some();
    let base = known.unwrap_or_default();
    let mut env: BTreeMap<String, String> = base.env.into_iter().collect();
    env.entry("PATH".to_owned())
        .or_insert_with(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    State { env, complete, has_shell: base.has_shell, ..State::default() }
}

/// Evaluates the instructions of one stage.
struct StageEvaluator<'a, 'b> {
    options: &'a Options<'a>,
    expander: Expander,
    globals: &'a Globals<'a>,
    stage: &'a Stage,
    visitor: &'b mut dyn Visitor,
}

impl StageEvaluator<'_, '_> {
    fn step(&mut self, state: &mut State, instruction: &Instruction, span: Span) -> Result<(), Box<Diagnostic>> {
        let mut words = Vec::new();
        for text in words::of(&instruction.kind) {
            words.push(expand(self.expander, text, state)?);
        }
        for text in words::heredocs(&instruction.kind) {
            words.push(expand(Expander::heredoc(), &text, state)?);
        }
        let mut mounts = Vec::new();
        if let Kind::Run(run) = &instruction.kind {
            for flag in &run.mounts {
                let resolved = mount::resolve(flag, |text| {
                    let word = expand(self.expander, text, state)?;
                    words.push(word.clone());
                    Ok(word.value)
                })?;
                mounts.push(resolved);
            }
        }
        let mut args = Vec::new();
        if let Kind::Arg(declarations) = &instruction.kind {
            for declaration in declarations {
                args.push(self.arg(state, declaration, &mut words)?);
            }
        }
        let expander = self.expander;
        let step = Step { stage: self.stage, instruction, span, words, args, mounts, state, expander };
        self.visitor.step(&step);
        let words = step.words;
        match &instruction.kind {
            // Pairs of one instruction do not see each other.
            Kind::Env(_) => {
                for pair in words.chunks_exact(2) {
                    state.env.insert(pair[0].value.clone(), pair[1].value.clone());
                }
            }
            Kind::Shell(_) => state.has_shell = true,
            Kind::Workdir(_) => state.workdir_set = true,
            _ => {}
        }
        Ok(())
    }

    fn arg<'d>(
        &self,
        state: &mut State,
        declaration: &'d ArgDecl,
        words: &mut Vec<Word>,
    ) -> Result<ArgValue<'d>, Box<Diagnostic>> {
        let name = &declaration.name.value;
        let mut inherited = false;
        let value = match (self.options.build_args.get(name), &declaration.value) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => {
                let word = expand(self.expander, default, state)?;
                let value = word.value.clone();
                words.push(word);
                Some(value)
            }
            (None, None) => {
                let global = self.globals.values.get(name).cloned();
                inherited = global.is_some();
                global
            }
        };
        if let Some(value) = &value
            && !matches!(name.as_str(), "BUILDKIT_SBOM_SCAN_CONTEXT" | "BUILDKIT_SBOM_SCAN_STAGE")
        {
            state.env.insert(name.clone(), value.clone());
        }
        state.args.insert(name.clone());
        Ok(ArgValue { declaration, value, inherited })
    }
}

fn expand(expander: Expander, text: &Text, state: &State) -> Result<Word, Box<Diagnostic>> {
    let expanded = word(expander, text, &state.lookup())?;
    let undeclared = expanded.unmatched.into_iter().filter(|name| !state.args.contains(name));
    let undefined = undeclared.map(|name| {
        let near = suggest::nearest_exact(&name, state.env.keys().map(String::as_str)).map(str::to_owned);
        (name, near)
    });
    let undefined = undefined.collect();
    Ok(Word { text: text.clone(), value: expanded.value, undefined })
}

/// The expanded sources of a `COPY` or `ADD`.
pub(crate) fn sources<'a>(step: &'a Step<'_>, copy: &crate::ast::Copy) -> &'a [Word] {
    let start = words::before_sources(copy);
    step.words.get(start..start + copy.sources.len()).unwrap_or_default()
}

/// Whether a command is given to a shell.
pub(crate) fn is_shell(command: &CommandLine) -> bool {
    matches!(command, CommandLine::Shell(_))
}
