//! Any bytes as what a registry holds as signatures and attestations, as keys and as policies. Nothing of it is signed
//! with the key, so nothing of it may be accepted.
#![no_main]

use attest::cosign::{Claim, SIGNATURE};
use attest::key::{PrivateKey, PublicKey};
use attest::policy::Policy;
use std::sync::LazyLock;

static KEY: LazyLock<PublicKey> = LazyLock::new(|| PrivateKey::generate().expect("random numbers").public());

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let digest = oci::Digest::sha256(b"image");
    let keys = std::slice::from_ref(&*KEY);
    let (annotation, rest) = data.split_at(data.len().min(96));
    let annotations = [(SIGNATURE.to_owned(), String::from_utf8_lossy(annotation).into_owned())];
    for claim in [
        Claim::Simple(rest.to_vec(), annotations.into()),
        Claim::Envelope(data.to_vec(), [].into()),
        Claim::Bundle(data.to_vec()),
    ] {
        assert!(claim.verify(&digest, keys).is_err());
    }
    let text = String::from_utf8_lossy(data);
    let _ = PublicKey::from_pem(&text);
    // Without a password: the work of decrypting is slow by design.
    let _ = PrivateKey::from_pem(&text, || None);
    if let Ok(policy) = Policy::parse(&text) {
        let _ = policy.need("registry.example.com/app");
    }
});
