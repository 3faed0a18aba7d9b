//! Manifests, tags, the catalogue and referrers.
use super::fault::Fault;
use super::route::{Name, Query, Target};
use super::uploads::read_body;
use super::{DIGEST_HEADER, Shared, blocking, json, respond};
use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::Response;
use oci::{Descriptor, Digest, Digester, Index, media_type};
use serde_json::Value;
use std::io::Read;
use std::sync::Arc;

/// The most entries of a page of a list.
const PAGE: usize = 10_000;

fn unknown(reference: &Target) -> Fault {
    let what = match reference {
        Target::Tag(tag) => format!("tag {}", tag.as_str()),
        Target::Digest(digest) => digest.to_string(),
    };
    Fault::missing("MANIFEST_UNKNOWN", format!("manifest unknown: {what}"))
}

fn digest_of(shared: &Shared, name: &Name, reference: &Target) -> Result<Digest, Fault> {
    match reference {
        Target::Digest(digest) => Ok(digest.clone()),
        Target::Tag(tag) => match shared.store.tag(name, tag)? {
            Some(digest) => Ok(digest),
            None if !shared.store.has_repository(name) => {
                Err(Fault::missing("NAME_UNKNOWN", format!("repository {name} is unknown to the registry")))
            }
            None => Err(unknown(reference)),
        },
    }
}

pub(super) async fn get(shared: &Arc<Shared>, name: Name, reference: Target) -> Result<Response, Fault> {
    let own = shared.clone();
    let (digest, media_type, bytes) = blocking(move || {
        let digest = digest_of(&own, &name, &reference)?;
        let media_type = own.store.manifest_type(&name, &digest)?.ok_or_else(|| unknown(&reference))?;
        let (file, size) = own.store.blob(&name, &digest)?.ok_or_else(|| unknown(&reference))?;
        let mut bytes = Vec::new();
        file.take(size).read_to_end(&mut bytes)?;
        Ok((digest, media_type, bytes))
    })
    .await?;
    // For HEAD the HTTP library leaves the body out and keeps its length.
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::ETAG, format!("\"{digest}\"")),
        (header::CONTENT_LENGTH, bytes.len().to_string()),
        (DIGEST_HEADER, digest.to_string()),
    ];
    respond(StatusCode::OK, &headers, Body::from(bytes))
}

pub(super) async fn put(
    shared: &Arc<Shared>,
    name: Name,
    reference: Target,
    request: Request,
) -> Result<Response, Fault> {
    let declared = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .map(|v| v.split(';').next().unwrap_or("").trim().to_owned())
        .filter(|v| !v.is_empty());
    let bytes = read_body(request.into_body(), shared.options.max_manifest).await?;
    let own = shared.clone();
    blocking(move || {
        let mut digester = match &reference {
            Target::Digest(digest) => Digester::like(digest),
            Target::Tag(_) => Digester::new(),
        };
        digester.update(&bytes);
        let digest = digester.finish();
        if let Target::Digest(wanted) = &reference
            && *wanted != digest
        {
            return Err(Fault::bad("DIGEST_INVALID", format!("the manifest has digest {digest}")));
        }
        let checked = check(&own, &name, declared.as_deref(), &bytes)?;
        let descriptor = Descriptor::new(checked.media_type, digest.clone(), bytes.len() as u64);
        let mut entry = descriptor.clone();
        entry.artifact_type = checked.artifact_type;
        entry.annotations = checked.annotations;
        let tag = match &reference {
            Target::Tag(tag) => Some(tag),
            Target::Digest(_) => None,
        };
        let subject = checked.subject.as_ref().map(|s| (s, &entry));
        own.store.put_manifest(&name, tag, &descriptor, &bytes, subject)?;
        let mut headers =
            vec![(header::LOCATION, format!("/v2/{name}/manifests/{digest}")), (DIGEST_HEADER, digest.to_string())];
        if let Some(subject) = &checked.subject {
            headers.push((header::HeaderName::from_static("oci-subject"), subject.to_string()));
        }
        respond(StatusCode::CREATED, &headers, Body::empty())
    })
    .await
}

struct Checked {
    media_type: String,
    subject: Option<Digest>,
    artifact_type: Option<String>,
    annotations: std::collections::BTreeMap<String, String>,
}

