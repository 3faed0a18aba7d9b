//! The directory that is unpacked into: finds parents, remembers what this layer made, puts whiteouts.
//!
//! A parent is found name by name, each opened relative to the one before without following links; links are expanded
//! by hand, inside the root. So no path can leave the root, whatever the archive puts there. Open directories are
//! kept, since the entries of an archive come in order of directories; they are dropped whenever something that
//! exists is taken away.

use super::Limits;
use super::attrs::Setter;
use crate::entry::{Time, clean, split};
use crate::error::{Context, Error, Result};
use crate::fs;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// How many directories stay open.
const CACHED: usize = 128;
/// Links on the way to one entry, as the kernel has it.
const MAX_LINKS: usize = 40;

/// An open directory.
pub(super) struct Dir {
    pub(super) fd: OwnedFd,
    /// Clean path without links, relative to the root.
    pub(super) path: PathBuf,
    /// New files take this directory's group.
    pub(super) setgid: bool,
}

impl Dir {
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn join(&self, name: &OsStr) -> PathBuf {
        if self.path.as_os_str().is_empty() { PathBuf::from(name) } else { self.path.join(name) }
    }
}

/// What becomes of a directory when all is unpacked.
pub(super) struct Pending {
    pub(super) mtime: Time,
    pub(super) atime: Time,
    /// A mode that would have kept the process from writing into the directory.
    pub(super) mode: Option<u32>,
}

pub(super) struct Tree {
    root: Rc<Dir>,
    open: HashMap<PathBuf, Rc<Dir>>,
    /// Objects of this layer by their resolved path, with their line in the table; and the directories above them.
    made: HashMap<PathBuf, Option<usize>>,
    /// Whiteout nodes of this layer, for overlayfs.
    whited: HashSet<PathBuf>,
    pub(super) pending: HashMap<PathBuf, Pending>,
    pub(super) implied: Vec<PathBuf>,
    /// A `..` above the root is an error (ADD), not the root (layers).
    strict: bool,
    overlay: Option<&'static CStr>,
    limits: Limits,
    /// Bytes of the paths in `implied`.
    implied_bytes: u64,
}

