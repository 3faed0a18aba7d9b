//! `--verify-bases`: base images are held against a policy before they are used.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use attest::key::PublicKey;
use attest::policy::{Need, Policy};
use build::request::BaseCheck;
use oci::{Digest, Reference};

use super::cosign::{Cosign, Identity};
use crate::config::Settings;
use crate::env::Env;
use crate::error::{CliError, Result};

/// A policy with its keys, read before anything is built.
struct Loaded {
    policy: Policy,
    keys: Vec<(String, PublicKey)>,
    shown: String,
    /// Verifies identities, where it is installed.
    cosign: Option<Cosign>,
}

/// Reads the policy file and makes the check of it.
pub(crate) fn check(path: &Path, client: registry::Client, settings: &Settings, env: &Env) -> Result<BaseCheck> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|e| CliError::usage(format!("cannot read the policy {shown}: {}", crate::error::plain_io(&e))))?;
    let policy = Policy::parse(&text)
        .map_err(|e| CliError::usage(format!("the policy {shown}: {e}")).hint("docs/signing.md describes the file"))?;
    let base = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    let mut keys = Vec::new();
    for name in policy.keys() {
        keys.push((name.to_owned(), super::keys::public_file(&base.join(name))?));
    }
    // Where it is missing, images that need no identity can be used all the same.
    let cosign = Cosign::find(settings, env).ok();
    let loaded = Loaded { policy, keys, shown, cosign };
    Ok(BaseCheck(Arc::new(move |reference, digest| one(&loaded, &client, reference, digest))))
}

/// `Err` with the reason where the image must not be used.
fn one(
    loaded: &Loaded,
    client: &registry::Client,
    name: &Reference,
    digest: &Digest,
) -> std::result::Result<(), String> {
    let (need, pattern) = loaded.policy.need(&name.name());
    let rule = pattern.map_or_else(
        || format!("no rule of {} fits it", loaded.shown),
        |pattern| format!("{}, rule {pattern:?}", loaded.shown),
    );
    match need {
        Need::Nothing => Ok(()),
        Need::Refused => Err(format!("the policy does not allow it ({rule})")),
        Need::Identity { subject, issuer, attestations } => {
            let Some(cosign) = &loaded.cosign else {
                return Err(format!("an identity is verified by the program cosign, and it is not installed ({rule})"));
            };
            let identity = Identity { subject, issuer };
            cosign.verify(name, digest, identity).map_err(|e| format!("{} ({rule})", e.message))?;
            for kind in attestations {
                let held = cosign.verify_attestation(name, digest, identity, kind);
                held.map_err(|e| format!("{} ({rule})", e.message))?;
            }
            Ok(())
        }
        Need::Keys { keys, attestations } => {
            let keys: Vec<PublicKey> =
                loaded.keys.iter().filter(|(name, _)| keys.contains(name)).map(|(_, key)| key.clone()).collect();
            let found = super::claims(client, name, digest)
                .map_err(|e| format!("its signatures cannot be read: {e} ({rule})"))?;
            match super::Verdict::of(found, digest, &keys).missing(true, attestations) {
                None => Ok(()),
                Some(missing) => Err(format!("{missing} ({rule})")),
            }
        }
    }
}
