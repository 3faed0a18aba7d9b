//! `images/NAME.yaml`
use super::{StateError, text};
use crate::enrol::{Image, Kind};
use crate::yaml::{Node, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// How far discovery came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    /// Not yet.
    #[default]
    Pending,
    /// There is nothing to discover.
    External,
    /// The bases are known.
    Complete,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::External => "external",
            Self::Complete => "complete",
        }
    }
}

/// Why automation leaves an image alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Since when.
    pub since: String,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
}

/// The state of an enrolled image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageState {
    /// Its name.
    pub name: String,
    /// When it was seen first.
    pub enrolled_at: Option<String>,
    /// When discovery last found something else than before.
    pub last_discovery: Option<String>,
    /// How far discovery came.
    pub status: Status,
    /// What `images.yaml` says, for reference.
    pub enrollment: Vec<(String, Value)>,
    /// What stands at the top for external images: `allowTags`, `imageSelectionStrategy`, `repoURL`.
    pub external: Vec<(String, Value)>,
    /// The names of its base images' state files.
    pub bases: Vec<String>,
    /// The version that is published.
    pub current_version: Option<String>,
    /// Its digest.
    pub current_digest: Option<String>,
    /// When it was built.
    pub last_built: Option<String>,
    /// The digests of the base images that it was built on, by the names of their state files.
    pub built_from: BTreeMap<String, String>,
    /// Whether automation leaves it alone.
    pub hold: Option<Hold>,
    /// Whether the file has a key `hold`.
    has_hold: bool,
    /// Whether the file has a key `builtFrom`.
    has_built_from: bool,
}

impl ImageState {
    /// The state of an image that was never seen.
    #[must_use]
    pub fn new(image: &Image, now: &str) -> Self {
        let mut state = Self { name: image.name.clone(), enrolled_at: Some(now.to_owned()), ..Self::default() };
        state.enrol(image);
        state
    }

    /// Takes over what `images.yaml` says.
    pub fn enrol(&mut self, image: &Image) {
        let plain = |text: &str| Value::Text(text.to_owned());
        let mut out: Vec<(String, Value)> = Vec::new();
        let mut put = |key: &str, value: Value| out.push((key.to_owned(), value));
        put("registry", plain(&image.registry));
        put("repository", plain(&image.repository));
        self.external = Vec::new();
        match &image.kind {
            Kind::Managed(managed) => {
                if let Some(source) = &managed.source {
                    let mut list = vec![("provider".to_owned(), plain(&source.provider))];
                    let mut put = |key: &str, value: &str| list.push((key.to_owned(), plain(value)));
                    match &source.repo {
                        Some(repo) => put("repo", repo),
                        None => put("url", &source.url),
                    }
                    put("branch", &source.branch);
                    put("dockerfile", &source.dockerfile_path());
                    if let Some(context) = &source.context {
                        put("context", context);
                    }
                    if let Some(workflow) = &source.workflow {
                        put("workflow", workflow);
                    }
                    put_list(&mut list, "paths", &source.paths);
                    out.push(("source".into(), Value::Map(list)));
                }
                let mut local = Vec::new();
                for (key, value) in [("dockerfile", &managed.local.dockerfile), ("dir", &managed.local.dir)] {
                    if let Some(value) = value {
                        local.push((key.to_owned(), plain(value)));
                    }
                }
                if !local.is_empty() {
                    out.push(("local".into(), Value::Map(local)));
                }
                put_list(&mut out, "platforms", &managed.platforms);
                out.push(("rebuildDelay".into(), plain(&image.rebuild_delay.to_string())));
                out.push(("autoRebuild".into(), Value::Bool(managed.auto_rebuild)));
            }
            Kind::External => {
                put("rebuildDelay", plain(&image.rebuild_delay.to_string()));
                self.status = Status::External;
                self.external = vec![
                    ("allowTags".into(), Value::text_or_null(image.selection.allow.as_deref())),
                    ("imageSelectionStrategy".into(), plain(image.selection.strategy.name())),
                    ("repoURL".into(), plain(&image.reference())),
                ];
            }
        }
        if matches!(image.kind, Kind::Managed(_)) && self.status == Status::External {
            self.status = Status::Pending;
        }
        put_list(&mut out, "dependsOn", &image.depends_on);
        self.enrollment = out;
    }

