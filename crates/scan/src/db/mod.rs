//! The offline database: one SQLite file.
//!
//! ```text
//! meta       key, value           "info": an Info as JSON
//! package    ecosystem, name      all that is said of a package: entries as JSON, compressed
//!            size, entries
//! block      number               64 records after another: what is shown of them, as JSON, compressed
//!            size, data
//! ```
//!
//! A scan asks once for each package; the texts of a record are read only where it matches. Records have numbers;
//! record `n` lies in block `n / 64`. The file is made anew by every update and appears by rename; it is opened for
//! reading alone, as one that never changes.
mod build;
mod scan;
mod source;
mod zip;

pub use build::{Report, build, touch};
pub use source::Source;
#[doc(hidden)]
pub use zip::{ReadAt, Zip};

use crate::finding::{Reference, Scan};
use crate::osv::VersionRange;
use crate::severity::Vector;
use attest::inventory::Inventory;
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a database is allowed to be old where nothing else is said.
pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// `application_id` of the file: "cOSV".
const APPLICATION: i32 = 0x634f_5356;
/// `user_version` of the file; another is refused.
const FORMAT: i32 = 1;
const RECORDS_PER_BLOCK: u32 = 64;
/// No blob of ours is larger when it is unpacked.
const MAX_BLOB: usize = 512 << 20;

/// Why the database cannot answer, or cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// There is none.
    #[error("there is no vulnerability database at {}", .0.display())]
    Missing(PathBuf),
    /// It is too old.
    #[error("the vulnerability database at {} is {age} old, and {max} is the most that is allowed", path.display())]
    Stale {
        /// Where it is.
        path: PathBuf,
        /// How old it is, in words.
        age: String,
        /// How old it may be, in words.
        max: String,
    },
    /// It is damaged, or of another version of this program.
    #[error("the vulnerability database at {} cannot be read: {why}", path.display())]
    Unreadable {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It was built without records that this image needs.
    #[error("the vulnerability database at {} has no records of {}", path.display(), ecosystems.join(", "))]
    NotCovered {
        /// Where it is.
        path: PathBuf,
        /// What it lacks, by OSV's names.
        ecosystems: Vec<String>,
    },
    /// Records cannot be read.
    #[error("{}: {why}", path.display())]
    Source {
        /// The archive or directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A database cannot be written.
    #[error("the vulnerability database cannot be written to {}: {why}", path.display())]
    Write {
        /// Where it should go.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It was to stop.
    #[error("the update was stopped")]
    Cancelled,
}

/// What a database holds, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    /// When its records were fetched: seconds since 1970.
    pub fetched: u64,
    /// What it was built of.
    pub sources: Vec<SourceInfo>,
    /// What it holds, by world.
    pub ecosystems: BTreeMap<String, EcosystemInfo>,
    /// The number of records.
    pub records: u32,
}

/// Where records come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceInfo {
    /// The world that it is the export of; a directory may hold several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecosystem: Option<String>,
    /// Its address, or its path.
    pub origin: String,
    /// The `ETag` of the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

/// What is known of a world.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EcosystemInfo {
    /// Whether it was asked for; else only records of other worlds that speak of it too are there.
    pub whole: bool,
    /// How many records speak of it.
    pub records: u32,
    /// Of how many packages.
    pub packages: u32,
    /// When the newest of its records was changed (RFC 3339).
    pub newest: String,
    /// Its releases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<String>,
}

/// What one record says of one package.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    #[serde(rename = "r")]
    pub(crate) record: u32,
    /// The release, without the world's name.
    #[serde(rename = "e", default, skip_serializing_if = "String::is_empty")]
    pub(crate) release: String,
    #[serde(rename = "g", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) ranges: Vec<VersionRange>,
    #[serde(rename = "v", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) versions: Vec<String>,
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub(crate) urgency: Option<String>,
    #[serde(rename = "c", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) vectors: Vec<Vector>,
}

/// What is shown of a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Text {
    pub(crate) id: String,
    /// Names of the same vulnerability.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) aliases: Vec<String>,
    /// Vulnerabilities that it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) upstream: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) summary: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) details: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) vectors: Vec<Vector>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) word: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) references: Vec<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) published: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) modified: String,
}

/// A database that is open for reading.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    connection: Connection,
    info: Info,
}

