//! Enrolment: `images.yaml`, the list of the factory's images.
//!
//! Every key is in one table (`schema`): the checker, the JSON schema and the documentation come
//! from it, so they cannot differ. A file is taken whole or not at all; all that is wrong with it is
//! told at once, each with line, column and what to do.
mod check;
mod decode;
mod schema;
mod types;

pub(crate) use check::name_like;
pub use schema::json_schema;
pub use types::{
    Image, Kind, Local, Managed, Notify, Policy, PullRequest, Scan, Secret, Selection, Source, Strategy, Update,
    Version,
};

use crate::problem::{Problem, Problems};
use crate::yaml;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A file of enrolled images.
#[derive(Debug, Clone)]
pub struct Enrolment {
    /// The file.
    pub file: PathBuf,
    /// Its images, in its order.
    pub images: Vec<Image>,
}

impl Enrolment {
    /// Reads what a file says; `file` is its name, for messages and for what lies beside it.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Problems> {
        let root =
            yaml::parse(text).map_err(|error| Problems::new(file, vec![Problem::new(error.mark, error.message)]))?;
        let images = decode::images(root.as_ref()).map_err(|list| Problems::new(file, list))?;
        Ok(Self { file: file.to_owned(), images })
    }

    /// The directory of `images.yaml`.
    #[must_use]
    pub fn dir(&self) -> &Path {
        match self.file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// The image of a name.
    #[must_use]
    pub fn image(&self, name: &str) -> Option<&Image> {
        self.images.iter().find(|image| image.name == name)
    }

    /// The name that is nearest to one that is not there.
    #[must_use]
    pub fn nearest(&self, name: &str) -> Option<&str> {
        dockerfile::suggest::nearest(name, self.images.iter().map(|image| image.name.as_str()))
    }
}

/// A circle in a graph, its first node repeated at its end; of several the one that the order of
/// names finds first.
pub(crate) fn cycle<'a>(edges: &BTreeMap<&'a str, Vec<&'a str>>) -> Option<Vec<&'a str>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        Open,
        Done,
    }
    let mut marks: BTreeMap<&str, Mark> = BTreeMap::new();
    for &start in edges.keys() {
        if marks.contains_key(start) {
            continue;
        }
        // Depth first with a stack of our own: the file decides how deep it goes.
        let mut path: Vec<(&str, usize)> = vec![(start, 0)];
        marks.insert(start, Mark::Open);
        while let Some((node, next)) = path.last_mut() {
            let target = edges.get(*node).and_then(|targets| targets.get(*next)).copied();
            *next += 1;
            match target {
                None => {
                    marks.insert(node, Mark::Done);
                    path.pop();
                }
                Some(target) => match marks.get(target) {
                    Some(Mark::Open) => {
                        let from = path.iter().position(|(node, _)| *node == target).unwrap_or(0);
                        let mut circle: Vec<&str> = path[from..].iter().map(|(node, _)| *node).collect();
                        circle.push(target);
                        return Some(circle);
                    }
                    Some(Mark::Done) => {}
                    None => {
                        marks.insert(target, Mark::Open);
                        path.push((target, 0));
                    }
                },
            }
        }
    }
    None
}

#[cfg(test)]
mod tests;
