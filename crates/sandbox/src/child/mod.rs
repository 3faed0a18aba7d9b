//! The helper process: what [`crate::init_if_child`] becomes.
//!
//! ```text
//! builder ── control socket ── keeper ── pipe ── init (pid 1 of the step's pid namespace) ── command
//! ```
//! The keeper unshares the namespaces, waits for the end of init and kills it when the builder cancels or dies. Init
//! sets up the root file system, starts the command, reaps what the command leaves behind, and reports. Both are
//! single-threaded and never run code of the image.

mod chroot;
mod command;
mod devices;
mod init;
mod keeper;
mod mounts;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use serde::{Deserialize, Serialize};

pub(crate) use mounts::mount_overlay;

use crate::error::SetupError;
use crate::isolation::Isolation;
use crate::launch::Status;
use crate::mountpoint::Made;
use crate::spec::Spec;
use crate::sys;
use crate::wire;

/// `argv[0]` of a helper.
pub(crate) const HELPER_NAME: &str = "cooperage-sandbox-init";

/// What a helper is started for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Run a step; the three standard descriptors come with it.
    Run(Box<Spec>),
    /// Try primitives.
    Probe(Vec<crate::probe::Primitive>),
}

/// What a helper has to say.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    MountPoints(Made),
    Failed(SetupError),
    NotFound { program: String, path: Option<String> },
    NotExecutable { program: String, reason: String },
    Exit { status: Status, user_us: u64, system_us: u64, max_rss: u64 },
    Probe(Vec<Result<String, crate::probe::Why>>),
}

/// The result of a step of the set-up.
pub(crate) type Setup<T> = Result<T, SetupError>;

/// Names the action that failed.
pub(crate) trait Context<T> {
    fn context<S: Into<String>>(self, action: impl FnOnce() -> S) -> Setup<T>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context<S: Into<String>>(self, action: impl FnOnce() -> S) -> Setup<T> {
        self.map_err(|error| SetupError::new(action(), error))
    }
}

/// Takes over when `argv0` is the helper's name.
pub(crate) fn take_over(argv0: Option<&OsStr>) {
    if argv0 == Some(OsStr::new(HELPER_NAME)) {
        sys::exit_now(main());
    }
}

fn main() -> i32 {
    // Whatever the builder failed to mark close-on-exec ends here. Nothing is open yet but 0, 1 and 2.
    let _ = sys::close_from(3, false);
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let Ok(control) = control() else { return 125 };
    let failed = |error: io::Error, action: &str| {
        let _ = wire::send(&control, &Report::Failed(SetupError::new(action, error)));
        125
    };
    if let Ok(copy) = control.try_clone() {
        std::panic::set_hook(Box::new(move |info| {
            let action = format!("a fault in the sandbox helper: {info}");
            let _ = wire::send(&copy, &Report::Failed(SetupError { action, errno: 0, hint: None }));
        }));
    }
    match wire::receive_with_fds(&control) {
        Ok((Order::Run(spec), fds)) => match <[OwnedFd; 3]>::try_from(fds) {
            Ok(stdio) => match spec.isolation {
                Isolation::Namespaces => keeper::run(&spec, stdio, control),
                Isolation::PlainChroot => chroot::run(&spec, stdio, control),
                Isolation::Intercept => crate::intercept::keeper::run(&spec, stdio, control),
            },
            Err(_) => failed(io::ErrorKind::InvalidData.into(), "receive the step's standard descriptors"),
        },
        Ok((Order::Probe(primitives), _)) => {
            let results = crate::probe::attempt_here(&primitives);
            i32::from(wire::send(&control, &Report::Probe(results)).is_err())
        }
        Err(error) => failed(error, "read the order"),
    }
}

/// Moves the control socket away from descriptor 0.
fn control() -> io::Result<UnixStream> {
    let control = rustix::io::fcntl_dupfd_cloexec(std::io::stdin().as_fd(), 3)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for number in 0..3 {
        sys::dup_to(null.as_fd(), number)?;
    }
    debug_assert!(control.as_raw_fd() > 2 && null.as_raw_fd() > 2);
    Ok(control.into())
}
