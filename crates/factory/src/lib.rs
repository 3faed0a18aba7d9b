//! The image factory: images enrolled in one file, their base images, and the pipeline that builds
//! them.
//!
//! | module | what |
//! |---|---|
//! | [`enrol`] | `images.yaml`: the images, checked |
//! | [`graph`] | which image is made from what |
//! | [`init`] | what could be enrolled |
//! | [`source`], [`discover`] | from repositories to base images |
//! | [`state`] | one file per image and per base image |
//! | [`pipeline`], [`runs`] | from an enrolled image to a tag, and the records of it |
//! | [`watch`], [`due`] | registries asked; what is to be rebuilt |
//! | [`yaml`] | trees with places, an emitter, updates that keep comments |
//!
//! The crate never prints, never exits, and reads neither environment nor home directory: what it
//! needs of them is passed in.
#![forbid(unsafe_code)]
pub mod changed;
pub mod discover;
pub mod due;
pub mod duration;
pub mod enrol;
pub mod graph;
pub mod init;
pub mod names;
pub mod pipeline;
pub mod problem;
pub mod runs;
pub mod source;
pub mod state;
pub mod time;
pub mod watch;
pub mod yaml;

pub use enrol::Enrolment;
pub use graph::Graph;
pub use problem::{Problem, Problems};
