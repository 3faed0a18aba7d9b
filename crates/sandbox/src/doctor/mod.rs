//! What `cooperage doctor` knows: every primitive tried, what is chosen, and what would unlock the next better one.
//!
//! All of it is data; the command line renders it as text or JSON. The report leads with tries. Names of places and
//! settings serve only to say what to change.

mod facts;
mod place;
mod unlock;

use std::ffi::OsString;
use std::path::PathBuf;

use serde::Serialize;

pub use facts::Facts;
pub use place::{Clues, Place, recognise};

use crate::isolation::{CannotIsolate, Choice, IsolationRequest, choose};
use crate::launch::Launcher;
use crate::probe::{self, Primitive, Why};
use crate::userns::{Entered, NoUserNamespace};

/// What the report needs to be told.
pub struct Surroundings<'a> {
    /// The store's directory; must exist.
    pub store: PathBuf,
    /// `PATH`.
    pub path: OsString,
    /// What [`crate::userns::enter`] said when the program started.
    pub entered: Result<Entered, NoUserNamespace>,
    /// `--isolation`.
    pub requested: Option<IsolationRequest>,
    /// Environment and files that tell the place.
    pub clues: Clues<'a>,
}

/// One primitive, tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A short name, stable for scripts.
    pub name: &'static str,
    /// What it is for, in words.
    pub purpose: &'static str,
    /// Detail where it works, failure where it does not.
    pub result: Result<String, Why>,
}

/// Everything that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Kinds of place.
    pub places: Vec<Place>,
    /// What was read.
    pub facts: Facts,
    /// What became of the user namespace.
    pub entered: Result<Entered, NoUserNamespace>,
    /// What was tried.
    pub findings: Vec<Finding>,
    /// What is chosen, and why.
    pub choice: Result<Choice, CannotIsolate>,
    /// What would unlock something better, the best first: an exact setting each.
    pub unlock: Vec<Unlock>,
}

/// A change that would make something better possible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unlock {
    /// What it would give.
    pub gives: String,
    /// What to change: a line of a manifest, an option, a command.
    pub change: String,
}

/// Tries everything. Takes some ten milliseconds.
pub fn report(launcher: &Launcher, around: &Surroundings<'_>) -> Report {
    let store = || around.store.clone();
    let table: Vec<(&'static str, &'static str, Primitive)> = vec![
        ("namespaces", "mounts, processes and names of their own for each step", Primitive::Namespaces),
        ("network-namespace", "RUN --network=none", Primitive::NetworkNamespace),
        ("user-namespaces", "root for an ordinary user", Primitive::UserNamespaces),
        ("overlay", "layers merged by the kernel at the store's place", Primitive::Overlay(store())),
        ("owners", "files of other users", Primitive::Chown(store())),
        ("chroot", "a root of its own, as uid 0 without mounts", Primitive::Chroot(store())),
        ("mknod", "device nodes in a tree", Primitive::Mknod(store())),
        ("seccomp-trap", "interception inside the step's processes", Primitive::SeccompTrap),
        ("seccomp-notify", "interception from outside", Primitive::SeccompNotify),
        ("ptrace", "interception from outside, slow", Primitive::Ptrace),
        ("openat2", "paths resolved inside a tree", Primitive::Openat2),
        ("memfd-exec", "programs started from memory", Primitive::MemfdExec),
        ("landlock", "a fence around an intercepted step", Primitive::Landlock),
        ("reflink", "trees copied without their bytes", Primitive::Reflink(store())),
        ("user-xattr", "marks on files of the store", Primitive::UserXattr(store())),
    ];
    let primitives = table.iter().map(|(_, _, primitive)| primitive.clone()).collect();
    let results = probe::attempt_all(launcher, primitives);
    let findings: Vec<Finding> =
        table.into_iter().zip(results).map(|((name, purpose, _), result)| Finding { name, purpose, result }).collect();
    let choice = choose(around.requested, &probe::probes(launcher, &around.store));
    let places = recognise(&around.clues);
    let facts = facts::read(&around.store, &around.path);
    let entered = around.entered.clone();
    let unlock = unlock::advise(&places, &facts, &entered, &findings, choice.as_ref().ok());
    Report { places, facts, entered, findings, choice, unlock }
}
