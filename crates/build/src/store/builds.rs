//! Records of builds, and the lists of the files that their steps read.
//!
//! A record's name begins with its time, so that the newest are found without reading any, and ends with a digest of
//! context and Dockerfile, so that builds of the same thing are. At most [`RECORDS`] records are kept, and at most
//! [`LISTS`] bytes of lists: the ones used least recently go first.
use super::Store;
use crate::error::{BuildError, Kind, Result};
use crate::history::{BuildRecord, FORMAT};
use oci::Digest;
use std::fs;
use std::path::{Path, PathBuf};

/// Records that are kept.
const RECORDS: usize = 200;
/// Bytes of lists that are kept.
const LISTS: u64 = 64 << 20;
/// A list above this is not kept: 1.5 million files.
const LIST: usize = 32 << 20;

impl Store {
    /// The records, the newest first: path, ID, digest of context and Dockerfile.
    fn build_files(&self) -> Vec<(PathBuf, String, String)> {
        let Ok(list) = fs::read_dir(self.root.join("builds")) else { return Vec::new() };
        let mut names: Vec<String> = list.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        let parts = |name: String| {
            let mut parts = name.split('-').skip(1).map(str::to_owned);
            let (id, subject) = (parts.next()?, parts.next()?);
            Some((self.root.join("builds").join(&name), id, subject))
        };
        names.into_iter().filter_map(parts).collect()
    }

    fn build_at(&self, path: &Path) -> Option<BuildRecord> {
        self.record::<BuildRecord>(path.to_owned()).filter(|record| record.format == FORMAT)
    }

    /// All builds that are known, the newest first.
    #[must_use]
    pub fn builds(&self) -> Vec<BuildRecord> {
        self.latest_builds(usize::MAX)
    }

    /// The newest builds.
    #[must_use]
    pub fn latest_builds(&self, count: usize) -> Vec<BuildRecord> {
        self.build_files().iter().filter_map(|(path, ..)| self.build_at(path)).take(count).collect()
    }

    /// The newest builds with the context and the Dockerfile of this one.
    pub(crate) fn builds_of(&self, record: &BuildRecord, count: usize) -> Vec<BuildRecord> {
        let wanted = subject(record);
        let files = self.build_files().into_iter().filter(|(_, _, subject)| *subject == wanted);
        files.filter_map(|(path, ..)| self.build_at(&path)).take(count).collect()
    }

    /// The newest build before this one with its context and Dockerfile.
    #[must_use]
    pub fn build_before(&self, record: &BuildRecord) -> Option<BuildRecord> {
        let older = |r: &BuildRecord| (r.started, &r.id) < (record.started, &record.id);
        self.builds_of(record, usize::MAX).into_iter().find(older)
    }

    /// The build that a user names: `^N` for the Nth before the last, or the beginning of an ID.
    ///
    /// # Errors
    /// Where there is no such build, or several.
    pub fn build(&self, name: &str) -> Result<BuildRecord> {
        let files = self.build_files();
        if files.is_empty() {
            return Err(BuildError::new(Kind::Input, "the store has no record of a build")
                .hint("builds are recorded in the store that they use: --root names another"));
        }
        let list = "`cooperage history ls` lists the builds";
        let found: Vec<_> = match name.strip_prefix('^') {
            Some(count) => {
                let count: usize = count.parse().map_err(|_| {
                    BuildError::new(
                        Kind::Input,
                        format!("{name:?} names no build: write ^1 for the one before the last"),
                    )
                })?;
                files.get(count).into_iter().collect()
            }
            None => files.iter().filter(|(_, id, _)| !name.is_empty() && id.starts_with(name)).collect(),
        };
        match found.as_slice() {
            [(path, id, _)] => self.build_at(path).ok_or_else(|| {
                BuildError::new(Kind::Io, format!("the record of build {id} cannot be read")).hint(
                    "another version of cooperage wrote it, or the disk is damaged; `cooperage history rm` removes it",
                )
            }),
            [] => Err(BuildError::new(Kind::Input, format!("there is no build {name} in the store")).hint(list)),
            several => {
                let ids: Vec<&str> = several.iter().map(|(_, id, _)| id.as_str()).collect();
                Err(BuildError::new(
                    Kind::Input,
                    format!("{name} is the beginning of several builds: {}", ids.join(", ")),
                )
                .hint("write more of the ID"))
            }
        }
    }

    /// Keeps a record, and lets go of the oldest where there are too many.
    pub(crate) fn put_build(&self, record: &BuildRecord) -> Result<()> {
        let name = format!("{:013}-{}-{}", record.started.max(0), record.id, subject(record));
        let path = self.root.join("builds").join(name);
        let bytes = serde_json::to_vec(record).map_err(|e| BuildError::new(Kind::Io, e.to_string()))?;
        self.write_loose(&path, &bytes).map_err(|e| BuildError::io("write", &path, e))?;
        for (path, ..) in self.build_files().iter().skip(RECORDS) {
            let _ = fs::remove_file(path);
        }
        Ok(())
    }