impl Tree {
    pub(super) fn new(
        root: BorrowedFd<'_>,
        strict: bool,
        overlay: Option<&'static CStr>,
        limits: Limits,
    ) -> Result<Self> {
        let empty = Path::new("");
        let fd = rustix::fs::openat(root, c".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let fd = fd.at("open", empty)?;
        let stat = fs::stat_fd(fd.as_fd()).at("read the attributes of", empty)?;
        let root = Rc::new(Dir { fd, path: PathBuf::new(), setgid: stat.stx_mode & 0o2000 != 0 });
        Ok(Self {
            root,
            open: HashMap::new(),
            made: HashMap::new(),
            whited: HashSet::new(),
            pending: HashMap::new(),
            implied: Vec::new(),
            strict,
            overlay,
            limits,
            implied_bytes: 0,
        })
    }

    /// Makes a directory of the tree its root.
    pub(super) fn rebase(&mut self, prefix: &Path, setter: &mut Setter<'_>) -> Result<()> {
        if !prefix.as_os_str().is_empty() {
            let dir = self.parent(prefix, setter)?;
            let fd = rustix::io::dup(&dir.fd).at("open", prefix)?;
            let setgid = dir.setgid;
            self.root = Rc::new(Dir { fd, path: PathBuf::new(), setgid });
            self.open.clear();
            self.made.clear();
            self.implied.clear();
            self.pending.clear();
        }
        Ok(())
    }

    /// The directory at a clean path, made where it is missing.
    pub(super) fn parent(&mut self, path: &Path, setter: &mut Setter<'_>) -> Result<Rc<Dir>> {
        self.resolve(path, Some(setter))?.ok_or_else(|| Error::io("open", path, Errno::NOENT))
    }

    /// The directory at a clean path; nothing when it does not exist.
    pub(super) fn existing(&mut self, path: &Path) -> Result<Option<Rc<Dir>>> {
        self.resolve(path, None)
    }

    fn resolve(&mut self, path: &Path, mut make: Option<&mut Setter<'_>>) -> Result<Option<Rc<Dir>>> {
        if path.as_os_str().is_empty() {
            return Ok(Some(Rc::clone(&self.root)));
        }
        if let Some(dir) = self.open.get(path) {
            return Ok(Some(Rc::clone(dir)));
        }
        let mut dir = Rc::clone(&self.root);
        let mut done = Path::new("");
        let mut rest = path;
        // Begin at the nearest directory that is open.
        let mut above = split(path).map(|(parent, _)| parent);
        while let Some(parent) = above.filter(|p| !p.as_os_str().is_empty()) {
            if let Some(open) = self.open.get(parent) {
                (dir, done) = (Rc::clone(open), parent);
                rest = path.strip_prefix(done).unwrap_or(path);
                break;
            }
            above = split(parent).map(|(parent, _)| parent);
        }
        let mut todo: VecDeque<Vec<u8>> = names(rest).collect();
        // As long as no link was met, the path up to here is what the archive spells.
        let mut plain = dir.path == done;
        let mut links = 0;
        while let Some(part) = todo.pop_front() {
            if part == b".." {
                dir = match split(&dir.path) {
                    Some((up, _)) => {
                        let up = up.to_owned();
                        match self.resolve(&up, None)? {
                            Some(up) => up,
                            None => return Ok(None),
                        }
                    }
                    None if self.strict => {
                        return Err(Error::refused(
                            path,
                            "a symbolic link on its way points outside of the destination",
                        ));
                    }
                    None => Rc::clone(&self.root),
                };
                continue;
            }
            match self.step(&dir, &part, path, make.as_deref_mut())? {
                Step::Dir(next) => {
                    dir = Rc::new(next);
                    if plain {
                        self.remember(dir.path.clone(), &dir);
                    }
                }
                Step::Missing => return Ok(None),
                Step::Link(target) => {
                    plain = false;
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Error::Loop { path: path.to_owned() });
                    }
                    if target.is_absolute() {
                        dir = Rc::clone(&self.root);
                    }
                    for name in names_with_dots(&target).rev() {
                        todo.push_front(name);
                    }
                }
            }
        }
        self.remember(path.to_owned(), &dir);
        Ok(Some(dir))
    }

    fn remember(&mut self, path: PathBuf, dir: &Rc<Dir>) {
        if self.open.len() >= CACHED {
            self.open.clear();
        }
        self.open.insert(path, Rc::clone(dir));
    }

    fn step(&mut self, dir: &Dir, part: &[u8], path: &Path, make: Option<&mut Setter<'_>>) -> Result<Step> {
        let part = OsStr::from_bytes(part);
        let name = fs::name(part, path)?;
        let here = dir.join(part);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut made = false;
        let mut setter = make;
        loop {
            match rustix::fs::openat(dir.fd(), &name, flags, Mode::empty()) {
                Ok(fd) => {
                    let stat = fs::stat_fd(fd.as_fd()).at("read the attributes of", &here)?;
                    if !made && !self.strict && !self.pending.contains_key(&here) && !self.made.contains_key(&here) {
                        // It was there before: its time comes back when its content has changed.
                        let (mtime, atime) = (fs::time(stat.stx_mtime), fs::time(stat.stx_atime));
                        self.pending.insert(here.clone(), Pending { mtime, atime, mode: None });
                    }
                    return Ok(Step::Dir(Dir { fd, path: here, setgid: stat.stx_mode & 0o2000 != 0 }));
                }
                Err(Errno::NOENT) => {
                    let Some(setter) = setter.as_deref_mut() else { return Ok(Step::Missing) };
                    rustix::fs::mkdirat(dir.fd(), &name, Mode::from_raw_mode(0o755)).at("create", &here)?;
                    setter.implied_dir(dir.fd(), &name, &here)?;
                    self.imply(&here)?;
                    made = true;
                }
                Err(Errno::NOTDIR | Errno::LOOP) => match fs::read_link(dir.fd(), &name) {
                    Ok(target) => return Ok(Step::Link(target)),
                    Err(Errno::INVAL) if setter.is_some() && self.whited.contains(&here) => {
                        // A whiteout of this layer under something of this layer: an opaque directory.
                        self.unwhite(dir, &name, &here)?;
                        rustix::fs::mkdirat(dir.fd(), &name, Mode::from_raw_mode(0o755)).at("create", &here)?;
                        self.set_opaque(dir.fd(), &name, &here)?;
                        self.imply(&here)?;
                        made = true;
                    }
                    Err(Errno::INVAL) => {
                        let shown = here.display();
                        return Err(Error::refused(path, format!("/{shown}, in which it should lie, is no directory")));
                    }
                    Err(e) => return Err(Error::io("resolve", &here, e)),
                },
                Err(e) => return Err(Error::io("open", &here, e)),
            }
        }
    }

    /// Notes a directory that no entry named so far.
    fn imply(&mut self, path: &Path) -> Result<()> {
        self.implied_bytes += path.as_os_str().len() as u64;
        let path = path.to_owned();
        if self.implied.len() as u64 >= self.limits.entries {
            return Err(Error::Limit { what: "implied directories", limit: self.limits.entries, path });
        }
        if self.implied_bytes > self.limits.metadata {
            let limit = self.limits.metadata;
            return Err(Error::Limit { what: "bytes of paths of implied directories", limit, path });
        }
        self.implied.push(path);
        Ok(())
    }

    /// Notes which line of the layer's table put an object at a resolved path.
    pub(super) fn mark(&mut self, path: PathBuf, line: usize) {
        let mut above = split(&path);
        while let Some((parent, _)) = above {
            if parent.as_os_str().is_empty() || self.made.contains_key(parent) {
                break;
            }
            self.made.insert(parent.to_owned(), None);
            above = split(parent);
        }
        self.made.insert(path, Some(line));
    }

    /// The line of the table that put an object there.
    pub(super) fn line(&self, path: &Path) -> Option<usize> {
        self.made.get(path).copied().flatten()
    }

    /// Lets go of open directories: one of them changed.
    pub(super) fn forget(&mut self) {
        self.open.clear();
    }

    /// Takes away what stands where an entry goes.
    pub(super) fn replace(&mut self, dir: &Dir, name: &CStr, path: &Path) -> Result<()> {
        self.open.clear();
        self.pending.retain(|p, _| !p.starts_with(path));
        fs::remove_all(dir.fd(), name, path)
    }

    /// Whether whiteouts remove things.
    pub(super) fn is_flat(&self) -> bool {
        self.overlay.is_none()
    }

    /// `.wh.NAME`.
    pub(super) fn whiteout(&mut self, dir: &Rc<Dir>, name: &OsStr) -> Result<()> {
        let path = dir.join(name);
        let c_name = fs::name(name, &path)?;
        if self.overlay.is_none() {
            self.open.clear();
            return self.remove_lower(dir.fd(), &c_name, &path);
        }
        if self.made.contains_key(&path) {
            let stat = fs::stat(dir.fd(), &c_name);
            return match stat {
                Ok(s) if fs::file_type(&s) == FileType::Directory => self.set_opaque(dir.fd(), &c_name, &path),
                _ => Ok(()),
            };
        }
        let whiteout = rustix::fs::mknodat(dir.fd(), &c_name, FileType::CharacterDevice, Mode::empty(), 0);
        match whiteout {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(Error::io("create the whiteout", &path, e)),
        }
        self.whited.insert(path);
        Ok(())
    }

    /// `.wh..wh..opq` in `dir`.
    pub(super) fn opaque(&mut self, dir: &Rc<Dir>) -> Result<()> {
        if self.overlay.is_some() {
            return self.set_opaque(dir.fd(), c".", &dir.path);
        }
        self.open.clear();
        self.remove_lower_in(dir.fd(), &dir.path)
    }

    /// Removes what lower layers have at a path and leaves what this layer brought.
    fn remove_lower(&mut self, dir: BorrowedFd<'_>, name: &CStr, path: &Path) -> Result<()> {
        if !self.made.contains_key(path) {
            self.pending.retain(|p, _| !p.starts_with(path));
            return fs::remove_all(dir, name, path);
        }
        match fs::open_dir(dir, name) {
            Ok(inner) => self.remove_lower_in(inner.as_fd(), path),
            Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => Ok(()),
            Err(e) => Err(Error::io("open", path, e)),
        }
    }

    fn remove_lower_in(&mut self, dir: BorrowedFd<'_>, path: &Path) -> Result<()> {
        let readable = rustix::fs::openat(
            dir,
            c".",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .at("open", path)?;
        for (name, _) in fs::list(readable.as_fd()).at("list", path)? {
            let child = OsStr::from_bytes(name.to_bytes());
            let child = if path.as_os_str().is_empty() { PathBuf::from(child) } else { path.join(child) };
            self.remove_lower(readable.as_fd(), &name, &child)?;
        }
        Ok(())
    }

    /// Before an entry is made: takes a whiteout of the same layer away. True when there was one.
    pub(super) fn unwhite(&mut self, dir: &Dir, name: &CStr, path: &Path) -> Result<bool> {
        if !self.whited.remove(path) {
            return Ok(false);
        }
        rustix::fs::unlinkat(dir.fd(), name, AtFlags::empty()).at("remove the whiteout", path)?;
        Ok(true)
    }

    pub(super) fn set_opaque(&self, dir: BorrowedFd<'_>, name: &CStr, path: &Path) -> Result<()> {
        let Some(attribute) = self.overlay else { return Ok(()) };
        let fd = fs::open_dir(dir, name).at("open", path)?;
        fs::XattrOf::Fd(fd.as_fd()).set(attribute, b"y").at("mark as opaque", path)
    }

    /// Sets the times (and held back modes) of directories, now that nothing will be made in them.
    pub(super) fn settle(&mut self) -> Result<()> {
        self.open.clear();
        // Children first: a mode may close a directory for this process.
        let mut pending: Vec<_> = std::mem::take(&mut self.pending).into_iter().collect();
        pending.sort_unstable_by(|a, b| b.0.cmp(&a.0));
        for (path, Pending { mtime, atime, mode }) in pending {
            let Some((parent, name)) = split(&path) else { continue };
            let Some(dir) = self.existing(parent)? else { continue };
            let name = fs::name(name, &path)?;
            let still = fs::stat(dir.fd(), &name).is_ok_and(|s| fs::file_type(&s) == FileType::Directory);
            if let Some(mode) = mode.filter(|_| still) {
                match rustix::fs::chmodat(dir.fd(), &name, Mode::from_raw_mode(mode), AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(e) => return Err(Error::io("set the mode of", &path, e)),
                }
            }
            match rustix::fs::utimensat(dir.fd(), &name, &super::attrs::stamps(atime, mtime), AtFlags::SYMLINK_NOFOLLOW)
            {
                Ok(()) | Err(Errno::NOENT) => {}
                // A directory of somebody else (userns, plain user): its time is not ours to keep.
                Err(Errno::PERM | Errno::ACCESS) => {}
                Err(e) => return Err(Error::io("set the time of", &path, e)),
            }
        }
        Ok(())
    }
}

