//! Of two stages of one name only the later one can be referred to.
use crate::ast::Dockerfile;
use crate::lint::Rule;
use crate::lint::linter::{Place, Sink};
use std::collections::BTreeSet;

/// The rule.
pub static RULE: Rule = Rule {
    name: "DuplicateStageName",
    description: "Stage names should be unique",
    url: "https://docs.docker.com/go/dockerfile/rule/duplicate-stage-name/",
    experimental: false,
};

pub(in crate::lint) fn check(dockerfile: &Dockerfile, sink: &mut Sink) {
    let mut names = BTreeSet::new();
    for stage in &dockerfile.stages {
        let Some(name) = &stage.from.name else { continue };
        let lower = name.value.to_lowercase();
        if names.contains(&lower) {
            let detail = format!("Duplicate stage name {lower:?}, stage names should be unique");
            sink.add(&RULE, Place::from(stage), name.span, detail);
        }
        names.insert(lower);
    }
}
