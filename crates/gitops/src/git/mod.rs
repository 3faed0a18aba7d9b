//! Commits to a branch that others push to as well.
//!
//! There is no work tree: files are read from the branch's tip and written as objects, so that no filter, attribute or
//! hook of the place changes a byte, and a repository of any size costs one shallow fetch. An edit is a closure over
//! the tip; when somebody else was faster, the new tip is fetched and the closure is applied again.
//!
//! The token travels in the environment of the child (`GIT_CONFIG_VALUE_n`, an `http.….extraHeader` for the remote's
//! own host), never in arguments, URLs, configuration files, messages or errors.
mod command;
mod message;
mod publish;

pub use command::{Credentials, Error, Git};
pub use message::{Person, render, sign_off};
pub use publish::{Change, Commit, Outcome, Published, Repository, Retry, Snapshot};
