//! Instructions: what each does to a stage's environment, config and files.
use super::env::Env;
use super::graph::{Base, PlannedStage, Planner, ResolvedImage};
use super::history;
use super::op::{CopyItem, CopyOp, MountOp, Op, OpKind, RunOp, Sharing, SourceRef};
use crate::error::{BuildError, Kind, Result};
use crate::paths;
use crate::request::{BuildRequest, ContextSource};
use dockerfile::Span;
use dockerfile::ast::{self, CommandLine, Dockerfile, Instruction, MountKind, Security, Text};
use dockerfile::expand::{ExpandError, Expander};
use dockerfile::parse::RunScript;
use oci::{Config, Empty, Healthcheck, ImageConfig, Platform};
use std::sync::Arc;

/// The search path where the base image sets none.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is evaluated, for which platform.
pub(crate) struct PlanInput<'a> {
    pub(crate) dockerfile: &'a Dockerfile,
    pub(crate) request: &'a BuildRequest,
    /// The platform of the image.
    pub(crate) platform: &'a Platform,
    /// The platform that builds.
    pub(crate) build_platform: &'a Platform,
}

impl PlanInput<'_> {
    /// A word with variables replaced and quotes removed.
    pub(crate) fn word(&self, text: &Text, env: &Env) -> Result<String> {
        Expander::new(self.dockerfile.directives.escape)
            .word(&text.value, &|n| env.get(n).map(str::to_owned))
            .map(|e| e.value)
            .map_err(|e| expand_error(&e, text.span))
    }

    /// The named context that a name means: as it was given, or the same image in another spelling.
    pub(crate) fn named(&self, name: &str) -> Option<(&str, &ContextSource)> {
        let same = |key: &str| {
            key.eq_ignore_ascii_case(name)
                || match (key.parse::<oci::Reference>(), name.parse::<oci::Reference>()) {
                    (Ok(a), Ok(b)) => a.or_latest() == b.or_latest(),
                    _ => false,
                }
        };
        self.request.named_contexts.iter().rev().find(|(key, _)| same(key)).map(|(key, source)| (key.as_str(), source))
    }
}

fn expand_error(error: &ExpandError, span: Span) -> BuildError {
    BuildError::new(Kind::Dockerfile, error.to_string()).at(span)
}

/// A stage while its instructions are evaluated.
pub(super) struct StageState {
    title: String,
    base: Base,
    pub(super) from_line: Option<String>,
    pub(super) from_span: Span,
    platform: Platform,
    ops: Vec<Op>,
    config: ImageConfig,
    /// What commands see: the image's variables and the arguments in scope.
    env: Env,
    /// Arguments in order of declaration, for the history of RUN.
    build_args: Vec<(String, Option<String>)>,
    cmd_set: bool,
    no_cache: bool,
    total: usize,
    index: usize,
}

impl StageState {
    fn new(base: Base, config: ImageConfig, platform: &Platform, title: String, no_cache: bool) -> Self {
        let mut config = config;
        config.created = None;
        let has_path = config.config.env.iter().any(|e| e.starts_with("PATH="));
        if !has_path {
            config.config.env.push(format!("PATH={DEFAULT_PATH}"));
        }
        let env = Env::from_strings(&config.config.env);
        Self {
            title,
            base,
            from_line: None,
            from_span: Span::default(),
            platform: platform.clone(),
            ops: Vec::new(),
            config,
            env,
            build_args: Vec::new(),
            cmd_set: false,
            no_cache,
            total: 0,
            index: 0,
        }
    }

    pub(super) fn scratch(platform: &Platform, title: String, no_cache: bool) -> Self {
        let mut config = ImageConfig::scratch(platform);
        "/".clone_into(&mut config.config.working_dir);
        Self::new(Base::Scratch, config, platform, title, no_cache)
    }

    pub(super) fn from_image(
        id: usize,
        image: &ResolvedImage,
        platform: &Platform,
        title: String,
        no_cache: bool,
    ) -> Self {
        let mut state = Self::new(Base::Image(id), image.config.clone(), platform, title, no_cache);
        state.from_line = Some(format!("FROM {}", image.name));
        state.config.rootfs.diff_ids.clear();
        state
    }

