//! Landlock: what holds when the agent is wrong or the guest goes around it, and when root leaves its chroot.
//!
//! The step may use its tree, the sources of its mounts, /proc and the standard devices, and nothing else of the file
//! system; it may not trace or signal processes outside, nor connect to abstract sockets of the place.

use std::os::fd::AsFd;
use std::path::Path;

use agent::protocol::{MOUNT_FILE, MOUNT_PROC, MOUNT_READ_ONLY};
use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetStatus, Scope,
};

use crate::child::Setup;
use crate::error::SetupError;
use crate::intercept::layout::Place;

const NEWEST: ABI = ABI::V6;

/// A prepared set of rules.
pub(crate) struct Rules(RulesetCreated);

fn failed(action: impl Into<String>, error: &dyn std::fmt::Display) -> SetupError {
    SetupError { action: format!("{}: {error}", action.into()), errno: 0, hint: None }
}

fn file_access() -> landlock::BitFlags<AccessFs> {
    AccessFs::from_file(NEWEST)
}

/// Prepares the rules for a step.
pub(crate) fn rules(tree: impl AsFd, places: &[Place]) -> Setup<Rules> {
    let all = AccessFs::from_all(NEWEST);
    let read = AccessFs::from_read(NEWEST);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)
        .and_then(|rules| rules.scope(Scope::from_all(NEWEST)))
        .and_then(|rules| rules.create())
        .map_err(|error| failed("prepare Landlock", &error))?;
    rules = rules
        .add_rule(PathBeneath::new(tree.as_fd(), all))
        .map_err(|error| failed("allow the tree in Landlock", &error))?;
    // Settings of the kernel belong to user 0, who needs no capability to write them; files of the builder's processes
    // (`oom_score_adj`) belong to its user.
    let read_only = MOUNT_READ_ONLY | MOUNT_PROC;
    for place in places.iter().filter(|place| !place.in_memory) {
        let mut access = if place.flags & read_only != 0 { read } else { all };
        if place.flags & MOUNT_FILE != 0 {
            access &= file_access();
        }
        rules = allow(rules, place, access)?;
    }
    Ok(Rules(rules))
}

fn allow(rules: RulesetCreated, place: &Place, access: landlock::BitFlags<AccessFs>) -> Setup<RulesetCreated> {
    let action = || format!("allow {} in Landlock", place.source.display());
    let opened;
    let fd = match &place.fd {
        Some(fd) => fd.as_fd(),
        None => {
            opened = PathFd::new(Path::new(&place.source)).map_err(|error| failed(action(), &error))?;
            opened.as_fd()
        }
    };
    rules.add_rule(PathBeneath::new(fd, access)).map_err(|error| failed(action(), &error))
}

impl Rules {
    /// Applies the rules to this process and all that it starts. Sets no_new_privs. False where the kernel has no
    /// Landlock.
    pub(crate) fn apply(self) -> Setup<bool> {
        let status = self.0.restrict_self().map_err(|error| failed("apply Landlock", &error))?;
        Ok(status.ruleset != RulesetStatus::NotEnforced)
    }
}
