//! Copies of files and directories with their owners, modes and times.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};

/// Copies `from` to `to`, which must not exist. Links stay links; sockets are left out.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(from)?;
    let kind = FileType::from_raw_mode(meta.mode());
    match kind {
        FileType::Directory => {
            fs::create_dir(to)?;
            for entry in fs::read_dir(from)? {
                let entry = entry?;
                copy(&entry.path(), &to.join(entry.file_name()))?;
            }
        }
        FileType::RegularFile => drop(fs::copy(from, to)?),
        FileType::Symlink => symlink(fs::read_link(from)?, to)?,
        FileType::Socket => return Ok(()),
        _ => rustix::fs::mknodat(CWD, to, kind, Mode::from_raw_mode(meta.mode() & 0o7777), meta.rdev())?,
    }
    lchown(to, Some(meta.uid()), Some(meta.gid()))?;
    if kind != FileType::Symlink {
        fs::set_permissions(to, PermissionsExt::from_mode(meta.mode() & 0o7777))?;
    }
    #[allow(clippy::unnecessary_cast)] // The field's type differs between architectures.
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
    let times = Timestamps {
        last_access: time(meta.atime(), meta.atime_nsec()),
        last_modification: time(meta.mtime(), meta.mtime_nsec()),
    };
    Ok(rustix::fs::utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Removes whatever is at `path`; nothing there is fine.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let result = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
