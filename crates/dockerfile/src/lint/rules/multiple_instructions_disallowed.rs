//! Of several `CMD`, `ENTRYPOINT` or `HEALTHCHECK` only the last one has an effect.
use crate::Span;
use crate::ast::Kind;
use crate::eval::Step;
use crate::lint::Rule;
use crate::lint::linter::{Place, Sink};
use std::collections::BTreeMap;

/// The rule.
pub static RULE: Rule = Rule {
    name: "MultipleInstructionsDisallowed",
    description: "Multiple instructions of the same type should not be used in the same stage",
    url: "https://docs.docker.com/go/dockerfile/rule/multiple-instructions-disallowed/",
    experimental: false,
};

/// By stage and instruction: where it was last, and its keyword.
pub(in crate::lint) type Last = BTreeMap<(usize, &'static str), (Span, Span)>;

pub(in crate::lint) fn check(step: &Step<'_>, last: &mut Last, sink: &mut Sink) {
    let kind = match &step.instruction.kind {
        Kind::Cmd(_) => "CMD",
        Kind::Entrypoint(_) => "ENTRYPOINT",
        Kind::Healthcheck(_) => "HEALTHCHECK",
        _ => return,
    };
    let keyword = &step.instruction.keyword;
    // The earlier one is reported: it is the one without effect. The options of the later one count.
    if let Some((span, earlier)) = last.insert((step.stage.index, kind), (step.span, keyword.span)) {
        let detail = format!(
            "Multiple {} instructions should not be used in the same stage because only the last one will be used",
            keyword.value
        );
        sink.add(&RULE, Place { span, check: step.instruction.check.as_ref() }, earlier, detail);
    }
}
