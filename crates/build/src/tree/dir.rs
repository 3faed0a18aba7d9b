//! A directory of the machine as a tree: a build context.
//!
//! Files belong to root, as BuildKit's transfer of a context makes them. What `.dockerignore` excludes does not
//! exist; a directory that is excluded but holds an exception exists, with nothing else in it.
use super::{Node, Tree};
use crate::error::{BuildError, Kind, Result};
use crate::store::{Stamp, Store};
use dockerfile::ignore::{DirState, Ignore};
use layer::{Entry, Kind as EntryKind, Time, Xattrs};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags};
use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory and what of it is hidden.
pub(crate) struct DirTree {
    root: OwnedFd,
    path: PathBuf,
    ignore: Option<Ignore>,
    name: String,
    /// Where digests of its files are remembered.
    store: Option<Arc<Store>>,
}

impl DirTree {
    pub(crate) fn open(path: &Path, ignore: Option<Ignore>, name: impl Into<String>) -> Result<Self> {
        let root = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| BuildError::io("open the directory", path, e))?;
        Ok(Self { root, path: path.to_owned(), ignore, name: name.into(), store: None })
    }

    /// Remembers digests of files from build to build: for a directory that is there again in the next one.
    pub(crate) fn remembering(mut self, store: &Arc<Store>) -> Self {
        self.store = Some(Arc::clone(store));
        self
    }

    /// Opens below the root without following any symlink.
    fn open_at(&self, path: &Path, flags: OFlags) -> std::result::Result<OwnedFd, rustix::io::Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let strict = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), strict)
    }

    fn excluded(&self, path: &Path) -> bool {
        self.ignore.as_ref().is_some_and(|i| i.matches(&path.to_string_lossy()))
    }

    /// What the patterns say of a directory.
    fn state(&self, ignore: &Ignore, path: &Path) -> DirState {
        let (mut state, mut so_far) = (ignore.root(), PathBuf::new());
        for name in path {
            so_far.push(name);
            state = ignore.child(&state, &so_far.to_string_lossy());
        }
        state
    }

    /// Whether something in an excluded directory is excepted.
    fn holds_exception(&self, path: &Path) -> Result<bool> {
        let Some(ignore) = &self.ignore else { return Ok(false) };
        if ignore.may_skip(&self.state(ignore, path), &path.to_string_lossy()) {
            return Ok(false);
        }
        Ok(!self.read_dir(path)?.is_empty())
    }

    fn node(&self, dir: BorrowedFd<'_>, name: &CStr, path: PathBuf) -> Result<Option<Node>> {
        let wanted = StatxFlags::BASIC_STATS;
        let flags = AtFlags::SYMLINK_NOFOLLOW | if name.is_empty() { AtFlags::EMPTY_PATH } else { AtFlags::empty() };
        let stat = match rustix::fs::statx(dir, name, flags, wanted) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(e) => return Err(BuildError::io("read", self.path.join(path), e)),
        };
        let Some(kind) = kind_of(&stat) else { return Ok(None) };
        let link = if kind == EntryKind::Symlink {
            let text = rustix::fs::readlinkat(dir, name, Vec::new())
                .map_err(|e| BuildError::io("read the link", self.path.join(&path), e))?;
            Some(PathBuf::from(OsString::from_vec(text.into_bytes())))
        } else {
            None
        };
        let inode = (kind == EntryKind::File && stat.stx_nlink > 1)
            .then(|| (u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor), stat.stx_ino));
        let entry = Entry {
            path,
            kind,
            mode: u32::from(stat.stx_mode) & 0o7777,
            uid: 0,
            gid: 0,
            mtime: Time { secs: stat.stx_mtime.tv_sec, nanos: stat.stx_mtime.tv_nsec },
            size: if kind == EntryKind::File { stat.stx_size } else { 0 },
            link,
            rdev: (stat.stx_rdev_major, stat.stx_rdev_minor),
            xattrs: Xattrs::new(),
        };
        let stamp = (kind == EntryKind::File).then(|| stamp(&stat));
        Ok(Some(Node { entry, inode, stamp }))
    }
}

