//! ECDSA P-256 keys, and the files in which cosign keeps them.
//!
//! A private key lies in PEM: encrypted as cosign does it (`ENCRYPTED SIGSTORE PRIVATE KEY`, a JSON document below),
//! as PKCS #8 (`PRIVATE KEY`) or as SEC 1 (`EC PRIVATE KEY`). A public key is a SubjectPublicKeyInfo (`PUBLIC KEY`).
//!
//! ```text
//! {"kdf":{"name":"scrypt","params":{"N":65536,"r":8,"p":1},"salt":base64},
//!  "cipher":{"name":"nacl/secretbox","nonce":base64},"ciphertext":base64}      tag, then encrypted PKCS #8
//! ```
//!
//! Sources: `go-securesystemslib/encrypted`, RFC 5958, RFC 5915, RFC 5480, NaCl's `crypto_secretbox`.
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use poly1305::Poly1305;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What can be wrong with a key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// No PEM block of a kind that is known.
    #[error("no key: expected PEM text that begins with -----BEGIN {0}-----")]
    Pem(&'static str),
    /// A PEM block with something else.
    #[error("the PEM block is a {0}, not a key that is known here")]
    Kind(String),
    /// Another curve or algorithm.
    #[error("the key is no ECDSA key on the curve P-256, which is the only kind that is supported")]
    Algorithm,
    /// The file is encrypted and no password was given.
    #[error("the key is encrypted and needs a password")]
    NeedsPassword,
    /// Decryption failed.
    #[error("the password is wrong, or the key file is damaged")]
    Password,
    /// The encrypted document makes no sense, or asks for more work than is reasonable.
    #[error("the encrypted key cannot be read: {0}")]
    Encrypted(String),
    /// The operating system's random numbers are not to be had.
    #[error("no random numbers are to be had from the operating system")]
    Random,
}

/// The PEM label of cosign's encrypted keys.
const SIGSTORE: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";
/// The same before 2023.
const COSIGN: &str = "ENCRYPTED COSIGN PRIVATE KEY";

/// SubjectPublicKeyInfo of a P-256 key in front of the 65 bytes of the point (RFC 5480).
const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// AlgorithmIdentifier of such a key.
const ALGORITHM: &[u8] = &[
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07,
];

/// A key that verifies.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    /// Uncompressed (SEC 1, 2.3.3).
    point: [u8; 65],
}

impl PublicKey {
    /// Reads `PUBLIC KEY`.
    ///
    /// # Errors
    /// Where the text is none, or the key is of another kind.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let (label, der) = pem(text).ok_or(KeyError::Pem("PUBLIC KEY"))?;
        if label != "PUBLIC KEY" {
            return Err(KeyError::Kind(label));
        }
        match der.strip_prefix(&SPKI) {
            Some(point) => Self::from_point(point),
            None => Err(KeyError::Algorithm),
        }
    }

    fn from_point(point: &[u8]) -> Result<Self, KeyError> {
        match <[u8; 65]>::try_from(point) {
            Ok(point @ [4, ..]) => Ok(Self { point }),
            _ => Err(KeyError::Algorithm),
        }
    }

    /// SubjectPublicKeyInfo.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        [SPKI.as_slice(), &self.point].concat()
    }

    /// `PUBLIC KEY`.
    #[must_use]
    pub fn to_pem(&self) -> String {
        to_pem("PUBLIC KEY", &self.to_der())
    }

    /// How Sigstore bundles point to the key: the SHA-256 of its SubjectPublicKeyInfo, in base64.
    #[must_use]
    pub fn hint(&self) -> String {
        STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, &self.to_der()))
    }

    /// Whether `signature` (ASN.1 DER) is one of this key over the SHA-256 of `message`.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        ring::signature::UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.point).verify(message, signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.hint())
    }
}

/// A key that signs. `Debug` shows nothing of it.
pub struct PrivateKey {
    pair: EcdsaKeyPair,
    pkcs8: Vec<u8>,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey of {:?}", self.public())
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        // The key pair inside lives on in ring's hands; this copy need not stay in freed memory.
        self.pkcs8.fill(0);
    }
}

