//! Any bytes as Debian's records.
#![no_main]

#[path = "shared/catalog.rs"]
mod catalog;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    catalog::read_as(&["var/lib/dpkg/status", "var/lib/dpkg/status.d/x", "var/lib/dpkg/info/x.list", "usr/share/doc/x/copyright", "etc/os-release"], data);
});
