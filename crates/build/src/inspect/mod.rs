//! Looking into images that are there already: in the store, in a registry, in a layout, in an archive.
//!
//! [`open()`] finds the image and gives its config and its layers as streams; [`inventory`] reads all layers once, a few
//! at a time, and tells what they hold. Nothing is unpacked, and of the files nothing is kept but what was found in them.
mod archive;
mod image;
mod scan;

pub use image::{ImageLocation, OpenImage, OpenLayer, OpenOptions, open};
pub use scan::{InventoryOptions, inventory};
pub(crate) use scan::{Layered, instructions, inventory_of};
