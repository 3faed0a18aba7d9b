//! Capabilities: docker's default set, and cutting a process down to it.

use rustix::io::Result;
use rustix::thread::{CapabilitySet, CapabilitySets};

/// Docker's fourteen default capabilities.
pub(crate) const DEFAULT: CapabilitySet = CapabilitySet::AUDIT_WRITE
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SYS_CHROOT);

/// Cuts the bounding set to the default one and clears the ambient set.
pub(crate) fn limit_to_default() -> Result<()> {
    let _ = rustix::thread::clear_ambient_capability_set();
    for bit in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if DEFAULT.contains(one) {
            continue;
        }
        // What is not in the set can be removed as well: asking first would double the calls of every step.
        match rustix::thread::remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL) => break, // The kernel knows no capability from here on.
            Err(error) if rustix::thread::capability_is_in_bounding_set(one)? => return Err(error),
            Err(_) => {}
        }
    }
    Ok(())
}

/// Keeps the default capabilities and no other; none is inheritable.
pub(crate) fn keep_default() -> Result<()> {
    let have = rustix::thread::capabilities(None)?.permitted;
    let keep = have & DEFAULT;
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets)
}

/// Gives every capability up, for this process and, with no_new_privs, for all that it executes.
pub(crate) fn drop_all() -> rustix::io::Result<()> {
    let _ = rustix::thread::clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets)
}

/// Whether the process has this capability now.
pub(crate) fn have(capability: CapabilitySet) -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}
