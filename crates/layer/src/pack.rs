//! Makes layers from directories.
//!
//! With [`PackOptions::below`] a layer has the entries that BuildKit's has: overlayfs copies the parents of every
//! change up, so a directory in the upper layer says nothing by itself. One whose mode and owner are those of the
//! layers below is written only when something in it is, just before it.

use crate::entry::{Entry, Kind};
use crate::error::{Context, Error, Result};
use crate::fs::{self, XattrOf};
use crate::owner::AttrSource;
use crate::table::{Change, Changes, Table};
use crate::tar_writer::TarWriter;
use crate::toc::{Content, Toc, TocItem};
use crate::view::View;
use crate::walk::{self, XattrPolicy};
use rustix::fs::Statx;
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString, OsStr};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How a tree becomes a layer.
#[derive(Default)]
pub struct PackOptions<'a> {
    /// Clean paths that are left out with all that is in them: mount points and files that the sandbox made. A parent
    /// directory that would be in the layer for their sake alone is left out too when `below` shows it unchanged.
    pub exclude: Vec<PathBuf>,
    /// No object is younger than this many seconds after 1970 (`SOURCE_DATE_EPOCH` with `rewrite-timestamp`);
    /// whiteouts get exactly this time, or 0.
    pub clamp_mtime: Option<i64>,
    /// The side table. What it knows of a file wins over `owner` and over what is on disk.
    pub attrs: Option<&'a dyn AttrSource>,
    /// Owner and group for everything that `attrs` does not know. With a table that [`crate::Owners::Recorded`] filled
    /// this is `(0, 0)`.
    pub owner: Option<(u32, u32)>,
    /// Which extended attributes are kept.
    pub xattrs: XattrPolicy,
    /// The tree that the layer lies on. With it the layer is BuildKit's to the entry: directories that did not change
    /// are written only as parents of what did, whiteouts of what was never there are dropped, and an opaque
    /// directory is spelled as whiteouts of the lower names that are gone.
    pub below: Option<&'a View>,
}

/// The table of contents that [`pack_upper`] would give, but for the places of contents, which are all 0: nothing is
/// read but directories and attributes. [`pack_toc`] makes the tar from it, with the same bytes.
pub fn scan_upper(upper: BorrowedFd<'_>, options: &PackOptions<'_>) -> Result<Toc> {
    let top = fs::open_dir(upper, c".").at("open", Path::new(""))?;
    let mut packer = Packer::<std::io::Sink>::new(None, options, true);
    packer.walk(top)?;
    Ok(packer.toc)
}

/// Packs the objects of a table whose contents lie in a directory under the same paths, as
/// [`scan_upper`] describes them. Whiteouts get `whiteout_time`, or 0.
pub fn pack_toc<W: Write>(
    root: BorrowedFd<'_>,
    toc: &Toc,
    out: &mut TarWriter<W>,
    whiteout_time: Option<i64>,
) -> Result<()> {
    use rustix::fs::{Mode, OFlags, ResolveFlags};
    out.set_whiteout_time(whiteout_time.unwrap_or(0));
    let strict = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    // The directory of the file before: names in it need no path.
    let mut open: Option<(&Path, OwnedFd)> = None;
    for item in &toc.items {
        match item {
            TocItem::Whiteout(path) => out.whiteout(path)?,
            TocItem::Opaque(path) => out.opaque(path)?,
            TocItem::Entry { entry, .. } if entry.kind == Kind::File && entry.size > 0 => {
                let Some((parent, name)) = crate::entry::split(&entry.path) else { continue };
                let dir = match open.take().filter(|(path, _)| *path == parent) {
                    Some((_, fd)) => fd,
                    None => {
                        let path = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                        rustix::fs::openat2(root, path, flags, Mode::empty(), strict).at("open", parent)?
                    }
                };
                let file = rustix::fs::openat(&dir, name, flags, Mode::empty()).at("open", &entry.path)?;
                out.append(entry, &mut std::fs::File::from(file))?;
                open = Some((parent, dir));
            }
            TocItem::Entry { entry, .. } => {
                out.append(entry, &mut std::io::empty())?;
            }
        }
    }
    Ok(())
}

/// Packs the upper directory of an overlayfs mount. Write `out`'s end with [`TarWriter::finish`].
pub fn pack_upper<W: Write>(upper: BorrowedFd<'_>, out: &mut TarWriter<W>, options: &PackOptions<'_>) -> Result<Toc> {
    pack(upper, out, options, true)
}

/// Packs a whole directory; its own attributes (the root entry) are left out.
pub fn pack_tree<W: Write>(root: BorrowedFd<'_>, out: &mut TarWriter<W>, options: &PackOptions<'_>) -> Result<Toc> {
    pack(root, out, options, false)
}

