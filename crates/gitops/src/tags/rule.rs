//! The lines of `tags` and `flavor`: comma-separated fields `key=value`, quoted as in CSV.
use super::{Error, suggestion};

/// One line of `tags`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The type with its own attributes.
    pub kind: Kind,
    /// `enable`: a template that gives `true` or `false`.
    pub enable: String,
    /// `priority`: the highest is first and decides the version and `latest`.
    pub priority: i64,
    /// `prefix`, where the line has one, even an empty one: it takes the flavor's place.
    pub prefix: Option<String>,
    /// `suffix`, likewise.
    pub suffix: Option<String>,
}

/// The eight types with their attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// On the event `schedule`.
    Schedule {
        /// A template of `{{date}}` and `{{commit_date}}`; `nightly`.
        pattern: String,
    },
    /// A git tag, or `value`, that is a semantic version.
    Semver {
        /// A template of `{{version}}`, `{{major}}`, …
        pattern: String,
        /// Instead of the git tag.
        value: String,
        /// An expression that takes the version out of the tag (its first group).
        matcher: Option<String>,
    },
    /// A git tag, or `value`, that is a Python version.
    Pep440 {
        /// A template of `{{version}}`, `{{major}}`, …
        pattern: String,
        /// Instead of the git tag.
        value: String,
        /// An expression that takes the version out of the tag (its first group).
        matcher: Option<String>,
    },
    /// A part of a git tag, or of `value`.
    Match {
        /// A regular expression, or `/expression/flags`.
        pattern: String,
        /// The group that is taken; 0 is the whole match.
        group: usize,
        /// Instead of the git tag.
        value: String,
    },
    /// `edge`, on a push to a branch.
    Edge {
        /// The branch; the default branch where it is empty.
        branch: String,
    },
    /// The name of the reference.
    Ref {
        /// Which kind of reference.
        event: RefEvent,
    },
    /// The value itself.
    Raw {
        /// A template.
        value: String,
    },
    /// The commit.
    Sha {
        /// All of it.
        long: bool,
    },
}

/// Kinds of references of `type=ref`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefEvent {
    /// `refs/heads/…`
    Branch,
    /// `refs/tags/…`
    Tag,
    /// `refs/pull/…`
    Pr,
}

/// `latest` of a flavor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Latest {
    /// The first rule that gives a tag decides.
    #[default]
    Auto,
    /// Always.
    True,
    /// Never.
    False,
}

/// What holds for all tags.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flavor {
    /// Whether there is a tag `latest`.
    pub latest: Latest,
    /// Before each tag without a prefix of its own; a template.
    pub prefix: String,
    /// The prefix stands before `latest` too.
    pub prefix_on_latest: bool,
    /// Behind each tag without a suffix of its own; a template.
    pub suffix: String,
    /// The suffix stands behind `latest` too.
    pub suffix_on_latest: bool,
}

const TYPES: [&str; 8] = ["schedule", "semver", "pep440", "match", "edge", "ref", "raw", "sha"];

