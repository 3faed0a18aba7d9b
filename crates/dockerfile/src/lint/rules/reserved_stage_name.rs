//! `scratch` and `context` mean something already.
use crate::ast::Stage;
use crate::lint::Rule;
use crate::lint::linter::{Place, Sink};

/// The rule.
pub static RULE: Rule = Rule {
    name: "ReservedStageName",
    description: "Reserved words should not be used as stage names",
    url: "https://docs.docker.com/go/dockerfile/rule/reserved-stage-name/",
    experimental: false,
};

pub(in crate::lint) fn check(stage: &Stage, sink: &mut Sink) {
    let Some(name) = &stage.from.name else { return };
    let lower = name.value.to_lowercase();
    if matches!(lower.as_str(), "scratch" | "context") {
        let detail = format!("Stage name should not use the same name as reserved stage {lower:?}");
        sink.add(&RULE, Place::from(stage), name.span, detail);
    }
}
