//! The client of the OCI distribution API.
//!
//! Every operation blocks the calling thread and may run on many threads at once. Requests are tried
//! again after 429, 5xx, resets and timeouts; a download goes on where it broke; an upload asks the
//! registry how far it came.
mod listing;
mod pull;
mod push;
mod reader;
mod upload;

pub use reader::BlobReader;

use crate::credentials::{Credential, CredentialSources, Credentials};
use crate::endpoint::Target;
use crate::session::{Session, scope};
use crate::{ClientOptions, Error, ErrorKind};
use oci::{Descriptor, Digest, Reference, media_type};
use reqwest::StatusCode;
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

/// A client for all registries. Cheap to clone; clones share connections, tokens and limits.
#[derive(Debug, Clone)]
pub struct Client {
    session: Arc<Session>,
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

impl Client {
    /// A client with these options. Fails when a CA file, certificate, proxy or mirror makes no sense.
    pub fn new(options: ClientOptions) -> Result<Self, Error> {
        Ok(Self { session: Arc::new(Session::new(options)?) })
    }

    /// Makes every running and every later operation of this client and its clones fail with
    /// [`ErrorKind::Cancelled`].
    pub fn cancel(&self) {
        self.session.transport.driver.cancel();
    }

    /// Asks whether the registry speaks the API and accepts the credentials (`GET /v2/`).
    pub fn ping(&self, registry: &str) -> Result<(), Error> {
        self.ping_target(&Target::new(registry, ""))
    }

    fn ping_target(&self, target: &Target) -> Result<(), Error> {
        let answer = self.ping_at(target).and_then(|answer| match answer.status {
            StatusCode::OK => Ok(()),
            StatusCode::NOT_FOUND => Err(Error::new(
                ErrorKind::NotFound,
                format!("{} answers, but it is no registry (404 for /v2/)", target.registry),
            )
            .or_hint(|| Some("check the registry's address and port".to_owned()))),
            _ => Err(self.session.refused(target, &answer)),
        });
        answer.map_err(|e| e.doing(|| format!("reach the registry {}", target.registry)))
    }

    /// Checks a credential against a registry, as `login` does, without storing it.
    pub fn check_login(&self, registry: &str, credential: &Credential) -> Result<(), Error> {
        let sources = CredentialSources {
            explicit: vec![(registry.to_owned(), credential.clone())],
            ..CredentialSources::default()
        };
        let session = self.session.with_credentials(Credentials::new(sources))?;
        let client = Self { session: Arc::new(session) };
        client.ping_target(&Target::new(registry, "")).map_err(|e| {
            if e.kind() == ErrorKind::Unauthorized {
                e.instead_hint(
                "check the user name and the password; many registries want an access token in place of the password",
            )
            } else {
                e
            }
        })
    }

    /// What a reference points to: its type, digest and size.
    pub fn resolve(&self, reference: &Reference) -> Result<Descriptor, Error> {
        pull::first(&self.session, reference, |target| self.resolve_at(target, reference))
            .map_err(|e| e.doing(|| format!("resolve {reference}")))
    }

    /// A manifest or index; the digest is checked.
    pub fn manifest(&self, reference: &Reference) -> Result<Fetched, Error> {
        pull::first(&self.session, reference, |target| self.manifest_at(target, reference))
            .map_err(|e| e.doing(|| format!("pull the manifest of {reference}")))
    }

    /// A blob as a stream. The tag and digest of `name` do not matter. A blob that is being read
    /// counts against [`ClientOptions::concurrency`] until it is read to its end or dropped.
    pub fn blob(&self, name: &Reference, descriptor: &Descriptor, progress: Progress) -> Result<BlobReader, Error> {
        BlobReader::open(self, name, descriptor, progress)
    }

    /// A small blob (a config) in memory; one that is larger than `limit` is refused.
    pub fn blob_bytes(&self, name: &Reference, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, Error> {
        let what = || format!("pull blob {} of {}", descriptor.digest, name.name());
        if descriptor.size > limit {
            let why = format!("it has {} bytes, {limit} are accepted here", descriptor.size);
            return Err(Error::new(ErrorKind::TooLarge, why).doing(what));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(descriptor.size).unwrap_or(0));
        match self.blob(name, descriptor, Progress::none())?.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(e) => Err(Error::from_io(&e)
                .cloned()
                .unwrap_or_else(|| Error::new(ErrorKind::Interrupted, e.to_string()))
                .doing(what)),
        }
    }

    /// Whether the repository has a blob.
    pub fn has_blob(&self, name: &Reference, digest: &Digest) -> Result<bool, Error> {
        let target = self.session.origin(name);
        self.has_blob_at(&target, &scope(&target, "pull"), digest)
            .map_err(|e| e.doing(|| format!("look for blob {digest} in {}", name.name())))
    }

    /// Brings a blob into a repository: not at all where it is there, by mounting it from one of
    /// `mount_from` (names in the same registry, or that it mirrors; others are ignored), else by upload. `source` opens
    /// the content from its beginning, again after a failure.
    pub fn push_blob(
        &self,
        name: &Reference,
        descriptor: &Descriptor,
        source: &dyn Fn() -> io::Result<Box<dyn Read + Send>>,
        mount_from: &[Reference],
        progress: Progress,
    ) -> Result<Pushed, Error> {
        self.push_blob_at(self.session.origin(name), descriptor, source, mount_from, progress)
            .map_err(|e| e.doing(|| format!("push blob {} to {}", descriptor.digest, name.name())))
    }

