//! OCI layouts (archive or directory) and archives for `docker load`.
use super::{Export, Whole, to_destination};
use crate::error::{BuildError, Kind, Result};
use crate::image::ImageLayer;
use crate::request::Output;
use oci::layout::{LAYOUT_FILE, Layout, REF_NAME};
use oci::{Descriptor, Digest, Index, Reference};
use std::collections::BTreeMap;
use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

impl Export<'_> {
    /// `type=oci`
    pub(super) fn oci(&self, whole: &Whole, output: &Output, names: &[Reference]) -> Result<()> {
        self.fetch_cached(whole)?;
        let dest = output.dest.as_deref().ok_or_else(|| {
            BuildError::new(Kind::Input, "the output type=oci needs a destination").hint("add dest=FILE, or dest=-")
        })?;
        if output.tar {
            return to_destination(dest, |out| self.write_layout(whole, names, out, false));
        }
        let io = |e: io::Error| BuildError::io("write", dest, e);
        let layout = Layout::create(dest).map_err(io)?;
        self.each_blob(whole, |digest, _, open| layout.copy_blob(digest, open()?).map_err(io))?;
        for entry in entries(whole, names) {
            layout.add(entry).map_err(io)?;
        }
        Ok(())
    }

    /// `type=docker`
    pub(super) fn docker(&self, whole: &Whole, output: &Output, names: &[Reference]) -> Result<()> {
        if whole.images.len() != 1 {
            return Err(BuildError::new(Kind::Input, "docker exporter does not support exporting several platforms")
                .hint("use type=oci, push the image, or choose one platform"));
        }
        self.fetch_cached(whole)?;
        let Some(dest) = output.dest.as_deref() else {
            return Err(BuildError::new(Kind::Input, "the output type=docker needs a destination or --load"));
        };
        to_destination(dest, |out| self.write_layout(whole, names, out, true))
    }

    /// An image layout as a tar; with `docker` also the `manifest.json` that `docker load` reads.
    fn write_layout(&self, whole: &Whole, names: &[Reference], out: &mut dyn Write, docker: bool) -> Result<()> {
        let mut tar = tar::Builder::new(out);
        let failed = |e: io::Error| BuildError::io("write", "the archive", e);
        for dir in ["blobs/", "blobs/sha256/"] {
            let mut header = header(0, 0o755);
            header.set_entry_type(tar::EntryType::Directory);
            tar.append_data(&mut header, dir, io::empty()).map_err(failed)?;
        }
        self.each_blob(whole, |digest, size, open| {
            if (self.cancelled)() {
                return Err(BuildError::canceled());
            }
            let path = format!("blobs/{}/{}", digest.algorithm(), digest.hex());
            tar.append_data(&mut header(size, 0o644), path, open()?).map_err(failed)
        })?;
        let mut put = |name: &str, bytes: &[u8]| {
            tar.append_data(&mut header(bytes.len() as u64, 0o644), name, bytes).map_err(failed)
        };
        let index = Index::new(entries(whole, names), true);
        put("index.json", &serde_json::to_vec(&index).unwrap_or_default())?;
        if docker {
            let image = &whole.images[0];
            let path = |d: &Digest| format!("blobs/sha256/{}", d.hex());
            let manifest = serde_json::json!([{
                "Config": path(&image.config_descriptor.digest),
                "RepoTags": if names.is_empty() { serde_json::Value::Null } else {
                    names.iter().map(|n| n.clone().or_latest().familiar()).collect()
                },
                "Layers": image.layers.iter().map(|l| path(&l.descriptor.digest)).collect::<Vec<_>>(),
            }]);
            put("manifest.json", manifest.to_string().as_bytes())?;
        }
        put("oci-layout", LAYOUT_FILE.as_bytes())?;
        tar.finish().map_err(failed)
    }

    /// Hands over every blob of an image once: layers, configs, manifests, the index.
    fn each_blob(
        &self,
        whole: &Whole,
        mut take: impl FnMut(&Digest, u64, &dyn Fn() -> Result<Box<dyn Read>>) -> Result<()>,
    ) -> Result<()> {
        let mut seen = HashSet::new();
        for image in &whole.images {
            for layer in &image.layers {
                if seen.insert(layer.descriptor.digest.clone()) {
                    take(&layer.descriptor.digest, layer.descriptor.size, &|| self.open_layer(layer))?;
                }
            }
            for (descriptor, bytes) in [(&image.config_descriptor, &image.config), (&image.descriptor, &image.manifest)]
            {
                if seen.insert(descriptor.digest.clone()) {
                    take(&descriptor.digest, descriptor.size, &|| Ok(Box::new(io::Cursor::new(bytes.clone()))))?;
                }
            }
        }
        for attached in &whole.attached {
            let manifest = (&attached.descriptor, &attached.manifest);
            for (descriptor, bytes) in attached.blobs.iter().map(|(d, b)| (d, b)).chain([manifest]) {
                if seen.insert(descriptor.digest.clone()) {
                    take(&descriptor.digest, descriptor.size, &|| Ok(Box::new(io::Cursor::new(bytes.clone()))))?;
                }
            }
        }
        if let Some((descriptor, bytes)) = &whole.index {
            take(&descriptor.digest, descriptor.size, &|| Ok(Box::new(io::Cursor::new(bytes.clone()))))?;
        }
        Ok(())
    }

    /// Brings layers that lie in external caches into the store, before the first byte of an archive is written: one that
    /// cannot be had makes the build start again.
    fn fetch_cached(&self, whole: &Whole) -> Result<()> {
        let layers = whole.images.iter().flat_map(|image| &image.layers);
        let remotes: Vec<_> = layers.filter_map(|layer| layer.remote.as_ref()).collect();
        self.layers.parallel(&remotes, |remote| self.layers.remote_blob(remote, Some(self.line))).map(drop)
    }

    fn open_layer(&self, layer: &ImageLayer) -> Result<Box<dyn Read>> {
        let digest = &layer.descriptor.digest;
        if let Some((image, original)) = &layer.base {
            self.layers.base_blob(image, original, Some(self.line))?;
        }
        if let Some(remote) = &layer.remote {
            self.layers.remote_blob(remote, Some(self.line))?;
        }
        let file = self.layers.store.open_blob(digest).map_err(|e| BuildError::io("open", "a layer", e))?;
        Ok(Box::new(file))
    }
}

