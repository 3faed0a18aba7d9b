//! Where selected objects land, and with which attributes.
//!
//! Follows `fsutil/copy`: missing parents of the destination are made with mode 0755 and the owner of `--chown`;
//! the contents of a directory are copied, not the directory; a directory that exists below the top gets the
//! source's attributes; a file never replaces a directory, a directory never replaces anything else.
use super::mode;
use super::select::{Selected, Selection};
use crate::error::{BuildError, Kind, Result};
use crate::plan::Mode;
use crate::tree::{self, Node, Tree};
use layer::{Entry, Kind as EntryKind, Time};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One object of the new layer.
#[derive(Clone)]
pub(crate) struct Placed {
    pub(crate) entry: Entry,
    /// Where its bytes come from.
    pub(crate) content: Option<(Arc<dyn Tree>, PathBuf)>,
    /// Names with the same number are one file.
    pub(crate) inode: Option<(usize, u64, u64)>,
}

/// The files of a layer while they are put together, on top of what lies below.
pub(crate) struct Destination {
    below: Option<Arc<dyn Tree>>,
    placed: BTreeMap<PathBuf, Placed>,
    chown: Option<(u32, u32)>,
    chmod: Option<Mode>,
    time: Time,
    /// SOURCE_DATE_EPOCH sets the time of what is copied, too.
    fixed_time: bool,
    groups: usize,
}

impl Tree for Destination {
    fn lookup(&self, path: &Path) -> Result<Option<Node>> {
        if let Some(placed) = self.placed.get(path) {
            return Ok(Some(Node::of(placed.entry.clone())));
        }
        // What was replaced by something that is no directory has nothing below it.
        let mut parent = path.parent();
        while let Some(above) = parent {
            match self.placed.get(above) {
                Some(placed) if placed.entry.kind != EntryKind::Dir => return Ok(None),
                _ => parent = above.parent(),
            }
        }
        match &self.below {
            Some(tree) => tree.lookup(path),
            None if path.as_os_str().is_empty() => Ok(Some(Node::of(Entry::dir("", 0o755)))),
            None => Ok(None),
        }
    }
    fn read_dir(&self, _: &Path) -> Result<Vec<(OsString, Node)>> {
        Ok(Vec::new())
    }
    fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>> {
        Err(BuildError::io("open", path, std::io::Error::from(std::io::ErrorKind::Unsupported)))
    }
    fn describe(&self) -> String {
        "the image".to_owned()
    }
}

/// A directory of the destination as a root of its own.
struct Below<'a> {
    tree: &'a Destination,
    root: &'a Path,
}

impl Tree for Below<'_> {
    fn lookup(&self, path: &Path) -> Result<Option<Node>> {
        self.tree.lookup(&self.root.join(path))
    }
    fn read_dir(&self, path: &Path) -> Result<Vec<(OsString, Node)>> {
        self.tree.read_dir(path)
    }
    fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>> {
        self.tree.open(path)
    }
    fn describe(&self) -> String {
        self.tree.describe()
    }
}

impl Destination {
    /// `below` is `None` for `--link` and for `FROM scratch`.
    pub(crate) fn new(
        below: Option<Arc<dyn Tree>>,
        chown: Option<(u32, u32)>,
        chmod: Option<Mode>,
        time: Time,
        fixed_time: bool,
    ) -> Self {
        Self { below, placed: BTreeMap::new(), chown, chmod, time, fixed_time, groups: 0 }
    }

    /// The objects, parents first.
    pub(crate) fn into_placed(self) -> BTreeMap<PathBuf, Placed> {
        self.placed
    }

    fn resolved(&self, path: &str) -> Result<PathBuf> {
        tree::resolve(self, Path::new(crate::paths::relative(path)), true)
    }

    /// Makes a directory and its missing parents.
    fn mkdir_all(&mut self, path: &Path, owner: Option<(u32, u32)>, chmod: bool) -> Result<()> {
        let mut made = PathBuf::new();
        for name in path {
            made.push(name);
            match self.lookup(&made)? {
                Some(node) if node.is_dir() => {}
                Some(_) => {
                    return Err(BuildError::new(
                        Kind::Dockerfile,
                        format!(
                            "cannot make the directory /{}: /{} is not a directory",
                            path.display(),
                            made.display()
                        ),
                    ));
                }
                None => {
                    let mut entry = Entry::dir(&made, 0o755);
                    entry.mtime = self.time;
                    // As mkdir(2) does it below a set-group-ID directory.
                    let above = made.parent().map(|above| self.lookup(above)).transpose()?.flatten();
                    if let Some(above) = above.filter(|above| above.entry.mode & 0o2000 != 0) {
                        entry.mode |= 0o2000;
                        entry.gid = above.entry.gid;
                    }
                    if let Some((uid, gid)) = owner {
                        (entry.uid, entry.gid) = (uid, gid);
                    }
                    if let Some(mode) = self.chmod.as_ref().filter(|_| chmod) {
                        entry.mode = entry.mode & 0o2000 | mode::of_made_directory(mode);
                    }
                    self.placed.insert(made.clone(), Placed { entry, content: None, inode: None });
                }
            }
        }
        Ok(())
    }

    /// `WORKDIR`: the directory, symlinks on the way followed.
    pub(crate) fn workdir(&mut self, path: &str, owner: Option<(u32, u32)>) -> Result<()> {
        let path = self.resolved(path)?;
        self.mkdir_all(&path, owner, false)
    }

