//! What changed between two looks at a run.
use super::run::{Job, Phase, Run, Step};

/// A run with its jobs, at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The run.
    pub run: Run,
    /// Its jobs.
    pub jobs: Vec<Job>,
}

/// One change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'s> {
    /// The run waits, runs or has ended.
    Run(&'s Run),
    /// A job waits, runs or has ended.
    Job(&'s Job),
    /// A step of a job runs or has ended.
    Step(&'s Job, &'s Step),
}

/// The changes from `before` (nothing at first) to `now`, in the order in which they are told: the run's beginning, each
/// job with its steps, the run's end. A step that began and ended between two looks is told once, at its end; steps that
/// wait are not told.
#[must_use]
pub fn changes<'s>(before: Option<&Snapshot>, now: &'s Snapshot) -> Vec<Change<'s>> {
    let mut all = Vec::new();
    let same_attempt = before.filter(|before| before.run.attempt == now.run.attempt);
    let run = Some(now.run.word()) != same_attempt.map(|before| before.run.word());
    if run && now.run.phase() != Phase::Ended {
        all.push(Change::Run(&now.run));
    }
    for job in &now.jobs {
        let old = same_attempt.and_then(|before| before.jobs.iter().find(|old| old.id == job.id));
        let changed = Some(job.word()) != old.map(Job::word);
        if changed && job.phase() != Phase::Ended {
            all.push(Change::Job(job));
        }
        for step in &job.steps {
            let word = old.and_then(|old| old.steps.iter().find(|old| old.number == step.number)).map(Step::word);
            if step.phase() != Phase::Waiting && Some(step.word()) != word {
                all.push(Change::Step(job, step));
            }
        }
        if changed && job.phase() == Phase::Ended {
            all.push(Change::Job(job));
        }
    }
    if run && now.run.phase() == Phase::Ended {
        all.push(Change::Run(&now.run));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn snapshot(status: &str, conclusion: Value, steps: &[(&str, Value)]) -> Snapshot {
        let run = json!({ "id": 7, "status": status, "conclusion": conclusion });
        let steps: Vec<Value> = steps
            .iter()
            .enumerate()
            .map(|(n, (status, end))| json!({ "number": n, "name": format!("s{n}"), "status": status, "conclusion": end }))
            .collect();
        let job = json!({ "id": 1, "name": "build", "status": status, "conclusion": conclusion, "steps": steps });
        Snapshot { run: Run::read(&run).unwrap(), jobs: vec![Job::read(&job).unwrap()] }
    }

    fn told(changes: &[Change<'_>]) -> String {
        let word = |change: &Change<'_>| match change {
            Change::Run(run) => format!("run {}", run.word()),
            Change::Job(job) => format!("job {}", job.word()),
            Change::Step(_, step) => format!("{} {}", step.name, step.word()),
        };
        changes.iter().map(word).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn each_change_is_told_once() {
        let no = Value::Null;
        let first = snapshot("in_progress", no.clone(), &[("in_progress", no.clone()), ("queued", no.clone())]);
        assert_eq!(told(&changes(None, &first)), "run in_progress, job in_progress, s0 in_progress");
        assert_eq!(told(&changes(Some(&first), &first)), "");
        let done = snapshot(
            "completed",
            json!("failure"),
            &[("completed", json!("success")), ("completed", json!("failure"))],
        );
        assert_eq!(told(&changes(Some(&first), &done)), "s0 success, s1 failure, job failure, run failure");
        let mut again = first.clone();
        again.run.attempt = 2;
        assert_eq!(told(&changes(Some(&done), &again)), "run in_progress, job in_progress, s0 in_progress");
    }
}