fn stamp(stat: &Statx) -> Stamp {
    Stamp {
        device: u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor),
        inode: stat.stx_ino,
        size: stat.stx_size,
        modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
        changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
    }
}

/// Sockets are no files that a context can hold.
fn kind_of(stat: &Statx) -> Option<EntryKind> {
    match FileType::from_raw_mode(u32::from(stat.stx_mode)) {
        FileType::RegularFile => Some(EntryKind::File),
        FileType::Directory => Some(EntryKind::Dir),
        FileType::Symlink => Some(EntryKind::Symlink),
        FileType::CharacterDevice => Some(EntryKind::CharDevice),
        FileType::BlockDevice => Some(EntryKind::BlockDevice),
        FileType::Fifo => Some(EntryKind::Fifo),
        _ => None,
    }
}

impl Tree for DirTree {
    fn lookup(&self, path: &Path) -> Result<Option<Node>> {
        if path.as_os_str().is_empty() {
            return self.node(self.root.as_fd(), c"", PathBuf::new());
        }
        let fd = match self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => return Ok(None),
            Err(e) => return Err(BuildError::io("open", self.path.join(path), e)),
        };
        let Some(mut node) = self.node(fd.as_fd(), c"", path.to_owned())? else { return Ok(None) };
        if self.excluded(path) && !(node.is_dir() && self.holds_exception(path)?) {
            return Ok(None);
        }
        if node.entry.kind == EntryKind::File {
            node.entry.xattrs = capabilities(&fd);
        }
        Ok(Some(node))
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<(OsString, Node)>> {
        let fd = match self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(Vec::new()),
            Err(e) => return Err(BuildError::io("read the directory", self.path.join(path), e)),
        };
        let mut list = Vec::new();
        let state = self.ignore.as_ref().map(|ignore| (ignore, self.state(ignore, path)));
        let entries = Dir::read_from(&fd).map_err(|e| BuildError::io("read the directory", self.path.join(path), e))?;
        for entry in entries {
            let entry = entry.map_err(|e| BuildError::io("read the directory", self.path.join(path), e))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let full = path.join(OsStr::from_bytes(name.to_bytes()));
            let excluded =
                state.as_ref().is_some_and(|(ignore, state)| ignore.excludes(state, &full.to_string_lossy()));
            if excluded && entry.file_type() != FileType::Directory && entry.file_type() != FileType::Unknown {
                continue;
            }
            let Some(node) = self.node(fd.as_fd(), name, full.clone())? else { continue };
            if excluded && !(node.is_dir() && self.holds_exception(&full)?) {
                continue;
            }
            list.push((OsStr::from_bytes(name.to_bytes()).to_owned(), node));
        }
        list.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(list)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>> {
        let fd = self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW).map_err(|e| match e {
            rustix::io::Errno::ACCESS => {
                BuildError::new(Kind::Input, format!("no permission to read {} of {}", path.display(), self.name))
                    .hint("change its permissions, or exclude it in .dockerignore")
            }
            e => BuildError::io("open", self.path.join(path), e),
        })?;
        Ok(Box::new(File::from(fd)))
    }

    fn known_digest(&self, node: &Node) -> Option<[u8; 32]> {
        self.store.as_ref()?.file_digest(node.stamp.as_ref()?)
    }

    fn learn_digest(&self, node: &Node, digest: [u8; 32], since: i64) {
        let (Some(store), Some(before)) = (&self.store, node.stamp) else { return };
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let after = rustix::fs::statx(&self.root, &node.entry.path, flags, StatxFlags::BASIC_STATS);
        if after.is_ok_and(|after| stamp(&after) == before) {
            store.learn_file_digest(&before, digest, since);
        }
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}

