//! Software bills of materials: an [`Inventory`] as a document.
//!
//! A document is a function of the inventory, the options and the time: nothing else, so two of the same image differ
//! in nothing but the time. Identifiers of documents are derived from their content.
mod cyclonedx;
mod native;
mod spdx;

use crate::inventory::Inventory;
use oci::Digester;
use std::io::Write;

/// The form of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// SPDX 2.3, JSON.
    Spdx,
    /// CycloneDX 1.6, JSON.
    CycloneDx,
    /// The inventory as it is, JSON.
    Json,
}

/// Which files a document lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// None.
    None,
    /// Those that belong to a package.
    Owned,
    /// All.
    All,
}

/// How a document is written.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which files it lists; those without digests are never listed.
    pub files: Files,
    /// The time in it: RFC 3339, UTC.
    pub created: String,
    /// The name and version of the program that makes it.
    pub tool: (String, String),
    /// With line breaks, for people.
    pub pretty: bool,
}

/// Writes a document.
///
/// # Errors
/// Where it cannot be written.
pub fn write(inventory: &Inventory, format: Format, options: &Options, out: &mut dyn Write) -> std::io::Result<()> {
    match format {
        Format::Spdx => json(&spdx::document(inventory, options), options, out),
        Format::CycloneDx => json(&cyclonedx::document(inventory, options), options, out),
        Format::Json => json(&native::document(inventory, options), options, out),
    }
}

/// The type of the SPDX document as the predicate of an in-toto statement.
pub const SPDX_PREDICATE: &str = "https://spdx.dev/Document";

fn json(document: &impl serde::Serialize, options: &Options, out: &mut dyn Write) -> std::io::Result<()> {
    if options.pretty {
        serde_json::to_writer_pretty(&mut *out, document)?;
        out.write_all(b"\n")
    } else {
        serde_json::to_writer(out, document).map_err(Into::into)
    }
}

/// The files that are listed: their numbers, in order.
fn listed<'a>(inventory: &'a Inventory, files: Files) -> impl Iterator<Item = usize> + 'a {
    (0..inventory.files.len()).filter(move |n| {
        inventory.files[*n].digests.is_some()
            && match files {
                Files::None => false,
                Files::Owned => inventory.owners[*n].is_some(),
                Files::All => true,
            }
    })
}

/// A UUID (version 8, RFC 9562) of a document's content.
fn uuid(inventory: &Inventory, options: &Options, format: &str) -> String {
    let mut digester = Digester::new();
    let mut add = |text: &str| {
        digester.update(&(text.len() as u64).to_le_bytes());
        digester.update(text.as_bytes());
    };
    let config = inventory.image.config.as_ref().map_or("", oci::Digest::as_str);
    for part in [format, &options.tool.0, &options.tool.1, &inventory.image.name, config] {
        add(part);
    }
    add(inventory.image.digest.as_ref().map_or("", oci::Digest::as_str));
    for component in &inventory.packages {
        add(&component.id());
    }
    for file in listed(inventory, options.files) {
        add(&inventory.files[file].path);
    }
    let hex = digester.finish();
    let hex = hex.hex();
    format!("{}-{}-8{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

/// The package URL of the image itself: by digest.
fn image_purl(inventory: &Inventory) -> Option<String> {
    let digest = inventory.image.digest.as_ref()?;
    let reference: oci::Reference = inventory.image.name.parse().ok()?;
    let name = reference.name();
    let short = name.rsplit('/').next().unwrap_or_default().to_lowercase();
    let mut out = format!("pkg:oci/{short}@");
    crate::purl::encode(digest.as_str(), &mut out);
    out.push('?');
    if let Some(platform) = &inventory.image.platform {
        out.push_str("arch=");
        crate::purl::encode(&platform.architecture, &mut out);
        out.push('&');
    }
    out.push_str("repository_url=");
    crate::purl::encode(&name, &mut out);
    if let Some(tag) = reference.tag() {
        out.push_str("&tag=");
        crate::purl::encode(tag, &mut out);
    }
    Some(out)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
