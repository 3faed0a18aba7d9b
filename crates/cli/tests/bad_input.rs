//! What people see when something is wrong: flags, contexts, references, settings and Dockerfiles.
//!
//! Each text says what is wrong, where, why, and what to do next. The program runs in an empty
//! directory with an empty environment; that directory is shown as `DIR`.
#[path = "bad_input/contexts.rs"]
mod contexts;
#[path = "bad_input/dockerfiles.rs"]
mod dockerfiles;
#[path = "bad_input/flags.rs"]
mod flags;
#[path = "bad_input/others.rs"]
mod others;
#[path = "bad_input/registries.rs"]
mod registries;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// A directory with a good Dockerfile, and a command to run in it.
pub(crate) struct Case {
    dir: tempfile::TempDir,
    home: tempfile::TempDir,
    vars: Vec<(String, String)>,
    stdin: Vec<u8>,
}

impl Case {
    /// A context with `FROM scratch` and one file.
    pub(crate) fn new() -> Self {
        let case = Self::empty();
        case.file("Dockerfile", "FROM scratch\nCOPY a /a\n").file("a", "x")
    }

    pub(crate) fn empty() -> Self {
        let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Self { dir, home, vars: Vec::new(), stdin: Vec::new() }
    }

    /// A context whose Dockerfile is this text.
    pub(crate) fn dockerfile(text: &str) -> Self {
        Self::empty().file("Dockerfile", text).file("a", "x")
    }

    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// A file in the home directory.
    pub(crate) fn home(self, path: &str, text: &str) -> Self {
        let path = self.home.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn dir(self, path: &str) -> Self {
        std::fs::create_dir_all(self.dir.path().join(path)).unwrap();
        self
    }

    pub(crate) fn var(mut self, name: &str, value: &str) -> Self {
        self.vars.push((name.into(), value.into()));
        self
    }

    pub(crate) fn stdin(mut self, text: &[u8]) -> Self {
        self.stdin = text.into();
        self
    }

    /// Runs `cooperage build --progress quiet WORDS`.
    pub(crate) fn build(self, words: &str) -> String {
        self.run(&format!("build --progress quiet {words}"))
    }

    /// Runs the program; the exit code and standard error.
    pub(crate) fn run(self, words: &str) -> String {
        let mut child = Command::new(env!("CARGO_BIN_EXE_cooperage"))
            .args(words.split_whitespace())
            .current_dir(self.dir.path())
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.vars.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that does not read its input is no failure of the test.
        let _ = child.stdin.take().unwrap().write_all(&self.stdin);
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        let code = output.status.code().map_or_else(|| output.status.to_string(), |code| code.to_string());
        format!("exit {code}\n{}", plain(&plain(&text, self.dir.path(), "DIR"), self.home.path(), "HOME"))
    }
}

/// The text without what differs from run to run.
fn plain(text: &str, dir: &Path, name: &str) -> String {
    let real = dir.canonicalize().unwrap();
    text.replace(&real.display().to_string(), name).replace(&dir.display().to_string(), name).trim_end().to_owned()
}
