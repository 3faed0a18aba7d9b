//! YAML as the factory needs it: a tree in which every node knows its line and column, an emitter of
//! the few shapes that state files have, and an update in place that keeps comments.
//!
//! Values stay text until somebody asks for a type: `1.10` is the tag `1.10`, `on` is a word. The
//! core schema of YAML 1.2 holds: `null`, `~` and nothing are null, `true` and `false` are booleans.
mod emit;
mod merge;
mod tree;

pub use emit::{Value, scalar};
pub use merge::update;
pub(crate) use merge::value_of;
pub use tree::{Content, Entry, Mark, Node, YamlError, parse};
