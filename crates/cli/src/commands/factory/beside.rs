//! What a runner in a cluster needs of the directory of images.yaml: Dockerfiles, build contexts, patched files, version
//! and ignore files. No secret: what images.yaml names as one is left out with a word about it.
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use factory::enrol::{Image, Managed};
use gitops::synth::{Enrolment, File};

use super::{Place, shown};
use crate::app::Context;
use crate::error::{CliError, Result};

/// What no ConfigMap takes; larger files are not read.
const LIMIT: u64 = 1 << 20;

pub(super) fn collect(place: &Place, context: &Context<'_>) -> Result<Enrolment> {
    let file = &place.enrolment.file;
    let images = std::fs::read_to_string(file).map_err(|e| CliError::io("read", file, &e))?;
    let dir = context.env.path(place.enrolment.dir());
    let mut found = Found { dir: &dir, out: Enrolment { images, ..Enrolment::default() }, context };
    for image in &place.enrolment.images {
        if let Some(managed) = image.managed() {
            found.image(image, managed)?;
        }
    }
    Ok(found.out)
}

struct Found<'a> {
    dir: &'a Path,
    out: Enrolment,
    context: &'a Context<'a>,
}

impl Found<'_> {
    fn image(&mut self, image: &Image, managed: &Managed) -> Result<()> {
        let (local, name) = (&managed.local, &image.name);
        let below = |path: &str| match local.dir.as_deref() {
            Some(dir) => Path::new(dir).join(path),
            None => PathBuf::from(path),
        };
        if let Some(path) = &local.dockerfile {
            self.file(name, Path::new(path))?;
        }
        if managed.source.is_none() {
            let (dir, dockerfile) = match (&local.dir, &local.dockerfile) {
                (Some(dir), Some(file)) => (PathBuf::from(dir), PathBuf::from(file)),
                (Some(dir), None) => (PathBuf::from(dir), Path::new(dir).join("Dockerfile")),
                (None, file) => {
                    let file = PathBuf::from(file.as_deref().unwrap_or("Dockerfile"));
                    (file.parent().unwrap_or(Path::new("")).to_owned(), file)
                }
            };
            self.file(name, &dockerfile)?;
            if self.reads_context(&dockerfile) {
                self.directory(&dir)?;
            }
        }
        for path in &local.patch_files {
            self.file(name, &below(path))?;
        }
        // It may lie in the source.
        if let Some(path) = local.version_file.as_deref().map(below).filter(|path| self.dir.join(path).is_file()) {
            self.file(name, &path)?;
        }
        if let Some(path) = &managed.scan.ignore_file {
            self.file(name, Path::new(path))?;
        }
        let left = |what: String| self.context.ui.note(&format!("{name}: {what} is not written into a ConfigMap"));
        for secret in managed.secrets.iter().filter(|secret| secret.file.is_some()) {
            left(format!(
                "the file of the secret {}, which the runner will miss (give it as a variable: env),",
                secret.id
            ));
        }
        if let Some(key) = managed.signing.with.as_deref().filter(|key| !key.contains("://")) {
            left(format!("the key {key}, which the runner will miss (name it as env://VARIABLE),"));
        }
        Ok(())
    }

    /// Whether a Dockerfile copies from its context; one that cannot be read may.
    fn reads_context(&self, dockerfile: &Path) -> bool {
        let Ok(text) = std::fs::read_to_string(self.dir.join(dockerfile)) else { return true };
        text.lines().any(|line| {
            let line = line.trim_start().to_ascii_lowercase();
            ["copy ", "add ", "onbuild "].iter().any(|word| line.starts_with(word)) || line.contains("type=bind")
        })
    }

    fn file(&mut self, image: &str, path: &Path) -> Result<()> {
        let full = self.dir.join(path);
        let meta = std::fs::metadata(&full).map_err(|e| {
            CliError::usage(format!(
                "{image} needs {}, which cannot be read: {}",
                shown(&full, self.context),
                crate::error::plain_io(&e)
            ))
        })?;
        if meta.len() > LIMIT {
            return Err(CliError::usage(format!(
                "{} has {} KiB, and a ConfigMap holds 1024",
                shown(&full, self.context),
                meta.len().div_ceil(1024)
            ))
            .hint(
                "let the image be built from a repository (source), or take it out of its context with .dockerignore",
            ));
        }
        let content = std::fs::read(&full).map_err(|e| CliError::io("read", &full, &e))?;
        let executable = meta.permissions().mode() & 0o111 != 0;
        let name = path.components().collect::<PathBuf>().display().to_string();
        self.out.files.insert(name, File { content, executable });
        Ok(())
    }

    /// All files below a directory that a build would see, without the state and what belongs to git.
    fn directory(&mut self, dir: &Path) -> Result<()> {
        let top = self.dir.join(dir);
        let ignored = std::fs::read_to_string(top.join(".dockerignore")).unwrap_or_default();
        let file = top.join(".dockerignore");
        let ignored = dockerfile::ignore::Ignore::parse(&ignored)
            .map_err(|e| CliError::usage(format!("{}: {e}", shown(&file, self.context))))?;
        let mut dirs = vec![PathBuf::new()];
        while let Some(below) = dirs.pop() {
            let at = top.join(&below);
            let entries = std::fs::read_dir(&at).map_err(|e| CliError::io("read", &at, &e))?;
            for entry in entries {
                let entry = entry.map_err(|e| CliError::io("read", &at, &e))?;
                let path = below.join(entry.file_name());
                let meta = std::fs::symlink_metadata(entry.path()).map_err(|e| CliError::io("read", &at, &e))?;
                let own = dir.as_os_str().is_empty()
                    && ["images", "base-images", "images.yaml"].iter().any(|n| path == Path::new(n));
                if own || entry.file_name() == ".git" {
                    continue;
                }
                if meta.is_dir() {
                    dirs.push(path);
                } else if entry.path().is_file()
                    && (path == Path::new(".dockerignore") || !ignored.matches_or_parent(&path.display().to_string()))
                {
                    self.file("the build context", &dir.join(path))?;
                }
            }
        }
        Ok(())
    }
}
