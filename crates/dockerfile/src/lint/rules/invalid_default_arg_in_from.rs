//! A Dockerfile should build without any `--build-arg`.
use crate::ast::Dockerfile;
use crate::eval::{self, Globals};
use crate::expand::Expander;
use crate::lint::Rule;
use crate::lint::linter::{Place, Sink};
use crate::reference;

/// The rule.
pub static RULE: Rule = Rule {
    name: "InvalidDefaultArgInFrom",
    description: "Default value for global ARG results in an empty or invalid base image name",
    url: "https://docs.docker.com/go/dockerfile/rule/invalid-default-arg-in-from/",
    experimental: false,
};

/// `globals` are the values without any build arguments.
pub(in crate::lint) fn check(dockerfile: &Dockerfile, globals: &Globals<'_>, sink: &mut Sink) {
    let expander = Expander::new(dockerfile.directives.escape);
    for stage in &dockerfile.stages {
        let image = &stage.from.image;
        let Ok(expanded) = eval::word(expander, image, &|name| globals.values.get(name).cloned()) else { return };
        if !reference::is_valid(&expanded.value) {
            let detail = format!("Default value for ARG {} results in empty or invalid base image name", image.value);
            sink.add(&RULE, Place::from(stage), image.span, detail);
        }
    }
}
