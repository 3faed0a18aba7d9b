//! `cooperage scan db`: builds the offline database of vulnerabilities from OSV's exports, and says what is in it.
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::scan::db::{self, DEFAULT_MAX_AGE, Database, DbError, Info, Source};
use ::scan::ecosystem;
use build::source::http::{Answer, HttpClient, HttpError, Request};
use build::source::redact;
use clap::{Args, Subcommand};

use crate::app::Context;
use crate::args::build::{PlaceArgs, RegistryFlags};
use crate::args::values;
use crate::config::{Flags, Settings};
use crate::error::{CliError, Result};
use crate::progress::bytes;

/// Where OSV publishes its exports.
const OSV: &str = "https://osv-vulnerabilities.storage.googleapis.com";

/// Build the database of vulnerabilities, or say what is in it.
#[derive(Debug, Args)]
pub(crate) struct DbArgs {
    #[command(subcommand)]
    command: DbCommand,
}

#[derive(Debug, Subcommand)]
enum DbCommand {
    /// Build the database anew, from OSV's exports, a mirror of them, or files
    Update(Box<UpdateArgs>),
    /// Say what is in the database, from where and how old it is; fails where there is none or it is too old
    Status(Box<StatusArgs>),
}

const UPDATE: &str = "\
Examples:
  cooperage scan db update                                         the worlds of most images, from OSV
  cooperage scan db update --ecosystem Ubuntu --ecosystem PyPI     these two alone
  cooperage scan db update --from https://osv.example.com/mirror   a mirror: ECOSYSTEM/all.zip below that address
  cooperage scan db update --from /srv/osv --from advisories.zip   files: a mirror, records in directories or archives";

#[derive(Debug, Args)]
#[command(after_help = UPDATE)]
struct UpdateArgs {
    /// Take the export of this world, as OSV names it; may be given several times (default: Debian, Alpine, npm, PyPI,
    /// crates.io, Go, Maven and RubyGems, which hold GitHub's advisories too)
    #[arg(long, value_name = "NAME")]
    ecosystem: Vec<String>,
    /// Where from: the address or directory of a mirror, an archive, or a directory of records; may be given several
    /// times (default: OSV)
    #[arg(long, value_name = "URL|PATH")]
    from: Vec<String>,
    /// The database, a file or its directory (default: scan/osv.db in the store) [env: COOPERAGE_SCAN_DB]
    #[arg(long, value_name = "PATH")]
    db: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    registries: RegistryFlags,
}

#[derive(Debug, Args)]
struct StatusArgs {
    /// The database, a file or its directory (default: scan/osv.db in the store) [env: COOPERAGE_SCAN_DB]
    #[arg(long, value_name = "PATH")]
    db: Option<PathBuf>,
    /// How old it may be, such as 24h or 30d (default: 7d)
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    max_db_age: Option<i64>,
    /// text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(crate) fn run(args: &DbArgs, context: &Context<'_>) -> Result<()> {
    match &args.command {
        DbCommand::Update(args) => update(args, context),
        DbCommand::Status(args) => status(args, context),
    }
}

/// The database's file: the flag, else the variable, else in the store.
pub(crate) fn path(flag: Option<&Path>, settings: &Settings, context: &Context<'_>) -> PathBuf {
    match flag.or(context.env.get("COOPERAGE_SCAN_DB").filter(|path| !path.is_empty()).map(Path::new)) {
        Some(path) => {
            let path = context.env.path(path);
            if path.is_dir() { path.join("osv.db") } else { path }
        }
        None => settings.root.value.join("scan").join("osv.db"),
    }
}

