//! `base-images/NAME.yaml`
use super::{StateError, text};
use crate::enrol::Strategy;
use crate::yaml::{Node, Value};
use crate::{names, time};
use oci::Reference;
use std::collections::BTreeMap;
use std::path::Path;

/// How many changes are remembered.
const HISTORY: usize = 10;

/// A change of a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The new one.
    pub digest: String,
    /// The one before.
    pub previous: Option<String>,
    /// When it was seen.
    pub at: String,
    /// What somebody else wrote in the entry.
    rest: Vec<(String, Value)>,
}

/// The state of a base image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BaseState {
    /// The file's name.
    pub name: String,
    /// As the Dockerfile has it.
    pub full_image: String,
    /// Host and port.
    pub registry: String,
    /// The path in the registry.
    pub repository: String,
    /// The tag; none for a digest alone.
    pub tag: Option<String>,
    /// The tags that count.
    pub allow_tags: Option<String>,
    /// How the newest is found.
    pub strategy: String,
    /// `REGISTRY/REPOSITORY`
    pub repo_url: String,
    /// When it was found in a Dockerfile first.
    pub first_discovered: Option<String>,
    /// When its registry was asked last.
    pub last_checked: Option<String>,
    /// What the tag points to.
    pub current_digest: Option<String>,
    /// When that changed.
    pub last_updated: Option<String>,
    /// What it pointed to before.
    pub previous_digest: Option<String>,
    /// From when on dependents may be rebuilt: `default`, and the names of images with another delay.
    pub eligible: BTreeMap<String, Option<String>>,
    /// What others know about it.
    pub metadata: Vec<(String, Value)>,
    /// The last changes, the newest last.
    pub history: Vec<Change>,
    /// When a Dockerfile that uses it was read and something had changed.
    pub last_discovery: Option<String>,
}

impl BaseState {
    /// The state of a base image that was never seen.
    #[must_use]
    pub fn new(name: String, image: &str, reference: &Reference, now: &str) -> Self {
        let tag = reference.tag_or_latest().map(str::to_owned);
        Self {
            name,
            full_image: image.to_owned(),
            registry: reference.registry().to_owned(),
            repository: reference.repository().to_owned(),
            allow_tags: tag.as_deref().map(names::exactly),
            strategy: Strategy::Lexical.name().to_owned(),
            repo_url: reference.name(),
            tag,
            first_discovered: Some(now.to_owned()),
            eligible: BTreeMap::from([("default".to_owned(), None)]),
            ..Self::default()
        }
    }

    /// What to ask the registry for.
    ///
    /// # Errors
    /// Where the file's names are none.
    pub fn reference(&self) -> Result<Reference, oci::ReferenceError> {
        if let Ok(reference) = self.full_image.parse::<Reference>()
            && reference.name() == format!("{}/{}", self.registry, self.repository)
        {
            return Ok(reference);
        }
        let name = format!("{}/{}", self.registry, self.repository);
        match &self.tag {
            Some(tag) => format!("{name}:{tag}").parse(),
            None => name.parse(),
        }
    }

