//! Semantic Versioning 2.0.0: numbers, then identifiers of a pre-release; what follows `+` does not count.
//!
//! Read with tolerance: a leading `v` or `=` (npm, Go), any count of numbers (a missing one is 0).
use super::{Number, take_while};
use std::cmp::Ordering;

/// A version, taken apart.
#[derive(Debug, Clone)]
pub struct Key {
    /// Without zeros at the end.
    numbers: Vec<Number>,
    /// A release has none.
    pre: Option<Vec<Identifier>>,
    valid: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(Number),
    Text(Box<str>),
}

impl Key {
    pub(super) fn is_valid(&self) -> bool {
        self.valid
    }

    pub(super) fn new(text: &str) -> Self {
        let text = text.trim_start_matches(['v', 'V', '=', ' ']);
        let text = text.split_once('+').map_or(text, |(version, _)| version);
        let mut numbers = Vec::new();
        let mut rest = text;
        let valid = loop {
            let (digits, after) = take_while(rest, |b| b.is_ascii_digit());
            if digits.is_empty() {
                break false;
            }
            numbers.push(Number::new(digits));
            rest = after;
            match rest.strip_prefix('.') {
                Some(more) if more.starts_with(|c: char| c.is_ascii_digit()) => rest = more,
                _ => break rest.is_empty() || rest.starts_with('-'),
            }
        };
        while numbers.last().is_some_and(Number::is_zero) {
            numbers.pop();
        }
        let pre = (!rest.is_empty()).then(|| {
            rest.strip_prefix('-').unwrap_or(rest).split('.').map(|part| {
                if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) {
                    Identifier::Number(Number::new(part))
                } else {
                    Identifier::Text(part.into())
                }
            })
        });
        Self { numbers, pre: pre.map(Iterator::collect), valid }
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        // Numbers without zeros at the end compare as if they were padded with zeros.
        self.numbers.cmp(&other.numbers).then_with(|| match (&self.pre, &other.pre) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(a), Some(b)) => a.cmp(b),
        })
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Key {}
