//! What a tree was: enough of every object to tell by `stat` whether it changed.
//!
//! A file counts as changed when its inode, ctime, mtime, size, mode, owner or device number differ: no process but
//! a privileged one that sets the clock can write to a file and keep its ctime. A directory counts as changed when
//! its mode or owner differ; its times change with what is in it. Attributes of the side table count as the file's.
//! Contents are never read.
//!
//! Stored (`wire.rs` has numbers, paths and the frame, magic `cprgtbl` 1):
//! ```text
//! count │ directories: path, count, lines: name, mode with type, inode, ctime, mtime, size, owner, group, device
//! ```

use crate::entry::Time;
use crate::error::{Context, Error, Result};
use crate::fs;
use crate::owner::AttrSource;
use crate::wire::{Decoder, Encoder};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx};
use std::collections::{BTreeMap, HashSet};
use std::ffi::{CString, OsStr};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// Content or attributes differ.
    Modified,
    /// It is gone, with all that was in it.
    Deleted,
}

/// What differs between a table and a tree, sorted as a walk meets it (a directory before what is in it).
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// The paths.
    pub items: Vec<(PathBuf, Change)>,
    /// The state that the changes lead to.
    pub(crate) next: Table,
}

impl Changes {
    /// The table of the tree as it was when the changes were found.
    #[must_use]
    pub fn into_table(self) -> Table {
        self.next
    }
}

/// How to scan a tree.
#[derive(Default)]
pub struct ScanOptions<'a> {
    /// Threads that walk; 0 stands for one.
    pub threads: usize,
    /// Clean paths that are passed over with all that is in them. What the table had there is kept.
    pub exclude: Vec<PathBuf>,
    /// The side table: a change of it is a change of the file.
    pub attrs: Option<&'a dyn AttrSource>,
}

/// The state of a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Lines by directory, sorted by name.
    dirs: BTreeMap<PathBuf, Vec<Line>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    name: CString,
    /// With the type.
    mode: u32,
    ino: u64,
    ctime: Time,
    mtime: Time,
    size: u64,
    uid: u32,
    gid: u32,
    rdev: (u32, u32),
}

impl Line {
    fn new(name: CString, stat: &Statx, attrs: Option<&dyn AttrSource>) -> Self {
        let mut line = Self {
            name,
            mode: stat.stx_mode.into(),
            ino: stat.stx_ino,
            ctime: fs::time(stat.stx_ctime),
            mtime: fs::time(stat.stx_mtime),
            size: stat.stx_size,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            rdev: (stat.stx_rdev_major, stat.stx_rdev_minor),
        };
        if let Some(claimed) = attrs.and_then(|table| table.attrs(fs::key(stat), stat.stx_mode.into())) {
            line.mode = (line.mode & !0o7777) | (claimed.mode & 0o7777);
            (line.uid, line.gid, line.rdev) = (claimed.uid, claimed.gid, claimed.rdev);
        }
        line
    }

    fn is_dir(&self) -> bool {
        FileType::from_raw_mode(self.mode) == FileType::Directory
    }

    fn differs(&self, now: &Self) -> bool {
        if self.is_dir() && now.is_dir() {
            return (self.mode, self.uid, self.gid) != (now.mode, now.uid, now.gid);
        }
        self != now
    }
}

impl Table {
    /// Scans a tree with parallel stat calls.
    pub fn scan(root: BorrowedFd<'_>, options: &ScanOptions<'_>) -> Result<Self> {
        Ok(Self::default().diff(root, options)?.next)
    }

