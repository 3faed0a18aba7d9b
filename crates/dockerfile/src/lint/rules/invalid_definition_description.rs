//! The comment above a stage or argument is its description in `--call=outline` and `--call=targets`.
use crate::ast::{Instruction, Kind, Stage};
use crate::lint::Rule;
use crate::lint::linter::{Place, Sink};

/// The rule.
pub static RULE: Rule = Rule {
    name: "InvalidDefinitionDescription",
    description: "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.",
    url: "https://docs.docker.com/go/dockerfile/rule/invalid-definition-description/",
    experimental: true,
};

pub(in crate::lint) fn check_stage(stage: &Stage, sink: &mut Sink) {
    let Some(name) = &stage.from.name else { return };
    let name = name.value.to_lowercase();
    check("FROM", &[&name], stage.comments.as_deref(), Place::from(stage), sink);
}

pub(in crate::lint) fn check_arg(instruction: &Instruction, sink: &mut Sink) {
    let Kind::Arg(declarations) = &instruction.kind else { return };
    let names: Vec<&str> = declarations.iter().map(|arg| arg.name.value.as_str()).collect();
    check("ARG", &names, instruction.doc.as_deref(), Place::of(instruction), sink);
}

fn check(keyword: &str, names: &[&str], comments: Option<&str>, place: Place<'_>, sink: &mut Sink) {
    let Some(last) = comments.and_then(|comments| comments.lines().last()) else { return };
    if names.contains(&last.split(' ').next().unwrap_or_default()) {
        return;
    }
    let example = if let [name] = names { name } else { "<arg_key>" };
    let detail = format!("Comment for {keyword} should follow the format: `# {example} <description>`");
    sink.add(&RULE, place, place.span, detail);
}
