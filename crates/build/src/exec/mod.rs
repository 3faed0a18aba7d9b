//! Executes a plan: looks steps up in the cache, runs what is missing, independent stages at once.
//!
//! Each step has two keys. The *definition key* follows from the Dockerfile, the context's files and the base
//! images' digests alone: all definition keys are known before anything runs, so a full hit touches no layer. The
//! *content key* takes, instead of the definitions of the stages that a step reads from, the digest of the files
//! that it reads: a stage that was run again with the same result does not invalidate what copies from it. A record
//! under the definition key names the content key and the layer.
mod copy;
mod keys;
mod listed;
mod record;
mod run;
mod tree;
pub(crate) mod users;

pub(crate) use tree::WorkTree;

use crate::cache::Collected;
use crate::contexts::{Fetcher, NamedTrees};
use crate::copy::Selection;
use crate::error::{BuildError, Result};
use crate::event::{Outcome, VertexId};
use crate::history::Recorder;
use crate::key::{Fields, Key};
use crate::place::Place;
use crate::plan::{Base, OpKind, Plan, PlannedStage};
use crate::snapshot::{ChainLayer, Layers};
use crate::store::{LayerId, StepRecord};
use crate::tree::Tree;
use keys::StageKeys;
use oci::media_type::Compression;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// What a stage came to.
#[derive(Debug, Clone)]
pub(crate) struct StageResult {
    pub(crate) chain: Vec<ChainLayer>,
    /// The content key of its last step.
    key: Key,
    /// For each entry of the history that may have a layer: its number and the layer.
    pub(crate) layers: Vec<(usize, Option<LayerId>)>,
}

/// A step: its stage, its number there, its line of progress.
#[derive(Debug, Clone, Copy)]
struct At {
    stage: usize,
    number: usize,
    line: VertexId,
}

/// What all steps of a build share.
pub(crate) struct Executor<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) fetcher: Fetcher<'a>,
    pub(crate) layers: Arc<Layers>,
    pub(crate) context: Arc<dyn Tree>,
    pub(crate) named: &'a NamedTrees,
    pub(crate) place: &'a Place,
    pub(crate) stop: sandbox::CancelToken,
    /// How layers of the exported stages are compressed; `None` where nothing is exported.
    pub(crate) compression: Option<(Compression, Option<i32>)>,
    /// How layers of all other stages are compressed for a cache that wants them, too (`mode=max`).
    pub(crate) cache_compression: Option<(Compression, Option<i32>)>,
    /// With `rewrite-timestamp`: no file of a new layer is younger than this.
    pub(crate) rewrite: Option<i64>,
    pub(crate) cells: Vec<OnceLock<std::result::Result<Arc<StageResult>, Arc<BuildError>>>>,
    pub(crate) keys: Vec<StageKeys>,
    /// Whether a step of the exported stage has no record: then its layers are packed and sent while steps run.
    pub(crate) rebuilds: bool,
    pub(crate) inputs: Mutex<HashMap<(usize, usize, usize), Arc<Selection>>>,
    /// The digests of those.
    pub(crate) digests: Mutex<HashMap<(usize, usize, usize), oci::Digest>>,
    pub(crate) history: &'a Recorder,
    pub(crate) lines: &'a dockerfile::LineIndex<'a>,
    /// The places of the steps in the record.
    pub(crate) recorded: Vec<Vec<usize>>,
    pub(crate) first_error: Mutex<Option<BuildError>>,
    pub(crate) vertices: Vec<Vec<VertexId>>,
    pub(crate) running: Arc<Slots>,
    /// What the build of all platforms has done so far: stages that several of them share are built once.
    pub(crate) doing: Arc<Doing>,
    /// The trees of stages, where there is no overlayfs.
    pub(crate) trees: Mutex<HashMap<usize, WorkTree>>,
}

/// Counts the steps that run at once.
#[derive(Debug)]
pub(crate) struct Slots {
    free: Mutex<usize>,
    changed: std::sync::Condvar,
}

impl Slots {
    pub(crate) fn new(count: usize) -> Self {
        Self { free: Mutex::new(count.max(1)), changed: std::sync::Condvar::new() }
    }

