//! Records in the OSV format (schema 1.7): what is read of them, and whether a version is affected.
//!
//! Fields that are not known are passed over, as the schema asks; `null` is as if the field were not there. What a
//! record must have and lacks makes it unreadable, and the caller says which file it was.
use crate::severity::Vector;
use crate::version::{Order, Version};
use serde::{Deserialize, Deserializer, Serialize};

/// A record is no larger than this; the largest that is known has 4 MB.
pub const MAX_RECORD: u64 = 16 << 20;
/// Names and versions are no longer than this.
const MAX_TEXT: usize = 1024;

/// What is read of a record.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Record {
    /// `GHSA-…`, `DEBIAN-CVE-…`
    pub id: String,
    /// RFC 3339.
    #[serde(default, deserialize_with = "or_default")]
    pub modified: String,
    /// RFC 3339.
    #[serde(default)]
    pub published: Option<String>,
    /// When it was withdrawn: such a record says nothing.
    #[serde(default)]
    pub withdrawn: Option<String>,
    /// Names of the same vulnerability in other databases.
    #[serde(default, deserialize_with = "or_default")]
    pub aliases: Vec<String>,
    /// Vulnerabilities that this record is about, for one distribution.
    #[serde(default, deserialize_with = "or_default")]
    pub upstream: Vec<String>,
    /// Others that are near to it.
    #[serde(default, deserialize_with = "or_default")]
    pub related: Vec<String>,
    /// One line.
    #[serde(default)]
    pub summary: Option<String>,
    /// Markdown.
    #[serde(default)]
    pub details: Option<String>,
    /// CVSS vectors.
    #[serde(default, deserialize_with = "or_default")]
    pub severity: Vec<Vector>,
    /// What is affected.
    #[serde(default, deserialize_with = "or_default")]
    pub affected: Vec<Affected>,
    /// Where to read more.
    #[serde(default, deserialize_with = "or_default")]
    pub references: Vec<crate::finding::Reference>,
    /// The database's own fields.
    #[serde(default, deserialize_with = "or_default")]
    pub database_specific: DatabaseSpecific,
}

/// What is read of a database's own fields.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct DatabaseSpecific {
    /// GitHub's word: `LOW`, `MODERATE`, `HIGH`, `CRITICAL`. Others use the name for other things.
    #[serde(default, deserialize_with = "word")]
    pub severity: Option<String>,
}

/// A package that is affected.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Affected {
    /// The package; records about git repositories have none.
    #[serde(default)]
    pub package: Option<PackageName>,
    /// Vectors that hold for this package alone.
    #[serde(default, deserialize_with = "or_default")]
    pub severity: Vec<Vector>,
    /// Ranges of versions.
    #[serde(default, deserialize_with = "or_default")]
    pub ranges: Vec<Range>,
    /// Versions one by one.
    #[serde(default, deserialize_with = "or_default")]
    pub versions: Vec<String>,
    /// The ecosystem's own fields.
    #[serde(default, deserialize_with = "or_default")]
    pub ecosystem_specific: EcosystemSpecific,
}

/// A package as OSV names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PackageName {
    /// `Debian:12`
    pub ecosystem: String,
    /// Its name there.
    pub name: String,
}

/// What is read of an ecosystem's own fields.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct EcosystemSpecific {
    /// Debian's.
    #[serde(default, deserialize_with = "word")]
    pub urgency: Option<String>,
}

/// A range of versions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Range {
    /// `SEMVER`, `ECOSYSTEM` or `GIT`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it begins and ends.
    #[serde(default, deserialize_with = "or_default")]
    pub events: Vec<Event>,
}

/// A place where something begins or ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The first version that is affected; `0` is before all.
    #[serde(alias = "i")]
    Introduced(String),
    /// The first that is affected no more.
    #[serde(alias = "f")]
    Fixed(String),
    /// The last that is affected.
    #[serde(alias = "l")]
    LastAffected(String),
    /// Versions from here on are not spoken of; `*` is after all.
    #[serde(alias = "m")]
    Limit(String),
}

impl Event {
    /// The version.
    #[must_use]
    pub fn version(&self) -> &str {
        match self {
            Self::Introduced(v) | Self::Fixed(v) | Self::LastAffected(v) | Self::Limit(v) => v,
        }
    }
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A text; anything else is as if it were not there.
fn word<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(serde_json::Value::deserialize(from)?.as_str().map(str::to_owned))
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    /// A text that says what is wrong with it.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() as u64 > MAX_RECORD {
            return Err(format!("it has more than {MAX_RECORD} bytes"));
        }
        let record: Self = serde_json::from_slice(bytes).map_err(|error| format!("it is no OSV record: {error}"))?;
        if record.id.trim().is_empty() {
            return Err("it has no id".into());
        }
        let texts = record.affected.iter().flat_map(|affected| {
            let package = affected.package.iter().flat_map(|p| [&p.ecosystem, &p.name]);
            let events = affected.ranges.iter().flat_map(|range| &range.events).map(Event::version);
            package.chain(&affected.versions).map(String::as_str).chain(events)
        });
        let names = record.aliases.iter().chain(&record.upstream).chain(&record.related).map(String::as_str);
        if texts.chain(names).chain([record.id.as_str()]).any(|text| text.len() > MAX_TEXT) {
            return Err(format!("a name or version in it has more than {MAX_TEXT} bytes"));
        }
        Ok(record)
    }
}

