//! Ports for servers that cannot choose one themselves and say which.
use crate::command::{Error, Result};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// A port of the loopback that is free, and that nobody gets who asks the kernel for any: it lies below the range that
/// the kernel takes those from (32768 and above, `net.ipv4.ip_local_port_range`). No two calls of one process give the
/// same; two processes begin at different places.
pub fn free_port() -> Result<u16> {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    for _ in 0..COUNT {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + std::process::id().wrapping_mul(101).wrapping_add(given) % COUNT;
        let port = u16::try_from(port).map_err(Error::at("a free port"))?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(Error::new("no port is free"))
}
