//! The arguments of each instruction but `FROM` and `ONBUILD`: which flags it knows, how its text is cut.
use super::flags::{Flags, RawFlag, Takes};
use super::line::{Slice, is_blank};
use super::words::{Json, json_array, quoted_words};
use super::{Context, go, heredoc, mounts};
use crate::ast::{ArgDecl, CommandLine, Copy, Healthcheck, KeyValues, Kind, Network, Run, Security, Text};
use crate::{Diagnostic, Span, suggest};

/// Parses what follows the keyword `name` (in capitals) and its flags.
pub(super) fn parse(
    context: &mut Context,
    name: &str,
    keyword: &Slice<'_>,
    raw: Vec<RawFlag>,
    rest: Slice<'_>,
    comments: &[String],
) -> Option<Kind> {
    let mut parser = Arguments { context, name, keyword, raw, bad_flags: false, rest, comments };
    match name {
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

/// The description of a name: the comment line above that begins with it.
pub(super) fn description(comments: &[String], name: &str) -> Option<String> {
    comments.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned)
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
