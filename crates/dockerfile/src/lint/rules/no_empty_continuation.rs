//! An empty line among continuation lines hides where the instruction ends.
use crate::ast::Dockerfile;
use crate::lint::Rule;
use crate::lint::linter::{Place, Sink};

/// The rule.
pub static RULE: Rule = Rule {
    name: "NoEmptyContinuation",
    description: "Empty continuation lines will become errors in a future release",
    url: "https://docs.docker.com/go/dockerfile/rule/no-empty-continuation/",
    experimental: false,
};

pub(in crate::lint) fn check(dockerfile: &Dockerfile, sink: &mut Sink) {
    for span in &dockerfile.empty_continuations {
        let place = Place { span: *span, check: None };
        sink.add(&RULE, place, *span, "Empty continuation line".to_owned());
    }
}
