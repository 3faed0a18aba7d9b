//! Any bytes as Alpine's database.
#![no_main]

#[path = "shared/catalog.rs"]
mod catalog;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    catalog::read_as(&["lib/apk/db/installed"], data);
});
