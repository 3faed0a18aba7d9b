//! Paths inside a root file system that nobody has entered yet.
//!
//! The tree's content is not trusted: every symlink is resolved by hand against the tree's own root, component by
//! component, on O_PATH descriptors, so that no link and no `..` leads out of it. Nothing else runs in the tree while
//! this happens.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fstat, mkdirat, openat, readlinkat};

/// As many links as the kernel follows in one path.
const MAX_LINKS: usize = 40;

/// A directory as the root of path resolution.
#[derive(Debug)]
pub(crate) struct Root(OwnedFd);

/// A path, as far as it exists.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// The deepest thing that exists.
    pub(crate) fd: OwnedFd,
    /// Its path from the root, without links.
    pub(crate) path: PathBuf,
    /// Names below it that do not exist.
    pub(crate) missing: Vec<OsString>,
}

/// A file or directory that [`Root::ensure`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MadeEntry {
    pub(crate) path: PathBuf,
    pub(crate) dir: bool,
}

impl Root {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Root(fd)
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Follows `path` from the root, links included.
    pub(crate) fn resolve(&self, path: &Path) -> io::Result<Resolved> {
        self.resolve_among(path, |_| None)
    }

    /// [`Root::resolve`], where directories are covered: `mounted` has what lies on a path from the root. What is found
    /// in such a directory counts as the tree's: its links and `..` lead nowhere else.
    pub(crate) fn resolve_among<'a>(
        &self,
        path: &Path,
        mounted: impl Fn(&Path) -> Option<BorrowedFd<'a>>,
    ) -> io::Result<Resolved> {
        let mut todo: VecDeque<OsString> = VecDeque::new();
        push_front(&mut todo, path);
        let mut stack: Vec<(OsString, OwnedFd)> = Vec::new();
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == ".." {
                stack.pop();
                continue;
            }
            let here = stack.last().map_or(self.0.as_fd(), |(_, fd)| fd.as_fd());
            let fd = match openat(here, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
                Ok(fd) => fd,
                Err(rustix::io::Errno::NOENT) => {
                    let mut missing: Vec<OsString> = vec![name];
                    for name in todo {
                        if name == ".." { drop(missing.pop()) } else { missing.push(name) }
                    }
                    return self.resolved(stack, missing);
                }
                Err(error) => return Err(error.into()),
            };
            match FileType::from_raw_mode(fstat(&fd)?.st_mode) {
                FileType::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(io::Error::from_raw_os_error(libc::ELOOP));
                    }
                    let target = readlinkat(&fd, "", Vec::new())?;
                    let target = Path::new(OsStr::from_bytes(target.as_bytes()));
                    if target.is_absolute() {
                        stack.clear();
                    }
                    push_front(&mut todo, target);
                }
                FileType::Directory => {
                    stack.push((name, fd));
                    let here: PathBuf = stack.iter().map(|(name, _)| name).collect();
                    if let (Some(covering), Some((_, fd))) = (mounted(&here), stack.last_mut()) {
                        *fd = covering.try_clone_to_owned()?;
                    }
                }
                _ if todo.is_empty() => stack.push((name, fd)),
                _ => return Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
            }
        }
        self.resolved(stack, Vec::new())
    }

    fn resolved(&self, mut stack: Vec<(OsString, OwnedFd)>, missing: Vec<OsString>) -> io::Result<Resolved> {
        let path = stack.iter().map(|(name, _)| name).collect();
        let fd = match stack.pop() {
            Some((_, fd)) => fd,
            None => self.0.try_clone()?,
        };
        Ok(Resolved { fd, path, missing })
    }

    /// Opens `path` (O_PATH), making what is missing of it: directories 0755, and the last name a directory or an
    /// empty file. What was made is appended to `made`.
    pub(crate) fn ensure(&self, path: &Path, dir: bool, made: &mut Vec<MadeEntry>) -> io::Result<OwnedFd> {
        self.resolve(path)?.ensure(dir, made)
    }
}

impl Resolved {
    /// Makes what is missing, see [`Root::ensure`].
    pub(crate) fn ensure(self, dir: bool, made: &mut Vec<MadeEntry>) -> io::Result<OwnedFd> {
        let Resolved { mut fd, mut path, missing } = self;
        let last = missing.len().wrapping_sub(1);
        for (index, name) in missing.iter().enumerate() {
            path.push(name);
            let as_dir = dir || index != last;
            let flags = if as_dir {
                mkdirat(&fd, name, Mode::from_raw_mode(0o755))?;
                OFlags::PATH | OFlags::DIRECTORY
            } else {
                OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY
            };
            made.push(MadeEntry { path: path.clone(), dir: as_dir });
            fd = openat(&fd, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::from_raw_mode(0o644))?;
        }
        let is_dir = FileType::from_raw_mode(fstat(&fd)?.st_mode) == FileType::Directory;
        match (dir, is_dir) {
            (true, false) => Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
            (false, true) => Err(io::Error::from_raw_os_error(libc::EISDIR)),
            _ => Ok(fd),
        }
    }
}

/// Puts the components of `path` before what is still to do; "." and "/" are nothing, ".." is kept.
fn push_front(todo: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => todo.push_front(name.to_owned()),
            Component::ParentDir => todo.push_front("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn tree() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().expect("temporary directory");
        fs::create_dir_all(dir.path().join("a/b")).expect("mkdir");
        fs::write(dir.path().join("a/file"), "x").expect("write");
        symlink("/a", dir.path().join("abs")).expect("link");
        symlink("../../../../etc", dir.path().join("a/up")).expect("link");
        symlink("loop", dir.path().join("loop")).expect("link");
        let fd = rustix::fs::open(dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).expect("open");
        (dir, Root::new(fd))
    }

    #[test]
    fn links_and_dots_stay_inside() {
        let (_dir, root) = tree();
        let of = |path: &str| {
            let r = root.resolve(Path::new(path)).expect(path);
            (r.path.display().to_string(), r.missing.len())
        };
        assert_eq!(of("/abs/b"), ("a/b".into(), 0));
        assert_eq!(of("../../a/./b/../file"), ("a/file".into(), 0));
        assert_eq!(of("/a/up/passwd"), (String::new(), 2), "etc does not exist in the tree");
        assert_eq!(of("/"), (String::new(), 0));
        assert_eq!(root.resolve(Path::new("loop")).expect_err("loop").raw_os_error(), Some(libc::ELOOP));
        assert_eq!(root.resolve(Path::new("a/file/x")).expect_err("file").raw_os_error(), Some(libc::ENOTDIR));
    }

    #[test]
    fn what_is_missing_is_made_and_reported() {
        let (dir, root) = tree();
        let mut made = Vec::new();
        root.ensure(Path::new("/a/up/ssl/cert"), false, &mut made).expect("ensure");
        let paths: Vec<_> = made.iter().map(|m| (m.path.to_str().unwrap_or(""), m.dir)).collect();
        assert_eq!(paths, [("etc", true), ("etc/ssl", true), ("etc/ssl/cert", false)]);
        assert!(dir.path().join("etc/ssl/cert").is_file());
        made.clear();
        root.ensure(Path::new("/a/b"), true, &mut made).expect("exists");
        assert!(made.is_empty());
        let error = root.ensure(Path::new("/a/b"), false, &mut made).expect_err("a directory");
        assert_eq!(error.raw_os_error(), Some(libc::EISDIR));
    }
}
