//! Pulling: manifests and blobs, from mirrors first.
use super::{Client, Fetched};
use crate::endpoint::Target;
use crate::session::{Session, scope};
use crate::transport::{Answer, Call};
use crate::{Error, ErrorKind};
use oci::{Descriptor, Digest, Reference, media_type};
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Method, StatusCode};
use serde_json::Value;

/// The largest manifest that is read; the specification asks registries for no more than this.
pub(super) const MANIFEST_LIMIT: usize = 4 << 20;

/// All types that are understood.
fn accept() -> String {
    [media_type::OCI_INDEX, media_type::OCI_MANIFEST, media_type::DOCKER_LIST, media_type::DOCKER_MANIFEST].join(", ")
}

/// Tries the mirrors, then the registry. A mirror's failure becomes a note.
pub(super) fn first<T>(
    session: &Session,
    name: &Reference,
    mut ask: impl FnMut(&Target) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut notes = Vec::new();
    for target in session.sources(name) {
        match ask(&target) {
            Ok(found) => return Ok(found),
            Err(error) if error.kind() != ErrorKind::Cancelled && target.mirrored.is_some() => {
                notes.push(format!("mirror {}: {error}", target.registry));
            }
            Err(error) => return Err(notes.into_iter().fold(error, Error::note)),
        }
    }
    Err(Error::new(ErrorKind::Options, "there is nowhere to pull from"))
}

impl Client {
    pub(super) fn resolve_at(&self, target: &Target, reference: &Reference) -> Result<Descriptor, Error> {
        let session = &*self.session;
        let path = format!("manifests/{}", reference.target());
        let answer = session.request(target, &scope(target, "pull"), MANIFEST_LIMIT, || {
            Ok(session.simple(target, Method::HEAD, &path)?.header(ACCEPT, &accept()))
        })?;
        if let Some(found) = described(&answer, reference) {
            return found;
        }
        // The head says too little, or it is an error: a GET has the bytes, or the registry's words.
        self.manifest_at(target, reference).map(|fetched| fetched.descriptor)
    }

    pub(super) fn manifest_at(&self, target: &Target, reference: &Reference) -> Result<Fetched, Error> {
        let session = &*self.session;
        let path = format!("manifests/{}", reference.target());
        let answer = session.request(target, &scope(target, "pull"), MANIFEST_LIMIT, || {
            Ok(session.simple(target, Method::GET, &path)?.header(ACCEPT, &accept()))
        })?;
        if answer.status != StatusCode::OK {
            return Err(self.explain_missing(target, reference, session.refused(target, &answer)));
        }
        let media_type = document_type(&answer)?;
        let told = answer.header("docker-content-digest").and_then(|d| d.parse::<Digest>().ok());
        let wanted = reference.digest().cloned().or(told);
        let digest = match wanted {
            Some(wanted) => {
                let mut digester = oci::Digester::like(&wanted);
                digester.update(&answer.body);
                let actual = digester.finish();
                if actual != wanted {
                    return Err(Error::new(
                        ErrorKind::Digest,
                        format!("the registry sent a manifest with digest {actual} instead of {wanted}"),
                    )
                    .or_hint(|| {
                        Some("a proxy or mirror may change what passes through it; try again without it".to_owned())
                    }));
                }
                wanted
            }
            None => Digest::sha256(&answer.body),
        };
        let descriptor = Descriptor::new(media_type.clone(), digest, answer.body.len() as u64);
        Ok(Fetched { descriptor, bytes: answer.body, media_type })
    }

    /// Says more about a 404: similar tags, or that the repository may be private.
    fn explain_missing(&self, target: &Target, reference: &Reference, error: Error) -> Error {
        if error.kind() != ErrorKind::NotFound {
            return error;
        }
        let no_repository = error.messages().iter().any(|m| m.code == "NAME_UNKNOWN");
        let known = match reference.tag_or_latest() {
            Some(tag) if reference.digest().is_none() && !no_repository && target.mirrored.is_none() => {
                self.similar_tags(target, tag)
            }
            _ => Vec::new(),
        };
        error.or_hint(|| {
            Some(if known.is_empty() {
                format!(
                    "check the name and the tag; if the repository is private, log in with `cooperage login {}`",
                    target.registry
                )
            } else {
                format!("the repository has these tags: {}", known.join(", "))
            })
        })
    }

    /// Up to five tags, those like the wanted one first. No retries: it is only for a hint.
    fn similar_tags(&self, target: &Target, wanted: &str) -> Vec<String> {
        let Ok(call) = self.session.simple(target, Method::GET, "tags/list") else { return Vec::new() };
        let Ok(answer) = self.session.request_once(target, &scope(target, "pull"), &call) else { return Vec::new() };
        let Ok(Value::Object(list)) = serde_json::from_slice(&answer.body) else { return Vec::new() };
        let mut tags: Vec<String> = list
            .get("tags")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|t| t.as_str().map(|t| crate::error::clean(t, 128)))
            .collect();
        tags.sort_by_key(|tag| std::cmp::Reverse(common_prefix(tag, wanted)));
        tags.truncate(5);
        tags
    }

    pub(super) fn has_blob_at(&self, target: &Target, scopes: &[String], digest: &Digest) -> Result<bool, Error> {
        let session = &*self.session;
        let path = format!("blobs/{digest}");
        let answer = session.request(target, scopes, 0, || session.simple(target, Method::HEAD, &path))?;
        match answer.status.as_u16() {
            200..=299 => Ok(true),
            404 | 410 => Ok(false),
            _ => Err(session.refused(target, &answer)),
        }
    }
}

