//! What the commands that sign and verify share: keys from files, policies, errors.
pub(crate) mod build;
pub(crate) mod cosign;
pub(crate) mod keys;
pub(crate) mod policy;

pub(crate) use ::signing::{Signer, Storage, Verdict, bare, claims};

use crate::error::CliError;

/// An error of the registry with its hint.
pub(crate) fn remote(what: &str, error: &registry::Error) -> CliError {
    let out = CliError::failed(what.to_owned()).caused_by(error);
    match error.hint() {
        Some(hint) => out.hint(hint),
        None => out,
    }
}

impl From<::signing::Error> for CliError {
    fn from(error: ::signing::Error) -> Self {
        match &error {
            ::signing::Error::Registry { what, source } => remote(what, source),
            ::signing::Error::Foreign { .. } => Self::failed(error.to_string()).hint("delete the tag and sign again"),
            ::signing::Error::Key(_) => Self::failed(error.to_string()),
        }
    }
}
