//! What is kept of a build: which steps it had, what went into their keys, what came of them and why.
//!
//! Values of variables whose names say that they are secret stand as `(hidden)` with the beginning of their digest,
//! so that a change is seen and the value is not.
use serde::{Deserialize, Serialize};

/// The version of the form in which records are written; others are not read.
pub(crate) const FORMAT: u32 = 1;

/// One build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRecord {
    /// The version of this form.
    pub format: u32,
    /// Twelve hex digits.
    pub id: String,
    /// When it began: milliseconds since 1970.
    pub started: i64,
    /// How long it took, in milliseconds.
    pub duration: u64,
    /// How it ended.
    pub outcome: BuildOutcome,
    /// The error's line, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The context: a directory, or a URL without credentials.
    pub context: String,
    /// The Dockerfile's name.
    pub dockerfile: String,
    /// The digest of the Dockerfile's text.
    pub dockerfile_digest: String,
    /// `--target`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The image's names.
    pub names: Vec<String>,
    /// The names of the build arguments that were given.
    pub build_args: Vec<String>,
    /// The digest of what was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The steps, platform by platform, stages in the order in which they need each other.
    pub steps: Vec<StepEntry>,
}

impl BuildRecord {
    /// How many steps came from the cache, and how many did not.
    #[must_use]
    pub fn hits_and_misses(&self) -> (usize, usize) {
        let hits = self.steps.iter().filter(|s| s.outcome.is_hit()).count();
        let misses = self.steps.iter().filter(|s| s.cause.is_some()).count();
        (hits, misses)
    }
}

/// How a build ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BuildOutcome {
    /// Well.
    Done,
    /// With an error.
    Failed,
    /// It was interrupted.
    Canceled,
}

/// One step of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepEntry {
    /// Its line of progress: `[build 2/5] RUN make`.
    pub name: String,
    /// The instruction: `RUN make`.
    pub instruction: String,
    /// Its stage; empty where the Dockerfile has one.
    pub stage: String,
    /// Its platform.
    pub platform: String,
    /// The line of the Dockerfile where it stands; 0 where that is not known.
    pub line: usize,
    /// The step that it builds on, by its place in the list; none for the first of a chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<usize>,
    /// The image that it builds on, where no step lies between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<BaseEntry>,
    /// Its definition key.
    pub definition: String,
    /// Its content key, where it was worked out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What went into the content key; empty where that was not worked out.
    pub fields: Vec<(String, String)>,
    /// What came of it.
    pub outcome: StepOutcome,
    /// When it began: milliseconds since 1970; 0 where it did not.
    pub started: i64,
    /// How long it took, in milliseconds.
    pub duration: u64,
    /// Its layer in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// Bytes of its layer: compressed where it was compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Why its result did not come from the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

/// A base image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseEntry {
    /// Its name.
    pub name: String,
    /// The digest of what the name pointed to.
    pub digest: String,
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepOutcome {
    /// Its result was in the cache under the same definition.
    Hit,
    /// Its definition was new, and a result with the same files was in the cache.
    ContentHit,
    /// It was done.
    Ran,
    /// It was tried, and failed.
    Failed,
    /// The build ended while it was done.
    Canceled,
    /// What reads from it was in the cache.
    NotNeeded,
    /// The build ended before it.
    NotReached,
}

impl StepOutcome {
    /// Whether nothing had to be done for it.
    #[must_use]
    pub fn is_hit(self) -> bool {
        matches!(self, Self::Hit | Self::ContentHit | Self::NotNeeded)
    }
}

/// Why a step's result did not come from the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// What kind of reason it is.
    pub kind: CauseKind,
    /// In words, one line: `src/main.c changed`.
    pub summary: String,
    /// The build that was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// All inputs that differ, the one that says most first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

/// The kinds of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CauseKind {
    /// No build of the store's history had this step.
    NeverBuilt,
    /// An input differs: see the changes.
    Changed,
    /// `--no-cache` or `--no-cache-filter`.
    NoCache,
    /// The step failed, or was interrupted, when it was tried last.
    FailedBefore,
    /// It was built with these very inputs, and the result is no longer in the store.
    Removed,
}

/// An input that differs between two builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What it is.
    pub kind: ChangeKind,
    /// Its name: a path, a variable, a mount's target, an image.
    pub name: String,
    /// What it was, where that is short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    /// In words.
    pub text: String,
}

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// A file that the step reads.
    File,
    /// Files that the step reads, of which there is no list any more.
    Files,
    /// What the instruction says.
    Instruction,
    /// `--build-arg`
    BuildArg,
    /// A variable of ENV, or an ARG's default.
    Env,
    /// The base image.
    BaseImage,
    /// A `RUN --mount`.
    Mount,
    /// The name of a secret or SSH agent. Its value is never looked at.
    Secret,
    /// A download or a git repository of ADD.
    Source,
    /// WORKDIR, USER, or a flag of the command line.
    Setting,
    /// The platform.
    Platform,
    /// The step before, which changed.
    Step,
}