    pub(super) fn from_stage(
        parent: &Self,
        place: usize,
        planned: &PlannedStage,
        title: String,
        no_cache: bool,
    ) -> Self {
        let mut state = Self::new(Base::Stage(place), planned.config.clone(), &parent.platform, title, no_cache);
        // Arguments are inherited, and where one has the name of a variable of the image, the variable's value is back.
        let own = std::mem::replace(&mut state.env, parent.env.clone());
        for (name, value) in own.iter() {
            state.env.set(name, value);
        }
        state.build_args.clone_from(&parent.build_args);
        state
    }

    /// ONBUILD triggers are used up by the stage that builds on the image.
    pub(super) fn take_onbuild(&mut self) -> Vec<String> {
        self.config.config.on_build.take().unwrap_or_default()
    }

    /// How many lines of progress the stage has: `[stage 1/5]`.
    pub(super) fn count(&mut self, stage: &ast::Stage, triggers: &[String]) {
        let steps = stage
            .instructions
            .iter()
            .filter(|i| {
                matches!(i.kind, ast::Kind::Run(_) | ast::Kind::Copy(_) | ast::Kind::Add(_) | ast::Kind::Workdir(_))
            })
            .count();
        self.total = steps + triggers.len() + usize::from(self.from_line.is_some());
    }

    fn prefix(&mut self, text: &str) -> String {
        if self.total == 0 {
            return text.to_owned();
        }
        self.index += 1;
        let width = self.total.to_string().len();
        let title = if self.title.is_empty() { String::new() } else { format!("{} ", self.title) };
        format!("[{title}{:>width$}/{}] {text}", self.index, self.total)
    }

    pub(super) fn push_op(&mut self, name: String, span: Span, kind: OpKind, created_by: String) {
        self.config.history.push(history::entry(created_by, true));
        self.ops.push(Op { name, span, trigger: None, history: self.config.history.len() - 1, kind });
    }

    fn note(&mut self, created_by: String) {
        self.config.history.push(history::entry(created_by, false));
    }

    pub(super) fn planned(&self) -> PlannedStage {
        PlannedStage {
            title: self.title.clone(),
            base: self.base.clone(),
            from_line: self.from_line.clone(),
            platform: self.platform.clone(),
            ops: self.ops.clone(),
            config: self.config.clone(),
            no_cache: self.no_cache,
        }
    }

    fn workdir(&self) -> String {
        let dir = &self.config.config.working_dir;
        if dir.is_empty() { "/".to_owned() } else { paths::clean_absolute("/", dir) }
    }

    fn shell(&self) -> Vec<String> {
        match &self.config.config.shell {
            Some(shell) if !shell.is_empty() => shell.clone(),
            _ => vec!["/bin/sh".to_owned(), "-c".to_owned()],
        }
    }

    /// The arguments of a command line: shell form gets the stage's shell in front.
    fn arguments(&self, command: &CommandLine) -> Vec<String> {
        match command {
            CommandLine::Exec(list, _) => list.clone(),
            CommandLine::Shell(text) => {
                let mut list = self.shell();
                list.push(text.value.clone());
                list
            }
        }
    }
}

