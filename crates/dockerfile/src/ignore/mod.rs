//! `.dockerignore`: which files of a context a build sees.
//!
//! moby's rules: patterns are tried in order and the last one that fits wins, `!` brings files back, and a
//! pattern that fits a directory holds for everything in it. The result for a path is what a walk from the
//! root gives, in which each directory hands the patterns that fitted it down to its entries; that
//! differs from looking at the path alone where a pattern was not tried on a directory because an earlier
//! one had decided already. [`Ignore::child`] is that step, [`Ignore::may_skip`] says where a walk may stop.
//!
//! One deviation: a backslash before a letter or digit means that character, as Go's `filepath.Match` has
//! it; moby hands it to a regular expression, where `\d` is any digit. The same holds for `*` and `?`
//! inside a class.
use crate::Span;
use crate::glob::{BadPattern, PathPattern, clean};

/// Patterns that exclude paths, and exceptions from them.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
}

/// One pattern.
#[derive(Debug, Clone)]
struct Rule {
    pattern: PathPattern,
    /// `!`: brings paths back.
    exception: bool,
}

/// A pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    /// A `!` with nothing behind it.
    #[error("line {line}: illegal exclusion pattern: \"!\"")]
    EmptyException {
        /// The line, from 1 (of patterns from elsewhere: the number of the pattern).
        line: usize,
        /// Where it stands; empty for patterns from elsewhere.
        span: Span,
    },
    /// A pattern with a syntax error.
    #[error("line {line}: {source}")]
    BadPattern {
        /// The line, from 1.
        line: usize,
        /// Where it stands.
        span: Span,
        /// What is wrong.
        source: BadPattern,
    },
}

impl IgnoreError {
    /// The line, from 1.
    pub fn line(&self) -> usize {
        match self {
            IgnoreError::EmptyException { line, .. } | IgnoreError::BadPattern { line, .. } => *line,
        }
    }

    /// Where the pattern stands in the file.
    pub fn span(&self) -> Span {
        match self {
            IgnoreError::EmptyException { span, .. } | IgnoreError::BadPattern { span, .. } => *span,
        }
    }
}

/// What is known of a directory: which patterns fitted it or one of its parents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DirState {
    fitted: Vec<bool>,
    excluded: bool,
}

impl DirState {
    /// Whether the directory is excluded. Exceptions may still bring entries back.
    pub fn is_excluded(&self) -> bool {
        self.excluded
    }
}

impl Ignore {
    /// Reads a `.dockerignore`: a pattern a line, `#` in the first column begins a comment.
    pub fn parse(text: &str) -> Result<Ignore, IgnoreError> {
        let mut ignore = Ignore::default();
        let mut start = 0;
        for (number, line) in text.split('\n').enumerate() {
            let mut span = Span::new(start, start + line.len());
            start = span.end + 1;
            let content = if number == 0 { line.strip_prefix('\u{feff}').unwrap_or(line) } else { line };
            if content.starts_with('#') {
                continue;
            }
            let content = content.trim();
            span.start += line.find(content).unwrap_or(0);
            span.end = span.start + content.len();
            let (exception, pattern) = match content.strip_prefix('!') {
                Some(pattern) => (true, pattern.trim()),
                None => (false, content),
            };
            if content.is_empty() {
                continue;
            }
            // Absolute means relative to the context.
            let pattern = if pattern.is_empty() { String::new() } else { clean(pattern) };
            let pattern = match pattern.strip_prefix('/') {
                Some(relative) if !relative.is_empty() => relative,
                _ => &pattern,
            };
            ignore.add(exception, pattern, number + 1, span)?;
        }
        Ok(ignore)
    }

