//! What the process was started with, taken once, so that everything else is a function of it.
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Environment, current directory, terminals.
#[derive(Debug, Clone)]
pub(crate) struct Env {
    /// Variables whose name and value are UTF-8.
    pub(crate) vars: BTreeMap<String, String>,
    /// The current directory.
    pub(crate) cwd: PathBuf,
    pub(crate) stdin_terminal: bool,
    pub(crate) stdout_terminal: bool,
    pub(crate) stderr_terminal: bool,
}

impl Env {
    /// Asks the operating system.
    pub(crate) fn from_process() -> Self {
        Self {
            vars: std::env::vars_os()
                .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            cwd: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            stdin_terminal: std::io::stdin().is_terminal(),
            stdout_terminal: std::io::stdout().is_terminal(),
            stderr_terminal: std::io::stderr().is_terminal(),
        }
    }

    /// A variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A path, made absolute with the current directory, without `.` in it.
    pub(crate) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.cwd.join(path).components().collect()
    }

    /// The home directory, from `HOME` alone: there is no `/etc/passwd` in a scratch image.
    pub(crate) fn home(&self) -> Option<&Path> {
        self.get("HOME").map(Path::new).filter(|home| home.is_absolute())
    }

    /// An XDG directory: the variable, else the given place under the home directory.
    pub(crate) fn xdg(&self, variable: &str, fallback: &str) -> Option<PathBuf> {
        match self.get(variable).map(PathBuf::from).filter(|path| path.is_absolute()) {
            Some(path) => Some(path),
            None => self.home().map(|home| home.join(fallback)),
        }
    }

    /// Whether to colour what goes to standard error. `NO_COLOR` and `TERM=dumb` say no,
    /// `CLICOLOR_FORCE` says yes even where no terminal is.
    pub(crate) fn colour_stderr(&self) -> bool {
        if self.get("NO_COLOR").is_some() || self.get("TERM") == Some("dumb") {
            return false;
        }
        self.stderr_terminal || self.get("CLICOLOR_FORCE").is_some_and(|value| value != "0")
    }

    /// Whether standard error is a terminal that can move its cursor.
    pub(crate) fn smart_terminal(&self) -> bool {
        self.stderr_terminal && self.get("TERM").is_some_and(|term| term != "dumb")
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// An environment of these variables, in `cwd`, without terminals.
    pub(crate) fn env(cwd: &Path, vars: &[(&str, &str)]) -> Env {
        Env {
            vars: vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            cwd: cwd.to_owned(),
            stdin_terminal: false,
            stdout_terminal: false,
            stderr_terminal: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_needs_a_terminal_that_can() {
        let mut env = testing::env(Path::new("/"), &[("TERM", "xterm")]);
        assert!(!env.colour_stderr());
        env.stderr_terminal = true;
        assert!(env.colour_stderr() && env.smart_terminal());
        env.vars.insert("NO_COLOR".into(), "1".into());
        assert!(!env.colour_stderr() && env.smart_terminal());
        env.vars.remove("NO_COLOR");
        env.vars.insert("TERM".into(), "dumb".into());
        assert!(!env.colour_stderr() && !env.smart_terminal());
    }
}
