//! `ENV key value` can hold one pair and surprises with blanks.
use crate::ast::Kind;
use crate::eval::Step;
use crate::lint::Rule;
use crate::lint::linter::Sink;

/// The rule.
pub static RULE: Rule = Rule {
    name: "LegacyKeyValueFormat",
    description: "Legacy key/value format with whitespace separator should not be used",
    url: "https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/",
    experimental: false,
};

pub(in crate::lint) fn check(step: &Step<'_>, sink: &mut Sink) {
    let (Kind::Env(pairs) | Kind::Label(pairs)) = &step.instruction.kind else { return };
    if pairs.legacy {
        let name = &step.instruction.keyword.value;
        let detail = format!("\"{name} key=value\" should be used instead of legacy \"{name} key value\" format");
        sink.add(&RULE, step.place(), step.instruction.span, detail);
    }
}
