//! Uploads of blobs: in one request, in chunks, or by mount.
//!
//! A session's bytes are a file; how far it is and its running digest are in memory. A server that was
//! restarted reads the file again, so a session outlives it.
use super::blobs::unknown as unknown_blob;
use super::fault::Fault;
use super::range::parse_chunk;
use super::route::{Name, Query};
use super::{DIGEST_HEADER, IDLE, Shared, blocking, respond};
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use http_body::Body as _;
use oci::{Digest, Digester};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};

/// By repository and ID.
type Sessions = HashMap<(String, String), Arc<Mutex<Session>>>;

/// So many sessions are kept open; what is idle beyond that is read anew when it goes on.
const OPEN_SESSIONS: usize = 256;

/// The sessions that this process knows.
#[derive(Debug, Default)]
pub(crate) struct Uploads(std::sync::Mutex<Sessions>);

/// One upload.
#[derive(Debug)]
struct Session {
    path: PathBuf,
    file: File,
    digester: Digester,
    size: u64,
    ended: bool,
}

impl Session {
    /// Opens a session's file; what is in it is hashed.
    fn open(path: PathBuf) -> io::Result<Self> {
        let mut digester = Digester::new();
        let size = io::copy(&mut File::open(&path)?, &mut digester)?;
        let file = OpenOptions::new().append(true).open(&path)?;
        Ok(Self { path, file, digester, size, ended: false })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(bytes);
        if written.is_err() {
            // The file may hold a part of it: what was hashed is what counts.
            self.file.set_len(self.size)?;
            return written;
        }
        self.digester.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    fn digest(&mut self, wanted: &Digest) -> io::Result<Digest> {
        if wanted.algorithm() == "sha256" {
            return Ok(self.digester.clone().finish());
        }
        let mut digester = Digester::like(wanted);
        io::copy(&mut File::open(&self.path)?, &mut digester)?;
        Ok(digester.finish())
    }
}

fn no_upload() -> Fault {
    Fault::missing("BLOB_UPLOAD_UNKNOWN", "there is no such upload: it ended, or was never begun")
}

fn new_id() -> String {
    // The standard library's hasher keys are random.
    let random = || std::collections::hash_map::RandomState::new().build_hasher().finish();
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
    format!("{:016x}{:016x}", random(), random() ^ u64::from(time))
}

impl Uploads {
    fn sessions(&self) -> std::sync::MutexGuard<'_, Sessions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, name: &Name, id: &str) {
        self.sessions().remove(&(name.to_string(), id.to_owned()));
    }
}

/// Takes hold of a session; another request on it waits.
async fn hold(shared: &Arc<Shared>, name: &Name, id: &str) -> Result<OwnedMutexGuard<Session>, Fault> {
    let key = (name.to_string(), id.to_owned());
    let known = shared.uploads.sessions().get(&key).cloned();
    let session = match known {
        Some(session) => session,
        None => {
            let path = shared.store.upload(name, id);
            let opened =
                blocking(move || if path.is_file() { Ok(Session::open(path)?) } else { Err(no_upload()) }).await?;
            let mut sessions = shared.uploads.sessions();
            if sessions.len() >= OPEN_SESSIONS {
                // One that no request holds has nothing that its file has not.
                sessions.retain(|_, session| Arc::strong_count(session) > 1);
            }
            sessions.entry(key).or_insert_with(|| Arc::new(Mutex::new(opened))).clone()
        }
    };
    let guard = session.lock_owned().await;
    if guard.ended { Err(no_upload()) } else { Ok(guard) }
}

fn session_headers(name: &Name, id: &str, size: u64) -> Vec<(header::HeaderName, String)> {
    vec![
        (header::LOCATION, format!("/v2/{name}/blobs/uploads/{id}")),
        (header::RANGE, format!("0-{}", size.saturating_sub(1))),
        (header::HeaderName::from_static("docker-upload-uuid"), id.to_owned()),
    ]
}

