//! Debian's `docker-registry` on a loopback port of its own.
use crate::command::{Error, Guard, Result, run, tool};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How a registry is to be started.
#[derive(Debug, Clone, Default)]
pub struct RegistryOptions {
    /// HTTPS with a certificate of a new authority ([`Registry::ca`]).
    pub tls: bool,
    /// Basic authentication with this user and password.
    pub auth: Option<(String, String)>,
    /// Answer as a pull-through cache of this registry (`http://127.0.0.1:PORT`).
    pub proxy_of: Option<String>,
    /// More of its configuration: YAML inside `http:`, indented by two.
    pub http: String,
    /// More of its configuration: YAML at the end.
    pub more: String,
}

/// A running registry; dropped, it is killed and its storage removed.
#[derive(Debug)]
pub struct Registry {
    server: Guard,
    directory: TempDir,
    port: u16,
    options: RegistryOptions,
}

impl Registry {
    /// A plain one: HTTP, no password.
    pub fn start() -> Result<Self> {
        Self::start_with(RegistryOptions::default())
    }

    /// HTTPS; [`Registry::ca`] is what clients must trust.
    pub fn start_tls() -> Result<Self> {
        Self::start_with(RegistryOptions { tls: true, ..RegistryOptions::default() })
    }

    /// HTTP with basic authentication.
    pub fn start_with_password(user: &str, password: &str) -> Result<Self> {
        let auth = Some((user.to_owned(), password.to_owned()));
        Self::start_with(RegistryOptions { auth, ..RegistryOptions::default() })
    }

    /// As the options say.
    pub fn start_with(options: RegistryOptions) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("testkit-registry-").tempdir().map_err(Error::at("tempdir"))?;
        if options.tls {
            make_certificate(directory.path())?;
        }
        if let Some((user, password)) = &options.auth {
            let line = run(tool("htpasswd", "apache2-utils")?.args(["-Bbn", user, password]))?;
            fs::write(directory.path().join("htpasswd"), line.stdout).map_err(Error::at("htpasswd"))?;
        }
        let program = crate::which("docker-registry")
            .ok_or_else(|| Error::new("docker-registry is not installed: apt-get install docker-registry"))?;
        let log = directory.path().join("log");
        let config = directory.path().join("config.yml");
        fs::write(&config, configuration(directory.path(), &options)).map_err(Error::at(config.display()))?;
        let mut server = Guard::spawn(&program, &["serve".as_ref(), config.as_os_str()], &log)?;
        let port = listens(&mut server, &log)?;
        Ok(Self { server, directory, port, options })
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `http://127.0.0.1:PORT`, or with `https`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", if self.options.tls { "https" } else { "http" }, self.host())
    }

    /// `127.0.0.1:PORT/NAME`.
    #[must_use]
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.host())
    }

    /// The authority's certificate (PEM), for a registry with TLS.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// What it has written to its log: which requests came in.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Removes all repositories under a name, such as `bench`, and the blobs that nothing else has. Nobody may push
    /// meanwhile.
    pub fn forget(&self, repositories: &str) -> Result<()> {
        let place = self.storage().join("docker/registry/v2/repositories").join(repositories);
        if place.exists() {
            fs::remove_dir_all(&place).map_err(Error::at(place.display()))?;
        }
        let mut command = tool("docker-registry", "docker-registry")?;
        run(command.arg("garbage-collect").arg(self.directory.path().join("config.yml"))).map(drop)
    }

    /// Where it keeps its content, for what a test spoils.
    #[must_use]
    pub fn storage(&self) -> PathBuf {
        self.directory.path().join("storage")
    }

    /// Its process, for what a test reads from `/proc`.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.server.id()
    }

    /// Pushes an image layout under a name such as `library/busybox:latest`.
    pub fn push_layout(&self, layout: &Path, name: &str) -> Result<()> {
        let mut command = self.skopeo()?;
        command.args([
            "copy",
            "--quiet",
            "--all",
            "--insecure-policy",
            "--preserve-digests",
            "--dest-tls-verify=false",
        ]);
        if let Some((user, password)) = &self.options.auth {
            command.arg(format!("--dest-creds={user}:{password}"));
        }
        command.arg(format!("oci:{}", layout.display())).arg(format!("docker://{}", self.reference(name)));
        run(&mut command).map(drop)
    }

    /// With no credentials but those that we name: the user's own play no part in a test.
    fn skopeo(&self) -> Result<Command> {
        let file = self.directory.path().join("auth.json");
        fs::write(&file, "{}").map_err(Error::at(file.display()))?;
        let mut command = tool("skopeo", "skopeo")?;
        command.env("REGISTRY_AUTH_FILE", file);
        Ok(command)
    }

    /// Fetches an image into a layout: of an index, the one for an architecture.
    pub fn pull_layout(&self, name: &str, architecture: &str, layout: &Path) -> Result<()> {
        let mut command = self.skopeo()?;
        command.args(["--override-arch", architecture]);
        command.args(["copy", "--quiet", "--insecure-policy", "--src-tls-verify=false"]);
        if let Some((user, password)) = &self.options.auth {
            command.arg(format!("--src-creds={user}:{password}"));
        }
        command.arg(format!("docker://{}", self.reference(name))).arg(format!("oci:{}", layout.display()));
        run(&mut command).map(drop)
    }
}

