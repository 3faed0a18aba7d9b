//! How commands are run in this place: found out when the first command, or the first file of a base image, asks.
use crate::error::{BuildError, Kind, Result};
use sandbox::userns::Entered;
use std::path::PathBuf;
use std::sync::OnceLock;

/// The place, and what it allows.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) launcher: sandbox::Launcher,
    /// The content of /etc/resolv.conf for commands.
    pub(crate) resolv_conf: Vec<u8>,
    store: PathBuf,
    entered: Entered,
    wanted: Option<sandbox::Isolation>,
    found: OnceLock<std::result::Result<sandbox::Choice, BuildError>>,
}

impl Place {
    pub(crate) fn new(
        launcher: sandbox::Launcher,
        resolv_conf: Vec<u8>,
        store: PathBuf,
        entered: Entered,
        wanted: Option<sandbox::Isolation>,
    ) -> Self {
        Self { launcher, resolv_conf, store, entered, wanted, found: OnceLock::new() }
    }

    /// Isolation and root file systems. The primitives are tried once, in child processes.
    pub(crate) fn choice(&self) -> Result<&sandbox::Choice> {
        let found = self.found.get_or_init(|| {
            let probes = sandbox::probe::probes(&self.launcher, &self.store);
            sandbox::choose(self.wanted, &probes).map_err(|e| {
                BuildError::new(Kind::Input, e.to_string()).hint("run `cooperage doctor` to see what this place allows")
            })
        });
        found.as_ref().map_err(BuildError::duplicate)
    }

    fn is(&self, isolation: sandbox::Isolation) -> bool {
        self.choice().is_ok_and(|c| c.isolation == isolation)
    }

    /// Only one id exists here.
    fn single_id(&self) -> bool {
        matches!(self.entered, Entered::SingleId { .. })
    }

    pub(crate) fn uses_overlay(&self) -> bool {
        self.choice().is_ok_and(|c| c.root == sandbox::RootStrategy::Overlay)
    }

    /// Whether files keep their owners on disk. Elsewhere a table beside them has them.
    pub(crate) fn real_owners(&self) -> bool {
        !self.single_id() && (self.is(sandbox::Isolation::Namespaces) || self.is(sandbox::Isolation::Chroot))
    }

    /// Only one id exists, and nothing remembers others: changes of owner are answered with success and lost.
    pub(crate) fn fake_owners(&self) -> bool {
        self.single_id() && !self.is(sandbox::Isolation::Intercept)
    }
}
