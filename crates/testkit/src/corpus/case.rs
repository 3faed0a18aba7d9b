//! `case.toml`.
use crate::{Error, Result, repository};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// Who can say what a case must give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Peer {
    /// BuildKit.
    #[default]
    Buildkit,
    /// Buildah, for what the BuildKit at hand does not know; files only.
    Buildah,
    /// No builder at hand: `expected.json` was written from the reference documentation.
    Hand,
}

/// One case.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The directory's name.
    #[serde(skip)]
    pub name: String,
    /// The directory.
    #[serde(skip)]
    pub directory: PathBuf,
    /// The one idea, in a line.
    pub about: String,
    /// Arguments of the build. `{http}`, `{git}` and `{registry}` stand for the addresses of the test's servers,
    /// `{case}` for a copy of the case's directory beside the context.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment of the builder.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// A shell script that runs in the copy of the context first: what git cannot hold (pipes, links, modes, owners).
    #[serde(default)]
    pub setup: Option<String>,
    /// The context's subdirectory in the case's directory (the directory itself when left out), or `-`, or an address
    /// that starts with a placeholder.
    #[serde(default)]
    pub context: Option<String>,
    /// The file that the builder reads on standard input.
    #[serde(default)]
    pub stdin: Option<String>,
    /// Who recorded it.
    #[serde(default)]
    pub peer: Peer,
    /// The version of the Dockerfile syntax that brought what the case uses; older peers are not asked.
    #[serde(default)]
    pub since: Option<String>,
    /// Why a live peer of the CI's suite is not asked, where it is known to be wrong.
    #[serde(default)]
    pub not_live: Option<String>,
    /// The build must fail, and say this.
    #[serde(default)]
    pub fails: Option<String>,
    /// Paths whose modification time counts.
    #[serde(default)]
    pub times: Vec<String>,
    /// The setup does what only root may: devices, owners, capabilities.
    #[serde(default)]
    pub needs_root: bool,
    /// The record holds for this architecture only.
    #[serde(default)]
    pub architecture: Option<String>,
}

impl Case {
    /// All cases whose name contains the filter.
    pub fn all(filter: &str) -> Result<Vec<Self>> {
        let root = repository().join("tests/dockerfiles");
        let mut cases = Vec::new();
        for entry in fs::read_dir(&root).map_err(Error::at(root.display()))? {
            let directory = entry.map_err(Error::at(root.display()))?.path();
            let file = directory.join("case.toml");
            let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !file.exists() || !name.contains(filter) {
                continue;
            }
            let text = fs::read_to_string(&file).map_err(Error::at(file.display()))?;
            let mut case: Self = toml::from_str(&text).map_err(Error::at(file.display()))?;
            if case.architecture.as_deref().is_some_and(|wanted| wanted != crate::bases::architecture()) {
                continue;
            }
            if case.needs_root && !crate::is_root() {
                continue;
            }
            case.times = case.times.iter().map(|path| path.trim_start_matches('/').to_owned()).collect();
            case.name = name;
            case.directory = directory;
            cases.push(case);
        }
        cases.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(cases)
    }

    /// Whether a peer that knows this version of the syntax can build it.
    #[must_use]
    pub fn known_to(&self, version: (u32, u32)) -> bool {
        let Some(since) = &self.since else { return true };
        let (major, minor) = since.split_once('.').unwrap_or((since, "0"));
        (major.parse().unwrap_or(u32::MAX), minor.parse().unwrap_or(u32::MAX)) <= version
    }
}
