//! Alpine's order (apk-tools 3, `apk-package(5)`): `1.2.3a_rc1~abcdef-r4`.
//!
//! Numbers, a letter, suffixes (`alpha` to `rc` before the plain version, `cvs` to `p` after it), a commit, a
//! revision. Of the numbers behind the first, those that begin with 0 are compared as texts, and come before the
//! others.
use super::{Number, take_while};

/// A version, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(Vec<Token>);

/// In the order of what they are, where two versions differ in what comes next.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Token {
    /// A suffix that makes it an earlier version.
    Before(usize),
    /// What no version has.
    Invalid(Box<str>),
    End,
    Revision(Number),
    Commit(Box<str>),
    SuffixNumber(Number),
    /// A suffix that makes it a later version.
    After(usize),
    Letter(u8),
    /// A number that begins with 0.
    Fraction(Box<str>),
    Digits(Number),
}

const BEFORE: [&str; 4] = ["alpha", "beta", "pre", "rc"];
const AFTER: [&str; 5] = ["cvs", "svn", "git", "hg", "p"];

impl Key {
    pub(super) fn is_valid(&self) -> bool {
        !self.0.iter().any(|token| matches!(token, Token::Invalid(_)))
    }

    pub(super) fn new(text: &str) -> Self {
        let mut out = Vec::new();
        match read(text, &mut out) {
            Ok(()) => out.push(Token::End),
            Err(rest) => out.push(Token::Invalid(rest.into())),
        }
        Self(out)
    }
}

/// What follows `prefix`; what was left where that does not hold.
fn digits<'a>(text: &'a str, prefix: &str) -> Result<(&'a str, &'a str), &'a str> {
    let (digits, rest) = take_while(text.strip_prefix(prefix).ok_or(text)?, |b| b.is_ascii_digit());
    if digits.is_empty() { Err(text) } else { Ok((digits, rest)) }
}

/// Reads a version; an error is the text from where it is none.
fn read<'a>(text: &'a str, out: &mut Vec<Token>) -> Result<(), &'a str> {
    let (first, mut text) = digits(text, "")?;
    out.push(Token::Digits(Number::new(first)));
    while text.starts_with('.') {
        let (number, rest) = digits(text, ".")?;
        out.push(if number.starts_with('0') {
            Token::Fraction(number.into())
        } else {
            Token::Digits(Number::new(number))
        });
        text = rest;
    }
    if let Some(letter) = text.bytes().next().filter(u8::is_ascii_lowercase) {
        out.push(Token::Letter(letter));
        text = &text[1..];
    }
    while let Some(rest) = text.strip_prefix('_') {
        let (word, rest) = take_while(rest, |b| b.is_ascii_lowercase());
        let place = |list: &[&str]| list.iter().position(|known| *known == word);
        out.push(match (place(&BEFORE), place(&AFTER)) {
            (Some(n), _) => Token::Before(n),
            (_, Some(n)) => Token::After(n),
            _ => return Err(text),
        });
        text = rest;
        if let Ok((number, rest)) = digits(text, "") {
            out.push(Token::SuffixNumber(Number::new(number)));
            text = rest;
        }
    }
    if let Some(rest) = text.strip_prefix('~') {
        let (commit, rest) = take_while(rest, |b| b.is_ascii_hexdigit());
        if commit.is_empty() {
            return Err(text);
        }
        out.push(Token::Commit(commit.into()));
        text = rest;
    }
    if text.starts_with("-r") {
        let (number, rest) = digits(text, "-r")?;
        out.push(Token::Revision(Number::new(number)));
        text = rest;
    }
    if text.is_empty() { Ok(()) } else { Err(text) }
}
