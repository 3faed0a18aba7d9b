//! What lies between a built image and the repository that deploys it. This crate knows no registry, no build and no
//! database; its functions take texts and lists and give texts and lists.
//!
//! - [`manifest`]: edits to kustomizations, Helm values, Kubernetes manifests, Flux markers, Argo CD Applications that
//!   change only the addressed lines
//! - [`yaml`]: what those edits stand on
#![forbid(unsafe_code)]

pub mod image;
pub mod manifest;
pub mod yaml;
