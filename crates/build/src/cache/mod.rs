//! External caches: `--cache-to` and `--cache-from`.
//!
//! An export writes one [`document`] with the records of steps, and the layers that they name as blobs. An import reads
//! that document, in one or two requests whatever the number of steps, and answers look-ups from memory; a layer is
//! fetched only when somebody needs its files or its bytes, and within one registry it is mounted instead.
//!
//! What an import promises may turn out to be missing or damaged when it is needed. Then that cache is left out, with a
//! warning, and the build starts again: what it has done until then is in the store ([`Imports::broken`]).
mod chunks;
mod document;
mod export;
mod gha;
mod http;
mod import;
mod local;
mod mounts;
mod registry;
mod s3;
mod tables;

pub(crate) use document::CONFIG_FIELD;
pub(crate) use export::{Collected, Exporter, form, inline, title};
pub(crate) use import::{Imports, Loading, Remote};

use crate::error::{BuildError, Kind, Result};
use crate::request::CacheBackend;
use crate::source::http::HttpClient;
use document::Document;
use oci::{Descriptor, Reference};
use std::io::{self, Read};
use std::sync::Arc;

/// Documents above this are refused.
const DOCUMENT_LIMIT: u64 = 64 << 20;

/// Opens a blob from its beginning; called again when an upload has to start again.
pub(crate) type Open<'a> = &'a dyn Fn() -> io::Result<Box<dyn Read + Send>>;

/// A place for an external cache.
pub(crate) trait CacheStore: Send + Sync {
    /// For messages: `registry ghcr.io/me/app:cache`.
    fn name(&self) -> String;

    /// The documents that lie there; none where there is no cache yet.
    ///
    /// # Errors
    /// Where the place cannot be reached, or what lies there is no cache that this program knows.
    fn load(&self) -> Result<Vec<Document>>;

    /// A blob's bytes; reading fails where they are not those that the descriptor names.
    fn open(&self, blob: &Descriptor, progress: ::registry::Progress) -> Result<Box<dyn Read + Send>>;

    /// The repository that the blobs lie in, for mounts.
    fn repository(&self) -> Option<&Reference> {
        None
    }

    /// Whether objects age there: then an export looks at all of them, changed or not.
    fn ages(&self) -> bool {
        false
    }

    /// Uploads at once.
    fn width(&self) -> usize {
        4
    }

    /// Brings a blob there, unless it is there: mounted from one of the repositories `from` where that can be.
    fn put(&self, blob: &Descriptor, open: Open<'_>, from: &[Reference], progress: ::registry::Progress) -> Result<()>;

    /// Makes a document, whose blobs are all there, the one that is found.
    fn commit(&self, document: &Document, oci: bool) -> Result<()>;
}

/// The store behind a backend; none for `inline`, which is part of the image.
pub(crate) fn open(
    backend: &CacheBackend,
    client: &::registry::Client,
    http: &HttpClient,
) -> Option<Arc<dyn CacheStore>> {
    Some(match backend {
        CacheBackend::Registry { reference, .. } => Arc::new(registry::RegistryCache::new(client, reference)),
        CacheBackend::Local { path, tag, digest } => Arc::new(local::LocalCache::new(path, tag, digest.as_ref())),
        CacheBackend::Gha(options) => Arc::new(gha::GhaStore::new(http.client(), options)),
        CacheBackend::S3(options) => Arc::new(s3::S3Store::new(http.client(), options)),
        CacheBackend::Inline => return None,
    })
}

fn unusable(why: impl Into<String>) -> BuildError {
    BuildError::new(Kind::Remote, why)
}
