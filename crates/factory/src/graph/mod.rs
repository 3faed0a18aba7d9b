//! Which image is made from what: enrolled images, their base images, and the order in which they are
//! built.
//!
//! An edge leads from an image to what it needs. A base image whose name is that of an enrolled
//! image's repository is that image: the base leads on to it.
mod svg;

use crate::enrol::{Enrolment, cycle};
use crate::state::State;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// An image that is built.
    Managed,
    /// An enrolled image that is watched only.
    External,
    /// A base image.
    Base,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The image's name, or that of the base image's state file with `base:` before it.
    pub id: String,
    /// What people call it: the name, or the base's reference.
    pub label: String,
    /// What it is.
    pub kind: NodeKind,
    /// The nodes that it needs, by number.
    pub needs: Vec<usize>,
}

/// The graph.
#[derive(Debug, Clone)]
pub struct Graph {
    /// Enrolled images in the order of the file, then base images by name.
    pub nodes: Vec<Node>,
}

impl Graph {
    /// The graph of a factory. Bases that no enrolled image uses are left out.
    #[must_use]
    pub fn new(enrolment: &Enrolment, state: &State) -> Self {
        let mut nodes: Vec<Node> = enrolment
            .images
            .iter()
            .map(|image| Node {
                id: image.name.clone(),
                label: image.name.clone(),
                kind: if image.managed().is_some() { NodeKind::Managed } else { NodeKind::External },
                needs: Vec::new(),
            })
            .collect();
        let by_name: BTreeMap<&str, usize> =
            enrolment.images.iter().enumerate().map(|(i, image)| (image.name.as_str(), i)).collect();
        let mut by_reference: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (i, image) in enrolment.images.iter().enumerate() {
            by_reference.entry(image.reference()).or_default().push(i);
        }
        let used: BTreeSet<&str> = enrolment
            .images
            .iter()
            .filter(|image| image.managed().is_some())
            .filter_map(|image| state.images.get(&image.name))
            .flat_map(|image| image.bases.iter().map(String::as_str))
            .collect();
        let mut bases: BTreeMap<&str, usize> = BTreeMap::new();
        for name in used {
            let label = state.bases.get(name).map_or(name, |base| base.full_image.as_str());
            // The image's own repository is no edge to itself: it may be built on its last release.
            let needs = state
                .bases
                .get(name)
                .and_then(|base| by_reference.get(&format!("{}/{}", base.registry, base.repository)));
            bases.insert(name, nodes.len());
            nodes.push(Node {
                id: format!("base:{name}"),
                label: label.to_owned(),
                kind: NodeKind::Base,
                needs: needs.cloned().unwrap_or_default(),
            });
        }
        for (i, image) in enrolment.images.iter().enumerate() {
            let mut needs: Vec<usize> =
                image.depends_on.iter().filter_map(|name| by_name.get(name.as_str()).copied()).collect();
            if image.managed().is_some()
                && let Some(state) = state.images.get(&image.name)
            {
                needs.extend(state.bases.iter().filter_map(|name| bases.get(name.as_str()).copied()));
            }
            nodes[i].needs = needs;
        }
        Self { nodes }
    }

    /// A circle in it, as labels, the first repeated at the end.
    #[must_use]
    pub fn cycle(&self) -> Option<Vec<String>> {
        let mut edges: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for node in &self.nodes {
            edges.insert(&node.id, node.needs.iter().map(|i| self.nodes[*i].id.as_str()).collect());
        }
        cycle(&edges).map(|path| path.into_iter().map(|id| id.trim_start_matches("base:").to_owned()).collect())
    }

    /// The nodes by level: what needs nothing comes first. In a circle nobody has a level; those nodes
    /// come last.
    #[must_use]
    pub fn levels(&self) -> Vec<Vec<usize>> {
        let mut level: Vec<Option<usize>> = vec![None; self.nodes.len()];
        let mut left: Vec<usize> = (0..self.nodes.len()).collect();
        let mut out: Vec<Vec<usize>> = Vec::new();
        while !left.is_empty() {
            let depth = out.len();
            let (ready, waiting): (Vec<usize>, Vec<usize>) = left
                .iter()
                .partition(|i| self.nodes[**i].needs.iter().all(|need| level[*need].is_some_and(|l| l < depth)));
            if ready.is_empty() {
                out.push(waiting);
                break;
            }
            for i in &ready {
                level[*i] = Some(depth);
            }
            out.push(ready);
            left = waiting;
        }
        out
    }

    /// The enrolled images in the order in which they are built: what another needs comes first.
    #[must_use]
    pub fn order(&self) -> Vec<&str> {
        let levels = self.levels();
        let images = levels.iter().flatten().filter(|i| self.nodes[**i].kind == NodeKind::Managed);
        images.map(|i| self.nodes[*i].id.as_str()).collect()
    }

