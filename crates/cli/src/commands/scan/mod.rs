//! `cooperage scan`: known vulnerabilities of what is in an image, and whether a policy allows them.
mod db;
mod external;
mod policy;
mod sbom;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ::scan::report::{self, Format, Options, Scanner};
use ::scan::{Database, Outcome, Severity};
use attest::inventory::Inventory;
use clap::{Args, ValueEnum};

use crate::app::Context;
use crate::args::build::{PlaceArgs, RegistryFlags};
use crate::args::values;
use crate::config::{Flags, Settings};
use crate::error::{CliError, Result};

const TEMPLATE: &str = "\
{about}

Examples:
  cooperage scan app:1.0                                    a table of what is known about an image in the store
  cooperage scan ghcr.io/me/app --fail-on high              exit code 3 where something is high or critical
  cooperage scan image.tar --format sarif -o scan.sarif     of an archive, for code scanning
  cooperage scan app --ignore-unfixed --vex app.vex.json
  cooperage scan app.spdx.json                              of an SBOM: what was shipped then, with what is known now
  cooperage scan app --scanner grype                        by another scanner, with the same policy

{usage-heading} {usage}

{all-args}{after-help}
";

const EXIT_CODES: &str = "\
Exit codes:
  0  nothing that --fail-on names
  1  the scan failed
  2  wrong usage or input; no database, or one that is too old
  3  something that --fail-on names was found";

/// The database's file: what was asked for, else the variable, else the one in the store.
pub(crate) fn database(flag: Option<&Path>, settings: &Settings, context: &Context<'_>) -> PathBuf {
    db::path(flag, settings, context)
}

/// Find known vulnerabilities of the packages in an image.
#[derive(Debug, Args)]
#[command(
    help_template = TEMPLATE,
    after_help = EXIT_CODES,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub(crate) struct ScanArgs {
    /// The image: a name (in the store, else in its registry), oci-layout://DIR[:TAG][@DIGEST], or an archive's path; or
    /// an SBOM: a file with SPDX or CycloneDX in JSON
    #[arg(value_name = "IMAGE|SBOM", required = true)]
    image: Option<String>,
    /// What to write
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "table")]
    format: ScanFormat,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Show findings of these severities alone, such as high,critical; what --fail-on names is always shown
    #[arg(long, value_name = "SEVERITY,…", value_delimiter = ',')]
    severity: Vec<Severity>,
    /// Which image of an index (default: this machine's)
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Ask the registry even where the store has the image
    #[arg(long)]
    remote: bool,
    #[command(flatten)]
    policy: policy::PolicyArgs,
    /// The vulnerability database, a file or its directory [env: COOPERAGE_SCAN_DB]
    #[arg(long, value_name = "PATH", help_heading = "Database")]
    db: Option<PathBuf>,
    /// How old the database may be, such as 12h or 30d (default: 7d)
    #[arg(long, value_name = "AGE", value_parser = values::duration, help_heading = "Database")]
    max_db_age: Option<i64>,
    /// Who looks: cooperage with its database, or trivy or grype where they are installed
    #[arg(long, value_enum, value_name = "NAME", default_value = "cooperage")]
    scanner: ScannerArg,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    registries: RegistryFlags,
    #[command(subcommand)]
    command: Option<ScanCommand>,
}

