//! COPY and ADD: which files of a source are meant, where they land, and the layer that they make.
//!
//! Three steps, the first two pure but for reading directories: [`select`] lists the objects of the source
//! (and gives them a content digest for the cache key), [`place`] works out their paths and attributes in the image
//! as BuildKit's `fsutil/copy` does, [`write`] streams them into a tar. No root file system is needed: the
//! destination is looked up in the tables of contents of the layers below.
pub(crate) mod mode;
mod place;
mod select;
mod write;

pub(crate) use place::{Destination, Placed};
pub(crate) use select::{Selection, Wanted, digest, select};
pub(crate) use write::write;
