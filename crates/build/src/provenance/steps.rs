//! The steps of a plan as BuildKit's provenance writes its LLB: JSON operations with ids and inputs.
use crate::plan::{Base, CopyItem, CopyOp, ImageOrigin, MountOp, Op, OpKind, Plan, RunOp, Sharing, SourceRef};
use crate::source::redact;
use attest::provenance::Step;
use dockerfile::ast::{MountKind, Network, Security};
use oci::Platform;
use serde_json::{Value, json};
use std::collections::HashMap;

/// All steps, and which belongs to which operation.
pub(super) struct Steps {
    list: Vec<Step>,
    sources: HashMap<String, String>,
    ids: HashMap<(usize, usize), String>,
    /// What each stage ends on; nothing where it is empty.
    ends: Vec<Option<String>>,
}

impl Steps {
    pub(super) fn of(plan: &Plan) -> Self {
        let mut this = Self { list: Vec::new(), sources: HashMap::new(), ids: HashMap::new(), ends: Vec::new() };
        for (stage, planned) in plan.stages.iter().enumerate() {
            let mut last = match &planned.base {
                Base::Scratch => None,
                Base::Image(id) => Some(this.image(plan, *id)),
                Base::Stage(parent) => this.ends[*parent].clone(),
            };
            for (number, op) in planned.ops.iter().enumerate() {
                let mut inputs: Vec<String> = last.iter().map(output).collect();
                let value = this.operation(plan, op, &mut inputs, &planned.platform);
                let id = this.push(value, inputs);
                this.ids.insert((stage, number), id.clone());
                last = Some(id);
            }
            this.ends.push(last);
        }
        this
    }

    /// The id of an operation.
    pub(super) fn id(&self, stage: usize, number: usize) -> String {
        self.ids.get(&(stage, number)).cloned().unwrap_or_default()
    }

    /// The ids of the operations that the target's layers come from, lowest first.
    pub(super) fn along_target(&self, plan: &Plan) -> Vec<String> {
        let mut stages = vec![plan.target];
        while let Some(Base::Stage(parent)) = stages.last().map(|s| &plan.stages[*s].base) {
            stages.push(*parent);
        }
        let ops = |stage: usize| (0..plan.stages[stage].ops.len()).map(move |number| self.id(stage, number));
        stages.into_iter().rev().flat_map(ops).collect()
    }

    pub(super) fn into_list(self) -> Vec<Step> {
        self.list
    }

    fn push(&mut self, op: Value, inputs: Vec<String>) -> String {
        let id = format!("step{}", self.list.len());
        self.list.push(Step { id: id.clone(), op, inputs });
        id
    }

    fn source(&mut self, identifier: &str, platform: Option<&Platform>) -> String {
        if let Some(id) = self.sources.get(identifier) {
            return id.clone();
        }
        let mut op = json!({ "Op": { "source": { "identifier": identifier } } });
        if let Some(platform) = platform {
            op["platform"] = platform_json(platform);
        }
        let id = self.push(op, Vec::new());
        self.sources.insert(identifier.to_owned(), id.clone());
        id
    }

    fn image(&mut self, plan: &Plan, id: usize) -> String {
        let image = &plan.images[id];
        let scheme = match image.origin {
            ImageOrigin::Registry(_) => "docker-image",
            ImageOrigin::Layout(_) => "oci-layout",
        };
        self.source(&format!("{scheme}://{}", image.name), Some(&image.config.platform()))
    }

    /// The place of a source among the inputs of a step.
    fn input(&mut self, plan: &Plan, from: &SourceRef, inputs: &mut Vec<String>) -> i64 {
        let id = match from {
            SourceRef::Context => Some(self.source("local://context", None)),
            SourceRef::Named(name) => Some(self.source(&format!("local://{name}"), None)),
            SourceRef::Image(id) => Some(self.image(plan, *id)),
            SourceRef::Stage(stage) => self.ends[*stage].clone(),
        };
        id.map_or(-1, |id| place(output(&id), inputs))
    }

    fn operation(&mut self, plan: &Plan, op: &Op, inputs: &mut Vec<String>, platform: &Platform) -> Value {
        let base = if inputs.is_empty() { -1 } else { 0 };
        let op = match &op.kind {
            OpKind::Run(run) => self.run(plan, run, base, inputs),
            OpKind::Copy(copy) => self.copy(plan, copy, base, inputs),
            OpKind::Mkdir { path, .. } => {
                let mkdir = json!({ "path": path, "mode": 0o755, "makeParents": true });
                json!({ "file": { "actions": [action(base, -1, "mkdir", mkdir)] } })
            }
        };
        json!({ "Op": op, "platform": platform_json(platform) })
    }

