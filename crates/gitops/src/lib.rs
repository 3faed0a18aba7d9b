//! What lies between a built image and the repository that deploys it. This crate knows no registry, no build and no
//! database; but for [`git`], [`forge`] and [`actions`] its functions take texts and lists and give texts and lists.
//!
//! - [`tags`]: the tag rules of docker/metadata-action, and which tags may move
//! - [`version`]: ordering versions, the next one, choosing among a registry's tags
//! - [`manifest`]: edits to kustomizations, Helm values, Kubernetes manifests, Flux markers, Argo CD Applications that
//!   change only the addressed lines
//! - [`git`]: those edits committed and pushed while others push too; [`forge`]: pull requests
//! - [`actions`]: runs of GitHub Actions workflows
//! - [`ci`]: workflows of GitHub Actions and GitLab CI
//! - [`synth`]: resources for Kargo, Kubernetes and Argo CD
//! - [`yaml`]: what edits and resources stand on
#![forbid(unsafe_code)]

pub mod actions;
pub mod ci;
pub mod forge;
pub mod git;
pub mod image;
pub mod manifest;
pub mod secret;
pub mod synth;
pub mod tags;
pub mod version;
pub mod yaml;
