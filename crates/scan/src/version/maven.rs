//! Maven's order (POM reference, "Version Order Specification"; `ComparableVersion` of Maven 3.9).
//!
//! A version is a list of numbers and words; `-`, and every change between digits and letters, begins a list in the
//! list, as does a word that is not the first of its list. What means nothing (0, `final`, `ga`) is dropped at the end
//! of each list. Words that are known come first in their order, then the others by the alphabet; words come before
//! lists, lists before numbers.
//!
//! One thing is done otherwise, since Maven's comparison is no order there (`1--alpha` is below `1`, `1` below `1-sp`,
//! and `1-sp` below `1--alpha`): a list that holds nothing but a list that begins with a word is that list.
use super::{Number, take_while};
use std::cmp::Ordering;

/// A version, taken apart.
#[derive(Debug, Clone)]
pub struct Key(Vec<Item>);

#[derive(Debug, Clone)]
enum Item {
    Number(Number),
    Word(Word),
    List(Vec<Item>),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Known(usize),
    Other(Box<str>),
}

const WORDS: [&str; 7] = ["alpha", "beta", "milestone", "rc", "snapshot", "", "sp"];
const RELEASE: Word = Word::Known(5);

/// Lists in lists beyond this are flat: no version has so many.
const DEPTH: usize = 100;

impl Word {
    fn new(text: &str, before_digit: bool) -> Self {
        let text = match text {
            "a" if before_digit => "alpha",
            "b" if before_digit => "beta",
            "m" if before_digit => "milestone",
            "ga" | "final" | "release" => "",
            "cr" => "rc",
            other => other,
        };
        WORDS.iter().position(|known| *known == text).map_or_else(|| Self::Other(text.into()), Self::Known)
    }
}

impl Key {
    pub(super) fn new(text: &str) -> Self {
        let text = text.to_lowercase();
        // The lists that are open, outermost first.
        let mut open: Vec<Vec<Item>> = vec![Vec::new()];
        let mut rest = text.as_str();
        loop {
            let (digits, after) = take_while(rest, |b| b.is_ascii_digit());
            let (word, after) =
                take_while(after, |b| digits.is_empty() && !b.is_ascii_digit() && b != b'.' && b != b'-');
            let before_digit = after.starts_with(|c: char| c.is_ascii_digit());
            let nested = open.last().is_some_and(|list| !list.is_empty()) && open.len() < DEPTH;
            if !word.is_empty() {
                if nested {
                    open.push(Vec::new());
                }
                push(&mut open, Item::Word(Word::new(word, before_digit)));
            } else if !after.is_empty() || !digits.is_empty() {
                push(&mut open, Item::Number(Number::new(digits)));
            }
            let Some(separator) = after.bytes().next() else { break };
            let marked = matches!(separator, b'.' | b'-');
            if separator != b'.' && open.len() < DEPTH {
                open.push(Vec::new());
            }
            rest = if marked { &after[1..] } else { after };
            if rest.is_empty() {
                break;
            }
        }
        let mut inner: Option<Vec<Item>> = None;
        while let Some(mut list) = open.pop() {
            // Maven drops what is null at the end of each list, looking past the lists at its end.
            while list.last().is_some_and(Item::is_null) {
                list.pop();
            }
            match inner.take().filter(|inner| !inner.is_empty()) {
                Some(nested) if list.is_empty() && matches!(nested.first(), Some(Item::Word(_))) => list = nested,
                Some(nested) => list.push(Item::List(nested)),
                None => {}
            }
            inner = Some(list);
        }
        Self(inner.unwrap_or_default())
    }
}

fn push(open: &mut [Vec<Item>], item: Item) {
    if let Some(list) = open.last_mut() {
        list.push(item);
    }
}

impl Item {
    fn is_null(&self) -> bool {
        match self {
            Self::Number(number) => number.is_zero(),
            Self::Word(word) => *word == RELEASE,
            Self::List(list) => list.is_empty(),
        }
    }

    /// Against nothing.
    fn sign(&self) -> Ordering {
        match self {
            Self::Number(number) => number.cmp(&Number::default()),
            Self::Word(word) => word.cmp(&RELEASE),
            Self::List(list) => list.iter().map(Self::sign).find(|s| s.is_ne()).unwrap_or(Ordering::Equal),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Word(_) => 0,
            Self::List(_) => 1,
            Self::Number(_) => 2,
        }
    }
}

fn compare(a: &[Item], b: &[Item]) -> Ordering {
    for n in 0..a.len().max(b.len()) {
        let order = match (a.get(n), b.get(n)) {
            (Some(Item::Number(a)), Some(Item::Number(b))) => a.cmp(b),
            (Some(Item::Word(a)), Some(Item::Word(b))) => a.cmp(b),
            (Some(Item::List(a)), Some(Item::List(b))) => compare(a, b),
            (Some(a), Some(b)) => a.rank().cmp(&b.rank()),
            (Some(a), None) => a.sign(),
            (None, Some(b)) => b.sign().reverse(),
            (None, None) => Ordering::Equal,
        };
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
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
