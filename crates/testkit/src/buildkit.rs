//! A real BuildKit: Debian's Docker daemon in a root filesystem of its own.
//!
//! Debian 12 ships a BuildKit that knows neither heredocs nor `--link`; a later suite's packages are
//! unpacked beside the system (`mmdebstrap`) and run from there with private mount and process
//! namespaces (`tests/peers/enter.sh`), on containerd's overlayfs snapshotter, with no bridge and no
//! packet filter: nothing is left on the machine when it ends. Needs root and overlayfs.
use crate::bases::once;
use crate::command::{Error, Guard, Result, output_with, run, tool};
use crate::{BuildInput, Builder, Built, Image, Registry, repository};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What is installed into its root filesystem.
const PACKAGES: &str = "docker.io,docker-buildx,ca-certificates,git,xz-utils";

/// What runc says where it lost the container's first process before the step began, which happens on a busy machine.
const LOST_INIT: [&str; 2] = ["runc run failed: unable to start container process", "connection reset by peer"];

/// A running daemon; dropped, it is stopped and its data removed.
#[derive(Debug)]
pub struct BuildKit {
    daemon: Guard,
    work: TempDir,
    root: PathBuf,
    version: String,
}

impl BuildKit {
    /// The suite that tests compare with: `TESTKIT_BUILDKIT_SUITE`, else Debian's stable one.
    #[must_use]
    pub fn suite() -> String {
        std::env::var("TESTKIT_BUILDKIT_SUITE").unwrap_or_else(|_| "trixie".to_owned())
    }

    /// Starts the daemon of a Debian suite; names without a registry come from `mirror`.
    pub fn start(suite: &str, mirror: &Registry) -> Result<Self> {
        let root = root(suite, PACKAGES)?;
        let work = tempfile::Builder::new().prefix("testkit-buildkit-").tempdir().map_err(Error::at("tempdir"))?;
        let place = |name: &str| work.path().join(name);
        let settings = serde_json::json!({
            "features": { "containerd-snapshotter": true },
            "registry-mirrors": [mirror.url()],
            "insecure-registries": ["127.0.0.0/8"],
        });
        fs::write(place("daemon.json"), settings.to_string()).map_err(Error::at("daemon.json"))?;
        let unshare = crate::which("unshare").ok_or_else(|| Error::new("unshare is not installed"))?;
        let enter = repository().join("tests/peers/enter.sh");
        let mut args: Vec<String> =
            ["--mount", "--pid", "--fork", "--kill-child", "--"].iter().map(|&s| s.to_owned()).collect();
        args.extend([path(&enter), path(&root), path(work.path()), "dockerd".to_owned()]);
        for (option, name) in
            [("config-file", "daemon.json"), ("data-root", "data"), ("exec-root", "exec"), ("pidfile", "pid")]
        {
            args.extend([format!("--{option}"), path(&place(name))]);
        }
        args.extend(["--host".to_owned(), format!("unix://{}", place("docker.sock").display())]);
        args.extend(["--iptables=false", "--ip6tables=false", "--bridge=none"].map(str::to_owned));
        let args: Vec<_> = args.iter().map(AsRef::as_ref).collect();
        let daemon = Guard::spawn(&unshare, &args, &place("log"))?;
        let version = package_version(&root, "docker.io");
        let mut peer = Self { daemon, work, root, version };
        peer.wait()?;
        Ok(peer)
    }

