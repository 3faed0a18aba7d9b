//! The steps that change files.
use dockerfile::Span;
use dockerfile::ast::{MountKind, Network, Security};
use std::sync::Arc;

/// Where the files of a step come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum SourceRef {
    /// The main build context.
    Context,
    /// The result of a stage (by its place in [`super::Plan::stages`]).
    Stage(usize),
    /// An image that is no stage (by its place in [`super::Plan::images`]).
    Image(usize),
    /// A named context that is a file tree (directory, git, HTTP).
    Named(String),
}

/// One step.
#[derive(Debug, Clone)]
pub(crate) struct Op {
    /// What BuildKit prints: `[build 2/5] RUN make`.
    pub(crate) name: String,
    /// Where the instruction stands; of an ONBUILD trigger, where its `FROM` stands.
    pub(crate) span: Span,
    /// The ONBUILD trigger that it comes from.
    pub(crate) trigger: Option<String>,
    /// The place of its entry in the config's history.
    pub(crate) history: usize,
    pub(crate) kind: OpKind,
}

impl Op {
    /// Says that it comes from an ONBUILD trigger; all of it then stands where the stage begins.
    pub(crate) fn triggered(&mut self, trigger: &str, place: Span) {
        self.span = place;
        self.trigger = Some(trigger.to_owned());
        match &mut self.kind {
            OpKind::Run(run) => run.mounts.iter_mut().for_each(|mount| mount.span = place),
            OpKind::Copy(copy) => {
                for item in &mut copy.items {
                    match item {
                        CopyItem::Tree { span, .. } | CopyItem::Http { span, .. } | CopyItem::Git { span, .. } => {
                            *span = place;
                        }
                        CopyItem::Inline { .. } => {}
                    }
                }
            }
            OpKind::Mkdir { .. } => {}
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum OpKind {
    Run(Box<RunOp>),
    Copy(Box<CopyOp>),
    /// `WORKDIR`: the path, and the user that owns what is made.
    Mkdir {
        path: String,
        user: String,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct RunOp {
    pub(crate) args: Vec<String>,
    /// All variables that the command sees, without proxies.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) cwd: String,
    pub(crate) user: String,
    pub(crate) mounts: Vec<MountOp>,
    pub(crate) network: Network,
    pub(crate) security: Security,
    /// The script of a heredoc with a shebang: its name under `/dev/pipes/` and its content.
    pub(crate) script: Option<(String, Arc<[u8]>)>,
}

/// One `RUN --mount`.
#[derive(Debug, Clone)]
pub(crate) struct MountOp {
    pub(crate) kind: MountKind,
    /// Absolute and clean; empty for a secret that is only a variable.
    pub(crate) target: String,
    /// In the source, absolute and clean.
    pub(crate) source: String,
    pub(crate) from: Option<SourceRef>,
    pub(crate) id: String,
    pub(crate) sharing: Sharing,
    pub(crate) readonly: bool,
    pub(crate) required: bool,
    pub(crate) env: Option<String>,
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    /// Bytes.
    pub(crate) size: Option<u64>,
    pub(crate) span: Span,
}

/// How a cache mount is shared between steps that run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    Shared,
    Private,
    Locked,
}

#[derive(Debug, Clone)]
pub(crate) struct CopyOp {
    pub(crate) items: Vec<CopyItem>,
    /// Absolute; a trailing slash is kept, since it means "a directory".
    pub(crate) dest: String,
    /// Unresolved `user[:group]`.
    pub(crate) chown: Option<String>,
    pub(crate) chmod: Option<Mode>,
    pub(crate) link: bool,
    pub(crate) exclude: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) enum CopyItem {
    /// Files of a tree.
    Tree {
        from: SourceRef,
        /// The source, absolute: the pattern, or with `--parents` the pivot directory.
        source: String,
        /// With `--parents`: the pattern below the pivot.
        parents: Option<String>,
        /// Whether archives are unpacked.
        unpack: bool,
        span: Span,
    },
    /// A heredoc.
    Inline { name: String, data: Arc<[u8]> },
    /// A file behind HTTP(S).
    Http { url: String, checksum: Option<oci::Digest>, unpack: bool, span: Span },
    /// A git repository.
    Git { url: String, checksum: Option<String>, keep_git_dir: Option<bool>, span: Span },
}

/// `--chmod`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    Octal(u32),
    /// `u=rwX,go+r`, checked.
    Symbolic(String),
}
