//! Any bytes as an SBOM document.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = scan::sbom::may_be(data);
    if let Ok(inventory) = scan::sbom::read("document", data) {
        // Numbers of layers and packages lead somewhere, or nowhere on purpose.
        for component in &inventory.packages {
            assert!(component.layer == usize::MAX || component.layer < inventory.layers.len());
            assert!(component.part_of.is_none_or(|whole| whole < inventory.packages.len()));
        }
    }
});
