//! Flags whose work is not done yet: refused, so that nobody believes to have what is not there.
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

/// External caches are not there yet: refused, so that nobody believes to have one.
pub(super) fn refuse_caches(args: &BuildArgs) -> Result<()> {
    const TYPES: &[&str] = &["registry", "inline", "local", "gha", "s3", "azblob"];
    let (flag, text) = match (args.cache_from.first(), args.cache_to.first()) {
        (Some(text), _) => ("cache-from", text),
        (None, Some(text)) => ("cache-to", text),
        (None, None) => return Ok(()),
    };
    let fields = csv::fields(text).map_err(|why| each(flag, text, why))?;
    let kind = match fields.iter().find_map(|field| field.strip_prefix("type=")) {
        Some(kind) => kind,
        None if fields.len() == 1 && !text.contains('=') => "registry",
        None => return Err(each(flag, text, "type= is missing")),
    };
    if !TYPES.contains(&kind) {
        return Err(each(flag, text, format!("there is no cache type {kind:?}; known are {}", TYPES.join(", "))));
    }
    Err(each(flag, text, format!("external caches of type {kind} are not supported yet"))
        .hint("leave it out and keep the store (--root) between builds: every step is cached there"))
}
