//! What `cargo auditable` writes into a program: the section `.dep-v0`, JSON compressed with zlib.
use super::{Found, Result, malformed};
use crate::package::{Evidence, Package, PackageType};
use serde::Deserialize;
use std::io::Read;

#[derive(Deserialize)]
struct Data {
    packages: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    version: String,
    #[serde(default)]
    kind: Option<String>,
}

/// Inflated, the list of a very large program has a few hundred kilobytes.
const LIMIT: u64 = 8 << 20;

pub(super) fn auditable(section: &[u8], found: &mut Found) -> Result<()> {
    let mut json = Vec::new();
    let inflated = flate2::read::ZlibDecoder::new(section).take(LIMIT + 1).read_to_end(&mut json);
    if inflated.is_err() || json.len() as u64 > LIMIT {
        return malformed("its list of crates (.dep-v0) cannot be inflated");
    }
    let Ok(data) = serde_json::from_slice::<Data>(&json) else {
        return malformed("its list of crates (.dep-v0) is not what cargo auditable writes");
    };
    // What only built the program is not in it.
    for entry in data.packages.into_iter().filter(|entry| entry.kind.as_deref() != Some("build")) {
        found.push(Package::new(PackageType::Cargo, entry.name, entry.version, Evidence::Binary));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_list_is_read_and_bounded() {
        let pack = |json: &[u8]| {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(json).unwrap();
            encoder.finish().unwrap()
        };
        let json = br#"{"packages":[{"name":"app","version":"0.1.0","source":"local","dependencies":[1],"root":true},{"name":"serde","version":"1.0.1","source":"crates.io"},{"name":"cc","version":"1.0.0","source":"crates.io","kind":"build"}]}"#;
        let mut found = Found::default();
        auditable(&pack(json), &mut found).unwrap();
        assert_eq!(found.packages.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["app", "serde"]);
        assert!(auditable(b"junk", &mut Found::default()).is_err());
        assert!(auditable(&pack(&vec![b' '; 9 << 20]), &mut Found::default()).is_err());
    }
}
