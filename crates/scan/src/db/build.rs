//! Makes a database of records.
//!
//! Records are read one after another. What is shown of them goes into blocks at once; what they say of packages goes
//! into one of many spool files, by the package's name, and each of these is then small enough to be put in order in
//! memory. A record that is there twice counts as its newest form says.
use super::source::{self, Source};
use super::{APPLICATION, DbError, Entry, FORMAT, Info, RECORDS_PER_BLOCK, SourceInfo, Text};
use crate::ecosystem;
use crate::osv::{Event, Record, VersionRange};
use rusqlite::Connection;
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::hash::BuildHasher;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

const SPOOLS: usize = 64;
/// More of one spool is refused: it could not be put in order in memory.
const MAX_SPOOL: u64 = 512 << 20;
const MAX_RECORDS: u32 = 5_000_000;
/// Warnings beyond this are only counted.
const MAX_WARNINGS: usize = 50;
const MAX_DETAILS: usize = 1000;
const MAX_REFERENCES: usize = 20;
const MAX_NAMES: usize = 500;

/// What became of an update.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What the database holds.
    pub info: Info,
    /// What could not be read: the file's name and why. No more than fifty.
    pub warnings: Vec<String>,
    /// How many warnings there were.
    pub warned: usize,
    /// Records that were withdrawn, or speak of nothing that is found in images.
    pub passed_over: u32,
}

/// Builds a database of `sources` at `path`, which is replaced in one step at the end. `fetched` is when the records
/// were fetched, in seconds since 1970; `progress` is told of each thousand records of a source, and says whether to go
/// on.
///
/// # Errors
/// Where a source cannot be read at all or has no record of what it should be about, or the database cannot be
/// written. A single record that cannot be read is a warning.
pub fn build(
    path: &Path,
    sources: &[Source],
    fetched: u64,
    progress: &mut dyn FnMut(&Source, u32) -> bool,
) -> Result<Report, DbError> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |why: String| DbError::Write { path: path.to_owned(), why };
    std::fs::create_dir_all(directory).map_err(|error| failed(error.to_string()))?;
    let scratch = tempfile::Builder::new().prefix(".osv-").tempdir_in(directory).map_err(|e| failed(e.to_string()))?;
    let mut builder = Builder::new(path, scratch.path())?;
    for source in sources {
        builder.take(source, progress)?;
    }
    let report = builder.finish(sources, fetched)?;
    let file = scratch.path().join("db");
    let synced = File::open(&file).and_then(|file| file.sync_all()).and_then(|()| std::fs::rename(&file, path));
    synced.map_err(|error| failed(error.to_string()))?;
    // So that the new name is there after a crash too.
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(|error| failed(error.to_string()))?;
    Ok(report)
}

/// Notes that the database at `path` was found to be up to date at `fetched`, in seconds since 1970.
///
/// # Errors
/// Where there is no database, or it cannot be written.
pub fn touch(path: &Path, fetched: u64) -> Result<Info, DbError> {
    let database = super::Database::open(path)?;
    let info = Info { fetched, ..database.info().clone() };
    drop(database);
    let failed = |why: String| DbError::Write { path: path.to_owned(), why };
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Readers hold the old file: it stays as it is.
    let copy = tempfile::Builder::new().prefix(".osv-").tempdir_in(directory).map_err(|e| failed(e.to_string()))?;
    let file = copy.path().join("db");
    std::fs::copy(path, &file).map_err(|error| failed(error.to_string()))?;
    let json = serde_json::to_string(&info).map_err(|error| failed(error.to_string()))?;
    let written = Connection::open(&file).and_then(|connection| {
        connection.execute("UPDATE meta SET value = ?1 WHERE key = 'info'", [json])?;
        connection.close().map_err(|(_, error)| error)
    });
    written.map_err(|error| failed(error.to_string()))?;
    let synced = File::open(&file).and_then(|file| file.sync_all()).and_then(|()| std::fs::rename(&file, path));
    synced.map_err(|error| failed(error.to_string()))?;
    Ok(info)
}

/// What is known of a record that was taken.
struct Taken {
    number: Option<u32>,
    modified: i64,
}