/// How old a database may be.
pub(crate) fn max_age(flag: Option<i64>) -> Duration {
    flag.map_or(DEFAULT_MAX_AGE, |seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// An error of the database, with what to do about it.
pub(crate) fn failed(error: &DbError) -> CliError {
    let said = CliError::usage(error.to_string());
    match error {
        DbError::Missing(_) => said.hint("build it with: cooperage scan db update"),
        DbError::Stale { .. } => said
            .hint("build it anew with: cooperage scan db update")
            .hint("where an older one will do, say how old it may be: --max-db-age 30d"),
        DbError::Unreadable { .. } => said.hint("build it anew with: cooperage scan db update"),
        DbError::NotCovered { ecosystems, .. } => {
            let mut all: Vec<&str> = ecosystem::DEFAULT.to_vec();
            all.extend(ecosystems.iter().map(String::as_str).filter(|name| !ecosystem::DEFAULT.contains(name)));
            let flags: String = all
                .iter()
                .map(|name| {
                    let quote = if name.contains(' ') { "\"" } else { "" };
                    format!(" --ecosystem {quote}{name}{quote}")
                })
                .collect();
            let flags = if all.len() == ecosystem::DEFAULT.len() { String::new() } else { flags };
            said.hint(format!(
                "the image has packages of it; build a database that has them: cooperage scan db update{flags}"
            ))
        }
        DbError::Cancelled => CliError::interrupted(),
        _ => CliError::failed(error.to_string()),
    }
}

fn settings(place: &PlaceArgs, registries: Option<&RegistryFlags>, context: &Context<'_>) -> Result<Settings> {
    let flags = Flags { place: Some(place), registries, config: context.config.clone(), ..Flags::default() };
    Settings::load(&flags, context.env)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What is to be read, as the command line says it.
enum From {
    Address { ecosystem: Option<String>, url: String },
    File(Source),
}

fn update(args: &UpdateArgs, context: &Context<'_>) -> Result<()> {
    let settings = settings(&args.place, Some(&args.registries), context)?;
    let path = path(args.db.as_deref(), &settings, context);
    let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
    let all = plan(args, context)?;
    std::fs::create_dir_all(&directory).map_err(|error| CliError::io("cannot create", &directory, &error))?;
    let _lock = alone(&directory, context)?;
    let scratch = tempfile::Builder::new().prefix(SCRATCH).tempdir_in(&directory);
    let scratch = scratch.map_err(|error| CliError::io("cannot write in", &directory, &error))?;
    let mut loader = Loader {
        context,
        client: None,
        settings: &settings,
        scratch: scratch.path(),
        before: Database::open(&path).ok().map(|database| database.info().clone()).unwrap_or_default(),
        kept: Vec::new(),
    };
    let Some((sources, fetched)) = loader.fetch(all)? else {
        let info = db::touch(&path, now()).map_err(|error| failed(&error))?;
        context.ui.note("nothing has changed since the last update");
        return context.ui.out(&summary(&path, &info));
    };
    let report = db::build(&path, &sources, fetched, &mut |_, _| !context.cancel.is_cancelled())
        .map_err(|error| failed(&error))?;
    for warning in &report.warnings {
        context.ui.warn(&format!("left out: {warning}"));
    }
    let more = report.warned - report.warnings.len();
    if more > 0 {
        context.ui.warn(&format!("left out: {more} more"));
    }
    context.ui.out(&summary(&path, &report.info))
}

/// What an update writes beside the database has names that begin like this.
const SCRATCH: &str = ".osv-";

/// Waits until no other update is at work in this directory, and removes what killed ones left. The lock is the
/// directory's own: none where its file system has no locks.
fn alone(directory: &Path, context: &Context<'_>) -> Result<Option<File>> {
    let lock = File::open(directory).map_err(|error| CliError::io("cannot read", directory, &error))?;
    let mut told = false;
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(_)) => return Ok(None),
            Err(TryLockError::WouldBlock) if context.cancel.is_cancelled() => return Err(CliError::interrupted()),
            Err(TryLockError::WouldBlock) => {
                if !told {
                    context.ui.note("waiting for another update to end");
                }
                told = true;
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(SCRATCH)) {
        // What cannot be removed stays; it is in nobody's way.
        let _ = std::fs::remove_dir_all(entry.path());
    }
    Ok(Some(lock))
}

fn summary(path: &Path, info: &Info) -> String {
    let size = std::fs::metadata(path).map(|meta| meta.len()).unwrap_or(0);
    let worlds: Vec<&str> = info.ecosystems.iter().filter(|(_, e)| e.whole).map(|(name, _)| name.as_str()).collect();
    format!("{}: {} records of {} ({})\n", path.display(), info.records, worlds.join(", "), bytes(size))
}

/// What `--from` and `--ecosystem` mean.
fn plan(args: &UpdateArgs, context: &Context<'_>) -> Result<Vec<From>> {
    for name in &args.ecosystem {
        if ecosystem::order(name).is_none() {
            let known: Vec<&str> = ecosystem::known().collect();
            let near = known.iter().find(|known| known.eq_ignore_ascii_case(name));
            let error = CliError::usage(format!("--ecosystem {name}: packages of this world are not found in images"));
            return Err(match near {
                Some(near) => error.hint(format!("OSV writes it {near}")),
                None => error.hint(format!("known are {}", known.join(", "))),
            });
        }
    }
    let wanted: Vec<String> = match args.ecosystem.as_slice() {
        [] => ecosystem::DEFAULT.iter().map(|name| (*name).to_owned()).collect(),
        some => some.to_vec(),
    };
    let default = [OSV.to_owned()];
    let mut all = Vec::new();
    for from in if args.from.is_empty() { &default[..] } else { &args.from } {
        if from.starts_with("http://") || from.starts_with("https://") {
            if from.ends_with(".zip") {
                all.push(From::Address { ecosystem: None, url: from.clone() });
                continue;
            }
            for name in &wanted {
                let url = format!("{}/{}/all.zip", from.trim_end_matches('/'), name.replace(' ', "%20"));
                all.push(From::Address { ecosystem: Some(name.clone()), url });
            }
            continue;
        }
        let path = context.env.path(from);
        if !path.exists() {
            return Err(CliError::usage(format!("--from {from}: there is no such file or directory"))
                .hint("an address begins with https://"));
        }
        let source = |ecosystem: Option<&str>, path: PathBuf| {
            let origin = path.display().to_string();
            From::File(Source { ecosystem: ecosystem.map(str::to_owned), path, origin, etag: None })
        };
        let export = |name: &str| Some(path.join(name).join("all.zip")).filter(|path| path.is_file());
        if ecosystem::known().any(|name| export(name).is_some()) {
            // A mirror: what was asked for must be there; where nothing was, all that is.
            let names: Vec<&str> = match args.ecosystem.as_slice() {
                [] => ecosystem::known().filter(|name| export(name).is_some()).collect(),
                some => some.iter().map(String::as_str).collect(),
            };
            for name in names {
                let Some(path) = export(name) else {
                    return Err(CliError::usage(format!("--from {from}: there is no {name}/all.zip in it")));
                };
                all.push(source(Some(name), path));
            }
        } else {
            all.push(source(None, path));
        }
    }
    Ok(all)
}

struct Loader<'a> {
    context: &'a Context<'a>,
    client: Option<HttpClient>,
    settings: &'a Settings,
    /// Where downloads are kept while they are needed.
    scratch: &'a Path,
    before: Info,
    kept: Vec<tempfile::NamedTempFile>,
}

impl Loader<'_> {
    /// Files for all that is to be read, and when they were fetched; none where nothing has changed.
    fn fetch(&mut self, all: Vec<From>) -> Result<Option<(Vec<Source>, u64)>> {
        let mut fetched = None;
        let mut sources: Vec<Option<Source>> = Vec::new();
        let mut same = self.before.sources.len() == all.len();
        for (number, from) in all.iter().enumerate() {
            sources.push(match from {
                From::File(source) => {
                    same = false;
                    let modified = source.modified();
                    let seconds = modified.and_then(|time| Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs()));
                    fetched = fetched.max(seconds);
                    Some(source.clone())
                }
                From::Address { ecosystem, url } => {
                    fetched = Some(now());
                    let before = self.before.sources.get(number);
                    let known = before.filter(|b| same && b.origin == redact(url) && b.ecosystem == *ecosystem);
                    let etag = known.and_then(|before| before.etag.clone());
                    let source = self.download(ecosystem.as_deref(), url, etag.as_deref())?;
                    same &= source.is_none();
                    source
                }
            });
        }
        if same {
            return Ok(None);
        }
        // Some have changed: the others are needed as well.
        for (from, source) in all.iter().zip(&mut sources) {
            if let (From::Address { ecosystem, url }, None) = (from, &source) {
                *source = self.download(ecosystem.as_deref(), url, None)?;
            }
        }
        Ok(Some((sources.into_iter().flatten().collect(), fetched.unwrap_or_else(now).min(now()))))
    }

    /// An archive; none where the server says that it is the same.
    fn download(&mut self, ecosystem: Option<&str>, url: &str, etag: Option<&str>) -> Result<Option<Source>> {
        let client = match &self.client {
            Some(client) => client.clone(),
            None => {
                let options = super::super::client_options(self.settings, self.context.env);
                let client = HttpClient::new(&options.trust, &options.proxy, &options.user_agent);
                self.client.insert(client.map_err(|error| CliError::failed(error.to_string()))?).clone()
            }
        };
        let request = Request {
            url,
            checksum: None,
            authorization: None,
            etag,
            temp_dir: self.scratch,
            progress: &|_, _| {},
            cancelled: &|| self.context.cancel.is_cancelled(),
        };
        let download = match client.download(&request) {
            Ok(Answer::File(download)) => download,
            Ok(Answer::NotModified) => return Ok(None),
            Err(HttpError::Cancelled) => return Err(CliError::interrupted()),
            Err(error) => {
                let said = CliError::failed(error.to_string());
                let said = match ecosystem {
                    Some(name) if matches!(error, HttpError::Status { code: 404 | 403, .. }) => {
                        said.hint(format!("there is no export of {name} at that address"))
                    }
                    _ => error.hint().into_iter().fold(said, CliError::hint),
                };
                return Err(said.hint("where there is no network, build it from files: --from DIRECTORY"));
            }
        };
        self.context.ui.note(&format!("{}: {}", redact(url), bytes(download.size)));
        let path = download.file.path().to_owned();
        self.kept.push(download.file);
        Ok(Some(Source { ecosystem: ecosystem.map(str::to_owned), path, origin: redact(url), etag: download.etag }))
    }
}

