//! Content digests: `algorithm:hex`, checked when they are made.
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};
use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

/// A digest as the OCI image-spec writes it: `sha256:` and 64 hex digits (or `sha512:` and 128).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// Why a text is no digest.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("invalid digest {0:?}: expected sha256:<64 lower-case hex digits>")]
pub struct DigestError(pub String);

impl Digest {
    /// The sha256 of some bytes.
    #[must_use]
    pub fn sha256(bytes: &[u8]) -> Self {
        let mut digester = Digester::new();
        digester.update(bytes);
        digester.finish()
    }

    /// The sha256 digest with these 32 bytes.
    #[must_use]
    pub fn from_sha256_bytes(bytes: &[u8; 32]) -> Self {
        Self(format!("sha256:{}", hex(bytes)))
    }

    /// The part before the colon.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        self.0.split_once(':').map_or("", |(a, _)| a)
    }

    /// The value of a SHA-256 digest; `None` for another algorithm.
    #[must_use]
    pub fn sha256_bytes(&self) -> Option<[u8; 32]> {
        let mut bytes = [0; 32];
        let hex = self.0.strip_prefix("sha256:")?;
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(bytes)
    }

    /// The part after the colon: safe as a file name, since it is hex.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, h)| h)
    }

    /// The first twelve hex digits, as people read digests.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = DigestError;
    fn from_str(text: &str) -> Result<Self, DigestError> {
        let length = match text.split_once(':') {
            Some(("sha256", _)) => 64,
            Some(("sha512", _)) => 128,
            _ => return Err(DigestError(text.to_owned())),
        };
        let digits = &text[7..];
        if digits.len() == length && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(text.to_owned()))
        } else {
            Err(DigestError(text.to_owned()))
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;
    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

#[derive(Clone)]
enum Algorithm {
    Sha256(Sha256),
    Sha512(Sha512),
}

/// Computes a digest over what is written to it.
#[derive(Clone)]
pub struct Digester(Algorithm);

impl Default for Digester {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Digester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digester")
    }
}

impl Digester {
    /// A sha256 digester: what this project writes.
    #[must_use]
    pub fn new() -> Self {
        Self(Algorithm::Sha256(Sha256::new()))
    }

    /// A digester of the algorithm that a digest names.
    #[must_use]
    pub fn like(digest: &Digest) -> Self {
        Self(match digest.algorithm() {
            "sha512" => Algorithm::Sha512(Sha512::new()),
            _ => Algorithm::Sha256(Sha256::new()),
        })
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Algorithm::Sha256(state) => state.update(bytes),
            Algorithm::Sha512(state) => state.update(bytes),
        }
    }

    /// The digest of all that was added.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(match self.0 {
            Algorithm::Sha256(state) => format!("sha256:{}", hex(&state.finalize())),
            Algorithm::Sha512(state) => format!("sha512:{}", hex(&state.finalize())),
        })
    }
}

impl Write for Digester {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader that fails at the end when the bytes do not have the expected digest, and as soon as
/// there are more of them than expected.
#[derive(Debug)]
pub struct VerifyReader<R> {
    inner: R,
    digester: Option<Digester>,
    expected: Digest,
    size: Option<u64>,
    seen: u64,
}

impl<R: Read> VerifyReader<R> {
    /// Reads `inner`, which must have this digest and, where known, this size in bytes.
    pub fn new(inner: R, expected: Digest, size: Option<u64>) -> Self {
        Self { inner, digester: Some(Digester::like(&expected)), expected, size, seen: 0 }
    }
}

impl<R: Read> Read for VerifyReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.seen += count as u64;
        let wrong = |why: String| Err(io::Error::new(io::ErrorKind::InvalidData, why));
        if let Some(size) = self.size
            && (self.seen > size || (count == 0 && !buffer.is_empty() && self.seen < size))
        {
            return wrong(format!("{} has {} bytes, expected {size}", self.expected, self.seen));
        }
        if count > 0 {
            if let Some(digester) = &mut self.digester {
                digester.update(&buffer[..count]);
            }
        } else if !buffer.is_empty()
            && let Some(digester) = self.digester.take()
        {
            let actual = digester.finish();
            if actual != self.expected {
                return wrong(format!("content has digest {actual}, expected {}", self.expected));
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::sha256(b"").as_str(), empty);
        assert_eq!(empty.parse::<Digest>().unwrap().to_string(), empty);
        assert_eq!(Digest::sha256(b"").short(), "e3b0c44298fc");
        let bytes = Digest::sha256(b"").sha256_bytes().unwrap();
        assert_eq!(Digest::from_sha256_bytes(&bytes), Digest::sha256(b""));
    }

    #[test]
    fn rejects_what_could_be_a_path() {
        for bad in [
            "",
            "sha256:",
            "sha256:../../etc/passwd",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn verify_reader_catches_content_and_length() {
        let digest = Digest::sha256(b"hello");
        let read = |bytes: &[u8], size| {
            let mut out = Vec::new();
            VerifyReader::new(bytes, digest.clone(), size).read_to_end(&mut out).map(|_| out)
        };
        assert_eq!(read(b"hello", Some(5)).unwrap(), b"hello");
        assert_eq!(read(b"hello", None).unwrap(), b"hello");
        assert!(read(b"hellO", Some(5)).is_err());
        assert!(read(b"hell", Some(5)).is_err());
        assert!(read(b"hello!", Some(5)).is_err());
    }
}