#[derive(Debug, clap::Subcommand)]
enum ScanCommand {
    /// Build the database of vulnerabilities, or say what is in it
    Db(db::DbArgs),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScanFormat {
    /// A line a finding
    Table,
    /// All that is known
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScannerArg {
    Cooperage,
    Trivy,
    Grype,
}

pub(crate) fn run(args: &ScanArgs, context: &Context<'_>) -> Result<()> {
    match (&args.command, &args.image) {
        (Some(ScanCommand::Db(args)), _) => db::run(args, context),
        (None, Some(image)) => scan(image, args, context),
        (None, None) => Err(CliError::usage("no image is named")),
    }
}

fn scan(image: &str, args: &ScanArgs, context: &Context<'_>) -> Result<()> {
    let flags = Flags {
        place: Some(&args.place),
        registries: Some(&args.registries),
        config: context.config.clone(),
        ..Flags::default()
    };
    let settings = Settings::load(&flags, context.env)?;
    // What can be wrong is found before an image is pulled.
    let policy = args.policy.load(context)?;
    let database = match args.scanner {
        ScannerArg::Cooperage => Some(open(args, &settings, context)?),
        ScannerArg::Trivy | ScannerArg::Grype => None,
    };
    let program = match args.scanner {
        ScannerArg::Cooperage => None,
        ScannerArg::Trivy => Some(external::find(::scan::external::Tool::Trivy, context)?),
        ScannerArg::Grype => Some(external::find(::scan::external::Tool::Grype, context)?),
    };
    let target = super::sbom::Target { image, platform: args.platform.as_deref(), remote: args.remote };
    let document = sbom::path(image, context)?;
    let inventory = match &document {
        Some(path) => sbom::read(path, args)?,
        None => super::sbom::take_inventory(&target, false, &settings, context)?,
    };
    for warning in &inventory.warnings {
        context.ui.warn(warning);
    }
    let (mut outcome, scanner) = match (&database, &program) {
        (Some(database), _) => {
            let outcome = ::scan::gate(&inventory, database, &policy).map_err(|error| db::failed(&error))?;
            (outcome, ours(database))
        }
        (None, Some(program)) => {
            let (found, scanner) =
                external::scan(program, &target, document.as_deref(), &inventory, &settings, context)?;
            (policy.judge(found, &inventory), scanner)
        }
        (None, None) => return Err(CliError::usage("no scanner was chosen")),
    };
    remarks(&outcome, args, context);
    let failing = outcome.findings.iter().filter(|judged| judged.fails).count();
    let hidden = if args.severity.is_empty() { 0 } else { outcome.show_only(&args.severity) };
    write(args, &outcome, &inventory, scanner, hidden, context)?;
    match args.policy.fail_on {
        Some(least) if failing > 0 => Err(refused(failing, least, &outcome)),
        _ => Ok(()),
    }
}

/// The database, young enough.
fn open(args: &ScanArgs, settings: &Settings, context: &Context<'_>) -> Result<Database> {
    let path = db::path(args.db.as_deref(), settings, context);
    let database = Database::open(&path).map_err(|error| db::failed(&error))?;
    database.check_age(SystemTime::now(), db::max_age(args.max_db_age)).map_err(|error| db::failed(&error))?;
    Ok(database)
}

/// Who looked, where it is us.
fn ours(database: &Database) -> Scanner {
    let fetched = i64::try_from(database.info().fetched).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    Scanner {
        name: "cooperage".into(),
        version: Some(env!("CARGO_PKG_VERSION").into()),
        database: fetched.map(|time| time.to_string()),
    }
}

/// What the reader should know beside the findings.
fn remarks(outcome: &Outcome, args: &ScanArgs, context: &Context<'_>) {
    for rule in &outcome.unused {
        let what = rule.id.as_ref().or(rule.package.as_ref()).or(rule.path.as_ref()).map_or("", String::as_str);
        context.ui.warn(&format!("the ignore rule for {what} in line {} fits nothing in this image", rule.line));
    }
    for uncovered in &outcome.uncovered {
        context.ui.warn(&format!(
            "{} packages of {} were not looked at: {}",
            uncovered.packages, uncovered.ecosystem, uncovered.reason
        ));
    }
    let unknown = outcome.count(Severity::Unknown);
    if unknown > 0 && args.policy.fail_on.is_some_and(|least| least > Severity::Unknown) {
        context
            .ui
            .warn(&format!("{unknown} findings have no severity, so --fail-on does not see them; --fail-on any does"));
    }
}

fn write(
    args: &ScanArgs,
    outcome: &Outcome,
    inventory: &Inventory,
    scanner: Scanner,
    hidden: usize,
    context: &Context<'_>,
) -> Result<()> {
    let options = Options {
        created: super::sbom::created(context)?,
        tool: ("cooperage".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        scanner,
        hidden,
    };
    let format = match args.format {
        ScanFormat::Table => Format::Table,
        ScanFormat::Json => Format::Json,
        ScanFormat::Sarif => Format::Sarif,
    };
    super::sbom::write(args.output.as_deref(), context, |out| report::write(format, outcome, inventory, &options, out))
}

fn refused(failing: usize, least: Severity, outcome: &Outcome) -> CliError {
    let what = match least {
        Severity::Unknown => String::new(),
        Severity::Critical => " that are critical".to_owned(),
        least => format!(" that are {least} or worse"),
    };
    let vulnerabilities = if failing == 1 { "vulnerability" } else { "vulnerabilities" };
    let fixable = outcome.findings.iter().filter(|j| j.fails && !j.finding.fixed.is_empty()).count();
    let error =
        CliError::refused(format!("the policy allows no vulnerabilities{what}; {failing} {vulnerabilities} found"));
    let error = match fixable {
        0 => error,
        1 => error.hint("1 of them has a fix: rebuild on a newer base image, or update the package"),
        n => error.hint(format!("{n} of them have a fix: rebuild on a newer base image, or update the packages")),
    };
    error.hint("what does not matter here is said in .cooperage/ignore.yaml, or in an OpenVEX document (--vex)")
}
