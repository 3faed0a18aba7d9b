//! Source text to tree, with every error and not only the first.
//!
//! The parser goes line by line: `line` glues continuation lines together, `directives` reads the
//! comments at the very top, `flags` and `words` cut an instruction into its parts, `instruction` and
//! `arguments` know each instruction, `heredoc` takes the lines that belong to a here-document. An instruction
//! that is wrong is reported and left out, and the next one is parsed as if nothing had happened.
//!
//! Time and memory are linear in the length of the source.
mod arguments;
mod directives;
mod flags;
pub(crate) mod go;
mod heredoc;
mod instruction;
mod line;
mod mounts;
mod words;

pub use directives::{Detected, detect_syntax};
pub use heredoc::{RunScript, run_script};

use crate::ast::{Directives, Dockerfile, Instruction, Kind, Stage, Text};
use crate::{Diagnostic, Severity, Span};
use instruction::Statement;
use line::{Lines, Logical, continued};

/// So many findings are enough; a binary file should not yield a million.
const MAX_DIAGNOSTICS: usize = 100;

/// The result of [`parse()`].
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The tree; present only where no diagnostic is an error.
    pub dockerfile: Option<Dockerfile>,
    /// Errors and warnings in the order of the source.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// The tree and the warnings, or all diagnostics.
    pub fn into_result(self) -> Result<(Dockerfile, Vec<Diagnostic>), Vec<Diagnostic>> {
        match self.dockerfile {
            Some(dockerfile) => Ok((dockerfile, self.diagnostics)),
            None => Err(self.diagnostics),
        }
    }
}

/// What the parsing functions share.
#[derive(Debug)]
struct Context {
    escape: char,
    diagnostics: Vec<Diagnostic>,
    failed: bool,
}

impl Context {
    fn new(escape: char) -> Context {
        Context { escape, diagnostics: Vec::new(), failed: false }
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        self.failed |= diagnostic.severity == Severity::Error;
        if self.diagnostics.len() < MAX_DIAGNOSTICS {
            self.diagnostics.push(diagnostic);
        }
    }
}

/// The comments above an instruction.
#[derive(Debug, Default)]
struct Comments {
    /// Those directly above, without the `#`.
    lines: Vec<String>,
    /// The value of the first `check=` among all of them.
    check: Option<Text>,
}

/// The bytes of a Dockerfile as text; says what they look like instead where they are none.
pub fn decode(bytes: &[u8]) -> Result<&str, Diagnostic> {
    let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(_) if utf16 => {
            Err(Diagnostic::error("not-utf8", Span::new(0, 2), "the Dockerfile is UTF-16 text")
                .help("save it as UTF-8"))
        }
        Err(error) => {
            let at = error.valid_up_to();
            let line = bytes[..at].iter().filter(|b| **b == b'\n').count() + 1;
            let message = format!("the Dockerfile is not UTF-8 text: invalid byte {:#04x} in line {line}", bytes[at]);
            Err(Diagnostic::error("not-utf8", Span::new(at, at + 1), message).help("save it as UTF-8"))
        }
    }
}

/// Parses a Dockerfile.
pub fn parse(source: &str) -> Parsed {
    let mut parser = Parser::new(source);
    let mut global_args: Vec<Instruction> = Vec::new();
    let mut stages: Vec<Stage> = Vec::new();
    let mut homeless = false;
    while let Some(statement) = parser.next_statement() {
        match (statement, stages.last_mut()) {
            (Statement::From(stage), _) => stages.push(Stage { index: stages.len(), ..stage }),
            (Statement::Other(instruction), Some(stage)) => stage.instructions.push(instruction),
            (Statement::Other(instruction), None) if matches!(instruction.kind, Kind::Arg(_)) => {
                global_args.push(instruction);
            }
            (Statement::Other(instruction), None) => {
                // One is enough: the remedy is the same for all of them.
                if !std::mem::replace(&mut homeless, true) {
                    let name = instruction.keyword.value.to_uppercase();
                    let message = format!("{name} before the first FROM: no build stage in current context");
                    let help = "begin the file with FROM IMAGE (only ARG may come before it)";
                    parser.context.report(
                        Diagnostic::error("instruction-before-from", instruction.keyword.span, message).help(help),
                    );
                }
            }
        }
    }
    let Parser { directives, mut context, instructions, empty_continuations, .. } = parser;
    if stages.is_empty() && !context.failed {
        let end = Span::new(source.len(), source.len());
        context.report(if instructions == 0 {
            Diagnostic::error("empty-dockerfile", end, "the Dockerfile has no instructions")
                .help("a Dockerfile begins with FROM IMAGE; FROM scratch starts from nothing")
        } else {
            Diagnostic::error("missing-from", end, "the Dockerfile has no FROM")
                .help("add FROM IMAGE after the ARGs; FROM scratch starts from nothing")
        });
    }
    context.diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
    let dockerfile = (!context.failed).then_some(Dockerfile { directives, global_args, stages, empty_continuations });
    Parsed { dockerfile, diagnostics: context.diagnostics }
}

