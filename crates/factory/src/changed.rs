//! Which images a change of files touches: `--changed REF`.
//!
//! An image is touched by the files of its `paths`, or where it names none, by its build context and
//! its Dockerfile; and by what lies beside `images.yaml` for it.
use crate::enrol::Image;
use crate::source::Sources;
use dockerfile::glob::PathPattern;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// The files that differ between a commit and the work tree of a repository, from its top directory.
///
/// # Errors
/// What git says, in words.
pub fn files_since(top: &Path, reference: &str, env: &BTreeMap<String, String>) -> Result<Vec<String>, String> {
    if reference.is_empty() || reference.starts_with('-') {
        return Err(format!("{reference:?} is no commit, branch or tag"));
    }
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(top).args(args).env_clear().stdin(Stdio::null()).env("LC_ALL", "C");
        for name in ["PATH", "HOME"] {
            if let Some(value) = env.get(name) {
                command.env(name, value);
            }
        }
        let output = command.output().map_err(|error| format!("cannot run git: {error}"))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(text.lines().next().unwrap_or("git failed").trim_start_matches("fatal: ").to_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let commit = format!("{reference}^{{commit}}");
    let commit = git(&["rev-parse", "--verify", "--quiet", "--end-of-options", &commit])
        .map_err(|_| format!("{reference:?} is no commit, branch or tag of {}", top.display()))?;
    let changed = git(&["diff", "--name-only", "-z", "--no-renames", commit.trim(), "--"])?;
    let new = git(&["ls-files", "--others", "--exclude-standard", "-z"])?;
    Ok(changed.split('\0').chain(new.split('\0')).filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

/// Whether these files of the repository with the top directory `top` touch the image. `dir` is that of
/// `images.yaml`.
#[must_use]
pub fn touches(image: &Image, files: &[String], top: &Path, dir: &Path, sources: &Sources<'_>) -> bool {
    let Some(managed) = image.managed() else { return false };
    let below = |path: &str, directory: &str| {
        let directory = directory.trim_start_matches("./").trim_end_matches('/');
        directory.is_empty()
            || directory == "."
            || path == directory
            || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
    };
    let own = managed.source.as_ref().filter(|source| sources.at_hand(source) == Some(top));
    if let Some(source) = own {
        let dockerfile = source.dockerfile_path();
        let touched = |path: &String| match source.paths.is_empty() {
            true => *path == dockerfile || below(path, source.context.as_deref().unwrap_or(".")),
            false => source.paths.iter().any(|pattern| fits(pattern, path)),
        };
        if files.iter().any(touched) {
            return true;
        }
    }
    // What lies beside images.yaml, where that is in this repository.
    let Ok(beside) = dir.strip_prefix(top) else { return false };
    let at = |path: &str| beside.join(path).to_string_lossy().into_owned();
    let local = &managed.local;
    let mut places: Vec<String> = local.dockerfile.iter().map(|path| at(path)).collect();
    match (&local.dir, managed.source.is_some()) {
        (Some(below), true) => places.extend(local.patch_files.iter().map(|file| at(&format!("{below}/{file}")))),
        (Some(below), false) => places.push(at(below)),
        (None, false) => {
            places.extend(local.dockerfile.iter().filter_map(|path| Some(at(Path::new(path).parent()?.to_str()?))));
        }
        (None, true) => {}
    }
    files.iter().any(|file| places.iter().any(|place| below(file, place)))
}

/// Patterns as workflows write them: `api/**`, `*.md`, `src/*.js`.
fn fits(pattern: &str, path: &str) -> bool {
    let pattern = pattern.trim_start_matches("./").trim_start_matches('/');
    if let Some(directory) = pattern.strip_suffix("/**").or_else(|| pattern.strip_suffix('/'))
        && !dockerfile::glob::has_wildcards(directory)
    {
        return path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'));
    }
    PathPattern::new(pattern).is_ok_and(|pattern| pattern.matches(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Enrolment;

    #[test]
    fn files_touch_images() {
        let text = "\
- {name: api, registry: r.io, repository: o/api, source: {repo: o/a, dockerfile: api/Dockerfile, context: api}}
- {name: web, registry: r.io, repository: o/web, source: {repo: o/a, dockerfile: web/Dockerfile, paths: ['web/**', '*.lock']}}
- {name: top, registry: r.io, repository: o/top, source: {repo: o/a}}
- {name: own, registry: r.io, repository: o/own, local: {dir: own}}
- {name: far, registry: r.io, repository: o/far, source: {repo: o/other}}
";
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path();
        std::fs::create_dir(top.join(".git")).unwrap();
        let config = "[remote \"origin\"]\n\turl = https://github.com/o/a.git\n";
        std::fs::write(top.join(".git/config"), config).unwrap();
        let enrolment = Enrolment::parse(&top.join("factory/images.yaml"), text).unwrap();
        let env = BTreeMap::new();
        let sources = Sources::new(&env, top, &|| false, &[top.to_owned()]);
        for (file, touched) in [
            ("api/server.js", "api top"),
            ("apix/server.js", "top"),
            ("api/Dockerfile", "api top"),
            ("web/a/b.css", "web top"),
            ("package.lock", "web top"),
            ("factory/own/Dockerfile", "top own"),
        ] {
            let names: Vec<&str> = enrolment
                .images
                .iter()
                .filter(|image| touches(image, &[file.to_owned()], top, &top.join("factory"), &sources))
                .map(|image| image.name.as_str())
                .collect();
            assert_eq!(names.join(" "), touched, "{file}");
        }
    }
}
