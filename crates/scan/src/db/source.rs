//! Where records come from: an archive, a directory, a single file.
//!
//! A directory is walked in the order of names, links are not followed; `*.json` are records, `*.zip` archives of
//! records. In a mirror of OSV's exports (`ECOSYSTEM/all.zip`) each archive is its ecosystem's.
use super::DbError;
use super::zip::Zip;
use crate::osv::MAX_RECORD;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Records to build a database of.
#[derive(Debug, Clone)]
pub struct Source {
    /// The world that it is the export of: it must have records of that. None where it is whatever it holds.
    pub ecosystem: Option<String>,
    /// An archive, a directory or a record.
    pub path: PathBuf,
    /// Where that came from: an address or a path, for `db status`.
    pub origin: String,
    /// The `ETag` of the address.
    pub etag: Option<String>,
}

/// Directories are nested no deeper.
const MAX_DEPTH: usize = 16;

/// One file of a source: its name, and the content or why there is none.
pub(super) type Sink<'a> = dyn FnMut(&str, Result<Vec<u8>, String>) -> Result<(), DbError> + 'a;

/// Gives every file of records to `sink`.
pub(super) fn read(source: &Source, sink: &mut Sink<'_>) -> Result<(), DbError> {
    let failed = |why: String| DbError::Source { path: source.path.clone(), why };
    let meta = std::fs::metadata(&source.path).map_err(|error| failed(format!("it cannot be read: {error}")))?;
    if meta.is_dir() {
        return walk(&source.path, String::new(), 0, sink);
    }
    if source.path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) {
        return sink(&name(&source.path), file(&source.path));
    }
    archive(&source.path, "", sink)
}

impl Source {
    /// When the newest file of it was changed; none where it cannot be read. The time of a directory says nothing: a
    /// record deep in it may be newer.
    #[must_use]
    pub fn modified(&self) -> Option<SystemTime> {
        newest(&self.path, 0)
    }
}

fn newest(path: &Path, depth: usize) -> Option<SystemTime> {
    let meta = std::fs::metadata(path).ok()?;
    if !meta.is_dir() {
        return meta.modified().ok();
    }
    if depth > MAX_DEPTH {
        return None;
    }
    let entries = std::fs::read_dir(path).ok()?.filter_map(Result::ok);
    let wanted = entries.filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        entry.file_type().is_ok_and(|kind| match kind.is_dir() {
            true => depth > 0 || !name.starts_with('.'),
            false => kind.is_file() && (name.ends_with(".json") || name.ends_with(".zip")),
        })
    });
    wanted.filter_map(|entry| newest(&entry.path(), depth + 1)).max()
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn file(path: &Path) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let opened = File::open(path).and_then(|file| file.take(MAX_RECORD + 1).read_to_end(&mut out));
    opened.map_err(|error| format!("it cannot be read: {error}"))?;
    Ok(out)
}

fn archive(path: &Path, prefix: &str, sink: &mut Sink<'_>) -> Result<(), DbError> {
    let failed = |why: String| DbError::Source { path: path.to_owned(), why };
    let file = File::open(path).map_err(|error| failed(format!("it cannot be opened: {error}")))?;
    let mut zip = Zip::open(&file).map_err(failed)?;
    while let Some(member) = zip.next_member().map_err(failed)? {
        if member.name.ends_with(".json") {
            sink(&format!("{prefix}{}", member.name), zip.read(&member, MAX_RECORD))?;
        }
    }
    Ok(())
}

fn walk(directory: &Path, prefix: String, depth: usize, sink: &mut Sink<'_>) -> Result<(), DbError> {
    let failed = |why: String| DbError::Source { path: directory.to_owned(), why };
    if depth > MAX_DEPTH {
        return Err(failed(format!("directories are nested deeper than {MAX_DEPTH}")));
    }
    let listed: Result<Vec<_>, _> = std::fs::read_dir(directory).and_then(Iterator::collect);
    let mut entries = listed.map_err(|error| failed(format!("it cannot be listed: {error}")))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let label = format!("{prefix}{}", name(&path));
        let kind = entry.file_type().map_err(|error| failed(error.to_string()))?;
        if kind.is_dir() {
            if !label.starts_with('.') {
                walk(&path, format!("{label}/"), depth + 1, sink)?;
            }
        } else if kind.is_file() && label.ends_with(".json") {
            sink(&label, file(&path))?;
        } else if kind.is_file() && label.ends_with(".zip") {
            archive(&path, &format!("{label}/"), sink)?;
        }
    }
    Ok(())
}