impl PrivateKey {
    /// A new key.
    ///
    /// # Errors
    /// Where there are no random numbers.
    pub fn generate() -> Result<Self, KeyError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| KeyError::Random)?;
        Self::from_pkcs8(document.as_ref())
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &SystemRandom::new())
            .map_err(|_| KeyError::Algorithm)?;
        Ok(Self { pair, pkcs8: der.to_vec() })
    }

    /// Reads a key file. `password` is asked for an encrypted one alone.
    ///
    /// # Errors
    /// Where the text is no key, of another kind, or the password is wrong.
    pub fn from_pem(text: &str, password: impl FnOnce() -> Option<Vec<u8>>) -> Result<Self, KeyError> {
        let (label, der) = pem(text).ok_or(KeyError::Pem(SIGSTORE))?;
        match label.as_str() {
            SIGSTORE | COSIGN => {
                let password = password().ok_or(KeyError::NeedsPassword)?;
                Self::from_pkcs8(&decrypt(&der, &password)?)
            }
            "PRIVATE KEY" => Self::from_pkcs8(&der),
            "EC PRIVATE KEY" => {
                // PKCS #8 is the same document with a head: version 0 and the algorithm.
                let inner = [&[0x02, 0x01, 0x00], ALGORITHM, &tagged(0x04, &der)].concat();
                Self::from_pkcs8(&tagged(0x30, &inner))
            }
            _ => Err(KeyError::Kind(label)),
        }
    }

    /// The key as cosign writes it to `cosign.key`.
    ///
    /// # Errors
    /// Where there are no random numbers.
    pub fn to_encrypted_pem(&self, password: &[u8]) -> Result<String, KeyError> {
        let (mut salt, mut nonce) = ([0; 32], [0; 24]);
        let random = SystemRandom::new();
        random.fill(&mut salt).map_err(|_| KeyError::Random)?;
        random.fill(&mut nonce).map_err(|_| KeyError::Random)?;
        let params = Work { n: 1 << 16, r: 8, p: 1 };
        let key = derive(password, &salt, &params)?;
        let document = Document {
            kdf: Kdf { name: "scrypt".into(), params, salt: STANDARD.encode(salt) },
            cipher: Cipher { name: "nacl/secretbox".into(), nonce: STANDARD.encode(nonce) },
            ciphertext: STANDARD.encode(seal(&key, &nonce, &self.pkcs8)),
        };
        let json = serde_json::to_vec(&document).map_err(|e| KeyError::Encrypted(e.to_string()))?;
        Ok(to_pem(SIGSTORE, &json))
    }

    /// The other half.
    ///
    /// # Panics
    /// Never: ring gives P-256 points uncompressed.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let mut point = [0; 65];
        let own = self.pair.public_key().as_ref();
        point[..own.len().min(65)].copy_from_slice(&own[..own.len().min(65)]);
        PublicKey { point }
    }

    /// A signature (ASN.1 DER) over the SHA-256 of a message.
    ///
    /// # Errors
    /// Where there are no random numbers.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = self.pair.sign(&SystemRandom::new(), message).map_err(|_| KeyError::Random)?;
        Ok(signature.as_ref().to_vec())
    }
}

