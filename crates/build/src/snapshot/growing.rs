//! A blob that is read while it is still being written: a base layer on its way from one registry to another.
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// A file that grows to a blob. It may lose its name or get another one meanwhile.
pub(crate) struct Growing {
    file: File,
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
    /// `file` is open for reading.
    pub(crate) fn new(file: File) -> Arc<Self> {
        let state = State { written: 0, end: End::Open };
        Arc::new(Self { file, state: Mutex::new(state), changed: Condvar::new() })
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
    pub(crate) fn open(self: &Arc<Self>) -> Box<dyn Read + Send> {
        Box::new(Reader { growing: Arc::clone(self), at: 0 })
    }
}

struct Reader {
    growing: Arc<Growing>,
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
        let count = self.growing.file.read_at(&mut buffer[..ready], self.at)?;
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
        let path = dir.path().join("a");
        let mut file = File::create(&path).unwrap();
        let growing = Growing::new(File::open(&path).unwrap());
        let mut reader = growing.open();
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all)
        });
        for n in 1..=3_u64 {
            file.write_all(&[b'x'; 1000]).unwrap();
            growing.wrote(n * 1000);
        }
        std::fs::remove_file(&path).unwrap();
        growing.end(true);
        growing.end(false);
        assert_eq!(reading.join().unwrap().unwrap(), vec![b'x'; 3000]);
        let mut again = Vec::new();
        growing.open().read_to_end(&mut again).unwrap();
        assert_eq!(again.len(), 3000);
    }

    #[test]
    fn a_download_that_fails_is_no_short_blob() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "half").unwrap();
        let growing = Growing::new(File::open(&path).unwrap());
        growing.wrote(4);
        let mut reader = growing.open();
        let mut head = [0; 4];
        reader.read_exact(&mut head).unwrap();
        growing.end(false);
        assert!(reader.read(&mut head).is_err());
    }
}
