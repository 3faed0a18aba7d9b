//! System call filters: a small cBPF assembler and the default policy.

mod bpf;
mod policy;
mod table;

pub(crate) use bpf::Program;
pub(crate) use policy::{Ownership, filter, no_network, own_limits};