    /// How many objects it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.dirs.values().map(Vec::len).sum()
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dirs.is_empty()
    }

    /// What changed since the table was made: a parallel walk of stat calls.
    pub fn diff(&self, root: BorrowedFd<'_>, options: &ScanOptions<'_>) -> Result<Changes> {
        let top = fs::open_dir(root, c".").at("open", Path::new(""))?;
        let scan = Scan {
            old: self,
            options,
            exclude: options.exclude.iter().map(PathBuf::as_path).collect(),
            state: Mutex::new(State {
                todo: vec![Task { parent: Arc::new(top), name: c".".to_owned(), path: PathBuf::new() }],
                running: 0,
                failed: None,
            }),
            more: Condvar::new(),
        };
        let mut found = std::thread::scope(|scope| {
            let helpers: Vec<_> = (1..options.threads.max(1)).map(|_| scope.spawn(|| scan.work())).collect();
            let mut found = scan.work();
            for helper in helpers {
                match helper.join() {
                    Ok(other) => found.merge(other),
                    Err(_) => scan.fail(Error::io("scan", Path::new(""), std::io::Error::other("a thread died"))),
                }
            }
            found
        });
        if let Some(error) = scan.state.into_inner().unwrap_or_else(PoisonError::into_inner).failed {
            return Err(error);
        }
        // Path's order is that of its names, so a directory comes before what is in it.
        found.changes.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(Changes { items: found.changes, next: Self { dirs: found.dirs } })
    }

    /// The stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Encoder::new(MAGIC);
        out.number(self.dirs.len() as u64);
        for (path, lines) in &self.dirs {
            out.path(path);
            out.number(lines.len() as u64);
            let mut ino = 0u64;
            for line in lines {
                out.string(line.name.to_bytes());
                out.number(line.mode.into());
                out.signed(line.ino.wrapping_sub(ino) as i64);
                ino = line.ino;
                out.time(line.ctime);
                out.time(line.mtime);
                for value in [line.size, line.uid.into(), line.gid.into(), line.rdev.0.into(), line.rdev.1.into()] {
                    out.number(value);
                }
            }
        }
        out.finish()
    }

    /// Reads the stored form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut from = Decoder::new(bytes, MAGIC, "table of a tree")?;
        let mut dirs = BTreeMap::new();
        for _ in 0..from.number()? {
            let path = from.path()?;
            let mut lines = Vec::new();
            let mut ino = 0u64;
            for _ in 0..from.number()? {
                let name = CString::new(from.string()?).map_err(|_| from.bad())?;
                let mode = from.small()?;
                ino = ino.wrapping_add(from.signed()? as u64);
                let (ctime, mtime) = (from.time()?, from.time()?);
                let (size, uid, gid) = (from.number()?, from.small()?, from.small()?);
                let rdev = (from.small()?, from.small()?);
                lines.push(Line { name, mode, ino, ctime, mtime, size, uid, gid, rdev });
            }
            dirs.insert(path, lines);
        }
        if from.is_empty() { Ok(Self { dirs }) } else { Err(from.bad()) }
    }

    /// Writes the stored form to a file that appears whole or not at all. It is not synced: a table that is lost is
    /// made anew, and a damaged one is noticed.
    pub fn save(&self, dir: BorrowedFd<'_>, name: &Path) -> Result<()> {
        let target = fs::name(name.as_os_str(), name)?;
        let mut temporary = name.as_os_str().to_owned();
        temporary.push(format!(".{}.tmp", std::process::id()));
        let temporary = fs::name(&temporary, name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(dir, &temporary, flags, Mode::from_raw_mode(0o600)).at("create", name)?;
        let written = std::fs::File::from(file).write_all(&self.to_bytes()).at("write", name);
        let done = written.and_then(|()| rustix::fs::renameat(dir, &temporary, dir, &target).at("create", name));
        if done.is_err() {
            // What is left of it must not stay; the first error is the one to tell.
            let _ = rustix::fs::unlinkat(dir, &temporary, AtFlags::empty());
        }
        done
    }

    /// Reads what [`Table::save`] wrote.
    pub fn load(dir: BorrowedFd<'_>, name: &Path) -> Result<Self> {
        let mut bytes = Vec::new();
        let file = rustix::fs::openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).at("open", name)?;
        std::fs::File::from(file).read_to_end(&mut bytes).at("read", name)?;
        Self::from_bytes(&bytes)
    }

    fn line(&self, dir: &Path, name: &CString) -> Option<&Line> {
        let lines = self.dirs.get(dir)?;
        lines.binary_search_by(|line| line.name.cmp(name)).ok().and_then(|at| lines.get(at))
    }

    fn keep_below(&self, path: &Path, found: &mut Found) {
        for (dir, lines) in self.dirs.range(path.to_owned()..).take_while(|(dir, _)| dir.starts_with(path)) {
            found.dirs.insert(dir.clone(), lines.clone());
        }
    }
}

