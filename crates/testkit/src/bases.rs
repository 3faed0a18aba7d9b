//! Base images made from Debian packages: no image is fetched from any registry.
//!
//! A recipe is a script under `tests/bases` that leaves a root filesystem (`rootfs.tar`) and the
//! `config` section of an image (`config.json`). The result is kept as an OCI layout in
//! [`cache_dir`] under a hash of the script and its arguments; it appears by rename
//! under a lock, so that parallel tests make it once.
use crate::command::{Error, Result, run, tool};
use crate::{Registry, cache_dir, repository};
use flate2::Compression;
use flate2::write::GzEncoder;
use oci::layout::{Layout, REF_NAME};
use oci::{Config, Descriptor, Digest, History, ImageConfig, Index, Manifest, Platform, media_type};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A base image to be.
#[derive(Debug, Clone)]
pub struct Base {
    /// What tests push it as, under `library/`.
    pub name: &'static str,
    script: &'static str,
    args: &'static [&'static str],
    /// Where it is not this machine's: an architecture in the words of images.
    architecture: Option<&'static str>,
}

/// One static program, links for its applets, a few users and groups: the base of the table of Dockerfiles.
pub const BUSYBOX: Base = Base { name: "busybox", script: "busybox.sh", args: &[], architecture: None };
/// A small Debian 12 with apt.
pub const DEBIAN: Base =
    Base { name: "debian", script: "debian.sh", args: &["bookworm", "ca-certificates"], architecture: None };
/// Debian 12 with Node and npm.
pub const NODE: Base = Base {
    name: "node",
    script: "debian.sh",
    args: &["bookworm", "ca-certificates", "nodejs", "npm"],
    architecture: None,
};
/// Debian 12 with Python, venv and pip.
pub const PYTHON: Base = Base {
    name: "python",
    script: "debian.sh",
    args: &["bookworm", "ca-certificates", "python3", "python3-pip", "python3-venv"],
    architecture: None,
};
/// Debian 12 with a C compiler.
pub const GCC: Base =
    Base { name: "gcc", script: "debian.sh", args: &["bookworm", "gcc", "libc6-dev", "make"], architecture: None };

/// A small Debian 12 with apt for arm64. No program of it has run: it is unpacked.
pub const DEBIAN_ARM64: Base = Base {
    name: "debian-arm64",
    script: "debian-foreign.sh",
    args: &["arm64", "bookworm", "apt", "ca-certificates", "debian-archive-keyring"],
    architecture: Some("arm64"),
};

/// Debian 12 with Node and npm for arm64, unpacked as [`DEBIAN_ARM64`] is.
pub const NODE_ARM64: Base = Base {
    name: "node-arm64",
    script: "debian-foreign.sh",
    args: &["arm64", "bookworm", "apt", "adduser", "ca-certificates", "debian-archive-keyring", "nodejs", "npm"],
    architecture: Some("arm64"),
};

/// Debian 12 with a C compiler and npm: what the cost of RUN is measured in.
pub const TOOLS: Base = Base {
    name: "tools",
    script: "debian.sh",
    args: &["bookworm", "ca-certificates", "gcc", "libc6-dev", "nodejs", "npm"],
    architecture: None,
};

/// Debian 12 with what administers users, files and packages, two C libraries, git, perl and python.
pub const WORKSHOP: Base = Base {
    name: "workshop",
    script: "debian.sh",
    args: &[
        "bookworm",
        "acl",
        "adduser",
        "attr",
        "cpio",
        "gcc",
        "git",
        "libc6-dev",
        "libcap2-bin",
        "make",
        "musl-tools",
        "perl",
        "python3",
        "rpm",
        "sudo",
    ],
    architecture: None,
};

impl Base {
    /// The image as an OCI layout, made now if no earlier run did.
    pub fn layout(&self) -> Result<PathBuf> {
        let recipe = repository().join("tests/bases").join(self.script);
        let text = fs::read(&recipe).map_err(Error::at(recipe.display()))?;
        let key = Digest::sha256(&[&text[..], b"\0v1\0", self.args.join("\0").as_bytes()].concat());
        once(&format!("{}-{}", self.name, &key.hex()[..12]), |work| {
            let scratch = work.join("scratch");
            fs::create_dir_all(&scratch).map_err(Error::at(scratch.display()))?;
            run(tool("sh", "dash")?.arg(&recipe).arg(&scratch).args(self.args))?;
            pack(&scratch, &work.join("layout"), self.name, self.architecture.unwrap_or_else(architecture))
                .map_err(Error::at(self.name))?;
            fs::remove_dir_all(&scratch).map_err(Error::at(scratch.display()))
        })
        .map(|directory| directory.join("layout"))
    }

