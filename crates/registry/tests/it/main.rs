//! The client against real registries, the server against real clients, and both against faults.
mod support;

mod distribution;
mod fault;
mod faults;
mod recovery;
mod server;
mod skopeo;
mod streaming;
