//! Who takes part. Each builds a context and pushes the image in one command, and can forget all that
//! it has built.
use super::measure::{Sample, Watch, sample};
use super::workloads::Registries;
use crate::Failure;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use testkit::{BuildKit, Buildah, Overlay};

/// What a build has to do with an external cache: a repository of the target registry.
#[derive(Debug, Clone)]
pub(super) enum Cache {
    None,
    To(String),
    From(String),
}

/// What ratios are taken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Cooperage as it is started without options.
    Main,
    /// Cooperage in a poorer place.
    Mode,
    /// BuildKit.
    Reference,
    /// Buildah, on this driver.
    Buildah(&'static str),
}

pub(super) trait Contender {
    fn name(&self) -> String;
    fn role(&self) -> Role;
    /// Forgets builds and base images.
    fn reset(&mut self, registries: &Registries) -> Result<(), Failure>;
    fn build(&self, context: &Path, reference: &str, cache: &Cache) -> Result<Sample, Failure>;
    /// Removes what earlier rounds left; not between two builds that are compared.
    fn tidy(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// Who takes part.
pub(super) struct Peers {
    /// Ours: `auto` chooses by itself, `tree` has its store where overlayfs does not work, else an isolation.
    pub(super) ours: Vec<String>,
    pub(super) buildah: bool,
    /// The address of a daemon that runs already, instead of one that is started.
    pub(super) buildkitd: Option<String>,
}

/// Those who can be had; who cannot is named with the reason.
pub(super) fn contenders(
    binary: &Path,
    registries: &Registries,
    options: &Peers,
) -> (Vec<Box<dyn Contender>>, Vec<String>) {
    let mut list: Vec<Box<dyn Contender>> = Vec::new();
    let mut missing = Vec::new();
    let mut add = |name: &str, made: Result<Box<dyn Contender>, Failure>| match made {
        Ok(contender) => list.push(contender),
        Err(error) => missing.push(format!("{name} takes no part: {error}")),
    };
    for mode in &options.ours {
        add(mode, Ours::start(binary, mode, registries));
    }
    match &options.buildkitd {
        Some(address) => add("BuildKit", Remote::start(address)),
        None => add("BuildKit", Daemon::start(registries)),
    }
    if options.buildah {
        add("Buildah on overlay", Chroot::start("overlay", registries));
        add("Buildah on vfs", Chroot::start("vfs", registries));
    }
    (list, missing)
}

struct Ours {
    binary: PathBuf,
    mode: String,
    mirror: String,
    /// Removed before the file system that it lies on.
    work: TempDir,
    /// Where overlayfs cannot be mounted once more: the container's own file system, as it were.
    _overlay: Option<Overlay>,
    /// How many stores there were. They are removed between workloads: ext4 is slow to make files for a while after it
    /// has removed many.
    stores: usize,
}

impl Ours {
    fn start(binary: &Path, mode: &str, registries: &Registries) -> Result<Box<dyn Contender>, Failure> {
        let overlay = if mode == "tree" { Some(Overlay::mount()?) } else { None };
        let place = overlay.as_ref().map_or_else(std::env::temp_dir, Overlay::path);
        Ok(Box::new(Self {
            binary: binary.to_owned(),
            mode: mode.to_owned(),
            mirror: format!("docker.io={}", registries.target.url()),
            work: tempfile::Builder::new().prefix("bench-ours-").tempdir_in(place)?,
            _overlay: overlay,
            stores: 0,
        }))
    }
}

impl Contender for Ours {
    fn name(&self) -> String {
        if self.mode == "auto" { "Cooperage".to_owned() } else { format!("Cooperage, {}", self.mode) }
    }

    fn role(&self) -> Role {
        if self.mode == "auto" { Role::Main } else { Role::Mode }
    }

    fn reset(&mut self, _: &Registries) -> Result<(), Failure> {
        self.stores += 1;
        Ok(())
    }

    fn build(&self, context: &Path, reference: &str, cache: &Cache) -> Result<Sample, Failure> {
        let mut command = Command::new(&self.binary);
        command.args(["build", "--progress=quiet", "--registry-mirror", &self.mirror, "--push", "--tag", reference]);
        command.arg("--root").arg(self.work.path().join(self.stores.to_string())).arg(context);
        match self.mode.as_str() {
            "auto" => {}
            "tree" => drop(command.arg("--isolation=namespaces")),
            isolation => drop(command.args(["--isolation", isolation])),
        }
        match cache {
            Cache::None => {}
            Cache::To(place) => drop(command.arg(format!("--cache-to=type=registry,mode=max,ref={place}"))),
            Cache::From(place) => drop(command.arg(format!("--cache-from=type=registry,ref={place}"))),
        }
        sample(&mut command, Watch::Child)
    }

    fn tidy(&mut self) -> Result<(), Failure> {
        for entry in std::fs::read_dir(self.work.path())? {
            testkit::run(Command::new("rm").arg("-rf").arg(entry?.path()))?;
        }
        Ok(())
    }
}

/// The options of `buildx` for a cache.
fn buildx_cache(command: &mut Command, cache: &Cache) {
    match cache {
        Cache::None => {}
        Cache::To(place) => drop(command.arg(format!("--cache-to=type=registry,mode=max,ref={place}"))),
        Cache::From(place) => drop(command.arg(format!("--cache-from=type=registry,ref={place}"))),
    }
}

struct Daemon {
    running: Option<BuildKit>,
    version: String,
}

impl Daemon {
    fn start(registries: &Registries) -> Result<Box<dyn Contender>, Failure> {
        let running = BuildKit::start(&BuildKit::suite(), &registries.target)?;
        Ok(Box::new(Self { version: running.version().to_owned(), running: Some(running) }))
    }
}

impl Contender for Daemon {
    fn name(&self) -> String {
        format!("BuildKit (Docker {})", self.version.split('+').next().unwrap_or_default())
    }

    fn role(&self) -> Role {
        Role::Reference
    }

    /// A new daemon with no data: pruning leaves the layers of base images, unpacked.
    fn reset(&mut self, registries: &Registries) -> Result<(), Failure> {
        drop(self.running.take());
        self.running = Some(BuildKit::start(&BuildKit::suite(), &registries.target)?);
        // What a daemon does once in its life is not what is measured.
        let context = tempfile::tempdir()?;
        std::fs::write(context.path().join("Dockerfile"), "FROM busybox\nRUN true\n")?;
        self.build(context.path(), &registries.target.reference("bench/first"), &Cache::None)?;
        Ok(())
    }

    fn build(&self, context: &Path, reference: &str, cache: &Cache) -> Result<Sample, Failure> {
        let running = self.running.as_ref().ok_or("BuildKit does not run")?;
        let mut command = running.buildx();
        command.args(["build", "--progress=quiet", "--provenance=false", "--allow=network.host", "--network=host"]);
        command.args(["--output", &format!("type=image,name={reference},push=true")]).arg(context);
        buildx_cache(&mut command, cache);
        sample(&mut command, Watch::Below(running.process_id(), &["dockerd", "containerd"]))
    }
}

/// A `buildkitd` that the user runs, through `buildx`. It keeps what `prune` leaves: its base images stay unpacked.
struct Remote {
    address: String,
    config: TempDir,
}

impl Remote {
    fn start(address: &str) -> Result<Box<dyn Contender>, Failure> {
        let this = Self { address: address.to_owned(), config: tempfile::tempdir()? };
        let mut command = this.buildx()?;
        command.args(["create", "--name", "bench", "--driver", "remote", "--bootstrap", &this.address]);
        testkit::run(&mut command)?;
        Ok(Box::new(this))
    }

    fn buildx(&self) -> Result<Command, Failure> {
        let mut command = BuildKit::buildx_of(&BuildKit::suite())?;
        command.env("DOCKER_CONFIG", self.config.path()).env("BUILDX_CONFIG", self.config.path());
        Ok(command)
    }
}

impl Contender for Remote {
    fn name(&self) -> String {
        format!("BuildKit ({})", self.address)
    }

    fn role(&self) -> Role {
        Role::Reference
    }

    fn reset(&mut self, _: &Registries) -> Result<(), Failure> {
        testkit::run(self.buildx()?.args(["prune", "--builder=bench", "--all", "--force"]))?;
        Ok(())
    }

    fn build(&self, context: &Path, reference: &str, cache: &Cache) -> Result<Sample, Failure> {
        let mut command = self.buildx()?;
        command.args(["build", "--builder=bench", "--progress=quiet", "--provenance=false"]);
        command
            .args(["--output", &format!("type=image,name={reference},push=true,registry.insecure=true")])
            .arg(context);
        buildx_cache(&mut command, cache);
        sample(&mut command, Watch::Nothing)
    }
}

struct Chroot {
    driver: &'static str,
    peer: Buildah,
    world: TempDir,
}

impl Chroot {
    fn start(driver: &'static str, registries: &Registries) -> Result<Box<dyn Contender>, Failure> {
        let peer = Buildah::start(&BuildKit::suite(), driver, &registries.target, &[&registries.other])?;
        Ok(Box::new(Self { driver, peer, world: tempfile::tempdir()? }))
    }
}

impl Contender for Chroot {
    fn name(&self) -> String {
        format!("Buildah, {}", self.driver)
    }

    fn role(&self) -> Role {
        Role::Buildah(self.driver)
    }

    fn reset(&mut self, _: &Registries) -> Result<(), Failure> {
        Ok(self.peer.prune()?)
    }

    /// Build and push are two commands; one shell runs both.
    fn build(&self, context: &Path, reference: &str, cache: &Cache) -> Result<Sample, Failure> {
        let script = self.world.path().join("build.sh");
        // Its caches are repositories; tags are its own.
        let repository = |place: &str| place.rsplit_once(':').map_or(place, |(name, _)| name).to_owned();
        let options = match cache {
            Cache::None => Vec::new(),
            Cache::To(place) => vec![format!("--cache-to={}", repository(place)), "--tls-verify=false".to_owned()],
            Cache::From(place) => vec![format!("--cache-from={}", repository(place)), "--tls-verify=false".to_owned()],
        };
        std::fs::write(&script, self.peer.script(context, reference, &options)?)?;
        sample(Command::new("sh").arg("-eu").arg(script), Watch::Descendants(&["buildah"]))
    }
}
