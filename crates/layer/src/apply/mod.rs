//! Unpacks layers and archives from strangers.
//!
//! What an archive says is done inside the root or not at all: names with `..` or a leading slash mean what they
//! would in a chroot (an archive of ADD is refused instead), links on the way to an entry are resolved inside the
//! root, hardlinks only lead to what is inside. As containerd does for layers and BuildKit for ADD:
//! an entry replaces what is there unless both are directories, which are merged; the entry of the root itself is
//! skipped; times before 1970 become 1970; directories get their times at the end.

mod attrs;
mod place;
mod tree;

pub use place::TreeWriter;

use crate::entry::{Entry, Kind, Time};
use crate::error::{Context, Error, Result};
use crate::fs;
use crate::owner::OwnerSink;
use crate::tar_reader::{Header, TarReader};
use crate::tar_writer::{OPAQUE_MARKER, WHITEOUT_PREFIX};
use crate::toc::{Content, Toc, TocItem};
use crate::view::View;
use attrs::{Object, Setter};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{CStr, OsStr};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tree::{Dir, Pending, Tree, entry_path, last_name};

/// What `.wh.` entries mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteouts {
    /// They remove what lies under them in the tree (the `tree` strategy). What the same layer brings stays.
    Flat,
    /// They become overlayfs whiteouts: character devices 0/0 and an opaque attribute on directories.
    Overlay {
        /// `user.overlay.opaque` (a mount with `userxattr`) instead of `trusted.overlay.opaque`.
        userxattr: bool,
    },
    /// They are files like any other: ADD of an archive. Devices and pipes are skipped, a path that points outside is
    /// an error, links take no attributes: as BuildKit does.
    Literal,
}

/// Who sets owners, modes and devices.
pub enum Owners<'a> {
    /// The file system: chown, mknod, setxattr. A call that is not permitted is an error.
    Real,
    /// As `Real`; what is refused goes to the sink: a user namespace with few ids.
    Fallback(&'a mut dyn OwnerSink),
    /// Nothing is tried; the sink takes every owner but 0:0 and every mode that is not on disk. Files and directories stay readable for the process.
    Recorded(&'a mut dyn OwnerSink),
    /// As `Recorded` with nobody to tell: the table of contents says what the files claim to be. For trees that only
    /// this process reads.
    Listed,
    /// Owners are dropped: everything belongs to the process. Devices are an error.
    Ignored,
}

/// Bounds for what one archive may ask for. The memory needed to unpack or to list one is bounded by `entries` and
/// `metadata`: a few hundred bytes for each entry and a few times the metadata.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Number of entries, and of directories that they imply. Paths may have eight times as many components in all.
    pub entries: u64,
    /// Length of a path or of a link's text.
    pub path: u64,
    /// Bytes of extended headers before one entry.
    pub header: u64,
    /// Bytes of all names, link texts and extended attributes.
    pub metadata: u64,
    /// Sum of the sizes of all files.
    pub total: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 1_000_000, path: 4095, header: 1 << 20, metadata: 128 << 20, total: u64::MAX }
    }
}

/// How to unpack.
pub struct ApplyOptions<'a> {
    /// What `.wh.` entries mean.
    pub whiteouts: Whiteouts,
    /// Who sets owners.
    pub owners: Owners<'a>,
    /// Owner and group for every entry instead of the archive's.
    pub chown: Option<(u32, u32)>,
    /// Clean path of a directory in the root under which everything lands (made when missing). Links in this path
    /// are followed inside the root; for the archive itself that directory is the root.
    pub prefix: PathBuf,
    /// Bounds.
    pub limits: Limits,
    /// Set the access time as well (to the modification time). Costs nothing: both go in one call.
    pub atime: bool,
    /// Begin to write large files to disk as soon as they are complete. For who syncs at the end: the disk works while
    /// the next files are inflated.
    pub write_back: bool,
}

impl Default for ApplyOptions<'_> {
    fn default() -> Self {
        Self {
            whiteouts: Whiteouts::Flat,
            owners: Owners::Real,
            chown: None,
            prefix: PathBuf::new(),
            limits: Limits::default(),
            atime: true,
            write_back: false,
        }
    }
}

