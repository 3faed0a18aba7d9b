//! The crate from outside: generated manifests, real git, the table of tag rules, the schemas of Kargo.
mod manifests;
mod tags;
