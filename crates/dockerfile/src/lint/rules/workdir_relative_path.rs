//! A relative `WORKDIR` builds on whatever the base image has. Only the first one is reported: the rest follow it.
use crate::eval::Step;
use crate::lint::Rule;
use crate::lint::linter::Sink;

/// The rule.
pub static RULE: Rule = Rule {
    name: "WorkdirRelativePath",
    description: "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes",
    url: "https://docs.docker.com/go/dockerfile/rule/workdir-relative-path/",
    experimental: false,
};

pub(in crate::lint) fn check(step: &Step<'_>, sink: &mut Sink) {
    let Some(path) = step.words.first().filter(|_| !step.state.workdir_set) else { return };
    // A variable of an unknown base image may well begin with a slash.
    let unknown = !step.state.complete && !path.undefined.is_empty();
    if !path.value.starts_with('/') && !unknown {
        let detail = format!("Relative workdir {:?} can have unexpected results if the base image changes", path.value);
        sink.add(&RULE, step.place(), path.text.span, detail);
    }
}
