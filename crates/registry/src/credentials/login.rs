//! What `login` and `logout` write.
use super::{Credential, CredentialError, CredentialSources};
use std::path::PathBuf;

/// Where a credential was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// In this file, readable by its owner only, base64 but not encrypted.
    File(PathBuf),
    /// In the helper of this name (`docker-credential-NAME`).
    Helper(String),
}

/// What a logout removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Erased {
    /// The places that held a credential for the registry.
    pub places: Vec<Stored>,
}

/// Stores a credential as `docker login` does: in the helper that the configuration names, else in the file.
pub fn store(sources: &CredentialSources, registry: &str, credential: &Credential) -> Result<Stored, CredentialError> {
    let _ = (sources, registry, credential);
    Err(CredentialError("not built yet".to_owned()))
}

/// Removes the registry's credentials from the places that [`store`] writes to.
pub fn erase(sources: &CredentialSources, registry: &str) -> Result<Erased, CredentialError> {
    let _ = (sources, registry);
    Err(CredentialError("not built yet".to_owned()))
}
