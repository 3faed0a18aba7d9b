//! What every builder is asked, and what it answers.
use crate::{Image, Result};
use std::path::{Path, PathBuf};

/// One build.
#[derive(Debug, Clone, Default)]
pub struct BuildInput {
    /// The context: a directory, an address, or `-`.
    pub context: PathBuf,
    /// What the builder reads on standard input.
    pub stdin: Option<PathBuf>,
    /// Arguments in the words of `docker buildx build` (`--build-arg`, `--target`, `--file`, `--secret`, …), without
    /// output and context.
    pub args: Vec<String>,
    /// Environment variables for the builder.
    pub env: Vec<(String, String)>,
    /// The builder's current directory; relative paths in `args` start there. The context where it is `None`.
    pub directory: Option<PathBuf>,
}

impl BuildInput {
    /// Where the builder starts.
    pub(crate) fn start(&self) -> &Path {
        self.directory.as_deref().unwrap_or(&self.context)
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Built {
    /// The image, or `None` where the build failed.
    pub image: Option<Image>,
    /// All that the builder printed.
    pub log: String,
}

/// A builder that the tests can ask.
pub trait Builder: Sync {
    /// Its name and version, for reports.
    fn name(&self) -> String;

    /// Builds. A Dockerfile that does not build is a [`Built`] without an image, not an error.
    fn build(&self, input: &BuildInput) -> Result<Built>;
}
