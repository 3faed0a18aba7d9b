//! Image archives: an OCI layout in a tar, or what `docker save` writes, old and new. Compressed ones are inflated to a
//! temporary file first; the members of the others are read where they lie.
use crate::error::{BuildError, Kind, Result};
use layer::Kind as Object;
use layer::apply::Limits;
use layer::tar_reader::TarReader;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The largest manifest, index or config that is read.
pub(super) const DOCUMENT: u64 = 16 << 20;

/// An archive and where its members lie.
#[derive(Debug, Clone)]
pub(super) struct Archive {
    path: PathBuf,
    file: Arc<File>,
    members: Arc<HashMap<PathBuf, Member>>,
}

#[derive(Debug, Clone)]
enum Member {
    Bytes { offset: u64, size: u64 },
    Link(PathBuf),
}

impl Archive {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let failed = |e: io::Error| BuildError::io("read", path, e);
        let mut file = File::open(path).map_err(failed)?;
        let mut head = [0; 8];
        let got = file.read(&mut head).map_err(failed)?;
        file.rewind().map_err(failed)?;
        if layer::Compression::detect(&head[..got]) != layer::Compression::None {
            let mut whole = tempfile::tempfile().map_err(|e| BuildError::io("make", "a temporary file", e))?;
            let mut tar = layer::decompress_any(file).map_err(|e| not_an_image(path, &e.to_string()))?;
            io::copy(&mut tar, &mut whole).map_err(failed)?;
            drop(tar);
            whole.rewind().map_err(failed)?;
            file = whole;
        }
        let mut members = HashMap::new();
        let again = file.try_clone().map_err(failed)?;
        let mut reader = TarReader::new(BufReader::with_capacity(64 << 10, again), Limits::default());
        loop {
            match reader.next_entry() {
                Ok(None) => break,
                Ok(Some(header)) => {
                    let name = layer::entry::clean(&header.path);
                    match header.kind {
                        Object::File if header.sparse.is_none() => {
                            members.insert(name, Member::Bytes { offset: header.offset, size: header.size });
                        }
                        Object::Symlink | Object::Hardlink => {
                            let base = match header.kind {
                                Object::Symlink => name.parent().unwrap_or(Path::new("")).join(&header.link),
                                _ => header.link,
                            };
                            members.insert(name, Member::Link(layer::entry::clean(&base)));
                        }
                        _ => {}
                    }
                }
                Err(error) => return Err(not_an_image(path, &error.to_string())),
            }
        }
        Ok(Self { path: path.to_owned(), file: Arc::new(file), members: Arc::new(members) })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.members.contains_key(Path::new(name))
    }

    /// A member's content as a stream.
    pub(super) fn stream(&self, name: &str) -> Result<Window> {
        let mut name = layer::entry::clean(Path::new(name));
        for _ in 0..8 {
            match self.members.get(&name) {
                Some(Member::Bytes { offset, size }) => {
                    return Ok(Window { file: Arc::clone(&self.file), at: *offset, left: *size });
                }
                Some(Member::Link(target)) => name.clone_from(target),
                None => break,
            }
        }
        Err(not_an_image(&self.path, &format!("it has no member {}", name.display())))
    }

    /// A small member.
    pub(super) fn document(&self, name: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.stream(name)?.take(DOCUMENT).read_to_end(&mut bytes);
        read.map_err(|e| BuildError::io("read", &self.path, e))?;
        Ok(bytes)
    }
}

pub(super) fn not_an_image(path: &Path, why: &str) -> BuildError {
    BuildError::new(Kind::Input, format!("{} is no image archive: {why}", path.display()))
        .hint("give what `docker save`, `podman save` or `cooperage build -o type=oci,dest=FILE` writes")
}

/// A part of a file, read without moving anybody's position.
pub(super) struct Window {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let got = self.file.read_at(&mut buffer[..want], self.at)?;
        self.at += got as u64;
        self.left -= got as u64;
        Ok(got)
    }
}