fn digest_parameter(query: &Query) -> Result<Option<Digest>, Fault> {
    query
        .get("digest")
        .map(|text| text.parse().map_err(|_| Fault::bad("DIGEST_INVALID", "the digest parameter is no digest")))
        .transpose()
}

/// `POST`: a mount, a whole blob, or a new session.
pub(super) async fn start(
    shared: &Arc<Shared>,
    name: Name,
    query: &Query,
    request: Request,
) -> Result<Response, Fault> {
    if let Some(mount) = query.get("mount") {
        let digest: Digest = mount.parse().map_err(|_| Fault::bad("DIGEST_INVALID", "mount is no digest"))?;
        let from = query.get("from").and_then(Name::parse);
        let (own, to) = (shared.clone(), name.clone());
        let wanted = digest.clone();
        let mounted = blocking(move || {
            let Some(from) = from else { return Ok(false) };
            let there = own.store.blob(&from, &wanted)?.is_some();
            if there {
                own.store.link_blob(&to, &wanted)?;
            }
            Ok(there)
        })
        .await?;
        if mounted {
            return created(&name, &digest);
        }
    }
    let digest = digest_parameter(query)?;
    let id = new_id();
    let (own, to, new) = (shared.clone(), name.clone(), id.clone());
    blocking(move || Ok(own.store.new_upload(&to, &new)?)).await?;
    match digest {
        Some(digest) => {
            let session = hold(shared, &name, &id).await?;
            end(shared, name, id, session, digest, request.into_body()).await
        }
        None => respond(StatusCode::ACCEPTED, &session_headers(&name, &id, 0), Body::empty()),
    }
}

fn created(name: &Name, digest: &Digest) -> Result<Response, Fault> {
    let headers = [(header::LOCATION, format!("/v2/{name}/blobs/{digest}")), (DIGEST_HEADER, digest.to_string())];
    respond(StatusCode::CREATED, &headers, Body::empty())
}

/// `GET`: how far a session is.
pub(super) async fn status(shared: &Arc<Shared>, name: Name, id: String) -> Result<Response, Fault> {
    let size = hold(shared, &name, &id).await?.size;
    respond(StatusCode::NO_CONTENT, &session_headers(&name, &id, size), Body::empty())
}

