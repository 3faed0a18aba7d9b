//! Keywords in one case, that of the majority.
use crate::ast::Dockerfile;
use crate::lint::Rule;
use crate::lint::linter::{Place, Sink};

/// The rule.
pub static RULE: Rule = Rule {
    name: "ConsistentInstructionCasing",
    description: "All commands within the Dockerfile should use the same casing (either upper or lower)",
    url: "https://docs.docker.com/go/dockerfile/rule/consistent-instruction-casing/",
    experimental: false,
};

pub(in crate::lint) fn check(dockerfile: &Dockerfile, sink: &mut Sink) {
    let mut keywords = Vec::new();
    for stage in &dockerfile.stages {
        let from = stage.from.keywords.0.as_str();
        let start = stage.span.start;
        keywords.push((from, Place::from(stage), crate::Span::new(start, start + from.len())));
        for instruction in &stage.instructions {
            let keyword = &instruction.keyword;
            keywords.push((&keyword.value, Place::of(instruction), keyword.span));
        }
    }
    let lower = keywords.iter().filter(|(word, ..)| *word == word.to_lowercase()).count();
    let upper = keywords.iter().filter(|(word, ..)| *word == word.to_uppercase()).count();
    for (word, place, at) in keywords {
        let (wanted, name) =
            if lower > upper { (word.to_lowercase(), "lowercase") } else { (word.to_uppercase(), "uppercase") };
        if word != wanted {
            let detail = format!("Command '{word}' should match the case of the command majority ({name})");
            sink.add(&RULE, place, at, detail);
        }
    }
}
