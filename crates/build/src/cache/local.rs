//! `type=local`: an OCI layout in a directory. Entries of other tags stay; blobs that no entry needs any more go.
use super::{CacheStore, Open, registry, unusable};
use crate::cache::document::Document;
use crate::error::{BuildError, Result};
use ::registry::Progress;
use oci::layout::{Layout, REF_NAME};
use oci::{Descriptor, Digest, Reference, media_type};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub(super) struct LocalCache {
    path: PathBuf,
    tag: String,
    digest: Option<Digest>,
}

impl LocalCache {
    pub(super) fn new(path: &Path, tag: &str, digest: Option<&Digest>) -> Self {
        Self { path: path.to_owned(), tag: tag.to_owned(), digest: digest.cloned() }
    }

    fn failed(&self, verb: &'static str) -> impl Fn(io::Error) -> BuildError + use<> {
        let path = self.path.clone();
        move |e| BuildError::io(verb, &path, e)
    }

    /// Removes blobs that no manifest of the layout names.
    fn sweep(&self, layout: &Layout) -> io::Result<()> {
        let mut kept: HashSet<Digest> = HashSet::new();
        for entry in layout.index()?.manifests {
            // What cannot be read may name anything: nothing goes.
            let manifest: oci::Manifest = serde_json::from_slice(&layout.read_blob(&entry.digest)?)?;
            kept.insert(entry.digest);
            kept.insert(manifest.config.digest);
            kept.extend(manifest.layers.into_iter().map(|layer| layer.digest));
        }
        for entry in fs::read_dir(self.path.join("blobs/sha256"))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Ok(digest) = format!("sha256:{name}").parse::<Digest>()
                && !kept.contains(&digest)
            {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

impl CacheStore for LocalCache {
    fn name(&self) -> String {
        format!("directory {}", self.path.display())
    }

    fn load(&self) -> Result<Vec<Document>> {
        if !self.path.join("index.json").exists() {
            return Ok(Vec::new());
        }
        let layout = Layout::open(&self.path).map_err(self.failed("read"))?;
        let digest = match &self.digest {
            Some(digest) => digest.clone(),
            None => {
                let index = layout.index().map_err(|e| unusable(e.to_string()))?;
                let named = |d: &&Descriptor| d.annotations.get(REF_NAME) == Some(&self.tag);
                match index.manifests.iter().find(named) {
                    Some(entry) => entry.digest.clone(),
                    None => return Ok(Vec::new()),
                }
            }
        };
        let read = |digest: &Digest| layout.read_blob(digest).map_err(|e| unusable(e.to_string()));
        let manifest = registry::parse(&read(&digest)?)?;
        Ok(registry::of_manifest(&manifest, &|manifest| read(&manifest.config.digest))?.into_iter().collect())
    }

    fn open(&self, blob: &Descriptor, _: Progress) -> Result<Box<dyn Read + Send>> {
        let path = self.path.join("blobs").join(blob.digest.algorithm()).join(blob.digest.hex());
        let file = File::open(&path).map_err(|e| BuildError::io("open", &path, e))?;
        Ok(Box::new(oci::VerifyReader::new(file, blob.digest.clone(), Some(blob.size))))
    }

    fn put(&self, blob: &Descriptor, open: Open<'_>, _: &[Reference], _: Progress) -> Result<()> {
        let layout = Layout::create(&self.path).map_err(self.failed("write"))?;
        let there = fs::metadata(layout.blob_path(&blob.digest)).is_ok_and(|meta| meta.len() == blob.size);
        if there {
            return Ok(());
        }
        // One of another size is what a full disk left.
        let _ = fs::remove_file(layout.blob_path(&blob.digest));
        open().and_then(|content| layout.copy_blob(&blob.digest, content)).map_err(self.failed("write"))
    }

    fn commit(&self, document: &Document, oci: bool) -> Result<()> {
        let (manifest, config) = registry::manifest_of(document, oci);
        let layout = Layout::create(&self.path).map_err(self.failed("write"))?;
        let bytes = serde_json::to_vec(&manifest).map_err(|e| unusable(e.to_string()))?;
        let kind = if oci { media_type::OCI_MANIFEST } else { media_type::DOCKER_MANIFEST };
        let mut entry = Descriptor::of(kind, &bytes);
        entry.annotations.insert(REF_NAME.to_owned(), self.tag.clone());
        let written = (|| {
            layout.write_blob(&config)?;
            layout.write_blob(&bytes)?;
            layout.add(entry)
        })();
        written.map_err(self.failed("write"))?;
        // What stays behind costs space and nothing else.
        let _ = self.sweep(&layout);
        Ok(())
    }
}
