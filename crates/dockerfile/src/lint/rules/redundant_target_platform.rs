//! The target platform is the default of `FROM`.
use crate::eval::FromStep;
use crate::lint::Rule;
use crate::lint::linter::{Place, Sink};

/// The rule.
pub static RULE: Rule = Rule {
    name: "RedundantTargetPlatform",
    description: "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    url: "https://docs.docker.com/go/dockerfile/rule/redundant-target-platform/",
    experimental: false,
};

pub(in crate::lint) fn check(from: &FromStep<'_>, sink: &mut Sink) {
    let Some((expanded, text)) = from.platform.as_ref().zip(from.stage.from.platform.as_ref()) else { return };
    let alone = expanded.unmatched.is_empty() && expanded.used.iter().eq(["TARGETPLATFORM"]);
    if alone && from.globals.values.get("TARGETPLATFORM") == Some(&expanded.value) {
        let detail = format!(
            "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
            text.value
        );
        sink.add(&RULE, Place::from(from.stage), text.span, detail);
    }
}
