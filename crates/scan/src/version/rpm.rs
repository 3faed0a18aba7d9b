//! RPM's order (`rpmvercmp`): `[EPOCH:]VERSION[-RELEASE]`.
//!
//! Each part is cut into runs of digits and of letters; what stands between only separates. `~` comes before the end,
//! `^` after the end but before all else, and letters before digits. A missing epoch is 0; a missing release comes
//! before any.
use super::{Number, take_while};

/// A version, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    epoch: Number,
    version: Vec<Token>,
    release: Vec<Token>,
}

/// In the order of what they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Token {
    Tilde,
    End,
    Caret,
    Letters(Box<str>),
    Digits(Number),
}

impl Key {
    pub(super) fn new(text: &str) -> Self {
        let (epoch, rest) =
            text.split_once(':').filter(|(epoch, _)| epoch.bytes().all(|b| b.is_ascii_digit())).unwrap_or(("", text));
        let (version, release) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Self { epoch: Number::new(epoch), version: tokens(version), release: tokens(release) }
    }
}

fn tokens(mut text: &str) -> Vec<Token> {
    let mut out = Vec::new();
    loop {
        text = take_while(text, |b| !b.is_ascii_alphanumeric() && b != b'~' && b != b'^').1;
        let Some(first) = text.bytes().next() else { break };
        let (token, rest) = match first {
            b'~' => (Token::Tilde, &text[1..]),
            b'^' => (Token::Caret, &text[1..]),
            b if b.is_ascii_digit() => {
                let (digits, rest) = take_while(text, |b| b.is_ascii_digit());
                (Token::Digits(Number::new(digits)), rest)
            }
            _ => {
                let (letters, rest) = take_while(text, |b| b.is_ascii_alphabetic());
                (Token::Letters(letters.into()), rest)
            }
        };
        out.push(token);
        text = rest;
    }
    out.push(Token::End);
    out
}