    fn take(&self) -> Slot<'_> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = self.changed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Slot(self)
    }
}

/// The steps of one build, all platforms, by content key: one of those that want the same step does it, the others wait.
#[derive(Debug, Default)]
pub(crate) struct Doing {
    /// `None` while somebody is at it.
    steps: Mutex<HashMap<Key, Option<StepRecord>>>,
    changed: std::sync::Condvar,
}

impl Doing {
    /// The record of a step that was done in this build, or the turn to do it.
    fn turn(&self, key: &Key) -> std::result::Result<StepRecord, Turn<'_>> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match steps.get(key) {
                Some(Some(record)) => return Ok(record.clone()),
                Some(None) => steps = self.changed.wait(steps).unwrap_or_else(PoisonError::into_inner),
                None => {
                    steps.insert(key.clone(), None);
                    return Err(Turn { doing: self, key: key.clone() });
                }
            }
        }
    }
}

/// Given back when it is dropped: with a record, or for the next who wants to try.
struct Turn<'a> {
    doing: &'a Doing,
    key: Key,
}

impl Turn<'_> {
    fn done(self, record: &StepRecord) {
        let mut steps = self.doing.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.insert(self.key.clone(), Some(record.clone()));
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut steps = self.doing.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(steps.get(&self.key), Some(None)) {
            steps.remove(&self.key);
        }
        drop(steps);
        self.doing.changed.notify_all();
    }
}

struct Slot<'a>(&'a Slots);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.changed.notify_one();
    }
}

impl<'a> Executor<'a> {
    /// Announces the lines of progress and works out all definition keys.
    pub(crate) fn prepare(&mut self) -> Result<()> {
        let (events, vertices) = (self.fetcher.events, self.fetcher.vertices);
        let mut last_of_stage: Vec<Option<VertexId>> = Vec::new();
        for stage in &self.plan.stages {
            let mut lines = Vec::new();
            let mut inputs: Vec<VertexId> = match stage.base {
                Base::Stage(parent) => last_of_stage[parent].into_iter().collect(),
                _ => Vec::new(),
            };
            let names = stage.from_line.iter().chain(stage.ops.iter().map(|op| &op.name));
            for name in names {
                let id = vertices.announce(events, name, Some(&stage.title), &inputs);
                inputs = vec![id];
                lines.push(id);
            }
            last_of_stage.push(inputs.first().copied());
            self.vertices.push(lines);
        }
        for index in 0..self.plan.stages.len() {
            let keys = self.definition_keys(index)?;
            self.keys.push(keys);
            self.cells.push(OnceLock::new());
        }
        self.announce();
        self.rebuilds = (0..self.plan.stages.len())
            .filter(|stage| self.is_exported(*stage))
            .any(|stage| (0..self.stage_plan(stage).ops.len()).any(|op| self.lookup_definition(stage, op).is_none()));
        Ok(())
    }

    pub(crate) fn stage_plan(&self, stage: usize) -> &PlannedStage {
        &self.plan.stages[stage]
    }

    /// The line of a step.
    fn vertex(&self, stage: usize, op: usize) -> VertexId {
        let offset = usize::from(self.stage_plan(stage).from_line.is_some());
        self.vertices[stage][op + offset]
    }

    /// The result of a stage; worked out by the first who asks, the others wait.
    pub(crate) fn stage(&self, index: usize) -> Result<Arc<StageResult>> {
        let result = self.cells[index].get_or_init(|| {
            self.run_stage(index).map(Arc::new).map_err(|error| {
                // The first error ends everything else that runs.
                let copy = Arc::new(error.duplicate());
                let mut first = self.first_error.lock().unwrap_or_else(PoisonError::into_inner);
                if first.is_none() {
                    *first = Some(error);
                    drop(first);
                    self.stop.cancel();
                }
                copy
            })
        });
        result.as_ref().map(Arc::clone).map_err(|e| e.duplicate())
    }

