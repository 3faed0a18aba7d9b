//! Where the time of a build went: as a trace for Perfetto, and as a small table.
//!
//! Both are made from what the reporter knows when the build has ended: its vertices, the spans that the builder
//! reported, and the items below vertices (downloads and uploads have their times there).
mod chrome;
#[cfg(feature = "otlp")]
pub(crate) mod otlp;
mod timings;

pub(crate) use chrome::chrome;
pub(crate) use timings::timings;

use build::event::{Phase, VertexId};
use std::time::SystemTime;

use crate::progress::{Span, State};

/// All spans, those of items included, by their beginning.
fn spans(state: &State, now: SystemTime) -> Vec<Span> {
    let mut spans = state.spans.clone();
    for vertex in &state.vertices {
        for item in &vertex.items {
            let phase = match item.name.as_str() {
                name if name.starts_with("pushing ") => Phase::Push,
                _ => Phase::Pull,
            };
            let ended = item.completed.or(vertex.completed).unwrap_or(now).max(item.started);
            let detail = item.name.strip_prefix("pushing ").unwrap_or(&item.name).to_owned();
            spans.push(Span { vertex: Some(vertex.id), phase, detail, started: item.started, ended });
        }
    }
    spans.sort_by_key(|span| (span.started, std::cmp::Reverse(span.ended)));
    spans
}

/// When the first thing happened.
fn beginning(state: &State, spans: &[Span]) -> Option<SystemTime> {
    let vertices = state.vertices.iter().filter_map(|vertex| vertex.started);
    vertices.chain(spans.iter().map(|span| span.started)).min()
}

/// When the last thing happened.
fn end(state: &State, spans: &[Span]) -> Option<SystemTime> {
    let vertices = state.vertices.iter().filter_map(|vertex| vertex.completed);
    vertices.chain(spans.iter().map(|span| span.ended)).max()
}

/// The spans of one vertex, or of none.
fn of(spans: &[Span], vertex: Option<VertexId>) -> impl Iterator<Item = &Span> {
    spans.iter().filter(move |span| span.vertex == vertex)
}

#[cfg(test)]
mod tests;