impl Planner<'_> {
    /// Evaluates ONBUILD triggers, then the stage's own instructions.
    pub(super) fn run_stage(
        &mut self,
        state: &mut StageState,
        stage: &ast::Stage,
        index: usize,
        triggers: &[String],
    ) -> Result<()> {
        if let Some(line) = state.from_line.clone() {
            state.from_line = Some(state.prefix(&line));
        }
        for trigger in triggers {
            let parsed = dockerfile::parse_trigger(trigger);
            let instructions = parsed.map_err(|diagnostics| {
                let why = diagnostics.first().map_or_else(String::new, |d| d.message.clone());
                BuildError::new(Kind::Dockerfile, format!("ONBUILD trigger {trigger:?} of the base image: {why}"))
                    .at(stage.span)
            })?;
            for instruction in &instructions {
                let before = state.ops.len();
                // Places in the trigger's text are none in this Dockerfile.
                self.instruction(state, instruction, index, true)
                    .map_err(|e| e.context(format!("ONBUILD trigger {trigger:?}")).moved_to(stage.span))?;
                for op in &mut state.ops[before..] {
                    op.triggered(trigger, stage.span);
                }
            }
        }
        for instruction in &stage.instructions {
            self.instruction(state, instruction, index, false).map_err(|e| e.at(instruction.span))?;
        }
        Ok(())
    }

    fn instruction(
        &mut self,
        state: &mut StageState,
        instruction: &Instruction,
        index: usize,
        onbuild: bool,
    ) -> Result<()> {
        let span = instruction.span;
        match &instruction.kind {
            ast::Kind::Arg(list) => self.arg(state, list)?,
            ast::Kind::Env(pairs) => {
                let before = state.env.clone();
                let mut text = "ENV".to_owned();
                for (key, value) in &pairs.pairs {
                    let (key, value) = (self.input.word(key, &before)?, self.input.word(value, &before)?);
                    text.push_str(&format!(" {key}={value}"));
                    state.env.set(&key, &value);
                    set_env(&mut state.config.config, &key, &value);
                }
                state.note(text);
            }
            ast::Kind::Label(pairs) => {
                let mut text = "LABEL".to_owned();
                for (key, value) in &pairs.pairs {
                    let (key, value) = (self.input.word(key, &state.env)?, self.input.word(value, &state.env)?);
                    text.push_str(&format!(" {key}={value}"));
                    state.config.config.labels.insert(key, value);
                }
                state.note(text);
            }
            ast::Kind::Maintainer(text) => {
                state.config.author = Some(text.value.clone());
                state.note(format!("MAINTAINER {}", text.value));
            }
            ast::Kind::Cmd(command) => {
                let arguments = state.arguments(command);
                state.note(format!("CMD {}", history::quoted_list(&arguments)));
                state.config.config.cmd = Some(arguments);
                state.config.config.args_escaped = true;
                state.cmd_set = true;
            }
            ast::Kind::Entrypoint(command) => {
                let arguments = state.arguments(command);
                state.note(format!("ENTRYPOINT {}", history::quoted_list(&arguments)));
                state.config.config.entrypoint = Some(arguments);
                if !state.cmd_set {
                    state.config.config.cmd = None;
                }
            }
            ast::Kind::Shell(list) => {
                state.note(format!("SHELL {}", history::plain_list(list)));
                state.config.config.shell = Some(list.clone());
            }
            ast::Kind::StopSignal(text) => {
                let signal = self.input.word(text, &state.env)?;
                if !is_signal(&signal) {
                    return Err(BuildError::new(Kind::Dockerfile, format!("invalid signal: {signal}"))
                        .at(text.span)
                        .hint("use a name such as SIGTERM, or a number from 1 to 64"));
                }
                state.note(format!("STOPSIGNAL {signal}"));
                state.config.config.stop_signal = Some(signal);
            }
            ast::Kind::User(text) => {
                let user = self.input.word(text, &state.env)?;
                if user.is_empty() {
                    return Err(BuildError::new(Kind::Dockerfile, "USER is empty after expansion").at(text.span));
                }
                state.note(format!("USER {user}"));
                state.config.config.user = user;
            }
            ast::Kind::Volume(list) => {
                let mut paths = Vec::new();
                for text in list {
                    let path = self.input.word(text, &state.env)?;
                    if path.is_empty() {
                        return Err(BuildError::new(Kind::Dockerfile, "VOLUME specified can not be an empty string")
                            .at(text.span));
                    }
                    state.config.config.volumes.insert(path.clone(), Empty {});
                    paths.push(path);
                }
                state.note(format!("VOLUME {}", history::plain_list(&paths)));
            }
            ast::Kind::Expose(list) => self.expose(state, list)?,
            ast::Kind::Healthcheck(check) => {
                let check = match check {
                    ast::Healthcheck::None => Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() },
                    ast::Healthcheck::Command { command, interval, timeout, start_period, start_interval, retries } => {
                        let test = match command {
                            CommandLine::Shell(text) => vec!["CMD-SHELL".to_owned(), text.value.clone()],
                            CommandLine::Exec(list, _) => {
                                std::iter::once("CMD".to_owned()).chain(list.iter().cloned()).collect()
                            }
                        };
                        Healthcheck {
                            test,
                            interval: interval.unwrap_or(0),
                            timeout: timeout.unwrap_or(0),
                            start_period: start_period.unwrap_or(0),
                            start_interval: start_interval.unwrap_or(0),
                            retries: retries.unwrap_or(0),
                        }
                    }
                };
                state.note(format!("HEALTHCHECK {}", history::healthcheck(&check)));
                state.config.config.healthcheck = Some(check);
            }
            ast::Kind::Onbuild(text, _) => {
                state.config.config.on_build.get_or_insert_default().push(text.value.clone());
            }
            ast::Kind::Workdir(text) => {
                let given = self.input.word(text, &state.env)?;
                let path = paths::clean_absolute(&state.workdir(), &given);
                // An absolute one stands in the config as it was written.
                let written = if given.starts_with('/') { given } else { path.clone() };
                let created_by = format!("WORKDIR {written}");
                state.config.config.working_dir = written;
                if path == "/" {
                    state.note(created_by);
                } else {
                    let name = self.title(state, instruction, onbuild, false);
                    let user = state.config.config.user.clone();
                    state.push_op(name, span, OpKind::Mkdir { path, user }, created_by);
                }
            }
            ast::Kind::Run(run) => self.run(state, instruction, run, index, onbuild)?,
            ast::Kind::Copy(copy) => self.copy(state, instruction, copy, index, onbuild, false)?,
            ast::Kind::Add(copy) => self.copy(state, instruction, copy, index, onbuild, true)?,
        }
        Ok(())
    }

    /// The line of progress: `[stage 2/5] RUN make`.
    fn title(&self, state: &mut StageState, instruction: &Instruction, onbuild: bool, run: bool) -> String {
        let mut expander = Expander::new(self.input.dockerfile.directives.escape);
        if run {
            expander = expander.raw_quotes().keep_undefined();
        }
        let env = state.env.clone();
        let text = expander
            .word(&instruction.original, &|n| env.get(n).map(str::to_owned))
            .map_or_else(|_| instruction.original.clone(), |e| e.value);
        let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let mut line = format!("{} {rest}", word.to_ascii_uppercase()).trim_end().replace('\n', " ");
        if let ast::Kind::Run(ast::Run { heredocs, .. }) = &instruction.kind
            && let Some(first) = heredocs.first()
        {
            let body = first.content.trim();
            let head = body.lines().next().unwrap_or("");
            let more = if body.lines().count() > 1 { "..." } else { "" };
            line.push_str(&format!(" ({head}{more})"));
        }
        state.prefix(&format!("{}{line}", if onbuild { "ONBUILD " } else { "" }))
    }

    fn arg(&mut self, state: &mut StageState, list: &[ast::ArgDecl]) -> Result<()> {
        let mut texts = Vec::new();
        for declared in list {
            let name = &declared.name.value;
            self.used_args.insert(name.clone());
            let value = if let Some(given) = self.input.request.build_args.get(name) {
                Some(given.clone())
            } else if let Some(default) = &declared.value {
                Some(self.input.word(default, &state.env)?)
            } else {
                self.globals.get(name).map(str::to_owned)
            };
            if let Some(value) = &value
                && !name.starts_with("BUILDKIT_SBOM_")
            {
                state.env.set(name, value);
            }
            texts.push(value.as_ref().map_or_else(|| name.clone(), |v| format!("{name}={v}")));
            state.build_args.push((name.clone(), value));
        }
        state.note(format!("ARG {}", texts.join(" ")));
        Ok(())
    }

    fn expose(&mut self, state: &mut StageState, list: &[Text]) -> Result<()> {
        let mut ports = Vec::new();
        // BuildKit sorts the words as they are written; what they expand to keeps that order.
        let mut list: Vec<&Text> = list.iter().collect();
        list.sort_by(|a, b| a.value.cmp(&b.value));
        for text in list {
            let env = &state.env;
            let words = Expander::new(self.input.dockerfile.directives.escape)
                .words(&text.value, &|n| env.get(n).map(str::to_owned))
                .map_err(|e| expand_error(&e, text.span))?
                .words;
            for word in words {
                ports.extend(parse_ports(&word).map_err(|why| {
                    BuildError::new(Kind::Dockerfile, format!("invalid containerPort: {word}: {why}"))
                        .at(text.span)
                        .hint("write PORT, PORT/tcp, PORT/udp, PORT/sctp or FIRST-LAST/PROTOCOL")
                })?);
            }
        }
        state.note(format!("EXPOSE {}", history::plain_list(&ports)));
        for port in ports {
            state.config.config.exposed_ports.insert(port, Empty {});
        }
        Ok(())
    }

    fn run(
        &mut self,
        state: &mut StageState,
        instruction: &Instruction,
        run: &ast::Run,
        index: usize,
        onbuild: bool,
    ) -> Result<()> {
        let name = self.title(state, instruction, onbuild, true);
        let with_shell = |state: &StageState, line: String| {
            let mut list = state.shell();
            list.push(line);
            list
        };
        let (arguments, script) = match dockerfile::parse::run_script(run) {
            None => (state.arguments(&run.command), None),
            Some(RunScript::Shell(line)) => (with_shell(state, line), None),
            Some(RunScript::File { name, content }) => {
                (with_shell(state, format!("/dev/pipes/{name}")), Some((name, Arc::from(content.into_bytes()))))
            }
        };
        if let Some((Security::Insecure, span)) = run.security
            && !self.input.request.allow.iter().any(|a| a == "security.insecure")
        {
            return Err(BuildError::new(Kind::Dockerfile, "RUN --security=insecure is not allowed")
                .at(span)
                .hint("allow it with --allow security.insecure if you trust this Dockerfile"));
        }
        let mut mounts = Vec::new();
        for (position, flag) in run.mounts.iter().enumerate() {
            mounts.push(self.mount(state, flag, index, position)?);
        }
        let mut listed: Vec<(String, String)> = Vec::new();
        for (key, declared) in &state.build_args {
            let value = state.env.get(key).map(str::to_owned).or_else(|| declared.clone()).unwrap_or_default();
            match listed.iter_mut().find(|(k, _)| k == key) {
                Some((_, old)) => *old = value,
                None => listed.push((key.clone(), value)),
            }
        }
        // Predefined proxy arguments stay out of history and cache keys unless they are declared.
        let mut created_by = "RUN ".to_owned();
        if !listed.is_empty() {
            created_by.push_str(&format!("|{} ", listed.len()));
            for (key, value) in &listed {
                created_by.push_str(&format!("{key}={value} "));
            }
        }
        created_by.push_str(&arguments.join(" "));
        created_by.push_str(" # buildkit");
        let op = RunOp {
            args: arguments,
            env: state.env.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            cwd: state.workdir(),
            user: state.config.config.user.clone(),
            mounts,
            network: run.network.map_or(self.input.request.network, |(n, _)| n),
            security: run.security.map_or(Security::Sandbox, |(s, _)| s),
            script,
        };
        state.push_op(name, instruction.span, OpKind::Run(Box::new(op)), created_by);
        Ok(())
    }

    fn mount(&mut self, state: &StageState, flag: &ast::MountFlag, index: usize, position: usize) -> Result<MountOp> {
        let text = |text: &Option<Text>| -> Result<Option<String>> {
            text.as_ref().map(|t| self.input.word(t, &state.env)).transpose()
        };
        let fail = |why: String| BuildError::new(Kind::Dockerfile, why).at(flag.span);
        let number = |text: &Option<Text>, name: &str| -> Result<Option<u32>> {
            let Some(text) = text else { return Ok(None) };
            let value = self.input.word(text, &state.env)?;
            value.parse().map(Some).map_err(|_| {
                fail(format!("invalid value {value:?} for {name} of --mount: expected a number")).at(text.span)
            })
        };
        let (target, source, id, env) = (text(&flag.target)?, text(&flag.source)?, text(&flag.id)?, text(&flag.env)?);
        let (uid, gid) = (number(&flag.uid, "uid")?, number(&flag.gid, "gid")?);
        let mode = match text(&flag.mode)? {
            None => None,
            Some(m) => Some(
                u32::from_str_radix(&m, 8)
                    .ok()
                    .filter(|m| *m <= 0o7777)
                    .ok_or_else(|| fail(format!("invalid mode {m:?} of --mount: expected an octal number")))?,
            ),
        };
        let size = match text(&flag.size)? {
            None => None,
            Some(s) => Some(parse_size(&s).ok_or_else(|| {
                fail(format!("invalid size {s:?} of --mount: expected a number with an optional unit, such as 64m"))
            })?),
        };
        let sharing = match text(&flag.sharing)?.as_deref() {
            None | Some("shared") => Sharing::Shared,
            Some("private") => Sharing::Private,
            Some("locked") => Sharing::Locked,
            Some(other) => {
                return Err(
                    fail(format!("invalid sharing {other:?} of --mount")).hint("it is one of shared, private, locked")
                );
            }
        };
        let from_text = text(&flag.from)?;
        let needs_target = |what: &str| fail(format!("--mount=type={what} needs a target=")).hint("add target=/PATH");
        let base = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or("").to_owned();
        let (target, id, env) = match flag.kind {
            MountKind::Secret => {
                let id = match (id.filter(|i| !i.is_empty()).or(source.clone()), &target) {
                    (Some(id), _) => id,
                    (None, Some(target)) => base(target),
                    (None, None) => {
                        return Err(fail("--mount=type=secret needs an id= or a target=".to_owned())
                            .hint("add id=NAME, and give the secret with --secret id=NAME,src=FILE"));
                    }
                };
                let target = match (target, &env) {
                    (Some(target), _) => paths::clean_absolute(&state.workdir(), &target),
                    (None, Some(_)) => String::new(),
                    (None, None) => format!("/run/secrets/{}", base(&id)),
                };
                (target, id, env)
            }
            MountKind::Ssh => {
                let id = id.filter(|i| !i.is_empty()).or(source.clone()).unwrap_or_else(|| "default".to_owned());
                let target = target.map_or_else(
                    || format!("/run/buildkit/ssh_agent.{position}"),
                    |t| paths::clean_absolute(&state.workdir(), &t),
                );
                (target, id, None)
            }
            MountKind::Bind | MountKind::Cache | MountKind::Tmpfs => {
                let word = match flag.kind {
                    MountKind::Bind => "bind",
                    MountKind::Cache => "cache",
                    _ => "tmpfs",
                };
                let given = target.filter(|t| !t.is_empty()).ok_or_else(|| needs_target(word))?;
                let target = paths::clean_absolute(&state.workdir(), &given);
                if target == "/" {
                    return Err(fail(format!("invalid mount target {given:?}: it cannot be the root")));
                }
                let id = id.filter(|i| !i.is_empty()).unwrap_or_else(|| paths::clean(&given));
                (target, id, None)
            }
        };
        let from = match (flag.kind, &flag.from, from_text) {
            (MountKind::Bind | MountKind::Cache, Some(text), Some(value)) if value != "scratch" => {
                Some(self.source(text, &value, index)?)
            }
            (MountKind::Bind, None, _) => Some(SourceRef::Context),
            _ => None,
        };
        let readonly = flag.readonly.unwrap_or(flag.kind == MountKind::Bind);
        Ok(MountOp {
            kind: flag.kind,
            target,
            source: paths::clean_absolute("/", source.as_deref().unwrap_or("/")),
            from,
            id,
            sharing,
            readonly,
            required: flag.required.unwrap_or(false),
            env,
            mode,
            uid,
            gid,
            size,
            span: flag.span,
        })
    }

    fn copy(
        &mut self,
        state: &mut StageState,
        instruction: &Instruction,
        copy: &ast::Copy,
        index: usize,
        onbuild: bool,
        add: bool,
    ) -> Result<()> {
        let name = self.title(state, instruction, onbuild, false);
        let env = state.env.clone();
        let word = |text: &Text| self.input.word(text, &env);
        let mut created_by = if add { "ADD" } else { "COPY" }.to_owned();
        if copy.parents {
            created_by.push_str(" --parents");
        }
        let chown = copy.chown.as_ref().map(word).transpose()?.filter(|c| !c.is_empty());
        if let Some(chown) = &chown {
            created_by.push_str(&format!(" --chown={chown}"));
        }
        let chmod = match copy.chmod.as_ref().map(word).transpose()?.filter(|c| !c.is_empty()) {
            None => None,
            Some(text) => {
                created_by.push_str(&format!(" --chmod={text}"));
                let span = copy.chmod.as_ref().map_or(instruction.span, |c| c.span);
                Some(crate::copy::mode::parse(&text).map_err(|why| BuildError::new(Kind::Dockerfile, why).at(span))?)
            }
        };
        let exclude = copy.exclude.iter().map(word).collect::<Result<Vec<_>>>()?;
        let checksum = copy.checksum.as_ref().map(word).transpose()?.filter(|c| !c.is_empty());
        let dest_text = word(&copy.destination)?;
        let sources = copy.sources.iter().map(|t| word(t).map(|value| (value, t.span))).collect::<Result<Vec<_>>>()?;
        let from = match &copy.from {
            Some(text) if text.value.contains('$') => {
                return Err(BuildError::new(Kind::Dockerfile, "variable expansion is not supported for --from")
                    .at(text.span)
                    .hint("define a stage with FROM ${VARIABLE} AS name (the ARG before the first FROM), and copy from that stage"));
            }
            Some(text) => self.source(text, &text.value, index)?,
            None => SourceRef::Context,
        };

        let mut items = Vec::new();
        let remote = |s: &str| is_git(s) || s.starts_with("http://") || s.starts_with("https://");
        if let Some(checksum) = &checksum
            && (sources.len() != 1 || !remote(&sources[0].0))
        {
            let span = copy.checksum.as_ref().map_or(instruction.span, |c| c.span);
            return Err(BuildError::new(Kind::Dockerfile, "checksum requires HTTP(S) or Git sources, and exactly one")
                .at(span)
                .hint(format!("--checksum={checksum} cannot be checked for this source: remove it")));
        }
        for (source, span) in sources {
            created_by.push_str(&format!(" {source}"));
            if is_git(&source) && copy.from.is_none() {
                if !add {
                    return Err(BuildError::new(Kind::Dockerfile, "source can't be a git ref for COPY")
                        .at(span)
                        .hint("use ADD"));
                }
                items.push(CopyItem::Git {
                    url: source,
                    checksum: checksum.clone(),
                    keep_git_dir: copy.keep_git_dir,
                    span,
                });
            } else if (source.starts_with("http://") || source.starts_with("https://")) && copy.from.is_none() {
                if !add {
                    return Err(BuildError::new(Kind::Dockerfile, "source can't be a URL for COPY")
                        .at(span)
                        .hint("use ADD"));
                }
                let digest = checksum.as_ref().map(|c| c.parse::<oci::Digest>()).transpose();
                let checksum = digest.map_err(|e| BuildError::new(Kind::Dockerfile, e.to_string()).at(span))?;
                items.push(CopyItem::Http { url: source, checksum, unpack: copy.unpack.unwrap_or(false), span });
            } else {
                let (source, parents) = if copy.parents {
                    match source.split_once("/./") {
                        Some((pivot, pattern)) => (paths::clean_absolute("/", pivot), Some(pattern.to_owned())),
                        None => ("/".to_owned(), Some(source.clone())),
                    }
                } else {
                    (paths::clean_absolute("/", &source), None)
                };
                let parents = parents.map(|p| paths::clean_absolute("/", &p).trim_start_matches('/').to_owned());
                let unpack = copy.unpack.unwrap_or(add);
                items.push(CopyItem::Tree { from: from.clone(), source, parents, unpack, span });
            }
        }
        for heredoc in &copy.heredocs {
            created_by.push_str(&format!(" <<{}", heredoc.name));
            let data = if heredoc.expand {
                Expander::heredoc()
                    .word(&heredoc.content, &|n| env.get(n).map(str::to_owned))
                    .map_err(|e| expand_error(&e, heredoc.span))?
                    .value
            } else {
                heredoc.content.clone()
            };
            items.push(CopyItem::Inline { name: heredoc.name.clone(), data: Arc::from(data.into_bytes()) });
        }
        created_by.push_str(&format!(" {dest_text} # buildkit"));
        let mut dest = paths::clean_absolute(&state.workdir(), &dest_text);
        let directory = dest_text.ends_with('/') || dest_text.ends_with("/.") || matches!(&*dest_text, "." | "");
        if directory && dest != "/" {
            dest.push('/');
        }
        // BuildKit takes --link back where --chmod is given; the result is the same either way.
        let op = CopyOp { items, dest, chown, chmod, link: copy.link, exclude };
        state.push_op(name, instruction.span, OpKind::Copy(Box::new(op)), created_by);
        Ok(())
    }
}