    pub(super) fn decode(path: &Path, node: &Node) -> Result<Self, StateError> {
        let hold = node.get("hold").filter(|hold| !hold.entries().is_empty()).map(|hold| Hold {
            since: text(hold, "since").unwrap_or_default(),
            reason: text(hold, "reason").unwrap_or_default(),
            by: text(hold, "by").unwrap_or_default(),
        });
        Ok(Self {
            // The file's name is what counts: somebody may have copied the file.
            name: super::stem(path),
            enrolled_at: text(node, "enrolledAt"),
            last_discovery: text(node, "lastDiscovery"),
            status: match text(node, "discoveryStatus").as_deref() {
                Some("complete") => Status::Complete,
                Some("external") => Status::External,
                _ => Status::Pending,
            },
            enrollment: match node.get("enrollment").map(crate::yaml::value_of) {
                Some(Value::Map(entries)) => entries,
                _ => Vec::new(),
            },
            external: Vec::new(),
            bases: node
                .get("baseImages")
                .map(Node::list)
                .unwrap_or_default()
                .iter()
                .filter_map(Node::text)
                .map(str::to_owned)
                .collect(),
            current_version: text(node, "currentVersion"),
            current_digest: text(node, "currentDigest"),
            last_built: text(node, "lastBuilt"),
            built_from: node
                .get("builtFrom")
                .map(Node::entries)
                .unwrap_or_default()
                .iter()
                .filter_map(|entry| Some((entry.key.clone(), entry.value.text()?.to_owned())))
                .collect(),
            hold,
            has_hold: node.get("hold").is_some(),
            has_built_from: node.get("builtFrom").is_some(),
        })
    }

    pub(super) fn encode(&self) -> Vec<(String, Value)> {
        let mut out: Vec<(String, Value)> = Vec::new();
        let mut put = |key: &str, value: Value| out.push((key.to_owned(), value));
        put("name", Value::Text(self.name.clone()));
        put("enrolledAt", Value::quoted_or_null(self.enrolled_at.as_deref()));
        put("lastDiscovery", Value::quoted_or_null(self.last_discovery.as_deref()));
        put("discoveryStatus", Value::Text(self.status.name().into()));
        put("enrollment", Value::Map(self.enrollment.clone()));
        for (key, value) in &self.external {
            put(key, value.clone());
        }
        put("baseImages", Value::List(self.bases.iter().cloned().map(Value::Text).collect()));
        put("currentVersion", Value::text_or_null(self.current_version.as_deref()));
        put("currentDigest", Value::text_or_null(self.current_digest.as_deref()));
        put("lastBuilt", Value::quoted_or_null(self.last_built.as_deref()));
        if !self.built_from.is_empty() || self.has_built_from {
            let list = self.built_from.iter().map(|(name, digest)| (name.clone(), Value::Text(digest.clone())));
            put("builtFrom", Value::Map(list.collect()));
        }
        match &self.hold {
            Some(hold) => put(
                "hold",
                Value::Map(vec![
                    ("since".into(), Value::Quoted(hold.since.clone())),
                    ("reason".into(), Value::Text(hold.reason.clone())),
                    ("by".into(), Value::Text(hold.by.clone())),
                ]),
            ),
            None if self.has_hold => put("hold", Value::Null),
            None => {}
        }
        out
    }
}

fn put_list(out: &mut Vec<(String, Value)>, key: &str, list: &[String]) {
    if !list.is_empty() {
        out.push((key.to_owned(), Value::List(list.iter().cloned().map(Value::Text).collect())));
    }
}