fn pack<W: Write>(
    root: BorrowedFd<'_>,
    out: &mut TarWriter<W>,
    options: &PackOptions<'_>,
    overlay: bool,
) -> Result<Toc> {
    let top = fs::open_dir(root, c".").at("open", Path::new(""))?;
    let mut packer = Packer::new(Some(out), options, overlay);
    packer.walk(top)?;
    Ok(packer.toc)
}

/// Packs what [`Table::diff`] found, with the parents of what changed, and brings the table up to date.
pub fn pack_changes<W: Write>(
    root: BorrowedFd<'_>,
    changes: &Changes,
    out: &mut TarWriter<W>,
    table: &mut Table,
    options: &PackOptions<'_>,
) -> Result<Toc> {
    let mut packer = Packer::new(Some(out), options, false);
    // Directories on the way to the current path, outermost first.
    let mut open = vec![(PathBuf::new(), fs::open_dir(root, c".").at("open", Path::new(""))?)];
    for (path, change) in &changes.items {
        let Some((parent, name)) = crate::entry::split(path) else { continue };
        if packer.is_excluded(path) {
            continue;
        }
        open.retain(|(dir, _)| parent.starts_with(dir));
        let done = open.last().map(|(dir, _)| dir.clone()).unwrap_or_default();
        for part in parent.strip_prefix(&done).unwrap_or(parent).components() {
            let Some((above, fd)) = open.last() else { break };
            let here = above.join(part);
            let c_name = fs::name(part.as_os_str(), &here)?;
            let stat = fs::stat(fd.as_fd(), &c_name).at("read the attributes of", &here)?;
            if let Some(entry) = packer.entry(fd.as_fd(), &c_name, &here, &stat)? {
                packer.hold_back(entry);
            }
            let next = fs::open_dir(fd.as_fd(), &c_name).at("open", &here)?;
            open.push((here, next));
        }
        let Some((_, fd)) = open.last() else { continue };
        if *change == Change::Deleted {
            packer.whiteout(path)?;
            continue;
        }
        let c_name = fs::name(name, path)?;
        let stat = match fs::stat(fd.as_fd(), &c_name) {
            Ok(stat) => stat,
            Err(e) => return Err(Error::io("read the attributes of", path, e)),
        };
        packer.object(fd.as_fd(), &c_name, path, &stat)?;
    }
    *table = changes.next.clone();
    Ok(packer.toc)
}

/// A directory that is being read.
struct Frame {
    fd: OwnedFd,
    path: PathBuf,
    complete: bool,
    names: std::vec::IntoIter<CString>,
    /// Lower names that are gone, the last first: they are written in order with the others.
    gone: Vec<CString>,
}

struct Packer<'a, W: Write> {
    /// Nothing where only the table is wanted.
    out: Option<&'a mut TarWriter<W>>,
    options: &'a PackOptions<'a>,
    excluded: HashSet<&'a Path>,
    overlay: bool,
    toc: Toc,
    /// Directories above the current path that are written when something in them is.
    held: Vec<Entry>,
    /// Directories that were written: [`pack_changes`] comes by them again.
    written: HashSet<PathBuf>,
    /// First names of objects with several.
    names: HashMap<(u32, u32, u64), PathBuf>,
}

impl<'a, W: Write> Packer<'a, W> {
    fn new(mut out: Option<&'a mut TarWriter<W>>, options: &'a PackOptions<'a>, overlay: bool) -> Self {
        if let Some(out) = &mut out {
            out.set_whiteout_time(options.clamp_mtime.unwrap_or(0));
        }
        let excluded = options.exclude.iter().map(PathBuf::as_path).collect();
        Self {
            out,
            options,
            excluded,
            overlay,
            toc: Toc::default(),
            held: Vec::new(),
            written: HashSet::new(),
            names: HashMap::new(),
        }
    }

    fn is_excluded(&self, path: &Path) -> bool {
        !self.excluded.is_empty() && path.ancestors().any(|p| self.excluded.contains(p))
    }

