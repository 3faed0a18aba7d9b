//! What the tests share: real registries, base images from Debian packages, other builders, and a
//! comparison of images that shares no code with the product.
//!
//! A development crate: it starts programs, reads the environment and panics where a test would.
//! What it needs on the machine is installed by `.ci/run`; a missing program is an [`Error`] that
//! names the Debian package.
//!
//! * [`Registry`]: Debian's `docker-registry` on a free loopback port, plain, with TLS, with a password
//! * [`bases`]: base images made from Debian packages, cached between runs
//! * [`Image`] and [`flatten()`]: any image as a table of files, layers applied the slow and obvious way
//! * [`ConfigFacts`], [`compare()`]: two images' differences in words
//! * [`Pod`]: a command in a pod as Kubernetes starts it, from the restricted one up
//! * [`Cooperage`], [`BuildKit`], [`Buildah`]: builders behind one call, [`Builder::build`]
//! * [`corpus`]: the table of Dockerfiles under `tests/dockerfiles`, recorded with a real BuildKit
#![forbid(unsafe_code)]
#![allow(clippy::missing_errors_doc, reason = "every error is a message for the person who runs the tests")]

pub mod bases;
mod buildah;
mod builder;
mod buildkit;
mod command;
mod compare;
mod config;
mod container;
mod cooperage;
pub mod corpus;
mod cosign;
mod flatten;
mod image;
mod paths;
pub mod pod;
mod port;
mod registry;

pub use buildah::Buildah;
pub use builder::{BuildInput, Builder, Built};
pub use buildkit::BuildKit;
pub use command::{Error, Guard, Result, run, which};
pub use compare::{Difference, compare, compare_config, compare_files};
pub use config::{ConfigFacts, HistoryFact};
pub use container::{Bundle, Container};
pub use cooperage::Cooperage;
pub use cosign::{cosign, cosign_for};
pub use flatten::{FileFacts, Files, Kind, flatten};
pub use image::Image;
pub use paths::{DEBIAN_TOOLS, REGISTRY_TOOLS, available, cache_dir, is_root, repository};
pub use pod::{Overlay, Pod, PodKind, PodSpec};
pub use port::free_port;
pub use registry::{Registry, RegistryOptions};
