//! Known vulnerabilities of the packages in an image.
//!
//! A [`Database`] is one file that was built from OSV exports; [`Database::scan`] matches an inventory against it and
//! gives [`Finding`]s, each package by the version order of its own world. Nothing here opens a connection.
#![forbid(unsafe_code)]
pub mod db;
pub mod finding;
pub mod severity;
pub mod version;

pub use db::{Database, DbError};
pub use finding::{AffectedPackage, Finding, LayerRef, Reference, Scan, Uncovered};
pub use severity::{Rating, Severity, Vector};
