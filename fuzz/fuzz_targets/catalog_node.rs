//! Any bytes as Node's packages and lock files.
#![no_main]

#[path = "shared/catalog.rs"]
mod catalog;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    catalog::read_as(&["app/node_modules/x/package.json", "app/package-lock.json", "app/yarn.lock", "app/pnpm-lock.yaml"], data);
});
