//! Any bytes as lock files in TOML.
#![no_main]

#[path = "shared/catalog.rs"]
mod catalog;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    catalog::read_as(&["app/Cargo.lock", "app/poetry.lock", "app/uv.lock"], data);
});
