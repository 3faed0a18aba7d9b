//! Runs `git`: the token is in the child's environment alone, hooks and signing of the place have no say.
use crate::secret::Secret;
use base64::Engine as _;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Why git did not do what it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no `git`, or it does not start.
    #[error("cannot run git: {0}; install git and see that it is in PATH")]
    Start(std::io::Error),
    /// The URL or a name that cannot be given to git.
    #[error("{0}")]
    Input(String),
    /// git ended with an error.
    #[error("git {verb} {remote}: {message}")]
    Failed {
        /// `fetch`, `push`, …
        verb: String,
        /// The repository's URL.
        remote: String,
        /// The telling lines of git's own message.
        message: String,
    },
    /// The branch does not exist.
    #[error("{remote} has no branch `{branch}`; `git ls-remote` shows those that there are")]
    NoBranch {
        /// The repository's URL.
        remote: String,
        /// The branch.
        branch: String,
    },
    /// The remote does not take the commit, and would not take it at a second attempt.
    #[error(
        "{remote} does not take the commit on `{branch}`: {reason}; a protected branch needs a pull request instead"
    )]
    Refused {
        /// The repository's URL.
        remote: String,
        /// The branch.
        branch: String,
        /// What the remote says.
        reason: String,
    },
    /// Others were faster every time.
    #[error(
        "{remote}: others pushed to `{branch}` before each of {attempts} attempts; run it again, or allow more attempts"
    )]
    Contended {
        /// The repository's URL.
        remote: String,
        /// The branch.
        branch: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// It took longer than allowed.
    #[error("git {verb} {remote} did not end within {seconds} s")]
    Timeout {
        /// `fetch`, `push`, …
        verb: String,
        /// The repository's URL.
        remote: String,
        /// The limit.
        seconds: u64,
    },
    /// The path in the repository is no file that can be changed.
    #[error("`{path}` in {remote} {problem}")]
    Path {
        /// The path.
        path: String,
        /// The repository's URL.
        remote: String,
        /// What is there.
        problem: String,
    },
    /// The edit itself failed.
    #[error(transparent)]
    Edit(Box<dyn std::error::Error + Send + Sync>),
    /// The caller's signal said stop.
    #[error("cancelled")]
    Cancelled,
    /// A file of the local repository.
    #[error("cannot write in {path}: {source}")]
    Io {
        /// Where.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// How to be known to a remote over HTTP(S). Other transports use what they have (an SSH agent).
#[derive(Debug, Clone, Default)]
pub enum Credentials {
    /// None: public repositories, SSH, local ones.
    #[default]
    None,
    /// A user name and a token, sent as HTTP basic authentication.
    Basic {
        /// `x-access-token` for GitHub, `oauth2` for GitLab; others want a real one.
        user: String,
        /// The token or password.
        token: Secret,
    },
}

impl Credentials {
    /// A token of GitHub or GitLab, with the user name that fits the host: GitLab wants `oauth2`, others take
    /// `x-access-token`.
    pub fn token(url: &str, token: Secret) -> Self {
        let host = url.split("://").nth(1).unwrap_or(url).split('/').next().unwrap_or_default();
        let user = if host.contains("gitlab") { "oauth2" } else { "x-access-token" };
        Self::Basic { user: user.into(), token }
    }
}

/// Variables that git may see of the caller's environment.
const ALLOWED: [&str; 20] = [
    "ALL_PROXY",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSL_CAINFO",
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

/// How to run git for one remote.
#[derive(Debug, Clone)]
pub struct Git {
    url: String,
    environment: BTreeMap<String, String>,
    credentials: Credentials,
    timeout: Duration,
}

/// What a run of git gave.
pub(super) struct Output {
    pub(super) success: bool,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: String,
}

impl Git {
    /// For the remote `url`; git sees what `environment` has of a short list of variables (proxies, certificates, SSH).
    ///
    /// # Errors
    /// [`Error::Input`] for a URL that holds credentials (they would be seen in the list of processes) or that git
    /// would take for an option or a program.
    pub fn new(url: &str, environment: BTreeMap<String, String>, credentials: Credentials) -> Result<Self, Error> {
        let user = url.split_once("://").and_then(|(_, rest)| rest.split('/').next()?.rsplit_once('@'));
        if user.is_some_and(|(user, _)| user.contains(':') || !url.starts_with("ssh://")) {
            let place = url.rsplit_once('@').map_or("", |(_, place)| place);
            return Err(Error::Input(format!(
                "the URL …@{place} holds a user or token, which every process of the machine could read; take it out and \
                 give the token in the environment"
            )));
        }
        if url.is_empty() || url.starts_with('-') || url.contains("::") || url.chars().any(char::is_control) {
            return Err(Error::Input(format!("`{url}` is no URL of a git repository")));
        }
        Ok(Self { url: url.to_owned(), environment, credentials, timeout: Duration::from_secs(300) })
    }

    /// With another limit for each call of git; 300 s if not said.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The remote's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Takes the token, plain and encoded, out of a text.
    pub(super) fn redact(&self, text: &str) -> String {
        match &self.credentials {
            Credentials::None => text.to_owned(),
            Credentials::Basic { user, token } => token.redact(&Secret::new(basic(user, token)).redact(text)),
        }
    }

    /// Runs git in `dir` and gives what it printed, whether it succeeded or not.
    pub(super) fn run(
        &self,
        dir: &Path,
        arguments: &[&str],
        variables: &[(&str, String)],
        input: &[u8],
    ) -> Result<Output, Error> {
        let mut command = Command::new("git");
        command.env_clear().current_dir(dir).process_group(0).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in ALLOWED {
            if let Some(value) = self.environment.get(name) {
                command.env(name, value);
            }
        }
        command.envs([("LC_ALL", "C.UTF-8"), ("TZ", "UTC"), ("GIT_TERMINAL_PROMPT", "0"), ("GIT_ASKPASS", "")]);
        command.env("SSH_ASKPASS_REQUIRE", "never");
        // The user's own configuration knows proxies, certificates and credential helpers; it has no say in what is
        // written.
        let verb = arguments.first().copied().unwrap_or_default();
        if !matches!(verb, "fetch" | "push" | "ls-remote") {
            command.envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null")]);
        }
        if !self.environment.contains_key("GIT_SSH_COMMAND") && !self.environment.contains_key("GIT_SSH") {
            command.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes");
        }
        let mut config = vec![
            ("gc.auto".to_owned(), "0".to_owned()),
            ("maintenance.auto".into(), "false".into()),
            ("core.hooksPath".into(), "/dev/null".into()),
            ("protocol.ext.allow".into(), "never".into()),
            ("push.followTags".into(), "false".into()),
            ("push.gpgSign".into(), "false".into()),
            ("push.recurseSubmodules".into(), "no".into()),
        ];
        if let (Credentials::Basic { user, token }, Some(origin)) = (&self.credentials, origin(&self.url)) {
            config
                .push((format!("http.{origin}/.extraHeader"), format!("Authorization: Basic {}", basic(user, token))));
        }
        command.env("GIT_CONFIG_COUNT", config.len().to_string());
        for (number, (key, value)) in config.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), key).env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        command.envs(variables.iter().map(|(key, value)| (key, value)));
        self.wait(&mut command, verb, input)
    }

    fn wait(&self, command: &mut Command, verb: &str, input: &[u8]) -> Result<Output, Error> {
        let mut child = command.spawn().map_err(Error::Start)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let deadline = Instant::now() + self.timeout;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        std::thread::scope(|scope| {
            let write = scope.spawn(move || stdin.map(|mut pipe| pipe.write_all(input)));
            let out = scope.spawn(move || read(stdout));
            let err = scope.spawn(move || read(stderr));
            let mut pause = Duration::from_millis(1);
            let status = loop {
                match child.try_wait() {
                    Ok(Some(status)) => break Some(status),
                    Ok(None) if Instant::now() < deadline => {
                        std::thread::sleep(pause);
                        pause = (pause * 2).min(Duration::from_millis(20));
                    }
                    Ok(None) | Err(_) => {
                        if let Some(group) = group {
                            let _ = kill_process_group(group, Signal::KILL);
                        }
                        let _ = child.wait();
                        break None;
                    }
                }
            };
            let _ = write.join();
            let (stdout, stderr) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
            let Some(status) = status else {
                let seconds = self.timeout.as_secs();
                return Err(Error::Timeout { verb: verb.into(), remote: self.url.clone(), seconds });
            };
            let mut stderr = self.redact(&String::from_utf8_lossy(&stderr));
            if let Some(signal) = status.signal() {
                stderr = format!("ended by signal {signal}\n{stderr}");
            }
            Ok(Output { success: status.success(), stdout, stderr })
        })
    }

    /// Runs git and gives its standard output as text.
    pub(super) fn text(
        &self,
        dir: &Path,
        arguments: &[&str],
        variables: &[(&str, String)],
        input: &[u8],
    ) -> Result<String, Error> {
        let output = self.run(dir, arguments, variables, input)?;
        if !output.success {
            return Err(self.failed(arguments, &output));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// The error for a run that failed: the lines of git's message that say why.
    pub(super) fn failed(&self, arguments: &[&str], output: &Output) -> Error {
        let telling =
            |line: &&str| ["fatal:", "error:", "remote:", "ended by"].iter().any(|start| line.starts_with(start));
        let lines: Vec<&str> = output.stderr.lines().map(str::trim).filter(telling).collect();
        let lines = if lines.is_empty() { output.stderr.lines().rev().take(3).collect() } else { lines };
        let mut message = lines.join("; ");
        if ["could not read Username", "Authentication failed", " 401", " 403"]
            .iter()
            .any(|text| message.contains(text))
        {
            message.push_str("; give a token that may write there in the environment");
        }
        let verb = arguments.first().copied().unwrap_or_default().to_owned();
        Error::Failed { verb, remote: self.url.clone(), message }
    }

    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path: PathBuf = path.to_owned();
        move |source| Error::Io { path: path.display().to_string(), source }
    }
}

fn basic(user: &str, token: &Secret) -> String {
    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{}", token.expose()))
}

/// `https://host:port` of an HTTP URL.
fn origin(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))?;
    let host = rest.split(['/', '?', '#']).next()?;
    url.get(..scheme.len() + 3 + host.len())
}

/// Everything that comes; at most 64 MiB is kept.
fn read(pipe: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = pipe.by_ref().take(64 << 20).read_to_end(&mut bytes);
        let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    }
    bytes
}
