//! Locks on files, between processes (and between opens within one). They end with the process that holds them.
use crate::error::{BuildError, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use sandbox::CancelToken;
use std::fs::File;
use std::path::Path;
use std::sync::mpsc;

/// Whether others may hold the lock as well.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lock {
    Shared,
    Exclusive,
}

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub(crate) struct FileLock {
    file: File,
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
        Ok(Self { file })
    }

    /// Waits for a lock until it is there or the build is cancelled: its holder may be another build that takes long.
    pub(crate) fn wait(path: &Path, kind: Lock, stop: &CancelToken) -> Result<Self> {
        let file = Self::open(path)?;
        let (at_once, patient) = match kind {
            Lock::Shared => (FlockOperation::NonBlockingLockShared, FlockOperation::LockShared),
            Lock::Exclusive => (FlockOperation::NonBlockingLockExclusive, FlockOperation::LockExclusive),
        };
        match flock(&file, at_once) {
            Ok(()) => return Ok(Self { file }),
            Err(Errno::WOULDBLOCK) => {}
            Err(e) => return Err(BuildError::io("lock", path, e)),
        }
        // A thread that waits in flock cannot be woken: it is left behind, and lets go of the lock when it gets it.
        let (answer, answers) = mpsc::channel();
        let cancelled = answer.clone();
        let _registration = stop.on_cancel(move || drop(cancelled.send(None)));
        let waiting = std::thread::Builder::new().name("lock".into()).spawn(move || {
            let result = flock(&file, patient).map(|()| file);
            drop(answer.send(Some(result)));
        });
        waiting.map_err(|e| BuildError::io("wait for the lock", path, e))?;
        match answers.recv() {
            Ok(Some(Ok(file))) => Ok(Self { file }),
            Ok(Some(Err(e))) => Err(BuildError::io("lock", path, e)),
            Ok(None) | Err(_) => Err(BuildError::canceled()),
        }
    }

    /// Whether the file that is locked is the one that has this name now.
    pub(super) fn is_on(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        match (self.file.metadata(), std::fs::metadata(path)) {
            (Ok(held), Ok(named)) => (held.dev(), held.ino()) == (named.dev(), named.ino()),
            _ => false,
        }
    }

    /// An exclusive lock, where nobody holds it.
    pub(crate) fn try_exclusive(path: &Path) -> Result<Option<Self>> {
        let file = Self::open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(BuildError::io("lock", path, e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn waiting_for_a_lock_ends_when_the_build_is_cancelled() {
        let dir = tempfile::tempdir().unwrap();
        let (path, stop) = (dir.path().join("lock"), CancelToken::new());
        let held = FileLock::wait(&path, Lock::Exclusive, &stop).unwrap();
        let other = stop.clone();
        let place = path.clone();
        let waiting = std::thread::spawn(move || FileLock::wait(&place, Lock::Shared, &other).map(drop));
        stop.cancel();
        assert_eq!(waiting.join().unwrap().unwrap_err().kind(), Kind::Canceled);
        drop(held);
        // Who was left behind lets go as soon as it gets the lock.
        assert!(FileLock::wait(&path, Lock::Exclusive, &CancelToken::new()).is_ok());
    }

    #[test]
    fn a_lock_that_is_given_back_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (path, stop) = (dir.path().join("lock"), CancelToken::new());
        let held = FileLock::wait(&path, Lock::Shared, &stop).unwrap();
        assert!(FileLock::wait(&path, Lock::Shared, &stop).is_ok());
        assert!(FileLock::try_exclusive(&path).unwrap().is_none());
        let place = path.clone();
        let waiting =
            std::thread::spawn(move || FileLock::wait(&place, Lock::Exclusive, &CancelToken::new()).map(drop));
        drop(held);
        waiting.join().unwrap().unwrap();
    }
}
