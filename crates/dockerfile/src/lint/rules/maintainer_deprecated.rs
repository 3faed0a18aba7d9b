//! `LABEL org.opencontainers.image.authors=…` has taken its place.
use crate::ast::{Instruction, Kind};
use crate::lint::Rule;
use crate::lint::linter::{Place, Sink};

/// The rule.
pub static RULE: Rule = Rule {
    name: "MaintainerDeprecated",
    description: "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    url: "https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/",
    experimental: false,
};

pub(in crate::lint) fn check(instruction: &Instruction, sink: &mut Sink) {
    if matches!(instruction.kind, Kind::Maintainer(_)) {
        let detail = "Maintainer instruction is deprecated in favor of using label".to_owned();
        sink.add(&RULE, Place::of(instruction), instruction.keyword.span, detail);
    }
}
