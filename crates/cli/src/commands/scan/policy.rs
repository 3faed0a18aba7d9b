//! The flags that say what counts and what fails, and the files that they name.
use std::path::PathBuf;

use ::scan::{Policy, Severity, ignore, vex};
use clap::Args;

use crate::app::Context;
use crate::error::{CliError, Result};

/// Where the rules are looked for, in the current directory and above it.
const RULES: &str = ".cooperage/ignore.yaml";

/// More than this of a file of rules or a VEX document is refused.
const LARGEST: u64 = 64 << 20;

#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    /// End with code 3 where something is as severe as this or more: low, medium, high, critical, or any
    #[arg(long, value_name = "SEVERITY", value_parser = fail_on, help_heading = "Policy")]
    pub(super) fail_on: Option<Severity>,
    /// Do not count what has no fix
    #[arg(long, help_heading = "Policy")]
    ignore_unfixed: bool,
    /// Rules for what does not count (default: the nearest .cooperage/ignore.yaml, here or above)
    #[arg(long, value_name = "FILE", help_heading = "Policy")]
    ignore_file: Option<PathBuf>,
    /// Read no rules
    #[arg(long, conflicts_with = "ignore_file", help_heading = "Policy")]
    no_ignore_file: bool,
    /// An OpenVEX document: what it calls not affected or fixed does not count
    #[arg(long, value_name = "FILE", help_heading = "Policy")]
    vex: Vec<PathBuf>,
}

fn fail_on(text: &str) -> std::result::Result<Severity, String> {
    match text {
        "any" | "unknown" => Ok(Severity::Unknown),
        text => text
            .parse()
            .map_err(|_| format!("{text:?} is no severity; known are low, medium, high, critical, negligible, any")),
    }
}

impl PolicyArgs {
    /// Reads what the flags name.
    pub(super) fn load(&self, context: &Context<'_>) -> Result<Policy> {
        let mut policy = Policy { fail_on: self.fail_on, ignore_unfixed: self.ignore_unfixed, ..Policy::default() };
        if let Some(path) = self.rules(context) {
            let text = String::from_utf8(read(&path)?)
                .map_err(|_| CliError::usage(format!("{} is not UTF-8", path.display())))?;
            let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
            policy.rules = ignore::parse(&text, today).map_err(|error| wrong_rules(&path, &error))?;
        }
        for file in &self.vex {
            let path = context.env.path(file);
            let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            let document = vex::Document::parse(&name, &read(&path)?).map_err(|error| {
                CliError::usage(format!("{} cannot be used: {error}", path.display()))
                    .hint("--vex reads OpenVEX, https://openvex.dev; vexctl writes it")
            })?;
            policy.vex.push(document);
        }
        Ok(policy)
    }

    fn rules(&self, context: &Context<'_>) -> Option<PathBuf> {
        match &self.ignore_file {
            Some(file) => Some(context.env.path(file)),
            None if self.no_ignore_file => None,
            None => context.env.cwd.ancestors().map(|directory| directory.join(RULES)).find(|path| path.is_file()),
        }
    }
}

fn read(path: &std::path::Path) -> Result<Vec<u8>> {
    let size = std::fs::metadata(path).map_err(|e| input(path, &e))?.len();
    if size > LARGEST {
        return Err(CliError::usage(format!("{} is too large: {size} bytes", path.display())));
    }
    std::fs::read(path).map_err(|e| input(path, &e))
}

fn input(path: &std::path::Path, error: &std::io::Error) -> CliError {
    CliError::usage(format!("cannot read {}: {}", path.display(), crate::error::plain_io(error)))
}

/// All problems of a file of rules, each with its place.
fn wrong_rules(path: &std::path::Path, error: &ignore::IgnoreError) -> CliError {
    let mut report = String::new();
    let mut helps: Vec<&str> = Vec::new();
    for problem in &error.0 {
        let mark = problem.mark;
        report.push_str(&format!("{}:{}:{}: {}\n", path.display(), mark.line, mark.column, problem.message));
        helps.extend(problem.help.as_deref().filter(|help| !helps.contains(help)).into_iter().collect::<Vec<_>>());
    }
    let message = format!("{} cannot be used", path.display());
    helps.into_iter().fold(CliError::usage(message).with_report(report), |error, help| error.hint(help))
}
