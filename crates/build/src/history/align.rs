//! Which step of an older build is the same as one of a newer build.
//!
//! Within a stage, steps with the same instruction are matched in order (the longest common subsequence); between
//! those, steps of the same kind are the same step with another text.
use super::record::{BuildRecord, StepEntry};

/// For each step of `new` its counterpart in `old`.
pub(super) fn align(old: &BuildRecord, new: &BuildRecord) -> Vec<Option<usize>> {
    let mut out = vec![None; new.steps.len()];
    let mut groups: Vec<(&str, &str)> = Vec::new();
    for step in &new.steps {
        if !groups.contains(&(&step.platform, &step.stage)) {
            groups.push((&step.platform, &step.stage));
        }
    }
    for group in groups {
        let of = |record: &BuildRecord| -> Vec<usize> {
            (0..record.steps.len())
                .filter(|n| (record.steps[*n].platform.as_str(), record.steps[*n].stage.as_str()) == group)
                .collect()
        };
        let (before, after) = (of(old), of(new));
        for (a, b) in pairs(&old.steps, &before, &new.steps, &after) {
            out[b] = Some(a);
        }
    }
    out
}

/// How many steps two builds have in common.
pub(super) fn likeness(old: &BuildRecord, new: &BuildRecord) -> usize {
    align(old, new)
        .into_iter()
        .enumerate()
        .filter(|(n, place)| place.is_some_and(|p| old.steps[p].instruction == new.steps[*n].instruction))
        .count()
}

/// Steps of one stage beyond this many are matched by their place alone.
const LIMIT: usize = 1000;

fn pairs(old: &[StepEntry], before: &[usize], new: &[StepEntry], after: &[usize]) -> Vec<(usize, usize)> {
    if before.len() > LIMIT || after.len() > LIMIT {
        return before.iter().copied().zip(after.iter().copied()).collect();
    }
    let same = |a: usize, b: usize| old[before[a]].instruction == new[after[b]].instruction;
    // lengths[a][b]: of the longest common subsequence of what follows.
    let width = after.len() + 1;
    let mut lengths = vec![0_u32; (before.len() + 1) * width];
    for a in (0..before.len()).rev() {
        for b in (0..after.len()).rev() {
            lengths[a * width + b] = if same(a, b) {
                lengths[(a + 1) * width + b + 1] + 1
            } else {
                lengths[(a + 1) * width + b].max(lengths[a * width + b + 1])
            };
        }
    }
    let (mut a, mut b) = (0, 0);
    let (mut out, mut gap) = (Vec::new(), (0, 0));
    let close = |from: (usize, usize), to: (usize, usize), out: &mut Vec<(usize, usize)>| {
        let mut next = from.0;
        for b in from.1..to.1 {
            let kind = word(&new[after[b]]);
            if let Some(a) = (next..to.0).find(|a| word(&old[before[*a]]) == kind) {
                out.push((before[a], after[b]));
                next = a + 1;
            }
        }
    };
    while a < before.len() && b < after.len() {
        if same(a, b) {
            close(gap, (a, b), &mut out);
            out.push((before[a], after[b]));
            (a, b) = (a + 1, b + 1);
            gap = (a, b);
        } else if lengths[(a + 1) * width + b] >= lengths[a * width + b + 1] {
            a += 1;
        } else {
            b += 1;
        }
    }
    close(gap, (before.len(), after.len()), &mut out);
    out
}

/// RUN, COPY, …
fn word(step: &StepEntry) -> &str {
    step.instruction.split(' ').next().unwrap_or_default()
}
