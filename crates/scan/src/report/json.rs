//! `cooperage.scan/v1`: all that is known.
use super::{Options, Scanner};
use crate::finding::Uncovered;
use crate::policy::{Judged, Outcome, Suppressed};
use crate::severity::Severity;
use attest::inventory::{ImageFacts, Inventory};
use attest::package::OsRelease;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document<'a> {
    schema: &'static str,
    created: &'a str,
    tool: String,
    scanner: &'a Scanner,
    image: &'a ImageFacts,
    #[serde(skip_serializing_if = "Option::is_none")]
    os: Option<&'a OsRelease>,
    /// Whether the policy is broken.
    failed: bool,
    /// How many packages were matched.
    packages: usize,
    /// How many findings count, by severity.
    summary: BTreeMap<&'static str, usize>,
    /// How many findings `--severity` leaves out.
    hidden: usize,
    findings: &'a [Judged],
    suppressed: &'a [Suppressed],
    uncovered: &'a [Uncovered],
    warnings: &'a [String],
}

pub(super) fn document<'a>(outcome: &'a Outcome, inventory: &'a Inventory, options: &'a Options) -> Document<'a> {
    Document {
        schema: "cooperage.scan/v1",
        created: &options.created,
        tool: format!("{} {}", options.tool.0, options.tool.1),
        scanner: &options.scanner,
        image: &inventory.image,
        os: inventory.os.as_ref(),
        failed: outcome.failed(),
        packages: outcome.packages,
        summary: Severity::ALL.iter().map(|s| (s.as_str(), outcome.count(*s))).collect(),
        hidden: options.hidden,
        findings: &outcome.findings,
        suppressed: &outcome.suppressed,
        uncovered: &outcome.uncovered,
        warnings: &inventory.warnings,
    }
}
