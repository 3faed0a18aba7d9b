//! A policy: which images need which signatures. The first rule that fits an image decides; an image that no rule
//! fits is refused, unless the policy says otherwise.
//!
//! ```toml
//! default = "refuse"                     # or "accept"
//!
//! [[image]]
//! match = "ghcr.io/acme/*"               # the whole name with its registry; * is any text, / included
//! keys = ["acme.pub"]                    # one of them must have signed the image
//! attestations = ["slsaprovenance1"]     # and one of them must have signed each of these about it
//!
//! [[image]]
//! match = "docker.io/library/*"
//! identity = { subject = "https://github.com/…", issuer = "https://token.actions.githubusercontent.com" }
//!
//! [[image]]
//! match = "localhost/*"
//! accept = true
//! ```
use crate::statement::predicate_type;
use serde::Deserialize;

/// A policy, read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
    accept_others: bool,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The pattern.
    pub pattern: String,
    /// What an image needs.
    pub need: Need,
}

/// What an image needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// Nothing helps: the image must not be used.
    Refused,
    /// A signature of one of these key files, and statements of these predicate types signed by one of them.
    Keys {
        /// Paths, relative to the policy file.
        keys: Vec<String>,
        /// Predicate types.
        attestations: Vec<String>,
    },
    /// A signature of an identity.
    Identity {
        /// The certificate's subject; `*` is any text.
        subject: String,
        /// Who vouches for it.
        issuer: String,
        /// Predicate types of statements that it must have signed as well.
        attestations: Vec<String>,
    },
}

/// Why a text is no policy.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct PolicyError(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    default: Option<String>,
    #[serde(default)]
    image: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(rename = "match")]
    pattern: String,
    keys: Option<Vec<String>>,
    attestations: Option<Vec<String>>,
    identity: Option<Identity>,
    accept: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    subject: String,
    issuer: String,
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// What is wrong with it, and in which rule.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let text: Text = toml::from_str(text).map_err(|e| {
            let line = e.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            let line = line.map(|n| format!("line {n}: ")).unwrap_or_default();
            PolicyError(format!("{line}{}", e.message().replace('\n', ", ")))
        })?;
        let accept_others = match text.default.as_deref() {
            None | Some("refuse") => false,
            Some("accept") => true,
            Some(other) => return Err(PolicyError(format!("default is {other:?}; known are refuse, accept"))),
        };
        let rules = text.image.into_iter().map(rule).collect::<Result<_, _>>()?;
        Ok(Self { rules, accept_others })
    }

    /// What an image of this name (`registry/repository`) needs, and the pattern that says so.
    #[must_use]
    pub fn need(&self, name: &str) -> (&Need, Option<&str>) {
        match self.rules.iter().find(|rule| fits(&rule.pattern, name)) {
            Some(rule) => (&rule.need, Some(&rule.pattern)),
            None if self.accept_others => (&Need::Nothing, None),
            None => (&Need::Refused, None),
        }
    }

    /// The key files that it names.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().flat_map(|rule| match &rule.need {
            Need::Keys { keys, .. } => keys.iter().map(String::as_str).collect(),
            _ => Vec::new(),
        })
    }
}

fn rule(entry: Entry) -> Result<Rule, PolicyError> {
    let fail = |why: String| PolicyError(format!("the rule for {:?} {why}", entry.pattern));
    let attestations = match &entry.attestations {
        None => Vec::new(),
        Some(list) => list
            .iter()
            .map(|name| {
                predicate_type(name).ok_or_else(|| fail(format!("asks for {name:?}, which is no predicate type")))
            })
            .collect::<Result<_, _>>()?,
    };
    let ways =
        usize::from(entry.keys.is_some()) + usize::from(entry.identity.is_some()) + usize::from(entry.accept.is_some());
    if ways != 1 {
        return Err(fail("needs exactly one of keys, identity, accept".into()));
    }
    if !attestations.is_empty() && entry.accept.is_some() {
        return Err(fail("asks for attestations, which needs keys or an identity".into()));
    }
    let need = match (&entry.keys, &entry.identity, entry.accept) {
        (Some(keys), ..) if keys.is_empty() => return Err(fail("has an empty list of keys".into())),
        (Some(keys), ..) => Need::Keys { keys: keys.clone(), attestations },
        (_, Some(identity), _) => {
            let (subject, issuer) = (identity.subject.clone(), identity.issuer.clone());
            Need::Identity { subject, issuer, attestations }
        }
        (.., Some(true)) => Need::Nothing,
        _ => Need::Refused,
    };
    Ok(Rule { pattern: entry.pattern, need })
}

/// Whether a name fits a pattern with `*` for any text.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_fits_decides() {
        let policy = Policy::parse(
            r#"
            [[image]]
            match = "ghcr.io/acme/*"
            keys = ["acme.pub"]
            attestations = ["spdxjson"]
            [[image]]
            match = "docker.io/library/*"
            identity = { subject = "me@example.com", issuer = "https://accounts.example.com" }
            [[image]]
            match = "*/scratchpad"
            accept = true
            "#,
        )
        .unwrap();
        let keys = vec!["acme.pub".to_owned()];
        let attestations = vec![crate::statement::SPDX.to_owned()];
        assert_eq!(policy.need("ghcr.io/acme/a/b"), (&Need::Keys { keys, attestations }, Some("ghcr.io/acme/*")));
        assert!(matches!(policy.need("docker.io/library/alpine").0, Need::Identity { .. }));
        assert_eq!(policy.need("h:1/x/scratchpad").0, &Need::Nothing);
        assert_eq!(policy.need("ghcr.io/acm"), (&Need::Refused, None));
        assert_eq!(policy.keys().collect::<Vec<_>>(), ["acme.pub"]);
        assert_eq!(Policy::parse("default = \"accept\"").unwrap().need("x").0, &Need::Nothing);
    }

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/bc", false),
            ("*", "a/b", true),
            ("a/*/c", "a/b/b/c", true),
            ("a/*b*/c", "a/xbx/c", true),
            ("a/*/c", "a/c", false),
            ("*.io/x", "ghcr.io/x", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn wrong_policies_say_what_is_wrong() {
        for (text, why) in [
            ("[[image]]\nmatch = 'a'\nkey = 'x'", "line 3: unknown field `key`"),
            ("[[image]]\nmatch = 'a'", "the rule for \"a\" needs exactly one of keys, identity, accept"),
            ("[[image]]\nmatch = 'a'\nkeys = []", "the rule for \"a\" has an empty list of keys"),
            (
                "[[image]]\nmatch = 'a'\nkeys = ['k']\nattestations = ['sbom']",
                "asks for \"sbom\", which is no predicate type",
            ),
            (
                "[[image]]\nmatch = 'a'\naccept = true\nattestations = ['spdx']",
                "asks for attestations, which needs keys or an identity",
            ),
            ("default = 'maybe'", "default is \"maybe\"; known are refuse, accept"),
        ] {
            let error = Policy::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
