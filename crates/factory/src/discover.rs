//! Discovery: from Dockerfiles to state files.
//!
//! Idempotent: where nothing has changed no byte does, and a time is written only together with what
//! it is the time of. Where a Dockerfile cannot be read, the bases that were known stay.
use crate::enrol::{Image, Managed};
use crate::state::{BaseState, ImageState, State, StateDir, StateError, Status};
use crate::{Enrolment, names, time};
use dockerfile::eval::Options;
use dockerfile::platform::Platform;
use oci::Reference;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::PoisonError;

/// Dockerfiles that are read at once.
const WIDTH: usize = 8;

/// What discovery found for one image.
#[derive(Debug, Clone)]
pub struct Discovered {
    /// The image.
    pub name: String,
    /// The references that its Dockerfile takes, or why they are not known.
    pub bases: Result<Vec<String>, Failure>,
    /// Whether its state file was written.
    pub changed: bool,
}

/// Why an image's bases are not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// One line.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// What discovery did.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Image by image, in the order of the file.
    pub images: Vec<Discovered>,
    /// The base images that were seen for the first time.
    pub new_bases: Vec<String>,
    /// Base images that no Dockerfile names any more; their files stay.
    pub unused: Vec<String>,
}

/// Reads the text of an image's Dockerfile.
pub type Reader<'a> = &'a (dyn Fn(&Managed) -> Result<String, Failure> + Sync);

/// Discovers the images of these names (all where there are none) and brings the state files up to
/// date.
///
/// # Errors
/// [`StateError`]: state that cannot be read or written. What is wrong with one image is in the report.
pub fn discover(
    enrolment: &Enrolment,
    dir: &StateDir,
    only: &[String],
    now: i64,
    read: Reader<'_>,
) -> Result<Report, StateError> {
    let mut state = dir.load()?;
    let chosen: Vec<&Image> =
        enrolment.images.iter().filter(|image| only.is_empty() || only.contains(&image.name)).collect();
    let found = read_all(&chosen, read);
    let mut report = Report::default();
    let stamp = time::stamp(now);
    for (image, bases) in chosen.iter().zip(found) {
        let old = state.images.get(&image.name).cloned();
        let mut new = old.clone().unwrap_or_else(|| ImageState::new(image, &stamp));
        new.enrol(image);
        if let Ok(references) = &bases
            && image.managed().is_some()
        {
            let mut list = Vec::new();
            for reference in references {
                let name = base(&mut state, reference, &stamp, dir, &mut report)?;
                if !list.contains(&name) {
                    list.push(name);
                }
            }
            new.bases = list;
            new.status = Status::Complete;
        }
        let differs = old.as_ref().is_none_or(|old| {
            let known = (&old.bases, old.status, &old.enrollment);
            known != (&new.bases, new.status, &new.enrollment)
        });
        if differs && bases.is_ok() {
            new.last_discovery = Some(stamp.clone());
        }
        let changed = dir.put_image(&new)?;
        state.images.insert(image.name.clone(), new);
        report.images.push(Discovered { name: image.name.clone(), bases, changed });
    }
    let used: BTreeSet<&str> = enrolment
        .images
        .iter()
        .filter_map(|image| state.images.get(&image.name))
        .flat_map(|image| image.bases.iter().map(String::as_str))
        .collect();
    report.unused = state.bases.keys().filter(|name| !used.contains(name.as_str())).cloned().collect();
    Ok(report)
}