/// Checks that a manifest is one, and that the repository holds what it names.
fn check(shared: &Shared, name: &Name, declared: Option<&str>, bytes: &[u8]) -> Result<Checked, Fault> {
    let invalid = |why: &str| Fault::bad("MANIFEST_INVALID", why.to_owned());
    let document: Value = serde_json::from_slice(bytes).map_err(|_| invalid("the manifest is no JSON"))?;
    if !document.is_object() {
        return Err(invalid("the manifest is no JSON object"));
    }
    let own = document.get("mediaType").and_then(Value::as_str);
    if let (Some(own), Some(declared)) = (own, declared)
        && own != declared
    {
        return Err(invalid("the manifest's mediaType differs from the Content-Type of the request"));
    }
    let shape = || if document.get("manifests").is_some() { media_type::OCI_INDEX } else { media_type::OCI_MANIFEST };
    let kind = own.or(declared).unwrap_or_else(shape).to_owned();
    if kind.len() > 255 || !kind.is_ascii() || kind.bytes().any(|b| b.is_ascii_control()) {
        return Err(invalid("the media type makes no sense"));
    }
    let descriptors = |key: &str| -> Result<Vec<Descriptor>, Fault> {
        match document.get(key) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(list) => serde_json::from_value(list.clone())
                .map_err(|e| invalid(&format!("{key}: {}", crate::error::clean(&e.to_string(), 200)))),
        }
    };
    let one = |key: &str| -> Result<Option<Descriptor>, Fault> {
        match document.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value.clone())
                .map(Some)
                .map_err(|e| invalid(&format!("{key}: {}", crate::error::clean(&e.to_string(), 200)))),
        }
    };
    let config = one("config")?;
    if media_type::is_manifest(&kind) && config.is_none() {
        return Err(invalid("an image manifest needs a config"));
    }
    if media_type::is_index(&kind) && !document.get("manifests").is_some_and(Value::is_array) {
        return Err(invalid("an index needs a list of manifests"));
    }
    let holds = |descriptor: &Descriptor| -> Result<(), Fault> {
        // A foreign layer lives elsewhere.
        let foreign = descriptor.media_type.contains("foreign") || descriptor.media_type.contains("nondistributable");
        if foreign && !descriptor.urls.is_empty() {
            return Ok(());
        }
        match shared.store.blob(name, &descriptor.digest)? {
            Some((_, size)) if size == descriptor.size => Ok(()),
            Some((_, size)) => {
                Err(invalid(&format!("{} has {size} bytes, the manifest says {}", descriptor.digest, descriptor.size)))
            }
            None => Err(Fault::bad(
                "MANIFEST_BLOB_UNKNOWN",
                format!("the repository does not hold {}, which the manifest names", descriptor.digest),
            )),
        }
    };
    for descriptor in config.iter().chain(&descriptors("layers")?).chain(&descriptors("manifests")?) {
        holds(descriptor)?;
    }
    let text = |value: Option<&Value>| value.and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_owned);
    Ok(Checked {
        subject: one("subject")?.map(|s| s.digest),
        artifact_type: text(document.get("artifactType")).or_else(|| config.map(|c| c.media_type)),
        annotations: document
            .get("annotations")
            .and_then(|a| serde_json::from_value(a.clone()).ok())
            .unwrap_or_default(),
        media_type: kind,
    })
}

pub(super) async fn delete(shared: &Arc<Shared>, name: Name, reference: Target) -> Result<Response, Fault> {
    let own = shared.clone();
    blocking(move || {
        let deleted = match &reference {
            Target::Tag(tag) => own.store.delete_tag(&name, tag)?,
            Target::Digest(digest) => own.store.delete_manifest(&name, digest)?,
        };
        if deleted { respond(StatusCode::ACCEPTED, &[], Body::empty()) } else { Err(unknown(&reference)) }
    })
    .await
}

/// One page of a sorted list, and whether there is more.
fn page(mut all: Vec<String>, query: &Query) -> Result<(Vec<String>, bool), Fault> {
    if let Some(last) = query.get("last") {
        all.retain(|entry| entry.as_str() > last);
    }
    let count = match query.get("n") {
        None => PAGE,
        Some(n) => n.parse::<usize>().map_err(|_| Fault::bad("PAGINATION_NUMBER_INVALID", "n is no number"))?.min(PAGE),
    };
    let more = all.len() > count;
    all.truncate(count);
    Ok((all, more))
}

fn list(path: &str, key: &str, mut value: Value, all: Vec<String>, query: &Query) -> Result<Response, Fault> {
    let (entries, more) = page(all, query)?;
    let next = entries
        .last()
        .filter(|_| more)
        .map(|last| format!("<{path}?n={}&last={}>; rel=\"next\"", entries.len(), last.replace('/', "%2F")));
    value[key] = entries.into();
    let mut response = json(StatusCode::OK, &value)?;
    if let Some(next) = next.and_then(|n| n.parse().ok()) {
        response.headers_mut().insert(header::LINK, next);
    }
    Ok(response)
}

pub(super) async fn tags(shared: &Arc<Shared>, name: Name, query: &Query) -> Result<Response, Fault> {
    let (own, repository) = (shared.clone(), name.clone());
    let tags = blocking(move || {
        if !own.store.has_repository(&repository) {
            return Err(Fault::missing("NAME_UNKNOWN", format!("repository {repository} is unknown to the registry")));
        }
        Ok(own.store.tags(&repository)?)
    })
    .await?;
    let value = serde_json::json!({ "name": name.as_str() });
    list(&format!("/v2/{name}/tags/list"), "tags", value, tags, query)
}

pub(super) async fn catalog(shared: &Arc<Shared>, query: &Query) -> Result<Response, Fault> {
    let own = shared.clone();
    let names = blocking(move || Ok(own.store.repositories()?)).await?;
    let names = names.iter().map(|n| n.as_str().to_owned()).collect();
    list("/v2/_catalog", "repositories", serde_json::json!({}), names, query)
}

pub(super) async fn referrers(
    shared: &Arc<Shared>,
    name: Name,
    subject: Digest,
    query: &Query,
) -> Result<Response, Fault> {
    let own = shared.clone();
    let mut all = blocking(move || Ok(own.store.referrers(&name, &subject)?)).await?;
    let mut headers = vec![(header::CONTENT_TYPE, media_type::OCI_INDEX.to_owned())];
    if let Some(wanted) = query.get("artifactType") {
        all.retain(|d| d.artifact_type.as_deref() == Some(wanted));
        headers.push((header::HeaderName::from_static("oci-filters-applied"), "artifactType".to_owned()));
    }
    let body =
        serde_json::to_vec(&Index::new(all, true)).map_err(|_| Fault::internal("the index cannot be written"))?;
    respond(StatusCode::OK, &headers, Body::from(body))
}
