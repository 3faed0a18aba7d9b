//! Image references: no panic, and what was read prints to something that reads the same.
#![no_main]
use libfuzzer_sys::fuzz_target;
use oci::{Digest, Platform, Reference};

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<Reference>() {
        let printed = reference.to_string();
        let again = printed.parse::<Reference>();
        assert_eq!(again.as_ref().ok(), Some(&reference), "{text:?} prints as {printed:?}");
        let _ = reference.familiar();
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
    if let Ok(platform) = text.parse::<Platform>() {
        let printed = platform.to_string();
        assert_eq!(printed.parse::<Platform>().ok(), Some(platform), "{text:?} prints as {printed:?}");
    }
});
