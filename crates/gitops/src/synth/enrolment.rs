//! images.yaml and what lies beside it, as a ConfigMap and the volume that puts each file where it was.
//!
//! A ConfigMap is flat and small: keys have no `/`, and all of it has to fit into 1 MiB. So a path becomes a key, and the
//! volume's items lead back; a file that may be executed keeps that.
use super::Error;
use base64::Engine as _;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What Kubernetes takes.
const LIMIT: usize = 1 << 20;

/// What the program reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Enrolment {
    /// The text of images.yaml.
    pub images: String,
    /// Files by their paths from images.yaml, with `/`.
    pub files: BTreeMap<String, File>,
}

/// A file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct File {
    /// Its content.
    pub content: Vec<u8>,
    /// Whether it may be executed.
    pub executable: bool,
}

impl Enrolment {
    /// Adds `data` and `binaryData` to a ConfigMap.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub(super) fn config_map(&self, metadata: Value) -> Result<Value, Error> {
        let mut size = "images.yaml".len() + self.images.len();
        let (mut data, mut binary) = (Map::new(), Map::new());
        data.insert("images.yaml".into(), json!(self.images));
        for ((path, file), key) in self.files.iter().zip(self.keys()) {
            size += key.len();
            match std::str::from_utf8(&file.content) {
                Ok(text) if !text.contains('\0') => {
                    size += text.len();
                    data.insert(key, json!(text));
                }
                _ => {
                    // Kubernetes counts what it decodes to.
                    size += file.content.len();
                    binary.insert(key, json!(base64::engine::general_purpose::STANDARD.encode(&file.content)));
                }
            }
            debug_assert!(!path.starts_with('/'));
        }
        if size > LIMIT {
            let mut largest: Vec<(&String, usize)> =
                self.files.iter().map(|(path, file)| (path, file.content.len())).collect();
            largest.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
            let list: Vec<String> = largest
                .into_iter()
                .take(3)
                .map(|(path, size)| format!("{path} ({} KiB)", size.div_ceil(1024)))
                .collect();
            return Err(Error::TooLarge { size: size.div_ceil(1024), largest: list.join(", ") });
        }
        let mut map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data });
        if !binary.is_empty() {
            map["binaryData"] = binary.into();
        }
        Ok(map)
    }

    /// The `configMap` of the volume.
    pub(super) fn volume(&self, name: &str) -> Value {
        let mut volume = json!({ "name": name });
        if !self.files.is_empty() {
            let mut items = vec![json!({ "key": "images.yaml", "path": "images.yaml" })];
            for ((path, file), key) in self.files.iter().zip(self.keys()) {
                let mut item = json!({ "key": key, "path": path });
                if file.executable {
                    // 0555, in JSON's decimal.
                    item["mode"] = json!(365);
                }
                items.push(item);
            }
            volume["items"] = items.into();
        }
        volume
    }

    /// A key for each path: letters, digits, `-`, `_` and `.`, none twice.
    fn keys(&self) -> Vec<String> {
        let mut taken = BTreeSet::from(["images.yaml".to_owned()]);
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        let mut keys = Vec::new();
        for path in self.files.keys() {
            let mut base: String = path.replace('/', "..").chars().map(plain).collect();
            base.truncate(240);
            let mut key = base.clone();
            let mut n = 1;
            while !taken.insert(key.clone()) {
                n += 1;
                key = format!("{base}-{n}");
            }
            keys.push(key);
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_lead_back_to_their_places() {
        let file = |content: &[u8], executable| File { content: content.to_vec(), executable };
        let files = [
            ("api/Dockerfile", file(b"FROM scratch\n", false)),
            ("api..Dockerfile", file(b"other\n", false)),
            ("api/run me.sh", file(b"#!/bin/sh\n", true)),
            ("api/logo.png", file(b"\xff\x00", false)),
        ];
        let files = files.map(|(path, file)| (path.to_owned(), file)).into();
        let enrolment = Enrolment { images: "- name: api\n".into(), files };
        let map = enrolment.config_map(json!({ "name": "x" })).unwrap();
        assert_eq!(map["data"]["images.yaml"], "- name: api\n");
        assert_eq!(map["binaryData"], json!({ "api..logo.png": "/wA=" }));
        let volume = enrolment.volume("x");
        let items = volume["items"].as_array().unwrap();
        assert_eq!(items.len(), 5);
        for item in &items[1..] {
            let (key, path) = (item["key"].as_str().unwrap(), item["path"].as_str().unwrap());
            assert!(key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)), "{key}");
            if let Some(text) = map["data"][key].as_str() {
                assert_eq!(text.as_bytes(), enrolment.files[path].content);
            }
            assert_eq!(item["mode"].is_null(), path != "api/run me.sh");
        }
        assert_eq!(Enrolment::default().volume("x"), json!({ "name": "x" }));
        let big = Enrolment { files: [("big".to_owned(), file(&[b'x'; LIMIT], false))].into(), ..enrolment };
        let error = big.config_map(json!({})).unwrap_err().to_string();
        assert!(error.contains("1025 KiB") && error.contains("big (1024 KiB)"), "{error}");
    }
}
