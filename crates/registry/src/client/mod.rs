//! The client of the OCI distribution API.
//!
//! Every operation blocks the calling thread and may run on many threads at once. Requests are tried
//! again after 429, 5xx, resets and timeouts; a download goes on where it broke; an upload asks the
//! registry how far it came.
use crate::credentials::Credential;
use crate::{ClientOptions, Error, ErrorKind};
use oci::{Descriptor, Digest, Reference};
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

/// A client for all registries. Cheap to clone; clones share connections, tokens and limits.
#[derive(Debug, Clone)]
pub struct Client {
    options: Arc<ClientOptions>,
}

/// A manifest or index as the registry sent it.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Type, digest and size; the digest was checked.
    pub descriptor: Descriptor,
    /// The raw bytes.
    pub bytes: Vec<u8>,
    /// The media type: what the document itself says, else the registry's `Content-Type`.
    pub media_type: String,
}

/// What became of a pushed blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// The repository had it.
    Existed,
    /// It was mounted from another repository of the registry.
    Mounted,
    /// It was uploaded.
    Uploaded,
}

/// Is told how many bytes of a blob have been moved. The number counts from the blob's beginning, so
/// it goes back when an upload starts again.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<dyn Fn(u64) + Send + Sync>>);

impl Progress {
    /// Calls `report` from the thread that moves the bytes.
    pub fn new(report: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(report)))
    }
    /// Tells nobody.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }
    pub(crate) fn at(&self, bytes: u64) {
        if let Some(report) = &self.0 {
            report(bytes);
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

/// Opens a blob's content from its beginning; called again when an upload has to start again.
pub(crate) type Source<'a> = &'a dyn Fn() -> io::Result<Box<dyn Read + Send>>;

/// A blob on its way. Reading fails at the end when digest or size are wrong; a broken connection
/// is mended unseen. [`Error::from_io`] finds the registry's error in an I/O error.
#[derive(Debug)]
pub struct BlobReader(());

impl Read for BlobReader {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(missing().into())
    }
}

fn missing() -> Error {
    Error::new(ErrorKind::Unsupported, "not built yet")
}

impl Client {
    /// A client with these options. Fails when a CA file, certificate, proxy or mirror makes no sense.
    pub fn new(options: ClientOptions) -> Result<Self, Error> {
        Ok(Self { options: Arc::new(options) })
    }

    /// Makes every running and every later operation of this client and its clones fail with
    /// [`ErrorKind::Cancelled`].
    pub fn cancel(&self) {}

    /// Asks whether the registry speaks the API and accepts the credentials (`GET /v2/`).
    pub fn ping(&self, registry: &str) -> Result<(), Error> {
        let _ = (registry, &self.options);
        Err(missing())
    }

    /// Checks a credential against a registry, as `login` does, without storing it.
    pub fn check_login(&self, registry: &str, credential: &Credential) -> Result<(), Error> {
        let _ = (registry, credential);
        Err(missing())
    }

    /// What a reference points to: its type, digest and size.
    pub fn resolve(&self, reference: &Reference) -> Result<Descriptor, Error> {
        let _ = reference;
        Err(missing())
    }

    /// A manifest or index; the digest is checked.
    pub fn manifest(&self, reference: &Reference) -> Result<Fetched, Error> {
        let _ = reference;
        Err(missing())
    }

    /// A blob as a stream. The tag and digest of `name` do not matter.
    pub fn blob(&self, name: &Reference, descriptor: &Descriptor, progress: Progress) -> Result<BlobReader, Error> {
        let _ = (name, descriptor, progress);
        Err(missing())
    }

    /// A small blob (a config) in memory; one that is larger than `limit` is refused.
    pub fn blob_bytes(&self, name: &Reference, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, Error> {
        let _ = (name, descriptor, limit);
        Err(missing())
    }

    /// Whether the repository has a blob.
    pub fn has_blob(&self, name: &Reference, digest: &Digest) -> Result<bool, Error> {
        let _ = (name, digest);
        Err(missing())
    }

    /// Brings a blob into a repository: not at all where it is there, by mounting it from one of
    /// `mount_from` (names in the same registry; others are ignored), else by upload.
    pub fn push_blob(
        &self,
        name: &Reference,
        descriptor: &Descriptor,
        source: &dyn Fn() -> io::Result<Box<dyn Read + Send>>,
        mount_from: &[Reference],
        progress: Progress,
    ) -> Result<Pushed, Error> {
        let _: (_, _, Source<'_>, _) = (name, descriptor, source, mount_from);
        progress.at(0);
        Err(missing())
    }

    /// Uploads content whose digest is not known before it was read, in one pass and without a
    /// temporary file. It cannot be tried again from the beginning; what the registry has received
    /// is asked for, and only a chunk is held in memory to repeat it.
    pub fn push_blob_stream(
        &self,
        name: &Reference,
        media_type: &str,
        content: &mut dyn Read,
        progress: Progress,
    ) -> Result<Descriptor, Error> {
        let _ = (name, media_type, content, progress);
        Err(missing())
    }

    /// Pushes a manifest or index under the reference's tag (else digest, else `latest`). Where it has
    /// a `subject` and the registry has no referrers API, the fallback tag is brought up to date.
    pub fn push_manifest(&self, reference: &Reference, media_type: &str, bytes: &[u8]) -> Result<Descriptor, Error> {
        let _ = (reference, media_type, bytes);
        Err(missing())
    }

    /// All tags of a repository, in the registry's order.
    pub fn tags(&self, name: &Reference) -> Result<Vec<String>, Error> {
        let _ = name;
        Err(missing())
    }

    /// All repositories of a registry, where it lists them.
    pub fn catalog(&self, registry: &str) -> Result<Vec<String>, Error> {
        let _ = registry;
        Err(missing())
    }

    /// The manifests whose `subject` is this digest, from the referrers API or the fallback tag.
    pub fn referrers(
        &self,
        name: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let _ = (name, subject, artifact_type);
        Err(missing())
    }

    /// Deletes the manifest that the reference's digest names, or, without one, its tag.
    pub fn delete_manifest(&self, reference: &Reference) -> Result<(), Error> {
        let _ = reference;
        Err(missing())
    }

    /// Deletes a blob of a repository.
    pub fn delete_blob(&self, name: &Reference, digest: &Digest) -> Result<(), Error> {
        let _ = (name, digest);
        Err(missing())
    }

    /// Finds out whether a push would be allowed, by beginning an upload and cancelling it.
    pub fn check_push_access(&self, name: &Reference) -> Result<(), Error> {
        let _ = name;
        Err(missing())
    }
}