/// `security.capability`, the one attribute that a layer keeps.
fn capabilities(fd: &OwnedFd) -> Xattrs {
    let mut xattrs = Xattrs::new();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(fd));
    let mut value = [0_u8; 64];
    if let Ok(length) = rustix::fs::getxattr(path, "security.capability", &mut value[..]) {
        xattrs.insert(b"security.capability".to_vec(), value[..length].to_vec());
    }
    xattrs
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_digest_holds_until_the_file_changes_whatever_its_time_says() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&dir.path().join("store")).unwrap());
        let context = dir.path().join("context");
        fs::create_dir(&context).unwrap();
        let path = context.join("file");
        fs::write(&path, "before").unwrap();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let tree = DirTree::open(&context, None, "the build context").unwrap().remembering(&store);
        let node = || tree.lookup(Path::new("file")).unwrap().unwrap();
        let (now, old) = (crate::time::now(), node());
        tree.learn_digest(&old, [1; 32], now);
        assert_eq!(tree.known_digest(&old), None, "too young");
        tree.learn_digest(&old, [1; 32], now + 10);
        assert_eq!(tree.known_digest(&node()), Some([1; 32]));
        // Changed while it was read: neither digest is the file's.
        let first = node().stamp.unwrap().changed;
        while node().stamp.unwrap().changed == first {
            fs::write(&path, "after!").unwrap();
        }
        tree.learn_digest(&old, [2; 32], now + 10);
        fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        let new = node();
        assert_eq!((new.entry.mtime, new.entry.size), (old.entry.mtime, old.entry.size));
        assert_eq!(tree.known_digest(&new), None);
        // Another name is the same file.
        fs::hard_link(&path, context.join("other")).unwrap();
        let linked = tree.lookup(Path::new("other")).unwrap().unwrap();
        tree.learn_digest(&linked, [3; 32], now + 10);
        assert_eq!(tree.known_digest(&node()), Some([3; 32]));
    }

    /// The kernel says which directories are opened: looked at from within, not by the results.
    #[test]
    fn an_excluded_directory_that_can_hold_no_exception_is_never_entered() {
        use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
        let context = tempfile::tempdir().unwrap();
        let directories =
            ["src", "src/deep", "node_modules", "node_modules/a", "cache", "cache/keep", "cache/other", "src/target"];
        for name in directories {
            fs::create_dir_all(context.path().join(name)).unwrap();
            fs::write(context.path().join(name).join("file"), name).unwrap();
        }
        let ignore = Ignore::parse("node_modules\ncache\n!cache/keep\n**/target\n").unwrap();
        let watcher = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        let watch = |name: &&str| inotify::add_watch(&watcher, context.path().join(name), WatchFlags::OPEN).unwrap();
        let watches: Vec<i32> = directories.iter().map(watch).collect();

        let tree = DirTree::open(context.path(), Some(ignore), "the build context").unwrap();
        let tree: Arc<dyn Tree> = Arc::new(tree);
        let everything = crate::copy::Wanted { source: "/", parents: None, exclude: &[] };
        let selection = crate::copy::select(&tree, &everything).unwrap();
        drop(crate::copy::digest(&selection).unwrap());
        for hidden in ["node_modules", "node_modules/a/file", "src/target/file", "cache/other/file"] {
            assert!(tree.lookup(Path::new(hidden)).unwrap().is_none(), "{hidden}");
        }

        let mut buffer = [std::mem::MaybeUninit::uninit(); 8192];
        let mut events = inotify::Reader::new(&watcher, &mut buffer);
        let mut entered = std::collections::BTreeSet::new();
        while let Ok(event) = events.next() {
            // An event about the directory itself has no name.
            if event.file_name().is_none() {
                let place = watches.iter().position(|watch| *watch == event.wd()).unwrap();
                entered.insert(directories[place]);
            }
        }
        assert_eq!(entered.into_iter().collect::<Vec<_>>(), ["cache", "cache/keep", "src", "src/deep"]);
    }
}