/// The entries of `index.json`: one for each name, or one without.
fn entries(whole: &Whole, names: &[Reference]) -> Vec<Descriptor> {
    let mut top = whole.top();
    top.annotations.clone_from(&whole.index_annotations);
    if whole.index.is_none() {
        top.platform = Some(whole.images[0].platform.clone());
    }
    if names.is_empty() {
        return vec![top];
    }
    let named = |name: &Reference| {
        let name = name.clone().or_latest();
        let mut entry = top.clone();
        entry.annotations.insert("io.containerd.image.name".to_owned(), name.to_string());
        entry.annotations.insert(REF_NAME.to_owned(), name.tag().unwrap_or("latest").to_owned());
        entry
    };
    names.iter().map(named).collect()
}

fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// `--load`: gives an archive to the Docker or Podman of this machine. Who names a Docker daemon means that one.
pub(crate) fn load(archive: &Path, env: &BTreeMap<String, String>) -> Result<String> {
    let mut tried = Vec::new();
    let search = env.get("PATH").map_or("", String::as_str);
    let named = ["DOCKER_HOST", "DOCKER_CONTEXT"].iter().any(|name| env.get(*name).is_some_and(|v| !v.is_empty()));
    let programs: &[&str] = if named { &["docker"] } else { &["docker", "podman"] };
    for &program in programs {
        let found = std::env::split_paths(search).map(|d| d.join(program)).find(|p| p.is_file());
        let Some(path) = found else {
            tried.push(format!("{program}: not installed"));
            continue;
        };
        let input = std::fs::File::open(archive).map_err(|e| BuildError::io("open", archive, e))?;
        let output = Command::new(&path)
            .arg("load")
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .map_err(|e| BuildError::io("run", &path, e))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        tried.push(format!("{program} load: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Err(BuildError::new(Kind::Remote, format!("cannot load the image: {}", tried.join("; ")))
        .hint("start Docker or Podman, or write an archive with -o type=docker,dest=FILE"))
}
