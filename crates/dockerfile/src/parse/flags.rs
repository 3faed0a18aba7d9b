//! `--name=value` flags between the keyword and the arguments.
use super::{Context, line::Slice};
use crate::{Diagnostic, Span, ast::Text, suggest};

/// A flag as it was written.
#[derive(Debug, Clone)]
pub(super) struct RawFlag {
    /// The name without the dashes.
    pub(super) name: String,
    /// What follows `=`; quotes and backslashes are gone.
    pub(super) value: Option<Text>,
    /// The whole flag.
    pub(super) span: Span,
}

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing, or `=true` or `=false`.
    Bool,
    /// A value, once.
    One,
    /// A value, any number of times.
    Many,
}

/// The flags of an instruction, checked against what it knows.
#[derive(Debug, Default)]
pub(super) struct Flags(Vec<RawFlag>);

/// Cuts the flags off the front of the arguments. Quotes group and vanish, a backslash makes the next
/// character plain whatever the escape character is, and `--` ends the flags: BuildKit's rules.
pub(super) fn split<'a>(arguments: &Slice<'a>) -> (Vec<RawFlag>, Slice<'a>) {
    let text = arguments.as_str();
    let mut flags = Vec::new();
    let mut at = 0;
    loop {
        let start = text[at..].find(|c: char| !c.is_whitespace()).map_or(text.len(), |i| at + i);
        if !text[start..].starts_with("--") {
            return (flags, arguments.sub(start..text.len()).trim());
        }
        let mut word = String::new();
        let mut equals = None;
        let mut quote = None;
        let mut chars = text[start..].char_indices().peekable();
        let mut end = text.len();
        while let Some((offset, c)) = chars.next() {
            match (quote, c) {
                (None, c) if c.is_whitespace() => {
                    end = start + offset;
                    break;
                }
                (None, '\'' | '"') => quote = Some(c),
                (Some(open), c) if open == c => quote = None,
                (_, '\\') => word.extend(chars.next().map(|(_, escaped)| escaped)),
                (_, c) => {
                    if c == '=' && equals.is_none() {
                        equals = Some((word.len(), start + offset + 1));
                    }
                    word.push(c);
                }
            }
        }
        at = end;
        if word == "--" {
            return (flags, arguments.sub(end..text.len()).trim());
        }
        let (name, value) = match equals {
            None => (word.split_off(2.min(word.len())), None),
            Some((index, value_start)) => {
                let span = arguments.sub(value_start..end).span();
                (word[2.min(index)..index].to_owned(), Some(Text { value: word[index + 1..].to_owned(), span }))
            }
        };
        flags.push(RawFlag { name, value, span: arguments.sub(start..end).span() });
    }
}

/// Which instructions know a flag, to say so where it stands on another one.
const OWNERS: [(&str, &str); 18] = [
    ("chmod", "COPY and ADD"),
    ("chown", "COPY and ADD"),
    ("checksum", "ADD"),
    ("exclude", "COPY and ADD"),
    ("from", "COPY"),
    ("interval", "HEALTHCHECK"),
    ("keep-git-dir", "ADD"),
    ("link", "COPY and ADD"),
    ("mount", "RUN"),
    ("network", "RUN"),
    ("parents", "COPY"),
    ("platform", "FROM"),
    ("retries", "HEALTHCHECK"),
    ("security", "RUN"),
    ("start-interval", "HEALTHCHECK"),
    ("start-period", "HEALTHCHECK"),
    ("timeout", "HEALTHCHECK"),
    ("unpack", "ADD"),
];

