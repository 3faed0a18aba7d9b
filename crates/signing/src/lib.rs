//! Signatures and attestations in registries: written beside an image in the two forms that cosign
//! reads, found again, and held against keys.
//!
//! What is signed, and how it is encoded, is `attest`'s; here is where it is stored. Keys come in as
//! values: no file and no variable is read.
use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};

use attest::bundle::Bundle;
use attest::cosign::{Blob, Claim, ENVELOPE, Proof, SIMPLE_SIGNING};
use attest::key::{KeyError, PrivateKey, PublicKey};
use attest::statement::Statement;
use oci::{Descriptor, Digest, Manifest, Reference, media_type};
use registry::{Client, ErrorKind, Progress};

/// Why something could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry refused or could not be reached.
    #[error("{what}")]
    Registry {
        /// What was tried.
        what: String,
        /// Why not.
        source: registry::Error,
    },
    /// The key.
    #[error("cannot sign: {0}")]
    Key(#[from] KeyError),
    /// What stands where cosign keeps signatures is something else.
    #[error("{name} holds no manifest of signatures: {why}")]
    Foreign {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

type Result<T> = std::result::Result<T, Error>;

fn remote(what: String, source: registry::Error) -> Error {
    Error::Registry { what, source }
}

/// The largest signature, envelope or bundle that is read: attestations hold whole SBOMs.
const LIMIT: u64 = 64 << 20;
/// The most bytes of all of them for one image, which are held at once.
const LIMIT_OF_ALL: u64 = 256 << 20;
/// The most claims that are looked at for one image.
const MOST: usize = 500;

/// How signatures are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage {
    /// Under cosign's tags.
    pub tags: bool,
    /// As bundles that refer to the image.
    pub bundles: bool,
}

impl Storage {
    /// `both`, `tag`, `bundle`
    ///
    /// # Errors
    /// What is known.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        match text {
            "both" => Ok(Self { tags: true, bundles: true }),
            "tag" => Ok(Self { tags: true, bundles: false }),
            "bundle" => Ok(Self { tags: false, bundles: true }),
            _ => Err("known are both, tag, bundle".to_owned()),
        }
    }
}

/// Signs images and statements, and stores what comes of it beside the image.
#[derive(Debug)]
pub struct Signer<'a> {
    /// The registry.
    pub client: &'a Client,
    /// Whose signature it is.
    pub key: &'a PrivateKey,
    /// Where it is stored.
    pub storage: Storage,
}

impl Signer<'_> {
    /// Signs an image.
    ///
    /// # Errors
    /// [`Error`]
    pub fn image(&self, name: &Reference, image: &Descriptor, annotations: &BTreeMap<String, String>) -> Result<()> {
        let repository = name.name();
        if self.storage.tags {
            let blob = attest::cosign::signature(self.key, &repository, &image.digest, annotations)?;
            self.layer(name, &image.digest, "sig", &blob)?;
        }
        if self.storage.bundles {
            let statement = attest::cosign::signature_statement(&repository, &image.digest, annotations);
            self.bundle(name, image, &statement)?;
        }
        Ok(())
    }

    /// Signs a statement about an image.
    ///
    /// # Errors
    /// [`Error`]
    pub fn statement(&self, name: &Reference, image: &Descriptor, statement: &Statement) -> Result<()> {
        if self.storage.tags {
            let blob = attest::cosign::attestation(self.key, statement)?;
            self.layer(name, &image.digest, "att", &blob)?;
        }
        if self.storage.bundles {
            self.bundle(name, image, statement)?;
        }
        Ok(())
    }

    /// Adds a layer to the manifest under a tag of cosign's.
    fn layer(&self, name: &Reference, digest: &Digest, suffix: &str, blob: &Blob) -> Result<()> {
        let tag = name.with_tag(&attest::cosign::tag(digest, suffix));
        let existing = match self.client.manifest(&tag) {
            Ok(fetched) => Some(
                serde_json::from_slice::<Manifest>(&fetched.bytes)
                    .map_err(|e| Error::Foreign { name: tag.familiar(), why: e.to_string() })?,
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(remote(format!("cannot read {}", tag.familiar()), error)),
        };
        let (config, manifest) = attest::cosign::extended(existing.as_ref(), &blob.descriptor);
        self.push(name, &[blob.clone(), config])?;
        self.client
            .push_manifest(&tag, media_type::OCI_MANIFEST, &manifest)
            .map(drop)
            .map_err(|e| remote(format!("cannot write {}", tag.familiar()), e))
    }

    fn bundle(&self, name: &Reference, image: &Descriptor, statement: &Statement) -> Result<()> {
        let bundle = Bundle::sign(statement, self.key)?;
        let created = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap_or_default().to_string();
        let (blobs, manifest) = attest::cosign::referrer(&bundle, &statement.predicate_type, image, &created);
        self.push(name, &blobs)?;
        let to = name.with_digest(Digest::sha256(&manifest));
        // By digest: no tag is moved.
        let to = format!("{}@{}", name.name(), to.target()).parse::<Reference>().unwrap_or(to);
        self.client
            .push_manifest(&to, media_type::OCI_MANIFEST, &manifest)
            .map(drop)
            .map_err(|e| remote(format!("cannot write a bundle to {}", name.name()), e))
    }

    fn push(&self, name: &Reference, blobs: &[Blob]) -> Result<()> {
        for blob in blobs {
            let source = || -> io::Result<Box<dyn Read + Send>> { Ok(Box::new(Cursor::new(blob.bytes.clone()))) };
            self.client
                .push_blob(name, &blob.descriptor, &source, &[], Progress::none())
                .map_err(|e| remote(format!("cannot write to {}", name.name()), e))?;
        }
        Ok(())
    }
}

