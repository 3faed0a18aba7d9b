//! An image's config as facts that two builders must agree on.
//!
//! Read from raw JSON, not through the product's types: a field that those types misread would be
//! misread on both sides.
use crate::command::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What one history entry says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryFact {
    /// The instruction, as the builder wrote it down.
    pub created_by: String,
    /// Whether it made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// An image config without what two builds of one Dockerfile may differ in: times, diff IDs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigFacts {
    /// `os/architecture[/variant]`.
    pub platform: String,
    /// `author`, which MAINTAINER sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The `config` section, less its empty fields (`null`, `""`, `[]`, `{}`, `false`).
    pub config: Map<String, Value>,
    /// All history entries, oldest first.
    pub history: Vec<HistoryFact>,
    /// The number of layers.
    pub layers: usize,
}

impl ConfigFacts {
    /// From a config blob.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let value: Value = serde_json::from_slice(bytes).map_err(Error::at("image config"))?;
        let text = |key: &str| value[key].as_str().filter(|s| !s.is_empty());
        let platform =
            ["os", "architecture", "variant"].iter().filter_map(|key| text(key)).collect::<Vec<_>>().join("/");
        let mut config = value["config"].as_object().cloned().unwrap_or_default();
        config.retain(|_, v| !empty(v));
        config.sort_keys();
        let history = value["history"].as_array().map(Vec::as_slice).unwrap_or_default();
        let history = history.iter().map(|entry| HistoryFact {
            created_by: entry["created_by"].as_str().unwrap_or_default().to_owned(),
            empty_layer: entry["empty_layer"].as_bool().unwrap_or_default(),
        });
        Ok(Self {
            platform,
            author: text("author").map(str::to_owned),
            config,
            history: history.collect(),
            layers: value["rootfs"]["diff_ids"].as_array().map_or(0, Vec::len),
        })
    }
}

fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::String(s) => s.is_empty(),
        // An empty list is a statement for Cmd and Entrypoint, but Go writes it as null or leaves it out.
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
        Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_fields_and_none_are_one() {
        let a = ConfigFacts::parse(br#"{"os":"linux","architecture":"amd64","config":{"Cmd":["a"],"User":""}}"#);
        let b = ConfigFacts::parse(br#"{"architecture":"amd64","os":"linux","config":{"OnBuild":null,"Cmd":["a"]}}"#);
        assert_eq!(a.expect("a config"), b.expect("a config"));
    }
}