enum Step {
    Dir(Dir),
    Link(PathBuf),
    Missing,
}

fn names(path: &Path) -> impl Iterator<Item = Vec<u8>> {
    path.as_os_str().as_bytes().split(|b| *b == b'/').filter(|n| !n.is_empty()).map(<[u8]>::to_vec)
}

/// The names in a link's text; `..` stays, since what stands before it may be a link.
fn names_with_dots(path: &Path) -> impl DoubleEndedIterator<Item = Vec<u8>> {
    path.as_os_str().as_bytes().split(|b| *b == b'/').filter(|n| !n.is_empty() && *n != b".").map(<[u8]>::to_vec)
}

/// The clean path of an entry; nothing for the root.
pub(super) fn entry_path(raw: &Path, strict: bool) -> Result<Option<PathBuf>> {
    if strict {
        let mut depth = 0i64;
        for part in raw.as_os_str().as_bytes().split(|b| *b == b'/') {
            depth += match part {
                b"" | b"." => 0,
                b".." => -1,
                _ => 1,
            };
            if depth < 0 {
                return Err(Error::refused(raw, "it points outside of the destination"));
            }
        }
    }
    let path = clean(raw);
    Ok((!path.as_os_str().is_empty()).then_some(path))
}

pub(super) fn last_name(path: &Path) -> Result<(&Path, &OsStr, CString)> {
    let (parent, last) = split(path).ok_or_else(|| Error::refused(path, "it is the root itself"))?;
    Ok((parent, last, fs::name(last, path)?))
}
