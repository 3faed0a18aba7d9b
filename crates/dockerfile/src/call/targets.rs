//! `--call=targets`: the stages of a Dockerfile.
use super::Location;
use super::print::{base64, json, table};
use crate::LineIndex;
use crate::ast::Dockerfile;
use serde::Serialize;

/// The stages that can be built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Targets {
    /// In order.
    pub targets: Vec<Target>,
    /// The source, in base64.
    pub sources: Vec<String>,
}

/// A stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Its name in lower case; empty without one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Whether it is built where no target is given.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    /// The comment above it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What it is made from, unexpanded.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub base: String,
    /// Its `--platform`, unexpanded.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub platform: String,
    /// Where its `FROM` stands.
    pub location: Location,
}

/// Lists the stages.
pub fn targets(dockerfile: &Dockerfile, source: &str) -> Targets {
    let index = LineIndex::new(source);
    let targets = dockerfile.stages.iter().map(|stage| Target {
        name: stage.from.name.as_ref().map(|name| name.value.to_lowercase()).unwrap_or_default(),
        default: stage.index + 1 == dockerfile.stages.len(),
        description: stage.doc.clone().unwrap_or_default(),
        base: stage.from.image.value.clone(),
        platform: stage.from.platform.as_ref().map(|platform| platform.value.clone()).unwrap_or_default(),
        location: Location::new(stage.span, &index),
    });
    Targets { targets: targets.collect(), sources: vec![base64(source)] }
}

impl Targets {
    /// What `--call=targets` prints.
    pub fn text(&self) -> String {
        let names: Vec<String> = self
            .targets
            .iter()
            .map(|target| match (target.name.as_str(), target.default) {
                ("", true) => "(default)".to_owned(),
                (name, true) => format!("{name} (default)"),
                (name, false) => name.to_owned(),
            })
            .collect();
        let rows = names.iter().zip(&self.targets).map(|(name, target)| [name.as_str(), &target.description]);
        table(&[["TARGET", "DESCRIPTION"]].into_iter().chain(rows).collect::<Vec<_>>(), 1)
    }

    /// What `--call=targets,format=json` prints.
    pub fn json(&self) -> String {
        json(self)
    }
}
