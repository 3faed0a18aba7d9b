//! From a logical line to an instruction: keyword, flags, `FROM`, `ONBUILD`, here-documents.
use super::flags::{self, Flags, RawFlag, Takes};
use super::line::{Logical, Slice};
use super::words::{Json, json_array};
use super::{Comments, Context, arguments, heredoc};
use crate::ast::{CommandLine, From, Heredoc, Instruction, Kind, Run, Stage};
use crate::{Diagnostic, Span, suggest};

/// The instructions, in the order in which they are suggested.
pub(crate) const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// A parsed instruction.
#[derive(Debug)]
pub(super) enum Statement {
    /// `FROM` with no instructions yet, and number 0.
    From(Stage),
    /// Any other.
    Other(Instruction),
}

/// Parses a logical line; `None` where it is wrong (that is reported).
pub(super) fn parse(context: &mut Context, line: &Logical, comments: &Comments) -> Option<Statement> {
    let line = line.slice().trim();
    let (keyword, rest) = line.split_once_blank();
    let span = line.span();
    let original = line.as_str().to_owned();
    let Comments { lines: comments, check } = comments;
    let above = (!comments.is_empty()).then(|| comments.join("\n"));
    let check = check.clone();
    if keyword.as_str().eq_ignore_ascii_case("FROM") {
        let from = parse_from(context, &keyword, &rest)?;
        let doc = from.name.as_ref().and_then(|name| arguments::description(comments, &name.value.to_lowercase()));
        return Some(Statement::From(Stage {
            index: 0,
            from,
            span,
            original,
            doc,
            check,
            comments: above,
            instructions: Vec::new(),
        }));
    }
    let kind = parse_kind(context, &keyword, &rest, comments)?;
    Some(Statement::Other(Instruction { kind, keyword: keyword.text(), span, original, doc: above, check }))
}

/// The `<<NAME` markers of a line, where its instruction takes here-documents. They are looked for also
/// where the instruction is wrong, so that their bodies are not taken for instructions.
pub(super) fn markers(line: &Logical, statement: Option<&Statement>) -> Vec<(heredoc::Marker, Span)> {
    let json = |kind: &Kind| matches!(kind, Kind::Run(Run { command: CommandLine::Exec(..), .. }));
    match statement {
        Some(Statement::From(_)) => return Vec::new(),
        Some(Statement::Other(Instruction { kind, .. })) => match kind {
            Kind::Onbuild(_, inner) if json(&inner.kind) => return Vec::new(),
            kind if json(kind) => return Vec::new(),
            _ => {}
        },
        None => {}
    }
    let whole = line.slice().trim();
    let (mut keyword, mut rest) = whole.split_once_blank();
    if keyword.as_str().eq_ignore_ascii_case("ONBUILD") {
        (keyword, rest) = flags::split(&rest).1.split_once_blank();
    }
    let takes = ["RUN", "COPY", "ADD"].iter().any(|name| keyword.as_str().eq_ignore_ascii_case(name));
    let arguments = if takes { flags::split(&rest).1 } else { return Vec::new() };
    if matches!(json_array(&arguments), Json::Strings(_) | Json::NotStrings) {
        return Vec::new();
    }
    heredoc::markers(&whole)
}

impl Statement {
    /// Gives the instruction its here-documents; `false` where they do not fit (that is reported).
    pub(super) fn attach(&mut self, context: &mut Context, heredocs: Vec<Heredoc>, end: Option<usize>) -> bool {
        let Statement::Other(instruction) = self else { return true };
        if let Some(end) = end {
            instruction.span.end = instruction.span.end.max(end);
        }
        if let Kind::Onbuild(text, inner) = &mut instruction.kind {
            if let Some(end) = end {
                inner.span.end = inner.span.end.max(end);
                text.span.end = text.span.end.max(end);
            }
            for heredoc in &heredocs {
                text.value.push('\n');
                text.value.push_str(&heredoc.raw);
                text.value.push_str(&heredoc.name);
            }
            return attach_to(context, &mut inner.kind, heredocs);
        }
        attach_to(context, &mut instruction.kind, heredocs)
    }
}

fn attach_to(context: &mut Context, kind: &mut Kind, heredocs: Vec<Heredoc>) -> bool {
    match kind {
        Kind::Run(run) => run.heredocs = heredocs,
        Kind::Copy(copy) | Kind::Add(copy) => {
            // Of several with one name the last content counts, as in BuildKit.
            for source in std::mem::take(&mut copy.sources) {
                let Some(marker) = heredoc::marker(&source.value) else {
                    copy.sources.push(source);
                    continue;
                };
                let Some(found) = heredocs.iter().rfind(|heredoc| heredoc.name == marker.name) else {
                    let message = format!("heredoc {} has no content", source.value);
                    let help = "is there an unclosed quote on the line?";
                    context.report(Diagnostic::error("invalid-heredoc", source.span, message).help(help));
                    return false;
                };
                copy.heredocs.push(found.clone());
            }
        }
        _ => {}
    }
    true
}

