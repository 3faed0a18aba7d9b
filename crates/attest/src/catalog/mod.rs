//! Package catalogues: one file per catalogue, bytes in, packages out.
//!
//! A catalogue says by path and first bytes which files it wants, and reads each by itself: what a layer holds is found
//! in one pass over its tar, and nothing of the files is kept but what was found in them. What stands in several files
//! (Debian's licences, a wheel's list of files) is a note, joined to the packages when all layers are known
//! ([`crate::inventory`]).
//!
//! Everything that is read here may be hostile. A file that cannot be understood is a warning that names it, and
//! nothing else is lost; sizes, depths and counts are bounded.
mod apk;
mod cargo;
mod dpkg;
mod elf;
mod gem;
mod go;
mod java;
mod lists;
mod ndb;
mod node;
mod os;
mod python;
mod rpm;
mod rpmheader;
mod sqlite;
mod zip;

use crate::package::{OsRelease, Package};
use std::io::{Read, Seek, SeekFrom};

/// What a file's content is read from.
pub trait Source: Read + Seek {}
impl<T: Read + Seek> Source for T {}

/// Why a file could not be understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// It could not be read.
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// It is not what its name says.
    #[error("{0}")]
    Malformed(String),
    /// It is larger than anything of its kind should be.
    #[error("it has {size} bytes; no more than {limit} are read")]
    TooLarge {
        /// Its size.
        size: u64,
        /// What is read.
        limit: u64,
    },
    /// A format that cannot be read here.
    #[error("{0}")]
    Unsupported(String),
}

pub(crate) type Result<T> = std::result::Result<T, ReadError>;

pub(crate) fn malformed<T>(why: impl Into<String>) -> Result<T> {
    Err(ReadError::Malformed(why.into()))
}

/// Facts about a package that another file names: the package's `joins` lead here.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) claims: Vec<String>,
    pub(crate) licenses: Vec<String>,
}

/// What was found in a file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Found {
    /// Packages.
    pub packages: Vec<Package>,
    /// What the distribution says of itself.
    pub os: Option<OsRelease>,
    pub(crate) note: Option<Note>,
    /// Parts of the file that could not be understood.
    pub warnings: Vec<String>,
    /// How many packages were left out.
    dropped: usize,
}

/// More packages than this no single file records: the largest distributions have fewer.
const MAX_IN_FILE: usize = 100_000;
/// More files no package has.
const MAX_FILES: usize = 500_000;
/// The longest path, as the kernel has it.
const MAX_PATH: usize = 4096;

impl Found {
    fn push(&mut self, package: Package) {
        if self.packages.len() < MAX_IN_FILE {
            self.packages.push(package);
        } else {
            self.dropped += 1;
        }
    }

    fn is_empty(&self) -> bool {
        self.packages.is_empty() && self.os.is_none() && self.note.is_none()
    }
}

/// A reader of one kind of record.
trait Catalogue: Sync {
    /// Whether it wants the file with this clean path (no leading slash) that begins with these bytes (at least 16, or
    /// the whole file).
    fn wants(&self, path: &str, head: &[u8]) -> bool;

    /// The largest file that it reads.
    fn limit(&self) -> u64 {
        64 << 20
    }

    /// Reads the file.
    fn read(&self, path: &str, content: &mut dyn Source, found: &mut Found) -> Result<()>;
}

const CATALOGUES: &[&dyn Catalogue] = &[
    &os::Os,
    &dpkg::Status,
    &dpkg::Distroless,
    &dpkg::List,
    &dpkg::Copyright,
    &apk::Apk,
    &rpm::Rpm,
    &node::Installed,
    &node::PackageLock,
    &node::Yarn,
    &node::Pnpm,
    &python::Metadata,
    &python::Record,
    &python::Requirements,
    &lists::Toml,
    &elf::Elf,
    &java::Jar,
    &gem::Specification,
    &gem::GemfileLock,
];

/// Which catalogue wants a file.
#[derive(Clone, Copy)]
pub struct Interest(&'static dyn Catalogue);

impl std::fmt::Debug for Interest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interest")
    }
}