#[derive(Serialize, Deserialize)]
struct Document {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct Kdf {
    name: String,
    params: Work,
    salt: String,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Work {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

fn decrypt(json: &[u8], password: &[u8]) -> Result<Vec<u8>, KeyError> {
    let fail = |why: &str| KeyError::Encrypted(why.to_owned());
    let document: Document = serde_json::from_slice(json).map_err(|e| KeyError::Encrypted(e.to_string()))?;
    if document.kdf.name != "scrypt" || document.cipher.name != "nacl/secretbox" {
        return Err(KeyError::Encrypted(format!(
            "it uses {} and {}; known are scrypt and nacl/secretbox",
            document.kdf.name, document.cipher.name
        )));
    }
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| fail("invalid base64"));
    let salt = decode(&document.kdf.salt)?;
    let nonce: [u8; 24] = decode(&document.cipher.nonce)?.try_into().map_err(|_| fail("the nonce has no 24 bytes"))?;
    let key = derive(password, &salt, &document.kdf.params)?;
    open(&key, &nonce, &decode(&document.ciphertext)?).ok_or(KeyError::Password)
}

/// scrypt. A file may ask for 256 MiB, four times what cosign's asks for.
fn derive(password: &[u8], salt: &[u8], work: &Work) -> Result<[u8; 32], KeyError> {
    let fail =
        || KeyError::Encrypted(format!("scrypt parameters N={} r={} p={} are out of range", work.n, work.r, work.p));
    let memory = work.n.checked_mul(u64::from(work.r)).and_then(|m| m.checked_mul(128)).ok_or_else(fail)?;
    if !work.n.is_power_of_two() || work.n < 2 || memory > 256 << 20 || !(1..=4).contains(&work.p) {
        return Err(fail());
    }
    let log = u8::try_from(work.n.trailing_zeros()).map_err(|_| fail())?;
    let params = scrypt::Params::new(log, work.r, work.p).map_err(|_| fail())?;
    let mut key = [0; 32];
    scrypt::scrypt(password, salt, &params, &mut key).map_err(|_| fail())?;
    Ok(key)
}

/// The key of the tag, and the stream behind it.
fn stream(key: &[u8; 32], nonce: &[u8; 24]) -> (XSalsa20, [u8; 32]) {
    let mut cipher = XSalsa20::new(&(*key).into(), &(*nonce).into());
    let mut first = [0; 32];
    cipher.apply_keystream(&mut first);
    (cipher, first)
}

fn tag(key: &[u8; 32], bytes: &[u8]) -> [u8; 16] {
    use poly1305::universal_hash::KeyInit;
    Poly1305::new(&(*key).into()).compute_unpadded(bytes).into()
}

/// `crypto_secretbox`: the tag, then the encrypted message.
fn seal(key: &[u8; 32], nonce: &[u8; 24], message: &[u8]) -> Vec<u8> {
    let (mut cipher, authenticator) = stream(key, nonce);
    let mut bytes = message.to_vec();
    cipher.apply_keystream(&mut bytes);
    [tag(&authenticator, &bytes).as_slice(), &bytes].concat()
}

fn open(key: &[u8; 32], nonce: &[u8; 24], boxed: &[u8]) -> Option<Vec<u8>> {
    let (given, rest) = boxed.split_at_checked(16)?;
    let (mut cipher, authenticator) = stream(key, nonce);
    let expected = tag(&authenticator, rest);
    // In constant time: every byte is looked at.
    let difference = expected.iter().zip(given).fold(0, |all, (a, b)| all | (a ^ b));
    let mut bytes = rest.to_vec();
    cipher.apply_keystream(&mut bytes);
    (difference == 0).then_some(bytes)
}

/// A DER value of up to 65535 bytes.
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let low = u8::try_from(length & 0xff).unwrap_or(0);
    let high = u8::try_from(length >> 8 & 0xff).unwrap_or(0);
    let head: &[u8] = match length {
        0..=127 => &[tag, low],
        128..=255 => &[tag, 0x81, low],
        _ => &[tag, 0x82, high, low],
    };
    [head, content].concat()
}

/// The first PEM block: its label and its bytes.
fn pem(text: &str) -> Option<(String, Vec<u8>)> {
    let (label, rest) = text.split_once("-----BEGIN ")?.1.split_once("-----")?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    Some((label.to_owned(), STANDARD.decode(body).ok()?))
}

fn to_pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for start in (0..text.len()).step_by(64) {
        out.push_str(&text[start..text.len().min(start + 64)]);
        out.push('\n');
    }
    out + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by cosign 2.5 with the password `secret`.
    const KEY: &str = include_str!("../tests/data/cosign.key");
    const PUBLIC: &str = include_str!("../tests/data/cosign.pub");

