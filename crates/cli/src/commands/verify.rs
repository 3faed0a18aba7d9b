//! `cooperage verify`: who signed an image, and what was said about it.
use attest::cosign::Proof;
use attest::key::PublicKey;
use serde_json::{Value, json};

use crate::app::Context;
use crate::args::build::RegistryFlags;
use crate::config::{Flags, Settings};
use crate::error::{CliError, Result};
use crate::signing::cosign::{Cosign, Identity};
use crate::signing::{Verdict, bare, claims, keys, remote};

/// Verify signatures and attestations of an image in a registry.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cooperage verify --key cosign.pub ghcr.io/me/app:1.0\n  cooperage verify --key cosign.pub --attestation slsaprovenance1 ghcr.io/me/app:1.0"
)]
pub(crate) struct VerifyArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// A public key, a file or env://NAME; of several one must have signed
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    /// Ask for a signed attestation of this type as well: slsaprovenance1, spdxjson, … or a URI
    #[arg(long, value_name = "TYPE")]
    attestation: Vec<String>,
    /// Be content with attestations; do not ask for a signature of the image itself
    #[arg(long, requires = "attestation")]
    attestation_only: bool,
    /// Who signed, where no key was used: the subject of the certificate; * is any text (by the program cosign)
    #[arg(long, value_name = "SUBJECT", requires = "certificate_oidc_issuer", conflicts_with = "key")]
    certificate_identity: Option<String>,
    /// Who vouches for the identity
    #[arg(long, value_name = "URL", requires = "certificate_identity")]
    certificate_oidc_issuer: Option<String>,
    /// text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
    #[command(flatten)]
    registries: RegistryFlags,
}

pub(crate) fn run(args: &VerifyArgs, context: &Context<'_>) -> Result<()> {
    let flags = Flags { registries: Some(&args.registries), config: context.config.clone(), ..Flags::default() };
    let settings = Settings::load(&flags, context.env)?;
    let attestations = args.attestation.iter().map(|t| super::sign::predicate(t)).collect::<Result<Vec<_>>>()?;
    let keys = args.key.iter().map(|k| keys::public(k, context.env)).collect::<Result<Vec<PublicKey>>>()?;
    let client = super::client(&settings, context.env)?;
    if let (Some(subject), Some(issuer)) = (&args.certificate_identity, &args.certificate_oidc_issuer) {
        let (cosign, identity) = (Cosign::find(&settings, context.env)?, Identity { subject, issuer });
        let (name, image, _) = super::sign::resolve(&client, &args.image)?;
        if !args.attestation_only {
            context.ui.out(&cosign.verify(&name, &image.digest, identity)?)?;
        }
        for kind in &attestations {
            context.ui.out(&cosign.verify_attestation(&name, &image.digest, identity, kind)?)?;
        }
        return Ok(());
    }
    if keys.is_empty() {
        return Err(CliError::usage("no key to verify with")
            .hint("name it: --key cosign.pub")
            .hint("for a signature without a key: --certificate-identity and --certificate-oidc-issuer"));
    }
    let (name, image, _) = super::sign::resolve(&client, &args.image)?;
    let found = claims(&client, &name, &image.digest)
        .map_err(|e| remote(&format!("cannot read the signatures of {}", name.familiar()), &e))?;
    let verdict = Verdict::of(found, &image.digest, &keys);
    if let Some(missing) = verdict.missing(!args.attestation_only, &attestations) {
        return Err(CliError::failed(format!("{} is refused: {missing}", bare(&name, &image.digest).familiar())));
    }
    if args.format == "json" {
        return context.ui.out(&format!("{:#}\n", json(&name, &image.digest, &verdict)));
    }
    let mut out = format!("{}\n", bare(&name, &image.digest).familiar());
    for (place, proof) in &verdict.proofs {
        match proof {
            Proof::Signature { repository, annotations } => {
                let extra: String = annotations.iter().map(|(key, value)| format!(" {key}={value}")).collect();
                out.push_str(&format!("  signed as {repository}{extra} ({place})\n"));
            }
            Proof::Attestation(statement) => {
                out.push_str(&format!("  attested {} ({place})\n", statement.predicate_type));
            }
        }
    }
    for (place, why) in &verdict.refused {
        out.push_str(&format!("  not accepted: {place}: {why}\n"));
    }
    context.ui.out(&out)
}

fn json(name: &oci::Reference, digest: &oci::Digest, verdict: &Verdict) -> Value {
    let (mut signatures, mut attestations) = (Vec::new(), Vec::new());
    for (place, proof) in &verdict.proofs {
        match proof {
            Proof::Signature { repository, annotations } => {
                signatures.push(json!({ "repository": repository, "annotations": annotations, "place": place }));
            }
            Proof::Attestation(statement) => attestations.push(json!({ "statement": statement, "place": place })),
        }
    }
    let refused: Vec<Value> =
        verdict.refused.iter().map(|(place, why)| json!({ "place": place, "reason": why })).collect();
    json!({
        "image": name.to_string(),
        "digest": digest,
        "signatures": signatures,
        "attestations": attestations,
        "refused": refused,
    })
}
