//! Versions as tags spell them: reading and ordering them, the next one, and choosing among those of a registry.
//!
//! - [`TagVersion`]: `v1.2.3-rc.1`, `1.2`, and rebuilds: `1.2.3-4`
//! - [`bump`]: patch, minor, major, conventional commits, calendar versions
//! - [`constraint`]: `^1.2 || >=3 <4`
//! - [`select`]: the strategies of Kargo's image subscriptions
//! - [`pep440`]: Python's versions
pub mod bump;
pub mod constraint;
pub mod pep440;
pub mod select;

use std::cmp::Ordering;
use std::fmt;

/// A version as a tag spells it: one to three numbers, perhaps with `v` in front, a pre-release, or the number of a
/// rebuild.
///
/// The fact that is not obvious: a `-` with digits alone behind a full version is a rebuild (`1.2.3-4` is the fourth
/// rebuild of `1.2.3` and newer than it), where SemVer has a pre-release. Everything else behind `-` is a pre-release,
/// in SemVer's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagVersion {
    /// `v` stands in front.
    pub v: bool,
    /// One to three numbers.
    pub numbers: Vec<u64>,
    /// Behind `-`, for example `rc.1`; empty for a release.
    pub pre: semver::Prerelease,
    /// The number of the rebuild; 0 for the first build.
    pub rebuild: u64,
}

impl TagVersion {
    /// Reads a tag.
    pub fn parse(tag: &str) -> Option<Self> {
        let v = tag.starts_with('v');
        let rest = tag.strip_prefix('v').unwrap_or(tag);
        let (core, tail) = rest.split_once('-').map_or((rest, None), |(core, tail)| (core, Some(tail)));
        let numbers: Option<Vec<u64>> = core.split('.').map(number).collect();
        let numbers = numbers.filter(|numbers| numbers.len() <= 3)?;
        let full = numbers.len() == 3;
        let (pre, rebuild) = match tail {
            None => (semver::Prerelease::EMPTY, 0),
            Some(_) if !full => return None,
            Some(tail) => match number(tail) {
                Some(rebuild) if rebuild > 0 => (semver::Prerelease::EMPTY, rebuild),
                _ => (semver::Prerelease::new(tail).ok().filter(|pre| !pre.is_empty())?, 0),
            },
        };
        Some(Self { v, numbers, pre, rebuild })
    }

    /// Whether all three numbers are there and nothing says that it is a pre-release.
    pub fn is_release(&self) -> bool {
        self.numbers.len() == 3 && self.pre.is_empty()
    }

    /// Whether it stands for several versions: `1`, `1.2`.
    pub fn is_partial(&self) -> bool {
        self.numbers.len() < 3
    }

    /// Whether `self`, a partial one, stands for `other` too: `1.2` for `1.2.3`.
    pub fn covers(&self, other: &Self) -> bool {
        other.numbers.starts_with(&self.numbers)
    }

    fn key(&self) -> (u64, u64, u64) {
        let number = |at: usize| self.numbers.get(at).copied().unwrap_or(0);
        (number(0), number(1), number(2))
    }
}

/// A number without leading zeros.
fn number(text: &str) -> Option<u64> {
    let plain =
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

impl PartialOrd for TagVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TagVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = self.key().cmp(&other.key()).then_with(|| self.pre.cmp(&other.pre));
        order
            .then(self.rebuild.cmp(&other.rebuild))
            .then(self.numbers.len().cmp(&other.numbers.len()))
            .then(self.v.cmp(&other.v))
    }
}

impl fmt::Display for TagVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.numbers.iter().map(u64::to_string).collect();
        write!(f, "{}{}", if self.v { "v" } else { "" }, numbers.join("."))?;
        if !self.pre.is_empty() {
            write!(f, "-{}", self.pre)?;
        }
        if self.rebuild > 0 {
            write!(f, "-{}", self.rebuild)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_as_versions_in_order() {
        let order =
            ["0.9.9", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-rc.1", "1.0.0", "1.0.0-1", "1.0.0-10", "v1.0.1", "1.10.0"];
        let versions: Vec<TagVersion> = order.iter().map(|tag| TagVersion::parse(tag).unwrap()).collect();
        assert!(versions.is_sorted());
        for (tag, version) in order.iter().zip(&versions) {
            assert_eq!(version.to_string(), *tag);
        }
        for no in ["latest", "1.2.3.4", "01.2", "1.", "", "v", "1.2-rc", "1.2.3-", "1.2.3-a..b", "22-bookworm", "main"]
        {
            assert_eq!(TagVersion::parse(no), None, "{no}");
        }
        let minor = TagVersion::parse("1.2").unwrap();
        assert!(minor.is_partial() && minor.covers(&TagVersion::parse("1.2.3-4").unwrap()));
        assert!(!minor.covers(&TagVersion::parse("1.20.0").unwrap()));
    }
}
