//! System call filters: a small cBPF assembler and the default policy.

mod bpf;
mod policy;
mod table;

pub(crate) use policy::{Ownership, filter};
