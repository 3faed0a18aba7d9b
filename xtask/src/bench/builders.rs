//! Who takes part. Each builds a context and pushes the image in one command, and can forget all that
//! it has built.
use super::measure::{Sample, sample};
use crate::Failure;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;
use testkit::corpus::World;
use testkit::{BuildKit, Buildah, Cooperage};

pub(super) trait Contender {
    fn name(&self) -> String;
    /// Whether ratios are taken to this one.
    fn is_reference(&self) -> bool {
        false
    }
    /// Forgets builds and base images.
    fn reset(&mut self, world: &World) -> Result<(), Failure>;
    fn build(&self, context: &Path, reference: &str) -> Result<Sample, Failure>;
}

pub(super) fn contenders(binary: &Path, world: &World, buildah: bool) -> Result<Vec<Box<dyn Contender>>, Failure> {
    let mut list: Vec<Box<dyn Contender>> = vec![Box::new(Ours::new(binary, world)?), Box::new(Daemon::new(world)?)];
    if buildah {
        list.push(Box::new(Chroot::new("vfs", world)?));
        list.push(Box::new(Chroot::new("overlay", world)?));
    }
    Ok(list)
}

struct Ours {
    product: Cooperage,
    mirror: String,
    /// Stores of earlier rounds: removed at the end, since ext4 is slow to make files for a minute after it has
    /// removed many.
    old: TempDir,
}

impl Ours {
    fn new(binary: &Path, world: &World) -> Result<Self, Failure> {
        let mirror = format!("docker.io={}", world.registry().url());
        let product = Cooperage::new(binary)?;
        let beside = product.store().parent().map_or_else(std::env::temp_dir, Path::to_owned);
        Ok(Self { product, mirror, old: tempfile::tempdir_in(beside)? })
    }
}

impl Contender for Ours {
    fn name(&self) -> String {
        "cooperage".to_owned()
    }

    fn reset(&mut self, _: &World) -> Result<(), Failure> {
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
        sample(&mut command, true)
    }
}

struct Daemon {
    running: Option<BuildKit>,
    version: String,
}

impl Daemon {
    fn new(world: &World) -> Result<Self, Failure> {
        let running = BuildKit::start(&BuildKit::suite(), world.registry())?;
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
    fn reset(&mut self, world: &World) -> Result<(), Failure> {
        drop(self.running.take());
        self.running = Some(BuildKit::start(&BuildKit::suite(), world.registry())?);
        // What a daemon does once in its life is not what is measured.
        let context = tempfile::tempdir()?;
        std::fs::write(context.path().join("Dockerfile"), "FROM busybox\nRUN true\n")?;
        self.build(context.path(), &world.registry().reference("bench/first"))?;
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

struct Chroot {
    driver: &'static str,
    peer: Buildah,
    world: TempDir,
}

impl Chroot {
    fn new(driver: &'static str, world: &World) -> Result<Self, Failure> {
        let peer = Buildah::start(&BuildKit::suite(), driver, world.registry())?;
        Ok(Self { driver, peer, world: tempfile::tempdir()? })
    }
}

impl Contender for Chroot {
    fn name(&self) -> String {
        format!("Buildah ({})", self.driver)
    }

    fn reset(&mut self, _: &World) -> Result<(), Failure> {
        Ok(self.peer.prune()?)
    }

    /// Build and push are two commands; one shell runs both.
    fn build(&self, context: &Path, reference: &str) -> Result<Sample, Failure> {
        let script = self.world.path().join("build.sh");
        std::fs::write(&script, self.peer.script(context, reference)?)?;
        sample(Command::new("sh").arg("-eu").arg(script), false)
    }
}
