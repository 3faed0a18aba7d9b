//! A registry's content in a directory.
//!
//! ```text
//! blobs/sha256/HEX                         the pool: blobs and manifests, shared by all repositories
//! repositories/NAME/_blobs/sha256/HEX      empty: the repository holds this blob
//! repositories/NAME/_manifests/sha256/HEX  the manifest's media type
//! repositories/NAME/_tags/TAG              a manifest's digest
//! repositories/NAME/_referrers/sha256/HEX/sha256-HEX   subject, referrer: its descriptor
//! repositories/NAME/_uploads/ID            a blob on its way
//! ```
//! Every file appears by rename from a synced one, so a crash leaves either the old state or the new.
//! A link without its blob (collected, or deleted) counts as not there.
use super::route::{Name, Tag};
use oci::{Descriptor, Digest};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A content store in a directory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DirectoryStore {
    blobs: PathBuf,
    repositories: PathBuf,
}

/// The media type under which a referrer is listed, and its descriptor.
const MANIFEST_READ_LIMIT: u64 = 64 << 20;

impl DirectoryStore {
    /// Uses (and makes) `root/blobs` and `root/repositories`.
    pub fn open(root: impl AsRef<Path>) -> io::Result<Self> {
        let root = root.as_ref();
        Self::with_blobs(root.join("blobs"), root.join("repositories"))
    }

    /// Uses a pool of blobs (`BLOBS/sha256/HEX`) that something else may share. Both directories must be
    /// on one file system: an upload ends by rename.
    pub fn with_blobs(blobs: impl Into<PathBuf>, repositories: impl Into<PathBuf>) -> io::Result<Self> {
        let store = Self { blobs: blobs.into(), repositories: repositories.into() };
        fs::create_dir_all(store.blobs.join("sha256"))?;
        fs::create_dir_all(&store.repositories)?;
        Ok(store)
    }

    /// Every digest that some repository holds: what a garbage collection of the pool must keep.
    pub fn referenced(&self) -> io::Result<BTreeSet<Digest>> {
        let mut all = BTreeSet::new();
        for name in self.repositories()? {
            for kind in ["_blobs", "_manifests"] {
                for algorithm in ["sha256", "sha512"] {
                    for hex in list(&self.repository(&name).join(kind).join(algorithm))? {
                        all.extend(format!("{algorithm}:{hex}").parse::<Digest>());
                    }
                }
            }
        }
        Ok(all)
    }

