//! What signing and verifying share: keys from files, and signatures in registries.
pub(crate) mod build;
pub(crate) mod cosign;
pub(crate) mod keys;
pub(crate) mod policy;

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};

use attest::bundle::Bundle;
use attest::cosign::{Blob, Claim, ENVELOPE, Proof, SIMPLE_SIGNING};
use attest::key::{PrivateKey, PublicKey};
use attest::statement::Statement;
use oci::{Descriptor, Digest, Manifest, Reference, media_type};
use registry::{Client, ErrorKind, Progress};

use crate::error::{CliError, Result};

/// The largest signature, envelope or bundle that is read: attestations hold whole SBOMs.
const LIMIT: u64 = 64 << 20;
/// The most bytes of all of them for one image, which are held at once.
const LIMIT_OF_ALL: u64 = 256 << 20;
/// The most claims that are looked at for one image.
const MOST: usize = 500;

/// How signatures are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Storage {
    /// Under cosign's tags.
    pub(crate) tags: bool,
    /// As bundles that refer to the image.
    pub(crate) bundles: bool,
}

impl Storage {
    /// `--storage`
    pub(crate) fn parse(text: &str) -> std::result::Result<Self, String> {
        match text {
            "both" => Ok(Self { tags: true, bundles: true }),
            "tag" => Ok(Self { tags: true, bundles: false }),
            "bundle" => Ok(Self { tags: false, bundles: true }),
            _ => Err("known are both, tag, bundle".to_owned()),
        }
    }
}

/// An error of the registry with its hint.
pub(crate) fn remote(what: &str, error: &registry::Error) -> CliError {
    let out = CliError::failed(what.to_owned()).caused_by(error);
    match error.hint() {
        Some(hint) => out.hint(hint),
        None => out,
    }
}

/// Signs images and statements, and stores what comes of it beside the image.
pub(crate) struct Signer<'a> {
    pub(crate) client: &'a Client,
    pub(crate) key: &'a PrivateKey,
    pub(crate) storage: Storage,
}

impl Signer<'_> {
    /// Signs an image.
    pub(crate) fn image(
        &self,
        name: &Reference,
        image: &Descriptor,
        annotations: &BTreeMap<String, String>,
    ) -> Result<()> {
        let repository = name.name();
        if self.storage.tags {
            let blob = attest::cosign::signature(self.key, &repository, &image.digest, annotations).map_err(failed)?;
            self.layer(name, &image.digest, "sig", &blob)?;
        }
        if self.storage.bundles {
            let statement = attest::cosign::signature_statement(&repository, &image.digest, annotations);
            self.bundle(name, image, &statement)?;
        }
        Ok(())
    }

    /// Signs a statement about an image.
    pub(crate) fn statement(&self, name: &Reference, image: &Descriptor, statement: &Statement) -> Result<()> {
        if self.storage.tags {
            let blob = attest::cosign::attestation(self.key, statement).map_err(failed)?;
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
            Ok(fetched) => Some(serde_json::from_slice::<Manifest>(&fetched.bytes).map_err(|e| {
                CliError::failed(format!("{} holds no manifest of signatures: {e}", tag.familiar()))
                    .hint("delete the tag and sign again")
            })?),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(remote(&format!("cannot read {}", tag.familiar()), &error)),
        };
        let (config, manifest) = attest::cosign::extended(existing.as_ref(), &blob.descriptor);
        self.push(name, &[blob.clone(), config])?;
        self.client
            .push_manifest(&tag, media_type::OCI_MANIFEST, &manifest)
            .map(drop)
            .map_err(|e| remote(&format!("cannot write {}", tag.familiar()), &e))
    }

    fn bundle(&self, name: &Reference, image: &Descriptor, statement: &Statement) -> Result<()> {
        let bundle = Bundle::sign(statement, self.key).map_err(failed)?;
        let created = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap_or_default().to_string();
        let (blobs, manifest) = attest::cosign::referrer(&bundle, &statement.predicate_type, image, &created);
        self.push(name, &blobs)?;
        let to = name.with_digest(Digest::sha256(&manifest));
        // By digest: no tag is moved.
        let to = format!("{}@{}", name.name(), to.target()).parse::<Reference>().unwrap_or(to);
        self.client
            .push_manifest(&to, media_type::OCI_MANIFEST, &manifest)
            .map(drop)
            .map_err(|e| remote(&format!("cannot write a bundle to {}", name.name()), &e))
    }

    fn push(&self, name: &Reference, blobs: &[Blob]) -> Result<()> {
        for blob in blobs {
            let source = || -> io::Result<Box<dyn Read + Send>> { Ok(Box::new(Cursor::new(blob.bytes.clone()))) };
            self.client
                .push_blob(name, &blob.descriptor, &source, &[], Progress::none())
                .map_err(|e| remote(&format!("cannot write to {}", name.name()), &e))?;
        }
        Ok(())
    }
}

fn failed(error: attest::key::KeyError) -> CliError {
    CliError::failed(format!("cannot sign: {error}"))
}

/// A claim, where it lies, or why it cannot even be read.
pub(crate) struct Found {
    pub(crate) place: String,
    pub(crate) claim: std::result::Result<Claim, String>,
}

/// Everything in a repository that claims to be a signature or an attestation of an image.
pub(crate) fn claims(
    client: &Client,
    name: &Reference,
    digest: &Digest,
) -> std::result::Result<Vec<Found>, registry::Error> {
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

/// The repository with this digest and no tag.
pub(crate) fn bare(name: &Reference, digest: &Digest) -> Reference {
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
pub(crate) struct Verdict {
    /// Place and proof.
    pub(crate) proofs: Vec<(String, Proof)>,
    /// Place and reason.
    pub(crate) refused: Vec<(String, String)>,
}

impl Verdict {
    /// Holds all claims against some keys.
    pub(crate) fn of(found: Vec<Found>, digest: &Digest, keys: &[PublicKey]) -> Self {
        let mut this = Self::default();
        for Found { place, claim } in found {
            match claim.and_then(|claim| claim.verify(digest, keys)) {
                Ok(proof) => this.proofs.push((place, proof)),
                Err(why) => this.refused.push((place, why)),
            }
        }
        this
    }

    pub(crate) fn is_signed(&self) -> bool {
        self.proofs.iter().any(|(_, proof)| matches!(proof, Proof::Signature { .. }))
    }

    pub(crate) fn attests(&self, predicate_type: &str) -> bool {
        let is = |proof: &Proof| matches!(proof, Proof::Attestation(s) if s.predicate_type == predicate_type);
        self.proofs.iter().any(|(_, proof)| is(proof))
    }

    /// What is missing of a signature and of these attestations, as one sentence; nothing where all is there.
    pub(crate) fn missing(&self, signature: bool, attestations: &[String]) -> Option<String> {
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