    fn run(&mut self, plan: &Plan, run: &RunOp, base: i64, inputs: &mut Vec<String>) -> Value {
        let env: Vec<String> = run.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut mounts = vec![json!({ "input": base, "dest": "/", "output": 0 })];
        let mut variables = Vec::new();
        for mount in &run.mounts {
            if let Some(variable) = &mount.env
                && mount.kind == MountKind::Secret
            {
                variables.push(json!({ "ID": mount.id, "name": variable, "optional": !mount.required }));
            }
            if !mount.target.is_empty() {
                let input = match (&mount.kind, &mount.from) {
                    (MountKind::Bind, from) => self.input(plan, from.as_ref().unwrap_or(&SourceRef::Context), inputs),
                    (MountKind::Cache, Some(from)) => self.input(plan, from, inputs),
                    _ => -1,
                };
                mounts.push(mount_json(mount, input));
            }
        }
        let mut exec = json!({
            "meta": { "args": run.args, "env": env, "cwd": run.cwd, "user": run.user },
            "mounts": mounts,
        });
        match run.network {
            Network::Default => {}
            Network::Host => exec["network"] = 1.into(),
            Network::None => exec["network"] = 2.into(),
        }
        if run.security == Security::Insecure {
            exec["security"] = 1.into();
        }
        if !variables.is_empty() {
            exec["secretenv"] = variables.into();
        }
        json!({ "exec": exec })
    }

    fn copy(&mut self, plan: &Plan, copy: &CopyOp, base: i64, inputs: &mut Vec<String>) -> Value {
        let mut actions = Vec::new();
        for item in &copy.items {
            let (input, source) = match item {
                CopyItem::Inline { name, data } => {
                    let data = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, data);
                    let file = json!({ "path": format!("{}/{name}", copy.dest), "mode": 0o644, "data": data });
                    actions.push(action(base, -1, "mkfile", file));
                    continue;
                }
                CopyItem::Tree { from, source, parents, .. } => {
                    let source = parents.as_ref().map_or_else(|| source.clone(), |p| format!("{source}/./{p}"));
                    (self.input(plan, from, inputs), source)
                }
                CopyItem::Http { url, .. } => (place(output(self.source(&redact(url), None)), inputs), "/".to_owned()),
                CopyItem::Git { url, .. } => {
                    let id = self.source(&format!("git://{}", redact(url)), None);
                    (place(output(&id), inputs), "/".to_owned())
                }
            };
            let mut value = json!({ "src": source, "dest": copy.dest });
            if let Some(owner) = &copy.chown {
                value["owner"] = owner.clone().into();
            }
            if !copy.exclude.is_empty() {
                value["excludePatterns"] = copy.exclude.clone().into();
            }
            actions.push(action(base, input, "copy", value));
        }
        json!({ "file": { "actions": actions } })
    }
}

fn output(id: impl AsRef<str>) -> String {
    format!("{}:0", id.as_ref())
}

fn place(id: String, inputs: &mut Vec<String>) -> i64 {
    let at = inputs.iter().position(|known| *known == id).unwrap_or_else(|| {
        inputs.push(id);
        inputs.len() - 1
    });
    i64::try_from(at).unwrap_or(-1)
}

fn action(input: i64, second: i64, kind: &str, value: Value) -> Value {
    json!({ "input": input, "secondaryInput": second, "output": 0, "Action": { kind: value } })
}

fn platform_json(platform: &Platform) -> Value {
    let mut out = json!({ "Architecture": platform.architecture, "OS": platform.os });
    if let Some(variant) = &platform.variant {
        out["Variant"] = variant.clone().into();
    }
    out
}

/// A mount as `pb.Mount` has it: `mountType` 1 is a secret, 2 SSH, 3 a cache, 4 memory.
fn mount_json(mount: &MountOp, input: i64) -> Value {
    let mut out = json!({ "input": input, "dest": mount.target, "output": -1 });
    if mount.source != "/" && !mount.source.is_empty() {
        out["selector"] = mount.source.clone().into();
    }
    if mount.readonly {
        out["readonly"] = true.into();
    }
    let identity = |out: &mut Value, key: &str| {
        out[key] = json!({ "ID": mount.id, "optional": !mount.required });
    };
    match mount.kind {
        MountKind::Bind => {}
        MountKind::Secret => {
            out["mountType"] = 1.into();
            identity(&mut out, "secretOpt");
        }
        MountKind::Ssh => {
            out["mountType"] = 2.into();
            identity(&mut out, "SSHOpt");
        }
        MountKind::Cache => {
            out["mountType"] = 3.into();
            let sharing = match mount.sharing {
                Sharing::Shared => 0,
                Sharing::Private => 1,
                Sharing::Locked => 2,
            };
            out["cacheOpt"] = json!({ "ID": mount.id, "sharing": sharing });
        }
        MountKind::Tmpfs => {
            out["mountType"] = 4.into();
            out["TmpfsOpt"] = json!({ "size": mount.size });
        }
    }
    out
}
