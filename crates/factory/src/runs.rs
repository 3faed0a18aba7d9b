//! Run records: one embedded SQLite database for all factories of a store.
//!
//! ```text
//! ROOT/factory/runs.sqlite          runs and their steps
//! ROOT/factory/logs/RUN/STEP.log    what a step said
//! ```
//!
//! A step's output is written in the same transaction as its status, after its effect: a run that was
//! killed between the two does the step again, so every step with an effect outside asks first
//! whether the effect is there already.
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What went wrong with the records.
#[derive(Debug, thiserror::Error)]
pub enum RunsError {
    /// The database.
    #[error("the run records in {path} cannot be used: {source}")]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// A file beside it.
    #[error("cannot write {path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// One run of an image at a time.
    #[error(
        "another run of {image} is going on; follow it with `cooperage factory logs {image} --follow`, and try again when it has ended"
    )]
    Busy {
        /// Which.
        image: String,
    },
    /// It is newer than this program.
    #[error("the run records in {path} were written by a newer version of cooperage (schema {found})")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
}

/// How a run or a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunStatus {
    /// It is being done, or its process was killed.
    Running,
    /// It did what it should.
    Done,
    /// It was not needed or cannot be done here; the message says why.
    Skipped,
    /// It failed.
    Failed,
}

impl RunStatus {
    /// As it is stored and shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }

    fn of(name: &str) -> Self {
        [Self::Done, Self::Skipped, Self::Failed].into_iter().find(|s| s.name() == name).unwrap_or(Self::Running)
    }
}

/// One execution of a pipeline.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its number.
    pub id: i64,
    /// `images.yaml`
    pub factory: String,
    /// The image.
    pub image: String,
    /// How it stands.
    pub status: RunStatus,
    /// Seconds since 1970.
    pub started: i64,
    /// Seconds since 1970.
    pub ended: Option<i64>,
    /// Why it was started: `manual`, `base`, …
    pub trigger: String,
    /// What it was asked for.
    pub options: Value,
    /// The version.
    pub version: Option<String>,
    /// The digest.
    pub digest: Option<String>,
    /// The process.
    pub pid: i64,
}

/// One step of a run.
#[derive(Debug, Clone)]
pub struct StepRecord {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub status: RunStatus,
    /// Seconds since 1970.
    pub started: i64,
    /// Milliseconds.
    pub took: Option<i64>,
    /// One line: why it was skipped or failed.
    pub message: String,
    /// What later steps need of it, and its artefacts.
    pub output: Value,
}

/// The records.
#[derive(Debug)]
pub struct Runs {
    db: Connection,
    dir: PathBuf,
}

const VERSION: i64 = 1;
const SCHEMA: &str = "
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, factory TEXT NOT NULL, image TEXT NOT NULL, status TEXT NOT NULL,
    started INTEGER NOT NULL, ended INTEGER, cause TEXT NOT NULL, options TEXT NOT NULL,
    version TEXT, digest TEXT, pid INTEGER NOT NULL
);
CREATE INDEX runs_of_image ON runs (factory, image, id);
CREATE TABLE steps (
    run INTEGER NOT NULL REFERENCES runs (id), position INTEGER NOT NULL, name TEXT NOT NULL, status TEXT NOT NULL,
    started INTEGER NOT NULL, took INTEGER, message TEXT NOT NULL, output TEXT NOT NULL, PRIMARY KEY (run, name)
);
";

impl Runs {
    /// Opens the records in `root/factory`.
    ///
    /// # Errors
    /// [`RunsError`]
    pub fn open(root: &Path) -> Result<Self, RunsError> {
        let dir = root.join("factory");
        std::fs::create_dir_all(&dir).map_err(|source| RunsError::Io { path: dir.clone(), source })?;
        let path = dir.join("runs.sqlite");
        let fail = |source| RunsError::Database { path: path.clone(), source };
        let mut db = Connection::open(&path).map_err(fail)?;
        db.busy_timeout(Duration::from_secs(30)).map_err(fail)?;
        db.pragma_update(None, "journal_mode", "WAL").map_err(fail)?;
        db.pragma_update(None, "foreign_keys", "ON").map_err(fail)?;
        let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(fail)?;
        let found: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(fail)?;
        match found {
            0 => {
                tx.execute_batch(SCHEMA).map_err(fail)?;
                tx.pragma_update(None, "user_version", VERSION).map_err(fail)?;
            }
            VERSION => {}
            found => return Err(RunsError::Newer { path: path.clone(), found }),
        }
        tx.commit().map_err(fail)?;
        Ok(Self { db, dir })
    }