    /// Walks with a stack of its own: trees that guests make may be deep.
    fn walk(&mut self, top: OwnedFd) -> Result<()> {
        let mut stack = vec![self.open(top, PathBuf::new(), false)?];
        while let Some(frame) = stack.last_mut() {
            let Some(name) = frame.names.next() else {
                while let Some(lower) = frame.gone.pop() {
                    self.whiteout(&frame.path.join(OsStr::from_bytes(lower.as_bytes())))?;
                }
                self.held.retain(|held| held.path != frame.path);
                stack.pop();
                continue;
            };
            while frame.gone.last().is_some_and(|gone| *gone < name) {
                let Some(lower) = frame.gone.pop() else { break };
                self.whiteout(&frame.path.join(OsStr::from_bytes(lower.as_bytes())))?;
            }
            let here = frame.path.join(OsStr::from_bytes(name.as_bytes()));
            if self.excluded.contains(here.as_path()) {
                continue;
            }
            let dir = frame.fd.as_fd();
            let stat = fs::stat(dir, &name).at("read the attributes of", &here)?;
            match fs::kind(&stat) {
                Some(Kind::Dir) => {
                    fs::check_depth(stack.len(), &here)?;
                    if let Some(inner) = stack.last().map(|f| self.enter(f, &name, here, &stat)).transpose()?.flatten()
                    {
                        stack.push(inner);
                    }
                }
                Some(Kind::CharDevice) if self.overlay && (stat.stx_rdev_major, stat.stx_rdev_minor) == (0, 0) => {
                    self.whiteout(&here)?;
                }
                _ => self.object(dir, &name, &here, &stat)?,
            }
        }
        Ok(())
    }

    /// `complete`: nothing of the lower layers shows in the directory.
    fn open(&self, fd: OwnedFd, path: PathBuf, complete: bool) -> Result<Frame> {
        let names = fs::list(fd.as_fd()).at("list", &path)?;
        let mut gone: Vec<CString> = Vec::new();
        if let Some(below) = self.options.below.filter(|_| complete) {
            let lower = below.read_dir(&path).into_iter().map(|(name, _)| name.as_bytes());
            let lower = lower.filter(|n| names.binary_search_by(|(name, _)| name.as_bytes().cmp(n)).is_err());
            gone = lower.filter_map(|n| CString::new(n).ok()).rev().collect();
        }
        let names = names.into_iter().map(|(name, _)| name).collect::<Vec<_>>().into_iter();
        Ok(Frame { fd, path, complete, names, gone })
    }

    fn enter(&mut self, above: &Frame, name: &CStr, path: PathBuf, stat: &Statx) -> Result<Option<Frame>> {
        let dir = above.fd.as_fd();
        let inner = fs::open_dir(dir, name).at("open", &path)?;
        let opaque = self.overlay && is_opaque(inner.as_fd(), &path)?;
        let Some(entry) = self.entry(dir, name, &path, stat)? else { return Ok(None) };
        let below = self.options.below.and_then(|below| below.lookup(&path)).filter(crate::view::Node::is_dir);
        match below {
            Some(node) if node.entry.is_none_or(|lower| same_directory(lower, &entry)) => self.hold_back(entry),
            _ => self.write(entry, None)?,
        }
        // Without knowledge of what lies below, the marker says it all.
        if opaque && self.options.below.is_none() {
            if let Some(out) = &mut self.out {
                out.opaque(&path)?;
            }
            self.toc.items.push(TocItem::Opaque(path.clone()));
        }
        // Complete is what hides a lower directory, and what lies in such a one.
        let complete = (opaque || above.complete) && below.is_some();
        self.open(inner, path, complete).map(Some)
    }

    /// Writes anything but a whiteout or the inside of a directory.
    fn object(&mut self, dir: BorrowedFd<'_>, name: &CStr, path: &Path, stat: &Statx) -> Result<()> {
        let Some(mut entry) = self.entry(dir, name, path, stat)? else { return Ok(()) };
        let mut first = true;
        if stat.stx_nlink > 1 && entry.kind != Kind::Dir {
            let id = (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino);
            match self.names.get(&id) {
                Some(target) => {
                    entry.link = Some(target.clone());
                    entry.kind = Kind::Hardlink;
                    entry.size = 0;
                    first = false;
                }
                None => {
                    self.names.insert(id, path.to_owned());
                }
            }
        }
        // The content is needed for the capability of further names, too.
        let is_file = fs::kind(stat) == Some(Kind::File);
        let wants_xattr = is_file && self.options.xattrs != XattrPolicy::None;
        let reads = entry.kind == Kind::File && first && entry.size > 0 && self.out.is_some();
        let file = if reads { Some(walk::open(dir, name, path)?) } else { None };
        if wants_xattr {
            let of = file.as_ref().map_or(XattrOf::At(dir, name), |file| XattrOf::Fd(file.as_fd()));
            let on_disk = walk::xattrs(of, Kind::File, self.options.xattrs, path)?;
            merge(&mut entry, on_disk);
        }
        self.write(entry, file)
    }

