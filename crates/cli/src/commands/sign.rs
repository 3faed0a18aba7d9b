//! `cooperage sign` and `cooperage attest`.
use std::collections::BTreeMap;
use std::io::Read;

use attest::key::PrivateKey;
use attest::statement::{Statement, Subject, predicate_type, short_names};
use oci::{Descriptor, Index, Reference, media_type};

use crate::app::Context;
use crate::args::build::RegistryFlags;
use crate::config::{Flags, Settings};
use crate::error::{CliError, Result};
use crate::signing::cosign::{Cosign, KEYLESS};
use crate::signing::{Signer, Storage, bare, keys, remote};

/// Sign images in a registry, so that cosign and others can verify them.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cooperage key generate\n  cooperage sign --key cosign.key ghcr.io/me/app:1.0\n  cosign verify --key cosign.pub --insecure-ignore-tlog ghcr.io/me/app:1.0"
)]
pub(crate) struct SignArgs {
    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// The private key: a file or env://NAME (default: signing.key of cooperage.toml)
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Sign with an identity instead of a key, by the program cosign
    #[arg(long, conflicts_with_all = ["key", "storage"])]
    keyless: bool,
    /// Sign the images of an index as well, not the index alone
    #[arg(short, long)]
    recursive: bool,
    /// Something to sign beside the image
    #[arg(short, long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// Where signatures are stored: tag (cosign's sha256-….sig), bundle (a referrer) or both
    #[arg(long, value_name = "WHERE", default_value = "both")]
    storage: String,
    #[command(flatten)]
    registries: RegistryFlags,
}

/// Sign a statement about an image: an SBOM, a provenance, anything in JSON.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  cooperage attest --key cosign.key --type spdxjson --predicate sbom.json ghcr.io/me/app:1.0"
)]
pub(crate) struct AttestArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The private key: a file or env://NAME (default: signing.key of cooperage.toml)
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Sign with an identity instead of a key, by the program cosign
    #[arg(long, conflicts_with_all = ["key", "storage"])]
    keyless: bool,
    /// What is said about the image: a JSON file, or - for standard input
    #[arg(long, value_name = "FILE")]
    predicate: String,
    /// What it is: slsaprovenance1, spdxjson, cyclonedx, vuln, openvex, … or a URI
    #[arg(long = "type", value_name = "TYPE")]
    kind: String,
    /// Where the statement is stored: tag (cosign's sha256-….att), bundle (a referrer) or both
    #[arg(long, value_name = "WHERE", default_value = "both")]
    storage: String,
    #[command(flatten)]
    registries: RegistryFlags,
}

fn settings(registries: &RegistryFlags, context: &Context<'_>) -> Result<Settings> {
    let flags = Flags { registries: Some(registries), config: context.config.clone(), ..Flags::default() };
    Settings::load(&flags, context.env)
}

/// What signs.
pub(crate) enum With {
    Key(PrivateKey),
    Identity(Cosign),
}

impl With {
    /// Read and found before anything is done.
    fn of(keyless: bool, key: Option<&str>, settings: &Settings, context: &Context<'_>) -> Result<Self> {
        let named = if keyless { KEYLESS.to_owned() } else { key_of(key, settings)? };
        Self::named(&named, settings, context)
    }

    /// A key, or [`KEYLESS`].
    pub(crate) fn named(name: &str, settings: &Settings, context: &Context<'_>) -> Result<Self> {
        match name == KEYLESS {
            true => Cosign::find(settings, context.env).map(Self::Identity),
            false => keys::private(name, context).map(Self::Key),
        }
    }
}

/// The key that is named, else the one of the settings.
pub(crate) fn key_of(given: Option<&str>, settings: &Settings) -> Result<String> {
    match (given, &settings.signing_key.value) {
        (Some(key), _) => Ok(key.to_owned()),
        (None, Some(path)) => Ok(path.display().to_string()),
        (None, None) => Err(CliError::usage("no key to sign with")
            .hint("name it: --key FILE, or signing.key in cooperage.toml; or sign without one: --keyless")
            .hint("cooperage key generate makes a pair of keys")),
    }
}

