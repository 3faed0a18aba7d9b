//! Known vulnerabilities of the packages in an image.
//!
//! A [`Database`] is one file that was built from OSV exports; [`Database::scan`] matches an inventory against it and
//! gives [`Finding`]s, each package by the version order of its own world. Nothing here opens a connection.
#![forbid(unsafe_code)]
pub mod db;
pub mod ecosystem;
pub mod external;
pub mod finding;
pub mod ignore;
pub mod osv;
pub mod policy;
pub mod purl;
pub mod report;
pub mod sbom;
pub mod severity;
#[cfg(test)]
mod testing;
pub mod version;
pub mod vex;
mod yaml;

pub use db::{Database, DbError};
pub use finding::{AffectedPackage, Finding, LayerRef, Reference, Scan, Uncovered};
pub use policy::{Outcome, Policy, gate};
pub use severity::{Rating, Severity, Vector};
pub use yaml::Mark;
