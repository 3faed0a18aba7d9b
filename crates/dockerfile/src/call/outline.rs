//! `--call=outline`: what a target can be given: arguments, secrets, SSH agents.
use super::Location;
use super::print::{base64, json, table};
use crate::ast::{Dockerfile, MountKind};
use crate::eval::{self, FromStep, Globals, Graph, Options, Step, Visitor};
use crate::{Diagnostic, LineIndex, Span};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The parameters of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outline {
    /// The target's name; empty without one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The comment above it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The arguments that make a difference, in the order of the source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<OutlineArg>,
    /// The secrets that its steps mount.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<OutlineMount>,
    /// The SSH agents that its steps mount.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh: Vec<OutlineMount>,
    /// The source, in base64.
    pub sources: Vec<String>,
}

/// An `ARG`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// The comment above it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its value with the build arguments given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Where it is declared.
    pub location: Location,
}

/// A secret or an SSH agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutlineMount {
    /// Its id.
    pub name: String,
    /// Whether a step fails without it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// Where it is mounted.
    pub location: Location,
}

#[derive(Debug, Clone, Default)]
struct ArgInfo {
    description: String,
    value: String,
    span: Span,
    /// Its number in the instruction, for the order.
    number: usize,
    uses: BTreeSet<String>,
}

/// What a stage declares and uses.
#[derive(Debug, Clone, Default)]
struct Capture {
    args: BTreeMap<String, ArgInfo>,
    used: BTreeSet<String>,
    secrets: BTreeMap<String, (bool, Span)>,
    ssh: BTreeMap<String, (bool, Span)>,
}

#[derive(Debug, Default)]
struct Outliner {
    globals: BTreeMap<String, ArgInfo>,
    stages: Vec<Capture>,
}

impl Visitor for Outliner {
    fn globals(&mut self, globals: &Globals<'_>) {
        for (number, arg) in globals.declared.iter().enumerate() {
            let info = ArgInfo {
                description: arg.declaration.doc.clone().unwrap_or_default(),
                value: arg.value.clone().unwrap_or_default(),
                span: arg.span,
                number,
                uses: arg.uses.clone(),
            };
            self.globals.insert(arg.declaration.name.value.clone(), info);
        }
    }

    fn from(&mut self, from: &FromStep<'_>) {
        let platform = from.platform.iter().flat_map(|platform| &platform.used);
        let used = from.image.used.iter().chain(platform).cloned().collect();
        self.stages.push(Capture { args: self.globals.clone(), used, ..Capture::default() });
    }

    fn step(&mut self, step: &Step<'_>) {
        let Some(capture) = self.stages.get_mut(step.stage.index) else { return };
        for (number, arg) in step.args.iter().enumerate() {
            let name = &arg.declaration.name.value;
            capture.used.insert(name.clone());
            // An argument that only takes over the global one is shown where that is declared.
            if !arg.inherited {
                let info = ArgInfo {
                    description: arg.declaration.doc.clone().unwrap_or_default(),
                    value: arg.value.clone().unwrap_or_default(),
                    span: step.span,
                    number,
                    uses: BTreeSet::new(),
                };
                capture.args.insert(name.clone(), info);
            }
        }
        for mount in &step.mounts {
            let named = [&mount.source, &mount.id].into_iter().flatten().find(|name| !name.is_empty()).cloned();
            let (set, name) = match mount.kind {
                MountKind::Secret => {
                    let base = mount.target.rsplit('/').next().unwrap_or_default().to_owned();
                    (&mut capture.secrets, named.unwrap_or(base))
                }
                MountKind::Ssh => (&mut capture.ssh, named.unwrap_or_else(|| "default".to_owned())),
                _ => continue,
            };
            if mount.required || !set.contains_key(&name) {
                set.insert(name, (mount.required, step.span));
            }
        }
    }
}

