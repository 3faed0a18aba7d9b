//! Protocols are lower case in an image's configuration.
use crate::ast::Text;
use crate::eval::Step;
use crate::lint::Rule;
use crate::lint::linter::Sink;
use crate::ports::PortSpec;

/// The rule.
pub static RULE: Rule = Rule {
    name: "ExposeProtoCasing",
    description: "Protocol in EXPOSE instruction should be lowercase",
    url: "https://docs.docker.com/go/dockerfile/rule/expose-proto-casing/",
    experimental: false,
};

/// The ports of the instruction after expansion, each with the place of the word it came from.
pub(in crate::lint) fn expanded(step: &Step<'_>, ports: &[Text]) -> Vec<Text> {
    let env = |name: &str| step.state.env.get(name).cloned();
    let mut result = Vec::new();
    for port in ports {
        // What cannot be expanded fails the build with a message of its own.
        let words = step.expander.words(&port.value, &env).map(|done| done.words).unwrap_or_default();
        result.extend(words.into_iter().map(|value| Text { value, span: port.span }));
    }
    result
}

pub(in crate::lint) fn check(step: &Step<'_>, port: &Text, sink: &mut Sink) {
    let protocol = PortSpec::split(&port.value).protocol;
    if protocol != protocol.to_lowercase() {
        let detail = format!("Defined protocol '{}' in EXPOSE instruction should be lowercase", port.value);
        sink.add(&RULE, step.place(), port.span, detail);
    }
}
