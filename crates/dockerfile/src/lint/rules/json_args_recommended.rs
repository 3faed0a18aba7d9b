//! A shell between the runtime and the program swallows signals.
use crate::ast::Kind;
use crate::eval::{Step, is_shell};
use crate::lint::Rule;
use crate::lint::linter::Sink;

/// The rule.
pub static RULE: Rule = Rule {
    name: "JSONArgsRecommended",
    description: "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    url: "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/",
    experimental: false,
};

pub(in crate::lint) fn check(step: &Step<'_>, sink: &mut Sink) {
    // Who sets a SHELL has thought about it.
    let shell = match &step.instruction.kind {
        Kind::Cmd(command) | Kind::Entrypoint(command) => is_shell(command) && !step.state.has_shell,
        _ => false,
    };
    if shell {
        let name = &step.instruction.keyword;
        let detail = format!(
            "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
            name.value
        );
        sink.add(&RULE, step.place(), name.span, detail);
    }
}
