//! Flags whose work is not done yet: refused, so that nobody believes to have what is not there.
use build::request::{CacheBackend, CacheTarget};

use crate::error::{CliError, Result};

/// Caches whose work is not done yet.
pub(super) fn refuse_caches(from: &[CacheBackend], to: &[CacheTarget]) -> Result<()> {
    let mut all = to.iter().map(|target| &target.backend).chain(from);
    if all.any(|backend| matches!(backend, CacheBackend::Gha(_) | CacheBackend::S3(_))) {
        return Err(CliError::usage("external caches of the types gha and s3 are not supported yet")
            .hint("use type=registry, or type=local"));
    }
    if to.iter().any(|target| target.mounts) {
        return Err(CliError::usage("--cache-to …,mounts=true is not supported yet").hint("leave mounts= out"));
    }
    Ok(())
}
