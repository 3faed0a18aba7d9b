//! Base images and external images, asked for at their registries: what a tag points to now, and which
//! tag is the newest.
use crate::enrol::{Image, Selection, Strategy};
use crate::state::{BaseState, ImageState, State, StateDir, StateError};
use crate::{Enrolment, time};
use oci::Reference;
use registry::Client;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Registries that are asked at once: most of the time is waiting.
const WIDTH: usize = 32;
/// Tags whose images are looked into for the strategy NewestBuild.
const BUILDS: usize = 20;
/// The delay of bases whose dependents have none of their own, in seconds: 7d.
pub const DEFAULT_DELAY: i64 = 7 * 24 * 3600;

/// What asking for one image came to.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The base's or the image's name.
    pub name: String,
    /// Whether it is an enrolled external image.
    pub external: bool,
    /// What was asked for.
    pub image: String,
    /// The digest and tag that were found, or why none was.
    pub found: Result<Found, String>,
    /// Whether that is another digest than before.
    pub changed: bool,
}

/// What a registry has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The tag.
    pub tag: Option<String>,
    /// What it points to.
    pub digest: String,
}

/// Asks for every base image that an enrolled image uses, and for every external image; state and
/// history are brought up to date. One that cannot be asked keeps its state.
///
/// # Errors
/// [`StateError`]: state that cannot be read or written.
pub fn check(enrolment: &Enrolment, dir: &StateDir, client: &Client, now: i64) -> Result<Vec<Checked>, StateError> {
    let mut state = dir.load()?;
    let mut jobs: Vec<Job<'_>> = Vec::new();
    for (name, dependents) in dependents(enrolment, &state) {
        let Some(base) = state.bases.get(&name) else { continue };
        let reference = base.reference().map_err(|error| error.to_string());
        jobs.push(Job { name, image: base.full_image.clone(), what: What::Base(reference, dependents) });
    }
    for image in enrolment.images.iter().filter(|image| image.managed().is_none()) {
        jobs.push(Job { name: image.name.clone(), image: image.reference(), what: What::External(image) });
    }
    let answers = ask_all(&jobs, client);
    let (mut bases, mut images) = (Vec::new(), Vec::new());
    let mut report = Vec::new();
    for (job, found) in jobs.into_iter().zip(answers) {
        let mut changed = false;
        match (&job.what, &found) {
            (What::Base(_, dependents), Ok(found)) => {
                if let Some(base) = state.bases.get_mut(&job.name) {
                    changed = base.seen(&found.digest, now);
                    base.plan(DEFAULT_DELAY, dependents);
                    bases.push(job.name.clone());
                }
            }
            (What::External(image), Ok(found)) => {
                let stamp = time::stamp(now);
                let fresh = || ImageState::new(image, &stamp);
                let known = state.images.entry(image.name.clone()).or_insert_with(fresh);
                known.enrol(image);
                changed = known.current_digest.as_ref().is_some_and(|old| *old != found.digest);
                known.current_digest = Some(found.digest.clone());
                known.current_version.clone_from(&found.tag);
                images.push(job.name.clone());
            }
            (_, Err(_)) => {}
        }
        let external = matches!(job.what, What::External(_));
        report.push(Checked { name: job.name, external, image: job.image, found, changed });
    }
    let bases = bases.iter().filter_map(|name| state.bases.get(name)).map(Write::Base);
    let images = images.iter().filter_map(|name| state.images.get(name)).map(Write::Image);
    write_all(&bases.chain(images).collect::<Vec<_>>(), dir)?;
    Ok(report)
}