fn set_env(config: &mut Config, key: &str, value: &str) {
    let entry = format!("{key}={value}");
    match config.env.iter_mut().find(|e| e.split('=').next() == Some(key)) {
        Some(old) => *old = entry,
        None => config.env.push(entry),
    }
}

/// Whether an ADD source is a git repository, as BuildKit tells it.
pub(crate) fn is_git(source: &str) -> bool {
    let path = source.split(['#', '?']).next().unwrap_or(source);
    let http = source.starts_with("http://") || source.starts_with("https://");
    source.starts_with("git://")
        || source.starts_with("ssh://")
        || (source.starts_with("git@") && source.contains(':'))
        || (http && path.ends_with(".git"))
        || source.starts_with("github.com/")
}

fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<u32>() {
        return (1..=64).contains(&number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    const NAMES: &[&str] = &[
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
        "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
        "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
    ];
    let realtime = |prefix: &str, sign: char| {
        name.strip_prefix(prefix)
            .and_then(|r| r.strip_prefix(sign))
            .and_then(|n| n.parse::<u32>().ok())
            .is_some_and(|n| (1..=15).contains(&n))
    };
    NAMES.contains(&name) || realtime("RTMIN", '+') || realtime("RTMAX", '-')
}

/// `80`, `80/udp`, `8000-8002/tcp` to their single ports; the host's part of `1:2` does not count.
fn parse_ports(text: &str) -> std::result::Result<Vec<String>, &'static str> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = if protocol.is_empty() { "tcp".to_owned() } else { protocol.to_ascii_lowercase() };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err("the protocol is none of tcp, udp, sctp");
    }
    let range = range.rsplit(':').next().unwrap_or(range);
    let port = |p: &str| p.parse::<u16>().map_err(|_| "a port is a number from 0 to 65535");
    let (first, last) = match range.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(range)?, port(range)?),
    };
    if last < first {
        return Err("the range ends before it begins");
    }
    Ok((first..=last).map(|p| format!("{p}/{protocol}")).collect())
}

