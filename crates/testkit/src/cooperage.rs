//! The product's binary as a [`Builder`].
use crate::command::{Error, Result, output_with, run};
use crate::{BuildInput, Builder, Built, Image, Registry};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// `cooperage build` with a store of its own.
#[derive(Debug)]
pub struct Cooperage {
    binary: PathBuf,
    work: TempDir,
    options: Vec<String>,
}

impl Cooperage {
    /// With an empty store. `binary` is `env!("CARGO_BIN_EXE_cooperage")` in the binary's own tests. The words of
    /// `COOPERAGE_TEST_OPTIONS` (such as `--isolation=chroot`) are options of every build.
    pub fn new(binary: impl Into<PathBuf>) -> Result<Self> {
        let work = tempfile::Builder::new().prefix("testkit-cooperage-").tempdir().map_err(Error::at("tempdir"))?;
        let options = std::env::var("COOPERAGE_TEST_OPTIONS").unwrap_or_default();
        let options = options.split_whitespace().map(str::to_owned).collect();
        Ok(Self { binary: binary.into(), work, options })
    }

    /// Names without a registry (`FROM busybox`) come from this one.
    #[must_use]
    pub fn with_mirror(mut self, registry: &Registry) -> Self {
        self.options.push(format!("--registry-mirror=docker.io={}", registry.url()));
        self
    }

    /// Options of every build.
    #[must_use]
    pub fn with_options(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|&option| option.to_owned()));
        self
    }

    /// Builds, and pushes to a registry as `name`; the log, or an error that holds it.
    pub fn build_and_push(&self, input: &BuildInput, registry: &Registry, name: &str) -> Result<String> {
        let mut command = self.command(&["build"]);
        command.args(&self.options).args(&input.args).envs(input.env.iter().cloned());
        command.args(["--progress", "plain", "--push", "--tag", &registry.reference(name)]);
        let output = run(command.arg(&input.context).current_dir(input.start()))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    }

    /// The binary.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The store's directory.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.work.path().join("store")
    }

    /// `cooperage WORDS… --root STORE`, for other commands than build.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(words).arg("--root").arg(self.store());
        command
    }
}

impl Builder for Cooperage {
    fn name(&self) -> String {
        "cooperage".to_owned()
    }

    fn build(&self, input: &BuildInput) -> Result<Built> {
        let out = tempfile::Builder::new().prefix("out-").tempdir_in(self.work.path()).map_err(Error::at("tempdir"))?;
        let archive = out.path().join("image.tar");
        let mut command = self.command(&["build"]);
        command.args(&self.options).args(&input.args).envs(input.env.iter().cloned());
        command.args(["--progress", "plain", "--output", &format!("type=oci,dest={}", archive.display())]);
        command.arg(&input.context).current_dir(input.start());
        let output = output_with(&mut command, input.stdin.as_deref())?;
        let log = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let image = output.status.success().then(|| Image::from_archive(&archive)).transpose()?;
        Ok(Built { image, log })
    }
}