impl Database {
    /// Opens a database.
    ///
    /// # Errors
    /// Where there is none, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self, DbError> {
        if !path.is_file() {
            return Err(DbError::Missing(path.to_owned()));
        }
        let unreadable = |why: String| DbError::Unreadable { path: path.to_owned(), why };
        let sql = |error: rusqlite::Error| unreadable(error.to_string());
        // It never changes under its name, so there is nothing to lock: it may lie on a file system for reading only.
        let mut uri = String::from("file:");
        for byte in std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()) {
            match byte {
                b'?' | b'#' | b'%' => uri.push_str(&format!("%{byte:02x}")),
                byte if byte.is_ascii_graphic() || *byte == b' ' => uri.push(char::from(*byte)),
                byte => uri.push_str(&format!("%{byte:02x}")),
            }
        }
        uri.push_str("?immutable=1");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(uri, flags).map_err(sql)?;
        let pragma = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i32>(0));
        if pragma("application_id").map_err(sql)? != APPLICATION {
            return Err(unreadable("it is another kind of file".into()));
        }
        let format = pragma("user_version").map_err(sql)?;
        if format != FORMAT {
            return Err(unreadable(format!("it has format {format}, and this program reads format {FORMAT}")));
        }
        let info: String =
            connection.query_row("SELECT value FROM meta WHERE key = 'info'", [], |row| row.get(0)).map_err(sql)?;
        let info = serde_json::from_str(&info).map_err(|error| unreadable(error.to_string()))?;
        Ok(Self { path: path.to_owned(), connection, info })
    }

    /// What it holds.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How old it is: since its records were fetched. A database of the future has no age.
    #[must_use]
    pub fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(UNIX_EPOCH + Duration::from_secs(self.info.fetched)).unwrap_or_default()
    }

    /// Refuses a database that is older than allowed.
    ///
    /// # Errors
    /// Where it is too old.
    pub fn check_age(&self, now: SystemTime, max: Duration) -> Result<(), DbError> {
        let age = self.age(now);
        if age > max {
            return Err(DbError::Stale { path: self.path.clone(), age: words(age), max: words(max) });
        }
        Ok(())
    }

    /// Matches the packages of an image.
    ///
    /// # Errors
    /// Where the database cannot be read, or has no records of a world that the image has packages of.
    pub fn scan(&self, inventory: &Inventory) -> Result<Scan, DbError> {
        scan::scan(self, inventory)
    }

    fn unreadable(&self, why: impl ToString) -> DbError {
        DbError::Unreadable { path: self.path.clone(), why: why.to_string() }
    }

    /// All that is said of a package.
    fn entries(&self, ecosystem: &str, name: &str) -> Result<Vec<Entry>, DbError> {
        let mut statement = self
            .connection
            .prepare("SELECT size, entries FROM package WHERE ecosystem = ?1 AND name = ?2")
            .map_err(|error| self.unreadable(error))?;
        let row = statement
            .query_row([ecosystem, name], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, Vec<u8>>(1)?)))
            .optional()
            .map_err(|error| self.unreadable(error))?;
        row.map_or_else(|| Ok(Vec::new()), |(size, packed)| self.unpack(size, &packed))
    }

    /// The records of a block.
    fn block(&self, number: u32) -> Result<Vec<Text>, DbError> {
        let (size, packed) = self
            .connection
            .prepare("SELECT size, data FROM block WHERE number = ?1")
            .and_then(|mut statement| {
                statement.query_row([number], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, Vec<u8>>(1)?)))
            })
            .map_err(|error| self.unreadable(error))?;
        self.unpack(size, &packed)
    }

    fn unpack<T: DeserializeOwned>(&self, size: u32, packed: &[u8]) -> Result<T, DbError> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > MAX_BLOB {
            return Err(self.unreadable("a row is too large"));
        }
        let bytes = zstd::bulk::decompress(packed, size).map_err(|error| self.unreadable(error))?;
        serde_json::from_slice(&bytes).map_err(|error| self.unreadable(error))
    }
}

/// A duration as people say it: `3 days`, `5 hours`.
#[must_use]
pub fn words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (count, unit) = match seconds {
        172_800.. => (seconds / 86_400, "day"),
        7_200.. => (seconds / 3_600, "hour"),
        120.. => (seconds / 60, "minute"),
        _ => (seconds, "second"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}
