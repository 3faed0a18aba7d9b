//! How commands are run in this place: found out when the first command, or the first file of a base image, asks.
use crate::error::{BuildError, Kind, Result};
use oci::Platform;
use sandbox::emulation::{Emulator, Machine, runs_here};
use sandbox::userns::Entered;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The place, and what it allows.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) launcher: sandbox::Launcher,
    /// The content of /etc/resolv.conf for commands.
    pub(crate) resolv_conf: Vec<u8>,
    store: PathBuf,
    entered: Entered,
    wanted: Option<sandbox::IsolationRequest>,
    found: OnceLock<std::result::Result<sandbox::Choice, BuildError>>,
    /// `PATH`, where emulators are searched.
    path: OsString,
    /// Who runs programs of an architecture: `None` is the kernel itself.
    emulators: Mutex<HashMap<String, Option<Emulator>>>,
}

impl Place {
    pub(crate) fn new(
        launcher: sandbox::Launcher,
        resolv_conf: Vec<u8>,
        store: PathBuf,
        entered: Entered,
        wanted: Option<sandbox::IsolationRequest>,
        path: OsString,
    ) -> Self {
        let emulators = Mutex::default();
        Self { launcher, resolv_conf, store, entered, wanted, found: OnceLock::new(), path, emulators }
    }

    /// What runs the commands of an image for this platform: `None` where the kernel does, by itself or by a handler that
    /// somebody registered. Tried once an architecture; `scratch` is a path for a small program.
    ///
    /// # Errors
    /// Where nothing runs them; the message says how to get an emulator.
    pub(crate) fn emulator(&self, platform: &Platform, scratch: &Path) -> Result<Option<Emulator>> {
        let host = Platform::host();
        let architecture = &platform.architecture;
        if *architecture == host.architecture {
            return Ok(None);
        }
        let mut known = self.emulators.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(emulator) = known.get(architecture) {
            return Ok(emulator.clone());
        }
        let isolation = self.choice()?.isolation;
        let machine = Machine::of(architecture);
        let in_kernel = machine.is_some_and(|machine| runs_here(machine, scratch).unwrap_or(false));
        let found = machine.and_then(|machine| Emulator::find(machine, &self.path));
        let emulator = match (isolation, in_kernel, found) {
            // There each program is loaded by the step's own agent, not by the kernel.
            (sandbox::Isolation::Intercept, _, Some(emulator)) => Some(emulator),
            (sandbox::Isolation::Namespaces | sandbox::Isolation::PlainChroot, true, _) => None,
            (sandbox::Isolation::Namespaces, false, Some(emulator)) => Some(emulator),
            _ => return Err(no_emulator(platform, &host, isolation, machine)),
        };
        known.insert(architecture.clone(), emulator.clone());
        Ok(emulator)
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

    /// What was chosen, if anything asked for it yet.
    pub(crate) fn chosen(&self) -> Option<&sandbox::Choice> {
        self.found.get()?.as_ref().ok()
    }

    /// Bytes that are free where the store lies.
    pub(crate) fn free_space(&self) -> Option<u64> {
        let found = rustix::fs::statvfs(&self.store).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
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
        !self.single_id() && (self.is(sandbox::Isolation::Namespaces) || self.is(sandbox::Isolation::PlainChroot))
    }

    /// Only one id exists, and nothing remembers others: changes of owner are answered with success and lost.
    pub(crate) fn fake_owners(&self) -> bool {
        self.single_id() && !self.is(sandbox::Isolation::Intercept)
    }
}

fn no_emulator(
    platform: &Platform,
    host: &Platform,
    isolation: sandbox::Isolation,
    machine: Option<Machine>,
) -> BuildError {
    let error = BuildError::new(
        Kind::Input,
        format!("commands of an image for {platform} cannot be run on {host}: there is no emulator"),
    );
    let Some(machine) = machine else {
        return error.hint(format!(
            "build on a machine of that architecture, or cross-compile: FROM --platform=$BUILDPLATFORM in the stages that RUN (no emulator for {} is known here)",
            platform.architecture
        ));
    };
    let [fixed, _] = machine.emulator_names();
    let error = if isolation == sandbox::Isolation::PlainChroot {
        error.hint("the plain-chroot isolation needs a handler that is registered on the machine; --isolation=intercept does with the program alone")
    } else {
        error.hint(format!("put a static {fixed} into PATH (Debian and Ubuntu: apt-get install qemu-user-static); it needs no privilege"))
    };
    error
        .hint("or cross-compile: FROM --platform=$BUILDPLATFORM in the stages that RUN")
        .hint("or build each platform on a machine of its own, and join the images with `cooperage image merge`")
}
