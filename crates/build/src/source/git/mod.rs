//! Git repositories as build contexts and as sources of `ADD`, through the `git` program.
//!
//! [`GitUrl`] is the text; [`resolve`] asks the remote for the commit behind it (the cache key);
//! [`checkout`] puts that commit's files into a directory. The tree that results depends on the
//! commit alone: modes are 0644 and 0755, times are the commit's, no filter, hook, attribute file
//! or line-ending setting of the user takes part.
mod command;
mod fetch;
mod url;

pub(crate) use url::percent_decode;

pub use command::GitError;
pub use fetch::{Checkout, GitAuth, GitCommit, GitOptions, checkout, file, resolve};
pub use url::{GitUrl, GitUrlError};