fn common_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

/// The descriptor that the answer to a HEAD gives, if it gives one.
fn described(answer: &Answer, reference: &Reference) -> Option<Result<Descriptor, Error>> {
    if answer.status != StatusCode::OK {
        return None;
    }
    let media_type = bare_type(answer.header(CONTENT_TYPE.as_str())?);
    if !media_type::is_manifest(media_type) && !media_type::is_index(media_type) {
        return None;
    }
    let size: u64 = answer.header(CONTENT_LENGTH.as_str())?.parse().ok()?;
    let told = answer.header("docker-content-digest").and_then(|d| d.parse::<Digest>().ok());
    let digest = match (reference.digest(), told) {
        (Some(wanted), Some(told)) if *wanted != told => {
            return Some(Err(Error::new(
                ErrorKind::Digest,
                format!("the registry offers a manifest with digest {told} instead of {wanted}"),
            )));
        }
        (Some(wanted), _) => wanted.clone(),
        (None, told) => told?,
    };
    (size > 0).then(|| Ok(Descriptor::new(media_type, digest, size)))
}

/// A media type without its parameters.
fn bare_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or("").trim()
}

/// What the document is: by its own word, by the header, by its shape.
fn document_type(answer: &Answer) -> Result<String, Error> {
    let header = bare_type(answer.header(CONTENT_TYPE.as_str()).unwrap_or(""));
    let document: Value = serde_json::from_slice(&answer.body).map_err(|_| {
        let what = if header.is_empty() { "without a type".to_owned() } else { crate::error::clean(header, 100) };
        Error::new(ErrorKind::Protocol, format!("the registry's answer ({what}) is no manifest")).or_hint(|| {
            Some("check that the address is that of a registry and not of a web page or a proxy".to_owned())
        })
    })?;
    let own = document.get("mediaType").and_then(Value::as_str);
    let version = document.get("schemaVersion").and_then(Value::as_u64);
    if version == Some(1) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "the image has a manifest of Docker's schema 1, withdrawn in 2017",
        )
        .or_hint(|| Some("push the image again with a current tool".to_owned())));
    }
    let shape = || {
        if document.get("manifests").is_some_and(Value::is_array) {
            Some(media_type::OCI_INDEX)
        } else if document.get("config").is_some_and(Value::is_object) {
            Some(media_type::OCI_MANIFEST)
        } else {
            None
        }
    };
    let generic = matches!(header, "" | "application/json" | "application/octet-stream" | "text/plain");
    own.or(if generic { None } else { Some(header) })
        .or_else(shape)
        .map(|found| crate::error::clean(found, 200))
        .ok_or_else(|| Error::new(ErrorKind::Protocol, "the registry's answer is neither an index nor a manifest"))
}

/// The request for a blob from `offset` on.
pub(super) fn blob_call(session: &Session, target: &Target, digest: &Digest, offset: u64) -> Result<Call, Error> {
    let call = session
        .simple(target, Method::GET, &format!("blobs/{digest}"))?
        .header(reqwest::header::ACCEPT_ENCODING, "identity");
    Ok(if offset > 0 { call.header(reqwest::header::RANGE, &format!("bytes={offset}-")) } else { call })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: &str, body: &str) -> Answer {
        let mut headers = reqwest::header::HeaderMap::new();
        headers.insert(CONTENT_TYPE, kind.parse().unwrap());
        let url = "https://host/".parse().unwrap();
        Answer { status: StatusCode::OK, headers, url, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn a_document_is_what_it_says() {
        let kind = |header: &str, body: &str| document_type(&answer(header, body));
        assert_eq!(kind("application/json", r#"{"manifests":[]}"#).unwrap(), media_type::OCI_INDEX);
        assert_eq!(kind("text/plain; charset=utf-8", r#"{"config":{}}"#).unwrap(), media_type::OCI_MANIFEST);
        assert_eq!(kind(media_type::DOCKER_MANIFEST, r#"{"config":{}}"#).unwrap(), media_type::DOCKER_MANIFEST);
        assert_eq!(kind(media_type::OCI_INDEX, r#"{"mediaType":"x/y"}"#).unwrap(), "x/y");
        assert_eq!(kind("text/html", "<html>").unwrap_err().kind(), ErrorKind::Protocol);
        assert_eq!(kind("application/json", "{}").unwrap_err().kind(), ErrorKind::Protocol);
        assert_eq!(
            kind("application/vnd.docker.distribution.manifest.v1+prettyjws", r#"{"schemaVersion":1}"#)
                .unwrap_err()
                .kind(),
            ErrorKind::Unsupported
        );
    }
}
