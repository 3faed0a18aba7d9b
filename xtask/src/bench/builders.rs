//! Who takes part. Each builds a context and pushes the image in one command, and can forget all that
//! it has built.
use super::measure::{Sample, sample};
use super::workloads::Registries;
use crate::Failure;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;
use testkit::{BuildKit, Buildah, Cooperage};

pub(super) trait Contender {
    fn name(&self) -> String;
    /// Whether ratios are taken to this one.
    fn is_reference(&self) -> bool {
        false
    }
    /// Forgets builds and base images.
    fn reset(&mut self, registries: &Registries) -> Result<(), Failure>;
    fn build(&self, context: &Path, reference: &str) -> Result<Sample, Failure>;
}

/// Who takes part.
pub(super) struct Peers {
    /// Ours, once in each of these isolations; `None` chooses by itself.
    pub(super) ours: Vec<Option<String>>,
    pub(super) buildah: bool,
    /// The address of a daemon that runs already, instead of one that is started.
    pub(super) buildkitd: Option<String>,
}

pub(super) fn contenders(
    binary: &Path,
    registries: &Registries,
    options: &Peers,
) -> Result<Vec<Box<dyn Contender>>, Failure> {
    let mut list: Vec<Box<dyn Contender>> = Vec::new();
    for isolation in &options.ours {
        list.push(Box::new(Ours::new(binary, isolation.as_deref(), registries)?));
    }
    match &options.buildkitd {
        Some(address) => list.push(Box::new(Remote::new(address)?)),
        None => list.push(Box::new(Daemon::new(registries)?)),
    }
    if options.buildah {
        list.push(Box::new(Chroot::new("vfs", registries)?));
        list.push(Box::new(Chroot::new("overlay", registries)?));
    }
    Ok(list)
}

struct Ours {
    product: Cooperage,
    isolation: Option<String>,
    mirror: String,
    /// Stores of earlier rounds: removed at the end, since ext4 is slow to make files for a minute after it has
    /// removed many.
    old: TempDir,
}

impl Ours {
    fn new(binary: &Path, isolation: Option<&str>, registries: &Registries) -> Result<Self, Failure> {
        let mirror = format!("docker.io={}", registries.target.url());
        let product = Cooperage::new(binary)?;
        let beside = product.store().parent().map_or_else(std::env::temp_dir, Path::to_owned);
        Ok(Self { product, isolation: isolation.map(str::to_owned), mirror, old: tempfile::tempdir_in(beside)? })
    }
}

impl Contender for Ours {
    fn name(&self) -> String {
        self.isolation.as_ref().map_or_else(|| "cooperage".to_owned(), |i| format!("cooperage ({i})"))
    }

    fn reset(&mut self, _: &Registries) -> Result<(), Failure> {
        let store = self.product.store();
        if store.exists() {
            let number = std::fs::read_dir(self.old.path())?.count();
            std::fs::rename(store, self.old.path().join(number.to_string()))?;
        }
        Ok(())
    }

    fn build(&self, context: &Path, reference: &str) -> Result<Sample, Failure> {
        let mut command = self.product.command(&["build"]);
        command
            .args(["--progress=quiet", "--registry-mirror", &self.mirror, "--push", "--tag", reference])
            .arg(context);
        if let Some(isolation) = &self.isolation {
            command.args(["--isolation", isolation]);
        }
        sample(&mut command, true)
    }
}

struct Daemon {
    running: Option<BuildKit>,
    version: String,
}

impl Daemon {
    fn new(registries: &Registries) -> Result<Self, Failure> {
        let running = BuildKit::start(&BuildKit::suite(), &registries.target)?;
        Ok(Self { version: running.version().to_owned(), running: Some(running) })
    }
}

impl Contender for Daemon {
    fn name(&self) -> String {
        format!("BuildKit (Docker {})", self.version)
    }

    fn is_reference(&self) -> bool {
        true
    }

    /// A new daemon with no data: pruning leaves the layers of base images, unpacked.
    fn reset(&mut self, registries: &Registries) -> Result<(), Failure> {
        drop(self.running.take());
        self.running = Some(BuildKit::start(&BuildKit::suite(), &registries.target)?);
        // What a daemon does once in its life is not what is measured.
        let context = tempfile::tempdir()?;
        std::fs::write(context.path().join("Dockerfile"), "FROM busybox\nRUN true\n")?;
        self.build(context.path(), &registries.target.reference("bench/first"))?;
        Ok(())
    }

    fn build(&self, context: &Path, reference: &str) -> Result<Sample, Failure> {
        let running = self.running.as_ref().ok_or("BuildKit does not run")?;
        let mut command = running.buildx();
        command.args(["build", "--progress=quiet", "--provenance=false", "--allow=network.host", "--network=host"]);
        command.args(["--output", &format!("type=image,name={reference},push=true")]).arg(context);
        sample(&mut command, false)
    }
}

/// A `buildkitd` that the user runs, through `buildx`. It keeps what `prune` leaves: its base images stay unpacked.
struct Remote {
    address: String,
    config: TempDir,
}

impl Remote {
    fn new(address: &str) -> Result<Self, Failure> {
        let this = Self { address: address.to_owned(), config: tempfile::tempdir()? };
        let mut command = this.buildx()?;
        command.args(["create", "--name", "bench", "--driver", "remote", "--bootstrap", &this.address]);
        testkit::run(&mut command)?;
        Ok(this)
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

    fn is_reference(&self) -> bool {
        true
    }

    fn reset(&mut self, _: &Registries) -> Result<(), Failure> {
        testkit::run(self.buildx()?.args(["prune", "--builder=bench", "--all", "--force"]))?;
        Ok(())
    }

    fn build(&self, context: &Path, reference: &str) -> Result<Sample, Failure> {
        let mut command = self.buildx()?;
        command.args(["build", "--builder=bench", "--progress=quiet", "--provenance=false"]);
        command
            .args(["--output", &format!("type=image,name={reference},push=true,registry.insecure=true")])
            .arg(context);
        sample(&mut command, false)
    }
}

struct Chroot {
    driver: &'static str,
    peer: Buildah,
    world: TempDir,
}

impl Chroot {
    fn new(driver: &'static str, registries: &Registries) -> Result<Self, Failure> {
        let peer = Buildah::start(&BuildKit::suite(), driver, &registries.target)?;
        Ok(Self { driver, peer, world: tempfile::tempdir()? })
    }
}

impl Contender for Chroot {
    fn name(&self) -> String {
        format!("Buildah ({})", self.driver)
    }

    fn reset(&mut self, _: &Registries) -> Result<(), Failure> {
        Ok(self.peer.prune()?)
    }

    /// Build and push are two commands; one shell runs both.
    fn build(&self, context: &Path, reference: &str) -> Result<Sample, Failure> {
        let script = self.world.path().join("build.sh");
        std::fs::write(&script, self.peer.script(context, reference)?)?;
        sample(Command::new("sh").arg("-eu").arg(script), false)
    }
}
