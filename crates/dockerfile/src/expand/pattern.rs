//! The patterns of `${NAME#…}`, `${NAME%…}` and `${NAME/…/…}`: `*`, `?` and a backslash before `*`, `?`,
//! `\`, `}` and `/`. No brackets. Neither `*` nor `?` matches a line break.
use super::Problem;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Char(char),
    AnyChar,
    AnyText,
}

/// A parsed pattern.
pub(super) struct Pattern(Vec<Token>);

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Pattern, Problem> {
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                // Several stars are one; that keeps matching fast.
                '*' if tokens.last() == Some(&Token::AnyText) => continue,
                '*' => Token::AnyText,
                '?' => Token::AnyChar,
                '\\' => match chars.next() {
                    Some(c @ ('}' | '/' | '*' | '?' | '\\')) => Token::Char(c),
                    other => {
                        let escape = other.map(String::from).unwrap_or_default();
                        return Err(Problem::InvalidPattern { pattern: text.to_owned(), escape });
                    }
                },
                c => Token::Char(c),
            });
        }
        Ok(Pattern(tokens))
    }

    /// The value without the shortest or longest start that matches.
    pub(super) fn trim_start(&self, value: &str, longest: bool) -> String {
        let end = matched(&self.0, value.chars(), longest).unwrap_or(0);
        value.chars().skip(end).collect()
    }

    /// The value without the shortest or longest end that matches.
    pub(super) fn trim_end(&self, value: &str, longest: bool) -> String {
        let reversed: Vec<Token> = self.0.iter().rev().copied().collect();
        let length = matched(&reversed, value.chars().rev(), longest).unwrap_or(0);
        value.chars().take(value.chars().count() - length).collect()
    }

    /// The value with the first (or every) match replaced; a match is as long as it can be. `None` where
    /// the result is longer than the limit.
    pub(super) fn replace(&self, value: &str, replacement: &str, all: bool, limit: usize) -> Option<String> {
        let chars: Vec<char> = value.chars().collect();
        let mut result = String::with_capacity(value.len());
        let mut at = 0;
        // An empty match directly behind another match does not count, as in Go.
        let mut last_end = None;
        while at <= chars.len() {
            if result.len() > limit {
                return None;
            }
            let found = matched(&self.0, chars[at..].iter().copied(), true);
            match found.filter(|length| *length > 0 || last_end != Some(at)) {
                Some(length) => {
                    result.push_str(replacement);
                    if length == 0 {
                        result.extend(chars.get(at));
                        at += 1;
                    } else {
                        at += length;
                        last_end = Some(at);
                    }
                    if !all {
                        break;
                    }
                }
                // With a star in front, what does not match here matches nowhere on this line.
                None if found.is_none() && self.0.first() == Some(&Token::AnyText) => {
                    let line = chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |i| at + i);
                    let next = (line + 1).min(chars.len());
                    result.extend(&chars[at..next]);
                    if line == chars.len() {
                        return Some(result);
                    }
                    at = next;
                }
                None => {
                    result.extend(chars.get(at));
                    at += 1;
                }
            }
        }
        result.extend(chars.get(at..).unwrap_or_default());
        Some(result)
    }
}

/// The length of the shortest or longest match at the start, in characters. Runs all alternatives side by
/// side, so the time is the product of the lengths at worst.
fn matched(tokens: &[Token], chars: impl Iterator<Item = char>, longest: bool) -> Option<usize> {
    let mut states = vec![false; tokens.len() + 1];
    states[0] = true;
    let mut best = None;
    let mut chars = chars;
    let mut length = 0;
    loop {
        let mut alive = false;
        for i in 0..tokens.len() {
            if states[i] && tokens[i] == Token::AnyText {
                states[i + 1] = true;
            }
            alive |= states[i];
        }
        if states[tokens.len()] {
            best = Some(length);
            if !longest {
                return best;
            }
        }
        let Some(c) = chars.next().filter(|_| alive) else { return best };
        let mut next = vec![false; tokens.len() + 1];
        for (i, token) in tokens.iter().enumerate().filter(|(i, _)| states[*i]) {
            match token {
                Token::Char(expected) => next[i + 1] |= *expected == c,
                Token::AnyChar => next[i + 1] |= c != '\n',
                Token::AnyText => next[i] |= c != '\n',
            }
        }
        states = next;
        length += 1;
    }
}
