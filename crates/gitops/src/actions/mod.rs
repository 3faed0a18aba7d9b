//! Runs of GitHub Actions workflows through the REST API: dispatch, find, follow, logs, rerun.
//!
//! [`Actions`] asks; [`follow`] works out what changed between two answers; [`log`] reads the logs of jobs. The fact not
//! obvious: until February 2026 a dispatch did not say which run it made, and servers of one's own still do not. Then
//! the run is the first new one of that workflow, branch, event and actor ([`Actions::dispatch`]).
mod api;
pub mod follow;
pub mod log;
mod run;

pub use api::{Actions, Dispatched, Error, Filter};
pub use run::{Conclusion, Job, Phase, Run, Step, Workflow};
