//! Variables and quotes: the shell-like language inside instructions.
//!
//! BuildKit's rules, which are not quite a shell's: `$NAME` and `${NAME…}` are replaced, also inside
//! double quotes; single quotes keep everything; quotes vanish from the result; the escape character
//! (of `# escape=`) makes the next character plain. Inside double quotes it escapes only `"`, `$` and
//! itself. An undefined variable is empty, and reported in [`Expanded::unmatched`].
//!
//! Which instruction uses what:
//!
//! | text | how |
//! |---|---|
//! | `ADD`, `COPY`, `ENV`, `LABEL`, `ARG`, `USER`, `VOLUME`, `WORKDIR`, `STOPSIGNAL`, `FROM`, fields of `RUN --mount` | [`Expander::word`] |
//! | `EXPOSE` | [`Expander::words`]: one word may become several ports |
//! | here-documents of `COPY` and `ADD` with an unquoted delimiter | [`Expander::heredoc`] then `word` |
//! | `RUN`, `CMD`, `ENTRYPOINT`, `HEALTHCHECK`, `SHELL`, `ONBUILD` | not at all: that is for the shell |
mod lexer;
mod pattern;

use std::collections::BTreeSet;

/// How deep `${a:-${b:-…}}` may nest.
const MAX_DEPTH: usize = 64;

/// By how much values may make a text longer. `ENV A=$A$A` doubles with each line; no program can be started
/// with a variable of this size.
const MAX_GROWTH: usize = 1 << 20;

/// Where the values come from: `None` is an undefined variable.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The result of an expansion.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expanded {
    /// The text, variables replaced, quotes and escapes gone.
    pub value: String,
    /// Variables that were looked up and defined.
    pub used: BTreeSet<String>,
    /// Variables that were looked up and undefined (also where a default took their place).
    pub unmatched: BTreeSet<String>,
}

/// The result of an expansion with word splitting.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExpandedWords {
    /// The words; quoted and escaped blanks do not split, blanks in values do.
    pub words: Vec<String>,
    /// Variables that were looked up and defined.
    pub used: BTreeSet<String>,
    /// Variables that were looked up and undefined.
    pub unmatched: BTreeSet<String>,
}

/// Why a text could not be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot expand {word:?}: {problem}")]
pub struct ExpandError {
    /// The text as it was given.
    pub word: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a text that is to be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// `${` without `}`.
    #[error("missing '}}' after '${{'")]
    MissingBrace,
    /// `${}`, `${:…`, `${{…`.
    #[error("bad substitution: a variable name must follow '${{'")]
    BadSubstitution,
    /// `${NAME/pattern}`: the second slash is missing.
    #[error("missing '/' between pattern and replacement")]
    MissingSlash,
    /// An operator that does not exist.
    #[error("unsupported modifier ({0}) in substitution")]
    UnsupportedModifier(String),
    /// A quote that is not closed.
    #[error("unclosed {0} quote")]
    UnclosedQuote(&'static str),
    /// `${NAME:?message}` with no value.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The message after `?`, or that it must be set.
        message: String,
    },
    /// A pattern with a backslash before an ordinary character.
    #[error("invalid pattern ({pattern}) in substitution: invalid escape '\\{escape}'")]
    InvalidPattern {
        /// The pattern.
        pattern: String,
        /// What follows the backslash.
        escape: String,
    },
    /// `${a:-${b:-…}}` too deep.
    #[error("substitutions are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// The values are too long.
    #[error("the result is too long: variables may add no more than 1 MiB to a text")]
    TooLong,
}

/// Expands texts; see the module's table for which instruction uses which method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expander {
    escape: char,
    raw_quotes: bool,
    raw_escapes: bool,
    plain_quotes: bool,
    keep_undefined: bool,
}

impl Expander {
    /// An expander for the escape character of the Dockerfile.
    pub fn new(escape: char) -> Expander {
        Expander { escape, raw_quotes: false, raw_escapes: false, plain_quotes: false, keep_undefined: false }
    }

    /// The expander for the content of here-documents of `COPY` and `ADD`: quotes are ordinary
    /// characters, and the escape character is a backslash whatever `# escape=` says.
    pub fn heredoc() -> Expander {
        Expander { plain_quotes: true, ..Expander::new('\\') }
    }

    /// Keeps the quotes in the result.
    #[must_use]
    pub fn raw_quotes(self) -> Expander {
        Expander { raw_quotes: true, ..self }
    }

    /// Keeps the escape characters in the result.
    #[must_use]
    pub fn raw_escapes(self) -> Expander {
        Expander { raw_escapes: true, ..self }
    }

    /// Leaves undefined variables as they are written.
    #[must_use]
    pub fn keep_undefined(self) -> Expander {
        Expander { keep_undefined: true, ..self }
    }

    /// Expands a text to one word; blanks stay.
    pub fn word(&self, text: &str, env: Env<'_>) -> Result<Expanded, ExpandError> {
        if !self.is_special(text) {
            return Ok(Expanded { value: text.to_owned(), ..Expanded::default() });
        }
        let done = lexer::run(*self, text, env)?;
        Ok(Expanded { value: done.value, used: done.used, unmatched: done.unmatched })
    }

    /// Expands a text and splits the result at blanks that are neither quoted nor escaped.
    pub fn words(&self, text: &str, env: Env<'_>) -> Result<ExpandedWords, ExpandError> {
        let done = lexer::run(*self, text, env)?;
        let words = done.words.into_iter().map(|word| word.text).collect();
        Ok(ExpandedWords { words, used: done.used, unmatched: done.unmatched })
    }

    /// The words with the range of the text that each came from.
    pub(crate) fn spanned_words(&self, text: &str) -> Result<Vec<(String, std::ops::Range<usize>)>, ExpandError> {
        let done = lexer::run(*self, text, &|_| None)?;
        Ok(done.words.into_iter().map(|word| (word.text, word.range)).collect())
    }

    /// The names of the variables that a text refers to, defined or not; empty where it cannot be parsed.
    pub fn variables(&self, text: &str) -> BTreeSet<String> {
        lexer::run(*self, text, &|_| None).map(|done| done.unmatched).unwrap_or_default()
    }

    fn is_special(&self, text: &str) -> bool {
        text.contains(|c| c == '$' || c == self.escape || (!self.plain_quotes && (c == '"' || c == '\'')))
    }
}

#[cfg(test)]
mod tests;