    fn fail(&self) -> impl FnOnce(rusqlite::Error) -> RunsError {
        let path = self.dir.join("runs.sqlite");
        move |source| RunsError::Database { path, source }
    }

    /// The image is this process's until the file is dropped: two runs would give the same version twice.
    ///
    /// # Errors
    /// [`RunsError::Busy`] where another process has it.
    pub fn lock(&self, factory: &str, image: &str) -> Result<std::fs::File, RunsError> {
        let dir = self.dir.join("locks");
        let hash = factory
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let path = dir.join(format!("{image}-{hash:016x}"));
        let fail = |source| RunsError::Io { path: path.clone(), source };
        std::fs::create_dir_all(&dir).map_err(fail)?;
        let file = std::fs::File::options().create(true).append(true).open(&path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => Err(RunsError::Busy { image: image.to_owned() }),
            Err(std::fs::TryLockError::Error(source)) => Err(fail(source)),
        }
    }

    /// Begins a run.
    ///
    /// # Errors
    /// [`RunsError`]
    pub fn begin(
        &self,
        factory: &str,
        image: &str,
        trigger: &str,
        options: &Value,
        now: i64,
    ) -> Result<i64, RunsError> {
        let text = "INSERT INTO runs (factory, image, status, started, cause, options, pid) VALUES (?1, ?2, 'running', ?3, ?4, ?5, ?6)";
        let values = params![factory, image, now, trigger, options.to_string(), i64::from(std::process::id())];
        self.db.execute(text, values).map_err(self.fail())?;
        Ok(self.db.last_insert_rowid())
    }

    /// Takes a run up again.
    ///
    /// # Errors
    /// [`RunsError`]
    pub fn resume(&self, run: i64) -> Result<(), RunsError> {
        let text = "UPDATE runs SET status = 'running', ended = NULL, pid = ?2 WHERE id = ?1";
        self.db.execute(text, params![run, i64::from(std::process::id())]).map(drop).map_err(self.fail())
    }

    /// Ends a run.
    ///
    /// # Errors
    /// [`RunsError`]
    pub fn end(&self, run: i64, status: RunStatus, now: i64) -> Result<(), RunsError> {
        let text = "UPDATE runs SET status = ?2, ended = ?3 WHERE id = ?1";
        self.db.execute(text, params![run, status.name(), now]).map(drop).map_err(self.fail())
    }

    /// Notes version and digest.
    ///
    /// # Errors
    /// [`RunsError`]
    pub fn result(&self, run: i64, version: Option<&str>, digest: Option<&str>) -> Result<(), RunsError> {
        let text = "UPDATE runs SET version = coalesce(?2, version), digest = coalesce(?3, digest) WHERE id = ?1";
        self.db.execute(text, params![run, version, digest]).map(drop).map_err(self.fail())
    }

    /// Writes a step's record.
    ///
    /// # Errors
    /// [`RunsError`]
    pub fn put_step(&self, run: i64, position: usize, step: &StepRecord) -> Result<(), RunsError> {
        let text = "INSERT OR REPLACE INTO steps (run, position, name, status, started, took, message, output) \
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let position = i64::try_from(position).unwrap_or(i64::MAX);
        let output = step.output.to_string();
        let values =
            params![run, position, step.name, step.status.name(), step.started, step.took, step.message, output];
        self.db.execute(text, values).map(drop).map_err(self.fail())
    }

    /// The steps of a run, in order.
    ///
    /// # Errors
    /// [`RunsError`]
    pub fn steps(&self, run: i64) -> Result<Vec<StepRecord>, RunsError> {
        let text = "SELECT name, status, started, took, message, output FROM steps WHERE run = ?1 ORDER BY position";
        let mut query = self.db.prepare(text).map_err(self.fail())?;
        let rows = query.query_map([run], |row| {
            let output: String = row.get(5)?;
            Ok(StepRecord {
                name: row.get(0)?,
                status: RunStatus::of(&row.get::<_, String>(1)?),
                started: row.get(2)?,
                took: row.get(3)?,
                message: row.get(4)?,
                output: serde_json::from_str(&output).unwrap_or(Value::Null),
            })
        });
        rows.and_then(Iterator::collect).map_err(self.fail())
    }

    /// A run.
    ///
    /// # Errors
    /// [`RunsError`]
    pub fn run(&self, id: i64) -> Result<Option<Run>, RunsError> {
        let text = format!("SELECT {COLUMNS} FROM runs WHERE id = ?1");
        self.db.query_row(&text, [id], read_run).optional().map_err(self.fail())
    }