    #[test]
    fn cosigns_own_files() {
        let key = PrivateKey::from_pem(KEY, || Some(b"secret".to_vec())).unwrap();
        let public = PublicKey::from_pem(PUBLIC).unwrap();
        assert_eq!(key.public(), public);
        assert_eq!(public.to_pem(), PUBLIC);
        let signature = key.sign(b"message").unwrap();
        assert!(public.verify(b"message", &signature) && !public.verify(b"massage", &signature));
        assert_eq!(PrivateKey::from_pem(KEY, || Some(b"wrong".to_vec())).unwrap_err(), KeyError::Password);
        assert_eq!(PrivateKey::from_pem(KEY, || None).unwrap_err(), KeyError::NeedsPassword);
        assert_eq!(PublicKey::from_pem(KEY).unwrap_err(), KeyError::Kind(SIGSTORE.into()));
    }

    #[test]
    fn keys_survive_their_file() {
        let key = PrivateKey::generate().unwrap();
        let text = key.to_encrypted_pem(b"").unwrap();
        assert!(text.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"));
        let again = PrivateKey::from_pem(&text, || Some(Vec::new())).unwrap();
        assert_eq!(again.public(), key.public());
        assert!(!format!("{again:?}").contains("pkcs8"));
        for (label, der) in
            [("PRIVATE KEY", key.pkcs8.clone()), ("EC PRIVATE KEY", key.pkcs8[ALGORITHM.len() + 8..].to_vec())]
        {
            let plain = to_pem(label, &der);
            let read = PrivateKey::from_pem(&plain, || None).unwrap_or_else(|e| panic!("{label}: {e}"));
            assert_eq!(read.public(), key.public());
        }
    }

    /// From NaCl's own tests (`tests/secretbox.c`).
    #[test]
    fn secretbox_is_nacls() {
        let key: [u8; 32] = [
            0x1b, 0x27, 0x55, 0x64, 0x73, 0xe9, 0x85, 0xd4, 0x62, 0xcd, 0x51, 0x19, 0x7a, 0x9a, 0x46, 0xc7, 0x60, 0x09,
            0x54, 0x9e, 0xac, 0x64, 0x74, 0xf2, 0x06, 0xc4, 0xee, 0x08, 0x44, 0xf6, 0x83, 0x89,
        ];
        let nonce: [u8; 24] = [
            0x69, 0x69, 0x6e, 0xe9, 0x55, 0xb6, 0x2b, 0x73, 0xcd, 0x62, 0xbd, 0xa8, 0x75, 0xfc, 0x73, 0xd6, 0x82, 0x19,
            0xe0, 0x03, 0x6b, 0x7a, 0x0b, 0x37,
        ];
        let boxed = seal(&key, &nonce, &[0xbe, 0x07, 0x5f, 0xc5, 0x3c, 0x81, 0xf2, 0xd5]);
        assert_eq!(boxed[16..], [0x8e, 0x99, 0x3b, 0x9f, 0x48, 0x68, 0x12, 0x73]);
        assert!(open(&key, &nonce, &boxed).is_some());
        for place in 0..boxed.len() {
            let mut damaged = boxed.clone();
            damaged[place] ^= 1;
            assert!(open(&key, &nonce, &damaged).is_none());
        }
        assert!(open(&key, &nonce, b"short").is_none());
    }

    #[test]
    fn hostile_files_cost_no_memory() {
        for work in [Work { n: 1 << 40, r: 8, p: 1 }, Work { n: 65537, r: 8, p: 1 }, Work { n: 2, r: u32::MAX, p: 9 }] {
            assert!(matches!(derive(b"", b"", &work), Err(KeyError::Encrypted(_))));
        }
        let der = br#"{"kdf":{"name":"none","params":{"N":2,"r":1,"p":1},"salt":""},"cipher":{"name":"x","nonce":""},"ciphertext":""}"#;
        let error = PrivateKey::from_pem(&to_pem(SIGSTORE, der), || Some(Vec::new())).unwrap_err();
        assert!(error.to_string().contains("it uses none and x"));
        assert_eq!(PublicKey::from_pem("nothing").unwrap_err(), KeyError::Pem("PUBLIC KEY"));
    }
}
