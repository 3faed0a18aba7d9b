//! What was built here, and why a step did not come from the cache.
//!
//! A build leaves a [`BuildRecord`] in the store, with the key fields of each step, and beside it the lists of the
//! files that steps read. A step that misses is compared with the last build that is like this one; the first input
//! that differs is the reason. Records are bounded in number and the lists in bytes, and both go with their age.
mod align;
mod cause;
mod files;
mod mount;
mod record;
mod recorder;

pub(crate) use files::FileList;
pub(crate) use record::FORMAT;
pub use record::{BaseEntry, BuildOutcome, BuildRecord, Cause, CauseKind, Change, ChangeKind, StepEntry, StepOutcome};
pub(crate) use recorder::{Announced, Recorder};

use crate::store::Store;

/// A step of a build beside the same step of an older one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// Its place among the steps of the newer build.
    pub step: usize,
    /// The same step of the older build, where it had one.
    pub old: Option<usize>,
    /// The inputs that differ, the one that says most first; empty where none does.
    pub changes: Vec<Change>,
}

/// Compares two builds step by step.
#[must_use]
pub fn compare(store: &Store, old: &BuildRecord, new: &BuildRecord) -> Vec<Compared> {
    let matched = align::align(old, new);
    let files = |digest: &str| store.files(digest);
    matched
        .into_iter()
        .enumerate()
        .map(|(step, place)| {
            let changes = place.map_or_else(Vec::new, |place| {
                cause::changes(&cause::Side { record: old, step: place }, &cause::Side { record: new, step }, &files)
            });
            Compared { step, old: place, changes }
        })
        .collect()
}