    /// Takes patterns one by one, as `--exclude` gives them.
    pub fn from_patterns<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Ignore, IgnoreError> {
        let mut ignore = Ignore::default();
        for (number, pattern) in patterns.into_iter().enumerate() {
            let pattern = pattern.trim();
            if pattern.is_empty() {
                continue;
            }
            let cleaned = clean(pattern);
            let (exception, pattern) = match cleaned.strip_prefix('!') {
                Some(rest) => (true, rest),
                None => (false, cleaned.as_str()),
            };
            ignore.add(exception, pattern, number + 1, Span::default())?;
        }
        Ok(ignore)
    }

    fn add(&mut self, exception: bool, pattern: &str, line: usize, span: Span) -> Result<(), IgnoreError> {
        // moby cleans `!/` once more with its `!`, and nothing is left of it.
        if pattern.is_empty() || (exception && pattern == "/") {
            return Err(IgnoreError::EmptyException { line, span });
        }
        let pattern = PathPattern::new(pattern).map_err(|source| IgnoreError::BadPattern { line, span, source })?;
        self.rules.push(Rule { pattern, exception });
        Ok(())
    }

    /// Whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether there is a `!`.
    pub fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|rule| rule.exception)
    }

    /// The patterns in order, with whether each is an exception.
    pub fn patterns(&self) -> impl Iterator<Item = (&str, bool)> {
        self.rules.iter().map(|rule| (rule.pattern.as_str(), rule.exception))
    }

    /// The state of the context's root, which is never excluded.
    pub fn root(&self) -> DirState {
        DirState { fitted: vec![false; self.rules.len()], excluded: false }
    }

    /// The state of an entry of a directory. `path` is relative to the root, with slashes.
    pub fn child(&self, parent: &DirState, path: &str) -> DirState {
        let mut excluded = false;
        let fitted = self.rules.iter().enumerate().map(|(i, rule)| {
            // What cannot change the result is not tried, and so not handed down: moby's semantics.
            let fits =
                parent.fitted.get(i) == Some(&true) || (rule.exception == excluded && rule.pattern.matches(path));
            if fits {
                excluded = !rule.exception;
            }
            fits
        });
        DirState { fitted: fitted.collect(), excluded }
    }

    /// Whether an entry of a directory is excluded.
    pub fn excludes(&self, parent: &DirState, path: &str) -> bool {
        self.rules.iter().enumerate().fold(false, |excluded, (i, rule)| {
            let fits =
                parent.fitted.get(i) == Some(&true) || (rule.exception == excluded && rule.pattern.matches(path));
            if fits { !rule.exception } else { excluded }
        })
    }

    /// Whether nothing below this directory can be brought back, so that a walk need not enter it.
    pub fn may_skip(&self, directory: &DirState, path: &str) -> bool {
        if !directory.excluded {
            return false;
        }
        // Exceptions in front of the pattern that excluded the directory are overruled by it, below it too.
        let last = directory.fitted.iter().rposition(|fitted| *fitted).unwrap_or(0);
        self.rules[last..].iter().all(|rule| !rule.exception || !rule.pattern.may_match_below(path))
    }

    /// Whether a path is excluded, walking down from the root.
    pub fn matches(&self, path: &str) -> bool {
        let path = clean(path);
        if path == "." || self.rules.is_empty() {
            return false;
        }
        let mut state = self.root();
        for (end, _) in path.match_indices('/').filter(|(end, _)| *end > 0) {
            state = self.child(&state, &path[..end]);
        }
        self.excludes(&state, &path)
    }

    /// Whether a path is excluded when each pattern is tried on it and on all its parents: moby's
    /// `MatchesOrParentMatches`, which the check of copied files uses.
    pub fn matches_or_parent(&self, path: &str) -> bool {
        let path = clean(path);
        if path == "." {
            return false;
        }
        self.rules.iter().fold(false, |excluded, rule| {
            let mut parents = path.match_indices('/').map(|(end, _)| &path[..end]);
            let fits = rule.exception == excluded
                && (rule.pattern.matches(&path) || parents.any(|parent| rule.pattern.matches(parent)));
            if fits { !rule.exception } else { excluded }
        })
    }
}

#[cfg(test)]
mod tests;
