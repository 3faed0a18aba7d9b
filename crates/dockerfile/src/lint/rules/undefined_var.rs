//! An undefined variable is empty, which is seldom what was meant.
use crate::eval::Step;
use crate::lint::Rule;
use crate::lint::linter::Sink;

/// The rule.
pub static RULE: Rule = Rule {
    name: "UndefinedVar",
    description: "Variables should be defined before their use",
    url: "https://docs.docker.com/go/dockerfile/rule/undefined-var/",
    experimental: false,
};

pub(in crate::lint) fn check(step: &Step<'_>, sink: &mut Sink) {
    // Where the base image's environment is not known, nothing can be said.
    if !step.state.complete {
        return;
    }
    for word in &step.words {
        for (name, near) in &word.undefined {
            if matches!(name.as_str(), "BUILDKIT_SBOM_SCAN_CONTEXT" | "BUILDKIT_SBOM_SCAN_STAGE") {
                continue;
            }
            let mut detail = format!("Usage of undefined variable '${name}'");
            if let Some(near) = near {
                detail += &format!(" (did you mean ${near}?)");
            }
            sink.add(&RULE, step.place(), word.text.span, detail);
        }
    }
}