    /// Runs, the newest first; of one image or of all.
    ///
    /// # Errors
    /// [`RunsError`]
    pub fn list(&self, factory: &str, image: Option<&str>, limit: usize) -> Result<Vec<Run>, RunsError> {
        let text = format!(
            "SELECT {COLUMNS} FROM runs WHERE factory = ?1 AND (?2 IS NULL OR image = ?2) ORDER BY id DESC LIMIT ?3"
        );
        let mut query = self.db.prepare(&text).map_err(self.fail())?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = query.query_map(params![factory, image, limit], read_run);
        rows.and_then(Iterator::collect).map_err(self.fail())
    }

    /// The file of a step's log.
    #[must_use]
    pub fn log_file(&self, run: i64, step: &str) -> PathBuf {
        self.dir.join("logs").join(run.to_string()).join(format!("{step}.log"))
    }

    /// A directory of a run's own, for clones; kept until the run is done.
    #[must_use]
    pub fn work_dir(&self, run: i64) -> PathBuf {
        self.dir.join("work").join(run.to_string())
    }

    /// The directory with the documents that a run made.
    #[must_use]
    pub fn artefacts(&self, run: i64) -> PathBuf {
        self.dir.join("artefacts").join(run.to_string())
    }

    /// Adds to a step's log.
    ///
    /// # Errors
    /// [`RunsError::Io`]
    pub fn log(&self, run: i64, step: &str, text: &str) -> Result<(), RunsError> {
        let path = self.log_file(run, step);
        let write = || {
            std::fs::create_dir_all(path.parent().unwrap_or(&self.dir))?;
            std::fs::OpenOptions::new().create(true).append(true).open(&path)?.write_all(text.as_bytes())
        };
        write().map_err(|source| RunsError::Io { path: path.clone(), source })
    }
}

const COLUMNS: &str = "id, factory, image, status, started, ended, cause, options, version, digest, pid";

fn read_run(row: &Row<'_>) -> rusqlite::Result<Run> {
    let options: String = row.get(7)?;
    Ok(Run {
        id: row.get(0)?,
        factory: row.get(1)?,
        image: row.get(2)?,
        status: RunStatus::of(&row.get::<_, String>(3)?),
        started: row.get(4)?,
        ended: row.get(5)?,
        trigger: row.get(6)?,
        options: serde_json::from_str(&options).unwrap_or(Value::Null),
        version: row.get(8)?,
        digest: row.get(9)?,
        pid: row.get(10)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_steps_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let runs = Runs::open(dir.path()).unwrap();
        let options = serde_json::json!({ "tag": "1" });
        let turn = runs.lock("f", "a").unwrap();
        assert!(matches!(runs.lock("f", "a"), Err(RunsError::Busy { .. })));
        assert!(runs.lock("f", "b").is_ok() && runs.lock("g", "a").is_ok());
        drop(turn);
        assert!(runs.lock("f", "a").is_ok());
        let first = runs.begin("f", "a", "manual", &options, 10).unwrap();
        let other = runs.begin("f", "b", "base", &options, 11).unwrap();
        let mut step = StepRecord {
            name: "clone".into(),
            status: RunStatus::Running,
            started: 10,
            took: None,
            message: String::new(),
            output: Value::Null,
        };
        runs.put_step(first, 0, &step).unwrap();
        step.status = RunStatus::Done;
        step.output = serde_json::json!({ "commit": "abc" });
        runs.put_step(first, 0, &step).unwrap();
        runs.log(first, "clone", "a line\n").unwrap();
        runs.log(first, "clone", "another\n").unwrap();
        runs.result(first, Some("1.0.0"), None).unwrap();
        runs.end(first, RunStatus::Failed, 12).unwrap();
        drop(runs);
        let runs = Runs::open(dir.path()).unwrap();
        let list = runs.list("f", None, 10).unwrap();
        assert_eq!(list.iter().map(|run| run.id).collect::<Vec<_>>(), [other, first]);
        let run = runs.run(first).unwrap().unwrap();
        assert_eq!(
            (run.status, run.version.as_deref(), run.options["tag"].as_str()),
            (RunStatus::Failed, Some("1.0.0"), Some("1"))
        );
        let steps = runs.steps(first).unwrap();
        assert_eq!((steps.len(), steps[0].output["commit"].as_str()), (1, Some("abc")));
        assert_eq!(std::fs::read_to_string(runs.log_file(first, "clone")).unwrap(), "a line\nanother\n");
        assert!(runs.run(99).unwrap().is_none());
    }
}