    /// Takes over what the registry says; whether the digest is another one. The first digest that is
    /// ever seen is no change: nothing was built on another.
    pub fn seen(&mut self, digest: &str, now: i64) -> bool {
        let stamp = time::stamp(now);
        self.last_checked = Some(stamp.clone());
        if self.current_digest.as_deref() == Some(digest) {
            return false;
        }
        let previous = self.current_digest.replace(digest.to_owned());
        self.last_updated = Some(stamp.clone());
        self.history.push(Change {
            digest: digest.to_owned(),
            previous: previous.clone(),
            at: stamp,
            rest: Vec::new(),
        });
        let surplus = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..surplus);
        let changed = previous.is_some();
        if changed {
            self.previous_digest = previous;
        }
        changed
    }

    /// Whether the digest is one that was seen.
    #[must_use]
    pub fn knows(&self, digest: &str) -> bool {
        let is = |other: &Option<String>| other.as_deref() == Some(digest);
        let old = |change: &Change| change.digest == digest || is(&change.previous);
        is(&self.current_digest) || is(&self.previous_digest) || self.history.iter().any(old)
    }

    /// Works out from when on dependents may be rebuilt. `delays`: each dependent's name and delay in
    /// seconds. Nobody waits for a base that never changed.
    pub fn plan(&mut self, default_delay: i64, delays: &[(String, i64)]) {
        let changed = self.previous_digest.as_ref().and(self.last_updated.as_deref()).and_then(time::seconds);
        let at = |delay: i64| changed.map(|changed| time::stamp(changed.saturating_add(delay)));
        self.eligible = BTreeMap::from([("default".to_owned(), at(default_delay))]);
        for (name, delay) in delays.iter().filter(|(_, delay)| *delay != default_delay && changed.is_some()) {
            self.eligible.insert(name.clone(), at(*delay));
        }
    }

    pub(super) fn decode(path: &Path, node: &Node) -> Result<Self, StateError> {
        let history = node.get("updateHistory").map(Node::list).unwrap_or_default();
        let full_image = text(node, "fullImage").unwrap_or_default();
        let parsed = full_image.parse::<Reference>().ok();
        let part = |key: &str, of: fn(&Reference) -> String| {
            text(node, key).or_else(|| parsed.as_ref().map(of)).unwrap_or_default()
        };
        Ok(Self {
            name: super::stem(path),
            registry: part("registry", |r| r.registry().to_owned()),
            repository: part("repository", |r| r.repository().to_owned()),
            repo_url: part("repoURL", Reference::name),
            full_image,
            tag: text(node, "tag"),
            allow_tags: text(node, "allowTags"),
            strategy: text(node, "imageSelectionStrategy").unwrap_or_else(|| Strategy::Lexical.name().into()),
            first_discovered: text(node, "firstDiscovered"),
            last_checked: text(node, "lastChecked"),
            current_digest: text(node, "currentDigest"),
            last_updated: text(node, "lastUpdated"),
            previous_digest: text(node, "previousDigest"),
            eligible: node
                .get("rebuildEligibleAt")
                .map(Node::entries)
                .unwrap_or_default()
                .iter()
                .map(|entry| (entry.key.clone(), entry.value.text().map(str::to_owned)))
                .collect(),
            metadata: match node.get("metadata").map(crate::yaml::value_of) {
                Some(Value::Map(entries)) => entries,
                _ => Vec::new(),
            },
            history: history.iter().map(change).collect(),
            last_discovery: text(node, "lastDiscovery"),
        })
    }

    pub(super) fn encode(&self) -> Vec<(String, Value)> {
        let plain = |text: &str| Value::Text(text.to_owned());
        let (null, quoted) = (
            |t: &Option<String>| Value::text_or_null(t.as_deref()),
            |t: &Option<String>| Value::quoted_or_null(t.as_deref()),
        );
        let mut eligible: Vec<(String, Value)> = Vec::new();
        // `default` leads.
        for (key, value) in self.eligible.iter().filter(|(key, _)| *key == "default") {
            eligible.push((key.clone(), quoted(value)));
        }
        for (key, value) in self.eligible.iter().filter(|(key, _)| *key != "default") {
            eligible.push((key.clone(), quoted(value)));
        }
        let history = self.history.iter().map(|change| {
            let mut entry = vec![
                ("digest".to_owned(), plain(&change.digest)),
                ("previousDigest".to_owned(), null(&change.previous)),
                ("updatedAt".to_owned(), Value::Quoted(change.at.clone())),
            ];
            entry.extend(change.rest.iter().cloned());
            Value::Map(entry)
        });
        [
            ("name", plain(&self.name)),
            ("fullImage", plain(&self.full_image)),
            ("registry", plain(&self.registry)),
            ("repository", plain(&self.repository)),
            ("tag", null(&self.tag)),
            ("allowTags", null(&self.allow_tags)),
            ("imageSelectionStrategy", plain(&self.strategy)),
            ("repoURL", plain(&self.repo_url)),
            ("firstDiscovered", quoted(&self.first_discovered)),
            ("lastChecked", quoted(&self.last_checked)),
            ("currentDigest", null(&self.current_digest)),
            ("lastUpdated", quoted(&self.last_updated)),
            ("previousDigest", null(&self.previous_digest)),
            ("rebuildEligibleAt", Value::Map(eligible)),
            ("metadata", Value::Map(self.metadata.clone())),
            ("updateHistory", Value::List(history.collect())),
            ("lastDiscovery", quoted(&self.last_discovery)),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }
}

fn change(node: &Node) -> Change {
    const KNOWN: [&str; 3] = ["digest", "previousDigest", "updatedAt"];
    let rest = node.entries().iter().filter(|entry| !KNOWN.contains(&entry.key.as_str()));
    Change {
        digest: text(node, "digest").unwrap_or_default(),
        previous: text(node, "previousDigest"),
        at: text(node, "updatedAt").unwrap_or_default(),
        rest: rest.map(|entry| (entry.key.clone(), crate::yaml::value_of(&entry.value))).collect(),
    }
}
