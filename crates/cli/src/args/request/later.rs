//! Flags whose work is not done yet: refused, so that nobody believes to have what is not there.
use build::request::{CacheBackend, CacheTarget};

use super::each;
use crate::args::build::BuildArgs;
use crate::args::values;
use crate::csv;
use crate::error::{CliError, Result};

/// Attestations are not made yet: only what asks for none is accepted.
pub(super) fn refuse_attestations(args: &BuildArgs) -> Result<()> {
    for (flag, value) in [("provenance", &args.provenance), ("sbom", &args.sbom)] {
        if let Some(value) = value
            && values::boolean(value) != Ok(false)
        {
            return Err(CliError::usage(format!("--{flag}={value}: attestations are not supported yet"))
                .hint(format!("leave it out, or write --{flag}=false")));
        }
    }
    for text in &args.attest {
        let pairs = csv::pairs(text).map_err(|why| each("attest", text, why))?;
        match pairs.iter().find(|(key, _)| key == "type").map(|(_, value)| value.as_str()) {
            Some("sbom" | "provenance") => {}
            Some(other) => {
                return Err(each("attest", text, format!("there is no type {other:?}; known are sbom, provenance")));
            }
            None => return Err(each("attest", text, "type= is missing")),
        }
        if !pairs.iter().any(|(key, value)| key == "disabled" && values::boolean(value) == Ok(true)) {
            return Err(
                each("attest", text, "attestations are not supported yet").hint("leave it out, or add disabled=true")
            );
        }
    }
    Ok(())
}

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