enum Write<'a> {
    Base(&'a BaseState),
    Image(&'a ImageState),
}

/// Writes files beside each other: each is synced before it gets its name, and most of that is waiting, too.
fn write_all(files: &[Write<'_>], dir: &StateDir) -> Result<(), StateError> {
    let next = Mutex::new(files.iter());
    let first: Mutex<Option<StateError>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..WIDTH.min(files.len()) {
            scope.spawn(|| {
                loop {
                    let Some(file) = next.lock().unwrap_or_else(PoisonError::into_inner).next() else { return };
                    let written = match file {
                        Write::Base(base) => dir.put_base(base),
                        Write::Image(image) => dir.put_image(image),
                    };
                    if let Err(error) = written {
                        first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                }
            });
        }
    });
    first.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

struct Job<'a> {
    name: String,
    image: String,
    what: What<'a>,
}

enum What<'a> {
    /// The reference, and the delays of dependents.
    Base(Result<Reference, String>, Vec<(String, i64)>),
    External(&'a Image),
}

/// The bases in use, each with its dependents and their delays.
fn dependents(enrolment: &Enrolment, state: &State) -> BTreeMap<String, Vec<(String, i64)>> {
    let mut out: BTreeMap<String, Vec<(String, i64)>> = BTreeMap::new();
    for image in enrolment.images.iter().filter(|image| image.managed().is_some()) {
        for base in state.images.get(&image.name).map(|state| state.bases.as_slice()).unwrap_or_default() {
            out.entry(base.clone()).or_default().push((image.name.clone(), image.rebuild_delay.seconds()));
        }
    }
    out
}

fn ask_all(jobs: &[Job<'_>], client: &Client) -> Vec<Result<Found, String>> {
    let next = Mutex::new(0..jobs.len());
    let found: Mutex<BTreeMap<usize, Result<Found, String>>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..WIDTH.min(jobs.len()) {
            scope.spawn(|| {
                loop {
                    let Some(i) = next.lock().unwrap_or_else(PoisonError::into_inner).next() else { return };
                    let result = match &jobs[i].what {
                        What::Base(Ok(reference), _) => digest(client, reference),
                        What::Base(Err(error), _) => Err(error.clone()),
                        What::External(image) => newest(client, image),
                    };
                    found.lock().unwrap_or_else(PoisonError::into_inner).insert(i, result);
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

fn digest(client: &Client, reference: &Reference) -> Result<Found, String> {
    let descriptor = client.resolve(reference).map_err(|error| error.to_string())?;
    Ok(Found { tag: reference.tag_or_latest().map(str::to_owned), digest: descriptor.digest.to_string() })
}

/// The newest tag of an external image, and what it points to.
fn newest(client: &Client, image: &Image) -> Result<Found, String> {
    let name: Reference = image.reference().parse().map_err(|error: oci::ReferenceError| error.to_string())?;
    // A single tag is meant: its list would only cost time.
    if let Some(tag) = image.selection.allow.as_deref().and_then(single) {
        return digest(client, &name.with_tag(&tag));
    }
    let tags = client.tags(&name).map_err(|error| error.to_string())?;
    let mut fitting = select(&tags, &image.selection)?;
    if image.selection.strategy == Strategy::NewestBuild {
        fitting.truncate(BUILDS);
        let mut dated: Vec<(i64, String)> = Vec::new();
        for tag in fitting {
            dated.push((created(client, &name.with_tag(&tag))?, tag));
        }
        fitting = dated.into_iter().max().map(|(_, tag)| tag).into_iter().collect();
    }
    match fitting.first() {
        Some(tag) => digest(client, &name.with_tag(tag)),
        None => Err(format!("none of its {} tags fits", tags.len())),
    }
}

/// The tag of an expression that fits one tag alone: `^16\.4$`.
fn single(expression: &str) -> Option<String> {
    let inner = expression.strip_prefix('^')?.strip_suffix('$')?;
    let mut out = String::new();
    let mut escaped = false;
    for c in inner.chars() {
        match c {
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            c if escaped && c.is_alphanumeric() => return None,
            c if !escaped && "\\.+*?()|[]{}^$".contains(c) => return None,
            c => out.push(c),
        }
        escaped = false;
    }
    (!out.is_empty() && !escaped).then_some(out)
}

/// The tags that count, the newest first.
///
/// # Errors
/// An expression or a constraint that is none.
pub fn select(tags: &[String], selection: &Selection) -> Result<Vec<String>, String> {
    let expression = |text: &str| regex::Regex::new(text).map_err(|error| error.to_string());
    let allow = selection.allow.as_deref().map(expression).transpose()?;
    let ignore = selection.ignore.iter().map(|text| expression(text)).collect::<Result<Vec<_>, _>>()?;
    let constraint = match selection.constraint.as_deref() {
        Some(text) => {
            let wanted = semver::VersionReq::parse(text).map_err(|error| format!("constraint {text:?}: {error}"))?;
            Some(wanted)
        }
        None => None,
    };
    let mut out: Vec<&String> = tags
        .iter()
        .filter(|tag| allow.as_ref().is_none_or(|allow| allow.is_match(tag)))
        .filter(|tag| !ignore.iter().any(|ignore| ignore.is_match(tag)))
        .collect();
    if selection.strategy == Strategy::SemVer || constraint.is_some() {
        // Without an expression a suffix (-rc1, -slim) is another kind of image.
        let fits = |version: &semver::Version| {
            let plain = version.pre.is_empty() || allow.is_some();
            let bare = semver::Version::new(version.major, version.minor, version.patch);
            plain && constraint.as_ref().is_none_or(|wanted| wanted.matches(&bare))
        };
        let mut versions: Vec<(semver::Version, usize, &String)> = out
            .into_iter()
            .filter_map(|tag| version(tag).map(|(v, parts)| (v, parts, tag)))
            .filter(|(v, ..)| fits(v))
            .collect();
        // Of 1.2 and 1.2.0 the exact one.
        versions.sort_by(|a, b| (&b.0, b.1).cmp(&(&a.0, a.1)));
        return Ok(versions.into_iter().map(|(.., tag)| tag.clone()).collect());
    }
    if selection.strategy == Strategy::Digest && selection.allow.is_none() {
        out.retain(|tag| *tag == "latest");
    }
    out.sort_by(|a, b| b.cmp(a));
    Ok(out.into_iter().cloned().collect())
}

/// A tag as a version (`v1.2`, `16`, `1.2.3-rc1`), and how many numbers it has.
fn version(tag: &str) -> Option<(semver::Version, usize)> {
    let text = tag.strip_prefix('v').unwrap_or(tag);
    let (numbers, rest) = match text.find(['-', '+']) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let parts: Vec<&str> = numbers.split('.').collect();
    let known = parts.len();
    if known > 3 {
        return None;
    }
    let number = |i: usize| parts.get(i).map_or(Ok(0), |part| part.parse::<u64>()).ok();
    let text = format!("{}.{}.{}{rest}", number(0)?, number(1)?, number(2)?);
    semver::Version::parse(&text).ok().map(|version| (version, known))
}

/// When an image was made: its annotation, else its config.
fn created(client: &Client, reference: &Reference) -> Result<i64, String> {
    const KEY: &str = "org.opencontainers.image.created";
    let fail = |error: registry::Error| error.to_string();
    let mut fetched = client.manifest(reference).map_err(fail)?;
    for _ in 0..2 {
        let document: serde_json::Value = serde_json::from_slice(&fetched.bytes).unwrap_or_default();
        if let Some(time) = document["annotations"][KEY].as_str().and_then(time::seconds) {
            return Ok(time);
        }
        if let Some(config) = document["config"].as_object() {
            let descriptor: oci::Descriptor =
                serde_json::from_value(config.clone().into()).map_err(|error| error.to_string())?;
            let bytes = client.blob_bytes(reference, &descriptor, 8 << 20).map_err(fail)?;
            let config: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
            return Ok(config["created"].as_str().and_then(time::seconds).unwrap_or(0));
        }
        let first = document["manifests"][0]["digest"].as_str().and_then(|text| text.parse::<oci::Digest>().ok());
        let Some(first) = first else { break };
        fetched = client.manifest(&reference.with_digest(first)).map_err(fail)?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest(
        tags: &[&str],
        allow: Option<&str>,
        ignore: &[&str],
        constraint: Option<&str>,
        strategy: Strategy,
    ) -> String {
        let selection = Selection {
            allow: allow.map(str::to_owned),
            ignore: ignore.iter().map(|text| (*text).to_owned()).collect(),
            constraint: constraint.map(str::to_owned),
            strategy,
        };
        let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
        select(&tags, &selection).unwrap().first().cloned().unwrap_or_default()
    }

    #[test]
    fn the_newest_tag_is_found() {
        let tags = ["9.6", "16.4", "16", "16.10", "17.0-rc1", "16.10-alpine", "latest", "v15.1.2"];
        assert_eq!(newest(&tags, None, &[], None, Strategy::SemVer), "16.10");
        assert_eq!(newest(&tags, None, &[], Some("^15"), Strategy::SemVer), "v15.1.2");
        assert_eq!(newest(&tags, None, &["^16\\.10"], None, Strategy::SemVer), "16.4");
        assert_eq!(newest(&tags, Some("-alpine$"), &[], None, Strategy::SemVer), "16.10-alpine");
        assert_eq!(newest(&tags, Some("^16"), &[], None, Strategy::Lexical), "16.4");
        assert_eq!(newest(&tags, None, &[], None, Strategy::Digest), "latest");
        assert_eq!(newest(&["20250101", "20251231", "x"], Some("^\\d{8}$"), &[], None, Strategy::Lexical), "20251231");
        assert_eq!(newest(&["1.2", "1.2.0"], None, &[], None, Strategy::SemVer), "1.2.0");
        assert_eq!(newest(&["a"], Some("^b"), &[], None, Strategy::Lexical), "");
    }

    #[test]
    fn an_expression_of_one_tag_needs_no_list() {
        assert_eq!(single("^22-bookworm-slim$").as_deref(), Some("22-bookworm-slim"));
        assert_eq!(single("^16\\.4$").as_deref(), Some("16.4"));
        for many in ["16", "^16", "^16.4$", "^16\\d$", "^(a|b)$", "^$"] {
            assert_eq!(single(many), None, "{many}");
        }
    }
}
