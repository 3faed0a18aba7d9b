//! `type=gha`: the cache service of GitHub Actions, version 2 (Twirp with JSON), which hands out addresses in Azure's
//! blob store.
//!
//! Entries cannot be changed, and the service finds the newest whose key has a prefix. So a document gets a key of its
//! own each time, and is found by what they have in common:
//!
//! ```text
//! cooperage-1-index-SCOPE-TIME      the document; SCOPE is hashed, so that none is the beginning of another
//! cooperage-1-blob-sha256:HEX       a layer
//! ```
//!
//! Which branches see which entries is the service's business.
use super::http::{body, refused, send};
use super::{CacheStore, DOCUMENT_LIMIT, Open, unusable};
use crate::cache::document::Document;
use crate::error::{BuildError, Kind, Result};
use crate::request::GhaCache;
use ::registry::Progress;
use oci::{Descriptor, Digest, Reference};
use reqwest::StatusCode;
use reqwest::blocking::{Body, Client};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::Read;

const SERVICE: &str = "twirp/github.actions.results.api.v1.CacheService";

/// Answers of the service above this are refused.
const ANSWER_LIMIT: u64 = 1 << 20;

pub(super) struct GhaStore {
    client: Client,
    options: GhaCache,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    ok: bool,
    #[serde(alias = "signedDownloadUrl")]
    signed_download_url: String,
    #[serde(alias = "signedUploadUrl")]
    signed_upload_url: String,
    #[serde(alias = "matchedKey")]
    matched_key: String,
}

impl GhaStore {
    pub(super) fn new(client: &Client, options: &GhaCache) -> Self {
        Self { client: client.clone(), options: options.clone() }
    }

    /// Calls the service. `None` where it says that the entry is there already, or not there.
    fn call(&self, method: &str, message: &Value) -> Result<Option<Answer>> {
        let what = format!("ask the cache service ({method})");
        let url = format!("{}/{SERVICE}/{method}", self.options.url.trim_end_matches('/'));
        let answer = send(&what, &|| {
            Ok(self
                .client
                .post(&url)
                .timeout(self.options.timeout)
                .bearer_auth(&self.options.token)
                .header("content-type", "application/json")
                .body(message.to_string()))
        })?;
        match answer.status() {
            StatusCode::CONFLICT | StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                let bytes = body(&what, answer, ANSWER_LIMIT)?;
                let answer: Answer = serde_json::from_slice(&bytes)
                    .map_err(|e| unusable(format!("cannot {what}: its answer is none that is known ({e})")))?;
                Ok(Some(answer).filter(|answer| answer.ok))
            }
            _ => Err(refused(&what, answer)),
        }
    }

    /// The address of the entry with this key, or of the newest whose key begins so.
    fn find(&self, key: &str, prefix: bool) -> Result<Option<String>> {
        let restore: &[&str] = if prefix { &[key] } else { &[] };
        let message = json!({ "key": key, "restore_keys": restore, "version": version() });
        let found = self.call("GetCacheEntryDownloadURL", &message)?;
        let fits = |answer: &Answer| prefix && answer.matched_key.starts_with(key) || answer.matched_key == key;
        Ok(found.filter(|answer| !answer.signed_download_url.is_empty() && fits(answer)).map(|a| a.signed_download_url))
    }

    fn get(&self, what: &str, url: &str) -> Result<reqwest::blocking::Response> {
        let answer = send(what, &|| Ok(self.client.get(url).timeout(self.options.timeout)))?;
        if answer.status().is_success() { Ok(answer) } else { Err(refused(what, answer)) }
    }

    fn create(&self, key: &str, size: u64, open: Open<'_>) -> Result<()> {
        let what = format!("write {key} to the cache service");
        let Some(entry) = self.call("CreateCacheEntry", &json!({ "key": key, "version": version() }))? else {
            // Another job is writing the same.
            return Ok(());
        };
        let answer = send(&what, &|| {
            let content = open().map_err(|e| BuildError::new(Kind::Io, format!("cannot read a layer: {e}")))?;
            Ok(self
                .client
                .put(&entry.signed_upload_url)
                .timeout(self.options.timeout)
                .header("x-ms-blob-type", "BlockBlob")
                .body(Body::sized(content, size)))
        })?;
        if !answer.status().is_success() {
            return Err(refused(&what, answer));
        }
        let message = json!({ "key": key, "size_bytes": size.to_string(), "version": version() });
        match self.call("FinalizeCacheEntryUpload", &message)? {
            Some(_) => Ok(()),
            None => Err(unusable(format!("cannot {what}: the service does not accept it"))),
        }
    }

    fn index_prefix(&self) -> String {
        format!("cooperage-1-index-{}-", &Digest::sha256(self.options.scope.as_bytes()).hex()[..16])
    }
}

fn blob_key(digest: &Digest) -> String {
    format!("cooperage-1-blob-{digest}")
}

/// What the service compares beside the key.
fn version() -> String {
    Digest::sha256(b"cooperage cache 1").hex().to_owned()
}

impl CacheStore for GhaStore {
    fn name(&self) -> String {
        format!("GitHub Actions (scope {})", self.options.scope)
    }

    fn load(&self) -> Result<Vec<Document>> {
        let Some(url) = self.find(&self.index_prefix(), true)? else { return Ok(Vec::new()) };
        let what = "read the records from the cache service";
        let bytes = body(what, self.get(what, &url)?, DOCUMENT_LIMIT)?;
        Document::parse(&bytes).map(|document| vec![document]).map_err(unusable)
    }

    fn open(&self, blob: &Descriptor, _: Progress) -> Result<Box<dyn Read + Send>> {
        let key = blob_key(&blob.digest);
        let what = format!("read {key} from the cache service");
        let url =
            self.find(&key, false)?.ok_or_else(|| unusable(format!("cannot {what}: it is not there any more")))?;
        let answer = self.get(&what, &url)?;
        Ok(Box::new(oci::VerifyReader::new(answer, blob.digest.clone(), Some(blob.size))))
    }

    fn put(&self, blob: &Descriptor, open: Open<'_>, _: &[Reference], _: Progress) -> Result<()> {
        let key = blob_key(&blob.digest);
        if self.find(&key, false)?.is_some() {
            return Ok(());
        }
        self.create(&key, blob.size, open)
    }

    fn commit(&self, document: &Document, _: bool) -> Result<()> {
        let bytes = document.to_bytes();
        let now = jiff::Timestamp::now().as_nanosecond();
        let open = || -> std::io::Result<Box<dyn Read + Send>> { Ok(Box::new(std::io::Cursor::new(bytes.clone()))) };
        self.create(&format!("{}{now:020}", self.index_prefix()), bytes.len() as u64, &open)
    }
}
