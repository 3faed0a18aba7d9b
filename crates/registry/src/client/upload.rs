//! One blob on its way into a repository.
//!
//! An upload is a session at a place that the registry names and may rename with each answer:
//!
//! ```text
//! POST uploads/?mount=D&from=R ─► 201 mounted │ 202 declined: a session
//! POST uploads/                ─► 202 Location
//! PUT  LOCATION?digest=D (all) ─► 201                      one streamed request, or
//! PATCH LOCATION (a part) ─► 202 Location … PUT LOCATION?digest=D ─► 201
//! GET  LOCATION                ─► 204 Range: 0-N           after a failure: go on at N+1
//! ```
use super::{Progress, Source};
use crate::block::Running;
use crate::endpoint::{Target, join};
use crate::error::seconds;
use crate::retry::{Attempts, asked};
use crate::session::{Session, scope};
use crate::transport::{Answer, Call, FedBody};
use crate::{Error, ErrorKind};
use bytes::Bytes;
use oci::{Descriptor, Digest};
use reqwest::header::{AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, StatusCode, Url};
use std::io::Read;
use std::time::{Duration, SystemTime};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// How much is read from the source at once. Three of these are in memory per upload.
const PIECE: usize = 128 * 1024;
/// The chunk that is tried first after a 413.
const FIRST_CHUNK: u64 = 8 << 20;
/// The smallest chunk; a registry that refuses this takes nothing.
const SMALLEST_CHUNK: u64 = 512 << 10;
/// How much of a stream of unknown digest is kept to be sent again.
const STREAM_CHUNK: usize = 8 << 20;

/// One blob that is being uploaded to one repository.
pub(super) struct Upload<'a> {
    session: &'a Session,
    target: Target,
    scopes: Vec<String>,
    progress: Progress,
    /// The smallest part that the registry takes, but for the last.
    least: u64,
    _permit: Option<OwnedSemaphorePermit>,
}

/// A failed attempt, and where the upload's session is now.
struct Failure {
    error: Error,
    wait: Option<Duration>,
    place: Option<Url>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, wait: None, place: None }
    }
}

impl<'a> Upload<'a> {
    pub(super) fn new(session: &'a Session, target: Target, progress: Progress) -> Result<Self, Error> {
        let permits = session.uploads.clone();
        let permit = session.transport.driver.run(async move { permits.acquire_owned().await.ok() })?;
        let scopes = scope(&target, "pull,push");
        Ok(Self { session, target, scopes, progress, least: 0, _permit: permit })
    }

    /// Where the blob goes.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Says that so much is there.
    pub(super) fn report(&self, bytes: u64) {
        self.progress.at(bytes);
    }

    /// Asks for a mount; gives the session where the registry declines.
    pub(super) fn mount(&self, digest: &Digest, from: &str) -> Result<Option<Url>, Error> {
        let mut scopes = self.scopes.clone();
        scopes.push(format!("repository:{from}:pull"));
        let answer = self.session.request(&self.target, &scopes, 0, || {
            let mut call = self.session.simple(&self.target, Method::POST, "blobs/uploads/")?;
            call.url.query_pairs_mut().append_pair("mount", digest.as_str()).append_pair("from", from);
            Ok(call)
        })?;
        match answer.status {
            StatusCode::CREATED => Ok(None),
            StatusCode::ACCEPTED => self.place(&answer).map(Some),
            _ => Err(self.session.refused(&self.target, &answer)),
        }
    }

    /// Opens a session.
    pub(super) fn begin(&mut self) -> Result<Url, Error> {
        let session = self.session;
        let answer = session
            .request(&self.target, &self.scopes, 0, || session.simple(&self.target, Method::POST, "blobs/uploads/"))?;
        if answer.status != StatusCode::ACCEPTED {
            return Err(match session.refused(&self.target, &answer) {
                error if error.kind() == ErrorKind::NotFound => error.or_hint(|| {
                    Some("check the repository's name; some registries want it created before a push".to_owned())
                }),
                error if error.status().is_some_and(|s| s < 300) => Error::new(
                    ErrorKind::Protocol,
                    format!("the registry answered {} to the start of an upload, instead of 202", answer.status),
                ),
                error => error,
            });
        }
        if let Some(least) = answer.header("oci-chunk-min-length").and_then(|l| l.parse().ok()) {
            self.least = least;
        }
        self.place(&answer)
    }

