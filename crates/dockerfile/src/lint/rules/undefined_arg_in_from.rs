//! `FROM` sees only what `ARG`s before the first `FROM` declare, and the platform arguments.
use crate::eval::FromStep;
use crate::lint::Rule;
use crate::lint::linter::{Place, Sink};
use crate::suggest;

/// The rule.
pub static RULE: Rule = Rule {
    name: "UndefinedArgInFrom",
    description: "FROM command must use declared ARGs",
    url: "https://docs.docker.com/go/dockerfile/rule/undefined-arg-in-from/",
    experimental: false,
};

pub(in crate::lint) fn check(from: &FromStep<'_>, sink: &mut Sink) {
    let names = from.globals.names();
    let image = Some((&from.image, &from.stage.from.image));
    let platform = from.platform.as_ref().zip(from.stage.from.platform.as_ref());
    for (expanded, text) in image.into_iter().chain(platform) {
        for name in expanded.unmatched.iter().filter(|name| !names.contains(name.as_str())) {
            let mut detail = format!("FROM argument '{name}' is not declared");
            if let Some(near) = suggest::nearest_exact(name, names.iter().copied()) {
                detail += &format!(" (did you mean {near}?)");
            }
            sink.add(&RULE, Place::from(from.stage), text.span, detail);
        }
    }
}
