//! The side table of a tree: what files belong to where the file system cannot hold it.
//!
//! The sandbox keeps it between a step's processes, the layer crate writes into it while unpacking and reads it while
//! packing; here the two views of the same thing meet.
use layer::{AttrSource, Attrs, FileKey, Kind, OwnerSink, Xattrs};
use sandbox::intercept::{OwnershipTable, Remembered};

const FORMAT: u32 = 0o170_000;

/// An ownership table as the layer crate sees it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Owners(pub(crate) OwnershipTable);

fn key(file: FileKey) -> sandbox::intercept::FileKey {
    sandbox::intercept::FileKey { ino: file.ino, seconds: file.btime.secs, nanoseconds: file.btime.nanos }
}

fn format_of(kind: Kind) -> u32 {
    match kind {
        Kind::File | Kind::Hardlink => 0o100_000,
        Kind::Dir => 0o040_000,
        Kind::Symlink => 0o120_000,
        Kind::CharDevice => 0o020_000,
        Kind::BlockDevice => 0o060_000,
        Kind::Fifo => 0o010_000,
    }
}

fn kind_of(mode: u32) -> Kind {
    match mode & FORMAT {
        0o040_000 => Kind::Dir,
        0o120_000 => Kind::Symlink,
        0o020_000 => Kind::CharDevice,
        0o060_000 => Kind::BlockDevice,
        0o010_000 => Kind::Fifo,
        _ => Kind::File,
    }
}

impl OwnerSink for Owners {
    fn record(&mut self, file: FileKey, attrs: Attrs) {
        let facts = Remembered {
            owner: ((attrs.uid, attrs.gid) != (0, 0)).then_some((attrs.uid, attrs.gid)),
            mode: Some(format_of(attrs.kind) | attrs.mode & 0o7777),
            rdev: attrs.rdev,
            xattrs: attrs.xattrs,
        };
        self.0.insert(key(file), facts);
    }
}

impl AttrSource for Owners {
    fn attrs(&self, file: FileKey, mode: u32) -> Option<Attrs> {
        let facts = self.0.get(key(file))?;
        let (uid, gid) = facts.owner.unwrap_or((0, 0));
        let real = kind_of(mode);
        let mode = facts.mode.unwrap_or(mode);
        // A file may stand for a device; a step that wrote other claims into its table is not believed.
        let kind = match (real, kind_of(mode)) {
            (Kind::File, claimed @ (Kind::CharDevice | Kind::BlockDevice | Kind::Fifo)) => claimed,
            _ => real,
        };
        let xattrs: Xattrs = facts
            .xattrs
            .iter()
            .filter(|(n, _)| *n == b"security.capability")
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect();
        Some(Attrs { kind, uid, gid, mode: mode & 0o7777, rdev: facts.rdev, xattrs })
    }
}
