//! Buildah, from a Debian suite's packages, in `chroot` isolation: the second peer.
use crate::buildkit::root;
use crate::command::{Error, Result, output_with, run, tool};
use crate::{BuildInput, Builder, Built, Image, Registry, repository};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// `buildah build` with storage of its own.
#[derive(Debug)]
pub struct Buildah {
    root: PathBuf,
    work: TempDir,
    driver: String,
    version: String,
}

impl Buildah {
    /// From a Debian suite, on a storage driver (`vfs` or `overlay`); names without a registry come from `mirror`. `others`
    /// are registries without TLS that it may ask too.
    pub fn start(suite: &str, driver: &str, mirror: &Registry, others: &[&Registry]) -> Result<Self> {
        let root = root(suite, "buildah,netavark,crun,ca-certificates,git,xz-utils")?;
        let work = tempfile::Builder::new().prefix("testkit-buildah-").tempdir().map_err(Error::at("tempdir"))?;
        let mut registries = format!(
            "unqualified-search-registries = [\"docker.io\"]\nshort-name-mode = \"permissive\"\n[[registry]]\nprefix = \"docker.io\"\n\
             location = \"{0}\"\ninsecure = true\n[[registry]]\nlocation = \"{0}\"\ninsecure = true\n",
            mirror.host()
        );
        for other in others {
            registries += &format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", other.host());
        }
        fs::write(work.path().join("registries.conf"), registries).map_err(Error::at("registries.conf"))?;
        let policy = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
        fs::write(work.path().join("policy.json"), policy).map_err(Error::at("policy.json"))?;
        let mut peer = Self { root, work, driver: driver.to_owned(), version: String::new() };
        let version = run(peer.command()?.arg("--version"))?;
        peer.version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
        Ok(peer)
    }

    /// Forgets every image and build.
    pub fn prune(&self) -> Result<()> {
        run(self.command()?.args(["rmi", "--all", "--force"])).map(drop)
    }

    /// A shell script that builds a context and pushes the image, for a bench that measures both as one. `options` are
    /// of the build.
    pub fn script(&self, context: &Path, reference: &str, options: &[String]) -> Result<String> {
        let command = self.command()?;
        let quote = |word: &OsStr| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''"));
        let words = |args: &mut dyn Iterator<Item = &OsStr>| args.map(quote).collect::<Vec<_>>().join(" ");
        let buildah = words(&mut std::iter::once(command.get_program()).chain(command.get_args()));
        let policy = quote(self.work.path().join("policy.json").as_os_str());
        let (context, reference) = (quote(context.as_os_str()), quote(OsStr::new(reference)));
        let options = words(&mut options.iter().map(OsStr::new));
        Ok(format!(
            "export CONTAINERS_REGISTRIES_CONF={}\n{buildah} build --quiet --isolation chroot --layers --network host \
             --ulimit nofile=1024:4096 --ulimit nproc=4096:4096 --jobs 4 --signature-policy {policy} {options} \
             --tag {reference} {context}\n\
             {buildah} push --quiet --tls-verify=false --signature-policy {policy} {reference}\n",
            quote(self.work.path().join("registries.conf").as_os_str())
        ))
    }

    /// `buildah`, inside its root filesystem, with this instance's storage.
    fn command(&self) -> Result<Command> {
        let place = |name: &str| self.work.path().join(name);
        let mut command = tool("unshare", "util-linux")?;
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--"]);
        command.arg(repository().join("tests/peers/enter.sh")).arg(&self.root).arg(std::env::temp_dir());
        command.arg("buildah").env("CONTAINERS_REGISTRIES_CONF", place("registries.conf"));
        command.arg("--root").arg(place("root")).arg("--runroot").arg(place("run"));
        command.args(["--storage-driver", &self.driver]);
        Ok(command)
    }
}

impl Builder for Buildah {
    fn name(&self) -> String {
        self.version.clone()
    }

    fn build(&self, input: &BuildInput) -> Result<Built> {
        let out = tempfile::Builder::new().prefix("out-").tempdir_in(self.work.path()).map_err(Error::at("tempdir"))?;
        let layout = out.path().join("layout");
        let mut command = self.command()?;
        command.args([
            "build",
            "--isolation",
            "chroot",
            "--format",
            "docker",
            "--layers",
            "--network",
            "host",
            "--ulimit",
            "nofile=1024:4096",
            "--ulimit",
            "nproc=4096:4096",
        ]);
        command.arg("--signature-policy").arg(self.work.path().join("policy.json"));
        command.args(&input.args).envs(input.env.iter().cloned());
        command.arg("--tag").arg(format!("oci:{}", layout.display())).arg(&input.context);
        command.current_dir(input.start());
        let output = output_with(&mut command, input.stdin.as_deref())?;
        let log = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let image = output.status.success().then(|| Image::from_layout(&layout, None)).transpose()?;
        Ok(Built { image: image.map(|image| image.keeping(out)), log })
    }
}
