//! Locks on files, between processes (and between opens within one). They end with the process that holds them.
use crate::error::{BuildError, Result};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::path::Path;

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub(crate) struct FileLock {
    _file: File,
}

impl FileLock {
    fn open(path: &Path) -> Result<File> {
        File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(|e| BuildError::io("open the lock", path, e))
    }

    /// Waits for a shared lock.
    pub(crate) fn shared(path: &Path) -> Result<Self> {
        let file = Self::open(path)?;
        flock(&file, FlockOperation::LockShared).map_err(|e| BuildError::io("lock", path, e))?;
        Ok(Self { _file: file })
    }

    /// Waits for an exclusive lock.
    pub(crate) fn exclusive(path: &Path) -> Result<Self> {
        let file = Self::open(path)?;
        flock(&file, FlockOperation::LockExclusive).map_err(|e| BuildError::io("lock", path, e))?;
        Ok(Self { _file: file })
    }

    /// An exclusive lock, where nobody holds it.
    pub(crate) fn try_exclusive(path: &Path) -> Result<Option<Self>> {
        let file = Self::open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(BuildError::io("lock", path, e)),
        }
    }
}
