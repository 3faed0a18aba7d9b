//! Constraints on semantic versions, in the form that Kargo, Helm and Argo CD Image Updater use (Masterminds/semver):
//! `1.2.x`, `^1.2`, `~1.2.3`, `>=1.2 <2.0`, `1.2 - 1.4`, with `,` or a space for "and" and `||` for "or".
//!
//! A bare version means exactly that one, and `1.2` any patch of it. Pre-releases are left out unless the constraint
//! names one.
use semver::{Prerelease, Version};
use std::str::FromStr;

/// A parsed constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// Alternatives; in each all must hold.
    any: Vec<Vec<Comparator>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Comparator {
    operator: Operator,
    version: Version,
    /// The constraint wrote a pre-release, so pre-releases are meant.
    pre: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// Why a constraint was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "constraint `{constraint}`: `{part}` is no comparison; write for example ^1.2, ~1.2.3, 1.x, >=1.2 <2.0 or 1 || 2"
)]
pub struct Error {
    constraint: String,
    part: String,
}

impl Constraint {
    /// Whether `version` fulfils it.
    pub fn matches(&self, version: &Version) -> bool {
        self.any.iter().any(|all| {
            let pre = version.pre.is_empty() || all.iter().any(|comparator| comparator.pre);
            pre && all.iter().all(|comparator| comparator.matches(version))
        })
    }
}

impl Comparator {
    fn matches(&self, version: &Version) -> bool {
        let order = version.cmp_precedence(&self.version);
        match self.operator {
            Operator::Equal => order.is_eq(),
            Operator::NotEqual => order.is_ne(),
            Operator::Less => order.is_lt(),
            Operator::LessEqual => order.is_le(),
            Operator::Greater => order.is_gt(),
            Operator::GreaterEqual => order.is_ge(),
        }
    }
}

impl FromStr for Constraint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let any: Option<Vec<_>> = text.split("||").map(alternative).map(Result::ok).collect();
        let wrong = || text.split("||").find_map(|part| alternative(part).err()).unwrap_or_default();
        any.map(|any| Self { any }).ok_or_else(|| Error { constraint: text.to_owned(), part: wrong() })
    }
}

/// The comparators of one alternative, or the part that is none.
fn alternative(text: &str) -> Result<Vec<Comparator>, String> {
    let mut all = Vec::new();
    for part in text.split(',') {
        if let Some((low, high)) = part.split_once(" - ") {
            all.extend(comparison(&format!(">={}", low.trim()))?);
            all.extend(comparison(&format!("<={}", high.trim()))?);
            continue;
        }
        // An operator may stand apart from its version.
        let mut words = part.split_whitespace().peekable();
        if words.peek().is_none() {
            return Err(text.trim().to_owned());
        }
        while let Some(word) = words.next() {
            let apart = word.chars().all(|c| "=!<>~^".contains(c));
            let word = if apart { format!("{word}{}", words.next().unwrap_or_default()) } else { word.to_owned() };
            all.extend(comparison(&word)?);
        }
    }
    Ok(all)
}

fn comparison(word: &str) -> Result<Vec<Comparator>, String> {
    let at = word.find(|c| !"=!<>~^".contains(c)).ok_or_else(|| word.to_owned())?;
    let (operator, version) = word.split_at(at);
    let (low, parts) = partial(version).ok_or_else(|| word.to_owned())?;
    let pre = !low.pre.is_empty();
    let make = |operator, version| Comparator { operator, version, pre };
    // The first version behind all that the written numbers stand for.
    let behind = |kept: usize| {
        let number = |at: usize, number: u64| match at + 1 {
            position if position == kept => number.saturating_add(1),
            position if position < kept => number,
            _ => 0,
        };
        Version::new(number(0, low.major), number(1, low.minor), number(2, low.patch))
    };
    // Below a bound, its own pre-releases are out too: they belong to what follows.
    let below = |kept: usize| {
        let pre = Prerelease::new("0").unwrap_or_default();
        Comparator { operator: Operator::Less, version: Version { pre, ..behind(kept) }, pre: false }
    };
    let from = || make(Operator::GreaterEqual, low.clone());
    Ok(match operator {
        "" | "=" | "==" if parts == 3 => vec![make(Operator::Equal, low)],
        "" | "=" | "==" | "~" | "~>" | "=~" if parts == 0 => vec![from()],
        "" | "=" | "==" => vec![from(), below(parts)],
        "~" | "~>" => vec![from(), below(parts.min(2))],
        "^" => {
            let kept = match (low.major, low.minor, parts) {
                (_, _, 0) => return Ok(vec![from()]),
                (1.., _, _) | (0, _, 1) => 1,
                (0, 1.., _) | (0, 0, 2) => 2,
                _ => 3,
            };
            vec![from(), below(kept)]
        }
        "!=" if parts == 3 => vec![make(Operator::NotEqual, low)],
        "<" => vec![make(Operator::Less, low)],
        ">=" | "=>" => vec![from()],
        "<=" | "=<" if parts == 3 => vec![make(Operator::LessEqual, low)],
        "<=" | "=<" if parts > 0 => vec![below(parts)],
        ">" if parts == 3 => vec![make(Operator::Greater, low)],
        ">" if parts > 0 => vec![make(Operator::GreaterEqual, behind(parts))],
        _ => return Err(word.to_owned()),
    })
}