    /// What is at a path, with the side table's word. Attributes of files are read by [`Self::object`].
    fn entry(&mut self, dir: BorrowedFd<'_>, name: &CStr, path: &Path, stat: &Statx) -> Result<Option<Entry>> {
        let Some(mut entry) = walk::entry(dir, name, path, stat)? else { return Ok(None) };
        // Tars of layers have whole seconds, and the table of contents says what the tar says.
        entry.mtime.nanos = 0;
        if let Some(latest) = self.options.clamp_mtime {
            entry.mtime.secs = entry.mtime.secs.min(latest);
        }
        if let Some((uid, gid)) = self.options.owner {
            (entry.uid, entry.gid) = (uid, gid);
        }
        if let Some(attrs) = self.options.attrs.and_then(|table| table.attrs(fs::key(stat), stat.stx_mode.into())) {
            if attrs.kind != entry.kind && entry.kind == Kind::File {
                (entry.kind, entry.size) = (attrs.kind, 0);
            }
            (entry.uid, entry.gid, entry.mode) = (attrs.uid, attrs.gid, attrs.mode & 0o7777);
            if matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice) {
                entry.rdev = attrs.rdev;
            }
            entry.xattrs = attrs.xattrs;
            match self.options.xattrs {
                XattrPolicy::All => {}
                XattrPolicy::Capabilities => entry.xattrs.retain(|name, _| name == b"security.capability"),
                XattrPolicy::None => entry.xattrs.clear(),
            }
        }
        if entry.kind != Kind::File && self.options.xattrs == XattrPolicy::All {
            let on_disk = walk::xattrs(XattrOf::At(dir, name), entry.kind, XattrPolicy::All, path)?;
            merge(&mut entry, on_disk);
        }
        Ok(Some(entry))
    }

    fn hold_back(&mut self, entry: Entry) {
        self.held.retain(|held| entry.path.starts_with(&held.path) && held.path != entry.path);
        if !self.written.contains(&entry.path) {
            self.held.push(entry);
        }
    }

    /// Writes the directories above `path` that were held back.
    fn flush_held(&mut self, path: &Path) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        for entry in held {
            if path != entry.path && path.starts_with(&entry.path) {
                self.append(entry, None)?;
            } else {
                self.held.push(entry);
            }
        }
        Ok(())
    }

    fn write(&mut self, entry: Entry, file: Option<std::fs::File>) -> Result<()> {
        self.flush_held(&entry.path)?;
        self.append(entry, file)
    }

    fn append(&mut self, entry: Entry, file: Option<std::fs::File>) -> Result<()> {
        let offset = match (&mut self.out, file) {
            (Some(out), Some(mut file)) => out.append(&entry, &mut file)?,
            (Some(out), None) => out.append(&entry, &mut std::io::empty())?,
            (None, _) => {
                crate::tar_writer::check(&entry)?;
                0
            }
        };
        let offset = if entry.kind == Kind::File { offset } else { 0 };
        if entry.kind == Kind::Dir {
            self.written.insert(entry.path.clone());
        }
        self.toc.items.push(TocItem::Entry { entry, content: Content { offset, sparse: Vec::new() } });
        Ok(())
    }

    fn whiteout(&mut self, path: &Path) -> Result<()> {
        if self.excluded.contains(path) || self.options.below.is_some_and(|below| below.lookup(path).is_none()) {
            return Ok(());
        }
        self.flush_held(path)?;
        if let Some(out) = &mut self.out {
            out.whiteout(path)?;
        }
        self.toc.items.push(TocItem::Whiteout(path.to_owned()));
        Ok(())
    }
}

/// What the side table has wins over what is on disk.
fn merge(entry: &mut Entry, on_disk: crate::entry::Xattrs) {
    for (name, value) in on_disk {
        entry.xattrs.entry(name).or_insert(value);
    }
}

/// As BuildKit compares directories: times do not count.
fn same_directory(lower: &Entry, upper: &Entry) -> bool {
    (lower.mode, lower.uid, lower.gid) == (upper.mode, upper.uid, upper.gid)
}

fn is_opaque(dir: BorrowedFd<'_>, path: &Path) -> Result<bool> {
    let get = |name: &CStr| match XattrOf::Fd(dir).get(name) {
        // `trusted.*` is not for everyone to read.
        Err(Errno::PERM | Errno::ACCESS) => Ok(None),
        other => other.at("read the overlay attributes of", path),
    };
    for name in [c"trusted.overlay.redirect", c"user.overlay.redirect"] {
        if get(name)?.is_some() {
            let reason = "overlayfs renamed it by redirection; mount the overlay with redirect_dir=off";
            return Err(Error::refused(path, reason));
        }
    }
    for name in [c"trusted.overlay.opaque", c"user.overlay.opaque"] {
        if get(name)?.is_some_and(|v| v == b"y") {
            return Ok(true);
        }
    }
    Ok(false)
}
