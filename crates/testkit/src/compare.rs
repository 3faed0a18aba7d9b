//! Two images' differences, each as a line that a person can act on.
use crate::{ConfigFacts, FileFacts, Files, Image, Result};
use serde_json::Value;
use std::fmt;

/// One difference between what was expected and what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// A path in the image (with a leading slash), or `config.Env`, `history[3]`, …
    pub place: String,
    /// What the peer says.
    pub expected: String,
    /// What we have.
    pub actual: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, got {}", self.place, self.expected, self.actual)
    }
}

impl Difference {
    fn new(place: impl Into<String>, expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self { place: place.into(), expected: expected.into(), actual: actual.into() }
    }
}

/// Compares files and configs of two images; times are left out.
pub fn compare(expected: &Image, actual: &Image) -> Result<Vec<Difference>> {
    let mut differences = compare_config(&expected.config_facts()?, &actual.config_facts()?);
    differences.extend(compare_files(&expected.files()?, &actual.files()?, &[]));
    Ok(differences)
}

/// Compares two file systems; modification times only of the paths in `times` (without a leading slash).
#[must_use]
pub fn compare_files(expected: &Files, actual: &Files, times: &[String]) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (path, facts) in expected {
        match actual.get(path) {
            None => differences.push(Difference::new(format!("/{path}"), describe(facts), "nothing")),
            Some(other) => {
                for (field, a, b) in facts_differ(facts, other, times.contains(path)) {
                    differences.push(Difference::new(format!("/{path} ({field})"), a, b));
                }
            }
        }
    }
    for (path, facts) in actual {
        if !expected.contains_key(path) {
            differences.push(Difference::new(format!("/{path}"), "nothing", describe(facts)));
        }
    }
    differences
}

/// Compares two configs.
#[must_use]
pub fn compare_config(expected: &ConfigFacts, actual: &ConfigFacts) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut put = |place: String, a: String, b: String| {
        if a != b {
            differences.push(Difference::new(place, a, b));
        }
    };
    let shown = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    put("platform".to_owned(), expected.platform.clone(), actual.platform.clone());
    put("author".to_owned(), format!("{:?}", expected.author), format!("{:?}", actual.author));
    let mut keys: Vec<&String> = expected.config.keys().chain(actual.config.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        put(format!("config.{key}"), sorted(expected.config.get(key)), sorted(actual.config.get(key)));
    }
    put("layers".to_owned(), expected.layers.to_string(), actual.layers.to_string());
    for number in 0..expected.history.len().max(actual.history.len()) {
        let line = |facts: &ConfigFacts| {
            let entry = facts.history.get(number).map(serde_json::to_value).transpose().unwrap_or_default();
            shown(entry.as_ref())
        };
        put(format!("history[{number}]"), line(expected), line(actual));
    }
    differences
}

/// JSON text in which the order of an object's keys plays no part.
fn sorted(value: Option<&Value>) -> String {
    let mut value = value.cloned();
    if let Some(value) = &mut value {
        value.sort_all_objects();
    }
    value.map_or_else(|| "nothing".to_owned(), |value| value.to_string())
}

fn describe(facts: &FileFacts) -> String {
    let mut text = format!("{:?} {} {}:{}", facts.kind, facts.mode, facts.uid, facts.gid).to_lowercase();
    if let Some(link) = &facts.link {
        text += &format!(" to {link}");
    }
    if let Some(content) = &facts.text {
        text += &format!(" holding {}", excerpt(content));
    } else if facts.size > 0 {
        text += &format!(" of {} bytes", facts.size);
    }
    text
}

fn excerpt(text: &str) -> String {
    let short: String = text.chars().take(200).collect();
    format!("{short:?}{}", if short.len() < text.len() { "…" } else { "" })
}

fn facts_differ(a: &FileFacts, b: &FileFacts, with_time: bool) -> Vec<(&'static str, String, String)> {
    let mut fields = Vec::new();
    let mut put = |name: &'static str, a: String, b: String| {
        if a != b {
            fields.push((name, a, b));
        }
    };
    put("type", format!("{:?}", a.kind), format!("{:?}", b.kind));
    // A link's own mode means nothing to Linux, and tools write 0777 or what lstat says.
    if a.link.is_none() {
        put("mode", a.mode.clone(), b.mode.clone());
    }
    put("owner", format!("{}:{}", a.uid, a.gid), format!("{}:{}", b.uid, b.gid));
    match (&a.text, &b.text) {
        (Some(a), Some(b)) => put("content", excerpt(a), excerpt(b)),
        (None, None) => {
            put("size", a.size.to_string(), b.size.to_string());
            put("content", format!("{:?}", a.sha256), format!("{:?}", b.sha256));
        }
        _ => put("content", describe(a), describe(b)),
    }
    put("target", format!("{:?}", a.link), format!("{:?}", b.link));
    put("device", format!("{:?}", a.rdev), format!("{:?}", b.rdev));
    put("xattrs", format!("{:?}", a.xattrs), format!("{:?}", b.xattrs));
    put("hard links", format!("{:?}", a.hardlinks), format!("{:?}", b.hardlinks));
    if with_time {
        put("mtime", format!("{:?}", a.mtime), format!("{:?}", b.mtime));
    }
    fields
}
