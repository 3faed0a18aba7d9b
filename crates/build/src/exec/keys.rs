//! Definition keys and content keys of steps.
use super::{Executor, KeyAndFields};
use crate::copy::{Selection, Wanted, select};
use crate::error::Result;
use crate::event::{Phase, VertexId};
use crate::key::{Fields, Key, KeyBuilder};
use crate::plan::{Base, CopyItem, CopyOp, MountOp, Op, OpKind, ResolvedImage, RunOp, SourceRef};
use crate::source::git::Checkout;
use crate::tree::{Bytes, SingleTree, Tree, builder_time};
use dockerfile::ast::MountKind;
use layer::Time;
use oci::Digest;
use std::sync::{Arc, PoisonError};

/// The definition keys of a stage.
#[derive(Debug, Clone)]
pub(crate) struct StageKeys {
    /// Of what the stage starts from.
    pub(super) base: Key,
    pub(super) ops: Vec<KeyAndFields>,
    /// For each step what the next one builds on: its key, for a linked copy with what lies below it.
    chain: Vec<Key>,
    /// From this step on results depend on something that was run anew (`--no-cache`): no look-up by definition.
    pub(super) tainted_from: Option<usize>,
}

impl StageKeys {
    /// What went into the key of an operation.
    pub(crate) fn fields(&self, number: usize) -> &Fields {
        &self.ops[number].1
    }

    fn last(&self) -> &Key {
        self.chain.last().unwrap_or(&self.base)
    }
}

/// How the files that a step reads stand in its key.
enum Inputs<'b> {
    /// By the definition of where they come from.
    Definition(&'b [StageKeys]),
    /// By their content.
    Content(VertexId),
}

