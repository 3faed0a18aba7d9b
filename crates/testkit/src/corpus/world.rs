//! What all cases of a run share: a registry with base images, a file server, a git server.
use super::{Case, FileServer, GitServer};
use crate::command::{Error, Result, run, tool};
use crate::{BuildInput, ConfigFacts, Files, Image, Registry, bases, repository};
use oci::layout::{Layout, REF_NAME};
use oci::{Descriptor, Index, Manifest, media_type};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The servers, and facts of the base image.
#[derive(Debug)]
pub struct World {
    registry: Registry,
    files: FileServer,
    git: GitServer,
    busybox: Files,
    busybox_diff_id: Option<String>,
}

/// A case whose context lies ready; removed when dropped.
#[derive(Debug)]
pub struct Prepared {
    /// What to build.
    pub input: BuildInput,
    _directory: TempDir,
}

impl World {
    /// Starts the servers and pushes the base images.
    pub fn start() -> Result<Self> {
        let registry = Registry::start()?;
        bases::BUSYBOX.push(&registry)?;
        let layout = bases::BUSYBOX.layout()?;
        for (name, config) in variants() {
            push_variant(&registry, &layout, name, &config)?;
        }
        let image = Image::from_layout(&layout, None)?;
        let mut busybox = image.files()?;
        busybox.values_mut().for_each(|facts| facts.mtime = None);
        let files = FileServer::start(&repository().join("tests/dockerfiles/http"))?;
        let git = GitServer::start()?;
        Ok(Self { registry, files, git, busybox, busybox_diff_id: image.diff_ids().first().cloned() })
    }

    /// The registry that holds `library/busybox` and its variants.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(super) fn busybox_files(&self) -> &Files {
        &self.busybox
    }

    pub(super) fn busybox_diff_id(&self) -> Option<&String> {
        self.busybox_diff_id.as_ref()
    }

    fn addresses(&self) -> [(String, &'static str); 3] {
        [(self.files.url(), "{http}"), (self.git.url(), "{git}"), (self.registry.host(), "{registry}")]
    }

    /// History and config with the placeholders that the case was written with: ports change from run to run.
    pub(super) fn without_addresses(&self, config: ConfigFacts) -> Result<ConfigFacts> {
        let mut text = serde_json::to_string(&config).map_err(Error::at("config"))?;
        for (address, placeholder) in self.addresses() {
            text = text.replace(&address, placeholder);
        }
        serde_json::from_str(&text).map_err(Error::at("config"))
    }

    /// Copies a case's directory, with modes that do not depend on the checkout, and runs its setup.
    pub fn prepare(&self, case: &Case) -> Result<Prepared> {
        let directory = tempfile::Builder::new().prefix("testkit-case-").tempdir().map_err(Error::at("tempdir"))?;
        let copy = directory.path().join("case");
        copy_tree(&case.directory, &copy).map_err(Error::at(&case.name))?;
        for own in ["case.toml", "expected.json"] {
            let _ = fs::remove_file(copy.join(own));
        }
        let fill = |text: &str| {
            let text = text.replace("{case}", &copy.display().to_string());
            self.addresses().iter().fold(text, |text, (address, placeholder)| text.replace(placeholder, address))
        };
        let (context, inside) = match case.context.as_deref() {
            None => (copy.clone(), copy.clone()),
            Some(address) if address == "-" || address.starts_with('{') => (fill(address).into(), copy.clone()),
            Some(name) => (copy.join(name), copy.join(name)),
        };
        if let Some(script) = &case.setup {
            run(tool("sh", "dash")?.args(["-euc", &fill(script)]).current_dir(inside))
                .map_err(Error::at(&case.name))?;
        }
        let stdin = case.stdin.as_ref().map(|name| copy.join(name));
        let args = case.args.iter().map(|arg| fill(arg)).collect();
        let env = case.env.iter().map(|(key, value)| (key.clone(), fill(value))).collect();
        Ok(Prepared { input: BuildInput { context, stdin, args, env, directory: Some(copy) }, _directory: directory })
    }
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            let executable = entry.metadata()?.permissions().mode() & 0o100 != 0;
            fs::set_permissions(&target, fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 }))?;
        }
    }
    Ok(())
}

/// Images that have the layer of busybox and a config of their own.
fn variants() -> Vec<(&'static str, Value)> {
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    vec![
        (
            "configured",
            json!({
                "Env": [path, "BASE_ONE=one", "BASE_TWO=two words"], "Entrypoint": ["/bin/echo", "from the base"],
                "Cmd": ["an", "argument"], "WorkingDir": "/var/lib", "User": "app", "Labels": { "base": "yes", "both": "base" },
                "ExposedPorts": { "80/tcp": {} }, "Volumes": { "/data": {} }, "StopSignal": "SIGINT",
                "Shell": ["/bin/sh", "-ec"], "Healthcheck": { "Test": ["CMD", "true"], "Interval": 5_000_000_000_u64, "Retries": 2 },
            }),
        ),
        (
            "onbuild",
            json!({
                "Env": [path], "Cmd": ["sh"],
                "OnBuild": ["ENV TRIGGERED=yes", "COPY file /from-trigger", "RUN echo ran > /ran", "WORKDIR /triggered"],
            }),
        ),
        ("nopath", json!({ "Cmd": ["sh"] })),
        ("numeric", json!({ "Env": [path], "User": "1001:2000" })),
    ]
}

fn push_variant(registry: &Registry, base: &Path, name: &str, config: &Value) -> Result<()> {
    let work = tempfile::tempdir().map_err(Error::at("tempdir"))?;
    let make = || -> std::io::Result<PathBuf> {
        let source = Layout::open(base)?;
        let index = source.index()?;
        let entry = index.manifests.first().ok_or_else(|| std::io::Error::other("an empty layout"))?;
        let manifest: Manifest = serde_json::from_slice(&source.read_blob(&entry.digest)?)?;
        let mut image: Value = serde_json::from_slice(&source.read_blob(&manifest.config.digest)?)?;
        image["config"] = config.clone();

        let layout = Layout::create(work.path().join("layout"))?;
        for layer in &manifest.layers {
            layout.copy_blob(&layer.digest, fs::File::open(source.blob_path(&layer.digest))?)?;
        }
        let bytes = serde_json::to_vec(&image)?;
        layout.write_blob(&bytes)?;
        let manifest = Manifest::new(Descriptor::of(media_type::OCI_CONFIG, &bytes), manifest.layers, true);
        let bytes = serde_json::to_vec(&manifest)?;
        layout.write_blob(&bytes)?;
        let mut entry = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
        entry.annotations.insert(REF_NAME.to_owned(), "latest".to_owned());
        layout.set_index(&Index::new(vec![entry], true))?;
        Ok(layout.root().to_owned())
    };
    let layout = make().map_err(Error::at(name))?;
    registry.push_layout(&layout, &format!("library/{name}:latest"))
}