struct Builder<'a> {
    path: &'a Path,
    connection: Connection,
    spools: Vec<(BufWriter<File>, u64)>,
    hash: RandomState,
    /// By a hash of the name: a million names themselves would be much.
    taken: HashMap<u64, Taken>,
    /// Numbers of records of which a newer form came.
    superseded: HashSet<u32>,
    block: Vec<Text>,
    next: u32,
    releases: BTreeMap<&'static str, BTreeSet<String>>,
    report: Report,
}

impl<'a> Builder<'a> {
    fn new(path: &'a Path, scratch: &Path) -> Result<Self, DbError> {
        let failed = |why: String| DbError::Write { path: path.to_owned(), why };
        let spools: std::io::Result<Vec<_>> = (0..SPOOLS)
            .map(|n| {
                let file =
                    File::options().read(true).write(true).create_new(true).open(scratch.join(format!("spool{n}")))?;
                Ok((BufWriter::with_capacity(16 << 10, file), 0))
            })
            .collect();
        let spools = spools.map_err(|error| failed(error.to_string()))?;
        let connection = Connection::open(scratch.join("db")).map_err(|error| failed(error.to_string()))?;
        // Nobody sees it before it is whole.
        let setup = format!(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -16384;
             PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {FORMAT};
             CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
             CREATE TABLE package (ecosystem TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL,
                                   entries BLOB NOT NULL, UNIQUE (ecosystem, name));
             CREATE TABLE block (number INTEGER PRIMARY KEY, size INTEGER NOT NULL, data BLOB NOT NULL);
             BEGIN"
        );
        connection.execute_batch(&setup).map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            path,
            connection,
            spools,
            hash: RandomState::new(),
            taken: HashMap::new(),
            superseded: HashSet::new(),
            block: Vec::new(),
            next: 0,
            releases: BTreeMap::new(),
            report: Report::default(),
        })
    }

    fn failed(&self, why: impl ToString) -> DbError {
        DbError::Write { path: self.path.to_owned(), why: why.to_string() }
    }

    fn warn(&mut self, file: &str, why: &str) {
        self.report.warned += 1;
        if self.report.warnings.len() < MAX_WARNINGS {
            let name: String = file.chars().filter(|c| !c.is_control()).take(200).collect();
            let why: String = why.chars().filter(|c| !c.is_control()).take(300).collect();
            self.report.warnings.push(format!("{name}: {why}"));
        }
    }

    fn take(&mut self, source: &Source, progress: &mut dyn FnMut(&Source, u32) -> bool) -> Result<(), DbError> {
        let wanted = source.ecosystem.as_deref();
        let mut seen = BTreeSet::new();
        let mut count = 0;
        source::read(source, &mut |file, content| {
            count += 1;
            if count % 1000 == 0 && !progress(source, count) {
                return Err(DbError::Cancelled);
            }
            match content.and_then(|bytes| Record::read(&bytes)) {
                Err(why) => {
                    self.warn(file, &why);
                    Ok(())
                }
                Ok(record) => self.add(file, record, &mut seen),
            }
        })?;
        progress(source, count);
        let failed = |why| DbError::Source { path: source.path.clone(), why };
        match wanted {
            Some(wanted) if !seen.contains(wanted) => {
                return Err(failed(format!("none of its {count} records is about {wanted}")));
            }
            None if seen.is_empty() => {
                return Err(failed(format!("none of its {count} files is a record about packages of images")));
            }
            _ => {}
        }
        for base in seen.into_iter().filter(|base| wanted.is_none_or(|wanted| wanted == *base)) {
            self.report.info.ecosystems.entry(base.to_owned()).or_default().whole = true;
        }
        Ok(())
    }

    fn add(&mut self, file: &str, record: Record, seen: &mut BTreeSet<&'static str>) -> Result<(), DbError> {
        let modified = record.modified.parse::<jiff::Timestamp>().map_or(i64::MIN, jiff::Timestamp::as_second);
        let key = self.hash.hash_one(&record.id);
        if let Some(known) = self.taken.get(&key) {
            if known.modified >= modified {
                // The same again, as in the export of another world.
                seen.extend(worlds(&record));
                return Ok(());
            }
            self.superseded.extend(known.number);
        }
        seen.extend(worlds(&record));
        let number = match record.withdrawn {
            Some(_) => None,
            None => self.store(file, record)?,
        };
        self.report.passed_over += u32::from(number.is_none());
        self.taken.insert(key, Taken { number, modified });
        Ok(())
    }

    /// Writes a record; it gets a number where it says something of packages that are found in images.
    fn store(&mut self, file: &str, mut record: Record) -> Result<Option<u32>, DbError> {
        let number = self.next;
        if number >= MAX_RECORDS {
            return Err(self.failed(format!("there are more than {MAX_RECORDS} records")));
        }
        let mut stored = BTreeSet::new();
        for affected in std::mem::take(&mut record.affected) {
            let Some(package) = affected.package else { continue };
            let (base, release) = ecosystem::split(&package.ecosystem);
            let Some(base) = ecosystem::known().find(|known| *known == base) else { continue };
            let mut ranges = Vec::new();
            for range in affected.ranges {
                match range.kind.as_str() {
                    // A bound that is the empty text would be below all versions.
                    _ if range.events.iter().any(|event| event.version().is_empty()) => {
                        self.warn(file, "a range in it has an event without a version, and is left out");
                    }
                    "SEMVER" | "ECOSYSTEM" => {
                        let semver = range.kind == "SEMVER";
                        ranges.push(VersionRange { semver, events: range.events });
                    }
                    "GIT" => {}
                    other => self.warn(file, &format!("a range in it is of the type {other:?}, which is not known")),
                }
            }
            if ranges.iter().all(|range| !range.events.iter().any(|e| matches!(e, Event::Introduced(_))))
                && affected.versions.is_empty()
            {
                continue;
            }
            if !release.is_empty() {
                let releases = self.releases.entry(base).or_default();
                if releases.len() < 1000 && !releases.contains(release) {
                    releases.insert(release.to_owned());
                }
            }
            let entry = Entry {
                record: number,
                release: release.to_owned(),
                ranges,
                versions: affected.versions,
                urgency: affected.ecosystem_specific.urgency,
                vectors: affected.severity,
            };
            let name = ecosystem::normalize(base, &package.name);
            self.spool(base, &name, &entry)?;
            stored.insert(base);
        }
        if stored.is_empty() {
            return Ok(None);
        }
        for base in stored {
            let info = self.report.info.ecosystems.entry(base.to_owned()).or_default();
            info.records += 1;
            if record.modified > info.newest {
                info.newest.clone_from(&record.modified);
            }
        }
        self.next += 1;
        self.block.push(text(record));
        if self.block.len() == RECORDS_PER_BLOCK as usize {
            self.flush_block()?;
        }
        Ok(Some(number))
    }

    fn flush_block(&mut self) -> Result<(), DbError> {
        if self.block.is_empty() {
            return Ok(());
        }
        let number = (self.next - 1) / RECORDS_PER_BLOCK;
        let json = serde_json::to_vec(&self.block).map_err(|error| self.failed(error))?;
        let packed = zstd::bulk::compress(&json, 9).map_err(|error| self.failed(error))?;
        self.connection
            .prepare("INSERT INTO block VALUES (?1, ?2, ?3)")
            .and_then(|mut insert| insert.execute((number, size(&json), packed)))
            .map_err(|error| self.failed(error))?;
        self.block.clear();
        Ok(())
    }

    fn spool(&mut self, base: &str, name: &str, entry: &Entry) -> Result<(), DbError> {
        let json = serde_json::to_vec(&(base, name, entry)).map_err(|error| self.failed(error))?;
        let which = usize::try_from(self.hash.hash_one((base, name)) % SPOOLS as u64).unwrap_or(0);
        let (spool, size) = &mut self.spools[which];
        *size += 4 + json.len() as u64;
        let size = *size;
        let length = u32::try_from(json.len()).unwrap_or(u32::MAX).to_le_bytes();
        let written = spool.write_all(&length).and_then(|()| spool.write_all(&json));
        written.map_err(|error| self.failed(error))?;
        if size > MAX_SPOOL {
            return Err(self.failed("there are too many records"));
        }
        Ok(())
    }

    fn finish(mut self, sources: &[Source], fetched: u64) -> Result<Report, DbError> {
        self.flush_block()?;
        for (spool, length) in std::mem::take(&mut self.spools) {
            let packages = self.read_spool(spool, length).map_err(|error| self.failed(error))?;
            for ((base, name), mut entries) in packages {
                entries.retain(|entry| !self.superseded.contains(&entry.record));
                if entries.is_empty() {
                    continue;
                }
                let json = serde_json::to_vec(&entries).map_err(|error| self.failed(error))?;
                let packed = zstd::bulk::compress(&json, 9).map_err(|error| self.failed(error))?;
                self.connection
                    .prepare("INSERT INTO package VALUES (?1, ?2, ?3, ?4)")
                    .and_then(|mut insert| insert.execute((&base, &name, size(&json), packed)))
                    .map_err(|error| self.failed(error))?;
                self.report.info.ecosystems.entry(base).or_default().packages += 1;
            }
        }
        for (base, releases) in std::mem::take(&mut self.releases) {
            let info = self.report.info.ecosystems.entry(base.to_owned()).or_default();
            info.releases = releases.into_iter().collect();
        }
        let info = &mut self.report.info;
        info.fetched = fetched;
        info.records = self.next - u32::try_from(self.superseded.len()).unwrap_or(0);
        info.sources = sources
            .iter()
            .map(|source| SourceInfo {
                ecosystem: source.ecosystem.clone(),
                origin: source.origin.clone(),
                etag: source.etag.clone(),
            })
            .collect();
        let json = serde_json::to_string(info).map_err(|error| self.failed(error))?;
        self.connection
            .execute("INSERT INTO meta VALUES ('info', ?1)", [json])
            .and_then(|_| self.connection.execute_batch("COMMIT"))
            .map_err(|error| self.failed(error))?;
        let Self { connection, report, path, .. } = self;
        connection.close().map_err(|(_, error)| DbError::Write { path: path.to_owned(), why: error.to_string() })?;
        Ok(report)
    }

    /// The packages of a spool, in order.
    fn read_spool(&self, spool: BufWriter<File>, size: u64) -> std::io::Result<BTreeMap<(String, String), Vec<Entry>>> {
        let mut file = spool.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.rewind()?;
        let mut file = BufReader::new(file);
        let mut packages: BTreeMap<(String, String), Vec<Entry>> = BTreeMap::new();
        let mut left = size;
        while left > 0 {
            let mut length = [0; 4];
            file.read_exact(&mut length)?;
            let length = u32::from_le_bytes(length);
            let mut json = vec![0; length as usize];
            file.read_exact(&mut json)?;
            left -= 4 + u64::from(length);
            let (base, name, entry): (String, String, Entry) = serde_json::from_slice(&json)?;
            packages.entry((base, name)).or_default().push(entry);
        }
        Ok(packages)
    }
}

