//! The crate from outside: generated manifests, real git, the table of tag rules, the schemas of Kargo.
mod ci;
mod git;
mod http;
mod manifests;
mod schema;
mod synth;
mod tags;
