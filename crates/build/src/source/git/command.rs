//! Runs `git` so that nothing of the user's machine decides what comes out of it, and nothing
//! that comes from the remote decides what runs.
//!
//! The environment is an allow-list. Credentials travel in `GIT_CONFIG_VALUE_n`, never on the
//! command line, where every process of the machine could read them. The child leads a process
//! group of its own, so that its helpers (`git-remote-https`, `ssh`) end with it.
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::source::{Cancelled, redact};

/// What can go wrong with a git source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GitError {
    /// There is no `git`.
    #[error("cannot fetch {url}: the program `git` is not installed (looked in PATH={path})")]
    Missing {
        /// What was to be fetched.
        url: String,
        /// Where it was looked for.
        path: String,
    },
    /// `git` ended with an error.
    #[error("cannot {verb} {url}: {message}")]
    Failed {
        /// `resolve`, `fetch`, `check out`.
        verb: &'static str,
        /// What was to be fetched.
        url: String,
        /// The telling lines of git's own message.
        message: String,
    },
    /// The reference does not exist.
    #[error("{url} has no branch, tag or commit {reference:?}")]
    NoReference {
        /// The repository.
        url: String,
        /// What was looked for.
        reference: String,
    },
    /// The reference resolves to another commit than the checksum asks for.
    #[error("{url}: {reference} is commit {actual}, but the checksum asks for {expected}")]
    Checksum {
        /// The repository.
        url: String,
        /// What was resolved.
        reference: String,
        /// The commit asked for.
        expected: String,
        /// The commit found.
        actual: String,
    },
    /// The subdirectory does not exist, or is a file, or leads out of the repository.
    #[error("{url}: subdirectory {subdir:?} {why}")]
    Subdir {
        /// The repository.
        url: String,
        /// What was looked for.
        subdir: String,
        /// What is there instead.
        why: String,
    },
    /// A file system call failed.
    #[error("cannot {verb} {path}: {source}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On which file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It took longer than allowed.
    #[error("{url} did not answer within {seconds} s")]
    Timeout {
        /// The repository.
        url: String,
        /// The limit.
        seconds: u64,
    },
    /// The build was cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl GitError {
    /// What the user can do, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let says = |message: &str, words: &[&str]| words.iter().any(|word| message.contains(word));
        match self {
            Self::Missing { .. } => Some("install git, or give the files as a directory or an archive".into()),
            Self::NoReference { url, .. } => {
                let remote = url.split('#').next().unwrap_or(url);
                Some(format!("git ls-remote {remote} lists what there is"))
            }
            Self::Checksum { actual, .. } => {
                Some(format!("where the change is wanted, write {actual}; where not, somebody moved the reference"))
            }
            Self::Failed { message, .. }
                if says(message, &["could not read Username", "Authentication failed", "403", "401", "not found"]) =>
            {
                Some("a private repository needs a token: --secret id=GIT_AUTH_TOKEN,env=VARIABLE".into())
            }
            Self::Failed { message, .. }
                if says(message, &["Permission denied (publickey", "Host key verification"]) =>
            {
                Some("add the key to the SSH agent (ssh-add), and the host to ~/.ssh/known_hosts".into())
            }
            Self::Failed { message, .. }
                if says(message, &["Could not resolve", "unable to connect", "Failed to connect", "timed out"]) =>
            {
                Some("check the host's name, the network, and the proxy variables".into())
            }
            Self::Failed { message, .. } if says(message, &["not allowed"]) => {
                Some("use https://, ssh:// or git://".into())
            }
            _ => None,
        }
    }

    pub(super) fn io(verb: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::Io { verb, path, source }
    }
}

/// Variables of the user's environment that git may see.
const ALLOWED: &[&str] = &[
    "ALL_PROXY",
    "CURL_CA_BUNDLE",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "LOGNAME",
    "NO_PROXY",
    "PATH",
    "SSH_AUTH_SOCK",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "USER",
    "XDG_CONFIG_HOME",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// One way to call git.
pub(super) struct Git<'a> {
    pub(super) env: &'a BTreeMap<String, String>,
    /// Secret configuration: (key, value).
    pub(super) config: Vec<(String, String)>,
    /// Texts that must not appear in a message.
    pub(super) secrets: Vec<String>,
    /// Whether `file://` remotes are allowed.
    pub(super) allow_file: bool,
    pub(super) timeout: Duration,
    pub(super) cancelled: Cancelled<'a>,
    /// For messages.
    pub(super) url: String,
}

