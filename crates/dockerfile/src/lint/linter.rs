//! Calls the rules while the Dockerfile is walked, and keeps what they find.
use super::rules::*;
use super::{Config, Finding, Input, Rule};
use crate::Span;
use crate::ast::{Dockerfile, Instruction, Kind, Stage, Text};
use crate::eval::{self, FromStep, Globals, Options, Step, Visitor};
use crate::ignore::Ignore;
use std::collections::BTreeMap;

/// Where a rule is looking: the instruction, and the `# check=` comment above it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) span: Span,
    pub(super) check: Option<&'a Text>,
}

impl<'a> Place<'a> {
    pub(super) fn of(instruction: &'a Instruction) -> Place<'a> {
        Place { span: instruction.span, check: instruction.check.as_ref() }
    }

    pub(super) fn from(stage: &'a Stage) -> Place<'a> {
        Place { span: stage.span, check: stage.check.as_ref() }
    }
}

/// Collects findings of the rules that run.
#[derive(Debug, Default)]
pub(super) struct Sink {
    config: Config,
    findings: Vec<Finding>,
    /// Whether a comment above an instruction with a finding asked for `error=true`.
    error: bool,
}

impl Sink {
    /// Keeps a finding; `at` is the exact place inside the instruction.
    pub(super) fn add(&mut self, rule: &'static Rule, place: Place<'_>, at: Span, detail: String) {
        // Options that cannot be read leave everything as it was, as in BuildKit.
        let own = place.check.and_then(|text| Config::parse(&text.value).ok());
        let merged = own.map(|own| self.config.merged(&own));
        let config = merged.as_ref().unwrap_or(&self.config);
        if config.runs(rule) {
            self.error |= config.error;
            self.findings.push(Finding { rule, detail, span: place.span, at });
        }
    }
}

pub(super) struct Linter<'a> {
    sink: Sink,
    ignore: Option<&'a Ignore>,
    /// By stage: where `CMD`, `ENTRYPOINT` and `HEALTHCHECK` were last.
    last: multiple_instructions_disallowed::Last,
}

impl<'a> Linter<'a> {
    pub(super) fn new(config: Config, input: &Input<'a>) -> Linter<'a> {
        let sink = Sink { config, ..Sink::default() };
        Linter { sink, ignore: input.ignore, last: BTreeMap::new() }
    }

    pub(super) fn finish(self) -> (Vec<Finding>, bool) {
        (self.sink.findings, self.sink.error)
    }

    /// The rules that need no evaluation.
    pub(super) fn check_text(&mut self, dockerfile: &Dockerfile) {
        let sink = &mut self.sink;
        no_empty_continuation::check(dockerfile, sink);
        for instruction in &dockerfile.global_args {
            invalid_definition_description::check_arg(instruction, sink);
        }
        for stage in &dockerfile.stages {
            stage_name_casing::check(stage, sink);
            from_as_casing::check(stage, sink);
            invalid_definition_description::check_stage(stage, sink);
            reserved_stage_name::check(stage, sink);
            for instruction in &stage.instructions {
                maintainer_deprecated::check(instruction, sink);
                invalid_definition_description::check_arg(instruction, sink);
            }
        }
        duplicate_stage_name::check(dockerfile, sink);
        consistent_instruction_casing::check(dockerfile, sink);
    }

    /// The rule that looks at base images without any build arguments.
    pub(super) fn check_defaults(&mut self, dockerfile: &Dockerfile, options: &Options<'_>) {
        if let Ok(globals) = eval::globals(dockerfile, options, &BTreeMap::new()) {
            invalid_default_arg_in_from::check(dockerfile, &globals, &mut self.sink);
        }
    }
}

impl Visitor for Linter<'_> {
    fn globals(&mut self, _: &Globals<'_>) {}

    fn from(&mut self, from: &FromStep<'_>) {
        undefined_arg_in_from::check(from, &mut self.sink);
        redundant_target_platform::check(from, &mut self.sink);
        from_platform_flag_const_disallowed::check(from, &mut self.sink);
    }

    fn step(&mut self, step: &Step<'_>) {
        let sink = &mut self.sink;
        undefined_var::check(step, sink);
        match &step.instruction.kind {
            Kind::Arg(_) | Kind::Env(_) => secrets_used_in_arg_or_env::check(step, sink),
            Kind::Workdir(_) => workdir_relative_path::check(step, sink),
            Kind::Add(_) | Kind::Copy(_) => copy_ignored_file::check(step, self.ignore, sink),
            Kind::Expose(ports) => {
                for port in expose_proto_casing::expanded(step, ports) {
                    expose_proto_casing::check(step, &port, sink);
                    expose_invalid_format::check(step, &port, sink);
                }
            }
            _ => {}
        }
        legacy_key_value_format::check(step, sink);
        json_args_recommended::check(step, sink);
        multiple_instructions_disallowed::check(step, &mut self.last, sink);
    }
}

impl Step<'_> {
    /// The place of the step for a rule.
    pub(super) fn place(&self) -> Place<'_> {
        Place { span: self.span, check: self.instruction.check.as_ref() }
    }
}
