//! Blobs: HEAD, GET with ranges, DELETE.
use super::fault::Fault;
use super::range::{self, Part};
use super::route::Name;
use super::{DIGEST_HEADER, Shared, blocking, respond};
use crate::transport::FedBody;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use oci::Digest;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use tokio::sync::mpsc;

/// How much of a file is read at once.
const PIECE: usize = 128 * 1024;

pub(super) fn unknown(digest: &Digest) -> Fault {
    Fault::missing("BLOB_UNKNOWN", format!("blob {digest} is unknown to the repository"))
}

pub(super) async fn get(
    shared: &Arc<Shared>,
    name: Name,
    digest: Digest,
    range: Option<String>,
    head: bool,
) -> Result<Response, Fault> {
    let (own, wanted) = (shared.clone(), digest.clone());
    let opened = blocking(move || Ok(own.store.blob(&name, &wanted)?)).await?;
    let (file, size) = opened.ok_or_else(|| unknown(&digest))?;
    let mut headers = vec![
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::ETAG, format!("\"{digest}\"")),
        (DIGEST_HEADER, digest.to_string()),
    ];
    let (status, start, end) = match range::parse(range.as_deref(), size) {
        Part::Whole => (StatusCode::OK, 0, size),
        Part::Some(start, end) => {
            headers.push((header::CONTENT_RANGE, format!("bytes {start}-{}/{size}", end - 1)));
            (StatusCode::PARTIAL_CONTENT, start, end)
        }
        Part::Nothing => {
            return Err(Fault::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "SIZE_INVALID",
                format!("the blob has {size} bytes"),
            )
            .header(header::CONTENT_RANGE, &format!("bytes */{size}")));
        }
    };
    headers.push((header::CONTENT_LENGTH, (end - start).to_string()));
    let body = if head { Body::empty() } else { stream(file, start, end - start) };
    respond(status, &headers, body)
}

/// A part of a file as a body; a thread reads it as fast as the client takes it.
fn stream(mut file: File, start: u64, length: u64) -> Body {
    let (pieces, received) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        let mut left = length;
        if let Err(e) = file.seek(SeekFrom::Start(start)) {
            // The receiver may be gone, then nobody wants to know.
            let _ = pieces.blocking_send(Err(e));
            return;
        }
        while left > 0 {
            let mut piece = vec![0; usize::try_from(left).unwrap_or(PIECE).min(PIECE)];
            let read = match file.read(&mut piece) {
                Ok(0) => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                Ok(count) => {
                    piece.truncate(count);
                    left -= count as u64;
                    Ok(Bytes::from(piece))
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => Err(e),
            };
            let failed = read.is_err();
            if pieces.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    Body::new(FedBody { pieces: received, left: Some(length) })
}

pub(super) async fn delete(shared: &Arc<Shared>, name: Name, digest: Digest) -> Result<Response, Fault> {
    let (own, wanted) = (shared.clone(), digest.clone());
    // The pool keeps the bytes: other repositories may hold them, and a collection knows.
    if blocking(move || Ok(own.store.unlink_blob(&name, &wanted)?)).await? {
        respond(StatusCode::ACCEPTED, &[], Body::empty())
    } else {
        Err(unknown(&digest))
    }
}