    /// Copies what was selected to `dest`: an absolute path, with a trailing slash for "a directory".
    pub(crate) fn copy(&mut self, selection: &Selection, dest: &str) -> Result<()> {
        for selected in &selection.matches {
            self.groups += 1;
            self.copy_one(selection, selected, dest)?;
        }
        Ok(())
    }

    fn copy_one(&mut self, selection: &Selection, selected: &Selected, dest: &str) -> Result<()> {
        let parent = if dest.ends_with('/') { dest } else { dest.rsplit_once('/').map_or("", |(d, _)| d) };
        let parent = self.resolved(parent)?;
        self.mkdir_all(&parent, self.chown, true)?;
        let mut target = self.resolved(dest)?;
        if selected.node.is_dir() {
            self.mkdir_all(&target, self.chown, true)?;
            for (path, node) in &selected.below {
                self.put(selection, node, target.join(path), true)?;
            }
            // The root of a stage or an image has no time of its own.
            let source = &selected.node.entry;
            let timeless = source.path.as_os_str().is_empty() && source.mtime.secs == 0;
            if !selection.parents && !self.fixed_time && !timeless {
                self.touch(&target, source.mtime)?;
            }
            return Ok(());
        }
        if self.lookup(&target)?.is_some_and(|n| n.is_dir()) {
            target.push(&selected.name);
        }
        self.put(selection, &selected.node, target, false)
    }

    /// Gives a directory the time of the one whose content it got, whether it was there before or not.
    fn touch(&mut self, path: &Path, time: Time) -> Result<()> {
        if path.as_os_str().is_empty() {
            // The root is in no layer.
            return Ok(());
        }
        let Some(node) = self.lookup(path)?.filter(|node| node.is_dir() && node.entry.mtime != time) else {
            return Ok(());
        };
        let entry = Entry { path: path.to_owned(), mtime: time, ..node.entry };
        self.placed.insert(path.to_owned(), Placed { entry, content: None, inode: None });
        Ok(())
    }

    /// Unpacks an archive (as a tree) into a directory. Symlinks that are there already lead inside that directory:
    /// it is the archive's root.
    pub(crate) fn unpack(&mut self, selection: &Selection, dest: &str) -> Result<()> {
        self.groups += 1;
        let target = self.resolved(dest)?;
        self.mkdir_all(&target, self.chown, false)?;
        for selected in &selection.matches {
            for (path, node) in &selected.below {
                let below = Below { tree: self, root: &target };
                let parent = tree::resolve(&below, path.parent().unwrap_or(Path::new("")), true)?;
                let inside = parent.join(path.file_name().unwrap_or_default());
                if node.is_dir()
                    && let Some(there) = below.lookup(&inside)?
                    && there.entry.kind == EntryKind::Symlink
                {
                    // A link stands for the directory that it leads to, which is made if need be.
                    let led = target.join(tree::resolve(&below, &inside, true)?);
                    self.mkdir_all(&led, self.chown, false)?;
                    continue;
                }
                let place = target.join(inside);
                if !node.is_dir() {
                    self.remove(&place);
                }
                self.insert(selection, node, place, true);
            }
        }
        Ok(())
    }

    /// Forgets what was placed below a path that is about to be replaced.
    fn remove(&mut self, path: &Path) {
        let below: Vec<PathBuf> =
            self.placed.range(path.to_owned()..).map(|(p, _)| p.clone()).take_while(|p| p.starts_with(path)).collect();
        for path in below {
            self.placed.remove(&path);
        }
    }

    fn put(&mut self, selection: &Selection, node: &Node, target: PathBuf, overwrite: bool) -> Result<()> {
        let existing = self.lookup(&target)?;
        match (&existing, node.is_dir()) {
            (Some(there), false) if there.is_dir() => {
                return Err(BuildError::new(
                    Kind::Dockerfile,
                    format!(
                        "cannot copy the file {} over the directory /{}",
                        node.entry.path.display(),
                        target.display()
                    ),
                )
                .hint("remove the directory in an earlier step, or choose another destination"));
            }
            (Some(there), true) if !there.is_dir() => {
                return Err(BuildError::new(
                    Kind::Dockerfile,
                    format!("cannot copy a directory to non-directory: /{}", target.display()),
                )
                .hint("the destination exists and is a file or a symbolic link; choose another one"));
            }
            (Some(_), true) if selection.parents || !overwrite => return Ok(()),
            _ => {}
        }
        self.insert(selection, node, target, false);
        Ok(())
    }

    fn insert(&mut self, selection: &Selection, node: &Node, target: PathBuf, archive: bool) {
        let mut entry = node.entry.clone();
        let source = std::mem::replace(&mut entry.path, target.clone());
        if let Some((uid, gid)) = self.chown {
            (entry.uid, entry.gid) = (uid, gid);
        }
        if let (Some(mode), false, false) = (&self.chmod, archive, entry.kind == EntryKind::Symlink) {
            entry.mode = mode::apply(mode, entry.mode, entry.kind == EntryKind::Dir);
        }
        if self.fixed_time {
            entry.mtime = self.time;
        }
        entry.xattrs.retain(|name, _| name == b"security.capability");
        let content = (entry.kind == EntryKind::File && entry.size > 0).then(|| (Arc::clone(&selection.tree), source));
        let inode = node.inode.map(|(a, b)| (self.groups, a, b));
        self.placed.insert(target, Placed { entry, content, inode });
    }
}