/// A version with zeros for what is missing, and how many numbers it has.
fn partial(text: &str) -> Option<(Version, usize)> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let core_end = text.find(['-', '+']).unwrap_or(text.len());
    let (core, tail) = text.split_at(core_end);
    let mut numbers = [0; 3];
    let mut parts = 0;
    let mut wild = false;
    for (at, part) in core.split('.').enumerate() {
        wild |= matches!(part, "x" | "X" | "*");
        if at > 2 {
            return None;
        }
        if !wild {
            numbers[at] = super::number(part)?;
            parts += 1;
        } else if !matches!(part, "x" | "X" | "*") {
            return None;
        }
    }
    let mut version = Version::new(numbers[0], numbers[1], numbers[2]);
    if !tail.is_empty() {
        version = Version::parse(text).ok()?;
    }
    Some((version, parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_hold_as_in_kargo() {
        for (constraint, yes, no) in [
            ("1.2.3", "1.2.3", "1.2.4 1.2.3-rc.1"),
            ("1.2", "1.2.0 1.2.9", "1.3.0 1.1.9 1.2.1-a"),
            ("1.x", "1.0.0 1.9.1", "2.0.0 0.9.0"),
            ("*", "0.0.1 9.9.9", "1.0.0-a"),
            ("^1.2.3", "1.2.3 1.9.0", "1.2.2 2.0.0 2.0.0-a"),
            ("^0.2.3", "0.2.3 0.2.9", "0.3.0 0.2.2"),
            ("^0.0.3", "0.0.3", "0.0.4"),
            ("^0.0", "0.0.0 0.0.9", "0.1.0"),
            ("^0", "0.0.0 0.9.9", "1.0.0"),
            ("~1.2.3", "1.2.3 1.2.9", "1.3.0"),
            ("~1.2", "1.2.0 1.2.9", "1.3.0"),
            ("~1", "1.0.0 1.9.0", "2.0.0"),
            (">=1.2 <2.0", "1.2.0 1.9.9", "2.0.0 1.1.9"),
            (">= 1.2, < 2", "1.2.0", "2.0.0"),
            (">1.2", "1.3.0 2.0.0", "1.2.9"),
            ("<=1.2", "1.2.9 0.1.0", "1.3.0"),
            ("!=1.2.3", "1.2.4", "1.2.3"),
            ("1.2 - 1.4", "1.2.0 1.4.9", "1.1.9 1.5.0"),
            ("1 || >=3", "1.5.0 3.0.0 4.0.0", "2.0.0"),
            (">=1.2.3-0", "1.2.3-rc.1 1.3.0-a 2.0.0", "1.2.2"),
            ("v1.2.3", "1.2.3", "1.2.4"),
        ] {
            let parsed: Constraint = constraint.parse().unwrap();
            let holds = |version: &str| parsed.matches(&Version::parse(version).unwrap());
            assert!(yes.split(' ').all(holds), "{constraint}: {yes}");
            assert!(!no.split(' ').any(holds), "{constraint}: {no}");
        }
        for wrong in ["", "a", "1.2.3.4", ">", "1 ||", "1,,2", "01.2", "1.x.3", "!=1", "≥1"] {
            assert!(wrong.parse::<Constraint>().is_err(), "{wrong}");
        }
    }
}
