//! The isolations, and the choice among them from what the probes found.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::probe::{Probes, Why};

/// How a step is confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Namespaces, mounts and pivot_root: needs CAP_SYS_ADMIN, if only in a user namespace.
    Namespaces,
    /// chroot(2) as uid 0 with nothing to help it: no mounts, no `/proc/self`.
    PlainChroot,
    /// System calls intercepted inside the command's own processes; needs nothing.
    Intercept,
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isolation::Namespaces => "namespaces",
            Isolation::PlainChroot => "plain-chroot",
            Isolation::Intercept => "intercept",
        })
    }
}

/// An isolation that is asked for by name (`--isolation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IsolationRequest {
    /// [`Isolation::Namespaces`].
    Namespaces,
    /// What uid 0 has without mounts: [`Isolation::Intercept`] where it works, since a chroot(2) alone has no /proc and
    /// no mounts, else [`Isolation::PlainChroot`].
    Chroot,
    /// [`Isolation::Intercept`].
    Intercept,
    /// [`Isolation::PlainChroot`], also where interception works.
    PlainChroot,
}

impl IsolationRequest {
    /// All of them, the best first.
    pub const ALL: [IsolationRequest; 4] = [
        IsolationRequest::Namespaces,
        IsolationRequest::Chroot,
        IsolationRequest::Intercept,
        IsolationRequest::PlainChroot,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            IsolationRequest::Namespaces => "namespaces",
            IsolationRequest::Chroot => "chroot",
            IsolationRequest::Intercept => "intercept",
            IsolationRequest::PlainChroot => "plain-chroot",
        }
    }
}

impl fmt::Display for IsolationRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for IsolationRequest {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let found = IsolationRequest::ALL.into_iter().find(|request| request.name() == name);
        found.ok_or_else(|| format!("unknown isolation {name:?}: use namespaces, chroot, intercept or plain-chroot"))
    }
}

/// How root file systems are kept in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RootStrategy {
    /// One directory per layer, merged by overlayfs.
    Overlay,
    /// One flat directory per chain.
    Tree,
}

impl fmt::Display for RootStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RootStrategy::Overlay => "overlay",
            RootStrategy::Tree => "tree",
        })
    }
}

/// What [`choose`] decided, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// How steps are confined.
    pub isolation: Isolation,
    /// How root file systems are kept.
    pub root: RootStrategy,
    /// One sentence per decision: what was preferred and what stood in its way.
    pub reasons: Vec<String>,
}

/// The isolation cannot work here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{isolation} isolation cannot work here: {primitive}: {why}")]
pub struct CannotIsolate {
    /// The isolation that was asked for, or the last resort.
    pub isolation: IsolationRequest,
    /// The primitive that failed first.
    pub primitive: String,
    /// How it failed.
    pub why: String,
}

/// The order of preference. A chroot without mounts has no `/proc/self`, which Java, node and many a maintainer script
/// need; interception provides it, so it comes first although it needs less.
const PREFERENCE: [Isolation; 3] = [Isolation::Namespaces, Isolation::Intercept, Isolation::PlainChroot];

