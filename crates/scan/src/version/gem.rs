//! RubyGems' order (`Gem::Version`): numbers and words; a word makes it a pre-release.
//!
//! `-` is `.pre.`. Zeros at the end of the numbers before the first word, and at the end of all, do not count; a
//! missing segment is 0, and words come before numbers.
use super::{Number, take_while};
use std::cmp::Ordering;

/// A version, taken apart.
#[derive(Debug, Clone)]
pub struct Key(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Word(Box<str>),
    Number(Number),
}

const ZERO: fn() -> Segment = || Segment::Number(Number::default());

/// `Gem::Version::VERSION_PATTERN`.
pub(super) fn is_valid(text: &str) -> bool {
    let (numbers, pre) = text.split_once('-').map_or((text, None), |(a, b)| (a, Some(b)));
    let words = |text: &str, dash: bool| {
        let is = |b: u8| b.is_ascii_alphanumeric() || dash && b == b'-';
        text.split('.').all(|part| !part.is_empty() && part.bytes().all(is))
    };
    let first = numbers.split('.').next().unwrap_or_default();
    first.bytes().all(|b| b.is_ascii_digit()) && words(numbers, false) && pre.is_none_or(|pre| words(pre, true))
}

impl Key {
    pub(super) fn new(text: &str) -> Self {
        let text = text.replace('-', ".pre.");
        let mut rest = text.as_str();
        let mut segments = Vec::new();
        loop {
            rest = take_while(rest, |b| !b.is_ascii_alphanumeric()).1;
            let (digits, after) = take_while(rest, |b| b.is_ascii_digit());
            let (word, after) = take_while(after, |b| digits.is_empty() && b.is_ascii_alphabetic());
            segments.push(match (digits, word) {
                ("", "") => break,
                ("", word) => Segment::Word(word.into()),
                (digits, _) => Segment::Number(Number::new(digits)),
            });
            rest = after;
        }
        let first_word = segments.iter().position(|s| matches!(s, Segment::Word(_))).unwrap_or(segments.len());
        let mut words = segments.split_off(first_word);
        for part in [&mut segments, &mut words] {
            while part.last() == Some(&ZERO()) {
                part.pop();
            }
        }
        segments.append(&mut words);
        Self(segments)
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        let zero = ZERO();
        (0..self.0.len().max(other.0.len()))
            .map(|n| self.0.get(n).unwrap_or(&zero).cmp(other.0.get(n).unwrap_or(&zero)))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
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