/// `64m`, `1g`, `1024`, `10MB`: bytes, with binary units, as Docker reads them.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim().trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size is positive and below 2^53")]
    Some((number * (1_u64 << unit) as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        assert_eq!(parse_ports("80").unwrap(), ["80/tcp"]);
        assert_eq!(parse_ports("53/UDP").unwrap(), ["53/udp"]);
        assert_eq!(parse_ports("8000-8002").unwrap(), ["8000/tcp", "8001/tcp", "8002/tcp"]);
        assert_eq!(parse_ports("8080:80").unwrap(), ["80/tcp"]);
        for bad in ["", "x", "70000", "80/icmp", "9-8"] {
            assert!(parse_ports(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("1024", 1024), ("64m", 64 << 20), ("1g", 1 << 30), ("10MB", 10 << 20), ("1.5k", 1536)] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        assert_eq!(parse_size("1x"), None);
    }

    #[test]
    fn signals() {
        for good in ["SIGTERM", "term", "9", "SIGRTMIN+3", "RTMAX-1"] {
            assert!(is_signal(good), "{good}");
        }
        for bad in ["", "0", "99", "SIGFOO", "SIGRTMIN+99"] {
            assert!(!is_signal(bad), "{bad}");
        }
    }

    #[test]
    fn git_sources() {
        for git in ["https://h/x.git", "https://h/x.git#main:dir", "git@h:x.git", "git://h/x", "ssh://git@h/x"] {
            assert!(is_git(git), "{git}");
        }
        for other in ["https://h/x.tar.gz", "x.git", "dir/x.git", "file"] {
            assert!(!is_git(other), "{other}");
        }
    }
}