impl Flags {
    /// Checks the flags of an instruction and keeps the good ones.
    pub(super) fn check(
        context: &mut Context,
        keyword: &str,
        raw: Vec<RawFlag>,
        known: &[(&'static str, Takes)],
    ) -> Flags {
        let mut flags: Vec<RawFlag> = Vec::new();
        for flag in raw {
            let Some((_, takes)) = known.iter().find(|(name, _)| *name == flag.name) else {
                context.report(unknown(keyword, &flag, known));
                continue;
            };
            if let Some(first) = flags.iter().find(|f| f.name == flag.name).filter(|_| *takes != Takes::Many) {
                let message = format!("duplicate flag --{} on {keyword}", flag.name);
                context.report(
                    Diagnostic::error("duplicate-flag", flag.span, message)
                        .label(first.span, "first given here")
                        .help("give it once"),
                );
                continue;
            }
            let problem = match (takes, flag.value.as_ref().map(|v| v.value.as_str())) {
                (Takes::Bool, Some("")) => Some(format!("missing a value on flag --{}", flag.name)),
                (Takes::Bool, Some(v)) if !v.eq_ignore_ascii_case("true") && !v.eq_ignore_ascii_case("false") => {
                    Some(format!("expecting boolean value for flag --{}, not {v:?}", flag.name))
                }
                (Takes::One | Takes::Many, None) => Some(format!("missing a value on flag --{}", flag.name)),
                _ => None,
            };
            match problem {
                None => flags.push(flag),
                Some(message) => {
                    let help = match takes {
                        Takes::Bool => format!("write --{0}, --{0}=true or --{0}=false", flag.name),
                        _ => format!("write --{}=VALUE, without blanks around '='", flag.name),
                    };
                    context.report(Diagnostic::error("invalid-flag-value", flag.span, message).help(help));
                }
            }
        }
        Flags(flags)
    }

    /// The value of a flag that is given at most once.
    pub(super) fn one(&self, name: &str) -> Option<Text> {
        self.all(name).into_iter().next()
    }

    /// The values of a flag.
    pub(super) fn all(&self, name: &str) -> Vec<Text> {
        self.raw(name).filter_map(|flag| flag.value.clone()).collect()
    }

    /// A flag without a value, or with `true` or `false`.
    pub(super) fn bool(&self, name: &str) -> Option<bool> {
        let flag = self.raw(name).next()?;
        Some(flag.value.as_ref().is_none_or(|v| v.value.eq_ignore_ascii_case("true")))
    }

    /// The flags of a name as they were written.
    pub(super) fn raw(&self, name: &str) -> impl Iterator<Item = &RawFlag> {
        self.0.iter().filter(move |flag| flag.name == name)
    }
}

fn unknown(keyword: &str, flag: &RawFlag, known: &[(&'static str, Takes)]) -> Diagnostic {
    let keyword = keyword.to_uppercase();
    let name = &flag.name;
    if keyword == "RUN" && name == "device" {
        return Diagnostic::error("unsupported-flag", flag.span, "RUN --device is not supported")
            .help("it belongs to the experimental \"labs\" channel of the Dockerfile language, not to the stable one; remove the flag");
    }
    let diagnostic = Diagnostic::error("unknown-flag", flag.span, format!("unknown flag --{name} on {keyword}"));
    let list = known.iter().map(|(name, _)| format!("--{name}")).collect::<Vec<_>>().join(", ");
    if let Some(near) = suggest::nearest(name, known.iter().map(|(name, _)| *name)) {
        return diagnostic.help(format!("did you mean --{near}?"));
    }
    match OWNERS.iter().find(|(owned, _)| owned == name) {
        Some((_, owner)) if known.is_empty() => {
            diagnostic.help(format!("--{name} is a flag of {owner}; {keyword} takes no flags"))
        }
        Some((_, owner)) => diagnostic.help(format!("--{name} is a flag of {owner}; {keyword} knows {list}")),
        None if matches!(keyword.as_str(), "CMD" | "ENTRYPOINT") => diagnostic.help(format!(
            "{keyword} takes no flags; for an argument that starts with dashes use the JSON form: {keyword} [\"--{name}\"]"
        )),
        None if known.is_empty() => diagnostic.help(format!("{keyword} takes no flags")),
        None => diagnostic.help(format!("{keyword} knows {list}")),
    }
}
