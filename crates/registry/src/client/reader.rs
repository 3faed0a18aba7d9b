//! A blob on its way, mended where the connection breaks.
//!
//! A task of the runtime reads the body into a channel of a few pieces, so the memory held does not
//! depend on the blob's size, and a slow reader slows the registry down.
use super::{Client, Progress, pull};
use crate::block::{Running, park_on};
use crate::endpoint::Target;
use crate::retry::{Attempts, asked, is_transient};
use crate::session::{Reply, Session, scope};
use crate::transport::{Opened, next_chunk};
use crate::{Error, ErrorKind};
use bytes::{Buf, Bytes};
use oci::{Descriptor, Digest, Digester, Reference};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// How many pieces of a body wait between the network and the reader.
const PIECES: usize = 4;
/// A connection that brought this much is worth a new count of attempts.
const PROGRESS: u64 = 64 * 1024;

/// The pieces of a body, and the task that reads them.
type Incoming = (mpsc::Receiver<Result<Bytes, Error>>, Running<()>);

/// A blob on its way. Reading fails at the end when digest or size are wrong, and earlier when there
/// is more than expected; a broken connection is mended unseen. [`Error::from_io`] finds the
/// registry's error in an I/O error.
pub struct BlobReader {
    session: Arc<Session>,
    name: Reference,
    digest: Digest,
    size: u64,
    targets: VecDeque<Target>,
    notes: Vec<String>,
    attempts: Attempts,
    /// What has been given to the reader.
    offset: u64,
    /// What of the coming bytes was given before: the registry does not know ranges.
    skip: u64,
    /// Where the present connection began.
    began: u64,
    digester: Option<Digester>,
    piece: Bytes,
    body: Option<Incoming>,
    progress: Progress,
    permit: Option<OwnedSemaphorePermit>,
    failed: Option<Error>,
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobReader({} {}/{})", self.digest, self.offset, self.size)
    }
}

impl BlobReader {
    pub(super) fn open(
        client: &Client,
        name: &Reference,
        descriptor: &Descriptor,
        progress: Progress,
    ) -> Result<Self, Error> {
        let session = client.session.clone();
        let permits = session.downloads.clone();
        let permit = session.transport.driver.run(async move { permits.acquire_owned().await.ok() })?;
        let mut reader = Self {
            name: name.clone(),
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            targets: session.sources(name).into(),
            notes: Vec::new(),
            attempts: Attempts::default(),
            offset: 0,
            skip: 0,
            began: 0,
            digester: Some(Digester::like(&descriptor.digest)),
            piece: Bytes::new(),
            body: None,
            progress,
            permit,
            failed: None,
            session,
        };
        reader.connect().map_err(|e| reader.describe(e))?;
        Ok(reader)
    }

    /// How many bytes the blob has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Leaves the digest unchecked, for who checks what is inside the blob: hashing costs as much as the network does.
    /// The size is checked all the same.
    #[must_use]
    pub fn without_digest(mut self) -> Self {
        self.digester = None;
        self
    }

    fn describe(&self, mut error: Error) -> Error {
        if error.is_transient() && self.offset > 0 {
            error = error.note(format!("{} of {} bytes had arrived", self.offset, self.size));
        }
        if error.kind() == ErrorKind::NotFound {
            error = error.or_hint(|| {
                Some("the registry lost the blob, or the image was pushed incompletely: push it again".to_owned())
            });
        }
        self.notes
            .iter()
            .fold(error, |error, note| error.note(note.clone()))
            .doing(|| format!("pull blob {} of {}", self.digest, self.name.name()))
    }

    /// Opens the blob at the present offset, from the first target that gives it.
    fn connect(&mut self) -> Result<(), Error> {
        loop {
            let Some(target) = self.targets.front().cloned() else {
                return Err(Error::new(ErrorKind::NotFound, "there is nowhere to pull from"));
            };
            match self.try_connect(&target) {
                Ok(()) => return Ok(()),
                Err((error, wait)) => self.recover(error, wait)?,
            }
        }
    }

