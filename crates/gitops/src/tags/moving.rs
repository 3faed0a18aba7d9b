//! Tags and the registry: what exists already decides what may be pushed. `latest`, `1` and `1.2` never move
//! backwards, a tag that names one version is never overwritten.
use crate::version::TagVersion;
use crate::version::bump::rebuild;
use regex::Regex;

/// What is to be done with a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Push it.
    Push,
    /// Leave it: it stands for a newer version, named here.
    Behind(String),
    /// Leave it: it exists, and a tag of its kind is never overwritten. (With the same digest nothing is lost; else
    /// [`next_version`] gives a free one.)
    Exists,
}

/// How tags are read.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// What stands before the version in each tag (the flavor's prefix).
    pub prefix: String,
    /// What stands behind the version in each tag (the flavor's suffix), `-alpine`.
    pub suffix: String,
    /// Tags that are never overwritten, besides full versions.
    pub immutable: Vec<Regex>,
    /// Full versions may be overwritten.
    pub mutable_versions: bool,
}

impl Policy {
    /// The tag without prefix and suffix.
    fn core<'t>(&self, tag: &'t str) -> Option<&'t str> {
        tag.strip_prefix(self.prefix.as_str())?.strip_suffix(self.suffix.as_str())
    }

    fn version(&self, tag: &str) -> Option<TagVersion> {
        self.core(tag).and_then(TagVersion::parse)
    }
}

/// Decides for each wanted tag of an image of `version`, given the tags that the registry has.
///
/// Versions are compared within one flavor: `1.3.0-alpine` does not hold `latest` back, `latest-alpine` it does. What
/// is neither a version nor `latest` (branches, `edge`, `nightly`, `pr-7`) moves freely, and so does everything where
/// `version` is no version. The order is that of `wanted`.
pub fn decide<'t>(
    version: &str,
    wanted: &[String],
    existing: impl IntoIterator<Item = &'t str>,
    policy: &Policy,
) -> Vec<(String, Decision)> {
    let existing: Vec<&str> = existing.into_iter().collect();
    let built = policy.version(version).or_else(|| TagVersion::parse(version)).filter(|built| !built.is_partial());
    let releases: Vec<TagVersion> =
        existing.iter().filter_map(|tag| policy.version(tag)).filter(TagVersion::is_release).collect();
    let highest = |covered: &dyn Fn(&TagVersion) -> bool| releases.iter().filter(|other| covered(other)).max();
    let decide = |tag: &String| {
        let exists = existing.contains(&tag.as_str());
        let partial = policy.version(tag).filter(TagVersion::is_partial);
        let latest = tag == "latest" || policy.core(tag) == Some("latest");
        let full = policy.version(tag).is_some_and(|version| !version.is_partial());
        let fixed = (full && !policy.mutable_versions) || policy.immutable.iter().any(|pattern| pattern.is_match(tag));
        if fixed {
            return if exists { Decision::Exists } else { Decision::Push };
        }
        let newer = match (&built, partial, latest) {
            (Some(built), Some(partial), _) if partial.covers(built) => {
                highest(&|other| partial.covers(other)).filter(|other| *other > built)
            }
            (Some(built), None, true) => highest(&|_| true).filter(|other| *other > built),
            _ => None,
        };
        match newer {
            Some(newer) => Decision::Behind(newer.to_string()),
            None => Decision::Push,
        }
    };
    wanted.iter().map(|tag| (tag.clone(), decide(tag))).collect()
}

/// The version for one more build of `version` within a flavor: `1.2.3` where that is free, else `1.2.3-1`, `1.2.3-2`, …
/// Without prefix and suffix in and out.
pub fn next_version<'t>(version: &str, existing: impl IntoIterator<Item = &'t str>, policy: &Policy) -> String {
    rebuild(version, existing.into_iter().filter_map(|tag| policy.core(tag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(version: &str, wanted: &str, existing: &str, policy: &Policy) -> String {
        let wanted: Vec<String> = wanted.split(' ').map(str::to_owned).collect();
        let word = |(tag, decision): (String, Decision)| match decision {
            Decision::Push => tag,
            Decision::Behind(newer) => format!("{tag}<{newer}"),
            Decision::Exists => format!("{tag}!"),
        };
        decide(version, &wanted, existing.split(' '), policy).into_iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn moving_tags_never_move_backwards() {
        let plain = Policy::default();
        let run = |version, existing| run(version, "1.2.3 1.2 1 latest", existing, &plain);
        assert_eq!(run("1.2.3", "1.2.2 1.2 1 latest"), "1.2.3 1.2 1 latest");
        assert_eq!(run("1.2.3", "1.2.4 1.2 1 latest"), "1.2.3 1.2<1.2.4 1<1.2.4 latest<1.2.4");
        assert_eq!(run("1.2.3", "1.10.0 2.0.0"), "1.2.3 1.2 1<1.10.0 latest<2.0.0");
        assert_eq!(run("1.2.3", "2.0.0-rc.1 1.2.3-rc.9"), "1.2.3 1.2 1 latest");
        assert_eq!(run("1.2.3", "1.2.3 1.2.3-1"), "1.2.3! 1.2<1.2.3-1 1<1.2.3-1 latest<1.2.3-1");
        assert_eq!(run("1.2.3", "v9.0.0"), "1.2.3 1.2 1 latest<v9.0.0");
    }

    #[test]
    fn flavors_are_apart_and_others_move_freely() {
        let alpine = Policy { suffix: "-alpine".into(), ..Policy::default() };
        let existing = "3.0.0 1.3.0-alpine 1.2.3 edge";
        assert_eq!(
            run("1.2.3", "1.2.3-alpine 1.2-alpine 1-alpine latest-alpine edge", existing, &alpine),
            "1.2.3-alpine 1.2-alpine 1-alpine<1.3.0 latest-alpine<1.3.0 edge"
        );
        let plain = Policy { immutable: vec![Regex::new("^sha-").unwrap()], ..Policy::default() };
        assert_eq!(run("main", "main latest sha-1 sha-2", "9.0.0 main sha-1", &plain), "main latest sha-1! sha-2");
        let loose = Policy { mutable_versions: true, ..Policy::default() };
        assert_eq!(run("1.2.3-1", "1.2.3-1 1.2.3 1.2", "1.2.3-1 1.2.3", &loose), "1.2.3-1 1.2.3 1.2");
    }

    #[test]
    fn the_next_free_version() {
        let alpine = Policy { suffix: "-alpine".into(), ..Policy::default() };
        assert_eq!(next_version("1.2.3", ["1.2.3", "1.2.3-alpine", "1.2.3-1-alpine"], &alpine), "1.2.3-2");
        assert_eq!(next_version("1.2.3", ["1.2.3"], &alpine), "1.2.3");
    }
}