    /// Shows an image of the pool in a repository: links the manifest, what it names (as far as the
    /// pool has it), and the tag. An index's manifests are linked with it.
    pub fn publish(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        manifest: &[u8],
    ) -> io::Result<Descriptor> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
        let name = Name::parse(repository).ok_or_else(|| invalid("no repository name"))?;
        let tag = tag.map(|t| Tag::parse(t).ok_or_else(|| invalid("no tag"))).transpose()?;
        let descriptor = Descriptor::of(media_type, manifest);
        self.link_children(&name, manifest, 0)?;
        self.put_manifest(&name, tag.as_ref(), &descriptor, manifest, None)?;
        Ok(descriptor)
    }

    fn link_children(&self, name: &Name, manifest: &[u8], depth: u32) -> io::Result<()> {
        let Ok(document) = serde_json::from_slice::<serde_json::Value>(manifest) else { return Ok(()) };
        let descriptors = |value: Option<&serde_json::Value>| -> Vec<Descriptor> {
            value.and_then(|v| serde_json::from_value(v.clone()).ok()).unwrap_or_default()
        };
        let config = document.get("config").and_then(|c| serde_json::from_value(c.clone()).ok());
        for blob in descriptors(document.get("layers")).into_iter().chain(config) {
            if self.pool_path(&blob.digest).is_file() {
                self.link_blob(name, &blob.digest)?;
            }
        }
        for child in descriptors(document.get("manifests")) {
            if depth < 4
                && let Some((file, size)) = self.pool(&child.digest)?
                && size <= MANIFEST_READ_LIMIT
            {
                let mut bytes = Vec::new();
                file.take(size).read_to_end(&mut bytes)?;
                self.link_children(name, &bytes, depth + 1)?;
                self.put_manifest(name, None, &child, &bytes, None)?;
            }
        }
        Ok(())
    }

    fn repository(&self, name: &Name) -> PathBuf {
        self.repositories.join(name.as_str())
    }

    fn pool_path(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.algorithm()).join(digest.hex())
    }

    fn link_path(&self, name: &Name, kind: &str, digest: &Digest) -> PathBuf {
        self.repository(name).join(kind).join(digest.algorithm()).join(digest.hex())
    }

    /// A blob of the pool.
    fn pool(&self, digest: &Digest) -> io::Result<Option<(File, u64)>> {
        let Some(file) = found(File::open(self.pool_path(digest)))? else { return Ok(None) };
        let size = file.metadata()?.len();
        Ok(Some((file, size)))
    }

    /// A blob (or manifest) of a repository.
    pub(super) fn blob(&self, name: &Name, digest: &Digest) -> io::Result<Option<(File, u64)>> {
        let linked =
            self.link_path(name, "_blobs", digest).exists() || self.link_path(name, "_manifests", digest).exists();
        if linked { self.pool(digest) } else { Ok(None) }
    }

    pub(super) fn link_blob(&self, name: &Name, digest: &Digest) -> io::Result<()> {
        let path = self.link_path(name, "_blobs", digest);
        if path.exists() { Ok(()) } else { write_atomic(&path, b"") }
    }

    pub(super) fn unlink_blob(&self, name: &Name, digest: &Digest) -> io::Result<bool> {
        remove(&self.link_path(name, "_blobs", digest))
    }

    /// Moves a complete and synced upload into the pool.
    pub(super) fn adopt(&self, name: &Name, upload: &Path, digest: &Digest) -> io::Result<()> {
        let path = self.pool_path(digest);
        if path.is_file() {
            fs::remove_file(upload)?;
        } else {
            make_parent(&path)?;
            fs::rename(upload, &path)?;
            sync_parent(&path)?;
        }
        self.link_blob(name, digest)
    }

    /// Whether a repository was ever pushed to.
    pub(super) fn has_repository(&self, name: &Name) -> bool {
        ["_blobs", "_manifests", "_tags"].iter().any(|kind| self.repository(name).join(kind).is_dir())
    }

    pub(super) fn tag(&self, name: &Name, tag: &Tag) -> io::Result<Option<Digest>> {
        let text = found(fs::read_to_string(self.repository(name).join("_tags").join(tag.as_str())))?;
        Ok(text.and_then(|t| t.trim().parse().ok()))
    }

    pub(super) fn manifest_type(&self, name: &Name, digest: &Digest) -> io::Result<Option<String>> {
        found(fs::read_to_string(self.link_path(name, "_manifests", digest)))
    }

    pub(super) fn put_manifest(
        &self,
        name: &Name,
        tag: Option<&Tag>,
        descriptor: &Descriptor,
        bytes: &[u8],
        subject: Option<(&Digest, &Descriptor)>,
    ) -> io::Result<()> {
        let pool = self.pool_path(&descriptor.digest);
        if !pool.is_file() {
            write_atomic(&pool, bytes)?;
        }
        if let Some((subject, entry)) = subject {
            let path = self.link_path(name, "_referrers", subject).join(format!(
                "{}-{}",
                entry.digest.algorithm(),
                entry.digest.hex()
            ));
            write_atomic(&path, &serde_json::to_vec(entry)?)?;
        }
        write_atomic(&self.link_path(name, "_manifests", &descriptor.digest), descriptor.media_type.as_bytes())?;
        match tag {
            Some(tag) => write_atomic(
                &self.repository(name).join("_tags").join(tag.as_str()),
                descriptor.digest.as_str().as_bytes(),
            ),
            None => Ok(()),
        }
    }

    pub(super) fn delete_tag(&self, name: &Name, tag: &Tag) -> io::Result<bool> {
        remove(&self.repository(name).join("_tags").join(tag.as_str()))
    }

    /// Removes a manifest with its tags and its entry among the referrers of its subject.
    pub(super) fn delete_manifest(&self, name: &Name, digest: &Digest) -> io::Result<bool> {
        for tag in self.tags(name)? {
            if let Some(tag) = Tag::parse(&tag)
                && self.tag(name, &tag)?.as_ref() == Some(digest)
            {
                self.delete_tag(name, &tag)?;
            }
        }
        if let Some((file, size)) = self.pool(digest)?
            && size <= MANIFEST_READ_LIMIT
            && let Ok(document) = serde_json::from_reader::<_, serde_json::Value>(io::BufReader::new(file))
            && let Some(subject) =
                document.get("subject").and_then(|s| s.get("digest")?.as_str()?.parse::<Digest>().ok())
        {
            let entry = format!("{}-{}", digest.algorithm(), digest.hex());
            remove(&self.link_path(name, "_referrers", &subject).join(entry))?;
        }
        remove(&self.link_path(name, "_manifests", digest))
    }

    /// All tags in order.
    pub(super) fn tags(&self, name: &Name) -> io::Result<Vec<String>> {
        let mut tags = list(&self.repository(name).join("_tags"))?;
        tags.retain(|t| Tag::parse(t).is_some());
        tags.sort();
        Ok(tags)
    }

    pub(super) fn referrers(&self, name: &Name, subject: &Digest) -> io::Result<Vec<Descriptor>> {
        let directory = self.link_path(name, "_referrers", subject);
        let mut names = list(&directory)?;
        names.sort();
        let mut all = Vec::new();
        for entry in names.iter().filter(|n| !n.starts_with('.')) {
            if let Some(bytes) = found(fs::read(directory.join(entry)))?
                && let Ok(descriptor) = serde_json::from_slice::<Descriptor>(&bytes)
            {
                all.push(descriptor);
            }
        }
        Ok(all)
    }

    /// All repositories with a manifest, in order.
    pub(super) fn repositories(&self) -> io::Result<Vec<Name>> {
        let mut all = Vec::new();
        let mut pending = vec![(self.repositories.clone(), String::new())];
        while let Some((directory, prefix)) = pending.pop() {
            for entry in list(&directory)? {
                if entry == "_manifests" || entry == "_blobs" {
                    all.extend(Name::parse(&prefix));
                } else if !entry.starts_with(['_', '.']) && directory.join(&entry).is_dir() {
                    let name = if prefix.is_empty() { entry.clone() } else { format!("{prefix}/{entry}") };
                    pending.push((directory.join(&entry), name));
                }
            }
        }
        all.sort();
        all.dedup();
        Ok(all)
    }

    /// Where an upload's bytes are, with its directory made.
    pub(super) fn new_upload(&self, name: &Name, id: &str) -> io::Result<PathBuf> {
        let path = self.upload(name, id);
        make_parent(&path)?;
        File::create_new(&path)?;
        Ok(path)
    }

    pub(super) fn upload(&self, name: &Name, id: &str) -> PathBuf {
        self.repository(name).join("_uploads").join(id)
    }

    /// Removes uploads that nobody has touched for so long. What cannot be removed stays.
    pub(super) fn remove_stale_uploads(&self, age: Duration) {
        let Ok(names) = self.uploading() else { return };
        for name in names {
            let directory = self.repository(&name).join("_uploads");
            for id in list(&directory).unwrap_or_default() {
                let path = directory.join(id);
                let old = fs::metadata(&path)
                    .and_then(|m| m.modified())
                    .is_ok_and(|m| m.elapsed().is_ok_and(|elapsed| elapsed > age));
                if old {
                    // Another server on this directory may have been faster.
                    let _ = fs::remove_file(&path);
                }
            }
        }
    }

    fn uploading(&self) -> io::Result<Vec<Name>> {
        Ok(self.repositories()?.into_iter().filter(|n| self.repository(n).join("_uploads").is_dir()).collect())
    }
}