/// A claim, where it lies, or why it cannot even be read.
#[derive(Debug)]
pub struct Found {
    /// A tag, or a referrer.
    pub place: String,
    /// What it claims.
    pub claim: std::result::Result<Claim, String>,
}

/// Everything in a repository that claims to be a signature or an attestation of an image.
///
/// # Errors
/// The registry's; what is broken in itself is among the claims.
pub fn claims(client: &Client, name: &Reference, digest: &Digest) -> std::result::Result<Vec<Found>, registry::Error> {
    let mut found = Vec::new();
    let mut budget = LIMIT_OF_ALL;
    for suffix in ["sig", "att"] {
        let tag = attest::cosign::tag(digest, suffix);
        let fetched = match client.manifest(&name.with_tag(&tag)) {
            Ok(fetched) => fetched,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let place = format!("tag {}…{}", &tag[..19], suffix);
        let manifest: Manifest = match serde_json::from_slice(&fetched.bytes) {
            Ok(manifest) => manifest,
            Err(error) => {
                found.push(Found { place, claim: Err(format!("no manifest: {error}")) });
                continue;
            }
        };
        for layer in manifest.layers.iter().take(MOST - found.len().min(MOST)) {
            let make: fn(Vec<u8>, BTreeMap<String, String>) -> Claim = match layer.media_type.as_str() {
                SIMPLE_SIGNING => Claim::Simple,
                ENVELOPE => Claim::Envelope,
                _ => continue,
            };
            let claim = match blob(client, name, layer, &mut budget)? {
                Ok(bytes) => Ok(make(bytes, layer.annotations.clone())),
                Err(why) => Err(why),
            };
            found.push(Found { place: place.clone(), claim });
        }
    }
    for entry in client.referrers(name, digest, None)? {
        // cosign 2 writes the type of the config into the list that stands for a registry's own.
        let kind = entry.artifact_type.as_deref().unwrap_or_default();
        let possible = kind.is_empty() || kind == media_type::OCI_EMPTY || kind.contains("sigstore.bundle");
        if !possible || !media_type::is_manifest(&entry.media_type) || found.len() >= MOST {
            continue;
        }
        let place = format!("referrer sha256:{}…", &entry.digest.hex()[..12]);
        let fetched = match client.manifest(&bare(name, &entry.digest)) {
            Ok(fetched) => fetched,
            Err(error) if error.kind() == ErrorKind::NotFound || error.kind() == ErrorKind::Digest => {
                found.push(Found { place, claim: Err(error.to_string()) });
                continue;
            }
            Err(error) => return Err(error),
        };
        let Ok(manifest) = serde_json::from_slice::<Manifest>(&fetched.bytes) else { continue };
        let Some(layer) = manifest.layers.iter().find(|l| l.media_type.contains("sigstore.bundle")) else { continue };
        let claim = blob(client, name, layer, &mut budget)?.map(Claim::Bundle);
        found.push(Found { place, claim });
    }
    Ok(found)
}

/// A document beside an image that nobody signed: a manifest of its own that refers to the image. The same
/// document gives the same manifest, so that it is there once however often it is attached.
///
/// # Errors
/// [`Error::Registry`]
pub fn attach(
    client: &Client,
    name: &Reference,
    subject: &Descriptor,
    artifact_type: &str,
    document: &[u8],
) -> Result<Digest> {
    const EMPTY: &[u8] = b"{}";
    let layer = Descriptor::new(artifact_type, Digest::sha256(document), document.len() as u64);
    let config = Descriptor::new(media_type::OCI_EMPTY, Digest::sha256(EMPTY), EMPTY.len() as u64);
    let failed = |e: registry::Error| remote(format!("cannot write to {}", name.name()), e);
    for (descriptor, bytes) in [(&layer, document), (&config, EMPTY)] {
        let bytes = bytes.to_vec();
        let source = move || -> io::Result<Box<dyn Read + Send>> { Ok(Box::new(Cursor::new(bytes.clone()))) };
        client.push_blob(name, descriptor, &source, &[], Progress::none()).map_err(failed)?;
    }
    let plain = |d: &Descriptor| serde_json::json!({ "mediaType": d.media_type, "digest": d.digest.to_string(), "size": d.size });
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": plain(&config),
        "layers": [plain(&layer)],
        "subject": plain(subject),
    });
    let bytes = manifest.to_string().into_bytes();
    let digest = Digest::sha256(&bytes);
    client.push_manifest(&bare(name, &digest), media_type::OCI_MANIFEST, &bytes).map(drop).map_err(failed)?;
    Ok(digest)
}

