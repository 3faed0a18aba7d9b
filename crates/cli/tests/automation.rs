//! What the factory gives to others and asks of them: resources for clusters, workflows for CI, runs of workflows
//! elsewhere, variables from files.
#[path = "automation/documents.rs"]
mod documents;
#[path = "automation/env_file.rs"]
mod env_file;
#[path = "automation/remote.rs"]
mod remote;
#[path = "automation/synth.rs"]
mod synth;
#[path = "automation/workflow.rs"]
mod workflow;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A token that must not be seen anywhere.
pub(crate) const TOKEN: &str = "ghp_never_to_be_seen_0123456789";

/// A directory, and the program run in it with nothing but these variables.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) vars: Vec<(String, String)>,
}

/// How a command ended: exit code, standard output, standard error.
pub(crate) type Ended = (Option<i32>, String, String);

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), vars: Vec::new() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn var(mut self, name: &str, value: &str) -> Self {
        self.vars.push((name.into(), value.into()));
        self
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooperage"));
        command.args(words).current_dir(self.dir.path()).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.dir.path());
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CEILING_DIRECTORIES", self.dir.path().parent().unwrap());
        command.envs(self.vars.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it. The token must not be in what it writes.
    pub(crate) fn run(&self, words: &[&str]) -> Ended {
        let output = self.command(words).output().unwrap();
        let text = |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_owned()).unwrap();
            assert!(!text.contains(TOKEN), "{words:?} prints the token: {text}");
            text.replace(&self.dir.path().display().to_string(), "DIR")
        };
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// Runs what must succeed, and gives its standard output.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let (code, out, err) = self.run(words);
        assert_eq!(code, Some(0), "{words:?}: {err}");
        out
    }

    /// Runs what must fail, and gives exit code and standard error.
    pub(crate) fn fails(&self, words: &[&str]) -> String {
        let (code, _, err) = self.run(words);
        assert_ne!(code, Some(0), "{words:?}");
        format!("exit {}\n{err}", code.unwrap())
    }
}

/// Holds a text against a file of the repository, which `INSTA_UPDATE=always` writes anew.
pub(crate) fn assert_file(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/automation").join(name);
    if std::env::var("INSTA_UPDATE").is_ok_and(|value| value == "always") {
        std::fs::write(&path, text).unwrap();
    }
    let recorded = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(recorded == text, "{} differs from what is written now:\n{text}", path.display());
}