/// A blob's size; spools are smaller than four gigabytes.
fn size(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// The worlds that a record speaks of.
fn worlds(record: &Record) -> impl Iterator<Item = &'static str> {
    let bases: BTreeSet<&str> = record
        .affected
        .iter()
        .filter_map(|affected| Some(ecosystem::split(&affected.package.as_ref()?.ecosystem).0))
        .collect();
    ecosystem::known().filter(|known| bases.contains(known)).collect::<Vec<_>>().into_iter()
}

/// What is shown of a record: long texts are cut.
fn text(record: Record) -> Text {
    let cut = |text: Option<String>, max: usize| {
        text.map(|text| match text.char_indices().nth(max) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        })
        .filter(|text| !text.trim().is_empty())
    };
    let names = |mut names: Vec<String>| {
        names.truncate(MAX_NAMES);
        names
    };
    // AlmaLinux names what an advisory is about as related.
    let upstream = if record.upstream.is_empty() && record.aliases.is_empty() {
        record.related.into_iter().filter(|name| name.starts_with("CVE-")).collect()
    } else {
        record.upstream
    };
    Text {
        aliases: names(record.aliases),
        upstream: names(upstream),
        summary: cut(record.summary, 300),
        details: cut(record.details, MAX_DETAILS),
        vectors: record.severity.into_iter().filter(|v| v.score.len() < 500).take(20).collect(),
        word: record.database_specific.severity,
        references: record.references.into_iter().filter(|r| r.url.len() < 2000).take(MAX_REFERENCES).collect(),
        published: record.published,
        modified: record.modified,
        id: record.id,
    }
}
