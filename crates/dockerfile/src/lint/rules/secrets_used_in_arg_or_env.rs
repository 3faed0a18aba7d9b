//! What `ARG` and `ENV` hold is in the image's history for everyone to read.
use crate::Span;
use crate::ast::Kind;
use crate::eval::Step;
use crate::lint::Rule;
use crate::lint::linter::Sink;

/// The rule.
pub static RULE: Rule = Rule {
    name: "SecretsUsedInArgOrEnv",
    description: "Sensitive data should not be used in the ARG or ENV commands",
    url: "https://docs.docker.com/go/dockerfile/rule/secrets-used-in-arg-or-env/",
    experimental: false,
};

const SECRETS: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];

const HARMLESS: [&str; 3] = ["public", "file", "version"];

pub(in crate::lint) fn check(step: &Step<'_>, sink: &mut Sink) {
    let (instruction, names): (_, Vec<(&str, Span)>) = match &step.instruction.kind {
        Kind::Env(_) => {
            let keys = step.words.chunks(2).filter_map(|pair| pair.first());
            ("ENV", keys.map(|key| (key.value.as_str(), key.text.span)).collect())
        }
        Kind::Arg(declarations) => {
            ("ARG", declarations.iter().map(|arg| (arg.name.value.as_str(), arg.name.span)).collect())
        }
        _ => return,
    };
    for (name, span) in names.into_iter().filter(|(name, _)| is_secret(name)) {
        let detail = format!("Do not use ARG or ENV instructions for sensitive data ({instruction} {name:?})");
        sink.add(&RULE, step.place(), span, detail);
    }
}

/// Whether one of the words of a variable's name, cut at `_`, says that it holds a secret, and none says otherwise.
pub fn is_secret(name: &str) -> bool {
    let lower = name.to_lowercase();
    let says = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
    says(&SECRETS) && !says(&HARMLESS)
}
