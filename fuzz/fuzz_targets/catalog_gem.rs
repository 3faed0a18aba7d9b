//! Any bytes as gems.
#![no_main]

#[path = "shared/catalog.rs"]
mod catalog;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    catalog::read_as(&["usr/lib/ruby/specifications/x.gemspec", "app/Gemfile.lock"], data);
});