impl Rule {
    /// Reads one line. Without `type` it is `raw`; a field without `=` is the `value`.
    ///
    /// # Errors
    /// [`Error::Rule`].
    pub fn parse(line: &str) -> Result<Self, Error> {
        let wrong = |problem: String| Error::Rule { rule: line.to_owned(), problem };
        let mut attributes: Vec<(String, String)> = Vec::new();
        let mut kind = None;
        for field in fields(line).map_err(|problem| wrong(problem.into()))? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.trim().to_lowercase(), value.trim().to_owned()),
                None => ("value".to_owned(), field.trim().to_owned()),
            };
            if key == "type" {
                kind = Some(value);
            } else {
                attributes.retain(|(other, _)| *other != key);
                attributes.push((key, value));
            }
        }
        let kind = kind.unwrap_or_else(|| "raw".into());
        let mut take = |key: &str| {
            let at = attributes.iter().position(|(other, _)| other == key)?;
            Some(attributes.remove(at).1)
        };
        let (enable, priority) = (take("enable").unwrap_or_else(|| "true".into()), take("priority"));
        let (mut prefix, suffix) = (take("prefix"), take("suffix"));
        let own: &[&str];
        let need = |value: Option<String>, key: &str| value.ok_or_else(|| wrong(format!("`{key}=` is missing")));
        let (kind, default_priority) = match kind.as_str() {
            "schedule" => {
                own = &["pattern"];
                (Kind::Schedule { pattern: take("pattern").unwrap_or_else(|| "nightly".into()) }, 1000)
            }
            "semver" | "pep440" => {
                own = &["pattern", "value", "match"];
                let pattern = need(take("pattern"), "pattern")?;
                let value = take("value").unwrap_or_default();
                let matcher = take("match").filter(|matcher| !matcher.is_empty());
                let kind = match kind.as_str() {
                    "semver" => Kind::Semver { pattern, value, matcher },
                    _ => Kind::Pep440 { pattern, value, matcher },
                };
                (kind, 900)
            }
            "match" => {
                own = &["pattern", "group", "value"];
                let pattern = need(take("pattern"), "pattern")?;
                let group = take("group").unwrap_or_else(|| "0".into());
                let group = group.parse().map_err(|_| wrong(format!("`group={group}` is no number")))?;
                (Kind::Match { pattern, group, value: take("value").unwrap_or_default() }, 800)
            }
            "edge" => {
                own = &["branch"];
                (Kind::Edge { branch: take("branch").unwrap_or_default() }, 700)
            }
            "ref" => {
                own = &["event"];
                let event = match need(take("event"), "event")?.as_str() {
                    "branch" => RefEvent::Branch,
                    "tag" => RefEvent::Tag,
                    "pr" => RefEvent::Pr,
                    other => return Err(wrong(format!("`event={other}`: it is branch, tag or pr"))),
                };
                if event == RefEvent::Pr {
                    prefix = prefix.or(Some("pr-".into()));
                }
                (Kind::Ref { event }, 600)
            }
            "raw" => {
                own = &["value"];
                (Kind::Raw { value: need(take("value"), "value")? }, 200)
            }
            "sha" => {
                own = &["format"];
                prefix = prefix.or(Some("sha-".into()));
                let long = match take("format").as_deref() {
                    None | Some("short") => false,
                    Some("long") => true,
                    Some(other) => return Err(wrong(format!("`format={other}`: it is short or long"))),
                };
                (Kind::Sha { long }, 100)
            }
            other => return Err(wrong(format!("`type={other}` is unknown; {}", suggestion(other, &TYPES)))),
        };
        if let Some((key, _)) = attributes.first() {
            let all = [own, &["enable", "priority", "prefix", "suffix"]].concat();
            return Err(wrong(format!("`{key}` is no attribute of this type; {}", suggestion(key, &all))));
        }
        let priority = match priority {
            Some(text) => text.parse().map_err(|_| wrong(format!("`priority={text}` is no whole number")))?,
            None => default_priority,
        };
        Ok(Self { kind, enable, priority, prefix, suffix })
    }

    /// Reads a line per rule; empty lines and lines that begin with `#` are left out. No rule at all means the
    /// default: `schedule`, and `ref` for branch, tag and pull request.
    ///
    /// # Errors
    /// [`Error::Rule`].
    pub fn parse_all(text: &str) -> Result<Vec<Self>, Error> {
        let rules: Vec<Self> = lines(text).map(Self::parse).collect::<Result<_, _>>()?;
        if !rules.is_empty() {
            return Ok(rules);
        }
        ["type=schedule", "type=ref,event=branch", "type=ref,event=tag", "type=ref,event=pr"]
            .into_iter()
            .map(Self::parse)
            .collect()
    }
}

impl Flavor {
    /// Reads the lines of `flavor`: `latest=auto`, `prefix=…,onlatest=true`, `suffix=…`.
    ///
    /// # Errors
    /// [`Error::Flavor`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut flavor = Self::default();
        for line in lines(text) {
            let wrong = |problem: String| Error::Flavor { flavor: line.to_owned(), problem };
            let mut on_latest: Option<&mut bool> = None;
            for field in fields(line).map_err(|problem| wrong(problem.into()))? {
                let (key, value) = field.split_once('=').ok_or_else(|| wrong(format!("`{field}` has no `=`")))?;
                let (key, value) = (key.trim().to_lowercase(), value.trim());
                match (key.as_str(), value) {
                    ("latest", "auto") => flavor.latest = Latest::Auto,
                    ("latest", "true") => flavor.latest = Latest::True,
                    ("latest", "false") => flavor.latest = Latest::False,
                    ("latest", _) => return Err(wrong(format!("`latest={value}`: it is auto, true or false"))),
                    ("prefix", _) => {
                        flavor.prefix = value.to_owned();
                        on_latest = Some(&mut flavor.prefix_on_latest);
                    }
                    ("suffix", _) => {
                        flavor.suffix = value.to_owned();
                        on_latest = Some(&mut flavor.suffix_on_latest);
                    }
                    ("onlatest", "true" | "false") => match &mut on_latest {
                        Some(which) => **which = value == "true",
                        None => {
                            return Err(wrong("`onlatest` stands behind `prefix` or `suffix` on the same line".into()));
                        }
                    },
                    ("onlatest", _) => return Err(wrong(format!("`onlatest={value}`: it is true or false"))),
                    _ => {
                        let there = suggestion(&key, &["latest", "prefix", "suffix", "onlatest"]);
                        return Err(wrong(format!("`{key}` is unknown; {there}")));
                    }
                }
            }
        }
        Ok(flavor)
    }
}

pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The fields of a CSV line: a field that begins with `"` goes to the next `"` (`""` is one of them).
pub(super) fn fields(line: &str) -> Result<Vec<String>, &'static str> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let start = rest.trim_start();
        let (field, tail) = if let Some(mut inner) = start.strip_prefix('"') {
            let mut field = String::new();
            loop {
                let (text, tail) = inner.split_once('"').ok_or("a quote is not closed")?;
                field.push_str(text);
                match tail.strip_prefix('"') {
                    Some(more) => {
                        field.push('"');
                        inner = more;
                    }
                    None => break (field, tail),
                }
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..])
        };
        fields.push(field);
        let tail = tail.trim_start();
        if tail.is_empty() {
            return Ok(fields);
        }
        rest = tail.strip_prefix(',').ok_or("text stands behind a closing quote")?;
    }
}
