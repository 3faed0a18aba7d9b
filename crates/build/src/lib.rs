//! From a Dockerfile to an OCI image: graph, cache, execution, store, exporters.
//!
//! [`Engine::build`] takes a [`request::BuildRequest`] and gives a [`BuildResult`]; everything that happens on the
//! way is reported as [`event::Event`]s. The crate never prints, never exits, and reads neither the environment nor
//! the home directory: all of that comes with [`EngineOptions`].
//!
//! | module | what |
//! |---|---|
//! | `plan` | Dockerfile → stages and steps; pure but for the configs of base images |
//! | `exec` | cache keys, look-up, parallel execution of steps |
//! | `copy`, `tree` | COPY and ADD without a root file system |
//! | `snapshot` | layers in the form that is needed: table, directory, tar, blob |
//! | [`history`] | records of builds, and why a step missed the cache |
//! | `store` | the directory on disk |
//! | `cache` | external caches: what `--cache-from` and `--cache-to` name |
//! | `image`, `export` | configs, manifests, registries, archives |
//! | `provenance` | what a build tells about itself |
//! | `inspect` | images that are there already: their layers, and what is in them |
//! | `source`, `contexts` | where files come from |
#![forbid(unsafe_code)]
mod archive;
mod cache;
mod contexts;
mod copy;
mod engine;
mod epoch;
mod error;
pub mod event;
mod exec;
mod export;
pub mod history;
mod image;
mod images;
pub mod inspect;
mod key;
mod owners;
mod paths;
mod place;
mod plan;
mod provenance;
pub mod request;
mod snapshot;
pub mod source;
mod ssh;
mod store;
mod time;
mod tree;
mod vertices;

pub use engine::{BuildResult, Engine, EngineOptions, LoadedDockerfile, PlatformResult};
pub use error::{BuildError, Diagnostics, Kind, Result, StepFailure};
pub use plan::{ImageOrigin, Images, ResolvedImage};
pub use store::{CachedStep, ImageRecord, Part, PrunePolicy, Pruned, Store, Usage};
