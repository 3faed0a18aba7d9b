//! A blob that is read while it is still being written: a base layer on its way from one registry to another.
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// A file that grows to a blob.
pub(crate) struct Growing {
    /// Where it is written, and where it will be when it is whole.
    paths: [PathBuf; 2],
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy)]
struct State {
    /// So many bytes are in the file.
    written: u64,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Whole,
    Broken,
}

impl Growing {
    pub(crate) fn new(written_to: PathBuf, kept_as: PathBuf) -> Arc<Self> {
        let state = State { written: 0, end: End::Open };
        Arc::new(Self { paths: [written_to, kept_as], state: Mutex::new(state), changed: Condvar::new() })
    }

    /// So many bytes can be read now.
    pub(crate) fn wrote(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes > state.written {
            state.written = bytes;
            self.changed.notify_all();
        }
    }

    /// Nothing more comes. Whole is what has its name; only the first end counts.
    pub(crate) fn end(&self, whole: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.end == End::Open {
            state.end = if whole { End::Whole } else { End::Broken };
            self.changed.notify_all();
        }
    }

    /// The blob from its beginning.
    pub(crate) fn open(self: &Arc<Self>) -> io::Result<Box<dyn Read + Send>> {
        // It gets its name between the two looks, or has it.
        let file = self.paths.iter().chain(&self.paths[1..]).find_map(|path| File::open(path).ok());
        let file = file.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(Box::new(Reader { growing: Arc::clone(self), file, at: 0 }))
    }
}

struct Reader {
    growing: Arc<Growing>,
    file: File,
    at: u64,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.growing.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.end == End::Open && state.written <= self.at {
            state = self.growing.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let State { written, end } = *state;
        drop(state);
        if end == End::Broken {
            return Err(io::Error::other("the download of the layer has failed"));
        }
        let ready = match end {
            End::Whole => buffer.len(),
            _ => buffer.len().min(usize::try_from(written - self.at).unwrap_or(usize::MAX)),
        };
        let count = self.file.read_at(&mut buffer[..ready], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_reader_gets_what_a_writer_writes_and_waits_for_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let (path, kept) = (dir.path().join("a"), dir.path().join("b"));
        let mut file = File::create(&path).unwrap();
        let growing = Growing::new(path.clone(), kept.clone());
        let mut reader = growing.open().unwrap();
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all)
        });
        for n in 1..=3_u64 {
            file.write_all(&[b'x'; 1000]).unwrap();
            growing.wrote(n * 1000);
        }
        std::fs::rename(&path, &kept).unwrap();
        growing.end(true);
        growing.end(false);
        assert_eq!(reading.join().unwrap().unwrap(), vec![b'x'; 3000]);
        let mut again = Vec::new();
        growing.open().unwrap().read_to_end(&mut again).unwrap();
        assert_eq!(again.len(), 3000);
    }

    #[test]
    fn a_download_that_fails_is_no_short_blob() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "half").unwrap();
        let growing = Growing::new(path, dir.path().join("b"));
        growing.wrote(4);
        let mut reader = growing.open().unwrap();
        let mut head = [0; 4];
        reader.read_exact(&mut head).unwrap();
        growing.end(false);
        assert!(reader.read(&mut head).is_err());
    }
}
