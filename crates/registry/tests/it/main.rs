//! The client against real registries, the server against real clients, and both against faults.
#![expect(clippy::print_stderr, reason = "a test that skips says why")]
mod support;

mod distribution;
mod fault;
mod faults;
mod recovery;
mod server;
mod skopeo;
mod streaming;
