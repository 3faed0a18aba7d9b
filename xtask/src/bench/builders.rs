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
    fn reset(&mut self) -> Result<(), Failure>;
    fn build(&self, context: &Path, reference: &str) -> Result<Sample, Failure>;
}

pub(super) fn contenders(binary: &Path, world: &World, buildah: bool) -> Result<Vec<Box<dyn Contender>>, Failure> {
    let mut list: Vec<Box<dyn Contender>> = vec![
        Box::new(Ours::new(binary, world)?),
        Box::new(Daemon(BuildKit::start(&BuildKit::suite(), world.registry())?)),
    ];
    if buildah {
        list.push(Box::new(Chroot::new("vfs", world)?));
        list.push(Box::new(Chroot::new("overlay", world)?));
    }
    Ok(list)
}

struct Ours {
    product: Cooperage,
    mirror: String,
}

impl Ours {
    fn new(binary: &Path, world: &World) -> Result<Self, Failure> {
        Ok(Self { product: Cooperage::new(binary)?, mirror: format!("docker.io={}", world.registry().url()) })
    }
}

impl Contender for Ours {
    fn name(&self) -> String {
        "cooperage".to_owned()
    }

    fn reset(&mut self) -> Result<(), Failure> {
        let store = self.product.store();
        if store.exists() {
            // Layers of a user namespace can hold directories that only their owner may enter: as root this is plain.
            std::fs::remove_dir_all(store)?;
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

struct Daemon(BuildKit);

impl Contender for Daemon {
    fn name(&self) -> String {
        format!("BuildKit (Docker {})", self.0.version())
    }

    fn is_reference(&self) -> bool {
        true
    }

    fn reset(&mut self) -> Result<(), Failure> {
        Ok(self.0.prune()?)
    }

    fn build(&self, context: &Path, reference: &str) -> Result<Sample, Failure> {
        let mut command = self.0.buildx();
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

    fn reset(&mut self) -> Result<(), Failure> {
        Ok(self.peer.prune()?)
    }

    /// Build and push are two commands; one shell runs both.
    fn build(&self, context: &Path, reference: &str) -> Result<Sample, Failure> {
        let script = self.world.path().join("build.sh");
        std::fs::write(&script, self.peer.script(context, reference)?)?;
        sample(Command::new("sh").arg("-eu").arg(script), false)
    }
}
