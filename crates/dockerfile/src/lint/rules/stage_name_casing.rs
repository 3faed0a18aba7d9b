//! Stage names are compared without case; one spelling avoids two opinions about it.
use crate::ast::Stage;
use crate::lint::Rule;
use crate::lint::linter::{Place, Sink};

/// The rule.
pub static RULE: Rule = Rule {
    name: "StageNameCasing",
    description: "Stage names should be lowercase",
    url: "https://docs.docker.com/go/dockerfile/rule/stage-name-casing/",
    experimental: false,
};

pub(in crate::lint) fn check(stage: &Stage, sink: &mut Sink) {
    if let Some(name) = stage.from.name.as_ref().filter(|name| name.value != name.value.to_lowercase()) {
        let detail = format!("Stage name '{}' should be lowercase", name.value);
        sink.add(&RULE, Place::from(stage), name.span, detail);
    }
}
