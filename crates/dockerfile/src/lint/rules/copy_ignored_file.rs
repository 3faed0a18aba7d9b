//! A source that `.dockerignore` keeps out of the context makes the build fail.
use crate::ast::Kind;
use crate::eval::{self, Step};
use crate::glob::clean;
use crate::ignore::Ignore;
use crate::lint::Rule;
use crate::lint::linter::Sink;

/// The rule.
pub static RULE: Rule = Rule {
    name: "CopyIgnoredFile",
    description: "Attempting to Copy file that is excluded by .dockerignore",
    url: "https://docs.docker.com/go/dockerfile/rule/copy-ignored-file/",
    experimental: false,
};

pub(in crate::lint) fn check(step: &Step<'_>, ignore: Option<&Ignore>, sink: &mut Sink) {
    let (copy, verb) = match &step.instruction.kind {
        Kind::Add(copy) => (copy, "Add"),
        Kind::Copy(copy) if copy.from.is_none() => (copy, "Copy"),
        _ => return,
    };
    // With exceptions a directory may be excluded and a file in it not; nothing can be said then.
    let Some(ignore) = ignore.filter(|ignore| !ignore.has_exceptions()) else { return };
    for word in eval::sources(step, copy) {
        if verb == "Add" && is_remote(&word.value) {
            continue;
        }
        let source = clean(&word.value);
        let is_root = matches!(source.as_str(), "." | "/");
        let all_ignored = ignore.patterns().any(|(pattern, _)| matches!(pattern, "*" | "**" | "**/*"));
        // The root itself can only be excluded by what excludes everything in it.
        if if is_root { all_ignored } else { ignore.matches_or_parent(&source) } {
            let detail = format!("Attempting to {verb} file {source:?} that is excluded by .dockerignore");
            sink.add(&RULE, step.place(), word.text.span, detail);
        }
    }
}

fn is_remote(source: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "git@"].iter().any(|start| source.starts_with(start))
}