fn status(args: &StatusArgs, context: &Context<'_>) -> Result<()> {
    let settings = settings(&args.place, None, context)?;
    let path = path(args.db.as_deref(), &settings, context);
    let database = Database::open(&path).map_err(|error| failed(&error))?;
    let (info, now, max) = (database.info(), SystemTime::now(), max_age(args.max_db_age));
    let stale = database.check_age(now, max);
    let fetched = i64::try_from(info.fetched).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let fetched = fetched.map_or_else(|| "?".to_owned(), |stamp| stamp.to_string());
    if args.format == "json" {
        let json = serde_json::json!({
            "path": path, "fetched": fetched, "ageSeconds": database.age(now).as_secs(), "stale": stale.is_err(),
            "records": info.records, "sources": info.sources, "ecosystems": info.ecosystems,
        });
        context.ui.out(&format!("{json:#}\n"))?;
    } else {
        let mut out = summary(&path, info);
        out.push_str(&format!("fetched {fetched}, {} ago\n\n", db::words(database.age(now))));
        out.push_str(&format!(
            "{:12}  {:>8}  {:>8}  {:20}  FROM\n",
            "ECOSYSTEM", "RECORDS", "PACKAGES", "NEWEST RECORD"
        ));
        for (name, world) in info.ecosystems.iter().filter(|(_, world)| world.whole) {
            let newest = world.newest.get(..19).map_or_else(|| world.newest.clone(), |time| format!("{time}Z"));
            let own = info.sources.iter().filter(|s| s.ecosystem.as_ref().is_none_or(|e| e == name));
            let origins: Vec<&str> = own.map(|source| source.origin.as_str()).collect();
            out.push_str(&format!(
                "{name:12}  {:>8}  {:>8}  {newest:20}  {}\n",
                world.records,
                world.packages,
                origins.join(", ")
            ));
        }
        context.ui.out(&out)?;
    }
    stale.map_err(|error| failed(&error))
}
