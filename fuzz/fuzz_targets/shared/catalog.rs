//! Any bytes as a file that a catalogue wants: no panic, no unbounded memory, packages with names.
use std::io::Cursor;

/// Reads the bytes as the file at each of these paths, and writes what was found as documents.
pub fn read_as(paths: &[&str], data: &[u8]) {
    let mut scan = attest::catalog::LayerScan::default();
    for path in paths {
        let Some(interest) = attest::catalog::interest(path, data) else { continue };
        let found = interest.read(path, &mut Cursor::new(data));
        for package in &found.packages {
            let _ = attest::purl::purl(package, None);
            let _ = attest::license::declared(&package.licenses);
        }
        scan.read(interest, path, &mut Cursor::new(data));
    }
}