fn read_all(images: &[&Image], read: Reader<'_>) -> Vec<Result<Vec<String>, Failure>> {
    let next = Mutex::new(0..images.len());
    let found: Mutex<BTreeMap<usize, Result<Vec<String>, Failure>>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..WIDTH.min(images.len()) {
            scope.spawn(|| {
                loop {
                    let Some(i) = next.lock().unwrap_or_else(PoisonError::into_inner).next() else { return };
                    let result = match images[i].managed() {
                        Some(managed) => read(managed).and_then(|text| references(managed, &text)),
                        None => Ok(Vec::new()),
                    };
                    found.lock().unwrap_or_else(PoisonError::into_inner).insert(i, result);
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

/// The references that a Dockerfile takes from the outside, for all platforms of the image, in the
/// order of the file.
///
/// # Errors
/// What the parser says, with the line.
pub fn references(managed: &Managed, text: &str) -> Result<Vec<String>, Failure> {
    let lines = dockerfile::LineIndex::new(text);
    let failure = |diagnostic: &dockerfile::Diagnostic| Failure {
        message: format!("the Dockerfile, line {}: {}", lines.line(diagnostic.span.start), diagnostic.message),
        hint: diagnostic.help.clone(),
    };
    let parsed = dockerfile::parse(text);
    let file = match parsed.diagnostics.iter().find(|diagnostic| diagnostic.is_error()) {
        Some(error) => return Err(failure(error)),
        None => parsed.dockerfile,
    };
    let Some(file) = file else {
        return Err(Failure { message: "the Dockerfile is empty".into(), hint: None });
    };
    let host = platform(&oci::Platform::host().to_string());
    let mut platforms: Vec<Platform> = managed.platforms.iter().map(|text| platform(text)).collect();
    if platforms.is_empty() {
        platforms.push(host.clone());
    }
    let contexts = |name: &str| context(managed, name);
    let mut out: Vec<String> = Vec::new();
    for target_platform in platforms {
        let options = Options {
            build_args: managed.build_args.clone(),
            target: managed.target.clone(),
            build_platform: host.clone(),
            target_platform,
            ..Options::default()
        };
        for base in dockerfile::bases::bases(&file, &options, &contexts).map_err(|error| failure(&error))? {
            if base.image.parse::<Reference>().is_err() {
                let line = lines.line(base.span.start);
                let message = format!("the Dockerfile, line {line}: {:?} is no image reference", base.image);
                return Err(Failure { message, hint: None });
            }
            if !out.contains(&base.image) {
                out.push(base.image);
            }
        }
    }
    Ok(out)
}

fn platform(text: &str) -> Platform {
    let default = Options::default().build_platform;
    Platform::parse(text, &default).unwrap_or(default)
}

/// What a named context stands for: an image, or files.
fn context(managed: &Managed, name: &str) -> Option<Option<String>> {
    let canonical = |text: &str| text.parse::<Reference>().ok().map(Reference::or_latest);
    let same = |key: &str| {
        key.eq_ignore_ascii_case(name) || matches!((canonical(key), canonical(name)), (Some(a), Some(b)) if a == b)
    };
    let (_, value) = managed.build_contexts.iter().find(|(key, _)| same(key))?;
    Some(value.strip_prefix("docker-image://").map(str::to_owned))
}

/// The name of a reference's state file; made where there is none.
fn base(
    state: &mut State,
    image: &str,
    stamp: &str,
    dir: &StateDir,
    report: &mut Report,
) -> Result<String, StateError> {
    let Ok(reference) = image.parse::<Reference>() else { return Ok(names::normal(image)) };
    let canonical = reference.clone().or_latest();
    let known = |base: &BaseState| base.reference().is_ok_and(|known| known.or_latest() == canonical);
    if let Some((name, _)) = state.bases.iter().find(|(_, base)| known(base)) {
        return Ok(name.clone());
    }
    let normal = names::normal(image);
    let name = if state.bases.contains_key(&normal) { names::distinct(&reference) } else { normal };
    let new = BaseState::new(name.clone(), image, &reference, stamp);
    dir.put_base(&new)?;
    report.new_bases.push(name.clone());
    state.bases.insert(name.clone(), new);
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn files(dir: &Path) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        for sub in ["images", "base-images"] {
            for entry in std::fs::read_dir(dir.join(sub)).into_iter().flatten().flatten() {
                let path = entry.path();
                out.insert(
                    path.strip_prefix(dir).unwrap().display().to_string(),
                    std::fs::read_to_string(&path).unwrap(),
                );
            }
        }
        out
    }

    const IMAGES: &str = "\
- name: web
  registry: ghcr.io
  repository: o/web
  source: {repo: o/web}
  platforms: [linux/amd64, linux/arm64]
  buildArgs: {NODE: '24'}
  buildContexts: {busybox: 'docker-image://mirror.io/x/busybox:1', files: ./files}
- name: bad
  registry: ghcr.io
  repository: o/bad
  source: {repo: o/bad}
- name: pg
  repository: postgres
  allowTags: ^16
";
    const WEB: &str = "\
ARG NODE=22
FROM --platform=$BUILDPLATFORM node:${NODE}-slim AS build
ARG TARGETARCH
FROM tool-${TARGETARCH}:1 AS tool
FROM scratch
COPY --from=build /a /a
COPY --from=files /b /b
COPY --from=busybox /bin/sh /sh
COPY --from=a/b-c:1 /x /x
COPY --from=a-b/c:1 /x /x
";

    #[test]
    fn state_files_are_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        let enrolment = Enrolment::parse(Path::new("images.yaml"), IMAGES).unwrap();
        let text = Mutex::new(WEB.to_owned());
        let read = |managed: &Managed| match managed.source.as_ref().and_then(|s| s.repo.as_deref()) {
            Some("o/web") => Ok(text.lock().unwrap().clone()),
            _ => Ok("FROM\n".to_owned()),
        };
        let report = discover(&enrolment, &state, &[], 1_764_583_200, &read).unwrap();
        assert_eq!(
            report.images[0].bases.as_ref().unwrap(),
            &["node:24-slim", "tool-amd64:1", "mirror.io/x/busybox:1", "a/b-c:1", "a-b/c:1", "tool-arm64:1"]
        );
        let failure = report.images[1].bases.clone().unwrap_err();
        assert!(failure.message.starts_with("the Dockerfile, line 1: "), "{failure:?}");
        let first = files(dir.path());
        let names: Vec<&str> = first.keys().map(String::as_str).collect();
        assert!(names.contains(&"base-images/x-busybox-1.yaml"), "{names:?}");
        assert_eq!(
            names.iter().filter(|name| name.contains("a-b-c-1")).count(),
            2,
            "two names that are alike: {names:?}"
        );
        assert!(first["images/pg.yaml"].contains("discoveryStatus: external\n"));
        assert!(first["images/bad.yaml"].contains("discoveryStatus: pending\n"));
        // Another time: nothing moves.
        discover(&enrolment, &state, &[], 1_764_999_999, &read).unwrap();
        assert_eq!(files(dir.path()), first);
        // A comment and a runtime field, written by others, stay; so do the bases when discovery fails.
        let path = state.image_file("web");
        let edited =
            first["images/web.yaml"].replace("currentVersion: null", "currentVersion: 1.2.3 # by hand\nkargo: x");
        std::fs::write(&path, &edited).unwrap();
        *text.lock().unwrap() = "NONSENSE\n".into();
        discover(&enrolment, &state, &[], 1_765_000_000, &read).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), edited);
        *text.lock().unwrap() = "FROM node:24-slim\n".into();
        let report = discover(&enrolment, &state, &["web".into()], 1_765_000_000, &read).unwrap();
        assert_eq!((report.images.len(), report.unused.len()), (1, 5));
        let now = std::fs::read_to_string(&path).unwrap();
        assert!(
            now.contains("currentVersion: 1.2.3 # by hand\nkargo: x\n")
                && now.contains("baseImages:\n  - node-24-slim\n"),
            "{now}"
        );
        assert!(now.contains("lastDiscovery: '2025-12-06T05:46:40+00:00'"), "{now}");
    }
}
