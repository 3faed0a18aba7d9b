//! The table of Dockerfiles under `tests/dockerfiles`: one small case per idea of the language.
//!
//! A case is a directory: `case.toml` ([`Case`]), a Dockerfile, context files, and `expected.json`
//! ([`Expected`]), which holds what a real builder made of it, as facts, not bytes: a table of files
//! (only what differs from the base image) and the config. `cargo xtask corpus record` writes it;
//! where no builder at hand knows a feature, it was written by hand from the reference documentation
//! and says so in `peer`.
//!
//! Two comparisons come from that: the product against the records ([`check`]), fast, in every test
//! run; and a live BuildKit against the records, so that the records stay true.
mod case;
mod expected;
mod servers;
mod world;

pub use case::{Case, Peer};
pub use expected::{Expected, Known};
pub use servers::{FileServer, GitServer};
pub use world::World;

use crate::{Builder, Difference, Error, Result};
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What came of one case.
#[derive(Debug)]
pub enum Outcome {
    /// As recorded.
    Equal,
    /// Not as recorded.
    Different(Vec<Difference>),
    /// The build failed where the record has an image, or the other way round; the end of the log.
    Verdict(String),
    /// The test itself could not run.
    Broken(String),
}

/// A case's name and what came of it.
#[derive(Debug)]
pub struct Row {
    /// The case.
    pub name: String,
    /// What the case is about.
    pub about: String,
    /// The result.
    pub outcome: Outcome,
    /// Why a difference is accepted, from `KNOWN.toml`.
    pub known: Option<String>,
}

/// All rows of a run.
#[derive(Debug)]
pub struct Report {
    /// Who built.
    pub builder: String,
    /// By name.
    pub rows: Vec<Row>,
}

impl Report {
    /// Rows that make the test fail: differences that are not listed, and listed ones that are gone.
    #[must_use]
    pub fn failures(&self) -> Vec<&Row> {
        self.rows.iter().filter(|row| matches!(row.outcome, Outcome::Equal) == row.known.is_some()).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let equal = self.rows.iter().filter(|row| matches!(row.outcome, Outcome::Equal)).count();
        writeln!(f, "{}: {equal} of {} cases as recorded", self.builder, self.rows.len())?;
        for row in &self.rows {
            match (&row.outcome, &row.known) {
                (Outcome::Equal, None) => {}
                (Outcome::Equal, Some(reason)) => {
                    writeln!(f, "\n{}: equal, but KNOWN.toml lists it ({reason}): take it out", row.name)?;
                }
                (_, Some(reason)) => writeln!(f, "\n{}: known difference: {reason}", row.name)?,
                (Outcome::Different(differences), None) => {
                    writeln!(f, "\n{} ({}): {} differences", row.name, row.about, differences.len())?;
                    for difference in differences.iter().take(12) {
                        writeln!(f, "  {difference}")?;
                    }
                }
                (Outcome::Verdict(text), None) => writeln!(f, "\n{} ({}): {text}", row.name, row.about)?,
                (Outcome::Broken(text), None) => writeln!(f, "\n{}: the test is broken: {text}", row.name)?,
            }
        }
        Ok(())
    }
}

/// How strictly a builder is held to the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// Files, config, history, and the text of errors: the product.
    Product,
    /// Files and config: an older BuildKit, whose history and errors have other words.
    OlderPeer,
}

/// Builds every case and compares with its record.
pub fn check(builder: &dyn Builder, world: &World, cases: &[Case], known: &Known, strictness: Strictness) -> Report {
    let rows = each(cases, |case| Row {
        name: case.name.clone(),
        about: case.about.clone(),
        outcome: check_one(builder, world, case, strictness).unwrap_or_else(|error| Outcome::Broken(error.to_string())),
        known: known.reason(&case.name),
    });
    Report { builder: builder.name(), rows }
}

fn check_one(builder: &dyn Builder, world: &World, case: &Case, strictness: Strictness) -> Result<Outcome> {
    let expected = Expected::load(case)?;
    let prepared = world.prepare(case)?;
    let built = builder.build(&prepared.input)?;
    let last = |log: &str| {
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n    ")
    };
    let image = match (&built.image, &case.fails) {
        (None, Some(text)) if strictness == Strictness::OlderPeer || built.log.contains(text.as_str()) => {
            return Ok(Outcome::Equal);
        }
        (None, Some(text)) => {
            return Ok(Outcome::Verdict(format!("fails without saying {text:?}:\n    {}", last(&built.log))));
        }
        (Some(_), Some(_)) => return Ok(Outcome::Verdict("builds, but must fail".to_owned())),
        (None, None) => return Ok(Outcome::Verdict(format!("does not build:\n    {}", last(&built.log)))),
        (Some(image), None) => image,
    };
    let mut actual = Expected::of(image, case, world, builder.name())?;
    if let (Strictness::OlderPeer, Some(config), Some(expected)) = (strictness, &mut actual.config, &expected.config) {
        config.history.clone_from(&expected.history);
    }
    let differences = expected.differences(&actual, case);
    Ok(if differences.is_empty() { Outcome::Equal } else { Outcome::Different(differences) })
}

/// Builds every case and writes its record; says which did not do what the case says.
pub fn record(builder: &dyn Builder, world: &World, cases: &[Case]) -> Vec<(String, String)> {
    let results = each(cases, |case| (case.name.clone(), record_one(builder, world, case)));
    results.into_iter().filter_map(|(name, result)| result.err().map(|error| (name, error.to_string()))).collect()
}

fn record_one(builder: &dyn Builder, world: &World, case: &Case) -> Result<()> {
    let prepared = world.prepare(case)?;
    let built = builder.build(&prepared.input)?;
    match (&built.image, &case.fails) {
        (None, Some(_)) => Expected::failure(builder.name()).save(case),
        (Some(_), Some(_)) => Err(Error::new("builds, but the case says that it must fail")),
        (None, None) => Err(Error::new(format!("does not build:\n{}", built.log))),
        (Some(image), None) => Expected::of(image, case, world, builder.name())?.save(case),
    }
}

/// Runs a function over all cases on as many threads as there are cores; results in order.
fn each<T: Send>(cases: &[Case], work: impl Fn(&Case) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(8);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((number, case)) = {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    cases.get(number).map(|case| (number, case))
                } {
                    let result = work(case);
                    results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((number, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}
