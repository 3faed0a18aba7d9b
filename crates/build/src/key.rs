//! Cache keys: a hash over labelled, length-framed fields, kept beside the result so that two builds can be
//! compared field by field.
//!
//! The hash covers, for each field in order, the length of the label, the label, the length of the value and the
//! value (lengths as 64-bit little-endian numbers), so no two different lists of fields have the same bytes.
use oci::{Digest, Digester};
use serde::{Deserialize, Serialize};

/// A cache key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Key(Digest);

impl Key {
    pub(crate) fn hex(&self) -> &str {
        self.0.hex()
    }
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// What went into a key: label and value. Long values stand as their digest.
pub(crate) type Fields = Vec<(String, String)>;

/// Collects fields.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyBuilder {
    fields: Fields,
}

impl KeyBuilder {
    /// The fields of a step of this kind. The number changes when the meaning of a step's result changes.
    pub(crate) fn new(kind: &str) -> Self {
        let mut this = Self::default();
        this.field("kind", kind);
        this.field("format", "1");
        this
    }

    pub(crate) fn field(&mut self, label: impl Into<String>, value: impl Into<String>) -> &mut Self {
        let value = value.into();
        let value = if value.len() > 4096 { Digest::sha256(value.as_bytes()).to_string() } else { value };
        self.fields.push((label.into(), value));
        self
    }

    pub(crate) fn finish(self) -> (Key, Fields) {
        let mut digester = Digester::new();
        let mut frame = |text: &str| {
            digester.update(&(text.len() as u64).to_le_bytes());
            digester.update(text.as_bytes());
        };
        for (label, value) in &self.fields {
            frame(label);
            frame(value);
        }
        (Key(digester.finish()), self.fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(fields: &[(&str, &str)]) -> Key {
        let mut builder = KeyBuilder::new("test");
        for (label, value) in fields {
            builder.field(*label, *value);
        }
        builder.finish().0
    }

    #[test]
    fn joined_fields_never_collide() {
        assert_ne!(key(&[("a", "b-c"), ("d", "")]), key(&[("a", "b"), ("c-d", "")]));
        assert_ne!(key(&[("a", "bc")]), key(&[("a", "b"), ("", "c")]));
        assert_ne!(key(&[("a", ""), ("b", "")]), key(&[("a", "")]));
        assert_eq!(key(&[("a", "b")]), key(&[("a", "b")]));
    }
}
