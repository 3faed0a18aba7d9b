//! The mounts of a step without mount(2): which path of the guest leads to which file of the builder, and the doors.
//!
//! A mount covers a directory or file of the tree: its door. While the step runs a door has no permission bits, so
//! that the kernel refuses to go through it and the agent looks the mount up. [`Doors::open`] puts the bits back; a note
//! beside the tree (`TREE.doors`) lets the next step do so where this one was killed.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use agent::protocol::{MOUNT_FILE, MOUNT_HOLDER, MOUNT_PROC, MOUNT_READ_ONLY, MOUNT_SYSTEM};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use crate::child::{Context, Setup};
use crate::error::SetupError;
use crate::intercept::table::FileKey;
use crate::mountpoint::{self, Made};
use crate::root::{Resolved, Root};
use crate::spec::{MountKind, Network, Spec};

/// Devices that every step finds in /dev.
const DEVICES: [&str; 7] = ["null", "zero", "full", "random", "urandom", "tty", "ptmx"];

/// One mount, ready for the configuration.
#[derive(Debug)]
pub(crate) struct Place {
    /// Canonical path in the guest's view.
    pub(crate) target: PathBuf,
    /// Path in the builder's view; for a file in memory its magic link, which the launcher fills in.
    pub(crate) source: PathBuf,
    /// The directory, or the file in memory.
    pub(crate) fd: Option<OwnedFd>,
    /// `MOUNT_*`.
    pub(crate) flags: u32,
    /// Inode number of the door.
    pub(crate) door: u64,
    /// Whether the place's own kernel decides who may do what there (no Landlock rule is needed for files in memory).
    pub(crate) in_memory: bool,
}

/// Everything that was changed in the tree for the mounts.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    /// Paths in the tree, without links, and the permission bits that they had.
    closed: Vec<(PathBuf, u32)>,
    made: Made,
    scratch: Option<PathBuf>,
    tree: PathBuf,
    /// Owners of files in memory, which the builder's user may not give away for real.
    pub(crate) owners: Vec<(FileKey, (u32, u32))>,
}

/// The name of something beside the tree.
fn beside(tree: &Path, ending: &str) -> PathBuf {
    let mut name = tree.file_name().unwrap_or(OsStr::new("tree")).to_owned();
    name.push(ending);
    tree.with_file_name(name)
}

/// Sets the permission bits of doors, whose paths are the tree's. A step may have put something else in their place, or
/// in that of a directory above: no link is followed, and what is gone stays gone.
fn set_bits(tree: &Path, closed: &[(PathBuf, u32)]) -> Result<(), (PathBuf, io::Error)> {
    let how = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(tree, how, Mode::empty()).map_err(|e| (tree.to_owned(), e.into()))?;
    for (path, mode) in closed.iter().rev() {
        match mountpoint::open_beneath(&root, path) {
            Ok(door) => set_mode(&door, *mode).map_err(|e| (tree.join(path), e))?,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::ACCESS) => {}
            Err(error) => return Err((tree.join(path), error.into())),
        }
    }
    Ok(())
}

/// Sets the permission bits of a file or directory that is held.
fn set_mode(file: &OwnedFd, mode: u32) -> io::Result<()> {
    if FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode) == FileType::Symlink {
        return Ok(());
    }
    std::fs::set_permissions(format!("/proc/self/fd/{}", file.as_raw_fd()), Permissions::from_mode(mode))
}