/// A range that can be looked at: of versions, with events in the order of versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRange {
    /// Whether versions are semantic ones, whatever the ecosystem's are.
    #[serde(rename = "s", default, skip_serializing_if = "std::ops::Not::not")]
    pub semver: bool,
    /// Where it begins and ends, in the record's order.
    #[serde(rename = "e")]
    pub events: Vec<Event>,
}

impl VersionRange {
    /// Whether a version is in the range, by the schema's evaluation algorithm.
    #[must_use]
    pub fn holds(&self, version: &str, ecosystem: Order) -> bool {
        let order = if self.semver { Order::Semver } else { ecosystem };
        let version = order.parse(version);
        let mut limits = self.events.iter().filter_map(|event| match event {
            Event::Limit(limit) => Some(limit),
            _ => None,
        });
        let limited = limits.clone().next().is_some();
        if limited && !limits.any(|limit| limit == "*" || version.compare(&order.parse(limit)).is_lt()) {
            return false;
        }
        // `0` is before all versions, and so before all events.
        let mut events: Vec<(Option<Version>, &Event)> = self
            .events
            .iter()
            .filter(|event| !matches!(event, Event::Limit(_)))
            .map(|event| match event {
                Event::Introduced(from) if from == "0" => (None, event),
                event => (Some(order.parse(event.version())), event),
            })
            .collect();
        events.sort_by(|(a, _), (b, _)| match (a, b) {
            (Some(a), Some(b)) => a.compare(b),
            (a, b) => a.is_some().cmp(&b.is_some()),
        });
        let mut affected = false;
        for (at, event) in events {
            let order = at.map_or(std::cmp::Ordering::Greater, |at| version.compare(&at));
            match event {
                Event::Introduced(_) if order.is_ge() => affected = true,
                Event::Fixed(_) if order.is_ge() => affected = false,
                Event::LastAffected(_) if order.is_gt() => affected = false,
                _ => {}
            }
        }
        affected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(events: &str) -> VersionRange {
        VersionRange { semver: true, events: serde_json::from_str(events).unwrap() }
    }

    #[test]
    fn the_evaluation_algorithm() {
        // Events as the schema's page has them; versions that are affected, and that are not.
        let cases: &[(&str, &[&str], &[&str])] = &[
            (r#"[{"introduced":"0"}]"#, &["0.0.0-0", "9.0.0"], &[]),
            (r#"[{"introduced":"0"},{"fixed":"1.0.2"}]"#, &["1.0.1", "1.0.2-rc.1"], &["1.0.2", "2.0.0"]),
            (
                r#"[{"introduced":"1.0.0"},{"fixed":"1.0.2"},{"introduced":"3.0.0"},{"fixed":"3.2.5"}]"#,
                &["1.0.0", "3.0.0", "3.2.4"],
                &["0.9.0", "1.0.2", "2.0.0", "3.2.5"],
            ),
            (
                r#"[{"fixed":"3.2.5"},{"introduced":"3.0.0"},{"fixed":"1.0.2"},{"introduced":"1.0.0"}]"#,
                &["1.0.0", "3.0.0"],
                &["2.0.0"],
            ),
            (r#"[{"introduced":"1.0.0"},{"last_affected":"1.5.0"}]"#, &["1.0.0", "1.5.0"], &["1.5.1", "0.1.0"]),
            (r#"[{"introduced":"0"},{"limit":"2.0.0"}]"#, &["1.9.9"], &["2.0.0", "3.0.0"]),
            (r#"[{"introduced":"0"},{"limit":"2.0.0"},{"limit":"*"}]"#, &["3.0.0"], &[]),
            (r#"[{"introduced":"0"},{"fixed":"0"}]"#, &[], &["1.0.0"]),
            (r#"[{"fixed":"1.0.0"}]"#, &[], &["0.1.0"]),
            ("[]", &[], &["1.0.0"]),
        ];
        for (events, yes, no) in cases {
            for version in *yes {
                assert!(range(events).holds(version, Order::Deb), "{version} {events}");
            }
            for version in *no {
                assert!(!range(events).holds(version, Order::Deb), "{version} {events}");
            }
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for (text, why) in [
            ("", "it is no OSV record: EOF"),
            ("{}", "it is no OSV record: missing field `id`"),
            (r#"{"id":" "}"#, "it has no id"),
            (r#"{"id":"X","affected":[{"ranges":[{"type":"SEMVER","events":[{"begun":"1"}]}]}]}"#, "unknown variant"),
        ] {
            let error = Record::read(text.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let deep = format!(r#"{{"id":"X","database_specific":{}"#, "[".repeat(100_000));
        assert!(Record::read(deep.as_bytes()).unwrap_err().contains("recursion"));
        let long = format!(r#"{{"id":"X","aliases":["{}"]}}"#, "A".repeat(2000));
        assert!(Record::read(long.as_bytes()).unwrap_err().contains("1024"));
        // What may be missing, null or of another kind.
        let odd = r#"{"id":"X","aliases":null,"affected":[{"versions":null,"ecosystem_specific":{"urgency":3}}],
            "database_specific":{"severity":[1]},"new":1}"#;
        assert_eq!(Record::read(odd.as_bytes()).unwrap().affected.len(), 1);
    }
}
