//! Pushing: blobs that are not there yet, by mount or upload; then manifests.
use super::upload::Upload;
use super::{Client, Progress, Pushed, Source};
use crate::endpoint::Target;
use crate::session::scope;
use crate::transport::Answer;
use crate::{Error, ErrorKind};
use bytes::Bytes;
use oci::{Descriptor, Digest, Reference};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode, Url};

/// How many repositories a mount is tried from.
const MOUNTS: usize = 4;

impl Client {
    pub(super) fn push_blob_at(
        &self,
        target: Target,
        descriptor: &Descriptor,
        source: Source<'_>,
        mount_from: &[Reference],
        progress: Progress,
    ) -> Result<Pushed, Error> {
        let session = &*self.session;
        if self.has_blob_at(&target, &scope(&target, "pull,push"), &descriptor.digest)? {
            progress.at(descriptor.size);
            return Ok(Pushed::Existed);
        }
        let mut place: Option<Url> = None;
        let mut upload = Upload::new(session, target, progress)?;
        let mut tried: Vec<String> = Vec::new();
        for name in mount_from {
            let Some(from) = session.mount_source(&upload.target().registry, name) else { continue };
            if from == upload.target().repository || tried.contains(&from) || tried.len() == MOUNTS {
                continue;
            }
            tried.push(from.clone());
            if let Some(old) = place.take() {
                upload.cancel(old);
            }
            match upload.mount(&descriptor.digest, &from) {
                Ok(None) => {
                    upload.report(descriptor.size);
                    return Ok(Pushed::Mounted);
                }
                Ok(Some(session)) => place = Some(session),
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                // Whatever is wrong with the mount, an upload may still work, and its error says more.
                Err(_) => {}
            }
        }
        upload.run(descriptor, source, place)?;
        upload.report(descriptor.size);
        Ok(Pushed::Uploaded)
    }

    pub(super) fn put_manifest(
        &self,
        target: &Target,
        to: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<(Descriptor, Answer), Error> {
        let session = &*self.session;
        let path = format!("manifests/{to}");
        let body = Bytes::copy_from_slice(bytes);
        let answer = session.request(target, &scope(target, "pull,push"), 0, || {
            Ok(session.simple(target, Method::PUT, &path)?.header(CONTENT_TYPE, media_type).body(body.clone()))
        })?;
        if !answer.status.is_success() {
            let error = session.refused(target, &answer);
            let unknown = |code: &str| error.messages().iter().any(|m| m.code == code);
            let hint = if unknown("MANIFEST_BLOB_UNKNOWN") || unknown("BLOB_UNKNOWN") {
                Some("a blob that the manifest names is not in the repository: push the blobs first".to_owned())
            } else if unknown("NAME_UNKNOWN") || answer.status == StatusCode::NOT_FOUND {
                Some("check the repository's name; some registries want it created before a push".to_owned())
            } else {
                None
            };
            return Err(error.or_hint(|| hint));
        }
        let mut descriptor = Descriptor::of(media_type, bytes);
        if let Some(told) = answer.header("docker-content-digest").and_then(|d| d.parse::<Digest>().ok()) {
            let mut digester = oci::Digester::like(&told);
            digester.update(bytes);
            if digester.finish() != told {
                return Err(Error::new(
                    ErrorKind::Digest,
                    format!("the registry stored the manifest as {told} instead of {}", descriptor.digest),
                ));
            }
        }
        if let Ok(digest) = to.parse::<Digest>() {
            descriptor.digest = digest;
        }
        Ok((descriptor, answer))
    }

    pub(super) fn check_push_at(&self, target: Target) -> Result<(), Error> {
        let mut upload = Upload::new(&self.session, target, Progress::none())?;
        let place = upload.begin()?;
        upload.cancel(place);
        Ok(())
    }
}
