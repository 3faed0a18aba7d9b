//! Lists, referrers and deletion.
use super::Client;
use crate::endpoint::{Target, join};
use crate::session::scope;
use crate::transport::{Answer, Call, same_origin};
use crate::{Error, ErrorKind};
use oci::{Descriptor, Digest, Index, Reference, media_type};
use reqwest::header::{ACCEPT, LINK};
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

/// The largest page of a list.
const PAGE_LIMIT: usize = 8 << 20;
/// The most pages that are followed: a registry that never ends a list must not hold us for ever.
const MAX_PAGES: usize = 10_000;
/// The most that all pages of a list may hold together.
const LIST_LIMIT: usize = 128 << 20;

impl Client {
    /// All strings in the field `key` of a paged list.
    pub(super) fn list(&self, target: &Target, scopes: &[String], path: &str, key: &str) -> Result<Vec<String>, Error> {
        let mut all = Vec::new();
        self.pages(target, scopes, path, |answer| {
            let page: Value = serde_json::from_slice(&answer.body)
                .map_err(|_| Error::new(ErrorKind::Protocol, "the registry's list is no JSON"))?;
            // An empty repository may have `null` here.
            all.extend(
                page.get(key)
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(|v| v.as_str().map(str::to_owned)),
            );
            Ok(())
        })?;
        Ok(all)
    }

    fn pages(
        &self,
        target: &Target,
        scopes: &[String],
        path: &str,
        mut page: impl FnMut(&Answer) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let session = &*self.session;
        let base = session.endpoints.base(&session.transport, target)?;
        let mut url: Url = join(&base, path)?;
        let mut total = 0;
        for _ in 0..MAX_PAGES {
            let answer = session.request(target, scopes, PAGE_LIMIT, || Ok(Call::new(Method::GET, url.clone())))?;
            if answer.status != StatusCode::OK {
                return Err(session.refused(target, &answer));
            }
            total += answer.body.len();
            if total > LIST_LIMIT {
                return Err(Error::new(ErrorKind::TooLarge, format!("the list is longer than {LIST_LIMIT} bytes")));
            }
            page(&answer)?;
            let Some(next) = answer.header(LINK.as_str()).and_then(next_link) else { return Ok(()) };
            let next = join(&answer.url, next)?;
            if next == url || !same_origin(&base, &next) {
                return Err(Error::new(
                    ErrorKind::Protocol,
                    "the next page of the list is in a place that makes no sense",
                ));
            }
            url = next;
        }
        Err(Error::new(ErrorKind::Protocol, format!("the list has more than {MAX_PAGES} pages")))
    }

    /// From the referrers API; `None` where the registry has none.
    pub(super) fn referrers_api(
        &self,
        target: &Target,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Option<Vec<Descriptor>>, Error> {
        let mut path = format!("/v2/{}/referrers/{subject}", target.repository);
        if let Some(artifact_type) = artifact_type {
            let encoded: String = url_encode(artifact_type);
            path.push_str(&format!("?artifactType={encoded}"));
        }
        let mut all = Vec::new();
        let found = self.pages(target, &scope(target, "pull"), &path, |answer| {
            let index: Index = serde_json::from_slice(&answer.body)
                .map_err(|e| Error::new(ErrorKind::Protocol, format!("the list of referrers is no index: {e}")))?;
            all.extend(index.manifests);
            Ok(())
        });
        match found {
            Ok(()) => Ok(Some(all)),
            Err(error) if error.status() == Some(404) || error.kind() == ErrorKind::Unsupported => Ok(None),
            // Registries of before 2024 route the path to something else, or give a page of HTML.
            Err(error) if matches!(error.kind(), ErrorKind::Protocol | ErrorKind::Refused) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The index under the fallback tag, with its bytes' place; an empty one where there is none.
    pub(super) fn referrers_tag(&self, target: &Target, name: &Reference, subject: &Digest) -> Result<Index, Error> {
        let tag = name.with_tag(&fallback_tag(subject));
        match self.manifest_at(target, &tag) {
            Ok(fetched) => serde_json::from_slice(&fetched.bytes)
                .map_err(|e| Error::new(ErrorKind::Protocol, format!("the referrers tag is no index: {e}"))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Index::new(Vec::new(), true)),
            Err(error) => Err(error),
        }
    }

    /// Adds a manifest to the fallback tag of its subject.
    pub(super) fn add_referrer(
        &self,
        target: &Target,
        name: &Reference,
        subject: &Digest,
        referrer: Descriptor,
    ) -> Result<(), Error> {
        let mut index = self.referrers_tag(target, name, subject)?;
        if index.manifests.iter().any(|d| d.digest == referrer.digest) {
            return Ok(());
        }
        index.manifests.push(referrer);
        let bytes = serde_json::to_vec(&index)
            .map_err(|e| Error::new(ErrorKind::Protocol, format!("the referrers index cannot be written: {e}")))?;
        self.put_manifest(target, &fallback_tag(subject), media_type::OCI_INDEX, &bytes).map(|_| ())
    }

    pub(super) fn delete(&self, target: &Target, path: &str) -> Result<(), Error> {
        let session = &*self.session;
        let answer =
            session.request(target, &scope(target, "delete"), 0, || session.simple(target, Method::DELETE, path))?;
        match answer.status.as_u16() {
            200..=299 => Ok(()),
            405 => Err(answer
                .error()
                .or_hint(|| Some("this registry does not delete; its administrator may allow it".to_owned()))),
            _ => Err(session.refused(target, &answer)),
        }
    }

    pub(super) fn ping_at(&self, target: &Target) -> Result<Answer, Error> {
        let session = &*self.session;
        let base = session.endpoints.base(&session.transport, target)?;
        session.request(target, &[], 64 * 1024, || {
            Ok(Call::new(Method::GET, join(&base, "/v2/")?).header(ACCEPT, "application/json"))
        })
    }
}

/// `sha256-HEX`: where the referrers of a digest are listed when the registry has no API for it.
fn fallback_tag(subject: &Digest) -> String {
    format!("{}-{}", subject.algorithm(), subject.hex()).chars().take(128).collect()
}

fn url_encode(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-._~/".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

/// The target of `rel="next"` (RFC 8288).
fn next_link(header: &str) -> Option<&str> {
    header.split(',').find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        parameters
            .split(';')
            .any(|p| {
                let p = p.trim().to_ascii_lowercase();
                p == "rel=next" || p == "rel=\"next\""
            })
            .then_some(target)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links() {
        assert_eq!(next_link(r#"</v2/a/tags/list?n=2&last=b>; rel="next""#), Some("/v2/a/tags/list?n=2&last=b"));
        assert_eq!(next_link(r#"<a>; rel="prev", <b>; rel=next"#), Some("b"));
        assert_eq!(next_link("nonsense"), None);
    }

    #[test]
    fn escapes_what_a_query_cannot_hold() {
        assert_eq!(url_encode("application/vnd.x+json"), "application/vnd.x%2Bjson");
    }
}