/// Waits until the server listens: the port, which it chose itself and wrote to its log. A port that we looked for
/// could be another's by the time that the server binds it, and that other would answer us.
fn listens(server: &mut Guard, log: &Path) -> Result<u16> {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let alive = server.alive();
        let text = fs::read_to_string(log).map_err(Error::at(log.display()))?;
        let said = text.split_once("listening on 127.0.0.1:").map(|(_, after)| after);
        // Nothing but digits to the end: its line is not all there.
        if let Some((port, _)) = said.and_then(|after| after.split_once(|c: char| !c.is_ascii_digit())) {
            return port.parse().map_err(Error::at("the port of docker-registry"));
        }
        if !alive || Instant::now() > end {
            return Err(Error::new(format!("docker-registry does not start:\n{text}")));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn configuration(directory: &Path, options: &RegistryOptions) -> String {
    let root = directory.display();
    let mut text = format!(
        "version: 0.1\nlog:\n  level: info\n  accesslog:\n    disabled: false\nstorage:\n  filesystem:\n    \
         rootdirectory: {root}/storage\n  delete:\n    enabled: true\n  \
         maintenance:\n    uploadpurging:\n      enabled: false\nhttp:\n  addr: 127.0.0.1:0\n{}\n",
        options.http
    );
    if options.tls {
        let _ = writeln!(text, "  tls:\n    certificate: {root}/server.pem\n    key: {root}/server.key");
    }
    if options.auth.is_some() {
        let _ = writeln!(text, "auth:\n  htpasswd:\n    realm: testkit\n    path: {root}/htpasswd");
    }
    if let Some(remote) = &options.proxy_of {
        let _ = writeln!(text, "proxy:\n  remoteurl: {remote}");
    }
    text + &options.more
}

/// An authority and a certificate of it for `127.0.0.1` and `localhost`.
fn make_certificate(directory: &Path) -> Result<()> {
    let openssl =
        |args: &[&str]| -> Result<()> { run(tool("openssl", "openssl")?.args(args).current_dir(directory)).map(drop) };
    let extensions = "basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1,DNS:localhost\n";
    fs::write(directory.join("server.ext"), extensions).map_err(Error::at("server.ext"))?;
    openssl(&words(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=testkit-authority \
         -addext keyUsage=critical,keyCertSign,cRLSign -keyout ca.key -out ca.pem",
    ))?;
    openssl(&words(
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=127.0.0.1 -keyout server.key -out server.csr",
    ))?;
    openssl(&words(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -extfile server.ext \
         -out server.pem",
    ))
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}
