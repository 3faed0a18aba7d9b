//! The inventory as it is: `cooperage.sbom/v1`.
use super::{Options, hex, listed};
use crate::inventory::{Component, FileFacts, ImageFacts, Inventory, LayerFacts};
use crate::package::OsRelease;
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Document<'a> {
    schema: &'static str,
    created: &'a str,
    tool: String,
    image: &'a ImageFacts,
    #[serde(skip_serializing_if = "Option::is_none")]
    os: Option<&'a OsRelease>,
    layers: &'a [LayerFacts],
    packages: &'a [Component],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<File<'a>>,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct File<'a> {
    path: &'a str,
    layer: usize,
    sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<usize>,
}

pub(super) fn document<'a>(inventory: &'a Inventory, options: &'a Options) -> Document<'a> {
    let file = |number: usize| {
        let FileFacts { path, layer, digests, .. } = &inventory.files[number];
        let sha256 = digests.as_ref().map(|d| hex(&d.sha256)).unwrap_or_default();
        File { path, layer: *layer, sha256, package: inventory.owners[number] }
    };
    Document {
        schema: "cooperage.sbom/v1",
        created: &options.created,
        tool: format!("{} {}", options.tool.0, options.tool.1),
        image: &inventory.image,
        os: inventory.os.as_ref(),
        layers: &inventory.layers,
        packages: &inventory.packages,
        files: listed(inventory, options.files).map(file).collect(),
        warnings: &inventory.warnings,
    }
}