const MAGIC: &[u8; 8] = b"cprgtbl\x01";

/// A directory to read. Its parent stays open until all its directories are read.
struct Task {
    parent: Arc<OwnedFd>,
    name: CString,
    path: PathBuf,
}

struct State {
    todo: Vec<Task>,
    running: usize,
    failed: Option<Error>,
}

struct Scan<'a> {
    old: &'a Table,
    options: &'a ScanOptions<'a>,
    exclude: HashSet<&'a Path>,
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct Found {
    dirs: BTreeMap<PathBuf, Vec<Line>>,
    changes: Vec<(PathBuf, Change)>,
}

impl Found {
    fn merge(&mut self, mut other: Self) {
        self.dirs.append(&mut other.dirs);
        self.changes.append(&mut other.changes);
    }
}

impl Scan<'_> {
    fn work(&self) -> Found {
        let mut found = Found::default();
        loop {
            let task = {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                loop {
                    if state.failed.is_some() {
                        return found;
                    }
                    if let Some(task) = state.todo.pop() {
                        state.running += 1;
                        break task;
                    }
                    if state.running == 0 {
                        return found;
                    }
                    state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            };
            let result = self.directory(task, &mut found);
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.running -= 1;
            match result {
                Ok(tasks) => state.todo.extend(tasks),
                Err(error) => state.failed = state.failed.take().or(Some(error)),
            }
            drop(state);
            self.more.notify_all();
        }
    }

    fn is_excluded(&self, path: &Path) -> bool {
        !self.exclude.is_empty() && self.exclude.contains(path)
    }

    fn fail(&self, error: Error) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).failed.get_or_insert(error);
    }

    fn directory(&self, task: Task, found: &mut Found) -> Result<Vec<Task>> {
        let Task { parent, name, path } = task;
        let dir = Arc::new(fs::open_dir(parent.as_fd(), &name).at("open", &path)?);
        drop(parent);
        let names = fs::list(dir.as_fd()).at("list", &path)?;
        let before = self.old.dirs.get(&path).map_or(&[][..], Vec::as_slice);
        for gone in before.iter().filter(|l| names.binary_search_by(|(n, _)| n.cmp(&l.name)).is_err()) {
            let here = path.join(OsStr::from_bytes(gone.name.to_bytes()));
            if !self.is_excluded(&here) {
                found.changes.push((here, Change::Deleted));
            }
        }
        let (mut lines, mut tasks) = (Vec::with_capacity(names.len()), Vec::new());
        for (name, _) in names {
            let here = path.join(OsStr::from_bytes(name.to_bytes()));
            let old = self.old.line(&path, &name);
            if self.is_excluded(&here) {
                if let Some(old) = old {
                    lines.push(old.clone());
                    self.old.keep_below(&here, found);
                }
                continue;
            }
            let stat = fs::stat(dir.as_fd(), &name).at("read the attributes of", &here)?;
            if fs::kind(&stat).is_none() {
                // Sockets: in no layer, but they may hide what was there.
                if old.is_some() {
                    found.changes.push((here, Change::Deleted));
                }
                continue;
            }
            let now = Line::new(name, &stat, self.options.attrs);
            match old {
                None => found.changes.push((here.clone(), Change::Added)),
                Some(old) if old.differs(&now) => found.changes.push((here.clone(), Change::Modified)),
                Some(_) => {}
            }
            if now.is_dir() {
                // Paths are kept whole: a step could otherwise fill memory with a chain of directories.
                fs::check_depth(here.components().count(), &here)?;
                tasks.push(Task { parent: Arc::clone(&dir), name: now.name.clone(), path: here });
            }
            lines.push(now);
        }
        found.dirs.insert(path, lines);
        Ok(tasks)
    }
}
