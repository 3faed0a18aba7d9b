//! The stored form of tables: numbers of variable length, byte strings with their length, a checksum at the end.
//!
//! ```text
//! magic (8 bytes, the last is the version) │ body │ CRC-32 of magic and body, little endian
//! number: 7 bits a byte, the lowest first, the high bit says that more follow
//! ```

use crate::entry::Time;
use crate::error::{Error, Result};
use flate2::Crc;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

pub(crate) struct Encoder {
    bytes: Vec<u8>,
    path: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new(magic: &[u8; 8]) -> Self {
        Self { bytes: magic.to_vec(), path: Vec::new() }
    }

    pub(crate) fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    pub(crate) fn signed(&mut self, value: i64) {
        self.number(((value << 1) ^ (value >> 63)) as u64);
    }

    pub(crate) fn time(&mut self, time: Time) {
        self.signed(time.secs);
        self.number(time.nanos.into());
    }

    pub(crate) fn string(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    /// A path as what it has in common with the one before, and the rest.
    pub(crate) fn path(&mut self, path: &Path) {
        let path = path.as_os_str().as_bytes();
        let common = path.iter().zip(&self.path).take_while(|(a, b)| a == b).count();
        self.number(common as u64);
        self.string(&path[common..]);
        self.path.truncate(common);
        self.path.extend_from_slice(&path[common..]);
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        let mut crc = Crc::new();
        crc.update(&self.bytes);
        self.bytes.extend_from_slice(&crc.sum().to_le_bytes());
        self.bytes
    }
}

pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
    path: Vec<u8>,
    what: &'static str,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8], magic: &[u8; 8], what: &'static str) -> Result<Self> {
        let unusable = |reason: &str| Error::Stored { what, reason: reason.to_owned() };
        let Some((body, sum)) = bytes.split_last_chunk::<4>() else { return Err(unusable("it is cut off")) };
        let Some((head, rest)) = body.split_first_chunk::<8>() else { return Err(unusable("it is cut off")) };
        if head[..7] != magic[..7] {
            return Err(unusable("it is something else"));
        }
        if head != magic {
            return Err(unusable(&format!("its version is {}, this program knows {}", head[7], magic[7])));
        }
        let mut crc = Crc::new();
        crc.update(body);
        if crc.sum() != u32::from_le_bytes(*sum) {
            return Err(unusable("its checksum is wrong"));
        }
        Ok(Self { rest, path: Vec::new(), what })
    }

    pub(crate) fn bad(&self) -> Error {
        Error::Stored { what: self.what, reason: "it is malformed".into() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn number(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let Some((byte, rest)) = self.rest.split_first() else { return Err(self.bad()) };
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.bad())
    }

    pub(crate) fn small(&mut self) -> Result<u32> {
        let value = self.number()?;
        u32::try_from(value).map_err(|_| self.bad())
    }

    pub(crate) fn signed(&mut self) -> Result<i64> {
        let value = self.number()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(crate) fn time(&mut self) -> Result<Time> {
        Ok(Time { secs: self.signed()?, nanos: self.small()? })
    }

    pub(crate) fn string(&mut self) -> Result<&'a [u8]> {
        let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if length > self.rest.len() {
            return Err(self.bad());
        }
        let (out, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(out)
    }

    pub(crate) fn path(&mut self) -> Result<PathBuf> {
        let common = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if common > self.path.len() {
            return Err(self.bad());
        }
        let rest = self.string()?;
        self.path.truncate(common);
        self.path.extend_from_slice(rest);
        Ok(PathBuf::from(OsString::from_vec(self.path.clone())))
    }
}
