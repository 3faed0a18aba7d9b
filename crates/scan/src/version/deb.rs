//! Debian's order (Policy 5.6.12, deb-version(7)): `[EPOCH:]UPSTREAM[-REVISION]`.
//!
//! Both parts are cut into runs of other characters and of digits. In the former `~` comes before everything, even the
//! end; then the end; then letters; then the rest. A missing epoch is 0, a missing revision is as `0`.
use super::{Number, take_while};
use std::cmp::Ordering;

/// A version, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    epoch: Number,
    upstream: Part,
    revision: Part,
}

impl Key {
    pub(super) fn new(text: &str) -> Self {
        let (epoch, rest) = split_epoch(text).unwrap_or(("", text));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Self { epoch: Number::new(epoch), upstream: Part::new(upstream), revision: Part::new(revision) }
    }
}

fn split_epoch(text: &str) -> Option<(&str, &str)> {
    text.split_once(':').filter(|(epoch, _)| !epoch.is_empty() && epoch.bytes().all(|b| b.is_ascii_digit()))
}

pub(super) fn is_valid(text: &str) -> bool {
    let epoch = split_epoch(text);
    if epoch.is_none() && text.contains(':') {
        return false;
    }
    let rest = epoch.map_or(text, |(_, rest)| rest);
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
    let fine = |part: &str, more: &[u8]| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"+.~".contains(&b) || more.contains(&b))
    };
    fine(upstream, b"-:") && fine(revision, b"")
}

/// Runs of other characters, each with the number that follows it.
#[derive(Debug, Clone)]
struct Part(Vec<(Box<[u16]>, Number)>);

/// Where a character stands; the end is [`END`].
fn weight(byte: u8) -> u16 {
    match byte {
        b'~' => 0,
        b if b.is_ascii_alphabetic() => u16::from(b),
        b => 256 + u16::from(b),
    }
}

const END: u16 = 1;

impl Part {
    fn new(mut text: &str) -> Self {
        let mut runs = Vec::new();
        while !text.is_empty() {
            let (other, rest) = take_while(text, |b| !b.is_ascii_digit());
            let (digits, rest) = take_while(rest, |b| b.is_ascii_digit());
            runs.push((other.bytes().map(weight).chain([END]).collect(), Number::new(digits)));
            text = rest;
        }
        Self(runs)
    }
}

impl Ord for Part {
    fn cmp(&self, other: &Self) -> Ordering {
        let end = (Box::from([END]), Number::default());
        (0..self.0.len().max(other.0.len()))
            .map(|n| self.0.get(n).unwrap_or(&end).cmp(other.0.get(n).unwrap_or(&end)))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

impl PartialOrd for Part {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Part {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Part {}