    /// After a failure: waits for the next attempt, or goes on to the next target.
    fn recover(&mut self, error: Error, wait: Option<Duration>) -> Result<(), Error> {
        let session = self.session.clone();
        match self.attempts.failed(&session.transport.driver, &session.options.retry, error, wait) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::Cancelled || self.targets.len() < 2 => Err(error),
            Err(error) => {
                if let Some(target) = self.targets.pop_front() {
                    self.notes.push(format!("mirror {}: {error}", target.registry));
                }
                self.attempts.progress();
                Ok(())
            }
        }
    }

    fn try_connect(&mut self, target: &Target) -> Result<(), (Error, Option<Duration>)> {
        self.body = None;
        self.piece = Bytes::new();
        let session = self.session.clone();
        let call = pull::blob_call(&session, target, &self.digest, self.offset).map_err(|e| (e, None))?;
        let opened = match session.open(target, &scope(target, "pull"), &call).map_err(|e| (e, None))? {
            Reply::Body(opened) => opened,
            Reply::Read(answer) => {
                let wait = if is_transient(answer.status) { asked(&answer.headers, SystemTime::now()) } else { None };
                return Err((session.auth.explain(target, answer.error()), wait));
            }
        };
        self.skip = self.check_head(&opened).map_err(|e| (e, None))?;
        self.began = self.offset;
        let (pieces, received) = mpsc::channel(PIECES);
        let idle = session.transport.timeouts.idle;
        let mut response = opened.response;
        let task = session.transport.driver.start(async move {
            loop {
                let piece = match next_chunk(&mut response, idle).await {
                    Ok(Some(piece)) => Ok(piece),
                    Ok(None) => return,
                    Err(error) => Err(error),
                };
                let last = piece.is_err();
                if pieces.send(piece).await.is_err() || last {
                    return;
                }
            }
        });
        self.body = Some((received, task));
        Ok(())
    }

    /// Checks what an answer says of itself; returns how many of its bytes are known already.
    fn check_head(&self, opened: &Opened) -> Result<u64, Error> {
        let response = &opened.response;
        let text = |name| response.headers().get(name).and_then(|v| v.to_str().ok());
        let protocol = |why: String| Err(Error::new(ErrorKind::Protocol, why));
        if let Some(encoding) = text(CONTENT_ENCODING)
            && !encoding.eq_ignore_ascii_case("identity")
        {
            return protocol(format!(
                "the registry encodes the blob as {:?}, which was not asked for",
                crate::error::clean(encoding, 40)
            ));
        }
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = text(CONTENT_RANGE).unwrap_or("");
                let begin = range
                    .strip_prefix("bytes ")
                    .and_then(|r| r.split_once('-'))
                    .and_then(|(begin, _)| begin.trim().parse::<u64>().ok());
                if begin != Some(self.offset) {
                    return protocol(format!(
                        "the registry was asked for the blob from byte {} on and sent {:?}",
                        self.offset,
                        crate::error::clean(range, 60)
                    ));
                }
                Ok(0)
            }
            _ => {
                if let Some(length) = text(CONTENT_LENGTH).and_then(|l| l.parse::<u64>().ok())
                    && length != self.size
                {
                    return Err(Error::new(
                        ErrorKind::Digest,
                        format!("the registry offers {length} bytes, the descriptor says {}", self.size),
                    ));
                }
                Ok(self.offset)
            }
        }
    }

    /// The next bytes, or `None` at the end of the blob.
    fn next_piece(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let next = match &mut self.body {
                Some((pieces, _)) => park_on(pieces.recv()),
                None => None,
            };
            let error = match next {
                Some(Ok(mut piece)) => {
                    let known = self.skip.min(piece.len() as u64);
                    self.skip -= known;
                    piece.advance(usize::try_from(known).unwrap_or(usize::MAX));
                    if piece.is_empty() {
                        continue;
                    }
                    if self.offset + piece.len() as u64 > self.size {
                        return Err(Error::new(
                            ErrorKind::Digest,
                            format!("the registry sends more than the {} bytes of the descriptor", self.size),
                        ));
                    }
                    return Ok(Some(piece));
                }
                Some(Err(error)) => error,
                None if self.session.transport.driver.is_cancelled() => {
                    return Err(Error::new(ErrorKind::Cancelled, "cancelled"));
                }
                None if self.offset == self.size => return Ok(None),
                None => Error::new(
                    ErrorKind::Interrupted,
                    format!("the blob ended after {} of {} bytes", self.offset, self.size),
                ),
            };
            if self.offset == self.size {
                // All bytes are here: whether the connection closed well does not matter.
                return Ok(None);
            }
            if self.offset - self.began >= PROGRESS {
                self.attempts.progress();
            }
            self.recover(error, None)?;
            self.connect()?;
        }
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.body = None;
        self.permit = None;
        let Some(digester) = self.digester.take() else { return Ok(()) };
        let actual = digester.finish();
        if actual == self.digest {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Digest, format!("its content has digest {actual}"))
            .or_hint(|| Some("the registry, a mirror or a proxy on the way holds damaged content".to_owned())))
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = &self.failed {
            return Err(error.clone().into());
        }
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.piece.is_empty() {
            let next = match self.next_piece() {
                Ok(None) => self.finish().map(|()| None),
                other => other,
            };
            match next {
                Ok(Some(piece)) => {
                    if let Some(digester) = &mut self.digester {
                        digester.update(&piece);
                    }
                    self.offset += piece.len() as u64;
                    self.piece = piece;
                    self.progress.at(self.offset);
                }
                Ok(None) => return Ok(0),
                Err(error) => {
                    let error = self.describe(error);
                    self.body = None;
                    self.permit = None;
                    self.failed = Some(error.clone());
                    return Err(error.into());
                }
            }
        }
        let count = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
