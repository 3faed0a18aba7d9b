//! What the API says of workflows, runs, jobs and steps.
use jiff::Timestamp;
use serde_json::{Value, json};

/// A workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workflow {
    /// Its number.
    pub id: u64,
    /// What it calls itself.
    pub name: String,
    /// Its file: `.github/workflows/build.yml`.
    pub path: String,
    /// `active`, or why it does not run: `disabled_manually`, `disabled_inactivity`.
    pub state: String,
}

/// How far something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It waits: for a runner, an approval, another run.
    Waiting,
    /// It runs.
    Running,
    /// It has ended.
    Ended,
}

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conclusion {
    /// Well.
    Success,
    /// It was left out, or its result does not count.
    Skipped,
    /// Somebody stopped it, or a newer run.
    Cancelled,
    /// Badly.
    Failure,
}

/// A run, or one attempt of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its number in the API.
    pub id: u64,
    /// Its number within the workflow.
    pub number: u64,
    /// Which attempt, from 1 on.
    pub attempt: u64,
    /// The workflow's name.
    pub workflow: String,
    /// What it is about: a commit's subject.
    pub title: String,
    /// `push`, `workflow_dispatch`, …
    pub event: String,
    /// The branch or tag.
    pub branch: String,
    /// The commit.
    pub sha: String,
    /// Who started it.
    pub actor: String,
    /// GitHub's word: `queued`, `in_progress`, `completed`, `waiting`, `requested`, `pending`.
    pub status: String,
    /// GitHub's word: `success`, `failure`, `cancelled`, …; `None` until it has ended.
    pub conclusion: Option<String>,
    /// Its page.
    pub url: String,
    /// When it was asked for.
    pub created: Option<Timestamp>,
    /// When this attempt began.
    pub started: Option<Timestamp>,
    /// When something last changed: its end, once it has ended.
    pub updated: Option<Timestamp>,
}

/// A job of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its number in the API.
    pub id: u64,
    /// Its name, with the values of a matrix.
    pub name: String,
    /// As for [`Run`].
    pub status: String,
    /// As for [`Run`].
    pub conclusion: Option<String>,
    /// Its page.
    pub url: String,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub completed: Option<Timestamp>,
    /// Its steps.
    pub steps: Vec<Step>,
}

/// A step of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its number within the job.
    pub number: u64,
    /// Its name.
    pub name: String,
    /// As for [`Run`].
    pub status: String,
    /// As for [`Run`].
    pub conclusion: Option<String>,
    /// When it began, to the second.
    pub started: Option<Timestamp>,
    /// When it ended, to the second.
    pub completed: Option<Timestamp>,
}

fn phase(status: &str) -> Phase {
    match status {
        "completed" => Phase::Ended,
        "in_progress" => Phase::Running,
        _ => Phase::Waiting,
    }
}

fn conclusion(status: &str, word: Option<&str>) -> Option<Conclusion> {
    if phase(status) != Phase::Ended {
        return None;
    }
    Some(match word {
        Some("success") => Conclusion::Success,
        Some("skipped" | "neutral") => Conclusion::Skipped,
        Some("cancelled" | "stale") => Conclusion::Cancelled,
        // failure, timed_out, action_required, startup_failure, and what is not known yet.
        _ => Conclusion::Failure,
    })
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn time(value: &Value, key: &str) -> Option<Timestamp> {
    value[key].as_str()?.parse().ok()
}

macro_rules! states {
    ($type:ty) => {
        impl $type {
            /// How far it is.
            #[must_use]
            pub fn phase(&self) -> Phase {
                phase(&self.status)
            }

            /// How it ended; `None` until it has.
            #[must_use]
            pub fn ended(&self) -> Option<Conclusion> {
                conclusion(&self.status, self.conclusion.as_deref())
            }

            /// GitHub's word for where it stands: the conclusion, else the status.
            #[must_use]
            pub fn word(&self) -> &str {
                self.conclusion.as_deref().unwrap_or(&self.status)
            }
        }
    };
}
states!(Run);
states!(Job);
states!(Step);

impl Workflow {
    pub(super) fn read(value: &Value) -> Option<Self> {
        let (name, path, state) = (text(value, "name"), text(value, "path"), text(value, "state"));
        Some(Self { id: value["id"].as_u64()?, name, path, state })
    }

    /// Its file without the directory.
    #[must_use]
    pub fn file(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

impl Run {
    pub(super) fn read(value: &Value) -> Option<Self> {
        let actor = [&value["triggering_actor"], &value["actor"]].into_iter().find_map(|who| who["login"].as_str());
        Some(Self {
            id: value["id"].as_u64()?,
            number: value["run_number"].as_u64().unwrap_or_default(),
            attempt: value["run_attempt"].as_u64().unwrap_or(1),
            workflow: text(value, "name"),
            title: text(value, "display_title"),
            event: text(value, "event"),
            branch: text(value, "head_branch"),
            sha: text(value, "head_sha"),
            actor: actor.unwrap_or_default().to_owned(),
            status: text(value, "status"),
            conclusion: value["conclusion"].as_str().map(str::to_owned),
            url: text(value, "html_url"),
            created: time(value, "created_at"),
            started: time(value, "run_started_at"),
            updated: time(value, "updated_at"),
        })
    }

    /// As JSON, in the words of the API.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "id": self.id, "number": self.number, "attempt": self.attempt, "workflow": self.workflow,
            "title": self.title, "event": self.event, "branch": self.branch, "sha": self.sha, "actor": self.actor,
            "status": self.status, "conclusion": self.conclusion, "url": self.url,
            "created": self.created.map(|t| t.to_string()), "started": self.started.map(|t| t.to_string()),
            "updated": self.updated.map(|t| t.to_string()),
        })
    }
}

impl Job {
    pub(super) fn read(value: &Value) -> Option<Self> {
        Some(Self {
            id: value["id"].as_u64()?,
            name: text(value, "name"),
            status: text(value, "status"),
            conclusion: value["conclusion"].as_str().map(str::to_owned),
            url: text(value, "html_url"),
            started: time(value, "started_at"),
            completed: time(value, "completed_at"),
            steps: value["steps"].as_array().into_iter().flatten().filter_map(Step::read).collect(),
        })
    }

    /// As JSON, in the words of the API.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "id": self.id, "name": self.name, "status": self.status, "conclusion": self.conclusion, "url": self.url,
            "started": self.started.map(|t| t.to_string()), "completed": self.completed.map(|t| t.to_string()),
            "steps": self.steps.iter().map(Step::json).collect::<Vec<_>>(),
        })
    }
}

impl Step {
    fn read(value: &Value) -> Option<Self> {
        Some(Self {
            number: value["number"].as_u64()?,
            name: text(value, "name"),
            status: text(value, "status"),
            conclusion: value["conclusion"].as_str().map(str::to_owned),
            started: time(value, "started_at"),
            completed: time(value, "completed_at"),
        })
    }

    /// As JSON, in the words of the API.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "number": self.number, "name": self.name, "status": self.status, "conclusion": self.conclusion,
            "started": self.started.map(|t| t.to_string()), "completed": self.completed.map(|t| t.to_string()),
        })
    }
}
