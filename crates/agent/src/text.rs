//! Paths in buffers of fixed size: the agent has no heap.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use crate::sys::{Errno, R};

/// Room for a path of 4095 bytes with the tree's own path, or a mount's, before it.
pub const ROOM: usize = 8192;

/// A NUL-terminated byte string of at most `N - 1` bytes; only what was written is initialised.
pub struct Text<const N: usize> {
    bytes: [MaybeUninit<u8>; N],
    len: usize,
}

/// A path.
pub type PathText = Text<ROOM>;
/// One name in a directory, or a short path in /proc.
pub type Name = Text<256>;

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Text<N> {
    /// The empty string, as a constant.
    pub const EMPTY: Self = {
        let mut text = Text { bytes: [const { MaybeUninit::uninit() }; N], len: 0 };
        text.bytes[0] = MaybeUninit::new(0);
        text
    };

    /// The empty string.
    #[inline(always)]
    pub fn new() -> Self {
        let mut text = Text { bytes: [const { MaybeUninit::uninit() }; N], len: 0 };
        text.bytes[0] = MaybeUninit::new(0);
        text
    }

    /// A copy.
    pub fn of(bytes: &[u8]) -> R<Self> {
        let mut text = Self::new();
        text.push(bytes)?;
        Ok(text)
    }

    /// Appends.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) -> R<()> {
        if self.len + bytes.len() >= N {
            return Err(Errno::ENAMETOOLONG);
        }
        for (to, from) in self.bytes[self.len..].iter_mut().zip(bytes) {
            *to = MaybeUninit::new(*from);
        }
        self.set_len(self.len + bytes.len());
        Ok(())
    }

    /// Appends a name behind a slash.
    pub fn push_name(&mut self, name: &[u8]) -> R<()> {
        if self.bytes().last() != Some(&b'/') {
            self.push(b"/")?;
        }
        self.push(name)
    }

    /// Appends a decimal number.
    pub fn push_number(&mut self, number: u64) -> R<()> {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        let mut left = number;
        loop {
            at -= 1;
            digits[at] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        self.push(&digits[at..])
    }

    /// Shortens to `len` bytes.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if len <= self.len {
            self.set_len(len);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.set_len(0);
    }

    /// Takes the last name of an absolute path away; `/` stays.
    pub fn pop_name(&mut self) {
        let cut = self.bytes().iter().rposition(|b| *b == b'/').unwrap_or(0);
        self.truncate(cut.max(1));
    }

    /// Removes the first `count` bytes.
    pub fn remove_front(&mut self, count: usize) {
        let count = count.min(self.len);
        self.bytes.copy_within(count..self.len, 0);
        self.set_len(self.len - count);
    }

    /// The room behind the text, for a call that fills it; follow with [`Text::filled`].
    #[inline]
    pub fn spare(&mut self) -> &mut [MaybeUninit<u8>] {
        &mut self.bytes[self.len..N - 1]
    }

    /// Tells that `count` bytes of [`Text::spare`] were written.
    #[inline]
    pub fn filled(&mut self, count: usize) {
        self.set_len((self.len + count).min(N - 1));
    }

    #[inline]
    fn set_len(&mut self, len: usize) {
        self.len = len;
        self.bytes[len] = MaybeUninit::new(0);
    }

    /// The bytes, without NUL.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the first `len` bytes were written.
        unsafe { core::slice::from_raw_parts(self.bytes.as_ptr().cast(), self.len) }
    }

    /// The string for a system call.
    #[inline]
    pub fn c(&self) -> &CStr {
        // SAFETY: a NUL is kept behind the text; texts are made of the guest's C strings and of names without NUL.
        unsafe {
            CStr::from_bytes_with_nul_unchecked(core::slice::from_raw_parts(self.bytes.as_ptr().cast(), self.len + 1))
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// `/proc/self/fd/N`.
pub fn fd_path(fd: i32) -> Name {
    let mut name = Name::new();
    let _ = name.push(b"/proc/self/fd/");
    let _ = name.push_number(fd as u64);
    name
}

/// The rest of `path` behind `prefix`, where `prefix` is the path or one of its parents. The rest is empty or begins
/// with a slash.
#[inline]
pub fn strip_dir<'a>(path: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(prefix)?;
    (rest.is_empty() || rest[0] == b'/' || prefix.ends_with(b"/")).then_some(rest)
}

/// Splits a path into its parent, with the slash that ends it, and its last name; slashes behind the name go to the
/// third part. `a/b/` is `("a/", "b", "/")`, `/` is `("/", "", "")`.
pub fn split_last(path: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let end = path.iter().rposition(|b| *b != b'/').map_or(0, |last| last + 1);
    let start = path[..end].iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
    if end == 0 { (path, b"", b"") } else { (&path[..start], &path[start..end], &path[end..]) }
}

/// A decimal number that fills the whole string.
pub fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 10 {
        return None;
    }
    text.iter().try_fold(0u64, |sum, b| b.is_ascii_digit().then(|| sum * 10 + u64::from(b - b'0')))?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_split_at_the_last_name() {
        let cases: [(&str, (&str, &str, &str)); 6] = [
            ("a", ("", "a", "")),
            ("a/b/", ("a/", "b", "/")),
            ("/", ("/", "", "")),
            ("/x", ("/", "x", "")),
            ("//x//y//", ("//x//", "y", "//")),
            ("..", ("", "..", "")),
        ];
        for (path, (parent, name, slashes)) in cases {
            assert_eq!(split_last(path.as_bytes()), (parent.as_bytes(), name.as_bytes(), slashes.as_bytes()), "{path}");
        }
    }

    #[test]
    fn texts_grow_shrink_and_stay_terminated() {
        let mut text = Text::<16>::of(b"/usr/bin").expect("fits");
        text.push_name(b"sh").expect("fits");
        assert_eq!(text.c(), c"/usr/bin/sh");
        text.pop_name();
        text.pop_name();
        text.pop_name();
        assert_eq!(text.bytes(), b"/");
        text.pop_name();
        text.push_name(b"x").expect("fits");
        assert_eq!(text.bytes(), b"/x");
        assert_eq!(text.push(&[b'y'; 14]), Err(Errno::ENAMETOOLONG));
        text.remove_front(1);
        text.push_number(4095).expect("fits");
        assert_eq!(text.c(), c"x4095");
    }

    #[test]
    fn prefixes_end_at_a_name() {
        assert_eq!(strip_dir(b"/proc/self", b"/proc"), Some(&b"/self"[..]));
        assert_eq!(strip_dir(b"/process", b"/proc"), None);
        assert_eq!(strip_dir(b"/proc", b"/proc"), Some(&b""[..]));
        assert_eq!(number(b"1002"), Some(1002));
        assert_eq!(number(b"10x"), None);
        assert_eq!(number(b""), None);
        assert_eq!(number(b"99999999999"), None);
    }
}
