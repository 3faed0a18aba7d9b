//! `expected.json` and `KNOWN.toml`.
use super::{Case, Peer, World};
use crate::{ConfigFacts, Difference, Error, Files, Image, Result, compare_config, compare_files, repository};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;

/// What an image must hold.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Who said so.
    pub peer: String,
    /// The build fails.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fails: bool,
    /// The config; Buildah's is not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigFacts>,
    /// Whether `files` holds only what differs from the `busybox` base.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_busybox: bool,
    /// Files that are new or changed.
    #[serde(default)]
    pub files: Files,
    /// Files of the base that are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
}

impl Expected {
    /// The record of a case.
    pub fn load(case: &Case) -> Result<Self> {
        let path = case.directory.join("expected.json");
        let text = fs::read_to_string(&path).map_err(Error::at(format!(
            "{}: no record; run `cargo xtask corpus record {}`",
            path.display(),
            case.name
        )))?;
        serde_json::from_str(&text).map_err(Error::at(path.display()))
    }

    /// Writes the record.
    pub fn save(&self, case: &Case) -> Result<()> {
        let path = case.directory.join("expected.json");
        let mut text = serde_json::to_string_pretty(self).map_err(Error::at(path.display()))?;
        text.push('\n');
        fs::write(&path, text).map_err(Error::at(path.display()))
    }

    /// That the build fails.
    #[must_use]
    pub fn failure(peer: String) -> Self {
        Self { peer, fails: true, config: None, on_busybox: false, files: Files::new(), removed: Vec::new() }
    }

    /// From an image.
    pub fn of(image: &Image, case: &Case, world: &World, peer: String) -> Result<Self> {
        let mut files = image.files()?;
        for (path, facts) in &mut files {
            if !case.times.contains(path) {
                facts.mtime = None;
            }
        }
        let on_busybox = image.diff_ids().first() == world.busybox_diff_id();
        let mut removed = Vec::new();
        if on_busybox {
            for (path, facts) in world.busybox_files() {
                match files.get(path) {
                    Some(same) if same == facts => drop(files.remove(path)),
                    Some(_) => {}
                    None => removed.push(path.clone()),
                }
            }
        }
        let config = (case.peer != Peer::Buildah).then(|| image.config_facts()).transpose()?;
        let config = config.map(|config| world.without_addresses(config)).transpose()?;
        Ok(Self { peer, fails: false, config, on_busybox, files, removed })
    }

    /// How an image differs from this record.
    #[must_use]
    pub fn differences(&self, actual: &Self, case: &Case) -> Vec<Difference> {
        let mut differences = match (&self.config, &actual.config) {
            (Some(expected), Some(actual)) => compare_config(expected, actual),
            _ => Vec::new(),
        };
        if self.on_busybox != actual.on_busybox {
            let word = |on: bool| if on { "the layers of busybox" } else { "other layers" }.to_owned();
            let place = "base".to_owned();
            differences.push(Difference { place, expected: word(self.on_busybox), actual: word(actual.on_busybox) });
        }
        differences.extend(compare_files(&self.files, &actual.files, &case.times));
        let lists = [
            (&self.removed, &actual.removed, "removed", "there"),
            (&actual.removed, &self.removed, "there", "removed"),
        ];
        for (one, other, expected, actual) in lists {
            for path in one.iter().filter(|path| !other.contains(path)) {
                differences.push(Difference {
                    place: format!("/{path}"),
                    expected: expected.to_owned(),
                    actual: actual.to_owned(),
                });
            }
        }
        differences
    }
}

/// Differences that are accepted, each with its reason: `tests/dockerfiles/KNOWN.toml`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Known(BTreeMap<String, KnownCase>);

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct KnownCase {
    reason: String,
}

impl Known {
    /// The list in the repository, `KNOWN.toml`. Every entry must name a case that exists.
    pub fn load() -> Result<Self> {
        Self::read("KNOWN.toml")
    }

    /// The same, with the list of an isolation, `KNOWN.NAME.toml`, added.
    pub fn load_for(isolation: &str) -> Result<Self> {
        let mut known = Self::load()?;
        known.0.extend(Self::read(&format!("KNOWN.{isolation}.toml"))?.0);
        Ok(known)
    }

    fn read(name: &str) -> Result<Self> {
        let path = repository().join("tests/dockerfiles").join(name);
        let text = fs::read_to_string(&path).map_err(Error::at(path.display()))?;
        let known: Self = toml::from_str(&text).map_err(Error::at(path.display()))?;
        match known.0.keys().find(|name| !path.with_file_name(name).join("case.toml").exists()) {
            Some(name) => Err(Error::new(format!("{}: there is no case {name}", path.display()))),
            None => Ok(known),
        }
    }

    /// Why a case may differ.
    #[must_use]
    pub fn reason(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|case| case.reason.clone())
    }
}