/// Picks the best isolation that works, or checks the requested one.
pub fn choose(requested: Option<IsolationRequest>, probes: &Probes) -> Result<Choice, CannotIsolate> {
    let result = |isolation| match isolation {
        Isolation::Namespaces => &probes.namespaces,
        Isolation::PlainChroot => &probes.chroot,
        Isolation::Intercept => &probes.intercept,
    };
    let refuse =
        |isolation, why: &Why| Err(CannotIsolate { isolation, primitive: why.action.clone(), why: why.reason.clone() });
    let mut reasons = Vec::new();
    let isolation = match requested {
        Some(request) => {
            let isolation = match request {
                IsolationRequest::Namespaces => Isolation::Namespaces,
                IsolationRequest::Intercept => Isolation::Intercept,
                IsolationRequest::Chroot | IsolationRequest::PlainChroot => Isolation::PlainChroot,
            };
            if let Err(why) = result(isolation) {
                return refuse(request, why);
            }
            reasons.push(format!("{request} isolation was asked for, and works"));
            match (request, &probes.intercept) {
                (IsolationRequest::Chroot, Ok(())) => {
                    reasons.push("interception works, and gives it /proc, terminals and mounts".into());
                    Isolation::Intercept
                }
                (IsolationRequest::Chroot, Err(why)) => {
                    reasons.push(format!("interception, for its /proc, terminals and mounts, does not work: {why}"));
                    isolation
                }
                _ => isolation,
            }
        }
        None => {
            let mut chosen = None;
            for isolation in PREFERENCE {
                match (result(isolation), &probes.owners, &probes.intercept) {
                    // apt and its like refuse to work where identities are only faked; interception remembers them.
                    (Ok(()), Err(why), Ok(())) if isolation == Isolation::Namespaces => {
                        reasons.push(format!("namespaces isolation works for one user id only: {why}"));
                        reasons.push("intercept isolation works, and remembers other owners".into());
                        chosen = Some(Isolation::Intercept);
                        break;
                    }
                    (Ok(()), ..) => {
                        reasons.push(format!("{isolation} isolation works"));
                        chosen = Some(isolation);
                        break;
                    }
                    (Err(why), ..) => reasons.push(format!("{isolation} isolation does not work: {why}")),
                }
            }
            match (chosen, &probes.intercept) {
                (Some(isolation), _) => isolation,
                (None, Err(why)) => return refuse(IsolationRequest::Intercept, why),
                (None, Ok(())) => Isolation::Intercept,
            }
        }
    };
    let root = match (isolation, &probes.overlay) {
        (Isolation::Namespaces, Ok(_)) => {
            reasons.push("overlayfs works at the store's place".into());
            RootStrategy::Overlay
        }
        (Isolation::Namespaces, Err(why)) => {
            reasons.push(format!("overlayfs does not work at the store's place: {why}"));
            RootStrategy::Tree
        }
        (isolation, _) => {
            reasons.push(format!("{isolation} isolation cannot mount an overlay"));
            RootStrategy::Tree
        }
    };
    Ok(Choice { isolation, root, reasons })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::OverlaySupport;

    fn probes(namespaces: bool, overlay: bool, chroot: bool, intercept: bool) -> Probes {
        let why = |name: &str| Why { action: name.into(), reason: "Operation not permitted".into(), errno: 1 };
        let result = |works: bool, name: &str| if works { Ok(()) } else { Err(why(name)) };
        Probes {
            namespaces: result(namespaces, "unshare"),
            overlay: result(overlay, "mount").map(|()| OverlaySupport { chown: true }),
            owners: Ok(()),
            chroot: result(chroot, "chroot"),
            intercept: result(intercept, "seccomp"),
        }
    }

    #[test]
    fn the_best_that_works_is_chosen() {
        let choice = |n, o, c, i| choose(None, &probes(n, o, c, i)).map(|choice| (choice.isolation, choice.root));
        assert_eq!(choice(true, true, true, true), Ok((Isolation::Namespaces, RootStrategy::Overlay)));
        assert_eq!(choice(true, false, true, true), Ok((Isolation::Namespaces, RootStrategy::Tree)));
        assert_eq!(choice(false, true, true, true), Ok((Isolation::Intercept, RootStrategy::Tree)));
        assert_eq!(choice(false, true, true, false), Ok((Isolation::PlainChroot, RootStrategy::Tree)));
        assert_eq!(choice(false, false, false, true), Ok((Isolation::Intercept, RootStrategy::Tree)));
        let single = Probes { owners: probes(false, true, true, true).namespaces, ..probes(true, true, false, true) };
        let choice_of = |probes: &Probes| choose(None, probes).map(|choice| choice.isolation);
        assert_eq!(choice_of(&single), Ok(Isolation::Intercept));
        let single = Probes { intercept: single.owners.clone(), ..single };
        assert_eq!(choice_of(&single), Ok(Isolation::Namespaces), "with faked ownership");
        let none = choice(false, false, false, false).expect_err("nothing works");
        assert_eq!(none.to_string(), "intercept isolation cannot work here: seccomp: Operation not permitted");
    }

    #[test]
    fn a_forced_isolation_that_cannot_work_names_the_primitive() {
        let error = choose(Some(IsolationRequest::Namespaces), &probes(false, true, true, true)).expect_err("forced");
        assert_eq!(error.to_string(), "namespaces isolation cannot work here: unshare: Operation not permitted");
        let error = choose(Some(IsolationRequest::Chroot), &probes(true, true, false, true)).expect_err("forced");
        assert_eq!(error.to_string(), "chroot isolation cannot work here: chroot: Operation not permitted");
        for request in IsolationRequest::ALL {
            assert_eq!(request.name().parse(), Ok(request));
        }
        assert!("docker".parse::<IsolationRequest>().is_err());
    }

    #[test]
    fn a_chroot_has_the_help_of_interception_where_there_is_any() {
        let chosen = |request, intercept| {
            let choice = choose(Some(request), &probes(true, true, true, intercept)).expect("works");
            assert_eq!(choice.root, RootStrategy::Tree);
            choice.isolation
        };
        assert_eq!(chosen(IsolationRequest::Chroot, true), Isolation::Intercept);
        assert_eq!(chosen(IsolationRequest::Chroot, false), Isolation::PlainChroot);
        assert_eq!(chosen(IsolationRequest::PlainChroot, true), Isolation::PlainChroot);
    }
}
