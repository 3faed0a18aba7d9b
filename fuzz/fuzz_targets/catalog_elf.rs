//! Any bytes as programs: Go's build information, lists of crates.
#![no_main]

#[path = "shared/catalog.rs"]
mod catalog;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    catalog::read_as(&["usr/bin/x"], data);
});