/// `None` for what is not there.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Removes a file; whether it was there.
fn remove(path: &Path) -> io::Result<bool> {
    found(fs::remove_file(path)).map(|r| r.is_some())
}

/// The names in a directory; none where there is none.
fn list(directory: &Path) -> io::Result<Vec<String>> {
    let Some(entries) = found(fs::read_dir(directory))? else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string());
    }
    Ok(names)
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// Makes a rename last.
fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    make_parent(path)?;
    let parent = path.parent().ok_or_else(|| io::Error::other("a path without a directory"))?;
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(parent)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    sync_parent(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci::{Manifest, media_type};

    #[test]
    fn an_image_of_the_pool_is_published() {
        let root = tempfile::tempdir().unwrap();
        let pool = root.path().join("blobs/sha256");
        fs::create_dir_all(&pool).unwrap();
        let put = |kind: &str, bytes: &[u8]| {
            let descriptor = Descriptor::of(kind, bytes);
            fs::write(pool.join(descriptor.digest.hex()), bytes).unwrap();
            descriptor
        };
        let config = put(media_type::OCI_CONFIG, b"{}");
        let layer = put(media_type::OCI_LAYER, b"layer");
        let manifest = serde_json::to_vec(&Manifest::new(config.clone(), vec![layer.clone()], true)).unwrap();
        let store = DirectoryStore::open(root.path()).unwrap();
        let descriptor = store.publish("a/b", Some("v1"), media_type::OCI_MANIFEST, &manifest).unwrap();
        let name = Name::parse("a/b").unwrap();
        assert_eq!(store.tag(&name, &Tag::parse("v1").unwrap()).unwrap(), Some(descriptor.digest.clone()));
        assert!(store.blob(&name, &layer.digest).unwrap().is_some());
        assert!(store.blob(&Name::parse("other").unwrap(), &layer.digest).unwrap().is_none());
        assert_eq!(
            store.referenced().unwrap(),
            BTreeSet::from([config.digest, layer.digest.clone(), descriptor.digest])
        );
        fs::remove_file(pool.join(layer.digest.hex())).unwrap();
        assert!(store.blob(&name, &layer.digest).unwrap().is_none(), "a link without a blob is nothing");
        assert!(store.publish("../x", None, media_type::OCI_MANIFEST, &manifest).is_err());
    }
}
