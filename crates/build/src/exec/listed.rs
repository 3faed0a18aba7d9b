//! Which layers of base images a build wants nothing of but their tables of contents.
//!
//! That is so where files are only put on top of them. Their bytes pass through on the way to the table, and to
//! another registry where the image goes there; keeping them in the store as well would cost time and room for nothing.
//! In doubt they are kept: it never does harm.
use super::Executor;
use crate::plan::{Base, CopyItem, Op, OpKind, SourceRef};

impl Executor<'_> {
    /// Says which blobs these are.
    pub(crate) fn list_only(&self) {
        let plan = self.plan;
        let sources: Vec<&SourceRef> = plan.stages.iter().flat_map(|s| &s.ops).flat_map(sources).collect();
        for (number, image) in plan.images.iter().enumerate() {
            let copied_from = sources.iter().any(|source| matches!(source, SourceRef::Image(n) if *n == number));
            let mut stages = (0..plan.stages.len()).filter(|stage| self.root_image(*stage) == Some(number));
            let read = stages.any(|stage| {
                sources.iter().any(|source| matches!(source, SourceRef::Stage(n) if *n == stage))
                    || plan.stages[stage].ops.iter().any(reads_below)
            });
            let blobs = image.layers.iter().map(|(_, descriptor)| descriptor.digest.clone());
            self.layers.uses(blobs, copied_from || read);
        }
    }

    /// The image that a stage goes back to.
    fn root_image(&self, stage: usize) -> Option<usize> {
        match self.plan.stages[stage].base {
            Base::Image(image) => Some(image),
            Base::Stage(parent) => self.root_image(parent),
            Base::Scratch => None,
        }
    }
}

/// Where a step's files come from.
fn sources(op: &Op) -> Vec<&SourceRef> {
    match &op.kind {
        OpKind::Copy(copy) => copy
            .items
            .iter()
            .filter_map(|item| match item {
                CopyItem::Tree { from, .. } => Some(from),
                _ => None,
            })
            .collect(),
        OpKind::Run(run) => run.mounts.iter().filter_map(|mount| mount.from.as_ref()).collect(),
        OpKind::Mkdir { .. } => Vec::new(),
    }
}

/// Whether a step reads files below it: a command does, and who looks up a user's name.
fn reads_below(op: &Op) -> bool {
    let named = |owner: &str| owner.split(':').any(|part| part.parse::<u32>().is_err());
    match &op.kind {
        OpKind::Run(_) => true,
        OpKind::Copy(copy) => copy.chown.as_deref().is_some_and(named),
        OpKind::Mkdir { user, .. } => !user.is_empty(),
    }
}
