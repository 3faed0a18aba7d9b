//! Path patterns, in the two dialects that builds use.
//!
//! [`Glob`] is Go's `filepath.Match`, which chooses the sources of `COPY` and `ADD`: `*` and `?` do not
//! cross a slash, `[…]` is a class (negated by `^` only), a backslash takes the next character as it is,
//! and `**` is no more than `*`. [`PathPattern`] is what `.dockerignore`, `--exclude` and `--parents` use:
//! the same with `**` for any number of directories.
//!
//! Paths have slashes, are relative and clean (no `.`, no `..`, no double slash). Matching takes time in
//! proportion to the pattern's length times the path's; most patterns are decided by their literal
//! beginning or end.
mod matcher;

use matcher::{Class, Matcher, Token};

/// A pattern that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern {pattern:?}: {problem}")]
pub struct BadPattern {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// A pattern of Go's `filepath.Match`.
#[derive(Debug, Clone)]
pub struct Glob {
    pattern: String,
    matcher: Matcher,
    literal: Option<String>,
}

impl Glob {
    /// Reads a pattern.
    pub fn new(pattern: &str) -> Result<Glob, BadPattern> {
        let tokens = tokens(pattern, false)?;
        let literal = tokens.iter().map(Token::as_char).collect();
        Ok(Glob { pattern: pattern.to_owned(), matcher: Matcher::new(tokens), literal })
    }

    /// Whether the whole path fits.
    pub fn matches(&self, path: &str) -> bool {
        match &self.literal {
            Some(literal) => literal == path,
            None => self.matcher.matches(path),
        }
    }

    /// Whether a path below this directory may fit; a walker need not enter it otherwise.
    pub fn may_match_below(&self, directory: &str) -> bool {
        self.matcher.may_match_after(&below(directory))
    }

    /// The one path that fits, where there are no wildcards (escapes are taken off).
    pub fn as_literal(&self) -> Option<&str> {
        self.literal.as_deref()
    }

    /// The pattern as it was given.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }
}

/// Whether a text has wildcards as Go's `filepath.Match` understands them.
pub fn has_wildcards(pattern: &str) -> bool {
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' => return true,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
    false
}

/// A pattern of `.dockerignore`, without the `!` and already clean.
#[derive(Debug, Clone)]
pub struct PathPattern {
    pattern: String,
    kind: Kind,
}

/// The shapes that moby decides without a regular expression; two of them differ from what the
/// expression would say (`**foo` also fits `xfoo`, `foo**` also fits `foox/y`), so they are kept.
#[derive(Debug, Clone)]
enum Kind {
    Exact,
    Prefix(String),
    Suffix(String),
    Tokens(Matcher),
}

impl PathPattern {
    /// Reads a pattern. It should have gone through [`clean`].
    pub fn new(pattern: &str) -> Result<PathPattern, BadPattern> {
        Glob::new(pattern)?;
        Ok(PathPattern { pattern: pattern.to_owned(), kind: kind(pattern)? })
    }

    /// Whether the whole path fits. That a pattern which fits a directory holds for what is in it is the
    /// business of [`crate::ignore::Ignore`].
    pub fn matches(&self, path: &str) -> bool {
        match &self.kind {
            Kind::Exact => path == self.pattern,
            Kind::Prefix(prefix) => path.starts_with(prefix),
            Kind::Suffix(suffix) => path.ends_with(suffix) || suffix.strip_prefix('/') == Some(path),
            Kind::Tokens(matcher) => matcher.matches(path),
        }
    }

    /// Whether a path below this directory may fit.
    pub fn may_match_below(&self, directory: &str) -> bool {
        let below = below(directory);
        match &self.kind {
            Kind::Exact => self.pattern.starts_with(&below),
            Kind::Prefix(prefix) => prefix.starts_with(&below) || below.starts_with(prefix),
            Kind::Suffix(_) => true,
            Kind::Tokens(matcher) => matcher.may_match_after(&below),
        }
    }

    /// The pattern.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }
}

/// The start of all paths in a directory; empty for the root.
fn below(directory: &str) -> String {
    if directory.is_empty() || directory == "." { String::new() } else { format!("{directory}/") }
}

fn kind(pattern: &str) -> Result<Kind, BadPattern> {
    if let Some(suffix) = pattern.strip_prefix("**") {
        // `**/` at the front is `**` with an optional slash, which only counts where wildcards follow.
        if !suffix.contains(['*', '?', '[', ']', '\\']) {
            return Ok(Kind::Suffix(suffix.to_owned()));
        }
    } else if !pattern.contains(['*', '?', '[', ']', '\\']) {
        return Ok(Kind::Exact);
    } else if let Some(prefix) = pattern.strip_suffix("**").filter(|p| !p.contains(['*', '?', '[', ']', '\\'])) {
        return Ok(Kind::Prefix(prefix.to_owned()));
    }
    Ok(Kind::Tokens(Matcher::new(tokens(pattern, true)?)))
}

/// Cuts a pattern into tokens; `deep` gives `**` its meaning.
fn tokens(pattern: &str, deep: bool) -> Result<Vec<Token>, BadPattern> {
    let bad = |problem| BadPattern { pattern: pattern.to_owned(), problem };
    let mut tokens = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        let token = match c {
            '*' if deep && chars.next_if_eq(&'*').is_some() => {
                // `**/` is `**`.
                chars.next_if_eq(&'/');
                if chars.peek().is_some() {
                    tokens.push(Token::Directories);
                    Token::InDirectories
                } else {
                    Token::Anything
                }
            }
            '*' if tokens.last() == Some(&Token::Name) => continue,
            '*' => Token::Name,
            '?' => Token::NameChar,
            '\\' => Token::Char(chars.next().ok_or_else(|| bad("a backslash at the end"))?),
            '[' => Token::Class(class(&mut chars, deep).map_err(bad)?),
            c => Token::Char(c),
        };
        tokens.push(token);
    }
    Ok(tokens)
}

/// The rest of a class behind its `[`.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, strict: bool) -> Result<Class, &'static str> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
            return Ok(Class { negated, ranges });
        }
        let low = class_char(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { class_char(chars)? } else { low };
        if strict && high < low {
            return Err("a range in a class that runs backwards");
        }
        ranges.push((low, high));
    }
}

fn class_char(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<char, &'static str> {
    const UNCLOSED: &str = "a '[' without its ']'";
    let c = match chars.next().ok_or(UNCLOSED)? {
        '-' => return Err("a '-' in a class that stands between no characters (escape it)"),
        ']' => return Err("an empty class or range (escape a ']' that is meant)"),
        '\\' => chars.next().ok_or("a backslash at the end")?,
        c => c,
    };
    if chars.peek().is_none() { Err(UNCLOSED) } else { Ok(c) }
}

/// Go's `filepath.Clean`: no empty, `.` or needless `..` elements, no slash at the end; `.` for nothing.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests;
