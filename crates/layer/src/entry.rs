//! One file system object as layers describe it: everything but its content.
//!
//! An [`Entry`]'s path is relative, clean and made of plain components: no `.`, no `..`, no double slash, no
//! leading or trailing one. The empty path is the root itself. Bytes are preserved: names need not be UTF-8.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What kind of object an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link; [`Entry::link`] is its text.
    Symlink,
    /// Another name of an object that stands earlier in the same layer; [`Entry::link`] is that object's path.
    Hardlink,
    /// A character device; [`Entry::rdev`] names it.
    CharDevice,
    /// A block device; [`Entry::rdev`] names it.
    BlockDevice,
    /// A named pipe.
    Fifo,
}

impl Kind {
    /// In the order of their numbers in stored tables.
    const ALL: [Self; 7] =
        [Self::File, Self::Dir, Self::Symlink, Self::Hardlink, Self::CharDevice, Self::BlockDevice, Self::Fifo];

    pub(crate) fn code(self) -> u64 {
        Self::ALL.iter().position(|kind| *kind == self).unwrap_or(0) as u64
    }

    pub(crate) fn from_code(code: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }
}

/// A point in time with the resolution of a file system: seconds since 1970 and nanoseconds (always 0 to 999,999,999).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Time {
    /// Whole seconds since the epoch, rounded down; negative before 1970.
    pub secs: i64,
    /// Nanoseconds after `secs`.
    pub nanos: u32,
}

impl Time {
    /// A whole second.
    #[must_use]
    pub const fn secs(secs: i64) -> Self {
        Self { secs, nanos: 0 }
    }
}

/// Extended attributes, by full name (`security.capability`), sorted.
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// A file system object without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Clean path relative to the root; empty for the root itself.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky: `mode & 0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last change of content.
    pub mtime: Time,
    /// Length of the content in bytes; 0 for all but files.
    pub size: u64,
    /// Text of a symlink, or the clean path of a hardlink's target.
    pub link: Option<PathBuf>,
    /// Device numbers, major and minor.
    pub rdev: (u32, u32),
    /// Extended attributes.
    pub xattrs: Xattrs,
}

impl Entry {
    fn plain(path: impl Into<PathBuf>, kind: Kind, mode: u32) -> Self {
        Self {
            path: path.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            size: 0,
            link: None,
            rdev: (0, 0),
            xattrs: Xattrs::new(),
        }
    }

    /// A directory owned by root, at the epoch.
    pub fn dir(path: impl Into<PathBuf>, mode: u32) -> Self {
        Self::plain(path, Kind::Dir, mode)
    }

    /// A regular file owned by root, at the epoch.
    pub fn file(path: impl Into<PathBuf>, mode: u32, size: u64) -> Self {
        Self { size, ..Self::plain(path, Kind::File, mode) }
    }

    /// A symlink owned by root, at the epoch.
    pub fn symlink(path: impl Into<PathBuf>, text: impl Into<PathBuf>) -> Self {
        Self { link: Some(text.into()), ..Self::plain(path, Kind::Symlink, 0o777) }
    }

    /// A hardlink to `target`, which must stand earlier in the layer.
    pub fn hardlink(path: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self { link: Some(target.into()), ..Self::plain(path, Kind::Hardlink, 0o644) }
    }
}

/// Makes a path as tars and Dockerfiles spell it clean: relative to the root, without `.`, empty components and
/// slashes at the ends. `..` goes up as it does in `chroot`: never above the root.
///
/// This is lexical: it knows no symlinks. Use it for what cannot pass through one.
#[must_use]
pub fn clean(path: &Path) -> PathBuf {
    let mut out: Vec<u8> = Vec::with_capacity(path.as_os_str().len());
    for part in path.as_os_str().as_bytes().split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => out.truncate(out.iter().rposition(|b| *b == b'/').unwrap_or(0)),
            name => {
                if !out.is_empty() {
                    out.push(b'/');
                }
                out.extend_from_slice(name);
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

/// The parent and the last name of a clean path; nothing for the root.
#[must_use]
pub fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.is_empty() {
        return None;
    }
    Some(match bytes.iter().rposition(|b| *b == b'/') {
        Some(at) => (Path::new(OsStr::from_bytes(&bytes[..at])), OsStr::from_bytes(&bytes[at + 1..])),
        None => (Path::new(""), path.as_os_str()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_is_lexical_and_stays_inside() {
        for (input, want) in [
            ("/etc//passwd/", "etc/passwd"),
            ("./a/./b", "a/b"),
            ("../../a", "a"),
            ("a/../../b/..", ""),
            ("a/b/../c", "a/c"),
            (".", ""),
            ("", ""),
            ("...", "..."),
        ] {
            assert_eq!(clean(Path::new(input)), Path::new(want), "{input}");
        }
    }

    #[test]
    fn split_takes_the_last_name() {
        assert_eq!(split(Path::new("")), None);
        assert_eq!(split(Path::new("a")), Some((Path::new(""), OsStr::new("a"))));
        assert_eq!(split(Path::new("a/b/c")), Some((Path::new("a/b"), OsStr::new("c"))));
    }
}