fn parse_from(context: &mut Context, keyword: &Slice<'_>, rest: &Slice<'_>) -> Option<From> {
    let (raw, arguments) = flags::split(rest);
    let flags = Flags::check(context, "FROM", raw, &[("platform", Takes::One)]);
    let words = arguments.split_blanks();
    let place = if words.is_empty() { keyword.span() } else { arguments.span() };
    let invalid = |message: &str| {
        Diagnostic::error("invalid-from", place, message.to_owned())
            .help("write FROM [--platform=PLATFORM] IMAGE [AS NAME]")
    };
    match words.as_slice() {
        [image] => Some(From {
            platform: flags.one("platform"),
            image: image.text(),
            name: None,
            keywords: (keyword.as_str().to_owned(), None),
        }),
        [image, as_keyword, name] if as_keyword.as_str().eq_ignore_ascii_case("AS") => {
            let valid = name.as_str().starts_with(|c: char| c.is_ascii_alphabetic())
                && name.as_str().chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
            if !valid {
                let message = format!("invalid name for build stage: {:?}", name.as_str());
                let help = "a name starts with a letter and holds only letters, digits, '-', '_' and '.'; variables are not expanded in it";
                context.report(Diagnostic::error("invalid-stage-name", name.span(), message).help(help));
                return None;
            }
            Some(From {
                platform: flags.one("platform"),
                image: image.text(),
                name: Some(name.text()),
                keywords: (keyword.as_str().to_owned(), Some(as_keyword.as_str().to_owned())),
            })
        }
        [] => {
            context.report(invalid("FROM without an image"));
            None
        }
        [_, word, _] => {
            let message = format!("FROM requires either one or three arguments: {:?} is not AS", word.as_str());
            context.report(Diagnostic { span: word.span(), ..invalid(&message) });
            None
        }
        _ => {
            context.report(invalid("FROM requires either one or three arguments"));
            None
        }
    }
}

fn parse_kind(context: &mut Context, keyword: &Slice<'_>, rest: &Slice<'_>, comments: &[String]) -> Option<Kind> {
    let name = keyword.as_str().to_ascii_uppercase();
    if !KEYWORDS.contains(&name.as_str()) {
        context.report(unknown_instruction(keyword, rest));
        return None;
    }
    let (raw, arguments) = flags::split(rest);
    if name == "ONBUILD" {
        return parse_onbuild(context, keyword, raw, &arguments);
    }
    arguments::parse(context, &name, keyword, raw, arguments, comments)
}

fn unknown_instruction(keyword: &Slice<'_>, rest: &Slice<'_>) -> Diagnostic {
    let word = keyword.as_str();
    let diagnostic = Diagnostic::error("unknown-instruction", keyword.span(), format!("unknown instruction: {word}"));
    if let Some((start, _)) =
        word.split_once('=').filter(|(start, _)| KEYWORDS.contains(&start.to_uppercase().as_str()))
    {
        return diagnostic.help(format!("put a blank after {start}"));
    }
    if let Some(near) = suggest::nearest(word, KEYWORDS) {
        return diagnostic.help(format!("did you mean {near}?"));
    }
    let shell = word.starts_with(['&', '|', '-', ';', '"', '\'', '$', '.', '/', '}', ')'])
        || matches!(rest.as_str().chars().next(), Some('-' | '=' | '|' | '&'));
    let continued = "if this line continues the one above, that one must end with the escape character (\\)";
    match word {
        "EOF" | "EOT" | "END" => {
            diagnostic.help(format!("if this ends a here-document, RUN, COPY or ADD must begin it with <<{word}"))
        }
        _ if shell => diagnostic.help(continued),
        _ => diagnostic.help(format!("an instruction is one of {}; {continued}", KEYWORDS.join(", "))),
    }
}

fn parse_onbuild(context: &mut Context, keyword: &Slice<'_>, raw: Vec<RawFlag>, rest: &Slice<'_>) -> Option<Kind> {
    Flags::check(context, "ONBUILD", raw, &[]);
    if rest.is_empty() {
        let diagnostic =
            Diagnostic::error("missing-argument", keyword.span(), "ONBUILD requires at least one argument");
        context.report(diagnostic.help("write ONBUILD INSTRUCTION …"));
        return None;
    }
    let (inner, arguments) = rest.split_once_blank();
    let name = inner.as_str().to_ascii_uppercase();
    let refused = match name.as_str() {
        "ONBUILD" => Some("chaining ONBUILD via ONBUILD ONBUILD isn't allowed".to_owned()),
        "FROM" | "MAINTAINER" => Some(format!("{name} isn't allowed as an ONBUILD trigger")),
        _ => None,
    };
    if let Some(message) = refused {
        let help = "every other instruction can be a trigger";
        context.report(Diagnostic::error("onbuild-not-allowed", inner.span(), message).help(help));
        return None;
    }
    let kind = parse_kind(context, &inner, &arguments, &[])?;
    let original = rest.as_str().to_owned();
    let instruction = Instruction { kind, keyword: inner.text(), span: rest.span(), original, doc: None, check: None };
    Some(Kind::Onbuild(rest.text(), Box::new(instruction)))
}