    /// Pushes it as `library/NAME:latest` and says its reference.
    pub fn push(&self, registry: &Registry) -> Result<String> {
        let name = format!("library/{}:latest", self.name);
        registry.push_layout(&self.layout()?, &name)?;
        Ok(registry.reference(&name))
    }
}

/// Packages of PyPI in a directory for `PYTHONPATH`, installed once; `None`, with a word about it, where there is no pip.
#[must_use]
#[expect(clippy::print_stderr, reason = "a test that is passed over says so")]
pub fn python_packages(test: &str, requirement: &str) -> Option<PathBuf> {
    let pip = || {
        let mut command = tool("python3", "python3-pip").ok()?;
        command.args(["-m", "pip"]);
        run(command.arg("--version")).ok()
    };
    if pip().is_none() {
        let text = format!("{test}: passed over; it needs: apt-get install python3-pip");
        assert!(std::env::var_os("CI").is_none(), "{text}");
        eprintln!("{text}");
        return None;
    }
    let key = Digest::sha256(requirement.as_bytes());
    let made = once(&format!("python-{}", &key.hex()[..12]), |work| {
        let mut command = tool("python3", "python3")?;
        command.args(["-m", "pip", "install", "--quiet", "--no-input", "--target"]);
        run(command.arg(work.join("packages")).arg(requirement)).map(drop)
    });
    Some(made.unwrap_or_else(|error| panic!("{requirement}: {error}")).join("packages"))
}

/// The source of a crate of crates.io, for files that it ships; fetched once.
pub fn crate_source(name: &str, version: &str) -> Result<PathBuf> {
    let made = once(&format!("crate-{name}-{version}"), |work| {
        let manifest = format!(
            "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[lib]\npath = \"lib.rs\"\n[dependencies]\n{name} = \"={version}\"\n[workspace]\n"
        );
        fs::write(work.join("Cargo.toml"), manifest).map_err(Error::at("Cargo.toml"))?;
        fs::write(work.join("lib.rs"), "").map_err(Error::at("lib.rs"))?;
        run(tool("cargo", "cargo")?.args(["vendor", "--quiet", "vendor"]).current_dir(work)).map(drop)
    });
    Ok(made?.join("vendor").join(name))
}

/// A directory of the cache that `make` fills, once for all runs and processes.
pub(crate) fn once(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = cache_dir();
    let ready = cache.join(name);
    if ready.exists() {
        return Ok(ready);
    }
    fs::create_dir_all(&cache).map_err(Error::at(cache.display()))?;
    let lock = File::create(cache.join(format!("{name}.lock"))).map_err(Error::at(name))?;
    lock.lock().map_err(Error::at(name))?;
    if !ready.exists() {
        let work = cache.join(format!("{name}.tmp"));
        if work.exists() {
            fs::remove_dir_all(&work).map_err(Error::at(work.display()))?;
        }
        fs::create_dir_all(&work).map_err(Error::at(work.display()))?;
        make(&work)?;
        fs::rename(&work, &ready).map_err(Error::at(ready.display()))?;
    }
    Ok(ready)
}

/// An image of one layer.
fn pack(scratch: &Path, target: &Path, name: &str, architecture: &str) -> io::Result<()> {
    let layout = Layout::create(target)?;
    let tar = scratch.join("rootfs.tar");
    let mut digester = oci::Digester::new();
    digester.update(&fs::read(&tar)?);
    let diff_id = digester.finish();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    io::copy(&mut File::open(&tar)?, &mut encoder)?;
    let bytes = encoder.finish()?;
    layout.write_blob(&bytes)?;
    let layer = Descriptor::of(media_type::OCI_LAYER_GZIP, &bytes);

    let config: Config = serde_json::from_slice(&fs::read(scratch.join("config.json"))?)?;
    let mut image = ImageConfig::scratch(&Platform::new("linux", architecture, None));
    image.created = Some("2023-11-14T22:13:20Z".to_owned());
    image.config = config;
    image.rootfs.diff_ids = vec![diff_id];
    image.history = vec![History {
        created: image.created.clone(),
        created_by: Some(format!("tests/bases: {name}")),
        ..History::default()
    }];
    let config = serde_json::to_vec(&image)?;
    layout.write_blob(&config)?;
    let manifest =
        serde_json::to_vec(&Manifest::new(Descriptor::of(media_type::OCI_CONFIG, &config), vec![layer], true))?;
    layout.write_blob(&manifest)?;
    let mut entry = Descriptor::of(media_type::OCI_MANIFEST, &manifest);
    entry.annotations.insert(REF_NAME.to_owned(), "latest".to_owned());
    layout.set_index(&Index::new(vec![entry], true))
}

