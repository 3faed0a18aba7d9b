//! What a build survives: kills, signals, hostile images, registries that fail, large files, neighbours on the same
//! store, and inputs that differ by one bit.
//!
//! Every test drives the binary as a user would, on a store of its own, with base images from a registry on
//! loopback. Nothing here depends on how fast the machine is: moments are chosen by a seeded generator and by what
//! the build prints, and waiting is for events.
#[path = "robustness/cache.rs"]
mod cache;
#[path = "robustness/concurrency.rs"]
mod concurrency;
#[path = "robustness/executor.rs"]
mod executor;
#[path = "robustness/explain.rs"]
mod explain;
#[path = "robustness/faults.rs"]
mod faults;
#[path = "robustness/hostile.rs"]
mod hostile;
#[path = "robustness/interrupt.rs"]
mod interrupt;
#[path = "robustness/isolation.rs"]
mod isolation;
#[path = "robustness/kill.rs"]
mod kill;
#[path = "robustness/lazy.rs"]
mod lazy;
#[path = "robustness/memory.rs"]
mod memory;
#[path = "robustness/server.rs"]
mod server;
#[path = "robustness/shell.rs"]
mod shell;
#[path = "robustness/support.rs"]
mod support;