/// What unpacking did.
#[derive(Debug, Default)]
pub struct Applied {
    /// All entries of the archive, with the places of their contents in the tar stream.
    pub toc: Toc,
    /// Bytes of the tar stream up to its end mark.
    pub tar_size: u64,
    /// Directories that no entry names but entries lie in, parents first. They were made with mode 0755, owner 0:0;
    /// in [`Whiteouts::Overlay`] call [`adopt_parents`] for them when the lower layers are known.
    pub implied: Vec<PathBuf>,
    /// What could not be kept and was tolerated, such as an attribute that the file system does not support.
    pub warnings: Vec<String>,
}

/// Unpacks the tar stream (already decompressed) into the directory.
pub fn apply(tar: impl Read, root: BorrowedFd<'_>, options: &mut ApplyOptions<'_>) -> Result<Applied> {
    apply_buffered(BufReader::with_capacity(256 << 10, tar), root, options)
}

/// As [`apply`] for a reader that has its own buffer, such as [`crate::codec::ReadAhead`].
pub fn apply_buffered(tar: impl BufRead, root: BorrowedFd<'_>, options: &mut ApplyOptions<'_>) -> Result<Applied> {
    let overlay = match options.whiteouts {
        Whiteouts::Overlay { userxattr: true } => Some(c"user.overlay.opaque"),
        Whiteouts::Overlay { userxattr: false } => Some(c"trusted.overlay.opaque"),
        Whiteouts::Flat | Whiteouts::Literal => None,
    };
    let literal = options.whiteouts == Whiteouts::Literal;
    let mut setter = Setter::new(&mut options.owners, root, literal);
    let mut tree = Tree::new(root, literal, overlay, options.limits)?;
    tree.rebase(&options.prefix, &mut setter)?;
    let mut unpacker = Unpacker {
        reader: TarReader::new(tar, options.limits),
        tree,
        setter,
        toc: Toc::default(),
        literal,
        chown: options.chown,
        atime: options.atime,
        write_back: options.write_back,
    };
    while let Some(header) = unpacker.reader.next_entry()? {
        unpacker.one(header)?;
    }
    unpacker.tree.settle()?;
    Ok(Applied {
        toc: unpacker.toc,
        tar_size: unpacker.reader.position(),
        implied: unpacker.tree.implied,
        warnings: unpacker.setter.warnings,
    })
}

/// Where the bytes of files come from.
trait Contents {
    /// Fills the file that was just made for an entry.
    fn fill(&mut self, file: BorrowedFd<'_>, path: &Path, entry: &Entry, sparse: Option<&[(u64, u64)]>) -> Result<()>;
}

impl<R: BufRead> Contents for TarReader<R> {
    fn fill(&mut self, file: BorrowedFd<'_>, path: &Path, entry: &Entry, sparse: Option<&[(u64, u64)]>) -> Result<()> {
        let Some(pieces) = sparse else {
            loop {
                let data = self.content(usize::MAX)?;
                if data.is_empty() {
                    return Ok(());
                }
                let count = rustix::io::write(file, data).at("write", path)?;
                self.used(count);
            }
        };
        for (place, length) in pieces {
            let (mut at, end) = (*place, place + length);
            while at < end {
                let data = self.content(usize::try_from(end - at).unwrap_or(usize::MAX))?;
                let count = rustix::io::pwrite(file, data, at).at("write", path)?;
                self.used(count);
                at += count as u64;
            }
        }
        rustix::fs::ftruncate(file, entry.size).at("set the length of", path)
    }
}

struct Unpacker<'a, C> {
    reader: C,
    tree: Tree,
    setter: Setter<'a>,
    toc: Toc,
    literal: bool,
    chown: Option<(u32, u32)>,
    atime: bool,
    write_back: bool,
}

/// Files from this size on are worth a call of their own when their writing is to begin.
const LARGE: u64 = 256 << 10;

