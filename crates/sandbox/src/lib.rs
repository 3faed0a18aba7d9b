//! Run one command in a root file system, with whatever confinement the place allows.
//!
//! Purpose: a [`Spec`] (root file system, command, mounts, identity, policy) goes in, an [`Exit`] (status, resource
//! use) comes out. The crate knows nothing of images, and it is the only one with `unsafe` code for confinement.
//!
//! The fact that shapes everything: namespaces, credentials and file system roots are per-thread or per-process
//! properties that a multi-threaded program cannot change safely after `fork`. So a step starts by executing the
//! program itself again under a hidden name; [`init_if_child`] must therefore be the first call in `main`, where it
//! takes over in that child and never returns. The child is single-threaded, gets an empty environment, one control
//! socket and the three standard descriptors of the step, and nothing else.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! sandbox::init_if_child();
//! let launcher = sandbox::Launcher::of_this_program()?;
//! let mut spec = sandbox::Spec::new(sandbox::Rootfs::Directory("/var/tmp/tree".into()), ["/bin/sh", "-c", "id"]);
//! spec.hostname = "buildkitsandbox".into();
//! let exit = launcher.run(&spec, sandbox::Io::null()?, &sandbox::CancelToken::new())?;
//! assert!(exit.status.success());
//! # Ok(()) }
//! ```

mod cancel;
mod capability;
mod child;
mod error;
mod isolation;
mod launch;
mod memory;
mod mountpoint;
mod root;
mod seccomp;
mod spec;
mod sys;
mod wire;

pub mod doctor;
pub mod emulation;
pub mod intercept;
pub mod probe;
pub mod userns;

pub use cancel::{CancelToken, Registration};
pub use error::{RunError, SetupError};
pub use isolation::{CannotIsolate, Choice, Isolation, IsolationRequest, RootStrategy, choose};
pub use launch::{Exit, Io, Launcher, ResourceUse, Status, init_if_child};
pub use spec::{Limit, Mount, MountKind, Network, Rootfs, Security, Spec, Ulimit, User};