    /// Forgets builds: those with these IDs, or all. Gives how many.
    ///
    /// # Errors
    /// Where a record cannot be removed.
    pub fn forget_builds(&self, ids: Option<&[String]>) -> Result<usize> {
        let mut gone = 0;
        for (path, id, _) in self.build_files() {
            if ids.is_none_or(|ids| ids.contains(&id)) {
                fs::remove_file(&path).map_err(|e| BuildError::io("remove", &path, e))?;
                gone += 1;
            }
        }
        if ids.is_none() {
            self.trim_lists(0);
        }
        Ok(gone)
    }

    /// The list of the files of a selection.
    pub(crate) fn files(&self, digest: &str) -> Option<Vec<u8>> {
        let digest: Digest = digest.parse().ok()?;
        fs::read(self.root.join("files").join(digest.hex())).ok()
    }

    /// Keeps the list of a selection. An error is none of the build's: the list is only for explanations.
    pub(crate) fn put_files(&self, digest: &Digest, list: impl FnOnce() -> Vec<u8>) {
        let path = self.root.join("files").join(digest.hex());
        if let Ok(known) = fs::File::open(&path) {
            let _ = known.set_modified(std::time::SystemTime::now());
            return;
        }
        let bytes = list();
        if bytes.len() <= LIST && self.write_loose(&path, &bytes).is_ok() {
            self.trim_lists(LISTS);
        }
    }

    fn trim_lists(&self, most: u64) {
        let Ok(list) = fs::read_dir(self.root.join("files")) else { return };
        let mut files: Vec<_> = list
            .flatten()
            .filter_map(|e| e.metadata().ok().and_then(|m| Some((m.modified().ok()?, m.len(), e.path()))))
            .collect();
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        if total <= most {
            return;
        }
        files.sort();
        for (_, bytes, path) in files {
            if total > most {
                let _ = fs::remove_file(path);
                total -= bytes;
            }
        }
    }

    /// The bytes of a layer: of its blob, else of its tar; `None` where neither was made.
    pub(crate) fn layer_size(&self, id: &str) -> Option<u64> {
        let meta = self.layer(&id.to_owned().try_into().ok()?)?;
        meta.blobs.first().map(|blob| blob.size).or(Some(meta.tar_size).filter(|size| *size > 0))
    }
}

/// What a build is of.
fn subject(record: &BuildRecord) -> String {
    Digest::sha256(format!("{}\0{}", record.context, record.dockerfile).as_bytes()).short().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::BuildOutcome;

    fn record(number: i64, dockerfile: &str) -> BuildRecord {
        BuildRecord {
            format: FORMAT,
            id: format!("{number:012x}"),
            started: 1_700_000_000_000 + number,
            duration: 1,
            outcome: BuildOutcome::Done,
            error: None,
            context: "/context".to_owned(),
            dockerfile: dockerfile.to_owned(),
            dockerfile_digest: String::new(),
            target: None,
            names: Vec::new(),
            build_args: Vec::new(),
            digest: None,
            steps: Vec::new(),
        }
    }

    #[test]
    fn the_oldest_records_go_and_names_find_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        for number in 0..RECORDS as i64 + 5 {
            store.put_build(&record(number, if number % 2 == 0 { "a" } else { "b" })).unwrap();
        }
        let all = store.builds();
        assert_eq!(all.len(), RECORDS);
        assert_eq!(all[0].started - all[RECORDS - 1].started, RECORDS as i64 - 1);
        assert_eq!(store.build("^0").unwrap(), all[0]);
        assert_eq!(store.build("^3").unwrap(), all[3]);
        assert_eq!(store.build(&all[7].id).unwrap(), all[7]);
        assert_eq!(store.build_before(&all[0]).unwrap().id, all[2].id);
        for (name, words) in [
            ("^9999", "no build ^9999"),
            ("^x", "names no build"),
            ("00000000", "beginning of several builds"),
            ("fff", "no build fff"),
            ("", "no build"),
        ] {
            let error = store.build(name).unwrap_err();
            assert!(error.message().contains(words), "{name}: {error}");
        }
        assert_eq!(store.forget_builds(Some(&[all[0].id.clone()])).unwrap(), 1);
        assert_eq!(store.forget_builds(None).unwrap(), RECORDS - 1);
        assert!(store.build("^0").unwrap_err().message().contains("no record of a build"));
    }

    #[test]
    fn lists_are_kept_until_they_are_too_many() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let digests: Vec<Digest> = (0..5_u8).map(|n| Digest::sha256(&[n])).collect();
        for (n, digest) in digests.iter().enumerate() {
            store.put_files(digest, || vec![n as u8; LISTS as usize / 4]);
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000 + n as u64);
            let path = store.root.join("files").join(digest.hex());
            fs::File::open(path).unwrap().set_modified(time).unwrap();
        }
        assert!(store.files(digests[0].as_str()).is_none());
        assert!(digests[1..].iter().all(|d| store.files(d.as_str()).is_some()));
        store.put_files(&digests[0], || vec![0; LIST + 1]);
        assert!(store.files(digests[0].as_str()).is_none(), "a list that is too large is not kept");
        assert!(store.files("../format").is_none());
    }
}