    /// The session's place in an answer.
    fn place(&self, answer: &Answer) -> Result<Url, Error> {
        let location = answer
            .header(LOCATION.as_str())
            .ok_or_else(|| Error::new(ErrorKind::Protocol, "the registry does not say where to upload to"))?;
        let place = join(&answer.url, location)?;
        self.session.transport.check_redirect(&answer.url, &place)?;
        Ok(place)
    }

    /// Gives a session up; whether that works does not matter.
    pub(super) fn cancel(&self, place: Url) {
        let _ = self.session.request_once(&self.target, &self.scopes, &Call::new(Method::DELETE, place));
    }

    /// How much of the blob a session holds; `None` when the session cannot be used any more.
    fn held(&self, place: &Url) -> Option<(Url, u64)> {
        let call = Call::new(Method::GET, place.clone());
        let answer = self.session.request_once(&self.target, &self.scopes, &call).ok()?;
        if !matches!(answer.status.as_u16(), 202 | 204) {
            return None;
        }
        let next = self.place(&answer).unwrap_or_else(|_| place.clone());
        Some((next, held(answer.header(RANGE.as_str()))))
    }

    /// Uploads until the blob is there.
    pub(super) fn run(&mut self, descriptor: &Descriptor, source: Source<'_>, first: Option<Url>) -> Result<(), Error> {
        let session = self.session;
        let mut attempts = Attempts::default();
        let mut chunk = session.options.upload_chunk.map(|c| c.max(1));
        let mut place = first;
        let mut sent = 0;
        let mut restarts = 0;
        loop {
            let at = match place.take() {
                Some(at) => at,
                None => {
                    sent = 0;
                    self.begin()?
                }
            };
            let resumed = sent > 0;
            let Failure { error, wait, place: now } = match self.attempt(&at, descriptor, source, sent, chunk) {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            if error.status() == Some(413) {
                let smaller = chunk.map_or(FIRST_CHUNK, |c| c / 2);
                if smaller >= SMALLEST_CHUNK.max(self.least) && smaller < descriptor.size {
                    self.cancel(now.unwrap_or(at));
                    chunk = Some(smaller);
                    continue;
                }
                return Err(error.or_hint(|| {
                    Some("a proxy in front of the registry limits the size of a request; raise that limit".to_owned())
                }));
            }
            let stale = matches!(error.kind(), ErrorKind::Digest | ErrorKind::NotFound)
                || matches!(error.status(), Some(400 | 416));
            if resumed && stale && restarts < 2 {
                // What the registry held did not fit what came: once more from the beginning.
                restarts += 1;
                self.cancel(now.unwrap_or(at));
                continue;
            }
            attempts.failed(&session.transport.driver, &session.options.retry, error, wait)?;
            let held = self.held(now.as_ref().unwrap_or(&at));
            match held {
                Some((next, offset)) if offset <= descriptor.size => {
                    if offset > sent {
                        attempts.progress();
                    }
                    sent = offset;
                    place = Some(next);
                }
                _ => {
                    // The answer may have been lost after the blob was complete.
                    if self.exists(&descriptor.digest)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn exists(&self, digest: &Digest) -> Result<bool, Error> {
        let path = format!("blobs/{digest}");
        let answer = self
            .session
            .request(&self.target, &self.scopes, 0, || self.session.simple(&self.target, Method::HEAD, &path))?;
        Ok(answer.status.is_success())
    }

    /// One way through the blob, from `sent` on.
    fn attempt(
        &self,
        at: &Url,
        descriptor: &Descriptor,
        source: Source<'_>,
        sent: u64,
        chunk: Option<u64>,
    ) -> Result<(), Failure> {
        let size = descriptor.size;
        let mut content = open_at(source, sent)?;
        let whole = Some(&descriptor.digest);
        if sent == 0 && chunk.is_none_or(|c| c >= size) {
            let answer = self.feed(Method::PUT, &finish_url(at, whole), &mut *content, 0, size, None)?;
            self.expect_end(&mut *content, size)?;
            return self.finished(&answer, &descriptor.digest).map_err(Failure::from);
        }
        let step = chunk.unwrap_or(size).max(self.least).max(1);
        let mut place = at.clone();
        let mut sent = sent;
        while sent < size {
            let length = step.min(size - sent);
            let range = format!("{sent}-{}", sent + length - 1);
            let fail = |mut failure: Failure| {
                failure.place.get_or_insert(place.clone());
                failure
            };
            let answer = self.feed(Method::PATCH, &place, &mut *content, sent, length, Some(&range)).map_err(fail)?;
            place = self.place(&answer).unwrap_or(place);
            let now = held(answer.header(RANGE.as_str()));
            if answer.header(RANGE.as_str()).is_some() && now != sent + length {
                let why = format!("the registry holds {now} bytes of the upload instead of {}", sent + length);
                return Err(Failure { error: Error::new(ErrorKind::Interrupted, why), wait: None, place: Some(place) });
            }
            sent += length;
        }
        self.expect_end(&mut *content, size)?;
        let answer = self
            .session
            .request(&self.target, &self.scopes, 0, || Ok(Call::new(Method::PUT, finish_url(&place, whole))))
            .map_err(|error| Failure { error, wait: None, place: Some(place.clone()) })?;
        if !answer.status.is_success() {
            return Err(Failure { error: upload_error(&answer), wait: None, place: Some(place) });
        }
        self.finished(&answer, &descriptor.digest).map_err(Failure::from)
    }

    fn finished(&self, answer: &Answer, digest: &Digest) -> Result<(), Error> {
        match answer.header("docker-content-digest").and_then(|d| d.parse::<Digest>().ok()) {
            Some(told) if told != *digest && told.algorithm() == digest.algorithm() => Err(Error::new(
                ErrorKind::Digest,
                format!("the registry stored the blob as {told} instead of {digest}"),
            )),
            _ => Ok(()),
        }
    }

    /// The content must not be longer than its descriptor says.
    fn expect_end(&self, content: &mut dyn Read, size: u64) -> Result<(), Error> {
        match content.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(Error::new(
                ErrorKind::Source,
                format!("the content is longer than the {size} bytes it should have"),
            )),
            Err(e) => Err(source_error(&e)),
        }
    }

    /// Sends `length` bytes of the content. Asks for a new token once, if the first byte is refused.
    fn feed(
        &self,
        method: Method,
        url: &Url,
        content: &mut dyn Read,
        sent: u64,
        length: u64,
        range: Option<&str>,
    ) -> Result<Answer, Failure> {
        let session = self.session;
        let header = session.header(&self.target, url, &self.scopes)?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        if let Some(range) = range.and_then(|r| HeaderValue::from_str(r).ok()) {
            headers.insert(CONTENT_RANGE, range);
        }
        if let Some(value) = &header {
            headers.insert(AUTHORIZATION, value.clone());
        }
        let (pieces, received) = mpsc::channel(2);
        let transport = session.transport.clone();
        let (own, to) = (transport.clone(), url.clone());
        let body = FedBody { pieces: received, left: Some(length) };
        let running: Running<Result<Answer, Error>> =
            transport.driver.start(async move { own.upload(method, to, headers, body).await });
        let mut left = length;
        while left > 0 {
            let mut piece = vec![0; usize::try_from(left).unwrap_or(PIECE).min(PIECE)];
            let count = read_full(content, &mut piece).map_err(|e| source_error(&e))?;
            if count == 0 {
                return Err(Error::new(
                    ErrorKind::Source,
                    format!("the content ends after {} bytes, {left} bytes too early", sent + length - left),
                )
                .into());
            }
            piece.truncate(count);
            left -= count as u64;
            let idle = transport.timeouts.idle;
            if transport.driver.wait(idle, pieces.send(Ok(Bytes::from(piece))))?.is_err() {
                // The request is over: its answer says why.
                break;
            }
            self.progress.at(sent + length - left);
        }
        drop(pieces);
        let limit = transport.timeouts.response.saturating_mul(5);
        let answer = wait_for(&transport.driver, running, limit)?;
        if answer.status == StatusCode::UNAUTHORIZED {
            // The content is partly read: the caller starts again, with the new token at hand.
            let renewed = session.renewed(&self.target, &answer, &self.scopes, header.as_ref())?;
            let error = session.auth.explain(&self.target, answer.error());
            return Err(match renewed {
                Some(_) => Error::new(ErrorKind::Interrupted, "the token expired during the upload").into(),
                None => error.into(),
            });
        }
        if !answer.status.is_success() {
            let wait = asked(&answer.headers, SystemTime::now());
            return Err(Failure {
                error: session.auth.explain(&self.target, upload_error(&answer)),
                wait,
                place: None,
            });
        }
        Ok(answer)
    }

    /// Uploads what a reader gives, whose digest comes out at the end.
    pub(super) fn stream(&mut self, media_type: &str, content: &mut dyn Read) -> Result<Descriptor, Error> {
        let mut digester = oci::Digester::new();
        let mut place: Option<Url> = None;
        let mut sent = 0_u64;
        loop {
            let size = STREAM_CHUNK.max(usize::try_from(self.least).unwrap_or(STREAM_CHUNK));
            let mut chunk = Vec::new();
            content.take(size as u64).read_to_end(&mut chunk).map_err(|e| source_error(&e))?;
            digester.update(&chunk);
            let last = chunk.len() < size;
            let chunk = Bytes::from(chunk);
            let at = match place.take() {
                Some(at) => at,
                None if last => {
                    // It fits into one chunk, so it is an ordinary blob.
                    let descriptor = Descriptor::new(media_type, digester.finish(), chunk.len() as u64);
                    if !self.exists(&descriptor.digest)? {
                        self.run(&descriptor, &|| Ok(Box::new(std::io::Cursor::new(chunk.clone()))), None)?;
                    }
                    return Ok(descriptor);
                }
                None => self.begin()?,
            };
            let length = chunk.len() as u64;
            let at = if length == 0 { at } else { self.patch(at, sent, chunk)? };
            sent += length;
            self.progress.at(sent);
            if last {
                let descriptor = Descriptor::new(media_type, digester.finish(), sent);
                let answer = self.session.request(&self.target, &self.scopes, 0, || {
                    Ok(Call::new(Method::PUT, finish_url(&at, Some(&descriptor.digest))))
                })?;
                if !answer.status.is_success() {
                    return Err(self.session.auth.explain(&self.target, upload_error(&answer)));
                }
                self.finished(&answer, &descriptor.digest)?;
                return Ok(descriptor);
            }
            place = Some(at);
        }
    }

    /// Sends one chunk that is held in memory; asks the registry what it has when that fails.
    fn patch(&self, at: Url, sent: u64, chunk: Bytes) -> Result<Url, Error> {
        let session = self.session;
        let (mut at, mut done) = (at, 0_usize);
        let mut attempts = Attempts::default();
        loop {
            let rest = chunk.slice(done..);
            if rest.is_empty() {
                return Ok(at);
            }
            let from = sent + done as u64;
            let call = Call::new(Method::PATCH, at.clone())
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(CONTENT_RANGE, &format!("{from}-{}", from + rest.len() as u64 - 1))
                .body(rest);
            let (error, wait) = match session.request_once(&self.target, &self.scopes, &call) {
                Ok(answer) if answer.status.is_success() => return self.place(&answer),
                Ok(answer) => (upload_error(&answer), asked(&answer.headers, SystemTime::now())),
                Err(error) => (error, None),
            };
            let resumable = error.is_transient() || error.status() == Some(416);
            let again = if error.is_transient() {
                attempts.failed(&session.transport.driver, &session.options.retry, error.clone(), wait)
            } else {
                attempts.failed(
                    &session.transport.driver,
                    &session.options.retry,
                    Error::new(ErrorKind::Interrupted, "out of step"),
                    None,
                )
            };
            if !resumable || again.is_err() {
                return Err(error);
            }
            let Some((next, held)) = self.held(&at) else { return Err(error) };
            match held.checked_sub(sent).and_then(|n| usize::try_from(n).ok()) {
                Some(now) if now <= chunk.len() => (at, done) = (next, now),
                _ => {
                    return Err(
                        error.note(format!("the registry holds {held} bytes of the upload, {from} were expected"))
                    );
                }
            }
        }
    }
}

/// `?digest=` added to a session's place, which may carry a query of its own.
fn finish_url(place: &Url, digest: Option<&Digest>) -> Url {
    let mut url = place.clone();
    if let Some(digest) = digest {
        url.query_pairs_mut().append_pair("digest", digest.as_str());
    }
    url
}

/// The number of bytes that `Range: 0-N` says. `0-0` is how registries say "nothing" for a new session;
/// one byte said this way is uploaded again after a failed attempt.
fn held(range: Option<&str>) -> u64 {
    let end = range
        .map(|r| r.trim_start_matches("bytes=").trim_start_matches("bytes "))
        .and_then(|r| r.strip_prefix("0-"))
        .and_then(|end| end.trim().parse::<u64>().ok());
    match end {
        None | Some(0) => 0,
        Some(end) => end.saturating_add(1),
    }
}

fn upload_error(answer: &Answer) -> Error {
    let error = answer.error();
    if error.messages().iter().any(|m| m.code == "DIGEST_INVALID") {
        let words: Vec<String> = error.messages().iter().map(ToString::to_string).collect();
        return Error::new(ErrorKind::Digest, format!("the registry found another digest: {}", words.join("; ")))
            .or_hint(|| Some("the local copy of the blob is damaged, or changed during the upload".to_owned()));
    }
    if error.status().is_some_and(|s| (300..400).contains(&s)) {
        return Error::new(ErrorKind::Redirect, "the registry redirects an upload, which cannot be followed")
            .or_hint(|| Some("use the registry's final address".to_owned()));
    }
    error
}

fn source_error(error: &std::io::Error) -> Error {
    Error::from_io(error)
        .cloned()
        .unwrap_or_else(|| Error::new(ErrorKind::Source, format!("the content cannot be read: {error}")))
}

/// Opens the content and steps over what was sent before.
fn open_at(source: Source<'_>, offset: u64) -> Result<Box<dyn Read + Send>, Error> {
    let mut content = source().map_err(|e| source_error(&e))?;
    if offset > 0 {
        let skipped =
            std::io::copy(&mut (&mut content).take(offset), &mut std::io::sink()).map_err(|e| source_error(&e))?;
        if skipped < offset {
            return Err(Error::new(ErrorKind::Source, format!("the content has only {skipped} bytes")));
        }
    }
    Ok(content)
}

fn read_full(content: &mut dyn Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match content.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

fn wait_for(
    driver: &crate::block::Driver,
    running: Running<Result<Answer, Error>>,
    limit: Duration,
) -> Result<Answer, Error> {
    driver.wait(limit, running.finish()).map_err(|error| {
        if error.kind() == ErrorKind::Timeout {
            Error::new(ErrorKind::Timeout, format!("the registry did not confirm the upload within {}", seconds(limit)))
        } else {
            error
        }
    })??
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_uploads() {
        assert_eq!(held(None), 0);
        assert_eq!(held(Some("0-0")), 0);
        assert_eq!(held(Some("0-99")), 100);
        assert_eq!(held(Some("bytes=0-99")), 100);
        assert_eq!(held(Some("5-9")), 0);
        assert_eq!(held(Some("nonsense")), 0);
    }

    #[test]
    fn the_digest_joins_what_the_place_carries() {
        let digest = Digest::sha256(b"");
        let url = finish_url(&"https://h/u/1?_state=a%2Fb".parse().unwrap(), Some(&digest));
        assert_eq!(url.as_str(), format!("https://h/u/1?_state=a%2Fb&digest=sha256%3A{}", digest.hex()));
    }

    #[test]
    fn the_source_is_opened_where_it_stopped() {
        let source = || -> std::io::Result<Box<dyn Read + Send>> { Ok(Box::new(&b"hello"[..])) };
        let mut rest = String::new();
        open_at(&source, 3).unwrap().read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "lo");
        assert_eq!(open_at(&source, 6).err().unwrap().kind(), ErrorKind::Source);
    }
}