    /// Managed images that a node reaches backwards: all that must be made anew when it changes.
    #[must_use]
    pub fn dependents(&self, id: &str) -> Vec<&str> {
        let Some(start) = self.nodes.iter().position(|node| node.id == id) else { return Vec::new() };
        let mut found: BTreeSet<usize> = BTreeSet::from([start]);
        loop {
            let more: Vec<usize> = (0..self.nodes.len())
                .filter(|i| !found.contains(i) && self.nodes[*i].needs.iter().any(|need| found.contains(need)))
                .collect();
            if more.is_empty() {
                break;
            }
            found.extend(more);
        }
        found.remove(&start);
        found
            .into_iter()
            .filter(|i| self.nodes[*i].kind == NodeKind::Managed)
            .map(|i| self.nodes[i].id.as_str())
            .collect()
    }

    /// As a tree for terminals: each image with what it needs below it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for node in self.nodes.iter().filter(|node| node.kind != NodeKind::Base) {
            let kind = if node.kind == NodeKind::External { "  (external)" } else { "" };
            let _ = writeln!(out, "{}{kind}", node.label);
            for (i, need) in node.needs.iter().enumerate() {
                let last = i + 1 == node.needs.len();
                let need = &self.nodes[*need];
                let _ = write!(out, "{} {}", if last { "└─" } else { "├─" }, need.label);
                if need.kind == NodeKind::Base
                    && let Some(image) = need.needs.first()
                {
                    let _ = write!(out, "  = {}", self.nodes[*image].label);
                }
                out.push('\n');
            }
        }
        out
    }

    /// As JSON: nodes and edges.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let kind = |kind: NodeKind| match kind {
            NodeKind::Managed => "managed",
            NodeKind::External => "external",
            NodeKind::Base => "base",
        };
        let nodes: Vec<_> = self
            .nodes
            .iter()
            .map(|node| serde_json::json!({ "id": node.id, "label": node.label, "kind": kind(node.kind) }))
            .collect();
        let edges: Vec<_> = self
            .nodes
            .iter()
            .flat_map(|node| {
                node.needs.iter().map(|need| serde_json::json!({ "from": node.id, "needs": self.nodes[*need].id }))
            })
            .collect();
        serde_json::json!({ "nodes": nodes, "edges": edges, "order": self.order() })
    }

    /// As a picture: what is needed stands to the left of what needs it.
    #[must_use]
    pub fn svg(&self) -> String {
        svg::draw(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{BaseState, ImageState};
    use std::path::Path;

    fn graph(bases: &[(&str, &[&str])]) -> Graph {
        let text = "- {name: app, registry: r.io, repository: o/app, source: {repo: o/app}, dependsOn: [lib]}\n\
                    - {name: lib, registry: r.io, repository: o/lib, source: {repo: o/lib}}\n\
                    - {name: base, registry: r.io, repository: o/base, source: {repo: o/base}}\n\
                    - {name: pg, repository: postgres}\n";
        let enrolment = Enrolment::parse(Path::new("images.yaml"), text).unwrap();
        let mut state = State::default();
        for (image, references) in bases {
            let mut of = ImageState::new(enrolment.image(image).unwrap(), "");
            for reference in *references {
                let name = crate::names::normal(reference);
                of.bases.push(name.clone());
                let base = BaseState::new(name.clone(), reference, &reference.parse().unwrap(), "");
                state.bases.insert(name, base);
            }
            state.images.insert((*image).to_owned(), of);
        }
        Graph::new(&enrolment, &state)
    }

    #[test]
    fn what_is_needed_comes_first() {
        let graph = graph(&[("app", &["r.io/o/base:1", "node:22"]), ("base", &["debian:12"])]);
        assert_eq!(graph.order(), ["lib", "base", "app"]);
        assert_eq!(graph.dependents("base:debian-12"), ["app", "base"]);
        assert_eq!(graph.cycle(), None);
        insta::assert_snapshot!(graph.text(), @"
        app
        ├─ lib
        ├─ r.io/o/base:1  = base
        └─ node:22
        lib
        base
        └─ debian:12
        pg  (external)
        ");
        let json = graph.json();
        assert_eq!(json["edges"].as_array().unwrap().len(), 5);
        let svg = graph.svg();
        assert!(svg.starts_with("<svg ") && svg.contains(">node:22<") && svg.trim_end().ends_with("</svg>"));
        assert_eq!(svg.matches("<rect").count(), 7);
        assert_eq!(svg.matches("<path").count(), 5 + 1, "an edge each, and the arrow's head");
    }

    #[test]
    fn circles_are_seen_and_end() {
        let graph = graph(&[("lib", &["r.io/o/app:1"])]);
        assert_eq!(graph.cycle().unwrap(), ["app", "lib", "o-app-1", "app"]);
        assert!(graph.levels().iter().flatten().count() == graph.nodes.len());
        assert!(graph.svg().contains("app"));
    }
}