/// This machine's architecture in the words of images.
#[must_use]
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Pushes several layouts of one image each as one index: what a base image for several platforms is.
pub fn push_index(registry: &Registry, name: &str, layouts: &[PathBuf]) -> Result<()> {
    let work = tempfile::tempdir().map_err(Error::at("tempdir"))?;
    let make = || -> io::Result<PathBuf> {
        let layout = Layout::create(work.path().join("layout"))?;
        let mut entries = Vec::new();
        for source in layouts {
            let source = Layout::open(source)?;
            let mut entry =
                source.index()?.manifests.into_iter().next().ok_or_else(|| io::Error::other("an empty layout"))?;
            let bytes = source.read_blob(&entry.digest)?;
            let manifest: Manifest = serde_json::from_slice(&bytes)?;
            let image: ImageConfig = serde_json::from_slice(&source.read_blob(&manifest.config.digest)?)?;
            for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
                layout.copy_blob(&blob.digest, File::open(source.blob_path(&blob.digest))?)?;
            }
            layout.write_blob(&bytes)?;
            entry.annotations.clear();
            entry.platform = Some(Platform::new(&image.os, &image.architecture, image.variant.as_deref()));
            entries.push(entry);
        }
        let bytes = serde_json::to_vec(&Index::new(entries, true))?;
        layout.write_blob(&bytes)?;
        let mut entry = Descriptor::of(media_type::OCI_INDEX, &bytes);
        entry.annotations.insert(REF_NAME.to_owned(), "latest".to_owned());
        layout.set_index(&Index::new(vec![entry], true))?;
        Ok(layout.root().to_owned())
    };
    let layout = make().map_err(Error::at(name))?;
    registry.push_layout(&layout, name)
}

/// Pushes an image made of a base and more layers: each file of `layers`, by name, is a tar.
pub fn push_layers(registry: &Registry, name: &str, base: &Path, layers: &Path) -> Result<()> {
    let work = tempfile::tempdir().map_err(Error::at("tempdir"))?;
    let make = || -> io::Result<PathBuf> {
        let source = Layout::open(base)?;
        let index = source.index()?;
        let entry = index.manifests.first().ok_or_else(|| io::Error::other("an empty layout"))?;
        let mut manifest: Manifest = serde_json::from_slice(&source.read_blob(&entry.digest)?)?;
        let mut image: ImageConfig = serde_json::from_slice(&source.read_blob(&manifest.config.digest)?)?;
        let layout = Layout::create(work.path().join("layout"))?;
        for layer in &manifest.layers {
            layout.copy_blob(&layer.digest, File::open(source.blob_path(&layer.digest))?)?;
        }
        let mut files: Vec<PathBuf> = fs::read_dir(layers)?.map(|file| Ok(file?.path())).collect::<io::Result<_>>()?;
        files.sort();
        for file in files {
            let tar = fs::read(file)?;
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            io::copy(&mut &tar[..], &mut encoder)?;
            let bytes = encoder.finish()?;
            layout.write_blob(&bytes)?;
            manifest.layers.push(Descriptor::of(media_type::OCI_LAYER_GZIP, &bytes));
            image.rootfs.diff_ids.push(Digest::sha256(&tar));
            image.history.push(History { created_by: Some("testkit: a layer".to_owned()), ..History::default() });
        }
        let bytes = serde_json::to_vec(&image)?;
        layout.write_blob(&bytes)?;
        manifest.config = Descriptor::of(media_type::OCI_CONFIG, &bytes);
        let bytes = serde_json::to_vec(&manifest)?;
        layout.write_blob(&bytes)?;
        let mut entry = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
        entry.annotations.insert(REF_NAME.to_owned(), "latest".to_owned());
        layout.set_index(&Index::new(vec![entry], true))?;
        Ok(layout.root().to_owned())
    };
    let layout = make().map_err(Error::at(name))?;
    registry.push_layout(&layout, name)
}
