//! From a Dockerfile to an OCI image: graph, cache, execution, store, exporters.
#![forbid(unsafe_code)]
pub mod event;
pub mod request;
pub mod source;