impl Executor<'_> {
    pub(super) fn definition_keys(&self, index: usize) -> Result<StageKeys> {
        let stage = self.stage_plan(index);
        let (base, mut tainted) = match &stage.base {
            Base::Scratch => (KeyBuilder::new("scratch").finish().0, false),
            Base::Image(id) => (image_key(&self.plan.images[*id]), false),
            Base::Stage(parent) => (self.keys[*parent].last().clone(), self.keys[*parent].tainted_from.is_some()),
        };
        tainted |= stage.no_cache;
        let mut keys = StageKeys { base, ops: Vec::new(), chain: Vec::new(), tainted_from: tainted.then_some(0) };
        for number in 0..stage.ops.len() {
            let parent = keys.last().clone();
            let key = self.key(index, number, &parent, &Inputs::Definition(&self.keys))?;
            if keys.tainted_from.is_none()
                && self.source_stages(index, number).iter().any(|s| self.keys[*s].tainted_from.is_some())
            {
                keys.tainted_from = Some(number);
            }
            keys.chain.push(following(&stage.ops[number], &parent, &key.0));
            keys.ops.push(key);
        }
        Ok(keys)
    }

    pub(super) fn content_key(
        &self,
        stage: usize,
        number: usize,
        parent: &Key,
        line: VertexId,
    ) -> Result<KeyAndFields> {
        self.key(stage, number, parent, &Inputs::Content(line))
    }

    /// The stages that a step reads from.
    pub(super) fn source_stages(&self, stage: usize, number: usize) -> Vec<usize> {
        let stage_of = |source: &SourceRef| match source {
            SourceRef::Stage(n) => Some(*n),
            _ => None,
        };
        match &self.stage_plan(stage).ops[number].kind {
            OpKind::Copy(copy) => copy
                .items
                .iter()
                .filter_map(|item| match item {
                    CopyItem::Tree { from, .. } => stage_of(from),
                    _ => None,
                })
                .collect(),
            OpKind::Run(run) => run.mounts.iter().filter_map(|m| stage_of(m.from.as_ref()?)).collect(),
            OpKind::Mkdir { .. } => Vec::new(),
        }
    }

    fn key(&self, stage: usize, number: usize, parent: &Key, inputs: &Inputs<'_>) -> Result<KeyAndFields> {
        let op: &Op = &self.stage_plan(stage).ops[number];
        let mut key = match &op.kind {
            OpKind::Run(run) => self.run_key(stage, number, run, parent, inputs)?,
            OpKind::Copy(copy) => self.copy_key(stage, number, copy, parent, inputs)?,
            OpKind::Mkdir { path, user } => {
                let mut key = KeyBuilder::new("mkdir");
                key.field("parent", parent.as_str()).field("path", path).field("user", user);
                key
            }
        };
        if let Some(epoch) = self.plan.epoch {
            key.field("SOURCE_DATE_EPOCH", epoch.to_string());
        }
        if self.rewrite.is_some() {
            key.field("rewrite-timestamp", "true");
        }
        Ok(key.finish())
    }

    fn run_key(
        &self,
        stage: usize,
        number: usize,
        run: &RunOp,
        parent: &Key,
        inputs: &Inputs<'_>,
    ) -> Result<KeyBuilder> {
        let request = self.fetcher.request;
        let mut key = KeyBuilder::new("run");
        key.field("parent", parent.as_str());
        key.field("platform", self.stage_plan(stage).platform.to_string());
        if self.place.fake_owners() {
            // What such a step leaves belongs to root, whatever it asked for: nobody else must take it for his own.
            key.field("owners", "faked");
        }
        for argument in &run.args {
            key.field("arg", argument);
        }
        for (name, value) in &run.env {
            key.field(format!("env {name}"), value);
        }
        key.field("cwd", &run.cwd).field("user", &run.user);
        key.field("network", format!("{:?}", run.network)).field("security", format!("{:?}", run.security));
        for (host, address) in &request.add_hosts {
            key.field("host", format!("{host} {address}"));
        }
        if let Some(size) = request.shm_size {
            key.field("shm-size", size.to_string());
        }
        for (name, soft, hard) in &request.ulimits {
            key.field("ulimit", format!("{name} {soft} {hard}"));
        }
        if let Some((name, data)) = &run.script {
            key.field(format!("script {name}"), Digest::sha256(data).to_string());
        }
        for (position, mount) in run.mounts.iter().enumerate() {
            let label = |what: &str| format!("mount {position} {what}");
            key.field(label("type"), format!("{:?}", mount.kind)).field(label("target"), &mount.target);
            key.field(
                label("options"),
                format!(
                    "{:?} {} {:?} {:?} {:?} {:?} {:?} {}",
                    mount.sharing,
                    mount.readonly,
                    mount.mode,
                    mount.uid,
                    mount.gid,
                    mount.size,
                    mount.env,
                    mount.required
                ),
            );
            match mount.kind {
                MountKind::Bind => {
                    let value = self.mount_input(stage, number, position, mount, inputs)?;
                    key.field(label("source"), value);
                }
                // What is in a cache mount does not count, where it starts from does not either (as BuildKit has it).
                MountKind::Cache | MountKind::Secret | MountKind::Ssh => {
                    key.field(label("id"), &mount.id);
                }
                MountKind::Tmpfs => {}
            }
        }
        Ok(key)
    }

    fn mount_input(
        &self,
        stage: usize,
        number: usize,
        position: usize,
        mount: &MountOp,
        inputs: &Inputs<'_>,
    ) -> Result<String> {
        let from = mount.from.as_ref().unwrap_or(&SourceRef::Context);
        if let Inputs::Definition(keys) = inputs
            && let Some(origin) = self.origin(from, keys)
        {
            return Ok(format!("{origin} {}", mount.source));
        }
        let selection = self.mount_selection(stage, number, position, mount, None)?;
        self.digest_of((stage, number, position), &selection)
    }

    /// The files that a bind mount shows.
    pub(super) fn mount_selection(
        &self,
        stage: usize,
        number: usize,
        position: usize,
        mount: &MountOp,
        line: Option<VertexId>,
    ) -> Result<Arc<Selection>> {
        let from = mount.from.as_ref().unwrap_or(&SourceRef::Context);
        // Mounts and copies never stand in one step: their places do not collide.
        self.selection(
            (stage, number, position),
            from,
            line,
            &Wanted { source: &mount.source, parents: None, exclude: &[] },
        )
        .map_err(|e| e.at(mount.span))
    }

    fn copy_key(
        &self,
        stage: usize,
        number: usize,
        copy: &CopyOp,
        parent: &Key,
        inputs: &Inputs<'_>,
    ) -> Result<KeyBuilder> {
        let mut key = KeyBuilder::new("copy");
        if !copy.link {
            key.field("parent", parent.as_str());
        }
        key.field("link", copy.link.to_string()).field("dest", &copy.dest);
        key.field("chown", copy.chown.as_deref().unwrap_or(""));
        key.field("chmod", format!("{:?}", copy.chmod));
        for pattern in &copy.exclude {
            key.field("exclude", pattern);
        }
        for (position, item) in copy.items.iter().enumerate() {
            let value = match item {
                CopyItem::Inline { name, data } => format!("inline {name} {}", Digest::sha256(data)),
                CopyItem::Http { unpack, .. } => {
                    let selection = self.item_selection((stage, number, position), item, copy, None)?;
                    format!("http {unpack} {}", self.digest_of((stage, number, position), &selection)?)
                }
                CopyItem::Git { url, keep_git_dir, .. } => {
                    {
                        // The record is kept: no credentials in it.
                        let (shown, commit) = (crate::source::redact(url), self.fetcher.git_commit(url)?);
                        format!("git {shown} {keep_git_dir:?} {commit}")
                    }
                }
                CopyItem::Tree { from, source, parents, unpack, .. } => {
                    let (origin, line) = match inputs {
                        Inputs::Definition(keys) => (self.origin(from, keys), None),
                        Inputs::Content(line) => (None, Some(*line)),
                    };
                    if let Some(origin) = origin {
                        format!("tree {unpack} {origin} {source} {parents:?}")
                    } else {
                        let selection = self.item_selection((stage, number, position), item, copy, line)?;
                        format!("files {unpack} {}", self.digest_of((stage, number, position), &selection)?)
                    }
                }
            };
            key.field(format!("source {position}"), value);
        }
        Ok(key)
    }

    /// How a source that is not there yet is defined; `None` for what can be read at once.
    fn origin(&self, from: &SourceRef, keys: &[StageKeys]) -> Option<String> {
        match from {
            SourceRef::Stage(n) => Some(format!("stage {}", keys[*n].last().as_str())),
            SourceRef::Image(id) => Some(format!("image {}", image_key(&self.plan.images[*id]).as_str())),
            SourceRef::Context | SourceRef::Named(_) => None,
        }
    }

    /// The tree of a source. A stage is built, an image's tables of contents are fetched.
    pub(super) fn source_tree(&self, from: &SourceRef, line: Option<VertexId>) -> Result<Arc<dyn Tree>> {
        Ok(match from {
            SourceRef::Context => Arc::clone(&self.context),
            SourceRef::Named(name) => self.named.get(&self.fetcher, name)?,
            SourceRef::Stage(n) => {
                let result = self.stage(*n)?;
                let title = &self.stage_plan(*n).title;
                let name = if title.is_empty() { "the stage".to_owned() } else { format!("stage {title}") };
                self.layers.tree(&result.chain, &name, line)?
            }
            SourceRef::Image(id) => {
                let image = &self.plan.images[*id];
                let chain: Vec<_> =
                    (0..image.layers.len()).map(|n| crate::snapshot::ChainLayer::Base(Arc::clone(image), n)).collect();
                self.layers.tree(&chain, &format!("image {}", image.name), line)?
            }
        })
    }

    /// The files of one source of COPY or ADD; `place` is its stage, step and number.
    pub(super) fn item_selection(
        &self,
        place: (usize, usize, usize),
        item: &CopyItem,
        copy: &CopyOp,
        line: Option<VertexId>,
    ) -> Result<Arc<Selection>> {
        let op = &self.plan.stages[place.0].ops[place.1];
        self.item_files(place, item, copy, line).map_err(|e| match &op.trigger {
            Some(trigger) => e.context(format!("ONBUILD trigger {trigger:?}")),
            None => e,
        })
    }

    fn item_files(
        &self,
        place: (usize, usize, usize),
        item: &CopyItem,
        copy: &CopyOp,
        line: Option<VertexId>,
    ) -> Result<Arc<Selection>> {
        match item {
            CopyItem::Tree { from, source, parents, span, .. } => {
                let wanted = Wanted { source, parents: parents.as_deref(), exclude: &copy.exclude };
                self.selection(place, from, line, &wanted).map_err(|e| e.at(*span))
            }
            CopyItem::Inline { name, data } => {
                let time = builder_time(self.plan.epoch);
                let tree = SingleTree::new(name, 0o644, data.len() as u64, time, Bytes::Memory(Arc::clone(data)));
                self.whole(place, Arc::new(tree), name)
            }
            CopyItem::Http { url, checksum, span, .. } => {
                if let Some(known) = self.known(place) {
                    return Ok(known);
                }
                let download = self.fetcher.http(url, checksum.as_ref()).map_err(|e| e.at(*span))?;
                let name = crate::source::http::url_file_name(url).unwrap_or_else(|| download.file_name.clone());
                let path = self.layers.store.scratch("download");
                let seconds =
                    download.last_modified.and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok()).map_or_else(
                        || builder_time(self.plan.epoch),
                        |d| Time::secs(i64::try_from(d.as_secs()).unwrap_or(0)),
                    );
                let size = download.size;
                download
                    .file
                    .persist(&path)
                    .map_err(|e| crate::error::BuildError::io("keep the download", &path, e.error))?;
                let tree = SingleTree::new(&name, 0o600, size, seconds, Bytes::File(path));
                self.whole(place, Arc::new(tree), &name)
            }
            CopyItem::Git { url, checksum, keep_git_dir, span } => {
                if let Some(known) = self.known(place) {
                    return Ok(known);
                }
                let Checkout { root, commit, .. } = self.fetcher.git(url, *keep_git_dir).map_err(|e| e.at(*span))?;
                if let Some(checksum) = checksum
                    && !commit.starts_with(&checksum.to_ascii_lowercase())
                {
                    return Err(crate::error::BuildError::new(
                        crate::error::Kind::Dockerfile,
                        format!("expected commit {checksum} of {}, got {commit}", crate::source::redact(url)),
                    )
                    .at(*span)
                    .hint("the reference has moved, or --checksum is wrong"));
                }
                let tree: Arc<dyn Tree> =
                    Arc::new(crate::tree::DirTree::open(&root, None, crate::source::redact(url))?);
                let wanted = Wanted { source: "/", parents: None, exclude: &copy.exclude };
                let selection = Arc::new(select(&tree, &wanted)?);
                self.keep(place, &selection);
                Ok(selection)
            }
        }
    }

    fn known(&self, place: (usize, usize, usize)) -> Option<Arc<Selection>> {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner).get(&place).map(Arc::clone)
    }

    fn keep(&self, place: (usize, usize, usize), selection: &Arc<Selection>) {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner).insert(place, Arc::clone(selection));
    }

    fn whole(&self, place: (usize, usize, usize), tree: Arc<dyn Tree>, name: &str) -> Result<Arc<Selection>> {
        if let Some(known) = self.known(place) {
            return Ok(known);
        }
        // A name is no pattern here.
        let selection = Arc::new(Selection::of_file(tree, name)?);
        self.keep(place, &selection);
        Ok(selection)
    }

    fn selection(
        &self,
        place: (usize, usize, usize),
        from: &SourceRef,
        line: Option<VertexId>,
        wanted: &Wanted<'_>,
    ) -> Result<Arc<Selection>> {
        if let Some(known) = self.known(place) {
            return Ok(known);
        }
        let tree = self.source_tree(from, line)?;
        let line = self.vertex(place.0, place.1);
        let scan = self.fetcher.events.span(Some(line), Phase::Scan, tree.describe());
        let selection = Arc::new(select(&tree, wanted)?);
        drop(scan);
        self.keep(place, &selection);
        Ok(selection)
    }
}

/// What the steps after a step build on. The key of a linked copy says nothing of what lies below it, so that it holds
/// on any base; what follows may see both.
pub(super) fn following(op: &Op, below: &Key, own: &Key) -> Key {
    match &op.kind {
        OpKind::Copy(copy) if copy.link => {
            let mut key = KeyBuilder::new("linked");
            key.field("parent", below.as_str()).field("step", own.as_str());
            key.finish().0
        }
        _ => own.clone(),
    }
}

fn image_key(image: &ResolvedImage) -> Key {
    let mut key = KeyBuilder::new("image");
    for (diff_id, _) in &image.layers {
        key.field("layer", diff_id.as_str());
    }
    key.finish().0
}
