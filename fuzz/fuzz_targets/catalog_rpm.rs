//! Any bytes as RPM's databases, SQLite and ndb.
#![no_main]

#[path = "shared/catalog.rs"]
mod catalog;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    catalog::read_as(&["var/lib/rpm/rpmdb.sqlite", "var/lib/rpm/Packages.db"], data);
});