/// The repository with this digest and no tag.
#[must_use]
pub fn bare(name: &Reference, digest: &Digest) -> Reference {
    format!("{}@{digest}", name.name()).parse().unwrap_or_else(|_| name.with_digest(digest.clone()))
}

/// A blob; what is wrong with its content is a reason, not an error.
fn blob(
    client: &Client,
    name: &Reference,
    descriptor: &Descriptor,
    budget: &mut u64,
) -> std::result::Result<std::result::Result<Vec<u8>, String>, registry::Error> {
    if descriptor.size > *budget {
        return Ok(Err(format!(
            "it is not read: the signatures of one image may have {} MiB together",
            LIMIT_OF_ALL >> 20
        )));
    }
    match client.blob_bytes(name, descriptor, LIMIT) {
        Ok(bytes) => {
            *budget = budget.saturating_sub(bytes.len() as u64);
            Ok(Ok(bytes))
        }
        Err(error) => match error.kind() {
            ErrorKind::Digest | ErrorKind::NotFound | ErrorKind::TooLarge => Ok(Err(error.to_string())),
            _ => Err(error),
        },
    }
}

/// What was proven about an image, and what was refused.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Place and proof.
    pub proofs: Vec<(String, Proof)>,
    /// Place and reason.
    pub refused: Vec<(String, String)>,
}

impl Verdict {
    /// Holds all claims against some keys.
    #[must_use]
    pub fn of(found: Vec<Found>, digest: &Digest, keys: &[PublicKey]) -> Self {
        let mut this = Self::default();
        for Found { place, claim } in found {
            match claim.and_then(|claim| claim.verify(digest, keys)) {
                Ok(proof) => this.proofs.push((place, proof)),
                Err(why) => this.refused.push((place, why)),
            }
        }
        this
    }

    /// Whether the image itself is signed.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.proofs.iter().any(|(_, proof)| matches!(proof, Proof::Signature { .. }))
    }

    /// Whether there is a valid statement of this kind.
    #[must_use]
    pub fn attests(&self, predicate_type: &str) -> bool {
        let is = |proof: &Proof| matches!(proof, Proof::Attestation(s) if s.predicate_type == predicate_type);
        self.proofs.iter().any(|(_, proof)| is(proof))
    }

    /// What is missing of a signature and of these attestations, as one sentence; nothing where all is there.
    #[must_use]
    pub fn missing(&self, signature: bool, attestations: &[String]) -> Option<String> {
        let mut missing: Vec<String> = Vec::new();
        if signature && !self.is_signed() {
            missing.push("no valid signature".to_owned());
        }
        let absent = attestations.iter().filter(|kind| !self.attests(kind));
        missing.extend(absent.map(|kind| format!("no valid attestation {kind}")));
        if missing.is_empty() {
            return None;
        }
        let mut text = missing.join(", ");
        if self.refused.is_empty() {
            text.push_str("; nothing in the repository claims to be one");
        }
        for (place, why) in &self.refused {
            text.push_str(&format!("; {place}: {why}"));
        }
        Some(text)
    }
}
