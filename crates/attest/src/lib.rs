//! What is in an image, and who says so: package catalogues and SBOMs, vulnerability matching, provenance,
//! signatures and DSSE envelopes. Bytes in, bytes out: this crate opens no file and no connection.
#![forbid(unsafe_code)]
pub mod bundle;
pub mod catalog;
pub mod cosign;
pub mod dsse;
pub mod inventory;
pub mod key;
pub mod license;
pub mod package;
pub mod policy;
pub mod provenance;
pub mod purl;
pub mod sbom;
pub mod statement;