impl Git<'_> {
    /// Runs `git ARGS` in `dir` and returns its standard output.
    ///
    /// `network` commands see the user's own configuration (proxies, certificates, credential
    /// helpers, `insteadOf`); all others see none, since a filter or an attribute of the user
    /// would change the tree.
    pub(super) fn run(&self, verb: &'static str, dir: &Path, network: bool, args: &[&str]) -> Result<String, GitError> {
        let mut command = Command::new("git");
        command.env_clear().current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        for name in ALLOWED {
            if let Some(value) = self.env.get(*name) {
                command.env(name, value);
            }
        }
        command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC").env("GIT_TERMINAL_PROMPT", "0").env("GIT_ASKPASS", "");
        command.env("SSH_ASKPASS_REQUIRE", "never").env("GIT_OPTIONAL_LOCKS", "0").env("GIT_LFS_SKIP_SMUDGE", "1");
        if !self.env.contains_key("GIT_SSH_COMMAND") && !self.env.contains_key("GIT_SSH") {
            command.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes");
        }
        if !network {
            command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").env("HOME", "/dev/null");
            command.env_remove("XDG_CONFIG_HOME");
        }
        command.env("GIT_CONFIG_COUNT", self.config.len().to_string());
        for (i, (key, value)) in self.config.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{i}"), key).env(format!("GIT_CONFIG_VALUE_{i}"), value);
        }
        for setting in [
            "protocol.allow=never",
            "protocol.https.allow=always",
            "protocol.http.allow=always",
            "protocol.ssh.allow=always",
            "protocol.git.allow=always",
            if self.allow_file { "protocol.file.allow=always" } else { "protocol.file.allow=never" },
            "core.hooksPath=/dev/null",
            "core.fsmonitor=false",
            "core.autocrlf=false",
            "core.attributesFile=/dev/null",
            "core.symlinks=true",
            "core.protectNTFS=false",
            "init.defaultBranch=main",
            "advice.detachedHead=false",
            "gc.auto=0",
            "maintenance.auto=false",
            "safe.directory=*",
        ] {
            command.arg("-c").arg(setting);
        }
        command.args(args);
        self.wait(verb, &mut command)
    }

    fn wait(&self, verb: &'static str, command: &mut Command) -> Result<String, GitError> {
        let mut child = command.spawn().map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => {
                GitError::Missing { url: self.url.clone(), path: self.env.get("PATH").cloned().unwrap_or_default() }
            }
            _ => GitError::Io { verb: "start", path: "git".into(), source },
        })?;
        let stdout = drain(child.stdout.take());
        let stderr = drain(child.stderr.take());
        let started = Instant::now();
        let mut pause = Duration::from_millis(2);
        let status = loop {
            let stop = if (self.cancelled)() {
                Some(GitError::Cancelled)
            } else if started.elapsed() > self.timeout {
                Some(GitError::Timeout { url: self.url.clone(), seconds: self.timeout.as_secs() })
            } else {
                None
            };
            if let Some(error) = stop {
                if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
                    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
                }
                let _ = child.wait();
                return Err(error);
            }
            match child.try_wait().map_err(|source| GitError::Io { verb: "wait for", path: "git".into(), source })? {
                Some(status) => break status,
                None => std::thread::sleep(pause),
            }
            pause = (pause * 2).min(Duration::from_millis(50));
        };
        let stdout = stdout.join().unwrap_or_default();
        let stderr = stderr.join().unwrap_or_default();
        if status.success() {
            return Ok(String::from_utf8_lossy(&stdout).into_owned());
        }
        Err(GitError::Failed {
            verb,
            url: self.url.clone(),
            message: self.explain(&String::from_utf8_lossy(&stderr), status),
        })
    }

    /// The lines of git's message that say something, without secrets.
    fn explain(&self, stderr: &str, status: std::process::ExitStatus) -> String {
        let mut lines: Vec<&str> = stderr
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with("hint:") && !line.starts_with("Cloning into"))
            .collect();
        if lines.len() > 6 {
            lines.drain(..lines.len() - 6);
        }
        let mut text = redact(&lines.join("; "));
        for secret in self.secrets.iter().filter(|secret| !secret.is_empty()) {
            text = text.replace(secret.as_str(), "xxxxx");
        }
        if text.is_empty() { format!("git ended with {status}") } else { text }
    }
}

/// Reads a pipe to its end beside the main thread; of more than 4 MiB the rest is dropped.
fn drain(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.by_ref().take(4 << 20).read_to_end(&mut kept);
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        }
        kept
    })
}