/// A chunk that does not begin where the session is.
fn check_chunk(headers: &HeaderMap, name: &Name, id: &str, size: u64) -> Result<(), Fault> {
    let text = |key| headers.get(key).and_then(|v: &header::HeaderValue| v.to_str().ok());
    let Some(range) = text(header::CONTENT_RANGE) else { return Ok(()) };
    let out_of_step = |why: String| {
        let mut fault = Fault::new(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", why);
        for (name, value) in session_headers(name, id, size) {
            fault = fault.header(name, &value);
        }
        fault
    };
    let Some((first, last)) = parse_chunk(range) else {
        return Err(out_of_step("the Content-Range makes no sense".to_owned()));
    };
    if first != size {
        return Err(out_of_step(format!("the chunk begins at {first}, the upload is at {size}")));
    }
    let length = text(header::CONTENT_LENGTH).and_then(|l| l.parse::<u64>().ok());
    if length.is_some_and(|length| length != last - first + 1) {
        return Err(Fault::bad("SIZE_INVALID", "Content-Range and Content-Length differ"));
    }
    Ok(())
}

/// `PATCH`: a chunk.
pub(super) async fn patch(shared: &Arc<Shared>, name: Name, id: String, request: Request) -> Result<Response, Fault> {
    let session = hold(shared, &name, &id).await?;
    check_chunk(request.headers(), &name, &id, session.size)?;
    let (session, result) = append(shared, session, request.into_body()).await?;
    result?;
    respond(StatusCode::ACCEPTED, &session_headers(&name, &id, session.size), Body::empty())
}

/// `PUT`: the end, perhaps with the last bytes.
pub(super) async fn finish(
    shared: &Arc<Shared>,
    name: Name,
    id: String,
    query: &Query,
    request: Request,
) -> Result<Response, Fault> {
    let digest = digest_parameter(query)?
        .ok_or_else(|| Fault::bad("DIGEST_INVALID", "the end of an upload needs a digest parameter"))?;
    let session = hold(shared, &name, &id).await?;
    check_chunk(request.headers(), &name, &id, session.size)?;
    end(shared, name, id, session, digest, request.into_body()).await
}

async fn end(
    shared: &Arc<Shared>,
    name: Name,
    id: String,
    session: OwnedMutexGuard<Session>,
    digest: Digest,
    body: Body,
) -> Result<Response, Fault> {
    let (mut session, result) = append(shared, session, body).await?;
    result?;
    let own = shared.clone();
    blocking(move || {
        let actual = session.digest(&digest)?;
        session.ended = true;
        own.uploads.forget(&name, &id);
        if actual != digest {
            // The session is of no use any more; a stale file would be removed later anyway.
            let _ = std::fs::remove_file(&session.path);
            return Err(Fault::bad("DIGEST_INVALID", format!("the content has digest {actual}, not {digest}")));
        }
        session.file.sync_all()?;
        own.store.adopt(&name, &session.path, &digest)?;
        if own.store.blob(&name, &digest)?.is_none() {
            return Err(unknown_blob(&digest));
        }
        created(&name, &digest)
    })
    .await
}

/// `DELETE`: gives a session up.
pub(super) async fn cancel(shared: &Arc<Shared>, name: Name, id: String) -> Result<Response, Fault> {
    let mut session = hold(shared, &name, &id).await?;
    session.ended = true;
    shared.uploads.forget(&name, &id);
    let path = session.path.clone();
    blocking(move || Ok(std::fs::remove_file(path)?)).await?;
    respond(StatusCode::NO_CONTENT, &[], Body::empty())
}

/// The next bytes of a body, in time.
async fn next_piece(body: &mut Body) -> Result<Option<Bytes>, Fault> {
    loop {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
        match tokio::time::timeout(IDLE, frame).await {
            Ok(None) => return Ok(None),
            // Anything but data is trailers.
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Ok(Some(Err(_))) => return Err(Fault::bad("BLOB_UPLOAD_INVALID", "the request broke off")),
            Err(_) => {
                return Err(Fault::new(StatusCode::REQUEST_TIMEOUT, "BLOB_UPLOAD_INVALID", "the request stands still"));
            }
        }
    }
}

/// Adds a body to a session. What arrived before a failure stays, so that a client can go on there.
async fn append(
    shared: &Arc<Shared>,
    mut session: OwnedMutexGuard<Session>,
    mut body: Body,
) -> Result<(OwnedMutexGuard<Session>, Result<(), Fault>), Fault> {
    let limit = shared.options.max_blob.unwrap_or(u64::MAX);
    let mut size = session.size;
    let (pieces, mut received) = mpsc::channel::<Bytes>(4);
    let writer = tokio::task::spawn_blocking(move || {
        while let Some(piece) = received.blocking_recv() {
            if let Err(e) = session.write(&piece) {
                return (session, Err(Fault::from(e)));
            }
        }
        (session, Ok(()))
    });
    let result = loop {
        match next_piece(&mut body).await {
            Ok(Some(piece)) => {
                size += piece.len() as u64;
                if size > limit {
                    break Err(Fault::new(
                        StatusCode::PAYLOAD_TOO_LARGE,
                        "SIZE_INVALID",
                        format!("a blob may have {limit} bytes here"),
                    ));
                }
                if pieces.send(piece).await.is_err() {
                    // The writer has failed and says why.
                    break Ok(());
                }
            }
            Ok(None) => break Ok(()),
            Err(fault) => break Err(fault),
        }
    };
    drop(pieces);
    let (session, written) = writer.await.map_err(|_| Fault::internal("a worker of the registry failed"))?;
    Ok((session, written.and(result)))
}

/// A small body in memory.
pub(super) async fn read_body(mut body: Body, limit: u64) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    while let Some(piece) = next_piece(&mut body).await? {
        if (bytes.len() + piece.len()) as u64 > limit {
            return Err(Fault::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "SIZE_INVALID",
                format!("a manifest may have {limit} bytes here"),
            ));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}