    /// Whether blobs of one name may be mounted under another: both are in one registry, or it mirrors the other's.
    #[must_use]
    pub fn can_mount(&self, to: &Reference, from: &Reference) -> bool {
        self.session.mount_source(to.registry(), from).is_some()
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
        upload::Upload::new(&self.session, self.session.origin(name), progress)
            .and_then(|mut own| own.stream(media_type, content))
            .map_err(|e| e.doing(|| format!("push a blob to {}", name.name())))
    }

    /// Pushes a manifest or index under the reference's tag (without one, under its digest, else as
    /// `latest`). Where it has a `subject` and the registry has no referrers API, the fallback tag is
    /// brought up to date.
    pub fn push_manifest(&self, reference: &Reference, media_type: &str, bytes: &[u8]) -> Result<Descriptor, Error> {
        self.push_manifest_inner(reference, media_type, bytes)
            .map_err(|e| e.doing(|| format!("push the manifest of {reference}")))
    }

    fn push_manifest_inner(&self, reference: &Reference, kind: &str, bytes: &[u8]) -> Result<Descriptor, Error> {
        if let Some(digest) = reference.digest() {
            let mut digester = oci::Digester::like(digest);
            digester.update(bytes);
            let actual = digester.finish();
            if actual != *digest {
                return Err(Error::new(ErrorKind::Digest, format!("the manifest has digest {actual}")));
            }
        }
        let target = self.session.origin(reference);
        let to = reference.tag().unwrap_or_else(|| reference.target());
        let (descriptor, answer) = self.put_manifest(&target, to, kind, bytes)?;
        let document: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
        let subject = document.get("subject").and_then(|s| s.get("digest")).and_then(|d| d.as_str());
        if let Some(subject) = subject.and_then(|d| d.parse::<Digest>().ok())
            && answer.header("oci-subject").is_none()
        {
            self.add_referrer(&target, reference, &subject, referrer(&descriptor, &document))?;
        }
        Ok(descriptor)
    }

    /// All tags of a repository, in the registry's order.
    pub fn tags(&self, name: &Reference) -> Result<Vec<String>, Error> {
        let target = self.session.origin(name);
        let path = format!("/v2/{}/tags/list?n=1000", name.repository());
        self.list(&target, &scope(&target, "pull"), &path, "tags")
            .map_err(|e| e.doing(|| format!("list the tags of {}", name.name())))
    }

    /// All repositories of a registry, where it lists them.
    pub fn catalog(&self, registry: &str) -> Result<Vec<String>, Error> {
        let target = Target::new(registry, "");
        self.list(&target, &["registry:catalog:*".to_owned()], "/v2/_catalog?n=1000", "repositories")
            .map_err(|e| e.doing(|| format!("list the repositories of {registry}")))
    }

    /// The manifests whose `subject` is this digest, from the referrers API or the fallback tag.
    pub fn referrers(
        &self,
        name: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let target = self.session.origin(name);
        let mut found = (|| match self.referrers_api(&target, subject, artifact_type)? {
            Some(found) => Ok(found),
            None => self.referrers_tag(&target, name, subject).map(|index| index.manifests),
        })()
        .map_err(|e: Error| e.doing(|| format!("list the referrers of {}@{subject}", name.name())))?;
        // A registry may ignore the filter.
        if let Some(wanted) = artifact_type {
            found.retain(|d| d.artifact_type.as_deref() == Some(wanted));
        }
        Ok(found)
    }

    /// Deletes the manifest that the reference's digest names, or, without one, its tag.
    pub fn delete_manifest(&self, reference: &Reference) -> Result<(), Error> {
        self.delete(&self.session.origin(reference), &format!("manifests/{}", reference.target()))
            .map_err(|e| e.doing(|| format!("delete {reference}")))
    }

    /// Deletes a blob of a repository.
    pub fn delete_blob(&self, name: &Reference, digest: &Digest) -> Result<(), Error> {
        self.delete(&self.session.origin(name), &format!("blobs/{digest}"))
            .map_err(|e| e.doing(|| format!("delete blob {digest} of {}", name.name())))
    }

    /// Finds out whether a push would be allowed, by beginning an upload and cancelling it.
    pub fn check_push_access(&self, name: &Reference) -> Result<(), Error> {
        self.check_push_at(self.session.origin(name)).map_err(|e| e.doing(|| format!("push to {}", name.name())))
    }
}

/// How a manifest is listed among the referrers of its subject.
fn referrer(descriptor: &Descriptor, document: &serde_json::Value) -> Descriptor {
    let text = |value: Option<&serde_json::Value>| value.and_then(|v| v.as_str()).map(str::to_owned);
    let mut entry = descriptor.clone();
    entry.artifact_type = text(document.get("artifactType")).filter(|t| !t.is_empty()).or_else(|| {
        text(document.get("config").and_then(|c| c.get("mediaType"))).filter(|t| t != media_type::OCI_EMPTY)
    });
    if let Some(annotations) = document.get("annotations").and_then(|a| a.as_object()) {
        entry.annotations = annotations.iter().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect();
    }
    entry
}