/// A name, and what it points to now.
pub(crate) fn resolve(client: &registry::Client, text: &str) -> Result<(Reference, Descriptor, Vec<u8>)> {
    let name: Reference = text.parse().map_err(|e: oci::ReferenceError| CliError::usage(e.to_string()))?;
    let name = name.or_latest();
    // The whole manifest: its digest is checked, not believed.
    let fetched = client.manifest(&name).map_err(|e| remote(&format!("cannot read {}", name.familiar()), &e))?;
    Ok((name, fetched.descriptor, fetched.bytes))
}

pub(crate) fn run(args: &SignArgs, context: &Context<'_>) -> Result<()> {
    let settings = settings(&args.registries, context)?;
    let storage =
        Storage::parse(&args.storage).map_err(|why| CliError::usage(format!("--storage {}: {why}", args.storage)))?;
    let mut annotations = BTreeMap::new();
    for text in &args.annotation {
        let (key, value) = text
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| CliError::usage(format!("--annotation {text}: expected KEY=VALUE")))?;
        annotations.insert(key.to_owned(), value.to_owned());
    }
    let with = With::of(args.keyless, args.key.as_deref(), &settings, context)?;
    let client = super::client(&settings, context.env)?;
    for text in &args.images {
        let (name, top, bytes) = resolve(&client, text)?;
        let mut wanted = vec![top.clone()];
        if args.recursive && media_type::is_index(&top.media_type) {
            let index: Index = serde_json::from_slice(&bytes)
                .map_err(|e| CliError::failed(format!("{}: the index is invalid: {e}", name.familiar())))?;
            wanted.extend(index.manifests);
        }
        for image in &wanted {
            match &with {
                With::Key(key) => Signer { client: &client, key, storage }.image(&name, image, &annotations)?,
                With::Identity(cosign) => cosign.sign(&name, &image.digest, &annotations)?,
            }
            context.ui.note(&format!("Signed {}", bare(&name, &image.digest).familiar()));
        }
    }
    Ok(())
}

pub(crate) fn attest(args: &AttestArgs, context: &Context<'_>) -> Result<()> {
    let settings = settings(&args.registries, context)?;
    let storage =
        Storage::parse(&args.storage).map_err(|why| CliError::usage(format!("--storage {}: {why}", args.storage)))?;
    let kind = predicate(&args.kind)?;
    let text = match args.predicate.as_str() {
        "-" => {
            let mut text = Vec::new();
            std::io::stdin()
                .lock()
                .take(64 << 20)
                .read_to_end(&mut text)
                .map_err(|e| CliError::usage(format!("cannot read standard input: {e}")))?;
            text
        }
        path => std::fs::read(context.env.path(path))
            .map_err(|e| CliError::usage(format!("--predicate {path}: {}", crate::error::plain_io(&e))))?,
    };
    let value = serde_json::from_slice(&text)
        .map_err(|e| CliError::usage(format!("--predicate {}: no JSON: {e}", args.predicate)))?;
    let with = With::of(args.keyless, args.key.as_deref(), &settings, context)?;
    let client = super::client(&settings, context.env)?;
    let (name, image, _) = resolve(&client, &args.image)?;
    let statement = Statement::new(vec![Subject::new(name.name(), &image.digest)], kind, value);
    match &with {
        With::Key(key) => Signer { client: &client, key, storage }.statement(&name, &image, &statement)?,
        With::Identity(cosign) => cosign.attest(&name, &image.digest, &statement)?,
    }
    context.ui.note(&format!("Attested {}: {}", bare(&name, &image.digest).familiar(), statement.predicate_type));
    Ok(())
}

/// `--type`
pub(crate) fn predicate(text: &str) -> Result<String> {
    predicate_type(text).ok_or_else(|| {
        let known: Vec<&str> = short_names().collect();
        CliError::usage(format!("--type {text}: neither a URI nor one of {}", known.join(", ")))
    })
}
