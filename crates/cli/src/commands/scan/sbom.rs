//! An SBOM in the place of an image: what was shipped then, with what is known now.
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ::scan::sbom;
use attest::inventory::Inventory;

use super::ScanArgs;
use crate::app::Context;
use crate::error::{CliError, Result};
use crate::progress::bytes;

/// A larger document is refused: it is read as a whole.
const LARGEST: u64 = 512 << 20;

/// The document's path, where one is meant: `sbom:FILE`, or a file that no archive begins like.
pub(super) fn path(text: &str, context: &Context<'_>) -> Result<Option<PathBuf>> {
    if let Some(rest) = text.strip_prefix("sbom:") {
        return Ok(Some(context.env.path(rest)));
    }
    let path = context.env.path(text);
    if !path.is_file() {
        return Ok(None);
    }
    let mut start = Vec::new();
    let opened = File::open(&path).and_then(|file| file.take(64).read_to_end(&mut start));
    opened.map_err(|error| CliError::io("read", &path, &error))?;
    if start.starts_with(b"SPDXVersion:") || start.starts_with(b"<") {
        return Err(CliError::usage(format!("{} cannot be used: it is no image, and no SBOM in JSON", path.display()))
            .hint("SPDX 2.2 and 2.3 and CycloneDX 1 are read, in JSON: write the SBOM again in that form"));
    }
    Ok(sbom::may_be(&start).then_some(path))
}

/// Reads it.
pub(super) fn read(path: &Path, args: &ScanArgs) -> Result<Inventory> {
    for (given, flag) in [(args.platform.is_some(), "--platform"), (args.remote, "--remote")] {
        if given {
            return Err(CliError::usage(format!("{flag} says nothing about an SBOM, which is of one image")));
        }
    }
    let failed = |error: &std::io::Error| CliError::usage(format!("{} cannot be read: {error}", path.display()));
    let mut document = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut document))
        .map_err(|error| failed(&error))?;
    let wrong = |why: String| CliError::usage(format!("{} cannot be used: {why}", path.display()));
    if document.len() as u64 > LARGEST {
        return Err(wrong(format!("it has more than {}", bytes(LARGEST))));
    }
    let name = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    let inventory = sbom::read(&name, &document).map_err(|error| {
        wrong(error.to_string())
            .hint("an SBOM is SPDX 2.2 or 2.3, or CycloneDX 1, in JSON: cooperage sbom IMAGE -o FILE")
    })?;
    Ok(inventory)
}