    fn run_stage(&self, index: usize) -> Result<StageResult> {
        let stage = self.stage_plan(index);
        let misses: Vec<usize> =
            (0..stage.ops.len()).filter(|op| self.lookup_definition(index, *op).is_none()).collect();
        // Stages that steps without a record read from are needed for sure: they start now.
        let mut wanted: Vec<usize> = misses.iter().flat_map(|op| self.source_stages(index, *op)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        std::thread::scope(|scope| {
            for source in wanted {
                scope.spawn(move || drop(self.stage(source)));
            }
            self.run_ops(index)
        })
    }

    fn run_ops(&self, index: usize) -> Result<StageResult> {
        let stage = self.stage_plan(index);
        let (events, vertices) = (self.fetcher.events, self.fetcher.vertices);
        let mut result = match &stage.base {
            Base::Scratch => StageResult { chain: Vec::new(), key: self.keys[index].base.clone(), layers: Vec::new() },
            Base::Image(id) => {
                let image = &self.plan.images[*id];
                let chain = (0..image.layers.len()).map(|n| ChainLayer::Base(Arc::clone(image), n)).collect();
                if stage.from_line.is_some() {
                    let line = self.vertices[index][0];
                    vertices.begin(events, line);
                    vertices.end(events, line, Outcome::Done);
                }
                if self.rebuilds && self.is_exported(index) {
                    self.layers.send_base(image);
                }
                StageResult { chain, key: self.keys[index].base.clone(), layers: Vec::new() }
            }
            Base::Stage(parent) => StageResult::clone(&*self.stage(*parent)?),
        };
        for (number, op) in stage.ops.iter().enumerate() {
            if self.stop.is_cancelled() {
                return Err(BuildError::canceled());
            }
            let line = self.vertex(index, number);
            let record = self.lookup_definition(index, number);
            let record = if let Some(record) = record {
                vertices.begin(events, line);
                vertices.end(events, line, Outcome::Cached);
                self.history.hit(self.recorded[index][number], &record, false);
                record
            } else {
                vertices.begin(events, line);
                match self.recorded_step(index, number, &result, line) {
                    Ok((record, cached)) => {
                        vertices.end(events, line, if cached { Outcome::Cached } else { Outcome::Done });
                        record
                    }
                    Err(error) => {
                        let outcome = match error.kind() {
                            crate::error::Kind::Canceled => Outcome::Canceled,
                            _ => Outcome::Failed(error.message().to_owned()),
                        };
                        vertices.end(events, line, outcome);
                        return Err(error.at(op.span));
                    }
                }
            };
            result.key = keys::following(op, &result.key, &record.key);
            if let Some(id) = &record.layer {
                result.chain.push(ChainLayer::Step(id.clone()));
                // Later steps need the files, not the blob: it is made, and sent, while they run.
                let send = self.is_exported(index);
                let wanted = if send { self.compression } else { self.cache_compression };
                if let Some((compression, level)) = wanted.filter(|_| self.rebuilds) {
                    self.layers.pack_soon(id, compression, level, send);
                }
            }
            result.layers.push((op.history, record.layer));
        }
        Ok(result)
    }

    /// A step without a record under its definition key: by content, or by doing it.
    fn step(&self, stage: usize, number: usize, so_far: &StageResult, line: VertexId) -> Result<(StepRecord, bool)> {
        let planned = self.stage_plan(stage);
        let op = &planned.ops[number];
        let (key, fields) = self.content_key(stage, number, &so_far.key, line)?;
        let definition = &self.keys[stage].ops[number].0;
        let store = &self.layers.store;
        if !planned.no_cache {
            if let Some(record) = store.step(&key) {
                store.put_step(definition, &record)?;
                self.history.hit(self.recorded[stage][number], &record, true);
                return Ok((record, true));
            }
            if let Some(record) = self.imported(stage, number, &key, &fields) {
                self.history.hit(self.recorded[stage][number], &record, true);
                return Ok((record, true));
            }
        }
        let turn = match self.doing.turn(&key) {
            Ok(record) => {
                store.put_step(definition, &record)?;
                self.history.hit(self.recorded[stage][number], &record, true);
                return Ok((record, true));
            }
            Err(turn) => turn,
        };
        if self.stop.is_cancelled() {
            return Err(BuildError::canceled());
        }
        self.missed(stage, number, &key, &fields, line);
        let at = At { stage, number, line };
        let layer = match &op.kind {
            OpKind::Run(run) => {
                let _slot = self.running.take();
                self.run(at, run, so_far, &key)?
            }
            OpKind::Copy(copy) => self.copy(at, copy, so_far, &key)?,
            OpKind::Mkdir { path, user } => self.mkdir(at, path, user, so_far, &key)?,
        };
        let record = StepRecord { key: key.clone(), layer, name: op.name.clone(), fields, created: crate::time::now() };
        store.put_step(&key, &record)?;
        if *definition != key {
            store.put_step(definition, &record)?;
        }
        turn.done(&record);
        Ok((record, false))
    }

    /// The cache mounts of all steps, as the store names them.
    pub(crate) fn cache_mounts(&self) -> BTreeSet<String> {
        let ops = self.plan.stages.iter().flat_map(|stage| &stage.ops);
        let mounts = ops.flat_map(|op| match &op.kind {
            OpKind::Run(run) => run.mounts.as_slice(),
            _ => &[],
        });
        mounts.filter(|m| m.kind == dockerfile::ast::MountKind::Cache).map(|m| self.mount_name(m)).collect()
    }

    fn lookup_definition(&self, stage: usize, op: usize) -> Option<StepRecord> {
        let keys = &self.keys[stage];
        if keys.tainted_from.is_some_and(|first| op >= first) {
            return None;
        }
        let (key, fields) = &keys.ops[op];
        self.layers.store.step(key).or_else(|| self.imported(stage, op, key, fields))
    }

    /// The record that an external cache has under this key.
    fn imported(&self, stage: usize, op: usize, key: &Key, fields: &Fields) -> Option<StepRecord> {
        let imports = self.layers.imports()?;
        let mut record = imports.step(key, &self.layers.store)?;
        record.name.clone_from(&self.stage_plan(stage).ops[op].name);
        record.fields.clone_from(fields);
        imports.note(&self.keys[stage].ops[op].0, &record);
        Some(record)
    }

    /// All steps whose result is known, for external caches. Steps that nobody had to look at, because what is built
    /// from them was a hit, count too where their record is there.
    pub(crate) fn collect(&self) -> Vec<Collected> {
        let mut steps = Vec::new();
        for (stage, keys) in self.keys.iter().enumerate() {
            let exported = self.is_exported(stage);
            for (op, (definition, fields)) in keys.ops.iter().enumerate() {
                let found = self.layers.store.step(definition);
                if let Some(record) = found.or_else(|| self.imported(stage, op, definition, fields)) {
                    steps.push(Collected { definition: definition.clone(), record, exported });
                }
            }
        }
        steps
    }

    /// Whether a later step of the stage, or of a stage that is built on it, runs a command: then a directory of the
    /// files will be needed anyway.
    pub(crate) fn will_run(&self, stage: usize, after: usize) -> bool {
        let runs = |ops: &[crate::plan::Op]| ops.iter().any(|op| matches!(op.kind, OpKind::Run(_)));
        runs(&self.stage_plan(stage).ops[after..])
            || self
                .plan
                .stages
                .iter()
                .enumerate()
                .any(|(n, s)| matches!(s.base, Base::Stage(p) if p == stage) && self.will_run(n, 0))
    }

    /// Whether anything follows a step in the chain that is exported.
    pub(crate) fn goes_on(&self, stage: usize, number: usize) -> bool {
        number + 1 < self.stage_plan(stage).ops.len()
            || (0..self.plan.stages.len()).any(|n| {
                self.is_exported(n) && matches!(self.plan.stages[n].base, Base::Stage(parent) if parent == stage)
            })
    }

    /// Whether the stage's layers are part of the image that is exported.
    pub(crate) fn is_exported(&self, stage: usize) -> bool {
        let mut current = self.plan.target;
        loop {
            if current == stage {
                return true;
            }
            match self.plan.stages[current].base {
                Base::Stage(parent) => current = parent,
                _ => return false,
            }
        }
    }
}

/// What went into a key, for `explain`.
pub(crate) type KeyAndFields = (Key, Fields);
