//! Workflows for CI, from plain descriptions: [`github`] and [`gitlab`]. Pure and deterministic.
//!
//! Both build what a change touches, what others are made from first, with `cooperage factory build`, which knows tags,
//! platforms, secrets and manifests from `images.yaml`: a workflow is written anew only where images come, go or move.
pub mod github;
pub mod gitlab;

use std::collections::{BTreeMap, BTreeSet};

/// What is built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pipeline {
    /// The list of images, from the top of the repository.
    pub file: String,
    /// Branches whose pushes are built.
    pub branches: Vec<String>,
    /// Patterns of tags that are built.
    pub tags: Vec<String>,
    /// When base images are checked and what is due is rebuilt, in cron's form; GitLab takes the time from its own
    /// settings. With it jobs commit the state files, which is what the next one knows.
    pub schedule: Option<String>,
    /// The directory of the state files, from the top of the repository; empty for the top.
    pub state: String,
    /// The images, in any order.
    pub images: Vec<Image>,
}

/// An image that is built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// Its name in `images.yaml`.
    pub name: String,
    /// Host and port of its registry.
    pub registry: String,
    /// Registry and repository.
    pub reference: String,
    /// Whether its source is the repository of the workflow; others are built on demand alone.
    pub here: bool,
    /// Patterns of files whose change asks for a build, as workflows write them; none: every change.
    pub paths: Vec<String>,
    /// Names of images here that it is made from.
    pub needs: Vec<String>,
    /// Variables that hold its secrets.
    pub secrets: Vec<String>,
    /// Whether manifests are updated.
    pub updates: bool,
    /// Whether that is by pull requests.
    pub requests: bool,
    /// Whether it is built for other processors than the runner's.
    pub foreign: bool,
}

/// The images by level: what is made from others comes later; by name within a level. Images that need each other are in
/// the last level.
fn levels(pipeline: &Pipeline) -> Vec<Vec<&Image>> {
    let names: BTreeSet<&str> = pipeline.images.iter().map(|image| image.name.as_str()).collect();
    let mut left: BTreeMap<&str, &Image> = pipeline.images.iter().map(|image| (image.name.as_str(), image)).collect();
    let mut levels = Vec::new();
    while !left.is_empty() {
        let waits =
            |image: &Image| image.needs.iter().any(|n| left.contains_key(n.as_str()) && names.contains(n.as_str()));
        let mut level: Vec<&Image> = left.values().copied().filter(|image| !waits(image)).collect();
        if level.is_empty() {
            level = left.values().copied().collect();
        }
        level.iter().for_each(|image| {
            left.remove(image.name.as_str());
        });
        levels.push(level);
    }
    levels
}

/// An image's patterns with those of what it is made from; none where every change counts. Exclusions (`!`) are for the
/// image's own files: where others' patterns come to them they are left out, and too much is built rather than too little.
fn patterns(pipeline: &Pipeline, image: &Image) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut next = vec![image];
    let mut all = BTreeSet::new();
    while let Some(image) = next.pop() {
        if !image.here || !seen.insert(image.name.as_str()) {
            continue;
        }
        if image.paths.is_empty() {
            return BTreeSet::new();
        }
        all.extend(image.paths.iter().map(|path| match path.strip_suffix('/') {
            Some(dir) => format!("{dir}/**"),
            None => path.clone(),
        }));
        next.extend(pipeline.images.iter().filter(|other| image.needs.contains(&other.name)));
    }
    if seen.len() > 1 {
        all.retain(|pattern: &String| !pattern.starts_with('!'));
    }
    all
}

/// All patterns of the images here, without exclusions; none where every change counts.
fn union(pipeline: &Pipeline) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for image in pipeline.images.iter().filter(|image| image.here) {
        let own = patterns(pipeline, image);
        if own.is_empty() {
            return own;
        }
        all.extend(own.into_iter().filter(|pattern| !pattern.starts_with('!')));
    }
    all
}

/// The script that commits changed state files on top of the branch `$BRANCH`, while others push, too. Git takes the
/// token from a variable, so it is on no command line.
fn commit_state(pipeline: &Pipeline, user: &str, variable: &str, remote: &str) -> String {
    let below = |dir: &str| match pipeline.state.as_str() {
        "" | "." => dir.to_owned(),
        state => format!("{}/{dir}", state.trim_end_matches('/')),
    };
    format!(
        "set -eu\n\
         files=$(git status --porcelain --untracked-files=all -- {images} {bases} | cut -c4-)\n\
         [ -n \"$files\" ] || exit 0\n\
         saved=$(mktemp)\n\
         tar -cf \"$saved\" $files\n\
         remote() {{\n\
         \x20 git -c credential.helper= -c 'credential.helper=!f() {{ echo username={user}; echo \"password=${variable}\"; }}; f' \"$@\"\n\
         }}\n\
         for try in 1 2 3 4 5 6 7 8; do\n\
         \x20 if remote fetch -q --depth=1 {remote} \"$BRANCH\" && git checkout -q --force --detach FETCH_HEAD; then\n\
         \x20   tar -xf \"$saved\"\n\
         \x20   git add -- $files\n\
         \x20   git diff --cached --quiet && exit 0\n\
         \x20   git -c user.name='cooperage factory' -c user.email=factory@localhost commit -q -m 'State of the image factory [skip ci]'\n\
         \x20   remote push -q {remote} \"HEAD:refs/heads/$BRANCH\" && exit 0\n\
         \x20 fi\n\
         \x20 sleep \"$(($$ % 3 + try))\"\n\
         done\n\
         echo 'the state files could not be pushed' >&2\n\
         exit 1\n",
        images = quoted(&below("images")),
        bases = quoted(&below("base-images")),
    )
}

/// Registries asked for new base images, and what is due rebuilt.
fn rebuild(pipeline: &Pipeline, attest: bool) -> String {
    let file = quoted(&pipeline.file);
    let attest = if attest { " --attest" } else { "" };
    format!(
        "cooperage factory discover --file {file}\n\
         cooperage factory check-bases --file {file}\n\
         cooperage factory rebuild --eligible{attest} --file {file}\n"
    )
}

/// A word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// A registry as part of a variable's name: `GHCR_IO`.
fn variable(registry: &str) -> String {
    registry.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// The registries of some images.
fn registries<'p>(images: impl IntoIterator<Item = &'p Image>) -> BTreeSet<&'p str> {
    images.into_iter().map(|image| image.registry.as_str()).collect()
}