/// Parses what `ONBUILD` left in a base image: one instruction (rarely several), not `FROM` and not
/// `ONBUILD`. Spans are relative to the trigger's text.
pub fn parse_trigger(source: &str) -> Result<Vec<Instruction>, Vec<Diagnostic>> {
    let mut parser = Parser::new(source);
    let mut instructions = Vec::new();
    while let Some(statement) = parser.next_statement() {
        match statement {
            Statement::Other(instruction) if !matches!(instruction.kind, Kind::Onbuild(..) | Kind::Maintainer(_)) => {
                instructions.push(instruction);
            }
            Statement::Other(Instruction { keyword, .. }) => parser.refuse_trigger(&keyword.value, keyword.span),
            Statement::From(stage) => parser.refuse_trigger("FROM", stage.span),
        }
    }
    if instructions.is_empty() && !parser.context.failed {
        let span = Span::new(0, source.len());
        parser.context.report(Diagnostic::error("empty-trigger", span, "the ONBUILD trigger holds no instruction"));
    }
    if parser.context.failed { Err(parser.context.diagnostics) } else { Ok(instructions) }
}

/// A Dockerfile half read.
struct Parser<'a> {
    source: &'a str,
    lines: Lines<'a>,
    directives: Directives,
    context: Context,
    /// What stands above the next instruction.
    comments: Comments,
    /// The last lines of instructions with empty continuation lines.
    empty_continuations: Vec<Span>,
    /// How many instructions were seen, good or not.
    instructions: usize,
}

impl<'a> Parser<'a> {
    fn new(source: &'a str) -> Parser<'a> {
        let mut context = Context::new('\\');
        let directives = directives::read(source, &mut context);
        context.escape = directives.escape;
        if let Some(at) = source.find('\0') {
            let diagnostic =
                Diagnostic::error("nul-character", Span::new(at, at + 1), "NUL character in the Dockerfile");
            context.report(diagnostic.help("is this a Dockerfile? Save it as UTF-8 text"));
        }
        Parser {
            source,
            lines: Lines::new(source),
            directives,
            context,
            comments: Comments::default(),
            empty_continuations: Vec::new(),
            instructions: 0,
        }
    }

    fn refuse_trigger(&mut self, keyword: &str, span: Span) {
        let message = format!("{} isn't allowed as an ONBUILD trigger", keyword.to_uppercase());
        self.context.report(Diagnostic::error("onbuild-not-allowed", span, message));
    }

    /// The next instruction that could be parsed.
    fn next_statement(&mut self) -> Option<Statement> {
        loop {
            let line = self.next_line()?;
            self.instructions += 1;
            let comments = std::mem::take(&mut self.comments);
            let statement = instruction::parse(&mut self.context, &line, &comments);
            let markers = instruction::markers(&line, statement.as_ref());
            let heredocs = match heredoc::read(self.source, &mut self.lines, markers) {
                Ok(heredocs) => heredocs,
                Err(diagnostic) => {
                    self.context.report(*diagnostic);
                    continue;
                }
            };
            let end = heredocs.last().map(|last| last.span.end);
            if let Some(mut statement) = statement {
                let end = end.map(|end| end + self.terminator_length(end));
                if statement.attach(&mut self.context, heredocs, end) {
                    return Some(statement);
                }
            }
        }
    }

    /// The length of the terminator's line without its line break.
    fn terminator_length(&self, start: usize) -> usize {
        let rest = &self.source[start..self.lines.offset()];
        rest.trim_end_matches(['\n', '\r']).len()
    }

    /// The next logical line; comments are collected on the way.
    fn next_line(&mut self) -> Option<Logical> {
        loop {
            let first = self.lines.next()?;
            if first.is_comment() {
                let indent = first.text.len() - first.text.trim_start().len();
                self.comment(&first.text[indent..], first.start + indent);
                continue;
            }
            if first.is_empty() {
                self.comments.lines.clear();
                continue;
            }
            let indent = first.text.len() - first.text.trim_start().len();
            let mut line = Logical::default();
            let mut text = &first.text[indent..];
            let mut start = first.start + indent;
            let mut has_gap = false;
            loop {
                let Some(part) = continued(text, self.context.escape) else {
                    line.push(text, start);
                    break;
                };
                line.push(part, start);
                let next = self.lines.find(|next| {
                    has_gap |= next.is_empty();
                    !next.is_comment() && !next.is_empty()
                });
                let Some(next) = next else { break };
                text = next.text;
                start = next.start;
            }
            if has_gap {
                self.empty_continuations.push(Span::new(start, start + text.len()));
            }
            if line.slice().trim().is_empty() {
                continue;
            }
            return Some(line);
        }
    }

    fn comment(&mut self, text: &str, start: usize) {
        let content = text.trim_start_matches('#').trim();
        // An empty comment ends the description above it, and so does a parser directive.
        if content.is_empty() || self.directives.end > start {
            self.comments.lines.clear();
            return;
        }
        self.comments.lines.push(text[1..].trim().to_owned());
        if self.comments.check.is_none()
            && let Some((value, offset)) = directives::check_comment(text)
        {
            let start = start + offset;
            self.comments.check = Some(Text { span: Span::new(start, start + value.len()), value: value.to_owned() });
        }
    }
}

#[cfg(test)]
mod tests;
