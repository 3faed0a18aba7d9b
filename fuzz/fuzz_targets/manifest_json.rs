//! Manifests, indexes and configs from a hostile registry: no panic, and nothing is lost on the way through.
#![no_main]
use libfuzzer_sys::fuzz_target;
use oci::{ImageConfig, Index, Manifest, Platform};

fuzz_target!(|data: &[u8]| {
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(data) {
        let written = serde_json::to_vec(&manifest).expect("a manifest is JSON");
        assert_eq!(serde_json::from_slice::<Manifest>(&written).ok(), Some(manifest));
    }
    if let Ok(index) = serde_json::from_slice::<Index>(data) {
        let _ = index.select(&Platform::host());
        let written = serde_json::to_vec(&index).expect("an index is JSON");
        assert_eq!(serde_json::from_slice::<Index>(&written).ok(), Some(index));
    }
    if let Ok(config) = serde_json::from_slice::<ImageConfig>(data) {
        let _ = config.platform();
        let written = serde_json::to_vec(&config).expect("a config is JSON");
        assert_eq!(serde_json::from_slice::<ImageConfig>(&written).ok(), Some(config));
    }
});
