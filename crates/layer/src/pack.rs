//! Makes layers from directories.

use crate::error::Result;
use crate::owner::AttrSource;
use crate::table::{Changes, Table};
use crate::tar_writer::TarWriter;
use crate::toc::Toc;
use crate::view::View;
use crate::walk::XattrPolicy;
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

/// How a tree becomes a layer.
#[derive(Default)]
pub struct PackOptions<'a> {
    /// Clean paths that are left out with all that is in them: mount points and files that the sandbox made. A parent
    /// directory that would be in the layer for their sake alone is left out too when `below` shows it unchanged.
    pub exclude: Vec<PathBuf>,
    /// No object is younger than this many seconds after 1970 (`SOURCE_DATE_EPOCH` with `rewrite-timestamp`);
    /// whiteouts get exactly this time, or 0.
    pub clamp_mtime: Option<i64>,
    /// The side table. Where it is given, what it does not know belongs to 0:0.
    pub attrs: Option<&'a dyn AttrSource>,
    /// Owner and group for everything, before `attrs`.
    pub owner: Option<(u32, u32)>,
    /// Which extended attributes are kept.
    pub xattrs: XattrPolicy,
    /// The tree that the layer lies on. With it the layer is BuildKit's to the entry: directories that did not change
    /// are written only as parents of what did, whiteouts of what was never there are dropped, and an opaque
    /// directory is spelled as whiteouts of the lower names that are gone.
    pub below: Option<&'a View>,
}

/// Packs the upper directory of an overlayfs mount. Write `out`'s end with [`TarWriter::finish`].
pub fn pack_upper<W: Write>(upper: BorrowedFd<'_>, out: &mut TarWriter<W>, options: &PackOptions<'_>) -> Result<Toc> {
    let _ = (upper, out, options);
    Err(crate::error::unfinished("pack_upper"))
}

/// Packs a whole directory; its own attributes (the root entry) are left out.
pub fn pack_tree<W: Write>(root: BorrowedFd<'_>, out: &mut TarWriter<W>, options: &PackOptions<'_>) -> Result<Toc> {
    let _ = (root, out, options);
    Err(crate::error::unfinished("pack_tree"))
}

/// Packs what [`Table::diff`] found, with the parents of what changed, and brings the table up to date.
pub fn pack_changes<W: Write>(
    root: BorrowedFd<'_>,
    changes: &Changes,
    out: &mut TarWriter<W>,
    table: &mut Table,
    options: &PackOptions<'_>,
) -> Result<Toc> {
    let _ = (root, changes, out, table, options);
    Err(crate::error::unfinished("pack_changes"))
}
