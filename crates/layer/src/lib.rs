//! Image layers: deterministic tar, safe apply, diffs of file systems, codecs.
//!
//! | module | what |
//! |---|---|
//! | [`entry`] | one object of a tree, without its content |
//! | [`tar_writer`], [`tar_reader`] | archives: written as BuildKit writes them, read with limits |
//! | [`blob`], [`codec`] | compression and digests of layers, in one pass and in parallel |
//! | [`apply()`] | unpacks a layer that nobody trusts |
//! | [`toc`], [`view`] | tables of contents of layers, and the tree that a chain of them makes |
//! | [`walk`], [`pack`] | a directory, or an overlayfs upper directory, as a layer |
//! | [`table`] | what a tree was, so that a walk of `stat` calls tells what changed |
//! | [`copy`] | a second tree like the first, sharing blocks where the file system can |
//! | [`owner`] | the side table for attributes that the process may not set |
//!
//! Nothing here follows a symbolic link out of the tree that it was given: paths are resolved relative to
//! directory descriptors, and no name from an archive or a tree ever becomes an absolute path.
#![forbid(unsafe_code)]

pub mod apply;
pub mod blob;
pub mod codec;
pub mod copy;
pub mod entry;
pub mod error;
mod fs;
pub mod owner;
pub mod pack;
pub mod table;
pub mod tar_reader;
pub mod tar_writer;
pub mod toc;
pub mod view;
pub mod walk;
mod wire;

pub use apply::{Applied, ApplyOptions, Owners, TreeWriter, Whiteouts, apply};
pub use blob::{LayerBlob, LayerWriter, recompress};
pub use codec::{Compression, decompress, decompress_any, detect_archive};
pub use copy::copy_tree;
pub use entry::{Entry, Kind, Time, Xattrs};
pub use error::{Error, Result};
pub use owner::{AttrSource, AttrTable, Attrs, FileKey, OwnerSink};
pub use pack::{PackOptions, pack_changes, pack_toc, pack_tree, pack_upper, scan_upper};
pub use table::{Change, Changes, ScanOptions, Table};
pub use tar_writer::TarWriter;
pub use toc::{Content, Toc, TocItem};
pub use view::{Node, View};
pub use walk::XattrPolicy;
