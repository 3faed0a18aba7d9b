//! Any bytes as Python's metadata.
#![no_main]

#[path = "shared/catalog.rs"]
mod catalog;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    catalog::read_as(&["x/x.dist-info/METADATA", "x/x.dist-info/RECORD", "app/requirements.txt"], data);
});
