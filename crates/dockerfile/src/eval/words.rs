//! Which texts of an instruction are expanded, and how.
use crate::ast::{Copy, Heredoc, Kind, Text};

/// The texts that BuildKit expands word by word, in its order. `ARG` values and the fields of mounts are
/// not among them, since they are expanded one after the other.
pub(super) fn of(kind: &Kind) -> Vec<&Text> {
    match kind {
        Kind::Add(copy) | Kind::Copy(copy) => copy_words(copy),
        Kind::Env(pairs) | Kind::Label(pairs) => pairs.pairs.iter().flat_map(|(key, value)| [key, value]).collect(),
        Kind::User(text) | Kind::Workdir(text) | Kind::StopSignal(text) => vec![text],
        Kind::Volume(texts) => texts.iter().collect(),
        _ => Vec::new(),
    }
}

fn copy_words(copy: &Copy) -> Vec<&Text> {
    let flags = [&copy.chown, &copy.chmod, &copy.checksum].into_iter().flatten();
    flags.chain(&copy.exclude).chain(&copy.sources).chain([&copy.destination]).collect()
}

/// How many words of `COPY` and `ADD` come before the sources.
pub(super) fn before_sources(copy: &Copy) -> usize {
    [&copy.chown, &copy.chmod, &copy.checksum].into_iter().flatten().count() + copy.exclude.len()
}

/// The bodies of here-documents that are expanded.
pub(super) fn heredocs(kind: &Kind) -> impl Iterator<Item = Text> + '_ {
    let heredocs: &[Heredoc] = match kind {
        Kind::Add(copy) | Kind::Copy(copy) => &copy.heredocs,
        _ => &[],
    };
    heredocs
        .iter()
        .filter(|heredoc| heredoc.expand)
        .map(|heredoc| Text { value: heredoc.content.clone(), span: heredoc.marker })
}
