//! The part of a step that lives inside the guest's processes: loader, and handler of trapped system calls.
//!
//! This crate is built twice. As a library it gives the launcher what both sides must agree on: [`protocol`],
//! [`table`], [`traps`]. As an image (`--cfg agent_image`, by the build script of `sandbox`) it is a program without a
//! C library, fixed at an address of its own, that the kernel executes in the place of every program of the step.
//! README.md draws the address space and the protocol.

#![cfg_attr(not(test), no_std)]
#![cfg_attr(agent_image, no_main)]
// As a library the crate is used for its layouts alone.
#![cfg_attr(not(agent_image), allow(dead_code, unused_imports))]

pub mod arch;
pub mod protocol;
pub mod table;
pub mod traps;

mod acl;
mod attrs;
mod creds;
mod dispatch;
mod exec;
mod fds;
mod filter;
mod guest;
mod loader;
mod names;
mod paths;
mod perms;
mod proc;
mod signals;
mod sites;
mod sockets;
mod stat;
mod state;
mod sys;
mod text;
mod walk;

#[cfg(agent_image)]
mod image;