/// Puts back what a step left that was killed together with its helper: shut doors, by the note beside the tree, and
/// directories that went with it.
fn recover(tree: &Path) -> io::Result<()> {
    let note = beside(tree, ".doors");
    if let Ok(text) = std::fs::read(&note) {
        let closed: Vec<(Vec<u8>, u32)> = serde_json::from_slice(&text).unwrap_or_default();
        let closed: Vec<_> =
            closed.into_iter().map(|(path, mode)| (PathBuf::from(OsStr::from_bytes(&path)), mode & 0o7777)).collect();
        set_bits(tree, &closed).map_err(|(_, error)| error)?;
        std::fs::remove_file(&note)?;
    }
    let prefix = beside(tree, ".step-");
    for entry in std::fs::read_dir(tree.parent().unwrap_or(tree))?.flatten() {
        let path = entry.path();
        let name =
            bytes(&path).strip_prefix(bytes(&prefix)).and_then(|pid| std::str::from_utf8(pid).ok()?.parse().ok());
        if name.is_some_and(|pid: u32| !Path::new(&format!("/proc/{pid}")).exists()) {
            make_removable(&path);
            std::fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

impl Doors {
    /// The directory that goes with the step.
    pub(crate) fn scratch(&self) -> Option<&Path> {
        self.scratch.as_deref()
    }

    /// Notes the doors beside the tree, for [`recover`].
    fn note(&self) -> io::Result<()> {
        let list: Vec<(Vec<u8>, u32)> = self.closed.iter().map(|(path, mode)| (bytes(path).to_vec(), *mode)).collect();
        std::fs::write(beside(&self.tree, ".doors"), serde_json::to_vec(&list)?)
    }

    /// Gives the doors their permission bits back.
    pub(crate) fn unlock(&self) -> Result<(), (PathBuf, io::Error)> {
        set_bits(&self.tree, &self.closed)
    }

    /// Puts the tree back as it was: permission bits, and no mount point that was made for the step.
    pub(crate) fn open(self) -> Result<(), (PathBuf, io::Error)> {
        self.unlock()?;
        let _ = std::fs::remove_file(beside(&self.tree, ".doors"));
        if let Some(scratch) = &self.scratch {
            make_removable(scratch);
            std::fs::remove_dir_all(scratch).map_err(|e| (scratch.clone(), e))?;
        }
        self.made.remove(&self.tree)
    }
}

/// Gives the owner all rights on what the step left in its scratch directories.
fn make_removable(dir: &Path) {
    let _ = std::fs::set_permissions(dir, Permissions::from_mode(0o700));
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_removable(&entry.path());
        }
    }
}

/// Builds the list of mounts.
pub(crate) struct Builder<'a> {
    tree: &'a Path,
    root: Root,
    places: Vec<Place>,
    doors: Doors,
    scratch_count: u32,
    /// Doors that are shut when all mounts are laid out: later mounts may be looked for through them.
    open_doors: Vec<OwnedFd>,
}

