//! Each instruction: which flags it knows, how its arguments are cut, what it refuses.
use super::flags::{self, Flags, RawFlag, Takes};
use super::line::{Logical, Slice, is_blank};
use super::words::{Json, json_array, quoted_words};
use super::{Comments, Context, go, heredoc, mounts};
use crate::ast::{
    ArgDecl, CommandLine, Copy, From, Healthcheck, Heredoc, Instruction, KeyValues, Kind, Network, Run, Security,
    Stage, Text,
};
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
        let doc = from.name.as_ref().and_then(|name| description(comments, &name.value.to_lowercase()));
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

/// The description of a name: the comment line above that begins with it.
fn description(comments: &[String], name: &str) -> Option<String> {
    comments.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned)
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
    let mut parser = Arguments { context, name: &name, keyword, raw, bad_flags: false, rest: arguments, comments };
    match name.as_str() {
        "ADD" => parser.copy(true).map(Kind::Add),
        "ARG" => parser.arg().map(Kind::Arg),
        "CMD" => parser.command().map(Kind::Cmd),
        "COPY" => parser.copy(false).map(Kind::Copy),
        "ENTRYPOINT" => parser.command().map(Kind::Entrypoint),
        "ENV" => parser.key_values().map(Kind::Env),
        "EXPOSE" => parser.expose().map(Kind::Expose),
        "HEALTHCHECK" => parser.healthcheck().map(Kind::Healthcheck),
        "LABEL" => parser.key_values().map(Kind::Label),
        "MAINTAINER" => parser.single("NAME").map(Kind::Maintainer),
        "RUN" => parser.run().map(Kind::Run),
        "SHELL" => parser.shell().map(Kind::Shell),
        "STOPSIGNAL" => parser.single("SIGNAL").map(Kind::StopSignal),
        "USER" => parser.single("USER[:GROUP]").map(Kind::User),
        "VOLUME" => parser.volume().map(Kind::Volume),
        "WORKDIR" => parser.single("PATH").map(Kind::Workdir),
        _ => None,
    }
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

/// What an instruction's own function sees.
struct Arguments<'a, 'b> {
    context: &'b mut Context,
    name: &'b str,
    keyword: &'b Slice<'a>,
    raw: Vec<RawFlag>,
    /// Whether a flag was wrong; then a missing argument may be its fault and is not worth saying.
    bad_flags: bool,
    rest: Slice<'a>,
    comments: &'b [String],
}

