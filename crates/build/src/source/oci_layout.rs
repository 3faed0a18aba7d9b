//! `oci-layout://PATH[:TAG][@DIGEST]`: an image out of a layout directory.
use std::path::{Path, PathBuf};

use oci::layout::Layout;
use oci::{Descriptor, Digest};

/// The annotation that names an entry of a layout.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation with the full name that BuildKit and containerd write beside it.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// What can go wrong with a layout.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The directory is none, or no layout.
    #[error("cannot read the OCI layout {}: {source}", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// No entry has that name or digest.
    #[error("the OCI layout {} has no entry {wanted}; it has {has}", path.display())]
    NoEntry {
        /// The directory.
        path: PathBuf,
        /// What was looked for.
        wanted: String,
        /// What is there.
        has: String,
    },
    /// Several entries, and none was named.
    #[error("the OCI layout {} has {count} entries: name one as {}:TAG or {}@DIGEST; it has {has}", path.display(), path.display(), path.display())]
    Ambiguous {
        /// The directory.
        path: PathBuf,
        /// How many.
        count: usize,
        /// What is there.
        has: String,
    },
}

/// Opens a layout and finds the entry that is meant: by digest, else by name, else `latest`, else
/// the only one.
///
/// # Errors
/// [`LayoutError`].
pub fn resolve(path: &Path, tag: Option<&str>, digest: Option<&Digest>) -> Result<(Layout, Descriptor), LayoutError> {
    let open = |source| LayoutError::Open { path: path.to_owned(), source };
    let layout = Layout::open(path).map_err(open)?;
    let entries = layout.index().map_err(open)?.manifests;
    let has = || {
        let names: Vec<String> = entries.iter().map(describe).collect();
        if names.is_empty() { "none".into() } else { names.join(", ") }
    };
    if let Some(digest) = digest {
        if let Some(entry) = entries.iter().find(|entry| entry.digest == *digest) {
            return Ok((layout, entry.clone()));
        }
        return Err(LayoutError::NoEntry { path: path.to_owned(), wanted: digest.to_string(), has: has() });
    }
    let named = |tag: &str| {
        entries.iter().find(|entry| {
            name(entry, REF_NAME) == Some(tag)
                || name(entry, IMAGE_NAME).and_then(|full| full.rsplit(':').next()) == Some(tag)
        })
    };
    let found = match (tag, entries.as_slice()) {
        (Some(tag), _) => named(tag).ok_or_else(|| LayoutError::NoEntry {
            path: path.to_owned(),
            wanted: tag.to_owned(),
            has: has(),
        })?,
        (None, [only]) => only,
        (None, []) => {
            return Err(LayoutError::NoEntry { path: path.to_owned(), wanted: "at all".into(), has: has() });
        }
        (None, many) => named("latest").ok_or_else(|| LayoutError::Ambiguous {
            path: path.to_owned(),
            count: many.len(),
            has: has(),
        })?,
    };
    Ok((layout, found.clone()))
}

fn name<'a>(entry: &'a Descriptor, key: &str) -> Option<&'a str> {
    entry.annotations.get(key).map(String::as_str)
}

fn describe(entry: &Descriptor) -> String {
    name(entry, REF_NAME).map_or_else(|| entry.digest.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_name_and_digest() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(resolve(dir.path(), None, None), Err(LayoutError::Open { .. })));
        let layout = Layout::create(dir.path()).unwrap();
        assert!(matches!(resolve(dir.path(), None, None), Err(LayoutError::NoEntry { .. })));
        let mut first = Descriptor::of(oci::media_type::OCI_MANIFEST, b"{}");
        layout.add(first.clone()).unwrap();
        assert_eq!(resolve(dir.path(), None, None).unwrap().1.digest, first.digest);
        first.annotations.insert(REF_NAME.into(), "v1".into());
        let mut second = Descriptor::of(oci::media_type::OCI_MANIFEST, b"{ }");
        second.annotations.insert(REF_NAME.into(), "v2".into());
        layout.set_index(&oci::Index::new(vec![first.clone(), second.clone()], true)).unwrap();
        assert_eq!(resolve(dir.path(), Some("v2"), None).unwrap().1.digest, second.digest);
        assert_eq!(resolve(dir.path(), None, Some(&first.digest)).unwrap().1.digest, first.digest);
        assert!(matches!(resolve(dir.path(), None, None), Err(LayoutError::Ambiguous { count: 2, .. })));
        let error = resolve(dir.path(), Some("v3"), None).unwrap_err().to_string();
        assert!(error.ends_with("has no entry v3; it has v1, v2"), "{error}");
    }
}
