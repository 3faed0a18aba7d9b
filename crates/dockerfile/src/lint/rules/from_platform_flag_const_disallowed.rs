//! A constant platform makes a Dockerfile that builds for one platform only.
use crate::eval::FromStep;
use crate::lint::Rule;
use crate::lint::linter::{Place, Sink};
use crate::platform::Platform;

/// The rule.
pub static RULE: Rule = Rule {
    name: "FromPlatformFlagConstDisallowed",
    description: "FROM --platform flag should not use a constant value",
    url: "https://docs.docker.com/go/dockerfile/rule/from-platform-flag-const-disallowed/",
    experimental: false,
};

pub(in crate::lint) fn check(from: &FromStep<'_>, sink: &mut Sink) {
    let Some((expanded, text)) = from.platform.as_ref().zip(from.stage.from.platform.as_ref()) else { return };
    if !expanded.used.is_empty() || !expanded.unmatched.is_empty() {
        return;
    }
    let Some(platform) = Platform::parse(&expanded.value, &Platform::linux("amd64")) else { return };
    // A stage that carries the platform in its name means it.
    let name = from.stage.from.name.as_ref().map(|name| name.value.to_lowercase()).unwrap_or_default();
    if !name.contains(&platform.os) && !name.contains(&platform.arch) {
        let detail = format!("FROM --platform flag should not use constant value {:?}", expanded.value);
        sink.add(&RULE, Place::from(from.stage), text.span, detail);
    }
}
