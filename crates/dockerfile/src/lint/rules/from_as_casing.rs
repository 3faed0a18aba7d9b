//! `FROM … as` and `from … AS` are one instruction in two spellings.
use crate::ast::Stage;
use crate::lint::Rule;
use crate::lint::linter::{Place, Sink};

/// The rule.
pub static RULE: Rule = Rule {
    name: "FromAsCasing",
    description: "The 'as' keyword should match the case of the 'from' keyword",
    url: "https://docs.docker.com/go/dockerfile/rule/from-as-casing/",
    experimental: false,
};

pub(in crate::lint) fn check(stage: &Stage, sink: &mut Sink) {
    let (from, Some(word)) = &stage.from.keywords else { return };
    let is_lower = *from == from.to_lowercase();
    // `From` itself is the business of another rule.
    let matches = if is_lower {
        *word == word.to_lowercase()
    } else {
        *from != from.to_uppercase() || *word == word.to_uppercase()
    };
    if !matches {
        let detail = format!("'{word}' and '{from}' keywords' casing do not match");
        sink.add(&RULE, Place::from(stage), stage.span, detail);
    }
}
