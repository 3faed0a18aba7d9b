//! Writes objects that are given one by one: the directory that unpacking their tar would make, without the tar.

use super::attrs::Setter;
use super::tree::Tree;
use super::{ApplyOptions, Contents, Unpacker, Whiteouts, bound};
use crate::entry::{Entry, Kind};
use crate::error::{Context, Error, Result};
use crate::toc::{Content, Toc, TocItem};
use rustix::fd::BorrowedFd;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

const BUFFER: usize = 256 << 10;

/// Puts objects into a directory, by the rules of [`super::apply`]. Parents come before what is in them, hardlinks
/// after what they link to.
pub struct TreeWriter<'a> {
    unpacker: Unpacker<'a, Given>,
}

/// The content of the entry that is being made.
struct Given {
    reader: Option<Box<dyn Read + Send>>,
    buffer: Vec<u8>,
}

impl Contents for Given {
    fn fill(&mut self, file: BorrowedFd<'_>, path: &Path, entry: &Entry, _: Option<&[(u64, u64)]>) -> Result<()> {
        let Some(mut reader) = self.reader.take() else {
            return match entry.size {
                0 => Ok(()),
                expected => Err(Error::Changed { path: path.to_owned(), expected, got: 0 }),
            };
        };
        let mut done = 0u64;
        // One byte more than there should be is asked for: a file that grew is noticed.
        let limit = entry.size.saturating_add(1);
        while done < limit {
            let want = usize::try_from(limit - done).unwrap_or(BUFFER).min(BUFFER);
            if self.buffer.len() < want {
                self.buffer.resize(want, 0);
            }
            let count = match reader.read(&mut self.buffer[..want]) {
                Ok(0) => break,
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::io("read", path, e)),
            };
            done += count as u64;
            let mut rest = &self.buffer[..count];
            while !rest.is_empty() {
                let written = rustix::io::write(file, rest).at("write", path)?;
                rest = &rest[written..];
            }
        }
        if done == entry.size {
            return Ok(());
        }
        Err(Error::Changed { path: path.to_owned(), expected: entry.size, got: done })
    }
}

impl<'a> TreeWriter<'a> {
    /// A writer into this directory. Of the options whiteouts, owners, `chown` and `prefix` count.
    pub fn new(root: BorrowedFd<'_>, options: &'a mut ApplyOptions<'_>) -> Result<Self> {
        let overlay = match options.whiteouts {
            Whiteouts::Overlay { userxattr: true } => Some(c"user.overlay.opaque"),
            Whiteouts::Overlay { userxattr: false } => Some(c"trusted.overlay.opaque"),
            Whiteouts::Flat | Whiteouts::Literal => None,
        };
        let literal = options.whiteouts == Whiteouts::Literal;
        let mut setter = Setter::new(&mut options.owners, root, literal);
        let mut tree = Tree::new(root, literal, overlay, options.limits)?;
        tree.rebase(&options.prefix, &mut setter)?;
        let unpacker = Unpacker {
            reader: Given { reader: None, buffer: Vec::new() },
            tree,
            setter,
            toc: Toc::default(),
            literal,
            chown: options.chown,
            atime: options.atime,
            write_back: options.write_back,
        };
        Ok(Self { unpacker })
    }

    /// Makes one object; times have whole seconds, as in a tar. A file's content must have exactly `entry.size` bytes.
    pub fn append(&mut self, entry: &Entry, content: Option<Box<dyn Read + Send>>) -> Result<()> {
        let mut entry = entry.clone();
        entry.mtime.nanos = 0;
        crate::tar_writer::check(&entry)?;
        if let Some((uid, gid)) = self.unpacker.chown {
            (entry.uid, entry.gid) = (uid, gid);
        }
        let atime = bound(entry.mtime);
        if entry.kind == Kind::File {
            self.unpacker.reader.reader = content;
        }
        self.unpacker.put(&entry, None, atime)?;
        self.unpacker.toc.items.push(TocItem::Entry { entry, content: Content::default() });
        Ok(())
    }

    /// Sets the times of directories and says what was made: the table (places of contents are 0), and the directories
    /// that no entry names, for [`super::adopt_parents`].
    pub fn finish(mut self) -> Result<(Toc, Vec<PathBuf>)> {
        self.unpacker.tree.settle()?;
        Ok((self.unpacker.toc, self.unpacker.tree.implied))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::Owners;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn write(dir: &Path, entries: &[(Entry, &'static [u8])]) -> Result<(Toc, Vec<PathBuf>)> {
        let root = fs::File::open(dir).unwrap();
        let mut options = ApplyOptions { owners: Owners::Ignored, ..ApplyOptions::default() };
        let mut writer = TreeWriter::new(root.as_fd(), &mut options)?;
        for (entry, content) in entries {
            writer.append(entry, Some(Box::new(*content)))?;
        }
        writer.finish()
    }

    #[test]
    fn objects_become_files() {
        let temp = tempfile::tempdir().unwrap();
        let mut closed = Entry::dir("closed", 0o500);
        closed.mtime.secs = 1_600_000_000;
        let mut file = Entry::file("closed/f", 0o4711, 5);
        file.mtime.secs = 1_500_000_000;
        let list = [
            (closed, &b""[..]),
            (file, b"hello"),
            (Entry::hardlink("closed/g", "closed/f"), b""),
            (Entry::symlink("l", "closed/f"), b""),
            (Entry::file("implied/e", 0o644, 0), b""),
        ];
        let (toc, implied) = write(temp.path(), &list).unwrap();
        assert_eq!(toc.items.len(), 5);
        assert_eq!(implied, [PathBuf::from("implied")]);
        let at = |name: &str| fs::symlink_metadata(temp.path().join(name)).unwrap();
        assert_eq!((at("closed").mode() & 0o7777, at("closed").mtime()), (0o500, 1_600_000_000));
        assert_eq!((at("closed/f").nlink(), at("closed/f").ino()), (2, at("closed/g").ino()));
        assert_eq!(fs::read(temp.path().join("l")).unwrap(), b"hello");
        fs::set_permissions(temp.path().join("closed"), PermissionsExt::from_mode(0o700)).unwrap();
    }

    #[test]
    fn a_file_of_another_length_is_an_error() {
        for content in [&b"four"[..], b"sixsix"] {
            let temp = tempfile::tempdir().unwrap();
            let error = write(temp.path(), &[(Entry::file("f", 0o644, 5), content)]).unwrap_err();
            assert!(matches!(error, Error::Changed { expected: 5, .. }), "{error}");
        }
    }
}