    fn wait(&mut self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(60);
        while self.daemon.alive() && Instant::now() < end {
            if self.answers() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let log = fs::read_to_string(self.work.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        Err(Error::new(format!("dockerd does not start:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"))))
    }

    /// Whether the API says that it is ready. (`buildx inspect` ends well without a daemon.)
    fn answers(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = UnixStream::connect(self.work.path().join("docker.sock"))?;
            stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        ask().is_ok_and(|text| text.contains(" 200 "))
    }

    /// The version of Docker that it comes with: Debian's package does not say BuildKit's own.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The newest Dockerfile syntax that it knows, as (major, minor).
    #[must_use]
    pub fn dockerfile_version(&self) -> (u32, u32) {
        let docker = self.version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
        match docker {
            28.. => (1, 19),
            27 => (1, 9),
            26 => (1, 7),
            23..=25 => (1, 5),
            _ => (1, 2),
        }
    }

    /// The address of the daemon's API.
    #[must_use]
    pub fn docker_host(&self) -> String {
        format!("unix://{}", self.work.path().join("docker.sock").display())
    }

    /// `docker-buildx`, speaking to this daemon; its state lies in the daemon's directory.
    #[must_use]
    pub fn buildx(&self) -> Command {
        let mut command = Command::new(self.root.join("usr/libexec/docker/cli-plugins/docker-buildx"));
        command.env("DOCKER_HOST", self.docker_host()).env("DOCKER_CONFIG", self.work.path().join("config"));
        command
    }

    /// `docker-buildx` of a Debian suite, for a daemon that runs elsewhere. The caller names its configuration.
    pub fn buildx_of(suite: &str) -> Result<Command> {
        let root = root(suite, PACKAGES)?;
        Ok(Command::new(root.join("usr/libexec/docker/cli-plugins/docker-buildx")))
    }

    /// Every process of the daemon, for what a bench reads from `/proc`.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.daemon.id()
    }

    /// Forgets every build.
    pub fn prune(&self) -> Result<()> {
        run(self.buildx().args(["prune", "--all", "--force"])).map(drop)
    }
}

impl Drop for BuildKit {
    fn drop(&mut self) {
        // Its own end unmounts what it mounted; the namespaces' end would too.
        self.daemon.terminate(Duration::from_secs(10));
    }
}

impl Builder for BuildKit {
    fn name(&self) -> String {
        format!("BuildKit of Docker {}", self.version)
    }

    fn build(&self, input: &BuildInput) -> Result<Built> {
        let out = tempfile::Builder::new().prefix("out-").tempdir_in(self.work.path()).map_err(Error::at("tempdir"))?;
        let archive = out.path().join("image.tar");
        let mut command = self.buildx();
        // There is no bridge: the default network of RUN is the host's.
        command.args([
            "build",
            "--progress",
            "plain",
            "--provenance=false",
            "--allow",
            "network.host",
            "--network",
            "host",
        ]);
        command.args(&input.args);
        command.envs(input.env.iter().cloned());
        command.args(["--output", &format!("type=oci,dest={}", archive.display())]);
        command.arg(&input.context).current_dir(input.start());
        let mut tries = 3;
        let (output, log) = loop {
            let output = output_with(&mut command, input.stdin.as_deref())?;
            let log = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            tries -= 1;
            if tries == 0 || !LOST_INIT.iter().all(|part| log.contains(part)) {
                break (output, log);
            }
        };
        let image = output.status.success().then(|| Image::from_archive(&archive)).transpose()?;
        Ok(Built { image, log })
    }
}

/// What dpkg has recorded in a root filesystem.
fn package_version(root: &Path, package: &str) -> String {
    let status = fs::read_to_string(root.join("var/lib/dpkg/status")).unwrap_or_default();
    let paragraph = status.split("\n\n").find(|text| text.lines().any(|line| line == format!("Package: {package}")));
    let version = paragraph.and_then(|text| text.lines().find_map(|line| line.strip_prefix("Version: ")));
    version.unwrap_or("of unknown version").to_owned()
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// A root filesystem of a Debian suite with some packages, made once.
pub(crate) fn root(suite: &str, packages: &str) -> Result<PathBuf> {
    let key = oci::Digest::sha256(format!("{suite} {packages}").as_bytes());
    once(&format!("peer-{suite}-{}", &key.hex()[..12]), |work| {
        let root = work.join("root");
        run(tool("mmdebstrap", "mmdebstrap")?
            .args(["--quiet", "--variant=minbase", &format!("--include={packages}")])
            .args(["--aptopt=APT::Install-Recommends \"false\"", "--aptopt=Acquire::Check-Valid-Until \"false\""])
            .arg(suite)
            .arg(&root))
        .map(drop)
    })
    .map(|directory| directory.join("root"))
}