impl<R: BufRead> Unpacker<'_, TarReader<R>> {
    fn one(&mut self, header: Header) -> Result<()> {
        let Some(path) = entry_path(&header.path, self.literal)? else { return Ok(()) };
        if !self.literal {
            if let Some(item) = marker(&path)? {
                self.mark_gone(&item)?;
                self.toc.items.push(item);
                return Ok(());
            }
            if is_aufs(&path) {
                return Ok(());
            }
        } else if matches!(header.kind, Kind::CharDevice | Kind::BlockDevice)
            && !self.setter.makes_devices()
            && !self.setter.takes_placeholders()
        {
            self.setter.warn(|| format!("{}: device nodes cannot be made here", path.display()));
            return Ok(());
        }
        let atime = header.atime.filter(|a| self.atime && *a > header.mtime).unwrap_or(header.mtime);
        let (mut entry, content) = entry_of(&header, path, self.literal)?;
        if let Some((uid, gid)) = self.chown {
            (entry.uid, entry.gid) = (uid, gid);
        }
        self.put(&entry, header.sparse.as_deref(), atime)?;
        self.toc.items.push(TocItem::Entry { entry, content });
        Ok(())
    }
}

impl<C: Contents> Unpacker<'_, C> {
    fn put(&mut self, entry: &Entry, sparse: Option<&[(u64, u64)]>, atime: Time) -> Result<()> {
        let (parent, last, name) = last_name(&entry.path)?;
        let dir = self.tree.parent(parent, &mut self.setter)?;
        let resolved = dir.join(last);
        let opaque = self.tree.unwhite(&dir, &name, &resolved)?;
        self.create(&dir, &name, &resolved, entry, sparse, atime)?;
        if opaque && entry.kind == Kind::Dir {
            self.tree.set_opaque(dir.fd(), &name, &resolved)?;
        }
        self.tree.mark(resolved, self.toc.items.len());
        Ok(())
    }

    fn mark_gone(&mut self, item: &TocItem) -> Result<()> {
        match item {
            TocItem::Whiteout(path) => {
                let (parent, last, _) = last_name(path)?;
                if let Some(dir) = self.marked_dir(parent)? {
                    self.tree.whiteout(&dir, last)?;
                }
            }
            TocItem::Opaque(path) => {
                if let Some(dir) = self.marked_dir(path)? {
                    self.tree.opaque(&dir)?;
                }
            }
            TocItem::Entry { .. } => {}
        }
        Ok(())
    }

    /// In a flat tree there is nothing to remove in a directory that does not exist.
    fn marked_dir(&mut self, path: &Path) -> Result<Option<std::rc::Rc<Dir>>> {
        if self.tree.is_flat() { self.tree.existing(path) } else { self.tree.parent(path, &mut self.setter).map(Some) }
    }

    fn create(
        &mut self,
        dir: &Dir,
        name: &CStr,
        path: &Path,
        entry: &Entry,
        sparse: Option<&[(u64, u64)]>,
        atime: Time,
    ) -> Result<()> {
        let mtime = bound(entry.mtime);
        let atime = bound(atime);
        let entry = &Entry { mtime, ..entry.clone() };
        let mut object =
            Object { dir: dir.fd(), name, fd: None, path, setgid: dir.setgid, fresh: true, placeholder: false };
        let mode = self.setter.creation_mode(entry);
        match entry.kind {
            Kind::File => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = self.fresh(dir, name, path, |fd| rustix::fs::openat(fd, name, flags, mode))?;
                self.reader.fill(file.as_fd(), path, entry, sparse)?;
                if self.write_back && entry.size >= LARGE {
                    // Of pages that are dirty, Linux begins to write them and keeps them. A hint: errors mean nothing.
                    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
                }
                object.fd = Some(file.as_fd());
                self.setter.set(&object, entry, atime)
            }
            Kind::Dir => {
                object.fresh = match rustix::fs::mkdirat(dir.fd(), name, mode) {
                    Ok(()) => true,
                    Err(Errno::EXIST) => {
                        let stat = fs::stat(dir.fd(), name).at("read the attributes of", path)?;
                        if fs::file_type(&stat) == FileType::Directory {
                            false
                        } else {
                            self.tree.replace(dir, name, path)?;
                            rustix::fs::mkdirat(dir.fd(), name, mode).at("create", path)?;
                            true
                        }
                    }
                    Err(e) => return Err(Error::io("create", path, e)),
                };
                if entry.mode & 0o2000 != 0 {
                    self.tree.forget();
                }
                self.setter.set(&object, entry, atime)?;
                let mode = self.setter.late_mode(entry);
                self.tree.pending.insert(path.to_owned(), Pending { mtime, atime, mode });
                Ok(())
            }
            Kind::Symlink => {
                let text = entry.link.as_deref().unwrap_or(Path::new(""));
                self.fresh(dir, name, path, |fd| rustix::fs::symlinkat(text, fd, name))?;
                self.setter.set(&object, entry, atime)
            }
            Kind::Hardlink => self.hardlink(dir, name, path, entry, atime),
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                object.placeholder = !self.node(dir, name, path, entry, mode)?;
                self.setter.set(&object, entry, atime)
            }
        }
    }

    /// Makes a new object, after what stands there was taken away.
    fn fresh<T>(
        &mut self,
        dir: &Dir,
        name: &CStr,
        path: &Path,
        make: impl Fn(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T> {
        match make(dir.fd()) {
            Err(Errno::EXIST) => {
                self.tree.replace(dir, name, path)?;
                make(dir.fd()).at("create", path)
            }
            other => other.at("create", path),
        }
    }

    /// True when the node was made, false when a file stands for it.
    fn node(&mut self, dir: &Dir, name: &CStr, path: &Path, entry: &Entry, mode: Mode) -> Result<bool> {
        let kind = match entry.kind {
            Kind::CharDevice => FileType::CharacterDevice,
            Kind::BlockDevice => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        if kind == FileType::Fifo || self.setter.makes_devices() {
            let device = rustix::fs::makedev(entry.rdev.0, entry.rdev.1);
            let made = self.fresh(dir, name, path, |fd| rustix::fs::mknodat(fd, name, kind, mode, device));
            match made {
                Ok(()) => return Ok(true),
                Err(e) if e.raw_os_error() == Some(Errno::PERM.raw_os_error()) && self.setter.takes_placeholders() => {}
                Err(e) if e.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                    let reason = "it is a device node, which this process may not make (CAP_MKNOD)";
                    return Err(Error::refused(path, reason));
                }
                Err(e) => return Err(e),
            }
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.fresh(dir, name, path, |fd| rustix::fs::openat(fd, name, flags, mode))?;
        Ok(false)
    }

    fn hardlink(&mut self, dir: &Dir, name: &CStr, path: &Path, entry: &Entry, atime: Time) -> Result<()> {
        let target = entry.link.as_deref().unwrap_or(Path::new(""));
        let missing = || {
            let shown = target.display();
            Error::refused(path, format!("it is a hardlink to /{shown}, which is not in the tree (or the same layer)"))
        };
        let (parent, last, target_name) =
            last_name(target).map_err(|_| Error::refused(path, "it is a hardlink to the root directory"))?;
        let source = self.tree.existing(parent)?.ok_or_else(missing)?;
        let resolved = source.join(last);
        if resolved == path {
            return Err(Error::refused(path, "it is a hardlink to itself"));
        }
        let stat = fs::stat(source.fd(), &target_name).map_err(|_| missing())?;
        if fs::file_type(&stat) == FileType::Directory {
            return Err(Error::refused(path, "it is a hardlink to a directory"));
        }
        if resolved.starts_with(path) {
            return Err(missing());
        }
        self.fresh(dir, name, path, |fd| rustix::fs::linkat(source.fd(), &target_name, fd, name, AtFlags::empty()))?;
        // The names share one inode: usually the archive says the same of it twice.
        let same = self.tree.line(&resolved).and_then(|line| match self.toc.items.get(line) {
            Some(TocItem::Entry { entry, .. }) => Some(entry),
            _ => None,
        });
        if same.is_some_and(|e| {
            (e.uid, e.gid, e.mode, bound(e.mtime), &e.xattrs)
                == (entry.uid, entry.gid, entry.mode, entry.mtime, &entry.xattrs)
        }) {
            return Ok(());
        }
        let kind = fs::kind(&stat).unwrap_or(Kind::File);
        let entry = Entry { kind, link: None, ..entry.clone() };
        let object = Object { dir: dir.fd(), name, fd: None, path, setgid: true, fresh: false, placeholder: false };
        self.setter.set(&object, &entry, atime)
    }
}

/// The mark that an entry of this name is: nothing for what is no mark.
fn marker(path: &Path) -> Result<Option<TocItem>> {
    let (parent, last, _) = last_name(path)?;
    let Some(gone) = last.as_bytes().strip_prefix(WHITEOUT_PREFIX.as_bytes()) else { return Ok(None) };
    if last == OPAQUE_MARKER {
        return Ok(Some(TocItem::Opaque(parent.to_owned())));
    }
    if is_aufs(path) {
        return Ok(None);
    }
    if matches!(gone, b"" | b"." | b"..") {
        return Err(Error::refused(path, "it is a whiteout without a valid name"));
    }
    Ok(Some(TocItem::Whiteout(parent.join(OsStr::from_bytes(gone)))))
}

/// What AUFS kept for itself at the root: `.wh..wh.plnk`, `.wh..wh.orph`, `.wh..wh.aufs`.
fn is_aufs(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes.starts_with(b".wh..wh.") && bytes != OPAQUE_MARKER.as_bytes()
}

fn entry_of(header: &Header, path: PathBuf, literal: bool) -> Result<(Entry, Content)> {
    let link = match header.kind {
        Kind::Symlink => Some(header.link.clone()),
        Kind::Hardlink => Some(entry_path(&header.link, literal)?.unwrap_or_default()),
        _ => None,
    };
    if header.kind == Kind::Symlink && header.link.as_os_str().is_empty() {
        return Err(Error::refused(&path, "it is a symbolic link without a target"));
    }
    let content = match header.kind {
        Kind::File => Content { offset: header.offset, sparse: header.sparse.clone().unwrap_or_default() },
        _ => Content::default(),
    };
    let entry = Entry {
        path,
        kind: header.kind,
        mode: header.mode,
        uid: header.uid,
        gid: header.gid,
        mtime: header.mtime,
        size: header.size,
        link,
        rdev: header.rdev,
        xattrs: header.xattrs.clone(),
    };
    Ok((entry, content))
}

/// The line of a layer's table for a header; nothing for the root and for what AUFS left.
///
/// # Errors
/// Where the entry's name or link is not one that a layer may have.
pub fn toc_item(header: &Header) -> Result<Option<TocItem>> {
    let Some(path) = entry_path(&header.path, false)? else { return Ok(None) };
    if let Some(item) = marker(&path)? {
        return Ok(Some(item));
    }
    if is_aufs(&path) {
        return Ok(None);
    }
    let (entry, content) = entry_of(header, path, false)?;
    Ok(Some(TocItem::Entry { entry, content }))
}

/// As containerd: what a file system may not be able to store is 1970.
fn bound(time: Time) -> Time {
    const LAST: i64 = i64::MAX / 1_000_000_000;
    if time.secs < 0 || time.secs > LAST { Time::default() } else { time }
}

/// Gives directories that a layer only implied the attributes that they have in the layers below, as overlayfs does
/// when it copies a parent up.
pub fn adopt_parents(root: BorrowedFd<'_>, implied: &[PathBuf], below: &View, owners: &mut Owners<'_>) -> Result<()> {
    let mut setter = Setter::new(owners, root, false);
    let mut tree = Tree::new(root, false, None, Limits::default())?;
    for path in implied {
        let Some(entry) = below.lookup(path).and_then(|n| n.entry).filter(|e| e.kind == Kind::Dir) else { continue };
        let (parent, _, name) = last_name(path)?;
        let Some(dir) = tree.existing(parent)? else { continue };
        let object =
            Object { dir: dir.fd(), name: &name, fd: None, path, setgid: true, fresh: false, placeholder: false };
        setter.set(&object, entry, entry.mtime)?;
        let (mtime, mode) = (bound(entry.mtime), setter.late_mode(entry));
        tree.pending.insert(path.clone(), Pending { mtime, atime: mtime, mode });
    }
    tree.settle()
}
