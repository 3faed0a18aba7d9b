//! `SOURCE_DATE_EPOCH` that comes from the Dockerfile or from a source: a default of a global `ARG` (1.23), `context`
//! or the name of a stage or named context (1.24).
//!
//! Given with the request it wins over the Dockerfile. A git source has the time of its commit; a download that of
//! `Last-Modified`, else of the newest file of the archive; local files have none, and the epoch then stays unset.
use crate::contexts::{Fetcher, Loaded};
use crate::error::{BuildError, Kind, Result};
use crate::plan::{self, Env, PlanInput};
use crate::request::{BuildRequest, ContextSource};
use crate::source::{self, RemoteKind};
use crate::tree::Tree;
use dockerfile::Span;
use dockerfile::ast;
use layer::Kind as EntryKind;
use std::path::PathBuf;

pub(crate) const NAME: &str = "SOURCE_DATE_EPOCH";

/// The request with the epoch in seconds; `None` where it says all there is to say.
pub(crate) fn settle(fetcher: &Fetcher<'_>, loaded: &Loaded, input: &PlanInput<'_>) -> Result<Option<BuildRequest>> {
    let request = input.request;
    let given = request.build_args.get(NAME);
    if given.is_none() && request.source_date_epoch.is_some() {
        return Ok(None);
    }
    let globals = plan::globals(input)?;
    let (text, span) = match (given, globals.get(NAME)) {
        (Some(text), _) => (text.as_str(), None),
        (None, Some(text)) => (text, declaration(input.dockerfile)),
        (None, None) => return Ok(None),
    };
    let seconds = match text.parse::<i64>() {
        _ if text.is_empty() => return Ok(None),
        Ok(seconds) if seconds >= 0 && given.is_some() => return Ok(None),
        Ok(seconds) if seconds >= 0 => Some(seconds),
        _ => Resolver { fetcher, loaded, input, globals: &globals }.seconds(text).map_err(|e| match span {
            Some(span) => e.at(span),
            None => e,
        })?,
    };
    let mut settled = request.clone();
    settled.source_date_epoch = seconds;
    if given.is_some() {
        settled.build_args.insert(NAME.to_owned(), seconds.map_or_else(String::new, |seconds| seconds.to_string()));
    }
    Ok(Some(settled))
}

/// Where the Dockerfile gives its own.
fn declaration(file: &ast::Dockerfile) -> Option<Span> {
    let args = file.global_args.iter().filter_map(|i| match &i.kind {
        ast::Kind::Arg(list) => Some(list),
        _ => None,
    });
    args.flatten().find(|arg| arg.name.value == NAME).map(|arg| arg.value.as_ref().map_or(arg.name.span, |v| v.span))
}

struct Resolver<'a> {
    fetcher: &'a Fetcher<'a>,
    loaded: &'a Loaded,
    input: &'a PlanInput<'a>,
    globals: &'a Env,
}

impl Resolver<'_> {
    fn seconds(&self, text: &str) -> Result<Option<i64>> {
        if text == "context" {
            return Ok(self.loaded.time);
        }
        if let Some((_, source)) = self.input.named(text) {
            return match source {
                ContextSource::Git(url) => self.fetcher.git_time(url, None).map(Some),
                ContextSource::Http(url) => self.fetcher.http_time(url, None),
                _ => Ok(None),
            };
        }
        let same = |stage: &&ast::Stage| stage.from.name.as_ref().is_some_and(|n| n.value.eq_ignore_ascii_case(text));
        let Some(stage) = self.input.dockerfile.stages.iter().find(same) else {
            let given = self.input.request.build_args.contains_key(NAME);
            return Err(BuildError::new(
                if given { Kind::Input } else { Kind::Dockerfile },
                format!("invalid {NAME} {text:?}: no seconds since 1970, and no stage or named context has this name"),
            )
            .hint(format!("for the time of the last commit: {NAME}=$(git log -1 --format=%ct)"))
            .hint(format!("{NAME}=context is the time of a git or HTTP context")));
        };
        self.stage(stage)
    }

    /// The time of what a stage consists of: `FROM scratch` and one remote `ADD`.
    fn stage(&self, stage: &ast::Stage) -> Result<Option<i64>> {
        let refused = |span, why: String| {
            BuildError::new(Kind::Dockerfile, format!("the stage has no time for {NAME}: {why}"))
                .at(span)
                .hint("such a stage is FROM scratch and one ADD of a git repository or URL; ARG may stand between")
        };
        if self.input.word(&stage.from.image, self.globals)? != "scratch" {
            return Err(refused(stage.from.image.span, "it is not FROM scratch".to_owned()));
        }
        let (mut env, mut found) = (self.globals.clone(), None);
        for instruction in &stage.instructions {
            match &instruction.kind {
                ast::Kind::Arg(list) => {
                    for arg in list {
                        let value = match (self.input.request.build_args.get(&arg.name.value), &arg.value) {
                            (Some(given), _) => given.clone(),
                            (None, Some(default)) => self.input.word(default, &env)?,
                            (None, None) => continue,
                        };
                        env.set(&arg.name.value, &value);
                    }
                }
                ast::Kind::Add(add) if found.is_none() && add.heredocs.is_empty() && add.sources.len() == 1 => {
                    let source = self.input.word(&add.sources[0], &env)?;
                    let Some(kind) = source::remote_kind(&source) else {
                        return Err(refused(add.sources[0].span, format!("{source} is not remote")));
                    };
                    let checksum = add.checksum.as_ref().map(|text| self.input.word(text, &env)).transpose()?;
                    found = Some((kind, source, checksum));
                }
                _ => {
                    return Err(refused(
                        instruction.span,
                        "it holds more than one remote ADD of one source".to_owned(),
                    ));
                }
            }
        }
        let Some((kind, source, checksum)) = found else {
            return Err(refused(stage.span, "it adds nothing".to_owned()));
        };
        match kind {
            RemoteKind::Git => self.fetcher.git_time(&source, checksum).map(Some),
            RemoteKind::Http => {
                let checksum = checksum
                    .map(|text| text.parse::<oci::Digest>())
                    .transpose()
                    .map_err(|e| refused(stage.span, format!("--checksum: {e}")))?;
                self.fetcher.http_time(&source, checksum.as_ref())
            }
        }
    }
}

/// The time of the newest file of a tree, in seconds since 1970.
pub(crate) fn newest(tree: &dyn Tree) -> Result<Option<i64>> {
    let (mut open, mut newest) = (vec![PathBuf::new()], None);
    while let Some(directory) = open.pop() {
        for (name, node) in tree.read_dir(&directory)? {
            match node.entry.kind {
                EntryKind::Dir => open.push(directory.join(name)),
                EntryKind::File => newest = newest.max(Some(node.entry.mtime.secs)),
                _ => {}
            }
        }
    }
    Ok(newest)
}