impl<'a> Builder<'a> {
    /// Begins with nothing mounted in `tree`, a canonical path.
    pub(crate) fn new(tree: &'a Path) -> Setup<Self> {
        let fd = rustix::fs::open(tree, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .context(|| format!("open the root file system {}", tree.display()))?;
        recover(tree).context(|| format!("restore {} after a step that was killed", tree.display()))?;
        let doors = Doors { tree: tree.to_owned(), ..Doors::default() };
        Ok(Builder { tree, root: Root::new(fd), places: Vec::new(), doors, scratch_count: 0, open_doors: Vec::new() })
    }

    /// Everything: the system's directories and the mounts of the spec.
    pub(crate) fn all(mut self, spec: &Spec) -> (Setup<Vec<Place>>, Doors) {
        let result = self.try_all(spec);
        self.places.sort_by_key(|place| std::cmp::Reverse(place.target.as_os_str().len()));
        (result.map(|()| self.places), self.doors)
    }

    fn try_all(&mut self, spec: &Spec) -> Setup<()> {
        // The builder's umask has no say in what the step finds in /dev.
        rustix::process::umask(Mode::from_raw_mode(0o022));
        self.bind("/proc", Path::new("/proc"), MOUNT_PROC | MOUNT_SYSTEM)?;
        self.bind("/sys", Path::new("/sys"), MOUNT_READ_ONLY | MOUNT_SYSTEM)?;
        let interfaces = Path::new("/sys/class/net");
        if spec.network == Network::None && interfaces.is_dir() {
            let alone = self.scratch(0o755)?;
            let target = "../../devices/virtual/net/lo";
            std::os::unix::fs::symlink(target, alone.join("lo")).context(|| "make /sys/class/net")?;
            self.add(interfaces, &alone, MOUNT_READ_ONLY)?;
        }
        let dev = self.scratch(0o755)?;
        for name in DEVICES {
            std::fs::write(dev.join(name), b"").context(|| "make /dev")?;
        }
        for name in ["pts", "shm", "mqueue"] {
            std::fs::create_dir(dev.join(name)).context(|| "make /dev")?;
        }
        std::fs::set_permissions(dev.join("mqueue"), Permissions::from_mode(0o1777)).context(|| "make /dev")?;
        for (name, target) in [
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
            ("core", "/proc/kcore"),
        ] {
            std::os::unix::fs::symlink(target, dev.join(name)).context(|| "make /dev")?;
        }
        self.bind("/dev", &dev, 0)?;
        for name in DEVICES {
            let device = Path::new("/dev").join(name);
            // /dev/ptmx is a link to pts/ptmx in a container.
            let Ok(source) = device.canonicalize() else { continue };
            self.add(&device, &source, MOUNT_FILE | MOUNT_SYSTEM)?;
        }
        if Path::new("/dev/pts").is_dir() {
            self.bind("/dev/pts", Path::new("/dev/pts"), MOUNT_SYSTEM)?;
        }
        let shm = self.scratch(0o1777)?;
        self.bind("/dev/shm", &shm, 0)?;
        for mount in &spec.mounts {
            self.mount(&mount.target, &mount.kind)?;
        }
        self.doors.note().context(|| format!("note the mount points beside {}", self.tree.display()))?;
        for fd in &self.open_doors {
            set_mode(fd, 0).context(|| "shut a mount point")?;
        }
        Ok(())
    }

    fn mount(&mut self, target: &Path, kind: &MountKind) -> Setup<()> {
        match kind {
            MountKind::Bind { source, readonly } => {
                let flags = if *readonly { MOUNT_READ_ONLY } else { 0 };
                let source = source.canonicalize().context(|| format!("find {}", source.display()))?;
                let file = if source.is_dir() { 0 } else { MOUNT_FILE };
                self.add(target, &source, flags | file)
            }
            MountKind::Scratch { source, scratch } => {
                let copy = scratch.join("copy");
                copy_tree(source, &copy).context(|| format!("copy {} for a mount", source.display()))?;
                self.add(target, &copy, if copy.is_dir() { 0 } else { MOUNT_FILE })
            }
            MountKind::Tmpfs { mode, .. } => {
                let dir = self.scratch(*mode)?;
                self.add(target, &dir, 0)
            }
            MountKind::File { content, mode, uid, gid } => self.file_in_memory(target, content, *mode, (*uid, *gid)),
            MountKind::Socket { source, uid, gid, .. } => {
                let action = || format!("find the socket {}", source.display());
                let source = source.canonicalize().context(action)?;
                let file = rustix::fs::open(&source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).context(action)?;
                self.give(&file, (*uid, *gid)).context(action)?;
                self.add(target, &source, MOUNT_FILE)
            }
        }
    }

    fn bind(&mut self, target: &str, source: &Path, flags: u32) -> Setup<()> {
        self.add(Path::new(target), source, flags)
    }

    /// A new directory that goes with the step. It lies beside the tree: there is room, and the file system is the same.
    fn scratch(&mut self, mode: u32) -> Setup<PathBuf> {
        let base = match &self.doors.scratch {
            Some(base) => base.clone(),
            None => {
                let base = beside(self.tree, &format!(".step-{}", std::process::id()));
                std::fs::create_dir(&base).context(|| format!("make {}", base.display()))?;
                self.doors.scratch = Some(base.clone());
                base
            }
        };
        let dir = base.join(self.scratch_count.to_string());
        self.scratch_count += 1;
        std::fs::create_dir(&dir).context(|| format!("make {}", dir.display()))?;
        std::fs::set_permissions(&dir, Permissions::from_mode(mode | 0o700)).context(|| "set the mode of a tmpfs")?;
        Ok(dir)
    }

    fn file_in_memory(&mut self, target: &Path, content: &[u8], mode: u32, owner: (u32, u32)) -> Setup<()> {
        let action = || format!("make the file {} in memory", target.display());
        let fd = rustix::fs::memfd_create("file", rustix::fs::MemfdFlags::CLOEXEC).context(action)?;
        let mut rest = content;
        while !rest.is_empty() {
            let written = rustix::io::write(&fd, rest).context(action)?;
            rest = &rest[written..];
        }
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode & 0o7777)).context(action)?;
        self.give(&fd, owner).context(action)?;
        let (target, door) = self.close(target, false)?;
        let place = Place { target, source: PathBuf::new(), fd: Some(fd), flags: MOUNT_FILE, door, in_memory: true };
        self.push(place);
        Ok(())
    }

    /// Lets the step see an owner; the file keeps the builder's.
    fn give(&mut self, file: &OwnedFd, owner: (u32, u32)) -> Result<(), rustix::io::Errno> {
        if owner != (0, 0) {
            let wanted = StatxFlags::INO | StatxFlags::BTIME;
            let stat = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, wanted)?;
            let (seconds, nanoseconds) = (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec);
            self.doors.owners.push((FileKey { ino: stat.stx_ino, seconds, nanoseconds }, owner));
        }
        Ok(())
    }

    fn add(&mut self, target: &Path, source: &Path, flags: u32) -> Setup<()> {
        let dir = flags & MOUNT_FILE == 0;
        let (target, door) = self.close(target, dir)?;
        let fd = if dir {
            let how = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = rustix::fs::open(source, how, Mode::empty());
            Some(fd.context(|| format!("open {} for the mount on {}", source.display(), target.display()))?)
        } else {
            None
        };
        self.push(Place { target, source: source.to_owned(), fd, flags, door, in_memory: false });
        Ok(())
    }

    /// A later mount on the same target hides the earlier one.
    fn push(&mut self, place: Place) {
        self.places.retain(|old| old.target != place.target);
        self.places.push(place);
    }

    /// Makes the mount point where it is missing and shuts it. Its canonical path and inode number; number 0 where it
    /// lies in another mount, whose files are not touched.
    fn close(&mut self, target: &Path, dir: bool) -> Setup<(PathBuf, u64)> {
        let action = || format!("make the mount point {}", target.display());
        let resolved = self.root.resolve_among(target, |path| self.mounted(path)).context(action)?;
        let mut canonical = Path::new("/").join(&resolved.path);
        canonical.extend(&resolved.missing);
        if canonical == Path::new("/") {
            return Err(SetupError {
                action: format!("mount on {}", target.display()),
                errno: libc::EINVAL,
                hint: Some("the root itself cannot be covered; mount on a directory below it".into()),
            });
        }
        if let Some(outer) = self.outer_of(&canonical) {
            let door = self.door_in_mount(outer, resolved, dir).context(action)?;
            return Ok((canonical, door));
        }
        let fd = self.doors.made.ensure(&self.root, None, &canonical, dir).context(action)?;
        let path = canonical.strip_prefix("/").unwrap_or(&canonical).to_owned();
        let stat = rustix::fs::fstat(fd.as_fd()).context(action)?;
        self.doors.closed.push((path, stat.st_mode & 0o7777));
        self.open_doors.push(fd);
        Ok((canonical, stat.st_ino))
    }

    /// The mount in which a path lies.
    fn outer_of(&self, canonical: &Path) -> Option<usize> {
        let around = self.places.iter().enumerate().filter(|(_, place)| canonical.starts_with(&place.target));
        around.max_by_key(|(_, place)| place.target.as_os_str().len()).map(|(index, _)| index)
    }

    /// The mount point of a mount in a mount: its inode number. It is made where it is missing, as mount(2) would need
    /// it, and shut where the directory goes with the step; in one that stays it is left as it is, since others may be
    /// using it. What an earlier step put into the outer one is not trusted: its links stay inside the tree.
    fn door_in_mount(&mut self, outer: usize, resolved: Resolved, dir: bool) -> io::Result<u64> {
        let place = &mut self.places[outer];
        if !resolved.missing.is_empty() && place.flags & (MOUNT_READ_ONLY | MOUNT_SYSTEM | MOUNT_FILE) != 0 {
            return Err(Errno::ROFS.into());
        }
        let fd = resolved.ensure(dir, &mut Vec::new())?;
        let found = rustix::fs::fstat(&fd)?;
        let own = self.doors.scratch.as_ref().is_some_and(|base| place.source.starts_with(base));
        if own {
            self.open_doors.push(fd);
        } else {
            place.flags |= MOUNT_HOLDER;
        }
        Ok(found.st_ino)
    }

    /// The directory that is mounted on a path of the tree.
    fn mounted(&self, path: &Path) -> Option<BorrowedFd<'_>> {
        let place =
            self.places.iter().find(|place| place.target.strip_prefix("/").is_ok_and(|target| target == path))?;
        place.fd.as_ref().filter(|_| !place.in_memory).map(AsFd::as_fd)
    }
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    let found = std::fs::symlink_metadata(from)?;
    if found.is_symlink() {
        return std::os::unix::fs::symlink(std::fs::read_link(from)?, to);
    }
    let kind = found.file_type();
    if kind.is_fifo() {
        let mode = Mode::from_raw_mode(found.mode() & 0o7777);
        return Ok(rustix::fs::mknodat(rustix::fs::CWD, to, FileType::Fifo, mode, 0)?);
    }
    if kind.is_file() {
        return std::fs::copy(from, to).map(drop);
    }
    if !kind.is_dir() {
        // A device or a socket: it could not be opened by the step, and must not be by the builder.
        return Ok(());
    }
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        copy_tree(&entry.path(), &to.join(entry.file_name()))?;
    }
    std::fs::set_permissions(to, Permissions::from_mode(found.mode() & 0o7777 | 0o700))
}

/// The bytes of a path.
pub(crate) fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}
