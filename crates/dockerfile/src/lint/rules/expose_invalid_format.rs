//! An image says which ports it listens on; where they are published is for whoever runs it.
use crate::ast::Text;
use crate::eval::Step;
use crate::lint::Rule;
use crate::lint::linter::Sink;
use crate::ports::PortSpec;

/// The rule.
pub static RULE: Rule = Rule {
    name: "ExposeInvalidFormat",
    description: "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release",
    url: "https://docs.docker.com/go/dockerfile/rule/expose-invalid-format/",
    experimental: false,
};

pub(in crate::lint) fn check(step: &Step<'_>, port: &Text, sink: &mut Sink) {
    let spec = PortSpec::split(&port.value);
    if !spec.ip.is_empty() || !spec.host.is_empty() {
        let detail =
            format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{}'", port.value);
        sink.add(&RULE, step.place(), port.span, detail);
    }
}
