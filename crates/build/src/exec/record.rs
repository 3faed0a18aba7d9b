//! What the history is told of the steps.
use super::{Executor, StageResult};
use crate::copy::{Selection, digest};
use crate::error::Result;
use crate::event::{Event, Phase, VertexId};
use crate::history::{Announced, BaseEntry};
use crate::key::{Fields, Key};
use crate::plan::Base;
use crate::store::StepRecord;
use std::sync::PoisonError;
use std::time::Instant;

impl Executor<'_> {
    /// Notes all steps in the record.
    pub(super) fn announce(&mut self) {
        let mut last: Vec<(Option<usize>, Option<BaseEntry>)> = Vec::new();
        for (index, stage) in self.plan.stages.iter().enumerate() {
            let (mut after, mut base) = match &stage.base {
                Base::Scratch => (None, None),
                Base::Stage(parent) => last[*parent].clone(),
                Base::Image(id) => {
                    let image = &self.plan.images[*id];
                    let name = image.name.split('@').next().unwrap_or_default().to_owned();
                    (None, Some(BaseEntry { name, digest: image.digest.to_string() }))
                }
            };
            let mut places = Vec::new();
            for (number, op) in stage.ops.iter().enumerate() {
                let place = self.history.announce(&Announced {
                    name: &op.name,
                    stage: &stage.title,
                    platform: stage.platform.to_string(),
                    line: self.lines.line(op.span.start),
                    after,
                    base: base.take(),
                    definition: &self.keys[index].ops[number].0,
                });
                after = Some(place);
                places.push(place);
            }
            last.push((after, base));
            self.recorded.push(places);
        }
    }

    /// A step that is looked up by content, and done where that finds nothing.
    pub(super) fn recorded_step(
        &self,
        stage: usize,
        number: usize,
        so_far: &StageResult,
        line: VertexId,
    ) -> Result<(StepRecord, bool)> {
        let (place, begun) = (self.recorded[stage][number], Instant::now());
        self.history.begin(place);
        let result = self.step(stage, number, so_far, line);
        self.history.end(place, begun.elapsed(), result.as_ref().map(|(record, _)| record));
        result
    }

    /// A step that must be done: says why.
    pub(super) fn missed(&self, stage: usize, number: usize, key: &Key, fields: &Fields, line: VertexId) {
        let planned = self.stage_plan(stage);
        let told = planned.no_cache.then(|| match (self.fetcher.request.no_cache, planned.title.as_str()) {
            (true, _) => "--no-cache".to_owned(),
            (false, "") => "--no-cache-filter".to_owned(),
            (false, title) => format!("--no-cache-filter {title}"),
        });
        let cause = self.history.miss(self.recorded[stage][number], key, fields, told);
        self.fetcher.events.send(Event::Miss { id: line, cause });
    }

    /// The digest of what a step reads from one source. Its files are read once, and their list is kept.
    pub(super) fn digest_of(&self, place: (usize, usize, usize), selection: &Selection) -> Result<String> {
        let known = self.digests.lock().unwrap_or_else(PoisonError::into_inner).get(&place).map(ToString::to_string);
        if let Some(known) = known {
            return Ok(known);
        }
        let line = self.vertex(place.0, place.1);
        let _span = self.fetcher.events.span(Some(line), Phase::Hash, selection.tree.describe());
        let (digest, contents) = digest(selection)?;
        self.layers.store.put_files(&digest, || contents.list().into_bytes());
        let text = digest.to_string();
        self.digests.lock().unwrap_or_else(PoisonError::into_inner).insert(place, digest);
        Ok(text)
    }
}
