//! The control socket between a builder and its helper: framed JSON, and byte strings kept exactly.
//!
//! ```text
//! frame   = length (u32, little endian) ++ JSON
//! builder → helper: one frame with the order; the step's stdin, stdout, stderr travel with its first byte
//! helper → builder: any number of report frames, then end of file
//! ```
//! A builder that shuts its side down, or dies, cancels the step. Byte strings that are not UTF-8 are written as
//! U+0001 followed by hexadecimal digits, all others as plain JSON strings.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A frame longer than this is a fault, not an order.
const MAX_FRAME: u32 = 1 << 30;

pub(crate) fn send<T: Serialize>(mut socket: &UnixStream, value: &T) -> io::Result<()> {
    socket.write_all(&frame(value)?)
}

pub(crate) fn send_with_fds<T: Serialize>(socket: &UnixStream, value: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let frame = frame(value)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    let sent = rustix::net::sendmsg(socket, &[IoSlice::new(&frame)], &mut control, SendFlags::NOSIGNAL)?;
    let mut socket = socket;
    socket.write_all(&frame[sent..])
}

pub(crate) fn receive<T: DeserializeOwned>(socket: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match socket.read(&mut length)? {
        0 => return Ok(None),
        got => socket.read_exact(&mut length[got..])?,
    }
    rest(socket, length).map(Some)
}

pub(crate) fn receive_with_fds<T: DeserializeOwned>(socket: &UnixStream) -> io::Result<(T, Vec<OwnedFd>)> {
    let mut length = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut length)];
    let got = rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    let mut socket = socket;
    socket.read_exact(&mut length[got..])?;
    Ok((rest(&mut socket, length)?, fds))
}

fn frame<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, value)?;
    let length = u32::try_from(frame.len() - 4).ok().filter(|length| *length <= MAX_FRAME);
    let length = length.ok_or_else(|| io::Error::other("a message of more than 1 GiB for the helper"))?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

fn rest<T: DeserializeOwned>(socket: &mut impl Read, length: [u8; 4]) -> io::Result<T> {
    let length = u32::from_le_bytes(length);
    if length > MAX_FRAME {
        return Err(io::Error::other("a broken frame on the control socket"));
    }
    let mut body = Vec::new();
    socket.take(u64::from(length)).read_to_end(&mut body)?;
    if body.len() != length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&body)?)
}

/// Types that are byte strings.
pub(crate) trait ByteString: Sized {
    fn as_bytes(&self) -> &[u8];
    fn from_vec(bytes: Vec<u8>) -> Self;
}

impl ByteString for OsString {
    fn as_bytes(&self) -> &[u8] {
        OsStrExt::as_bytes(self.as_os_str())
    }
    fn from_vec(bytes: Vec<u8>) -> Self {
        OsStringExt::from_vec(bytes)
    }
}

impl ByteString for PathBuf {
    fn as_bytes(&self) -> &[u8] {
        OsStrExt::as_bytes(self.as_os_str())
    }
    fn from_vec(bytes: Vec<u8>) -> Self {
        <OsString as OsStringExt>::from_vec(bytes).into()
    }
}

impl ByteString for Vec<u8> {
    fn as_bytes(&self) -> &[u8] {
        self
    }
    fn from_vec(bytes: Vec<u8>) -> Self {
        bytes
    }
}

fn encode(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.starts_with('\u{1}') => text.to_owned(),
        _ => {
            let mut text = String::with_capacity(1 + bytes.len() * 2);
            text.push('\u{1}');
            for byte in bytes {
                text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
                text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
            }
            text
        }
    }
}

fn decode(text: String) -> Option<Vec<u8>> {
    let Some(hex) = text.strip_prefix('\u{1}') else { return Some(text.into_bytes()) };
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    hex.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// serde for one byte string.
pub(crate) mod bytes {
    use super::{ByteString, decode, encode};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<T: ByteString, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&encode(value.as_bytes()))
    }

    pub(crate) fn deserialize<'de, T: ByteString, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        let text = String::deserialize(from)?;
        decode(text).map(T::from_vec).ok_or_else(|| D::Error::custom("bad hexadecimal byte string"))
    }
}

/// serde for a list of byte strings.
pub(crate) mod bytes_list {
    use super::{ByteString, decode, encode};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<T: ByteString, S: Serializer>(value: &[T], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(value.iter().map(|item| encode(item.as_bytes())))
    }

    pub(crate) fn deserialize<'de, T: ByteString, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
        let items = Vec::<String>::deserialize(from)?.into_iter();
        let items: Option<_> = items.map(|text| decode(text).map(T::from_vec)).collect();
        items.ok_or_else(|| D::Error::custom("bad hexadecimal byte string"))
    }
}

/// serde for a list of pairs of byte strings.
pub(crate) mod bytes_pairs {
    use super::{ByteString, decode, encode};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<T: ByteString, S: Serializer>(value: &[(T, T)], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(value.iter().map(|(key, item)| [encode(key.as_bytes()), encode(item.as_bytes())]))
    }

    pub(crate) fn deserialize<'de, T: ByteString, D: Deserializer<'de>>(from: D) -> Result<Vec<(T, T)>, D::Error> {
        let items = Vec::<(String, String)>::deserialize(from)?.into_iter();
        let items: Option<_> =
            items.map(|(key, item)| Some((T::from_vec(decode(key)?), T::from_vec(decode(item)?)))).collect();
        items.ok_or_else(|| D::Error::custom("bad hexadecimal byte string"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_strings_survive_the_wire() {
        for bytes in [&b""[..], b"plain", b"\x01x", b"\xff\x00\xfe", "ü".as_bytes(), b"\x01"] {
            assert_eq!(decode(encode(bytes)).as_deref(), Some(bytes));
        }
        assert_eq!(decode("\u{1}0".into()), None);
        assert_eq!(decode("\u{1}zz".into()), None);
    }

    #[test]
    fn a_frame_carries_descriptors_and_a_truncated_one_is_an_error() {
        use std::os::fd::AsFd;
        let (here, there) = UnixStream::pair().expect("socket pair");
        let null = std::fs::File::open("/dev/null").expect("null");
        send_with_fds(&here, &vec!["text"; 3], &[null.as_fd(), null.as_fd()]).expect("send");
        let (value, fds): (Vec<String>, _) = receive_with_fds(&there).expect("receive");
        assert_eq!((value, fds.len()), (vec!["text".to_owned(); 3], 2));
        let mut broken: &[u8] = &[9, 0, 0, 0, b'"'];
        assert_eq!(receive::<String>(&mut broken).expect_err("truncated").kind(), io::ErrorKind::UnexpectedEof);
        assert!(receive::<String>(&mut io::empty()).expect("end of file").is_none());
    }
}