/// Finds the parameters of the target that the options name.
pub fn outline(dockerfile: &Dockerfile, source: &str, options: &Options<'_>) -> Result<Outline, Box<Diagnostic>> {
    let mut outliner = Outliner::default();
    let graph = eval::walk(dockerfile, options, false, &mut outliner)?;
    let index = LineIndex::new(source);
    let target = dockerfile.stages.get(graph.target);
    let mut args: Vec<(Span, usize, OutlineArg)> = Vec::new();
    let mut mounts = [Vec::new(), Vec::new()];
    let mut seen = [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()];
    for stage in in_order(&graph) {
        let Some(capture) = outliner.stages.get(stage) else { continue };
        for name in used(capture) {
            let Some(info) = capture.args.get(&name) else { continue };
            if seen[0].insert(name.clone()) {
                let location = Location::new(info.span, &index);
                let (description, value) = (info.description.clone(), info.value.clone());
                args.push((info.span, info.number, OutlineArg { name, description, value, location }));
            }
        }
        for (i, set) in [&capture.secrets, &capture.ssh].into_iter().enumerate() {
            for (name, (required, span)) in set {
                if seen[i + 1].insert(name.clone()) {
                    let location = Location::new(*span, &index);
                    mounts[i].push(OutlineMount { name: name.clone(), required: *required, location });
                }
            }
        }
    }
    args.sort_by_key(|(span, number, _)| (span.start, *number));
    let [mut secrets, mut ssh] = mounts;
    secrets.sort_by_key(|mount| mount.location.line());
    ssh.sort_by_key(|mount| mount.location.line());
    let name = target.and_then(|stage| stage.from.name.as_ref());
    Ok(Outline {
        name: name.map(|name| name.value.to_lowercase()).unwrap_or_default(),
        description: target.and_then(|stage| stage.doc.clone()).unwrap_or_default(),
        args: args.into_iter().map(|(.., arg)| arg).collect(),
        secrets,
        ssh,
        sources: vec![base64(source)],
    })
}

/// The target, then what it is made from, then what it takes from; the first one to name something wins.
fn in_order(graph: &Graph) -> Vec<usize> {
    let mut order = Vec::new();
    let mut open = vec![graph.target];
    while let Some(stage) = open.pop() {
        if !order.contains(&stage) {
            order.push(stage);
            open.extend(graph.sources.get(stage).into_iter().flatten().rev());
            open.extend(graph.base.get(stage).copied().flatten());
        }
    }
    order
}

/// The arguments that a stage uses, with those that their defaults use.
fn used(capture: &Capture) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let mut open: Vec<&String> = capture.used.iter().collect();
    while let Some(name) = open.pop() {
        if used.insert(name.clone()) {
            open.extend(capture.args.get(name).into_iter().flat_map(|info| &info.uses));
        }
    }
    used
}

impl Outline {
    /// What `--call=outline` prints.
    pub fn text(&self) -> String {
        let mut out = String::new();
        if !self.name.is_empty() || !self.description.is_empty() {
            let name = if self.name.is_empty() { "(default)" } else { &self.name };
            let mut rows = vec![["TARGET:", name]];
            if !self.description.is_empty() {
                rows.push(["DESCRIPTION:", &self.description]);
            }
            out += &(table(&rows, 1) + "\n");
        }
        if !self.args.is_empty() {
            let rows = self.args.iter().map(|arg| [arg.name.as_str(), &arg.value, &arg.description]);
            let head = [["BUILD ARG", "VALUE", "DESCRIPTION"]];
            out += &(table(&head.into_iter().chain(rows).collect::<Vec<_>>(), 3) + "\n");
        }
        for (head, mounts) in [("SECRET", &self.secrets), ("SSH", &self.ssh)] {
            if !mounts.is_empty() {
                let rows = mounts.iter().map(|mount| [mount.name.as_str(), if mount.required { "true" } else { "" }]);
                out += &(table(&[[head, "REQUIRED"]].into_iter().chain(rows).collect::<Vec<_>>(), 3) + "\n");
            }
        }
        out
    }

    /// What `--call=outline,format=json` prints.
    pub fn json(&self) -> String {
        json(self)
    }
}
