//! Writing results: to registries, archives, directories.
mod archive;
mod attest;
mod early;
mod files;
mod push;
mod sbom;

use crate::error::Result;
use crate::event::VertexId;
use crate::image::BuiltImage;
use crate::request::AnnotationLevel;
use crate::request::{Annotation, Output, OutputKind};
use crate::snapshot::Layers;
use oci::{Descriptor, Index, Reference, media_type};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

pub(crate) use archive::load;
pub(crate) use attest::Attached;
pub(crate) use early::{BlobSource, Early};
pub(crate) use files::write_files;
pub(crate) use sbom::Sboms;

/// What exporters share.
pub(crate) struct Export<'a> {
    pub(crate) layers: &'a Arc<Layers>,
    pub(crate) line: VertexId,
    pub(crate) cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// The image as a whole: one manifest, or an index of several.
pub(crate) struct Whole {
    pub(crate) images: Vec<BuiltImage>,
    /// What is said about them.
    pub(crate) attached: Vec<Attached>,
    /// For several platforms, and where there are attestations.
    pub(crate) index: Option<(Descriptor, Vec<u8>)>,
    /// Annotations of the entry in a layout's index.
    pub(crate) index_annotations: BTreeMap<String, String>,
}

impl Whole {
    pub(crate) fn new(
        images: Vec<BuiltImage>,
        multi: bool,
        oci: bool,
        annotations: &[Annotation],
        attached: Vec<Attached>,
    ) -> Self {
        let chosen = |level: AnnotationLevel| {
            annotations
                .iter()
                .filter(|a| a.level == level)
                .map(|a| (a.key.clone(), a.value.clone()))
                .collect::<BTreeMap<_, _>>()
        };
        let index_annotations = chosen(AnnotationLevel::IndexDescriptor);
        let at_index = chosen(AnnotationLevel::Index);
        if !multi && at_index.is_empty() && attached.is_empty() {
            return Self { images, attached, index: None, index_annotations };
        }
        let entries = images.iter().map(|i| &i.descriptor).chain(attached.iter().map(|a| &a.descriptor));
        let mut index = Index::new(entries.cloned().collect(), oci);
        index.annotations = at_index;
        let bytes = serde_json::to_vec_pretty(&index).unwrap_or_default();
        let kind = if oci { media_type::OCI_INDEX } else { media_type::DOCKER_LIST };
        let descriptor = Descriptor::of(kind, &bytes);
        Self { images, attached, index: Some((descriptor, bytes)), index_annotations }
    }

    /// What is attested about an image of this digest.
    pub(crate) fn statements_about(&self, digest: &oci::Digest) -> Vec<::attest::statement::Statement> {
        let all = self.attached.iter().flat_map(|a| &a.statements);
        all.filter(|statement| statement.is_about(digest)).cloned().collect()
    }

    /// What a name points to.
    pub(crate) fn top(&self) -> Descriptor {
        match &self.index {
            Some((descriptor, _)) => descriptor.clone(),
            None => {
                let mut descriptor = self.images[0].descriptor.clone();
                descriptor.platform = None;
                descriptor.annotations.clear();
                descriptor
            }
        }
    }
}

impl Export<'_> {
    /// Writes an image to where an output says. `names` are those of the output, or of the request.
    pub(crate) fn image(&self, whole: &Whole, output: &Output, names: &[Reference]) -> Result<()> {
        match output.kind {
            OutputKind::Registry => self.push(whole, output, names),
            OutputKind::Image => {
                if output.push {
                    self.push(whole, output, names)?;
                }
                Ok(())
            }
            OutputKind::Oci => self.oci(whole, output, names),
            OutputKind::Docker => self.docker(whole, output, names),
            OutputKind::Tar | OutputKind::Local => Ok(()),
        }
    }

    /// Keeps an image in the store under its names, and with `name-canonical=true` under NAME@DIGEST, too.
    pub(crate) fn keep(&self, whole: &Whole, names: &[Reference], canonical: bool) -> Result<()> {
        let store = &self.layers.store;
        for image in &whole.images {
            store.put_blob(&image.config)?;
            store.put_blob(&image.manifest)?;
        }
        for attached in &whole.attached {
            store.put_blob(&attached.manifest)?;
            for (_, bytes) in &attached.blobs {
                store.put_blob(bytes)?;
            }
        }
        if let Some((_, bytes)) = &whole.index {
            store.put_blob(bytes)?;
        }
        let descriptor = whole.top();
        for name in names {
            let mut spelled = vec![name.clone().or_latest().to_string()];
            if canonical {
                spelled.push(format!("{}@{}", name.name(), descriptor.digest));
            }
            for name in spelled {
                let record =
                    crate::store::ImageRecord { name, descriptor: descriptor.clone(), created: crate::time::now() };
                // The same image again is nothing that the disk has to know.
                if store.image(&record.name).is_none_or(|known| known.descriptor != record.descriptor) {
                    store.put_image(&record)?;
                }
            }
        }
        Ok(())
    }
}

/// Writes a file that appears whole; `-` is standard output.
pub(crate) fn to_destination(dest: &str, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    use crate::error::BuildError;
    let path = Path::new(dest);
    if dest == "-" {
        let mut out = std::io::BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
        write(&mut out)?;
        return out.flush().map_err(|e| BuildError::io("write", "standard output", e));
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(|e| BuildError::io("make", parent, e))?;
    let temporary = tempfile::NamedTempFile::new_in(parent).map_err(|e| BuildError::io("write in", parent, e))?;
    let file: File = temporary.as_file().try_clone().map_err(|e| BuildError::io("write", path, e))?;
    let mut out = std::io::BufWriter::with_capacity(1 << 20, file);
    write(&mut out)?;
    out.flush().map_err(|e| BuildError::io("write", path, e))?;
    drop(out);
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::set_permissions(temporary.path(), std::fs::Permissions::from_mode(0o644));
    temporary.persist(path).map_err(|e| BuildError::io("write", path, e.error))?;
    Ok(())
}
