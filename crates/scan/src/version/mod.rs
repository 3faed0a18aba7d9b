//! The orders of versions: one file for each world.
//!
//! Every order is total on all strings: a text that is no version of its world has its place too (mostly below the
//! versions), so a comparison never fails; [`Order::is_version`] says whether the place means something. Numbers are
//! compared as digits and may be of any length.
mod apk;
mod deb;
mod gem;
mod maven;
mod pep440;
mod rpm;
mod semver;

use std::cmp::Ordering;

/// By which rules versions are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// Alpine's: apk-tools, `apk-package(5)`.
    Apk,
    /// Debian's: Policy 5.6.12, as dpkg does.
    Deb,
    /// RubyGems': `Gem::Version`.
    Gem,
    /// Maven's: the version order of the POM reference, as Maven 3.9 does.
    Maven,
    /// Python's: PEP 440.
    Pep440,
    /// RPM's: epoch, version and release by `rpmvercmp`.
    Rpm,
    /// Semantic Versioning 2.0: npm, crates.io, Go. A leading `v` and missing numbers are allowed.
    Semver,
}

impl Order {
    /// Compares two versions.
    #[must_use]
    pub fn compare(self, a: &str, b: &str) -> Ordering {
        self.parse(a).compare(&self.parse(b))
    }

    /// Takes a version apart, to compare it with many.
    #[must_use]
    pub fn parse(self, text: &str) -> Version {
        let text = text.trim();
        match self {
            Self::Apk => Version::Apk(apk::Key::new(text)),
            Self::Deb => Version::Deb(deb::Key::new(text)),
            Self::Gem => Version::Gem(gem::Key::new(text)),
            Self::Maven => Version::Maven(maven::Key::new(text)),
            Self::Pep440 => Version::Pep440(pep440::Key::new(text)),
            Self::Rpm => Version::Rpm(rpm::Key::new(text)),
            Self::Semver => Version::Semver(semver::Key::new(text)),
        }
    }

    /// Whether a text is a version of this world, so that its place in the order means something.
    #[must_use]
    pub fn is_version(self, text: &str) -> bool {
        let text = text.trim();
        match self {
            Self::Apk => apk::Key::new(text).is_valid(),
            Self::Deb => deb::is_valid(text),
            Self::Gem => gem::is_valid(text),
            Self::Maven => !text.is_empty() && !text.starts_with("${"),
            Self::Pep440 => pep440::Key::new(text).is_valid(),
            Self::Rpm => text.bytes().any(|b| b.is_ascii_alphanumeric()),
            Self::Semver => semver::Key::new(text).is_valid(),
        }
    }
}

/// A version that was taken apart.
#[derive(Debug, Clone)]
pub enum Version {
    /// See [`Order::Apk`].
    Apk(apk::Key),
    /// See [`Order::Deb`].
    Deb(deb::Key),
    /// See [`Order::Gem`].
    Gem(gem::Key),
    /// See [`Order::Maven`].
    Maven(maven::Key),
    /// See [`Order::Pep440`].
    Pep440(pep440::Key),
    /// See [`Order::Rpm`].
    Rpm(rpm::Key),
    /// See [`Order::Semver`].
    Semver(semver::Key),
}

impl Version {
    /// Compares two versions of the same world. Versions of different worlds have an order too, but it means nothing.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Apk(a), Self::Apk(b)) => a.cmp(b),
            (Self::Deb(a), Self::Deb(b)) => a.cmp(b),
            (Self::Gem(a), Self::Gem(b)) => a.cmp(b),
            (Self::Maven(a), Self::Maven(b)) => a.cmp(b),
            (Self::Pep440(a), Self::Pep440(b)) => a.cmp(b),
            (Self::Rpm(a), Self::Rpm(b)) => a.cmp(b),
            (Self::Semver(a), Self::Semver(b)) => a.cmp(b),
            (a, b) => a.world().cmp(&b.world()),
        }
    }

    fn world(&self) -> u8 {
        match self {
            Self::Apk(_) => 0,
            Self::Deb(_) => 1,
            Self::Gem(_) => 2,
            Self::Maven(_) => 3,
            Self::Pep440(_) => 4,
            Self::Rpm(_) => 5,
            Self::Semver(_) => 6,
        }
    }
}

/// A number of any length, by its digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Number(Box<str>);

impl Number {
    /// From decimal digits; leading zeros do not count.
    fn new(digits: &str) -> Self {
        Self(digits.trim_start_matches('0').into())
    }

    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Splits off the characters at the front that are of a kind (ASCII only).
fn take_while(text: &str, is: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|b| !is(b)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests;
