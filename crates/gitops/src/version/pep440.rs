//! Python's versions (PEP 440): reading them in all their spellings and writing the normal one.
use regex::Regex;
use std::fmt;
use std::sync::LazyLock;

/// PEP 440, appendix B, in this crate's words: `v? epoch! release pre post dev + local`.
static FORM: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?xi)^\s* v? (?:(?<epoch>[0-9]+)!)? (?<release>[0-9]+(?:\.[0-9]+)*)
        (?: [-_.]? (?<pre>alpha|beta|preview|pre|a|b|c|rc) [-_.]? (?<pren>[0-9]+)? )?
        (?: -(?<postm>[0-9]+) | [-_.]? (?<post>post|rev|r) [-_.]? (?<postn>[0-9]+)? )?
        (?: [-_.]? (?<dev>dev) [-_.]? (?<devn>[0-9]+)? )?
        (?: \+ (?<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*) )? \s*$",
    )
    .unwrap_or_else(|error| unreachable!("a fixed expression: {error}"))
});

/// A version in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pep440 {
    epoch: u64,
    release: Vec<u64>,
    pre: Option<(&'static str, u64)>,
    post: Option<u64>,
    dev: Option<u64>,
    local: Option<String>,
}

impl Pep440 {
    /// Reads a version in any spelling that PEP 440 allows. Numbers must fit into 64 bits.
    pub fn parse(text: &str) -> Option<Self> {
        let form = FORM.captures(text)?;
        let number = |name: &str| form.name(name).map_or(Some(0), |number| number.as_str().parse().ok());
        let release: Option<Vec<u64>> = form["release"].split('.').map(|part| part.parse().ok()).collect();
        let pre = match form.name("pre").map(|pre| pre.as_str().to_lowercase()) {
            None => None,
            Some(pre) => Some((
                match pre.as_str() {
                    "alpha" | "a" => "a",
                    "beta" | "b" => "b",
                    _ => "rc",
                },
                number("pren")?,
            )),
        };
        let post = match (form.name("postm"), form.name("post")) {
            (Some(_), _) => Some(number("postm")?),
            (None, Some(_)) => Some(number("postn")?),
            (None, None) => None,
        };
        let dev = if form.name("dev").is_some() { Some(number("devn")?) } else { None };
        let part = |part: &str| part.parse::<u64>().map_or_else(|_| part.to_lowercase(), |number| number.to_string());
        let local = form
            .name("local")
            .map(|local| local.as_str().split(['-', '_', '.']).map(part).collect::<Vec<_>>().join("."));
        Some(Self { epoch: number("epoch")?, release: release?, pre, post, dev, local })
    }

    /// A number of the release, from 0; 0 where it is not written.
    pub fn release(&self, at: usize) -> u64 {
        self.release.get(at).copied().unwrap_or(0)
    }

    /// Whether it is neither a pre-release nor a post-release nor a development release.
    pub fn is_final(&self) -> bool {
        self.pre.is_none() && self.post.is_none() && self.dev.is_none()
    }
}

impl fmt::Display for Pep440 {
    /// The normal spelling.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.epoch > 0 {
            write!(f, "{}!", self.epoch)?;
        }
        f.write_str(&self.release.iter().map(u64::to_string).collect::<Vec<_>>().join("."))?;
        if let Some((name, number)) = self.pre {
            write!(f, "{name}{number}")?;
        }
        if let Some(post) = self.post {
            write!(f, ".post{post}")?;
        }
        if let Some(dev) = self.dev {
            write!(f, ".dev{dev}")?;
        }
        match &self.local {
            Some(local) => write!(f, "+{local}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pep440;

    #[test]
    fn spellings_become_normal() {
        for (text, normal, last) in [
            ("1.2.3", "1.2.3", true),
            ("v1.0", "1.0", true),
            (" 1!2.0 ", "1!2.0", true),
            ("1.2RC2", "1.2rc2", false),
            ("1.1.alpha-1", "1.1a1", false),
            ("1.1_preview", "1.1rc0", false),
            ("1.0-1", "1.0.post1", false),
            ("1.2.post", "1.2.post0", false),
            ("1.0.dev4", "1.0.dev4", false),
            ("1.0b2.post345.dev456", "1.0b2.post345.dev456", false),
            ("1.0+Ubuntu_01", "1.0+ubuntu.1", true),
        ] {
            let version = Pep440::parse(text).unwrap();
            assert_eq!((version.to_string().as_str(), version.is_final()), (normal, last), "{text}");
        }
        for no in ["", "a", "1.0-beta-x", "1..2", "1.0+", "99999999999999999999"] {
            assert_eq!(Pep440::parse(no), None, "{no}");
        }
    }
}
