//! `--timings`: where the time went, as a small table.
//!
//! ```text
//! Where the time went: 12.34s in all
//!      run   unpack     push    total  step
//!    3.10s        -        -    3.20s  [build 5/5] RUN make
//!        -    1.20s        -    1.40s  [build 1/5] FROM …
//!        -        -    0.80s    0.80s  exporting to image
//!    3.10s    1.20s    0.80s           sum
//! ```
//! What runs at once counts for each, so a sum may be more than the whole.
use build::event::Phase;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::{beginning, end, of, spans};
use crate::progress::{State, cut};

/// Rows for steps; the others are one row.
const ROWS: usize = 12;
/// Less than this is not worth a cell.
const LEAST: Duration = Duration::from_millis(5);

type Phases = BTreeMap<Phase, Duration>;

struct Row {
    phases: Phases,
    total: Option<Duration>,
    name: String,
}

/// The table, with a newline at its end.
pub(crate) fn timings(state: &State, now: SystemTime) -> String {
    let spans = spans(state, now);
    let sums = |vertex| {
        let mut phases = Phases::new();
        for span in of(&spans, vertex) {
            *phases.entry(span.phase).or_default() += span.ended.duration_since(span.started).unwrap_or_default();
        }
        phases
    };
    let mut rows: Vec<Row> = state
        .vertices
        .iter()
        .filter_map(|vertex| {
            let took = vertex.started.map(|s| vertex.completed.unwrap_or(now).duration_since(s).unwrap_or_default());
            let phases = sums(Some(vertex.id));
            let total = took.unwrap_or_default();
            (total >= LEAST || phases.values().any(|d| *d >= LEAST)).then(|| Row {
                phases,
                total: Some(total),
                name: cut(&vertex.name, 70),
            })
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.total));
    if rows.len() > ROWS + 1 {
        let rest = rows.split_off(ROWS);
        let (count, mut phases, mut total) = (rest.len(), Phases::new(), Duration::ZERO);
        for row in rest {
            total += row.total.unwrap_or_default();
            add(&mut phases, &row.phases);
        }
        rows.push(Row { phases, total: Some(total), name: format!("{count} more") });
    }
    let background = sums(None);
    if background.values().any(|d| *d >= LEAST) {
        rows.push(Row { phases: background, total: None, name: "in the background".to_owned() });
    }
    let mut all = Phases::new();
    rows.iter().for_each(|row| add(&mut all, &row.phases));
    let columns: Vec<Phase> = all.iter().filter(|(_, d)| **d >= LEAST).map(|(phase, _)| *phase).collect();
    rows.push(Row { phases: all, total: None, name: "sum".to_owned() });

    let whole = match (beginning(state, &spans), end(state, &spans)) {
        (Some(a), Some(b)) => b.duration_since(a).unwrap_or_default(),
        _ => Duration::ZERO,
    };
    let mut out = format!("Where the time went: {} in all\n", seconds(whole));
    for phase in &columns {
        out.push_str(&format!("{:>9}", phase.name()));
    }
    out.push_str(&format!("{:>9}  step\n", "total"));
    for row in rows {
        for phase in &columns {
            let cell = row.phases.get(phase).filter(|d| **d >= LEAST).map_or_else(|| "-".to_owned(), |d| seconds(*d));
            out.push_str(&format!("{cell:>9}"));
        }
        out.push_str(&format!("{:>9}  {}\n", row.total.map(seconds).unwrap_or_default(), row.name));
    }
    out
}

fn add(to: &mut Phases, from: &Phases) {
    for (phase, duration) in from {
        *to.entry(*phase).or_default() += *duration;
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.2}s", duration.as_secs_f64())
}
