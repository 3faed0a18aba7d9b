//! Choosing among a registry's tags: the strategies of Kargo's image subscriptions.
use super::constraint::{Constraint, Error as ConstraintError};
use jiff::Timestamp;
use regex::{Regex, RegexBuilder};
use semver::Version;

/// What a registry says of a tag. Only what a strategy needs has to be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The tag.
    pub tag: String,
    /// The digest that it names now.
    pub digest: Option<String>,
    /// When the image was built (`org.opencontainers.image.created`, else the config's `created`).
    pub created: Option<Timestamp>,
}

/// How the best one is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strategy {
    /// One tag that moves: what it names now.
    Digest {
        /// The tag.
        tag: String,
    },
    /// The highest semantic version. Tags that are none are left out.
    SemVer {
        /// Which versions are allowed; all releases where none is given.
        constraint: Option<Constraint>,
        /// Only tags with all three numbers.
        strict: bool,
    },
    /// The one that was built last. Tags without a date are left out.
    NewestBuild,
    /// The last in the order of bytes; for tags that begin with a date.
    Lexical,
}

/// Which tags are considered at all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    allow: Vec<Regex>,
    ignore: Vec<Regex>,
}

/// Why a strategy or filter was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a name of a strategy.
    #[error("`{0}` is no strategy; there are Digest, SemVer, NewestBuild and Lexical")]
    Strategy(String),
    /// `Digest` without its tag.
    #[error("the strategy Digest needs the tag that moves as its constraint, for example `latest`")]
    NoTag,
    /// A constraint was given that the strategy has no use for.
    #[error("the strategy {0} takes no constraint; use allowed tags to choose")]
    NoConstraint(String),
    /// A constraint that cannot be read.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// A pattern that cannot be read.
    #[error("pattern `{pattern}`: {problem}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Strategy {
    /// From the words of a configuration: a name and perhaps a constraint.
    ///
    /// # Errors
    /// All but [`Error::Pattern`].
    pub fn new(name: &str, constraint: Option<&str>) -> Result<Self, Error> {
        match (name, constraint) {
            ("Digest", Some(tag)) => Ok(Self::Digest { tag: tag.to_owned() }),
            ("Digest", None) => Err(Error::NoTag),
            ("SemVer", None) => Ok(Self::SemVer { constraint: None, strict: true }),
            ("SemVer", Some(text)) => Ok(Self::SemVer { constraint: Some(text.parse()?), strict: true }),
            ("NewestBuild", None) => Ok(Self::NewestBuild),
            ("Lexical", None) => Ok(Self::Lexical),
            ("NewestBuild" | "Lexical", Some(_)) => Err(Error::NoConstraint(name.to_owned())),
            _ => Err(Error::Strategy(name.to_owned())),
        }
    }
}

impl Filter {
    /// From patterns: a tag must match one of `allow` (if there is one) and none of `ignore`. Patterns are not
    /// anchored.
    ///
    /// # Errors
    /// [`Error::Pattern`].
    pub fn new<'p>(
        allow: impl IntoIterator<Item = &'p str>,
        ignore: impl IntoIterator<Item = &'p str>,
    ) -> Result<Self, Error> {
        let regex = |pattern: &str| {
            RegexBuilder::new(pattern).size_limit(1 << 20).build().map_err(|error| Error::Pattern {
                pattern: pattern.to_owned(),
                problem: error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
            })
        };
        Ok(Self {
            allow: allow.into_iter().map(regex).collect::<Result<_, _>>()?,
            ignore: ignore.into_iter().map(regex).collect::<Result<_, _>>()?,
        })
    }

    /// Whether a tag is considered.
    pub fn allows(&self, tag: &str) -> bool {
        (self.allow.is_empty() || self.allow.iter().any(|pattern| pattern.is_match(tag)))
            && !self.ignore.iter().any(|pattern| pattern.is_match(tag))
    }
}

