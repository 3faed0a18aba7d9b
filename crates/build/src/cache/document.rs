//! What an external cache says: the records of steps, and the layers that they name.
//!
//! ```text
//! { "version": 1,
//!   "layers":  [ { "diffId": "sha256:…", "blob": DESCRIPTOR, "created": SECONDS } … ],
//!   "records": [ { "key": CONTENT-KEY, "definitions": [ DEFINITION-KEY … ], "layer": NUMBER } … ],
//!   "tables":  [ { "diffId": "sha256:…", "blob": DESCRIPTOR } … ],
//!   "mounts":  [ DESCRIPTOR … ] }
//! ```
//!
//! Keys are hashes: neither instructions nor values of arguments are in it. In an image's config (`type=inline`) the
//! layers have no `blob`: the image's manifest has them. Layers and records are sorted, so that the same steps give the
//! same bytes, whoever exports them.
use crate::key::Key;
use oci::{Descriptor, Digest, ImageConfig, Manifest};
use serde::{Deserialize, Serialize};

/// The version that is written.
const VERSION: u32 = 1;

/// The media type of a document in a registry or layout.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.cooperage.cache.v1+json";

/// The media type that BuildKit gives to its own document.
const BUILDKIT: &str = "application/vnd.buildkit.cacheconfig.v0";

/// The field of an image's config that holds the document.
pub(crate) const CONFIG_FIELD: &str = "cooperage.cache.v1";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document {
    pub(crate) version: u32,
    #[serde(default)]
    pub(crate) layers: Vec<LayerEntry>,
    #[serde(default)]
    pub(crate) records: Vec<RecordEntry>,
    /// Tables of contents of layers, those of base images too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tables: Vec<TableEntry>,
    /// The contents of cache mounts: an index, and what it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) mounts: Vec<Descriptor>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LayerEntry {
    pub(crate) diff_id: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) blob: Option<Descriptor>,
    /// The compression level that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) level: Option<i32>,
    /// When the step was run: seconds since 1970.
    pub(crate) created: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TableEntry {
    pub(crate) diff_id: Digest,
    pub(crate) blob: Descriptor,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RecordEntry {
    pub(crate) key: Key,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) definitions: Vec<Key>,
    /// The place in `layers`; none where the step changed nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) layer: Option<usize>,
}

impl Document {
    pub(crate) fn new(layers: Vec<LayerEntry>, records: Vec<RecordEntry>) -> Self {
        Self { version: VERSION, layers, records, tables: Vec::new(), mounts: Vec::new() }
    }

    /// Reads a document.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let damaged = |e: serde_json::Error| format!("its records are damaged ({e})");
        let Versioned { version } = serde_json::from_slice(bytes).map_err(damaged)?;
        if version != VERSION {
            return Err(format!("its format is {version}, this program knows {VERSION}"));
        }
        let document: Self = serde_json::from_slice(bytes).map_err(damaged)?;
        if document.records.iter().filter_map(|r| r.layer).any(|layer| layer >= document.layers.len()) {
            return Err("its records name layers that it does not have".to_owned());
        }
        Ok(document)
    }

    /// The document of a manifest whose config is one.
    ///
    /// # Errors
    /// Where the config is of another kind.
    pub(crate) fn check_type(manifest: &Manifest) -> Result<(), String> {
        match manifest.config.media_type.as_str() {
            MEDIA_TYPE => Ok(()),
            BUILDKIT => Err("it was written by BuildKit, whose cache keys are of another kind".to_owned()),
            other if other.starts_with("application/vnd.cooperage.cache.") => {
                Err(format!("it was written by another version of this program ({other})"))
            }
            other => Err(format!("it is no cache but has a config of type {other}")),
        }
    }

    /// The document in an image's config, its layers filled in from the manifest; `None` where there is none.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn inline(manifest: &Manifest, config: &[u8]) -> Result<Option<Self>, String> {
        let config: ImageConfig = serde_json::from_slice(config).map_err(|e| format!("its config is damaged ({e})"))?;
        let Some(value) = config.extra.get(CONFIG_FIELD) else { return Ok(None) };
        let mut document = Self::parse(value.to_string().as_bytes())?;
        for layer in &mut document.layers {
            let place = config.rootfs.diff_ids.iter().position(|diff_id| *diff_id == layer.diff_id);
            let found = place.and_then(|place| manifest.layers.get(place));
            layer.blob = Some(found.cloned().ok_or("its records name layers that the image does not have")?);
        }
        Ok(Some(document))
    }

    /// The bytes that are stored.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The blobs of its layers, tables and mounts, each once.
    pub(crate) fn blobs(&self) -> Vec<Descriptor> {
        let mut blobs: Vec<Descriptor> = Vec::new();
        let tables = self.tables.iter().map(|table| &table.blob);
        for blob in self.layers.iter().filter_map(|layer| layer.blob.as_ref()).chain(tables).chain(&self.mounts) {
            if !blobs.iter().any(|known| known.digest == blob.digest) {
                blobs.push(blob.clone());
            }
        }
        blobs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_document_says_why() {
        let parse = |text: &str| Document::parse(text.as_bytes()).unwrap_err();
        assert_eq!(parse(r#"{"version":2,"layers":7}"#), "its format is 2, this program knows 1");
        assert!(parse("{").starts_with("its records are damaged (EOF"), "{}", parse("{"));
        let key = Digest::sha256(b"");
        let text = format!(r#"{{"version":1,"layers":[],"records":[{{"key":"{key}","layer":0}}]}}"#);
        assert_eq!(parse(&text), "its records name layers that it does not have");
        let text = format!(r#"{{"version":1,"layers":[],"records":[{{"key":"{key}"}}]}}"#);
        let document = Document::parse(text.as_bytes()).unwrap();
        assert_eq!(Document::parse(&document.to_bytes()).unwrap(), document);
    }
}
