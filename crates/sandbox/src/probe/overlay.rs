//! Overlayfs tried for real: mount, write, delete, replace, chown, at the place where the store is.
//!
//! The usual failure is a store that lies on an overlayfs itself (a container's own file system): EINVAL at the mount.

use std::fs;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};

use super::attempts::{Tried, scratch};
use super::{OverlaySupport, Why};
use crate::sys;

pub(super) fn attempt(dir: &Path) -> Result<String, Why> {
    sys::unshare(libc::CLONE_NEWNS).tried("unshare(CLONE_NEWNS)")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).tried("make mounts private")?;
    let path = scratch(dir)?;
    let result = in_directory(&path);
    let _ = unmount(path.join("merged"), UnmountFlags::DETACH);
    let _ = fs::remove_dir_all(&path);
    let support = result?;
    serde_json::to_string(&support).map_err(|error| Why::said("report the overlay", error.to_string()))
}

fn in_directory(path: &Path) -> Result<OverlaySupport, Why> {
    for name in ["lower/dir/sub", "upper", "work", "merged"] {
        fs::create_dir_all(path.join(name)).tried("make a directory")?;
    }
    fs::write(path.join("lower/gone"), "x").tried("write a file")?;
    fs::write(path.join("lower/kept"), "x").tried("write a file")?;
    let open = |name: &str| -> Result<OwnedFd, Why> {
        rustix::fs::open(path.join(name), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).tried("open a directory")
    };
    let (lower, upper, work, merged) = (open("lower")?, open("upper")?, open("work")?, open("merged")?);
    crate::child::mount_overlay(&[lower.as_fd()], upper.as_fd(), work.as_fd(), merged.as_fd())?;
    let merged = path.join("merged");
    fs::write(merged.join("new"), "x").tried("write in an overlay")?;
    fs::write(merged.join("kept"), "y").tried("change a file of a lower layer")?;
    fs::remove_file(merged.join("gone")).tried("delete a file of a lower layer")?;
    fs::remove_dir_all(merged.join("dir")).tried("delete a directory of a lower layer")?;
    fs::create_dir(merged.join("dir")).tried("replace a directory of a lower layer")?;
    let whiteout = fs::symlink_metadata(path.join("upper/gone")).tried("find the whiteout")?;
    if !whiteout.file_type().is_char_device() || whiteout.rdev() != 0 {
        return Err(Why::said("find the whiteout", "it is no 0:0 device"));
    }
    let mut value = [0; 8];
    let length = rustix::fs::lgetxattr(path.join("upper/dir"), "user.overlay.opaque", &mut value[..])
        .tried("read user.overlay.opaque of a replaced directory")?;
    if &value[..length] != b"y" {
        return Err(Why::said("read user.overlay.opaque of a replaced directory", "it is not set"));
    }
    let chown = std::os::unix::fs::lchown(merged.join("new"), Some(1), Some(1)).is_ok();
    Ok(OverlaySupport { chown })
}