impl Arguments<'_, '_> {
    fn flags(&mut self, known: &[(&'static str, Takes)]) -> Flags {
        let before = self.context.diagnostics.len();
        let flags = Flags::check(self.context, self.name, std::mem::take(&mut self.raw), known);
        self.bad_flags = self.context.diagnostics.len() > before;
        flags
    }

    fn error(&mut self, code: &'static str, span: Span, message: String, help: &str) {
        self.context.report(Diagnostic::error(code, span, message).help(help));
    }

    /// Reports that something is missing behind the keyword.
    fn missing<T>(&mut self, what: &str, help: &str) -> Option<T> {
        if !self.bad_flags {
            self.error("missing-argument", self.keyword.span(), format!("{} requires {what}", self.name), help);
        }
        None
    }

    /// The whole rest as one argument.
    fn single(&mut self, what: &str) -> Option<Text> {
        self.flags(&[]);
        if self.rest.is_empty() {
            return self.missing("exactly one argument", &format!("write {} {what}", self.name));
        }
        Some(self.rest.text())
    }

    /// JSON form, or the text for a shell.
    fn command_line(&mut self, rest: &Slice<'_>) -> Option<CommandLine> {
        match json_array(rest) {
            Json::Strings(words) => {
                Some(CommandLine::Exec(words.into_iter().map(|word| word.value).collect(), rest.span()))
            }
            Json::No => Some(CommandLine::Shell(rest.text())),
            Json::NotStrings => self.not_strings(rest),
        }
    }

    fn not_strings<T>(&mut self, rest: &Slice<'_>) -> Option<T> {
        let message = "when using JSON array syntax, arrays must be comprised of strings only".to_owned();
        self.error("json-not-strings", rest.span(), message, "put every element in double quotes");
        None
    }

    /// A JSON array of strings, or words separated by blanks.
    fn list(&mut self) -> Option<Vec<Text>> {
        match json_array(&self.rest) {
            Json::Strings(words) => Some(words),
            Json::No => Some(self.rest.split_blanks().iter().map(Slice::text).collect()),
            Json::NotStrings => {
                let rest = self.rest.clone();
                self.not_strings(&rest)
            }
        }
    }

    fn command(&mut self) -> Option<CommandLine> {
        self.flags(&[]);
        if self.rest.is_empty() {
            let help = format!("write {0} [\"program\", \"argument\"]; {0} [] clears an inherited one", self.name);
            return self.missing("at least one argument", &help);
        }
        let rest = self.rest.clone();
        self.command_line(&rest)
    }

    fn arg(&mut self) -> Option<Vec<ArgDecl>> {
        self.flags(&[]);
        let words = quoted_words(&self.rest, self.context.escape);
        if words.is_empty() {
            return self.missing("at least one argument", "write ARG NAME or ARG NAME=DEFAULT");
        }
        let mut declarations = Vec::with_capacity(words.len());
        for word in words {
            let (name, value) = self.split_pair(&word)?;
            let doc = description(self.comments, &name.value);
            declarations.push(ArgDecl { name, value, doc });
        }
        Some(declarations)
    }

    /// `NAME=VALUE` or `NAME`.
    fn split_pair(&mut self, word: &Text) -> Option<(Text, Option<Text>)> {
        let Some((name, value)) = word.value.split_once('=') else { return Some((word.clone(), None)) };
        if name.is_empty() {
            let message = format!("{} names can not be blank", self.name);
            self.error("blank-name", word.span, message, "write NAME=VALUE without blanks around '='");
            return None;
        }
        // A word that lost an escape character at its end, or spans lines, is longer in the source.
        let exact = word.span.end - word.span.start == word.value.len();
        let middle = word.span.start + name.len();
        let spans = if exact {
            (Span::new(word.span.start, middle), Span::new(middle + 1, word.span.end))
        } else {
            (word.span, word.span)
        };
        let name = Text { value: name.to_owned(), span: spans.0 };
        Some((name, Some(Text { value: value.to_owned(), span: spans.1 })))
    }

    fn key_values(&mut self) -> Option<KeyValues> {
        self.flags(&[]);
        let words = quoted_words(&self.rest, self.context.escape);
        let usage = format!("write {} NAME=VALUE …", self.name);
        let Some(first) = words.first() else { return self.missing("at least one argument", &usage) };
        if !first.value.contains('=') {
            let (name, value) = self.rest.split_once_blank();
            if value.is_empty() {
                let message = format!("{} must have two arguments", self.name);
                self.error("missing-value", first.span, message, &usage);
                return None;
            }
            return Some(KeyValues { pairs: vec![(name.text(), value.text())], legacy: true });
        }
        let mut pairs = Vec::with_capacity(words.len());
        for word in &words {
            let (name, value) = self.split_pair(word)?;
            let Some(value) = value else {
                let message = format!("can't find = in {:?}: must be of the form name=value", word.value);
                let help = "put a value with blanks in double quotes";
                self.error("missing-equals", word.span, message, help);
                return None;
            };
            pairs.push((name, value));
        }
        Some(KeyValues { pairs, legacy: false })
    }

    fn expose(&mut self) -> Option<Vec<Text>> {
        self.flags(&[]);
        let ports: Vec<_> = self.rest.split_blanks().iter().map(Slice::text).collect();
        if ports.is_empty() {
            return self.missing("at least one argument", "write EXPOSE PORT[/PROTOCOL] …");
        }
        Some(ports)
    }

    fn volume(&mut self) -> Option<Vec<Text>> {
        self.flags(&[]);
        let mut volumes = self.list()?;
        if volumes.is_empty() {
            return self.missing("at least one argument", "write VOLUME PATH … or VOLUME [\"PATH\", …]");
        }
        for volume in &mut volumes {
            volume.value = volume.value.trim().to_owned();
            if volume.value.is_empty() {
                self.error(
                    "empty-volume",
                    volume.span,
                    "VOLUME specified can not be an empty string".into(),
                    "name a path",
                );
                return None;
            }
        }
        Some(volumes)
    }

    fn shell(&mut self) -> Option<Vec<String>> {
        self.flags(&[]);
        let usage = "write SHELL [\"/bin/bash\", \"-c\"]";
        match json_array(&self.rest) {
            Json::Strings(words) if words.is_empty() => self.missing("at least one argument", usage),
            Json::Strings(words) => Some(words.into_iter().map(|word| word.value).collect()),
            Json::NotStrings => {
                let rest = self.rest.clone();
                self.not_strings(&rest)
            }
            Json::No if self.rest.is_empty() => self.missing("at least one argument", usage),
            Json::No => {
                let message = "SHELL requires the arguments to be in JSON form".to_owned();
                self.error("shell-not-json", self.rest.span(), message, usage);
                None
            }
        }
    }

    fn run(&mut self) -> Option<Run> {
        let flags = self.flags(&[("mount", Takes::Many), ("network", Takes::One), ("security", Takes::One)]);
        let failed_before = std::mem::take(&mut self.context.failed);
        let mounts: Vec<_> = flags.raw("mount").filter_map(|flag| mounts::parse(self.context, flag)).collect();
        let failed = std::mem::replace(&mut self.context.failed, failed_before);
        self.context.failed |= failed;
        let network = flags.one("network").and_then(|value| {
            let networks = [("default", Network::Default), ("none", Network::None), ("host", Network::Host)];
            self.choice("network mode", &value, &networks)
        });
        let security = flags.one("security").and_then(|value| {
            self.choice("security mode", &value, &[("sandbox", Security::Sandbox), ("insecure", Security::Insecure)])
        });
        let rest = self.rest.clone();
        if rest.is_empty() {
            return self.missing("at least one argument", "write RUN COMMAND or RUN [\"program\", \"argument\"]");
        }
        let command = self.command_line(&rest)?;
        if matches!(&command, CommandLine::Exec(words, _) if words.is_empty()) {
            self.error("empty-command", rest.span(), "RUN with an empty command".into(), "name a program");
            return None;
        }
        if failed {
            return None;
        }
        Some(Run { command, heredocs: Vec::new(), mounts, network, security })
    }

    fn choice<T: std::marker::Copy>(&mut self, what: &str, value: &Text, known: &[(&str, T)]) -> Option<(T, Span)> {
        if let Some((_, found)) = known.iter().find(|(name, _)| *name == value.value) {
            return Some((*found, value.span));
        }
        let names = known.iter().map(|(name, _)| *name);
        let help = match suggest::nearest(&value.value, names.clone()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("known are {}", names.collect::<Vec<_>>().join(", ")),
        };
        self.error("invalid-flag-value", value.span, format!("unsupported {what} {:?}", value.value), &help);
        None
    }

    fn copy(&mut self, add: bool) -> Option<Copy> {
        let mut known =
            vec![("chown", Takes::One), ("chmod", Takes::One), ("link", Takes::Bool), ("exclude", Takes::Many)];
        known.extend(if add {
            [("checksum", Takes::One), ("keep-git-dir", Takes::Bool), ("unpack", Takes::Bool)].as_slice()
        } else {
            [("from", Takes::One), ("parents", Takes::Bool)].as_slice()
        });
        let flags = self.flags(&known);
        let from = flags.one("from");
        if let Some(from) = from.as_ref().filter(|from| mounts::has_variable(&from.value)) {
            let message = "'--from' doesn't support variable expansion, define alias stage instead".to_owned();
            let help = format!("add a stage FROM {} AS NAME at the top and write --from=NAME", from.value);
            self.error("variable-in-from", from.span, message, &help);
        }
        let usage = if add { "write ADD SOURCE … DESTINATION" } else { "write COPY SOURCE … DESTINATION" };
        let mut sources = self.list()?;
        let destination = sources.pop();
        let Some(destination) = destination.filter(|_| !sources.is_empty()) else {
            let what = "at least two arguments: sources and a destination";
            if !self.rest.is_empty() {
                let message = format!("{} requires {what}", self.name);
                self.error("missing-argument", self.rest.span(), message, usage);
                return None;
            }
            return self.missing(what, usage);
        };
        if heredoc::marker(&destination.value).is_some() {
            let message = format!("{} cannot accept a heredoc as a destination", self.name);
            self.error(
                "heredoc-destination",
                destination.span,
                message,
                "the destination comes last, after the heredoc's <<NAME",
            );
            return None;
        }
        Some(Copy {
            sources,
            heredocs: Vec::new(),
            destination,
            from,
            chown: flags.one("chown"),
            chmod: flags.one("chmod"),
            link: flags.bool("link").unwrap_or(false),
            parents: flags.bool("parents").unwrap_or(false),
            exclude: flags.all("exclude"),
            checksum: flags.one("checksum"),
            keep_git_dir: flags.bool("keep-git-dir"),
            unpack: flags.bool("unpack"),
        })
    }

    fn healthcheck(&mut self) -> Option<Healthcheck> {
        let text = self.rest.as_str();
        let end = text.find(|c: char| is_blank(c) || c.is_whitespace()).unwrap_or(text.len());
        let kind = self.rest.sub(0..end);
        let rest = self.rest.sub(end..text.len()).trim();
        if kind.is_empty() {
            return self
                .missing("at least one argument", "write HEALTHCHECK [OPTIONS] CMD COMMAND or HEALTHCHECK NONE");
        }
        match kind.as_str().to_ascii_uppercase().as_str() {
            "NONE" => {
                self.flags(&[]);
                if !rest.is_empty() {
                    let message = "HEALTHCHECK NONE takes no arguments".to_owned();
                    self.error("extra-argument", rest.span(), message, "remove them, or write HEALTHCHECK CMD");
                    return None;
                }
                Some(Healthcheck::None)
            }
            "CMD" => {
                let names = ["interval", "timeout", "start-period", "start-interval", "retries"];
                let flags = self.flags(&names.map(|name| (name, Takes::One)));
                let [interval, timeout, start_period, start_interval] =
                    [names[0], names[1], names[2], names[3]].map(|name| self.interval(flags.one(name)));
                let retries = self.retries(flags.one("retries"));
                let empty = matches!(json_array(&rest), Json::Strings(words) if words.is_empty());
                if rest.is_empty() || empty {
                    let help = "name the command that checks the container's health";
                    self.error("missing-argument", kind.span(), "missing command after HEALTHCHECK CMD".into(), help);
                    return None;
                }
                let command = self.command_line(&rest)?;
                Some(Healthcheck::Command { command, interval, timeout, start_period, start_interval, retries })
            }
            _ => {
                let message = format!("unknown type {:?} in HEALTHCHECK", kind.as_str());
                self.error("invalid-healthcheck", kind.span(), message, "try HEALTHCHECK CMD COMMAND");
                None
            }
        }
    }

    /// A duration in nanoseconds; none, nothing and zero are all the default.
    fn interval(&mut self, value: Option<Text>) -> Option<i64> {
        let value = value.filter(|value| !value.value.is_empty())?;
        let message = match go::duration(&value.value) {
            Some(0) => return None,
            Some(nanoseconds) if nanoseconds >= 1_000_000 => return Some(nanoseconds),
            Some(_) => format!("interval {:?} cannot be less than 1ms", value.value),
            None => format!("invalid duration {:?}", value.value),
        };
        self.error("invalid-duration", value.span, message, "write a number with a unit, such as 30s or 1m30s");
        None
    }

    fn retries(&mut self, value: Option<Text>) -> Option<i64> {
        let value = value.filter(|value| !value.value.is_empty())?;
        match value.value.parse::<i32>() {
            Ok(0) => None,
            Ok(retries) if retries > 0 => Some(i64::from(retries)),
            _ => {
                let message = format!("invalid number of retries {:?}", value.value);
                self.error("invalid-flag-value", value.span, message, "write a number that is not negative");
                None
            }
        }
    }
}