/// Who wants the file with this clean path (no leading slash) that begins with `head` (at least 16 bytes, or all).
#[must_use]
pub fn interest(path: &str, head: &[u8]) -> Option<Interest> {
    CATALOGUES.iter().find(|c| c.wants(path, head)).map(|c| Interest(*c))
}

impl Interest {
    /// Reads the file. What cannot be understood of it is in [`Found::warnings`], without the path.
    #[must_use]
    pub fn read(self, path: &str, content: &mut dyn Source) -> Found {
        let mut found = Found::default();
        let size = content.seek(SeekFrom::End(0)).and_then(|size| content.rewind().map(|()| size));
        let result = match size {
            Ok(size) if size > self.0.limit() => Err(ReadError::TooLarge { size, limit: self.0.limit() }),
            Ok(_) => self.0.read(path, content, &mut found),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = result {
            found.warnings.push(error.to_string());
        }
        if found.dropped > 0 {
            found.warnings.push(format!("{} of its packages are left out: no file names so many", found.dropped));
        }
        for package in &mut found.packages {
            if package.locations.is_empty() {
                package.locations.push(path.to_owned());
            }
        }
        found
    }

    /// The largest file that is worth handing over.
    #[must_use]
    pub fn limit(self) -> u64 {
        self.0.limit()
    }
}

/// What was found in one layer.
#[derive(Debug, Default)]
pub struct LayerScan {
    pub(crate) finds: Vec<(String, Found)>,
    packages: usize,
    claims: usize,
}

/// More packages than this in one layer are no image's.
const MAX_PACKAGES: usize = 300_000;
/// More names of files than this.
const MAX_CLAIMS: usize = 3_000_000;

impl LayerScan {
    /// Reads a file that somebody is interested in.
    pub fn read(&mut self, interest: Interest, path: &str, content: &mut dyn Source) {
        let mut found = interest.read(path, content);
        if self.packages + found.packages.len() > MAX_PACKAGES {
            found.packages.truncate(MAX_PACKAGES - self.packages);
            found.warnings.push(format!("more than {MAX_PACKAGES} packages in one layer: the rest is left out"));
        }
        self.packages += found.packages.len();
        let claims = |f: &Found| {
            f.packages.iter().map(|p| p.claims.len()).sum::<usize>() + f.note.as_ref().map_or(0, |n| n.claims.len())
        };
        if self.claims + claims(&found) > MAX_CLAIMS {
            found.packages.iter_mut().for_each(|p| p.claims = Vec::new());
            found.note.iter_mut().for_each(|n| n.claims = Vec::new());
            found.warnings.push("the lists of files of this layer are too long: the rest is left out".to_owned());
        }
        self.claims += claims(&found);
        if !found.is_empty() || !found.warnings.is_empty() {
            self.finds.push((path.to_owned(), found));
        }
    }

    /// A file that could not be handed over: a warning that names it.
    pub fn refuse(&mut self, path: &str, why: impl Into<String>) {
        self.finds.push((path.to_owned(), Found { warnings: vec![why.into()], ..Found::default() }));
    }
}

/// The whole of a text; bytes that are no UTF-8 are replaced.
fn text(content: &mut dyn Source) -> Result<String> {
    let mut bytes = Vec::new();
    content.read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// The last name of a path.
fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The directory of a path; empty for the root.
fn dir_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// Whether a path lies in a directory where packages bring files of their own: what lock files there lock is not what
/// is installed here.
fn is_vendored(path: &str) -> bool {
    const PLACES: &[&str] =
        &["node_modules", "site-packages", "dist-packages", "vendor", "gems", ".cargo", ".npm", ".cache"];
    path.split('/').any(|part| PLACES.contains(&part)) || path.starts_with("usr/share/doc/")
}

/// Path components after a join, without `.` and `..` beyond the root.
fn join(base: &str, relative: &str) -> String {
    let mut parts: Vec<&str> = if relative.starts_with('/') { Vec::new() } else { base.split('/').collect() };
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.join("/")
}

/// One line of a text for people: trimmed, not too long; nothing where nothing is left.
fn line(text: &str) -> Option<String> {
    let text = text.trim().lines().next().unwrap_or("").trim();
    (!text.is_empty()).then(|| text.chars().filter(|c| !c.is_control()).take(500).collect())
}
