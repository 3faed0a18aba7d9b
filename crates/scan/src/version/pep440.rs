//! Python's order (PEP 440): `EPOCH!RELEASE[aN|bN|rcN][.postN][.devN][+LOCAL]`, read with its normalisations.
//!
//! What is no such version comes before all that are, by its text (as in the packaging library before its version 22).
use super::{Number, take_while};

/// A version, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(Kind);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Other(String),
    Valid(Box<Parts>),
}

/// In the order in which the parts count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Parts {
    epoch: Number,
    /// Without zeros at the end.
    release: Vec<Number>,
    pre: Pre,
    /// None comes first.
    post: Option<Number>,
    dev: Dev,
    /// None comes first.
    local: Option<Vec<Local>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Pre {
    /// A development release without pre- and post-release comes before all pre-releases.
    BeforeAll,
    Before(u8, Number),
    None,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Dev {
    Dev(Number),
    None,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Local {
    Text(Box<str>),
    Number(Number),
}

impl Key {
    pub(super) fn new(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        Self(match read(&text) {
            Some(parts) => Kind::Valid(Box::new(parts)),
            None => Kind::Other(text),
        })
    }

    pub(super) fn is_valid(&self) -> bool {
        matches!(self.0, Kind::Valid(_))
    }
}

fn is_digit(b: u8) -> bool {
    b.is_ascii_digit()
}

/// One of the words, with a separator before it and behind it, and a number (0 where there is none).
fn word<'a>(text: &'a str, words: &[(&str, u8)]) -> Option<(u8, Number, &'a str)> {
    let text = text.strip_prefix(['.', '-', '_']).unwrap_or(text);
    let (word, which) = words.iter().find(|(word, _)| text.starts_with(word))?;
    let rest = &text[word.len()..];
    let (digits, rest) = take_while(rest.strip_prefix(['.', '-', '_']).unwrap_or(rest), is_digit);
    Some((*which, Number::new(digits), rest))
}

fn read(text: &str) -> Option<Parts> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let (epoch, mut text) = text.split_once('!').unwrap_or(("0", text));
    if epoch.is_empty() || !epoch.bytes().all(is_digit) {
        return None;
    }
    let mut release = Vec::new();
    loop {
        let (digits, rest) = take_while(text, is_digit);
        if digits.is_empty() {
            return None;
        }
        release.push(Number::new(digits));
        text = rest;
        match text.strip_prefix('.') {
            Some(more) if more.starts_with(|c: char| c.is_ascii_digit()) => text = more,
            _ => break,
        }
    }
    while release.last().is_some_and(Number::is_zero) {
        release.pop();
    }
    // Longer words first: `pre` must not be taken for a `p…`, nor `alpha` for `a`.
    const PRE: &[(&str, u8)] =
        &[("alpha", 0), ("beta", 1), ("preview", 2), ("pre", 2), ("rc", 2), ("a", 0), ("b", 1), ("c", 2)];
    let mut pre = Pre::None;
    if let Some((which, number, rest)) = word(text, PRE) {
        (pre, text) = (Pre::Before(which, number), rest);
    }
    let mut post = None;
    let implicit =
        text.strip_prefix('-').map(|rest| take_while(rest, is_digit)).filter(|(digits, _)| !digits.is_empty());
    if let Some((digits, rest)) = implicit {
        (post, text) = (Some(Number::new(digits)), rest);
    } else if let Some((_, number, rest)) = word(text, &[("post", 0), ("rev", 0), ("r", 0)]) {
        (post, text) = (Some(number), rest);
    }
    let mut dev = Dev::None;
    if let Some((_, number, rest)) = word(text, &[("dev", 0)]) {
        (dev, text) = (Dev::Dev(number), rest);
    }
    let mut local = None;
    if let Some(rest) = text.strip_prefix('+') {
        let part = |part: &str| match part {
            part if part.is_empty() || !part.bytes().all(|b| b.is_ascii_alphanumeric()) => None,
            part if part.bytes().all(is_digit) => Some(Local::Number(Number::new(part))),
            part => Some(Local::Text(part.into())),
        };
        local = Some(rest.split(['.', '-', '_']).map(part).collect::<Option<Vec<_>>>()?);
        text = "";
    }
    if !text.is_empty() {
        return None;
    }
    if pre == Pre::None && post.is_none() && dev != Dev::None {
        pre = Pre::BeforeAll;
    }
    Some(Parts { epoch: Number::new(epoch), release, pre, post, dev, local })
}