/// The candidates that are allowed, the best first. The order of the input does not matter.
pub fn select<'c>(strategy: &Strategy, filter: &Filter, candidates: &'c [Candidate]) -> Vec<&'c Candidate> {
    let allowed = candidates.iter().filter(|candidate| filter.allows(&candidate.tag));
    match strategy {
        Strategy::Digest { tag } => allowed.filter(|candidate| candidate.tag == *tag).take(1).collect(),
        Strategy::SemVer { constraint, strict } => {
            let matches = |version: &Version| match constraint {
                Some(constraint) => constraint.matches(version),
                None => version.pre.is_empty(),
            };
            let version = |candidate: &'c Candidate| {
                let version = semantic(&candidate.tag, *strict).filter(matches)?;
                Some((version, candidate))
            };
            let mut found: Vec<(Version, &Candidate)> = allowed.filter_map(version).collect();
            // Of two spellings of one version (`v1.2.3`, `1.2.3`, `1.2`) the fuller and then the plainer is first.
            let rank = |candidate: &Candidate| (candidate.tag.matches('.').count(), !candidate.tag.starts_with('v'));
            found.sort_by(|(a, x), (b, y)| (b, rank(y), &y.tag).cmp(&(a, rank(x), &x.tag)));
            found.into_iter().map(|(_, candidate)| candidate).collect()
        }
        Strategy::NewestBuild => {
            let mut found: Vec<&Candidate> = allowed.filter(|candidate| candidate.created.is_some()).collect();
            found.sort_by(|a, b| (b.created, &b.tag).cmp(&(a.created, &a.tag)));
            found
        }
        Strategy::Lexical => {
            let mut found: Vec<&Candidate> = allowed.collect();
            found.sort_by(|a, b| b.tag.cmp(&a.tag));
            found
        }
    }
}

/// A tag as a semantic version: `v` in front is allowed; missing numbers are zeros unless `strict`.
fn semantic(tag: &str, strict: bool) -> Option<Version> {
    let text = tag.strip_prefix('v').unwrap_or(tag);
    if let Ok(version) = Version::parse(text) {
        return Some(version);
    }
    let (core, tail) = text.split_at(text.find(['-', '+']).unwrap_or(text.len()));
    let missing = 3_usize.checked_sub(core.split('.').count())?;
    (!strict && missing > 0).then(|| Version::parse(&format!("{core}{}{tail}", ".0".repeat(missing))).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates() -> Vec<Candidate> {
        let tags = ["1.2.3", "v1.10.0", "1.9", "2.0.0-rc.1", "latest", "20261120-ab", "20261121-aa", "1.2.3-1", "2"];
        let created = |n: usize| format!("2026-11-{:02}T00:00:00Z", 10 + (n * 7) % 9).parse().ok();
        let candidate = |(n, tag): (usize, &&str)| Candidate {
            tag: (*tag).into(),
            digest: None,
            created: created(n).filter(|_| *tag != "latest"),
        };
        tags.iter().enumerate().map(candidate).collect()
    }

    fn pick(strategy: &Strategy, allow: &[&str], ignore: &[&str]) -> Vec<String> {
        let filter = Filter::new(allow.iter().copied(), ignore.iter().copied()).unwrap();
        select(strategy, &filter, &candidates()).into_iter().map(|candidate| candidate.tag.clone()).collect()
    }

    #[test]
    fn strategies() {
        let strategy = |name, constraint| Strategy::new(name, constraint).unwrap();
        assert_eq!(pick(&strategy("SemVer", None), &[], &[]), ["v1.10.0", "1.2.3"]);
        assert_eq!(pick(&strategy("SemVer", Some("^1.2 || >=2.0.0-0")), &[], &[]), ["2.0.0-rc.1", "v1.10.0", "1.2.3"]);
        let loose = Strategy::SemVer { constraint: None, strict: false };
        assert_eq!(pick(&loose, &[], &["^2026"]), ["2", "v1.10.0", "1.9", "1.2.3"]);
        assert_eq!(pick(&strategy("Lexical", None), &["^[0-9]{8}-"], &[]), ["20261121-aa", "20261120-ab"]);
        assert_eq!(pick(&strategy("Lexical", None), &["^[0-9]{8}-"], &["-aa$"]), ["20261120-ab"]);
        assert_eq!(pick(&strategy("Digest", Some("latest")), &[], &[]), ["latest"]);
        assert_eq!(pick(&strategy("Digest", Some("edge")), &[], &[]), [""; 0]);
        let newest = pick(&strategy("NewestBuild", None), &[], &[]);
        assert_eq!((newest.len(), newest[0].as_str()), (8, "20261120-ab"));
    }

    #[test]
    fn what_is_not_understood() {
        let error = |name, constraint| Strategy::new(name, constraint).unwrap_err().to_string();
        assert_eq!(error("Semver", None), "`Semver` is no strategy; there are Digest, SemVer, NewestBuild and Lexical");
        assert!(error("Digest", None).contains("`latest`"));
        assert!(error("Lexical", Some("1")).contains("allowed tags"));
        assert!(error("SemVer", Some("a b")).starts_with("constraint `a b`: `a` is no comparison"));
        assert_eq!(Filter::new(["("], []).unwrap_err().to_string(), "pattern `(`: unclosed group");
    }
}
