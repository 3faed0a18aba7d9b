//! The images that a Dockerfile takes from the outside: `FROM`, `COPY --from` and
//! `RUN --mount=from=`, after expansion, without its own stages and without `scratch`.
//!
//! Named contexts count as in a build: one with the name of an image takes the image's place, and
//! one with the name of a stage takes the stage's.
use crate::ast::{Dockerfile, Kind};
use crate::eval::{self, FromStep, Globals, Options, Step, Visitor};
use crate::{Diagnostic, Span};
use std::collections::{BTreeMap, BTreeSet};

/// How an image is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// `FROM`
    From,
    /// `COPY --from`
    Copy,
    /// `RUN --mount=from=`
    Mount,
}

/// An image that a Dockerfile takes from the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Its name as the Dockerfile has it after expansion, or as its named context has it.
    pub image: String,
    /// How it is used.
    pub used: Use,
    /// `--platform` of its `FROM`, expanded.
    pub platform: Option<String>,
    /// Where it stands.
    pub span: Span,
}

/// What stands behind named contexts: an image's name, or `None` for files.
pub type Contexts<'a> = &'a dyn Fn(&str) -> Option<Option<String>>;

/// All images of a Dockerfile in its order, each use once; with a target only those of the stages
/// that it needs.
///
/// # Errors
/// What a build would end with, too: a name that is empty after expansion, an unknown target.
pub fn bases(
    dockerfile: &Dockerfile,
    options: &Options<'_>,
    contexts: Contexts<'_>,
) -> Result<Vec<Base>, Box<Diagnostic>> {
    let mut finder = Finder { contexts, names: BTreeMap::new(), found: Vec::new(), froms: Vec::new() };
    let graph = eval::walk(dockerfile, options, true, &mut finder)?;
    let needed = if options.target.is_some() { graph.needed() } else { (0..dockerfile.stages.len()).collect() };
    let mut all: Vec<(usize, Base)> = finder.froms;
    all.extend(finder.found);
    all.retain(|(stage, _)| needed.contains(stage));
    all.sort_by_key(|(_, base)| base.span);
    let mut seen = BTreeSet::new();
    all.retain(|(_, base)| seen.insert((base.image.clone(), base.used, base.platform.clone())));
    Ok(all.into_iter().map(|(_, base)| base).collect())
}

struct Finder<'a> {
    contexts: Contexts<'a>,
    names: BTreeMap<String, usize>,
    froms: Vec<(usize, Base)>,
    found: Vec<(usize, Base)>,
}

impl Finder<'_> {
    /// The image that a name means: itself, or what a named context says; `None` for files.
    fn image(&self, name: &str) -> Option<String> {
        match (self.contexts)(name) {
            Some(image) => image,
            None => (name != "scratch").then(|| name.to_owned()),
        }
    }
}

impl Visitor for Finder<'_> {
    fn globals(&mut self, _: &Globals<'_>) {}

    fn from(&mut self, from: &FromStep<'_>) {
        let name = from.stage.from.name.as_ref().map(|name| name.value.to_lowercase());
        let span = from.stage.from.image.span;
        let platform = from.platform.as_ref().map(|platform| platform.value.clone());
        let replaced = name.as_deref().and_then(|name| (self.contexts)(name));
        let image = match replaced {
            Some(image) => image,
            None if self.names.contains_key(&from.image.value) => None,
            None => self.image(&from.image.value),
        };
        if let Some(image) = image {
            self.froms.push((from.stage.index, Base { image, used: Use::From, platform, span }));
        }
        if let Some(name) = name {
            self.names.insert(name, from.stage.index);
        }
    }

    fn step(&mut self, step: &Step<'_>) {
        let stage = step.stage.index;
        let is_stage = |name: &str, by_index: bool| {
            let index = name.parse::<usize>().ok().filter(|_| by_index);
            index.or_else(|| self.names.get(&name.to_lowercase()).copied()).is_some_and(|index| index < stage)
        };
        let mut found = Vec::new();
        match &step.instruction.kind {
            Kind::Copy(copy) => {
                if let Some(from) = copy.from.as_ref().filter(|from| !is_stage(&from.value, true)) {
                    found.push((from.value.clone(), Use::Copy, from.span));
                }
            }
            Kind::Run(run) => {
                for (mount, flag) in step.mounts.iter().zip(&run.mounts) {
                    if let Some(from) = mount.from.as_ref().filter(|from| !from.is_empty() && !is_stage(from, false)) {
                        found.push((from.clone(), Use::Mount, flag.span));
                    }
                }
            }
            _ => {}
        }
        for (name, used, span) in found {
            if let Some(image) = self.image(&name) {
                self.found.push((stage, Base { image, used, platform: None, span }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn list(source: &str, options: &Options<'_>, contexts: &[(&str, Option<&str>)]) -> Vec<String> {
        let file = parse(source).dockerfile.unwrap();
        let find =
            |name: &str| contexts.iter().find(|(key, _)| *key == name).map(|(_, image)| image.map(str::to_owned));
        let found = bases(&file, options, &find).unwrap();
        found.into_iter().map(|base| format!("{:?} {}", base.used, base.image)).collect()
    }

    const FILE: &str = "\
ARG NODE=22
ARG IMAGE=node:${NODE}-bookworm-slim
FROM --platform=$BUILDPLATFORM ${IMAGE} AS Deps
FROM deps AS build
COPY --from=0 /a /a
COPY --from=Deps /a /a
COPY --from=ghcr.io/astral-sh/uv:0.5 /uv /uv
RUN --mount=type=bind,from=golang:1.23,target=/go --mount=type=cache,target=/c true
FROM scratch AS empty
FROM gcr.io/distroless/base@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
COPY --from=build /a /a
COPY --from=assets /x /x
COPY --from=busybox /x /x
COPY --from=busybox /y /y
";

    #[test]
    fn images_are_found_and_stages_are_not() {
        let digest = format!("From gcr.io/distroless/base@sha256:{}", "0123456789abcdef".repeat(4));
        let contexts = [("assets", None)];
        let all = [
            "From node:22-bookworm-slim",
            "Copy ghcr.io/astral-sh/uv:0.5",
            "Mount golang:1.23",
            &digest,
            "Copy busybox",
        ];
        assert_eq!(list(FILE, &Options::default(), &contexts), all);
        let mut options = Options { target: Some("build".into()), ..Options::default() };
        options.build_args.insert("NODE".into(), "24".into());
        assert_eq!(
            list(FILE, &options, &contexts),
            ["From node:24-bookworm-slim", "Copy ghcr.io/astral-sh/uv:0.5", "Mount golang:1.23"]
        );
    }

    #[test]
    fn named_contexts_take_the_place_of_images_and_stages() {
        let contexts = [
            ("assets", None),
            ("busybox", Some("mirror/busybox:1")),
            ("deps", Some("cache/deps:2")),
            ("golang:1.23", None),
        ];
        let found = list(FILE, &Options::default(), &contexts);
        assert_eq!(found[..2], ["From cache/deps:2", "Copy ghcr.io/astral-sh/uv:0.5"]);
        assert_eq!(found.last().unwrap(), "Copy mirror/busybox:1");
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn a_name_that_nobody_knows_is_an_error() {
        let file = parse("ARG BASE\nFROM $BASE\n").dockerfile.unwrap();
        let error = bases(&file, &Options::default(), &|_| None).unwrap_err();
        assert!(error.message.contains("should not be blank"), "{}", error.message);
    }
}
