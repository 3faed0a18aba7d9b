//! `cooperage image`: images as objects, in the store, in registries and in layouts.
mod copy;
mod diff;
mod names;
mod place;
mod save;

pub(crate) use save::{LayoutOf, parse_platform, to_layout};

use build::{ImageRecord, Store};
use clap::{Args, Subcommand};
use oci::{Descriptor, Index, Manifest, Platform, Reference, media_type};
use serde_json::{Map, Value};

use crate::app::Context;
use crate::args::build::{PlaceArgs, RegistryFlags};
use crate::config::{Flags, Settings};
use crate::error::{CliError, Result};
use crate::progress::bytes;

/// The largest manifest or configuration that is shown.
const LIMIT: u64 = 16 << 20;

/// Look at images, copy, name, compare and join them.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// Show manifest and configuration of an image, from the store, else from its registry
    Inspect(Box<InspectArgs>),
    /// List the images in the store
    Ls(Box<LsArgs>),
    /// Show what each instruction added, from the store, else from its registry
    History(Box<names::HistoryArgs>),
    /// Copy an image with all its platforms, attestations and signatures, without unpacking it
    Copy(Box<copy::CopyArgs>),
    /// Join images of several platforms into one index
    Merge(Box<copy::MergeArgs>),
    /// Give an image another name
    Tag(Box<names::TagArgs>),
    /// Remove names from the store, or with --remote from a registry
    Rm(Box<names::RmArgs>),
    /// Show what differs between two images: configuration, packages, files
    Diff(Box<diff::DiffArgs>),
    /// Write an image to an archive
    Save(Box<save::SaveArgs>),
}

#[derive(Debug, Args)]
struct InspectArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Which image of an index (default: this machine's)
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Print the manifest or index byte by byte
    #[arg(long)]
    raw: bool,
    /// Ask the registry even where the store has the image
    #[arg(long)]
    remote: bool,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    registries: RegistryFlags,
}

#[derive(Debug, Args)]
struct LsArgs {
    /// text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(crate) fn run(args: &ImageArgs, context: &Context<'_>) -> Result<()> {
    match &args.command {
        ImageCommand::Inspect(args) => inspect(args, context),
        ImageCommand::Ls(args) => list(args, context),
        ImageCommand::History(args) => names::history(args, context),
        ImageCommand::Copy(args) => copy::run(args, context),
        ImageCommand::Merge(args) => copy::merge(args, context),
        ImageCommand::Tag(args) => names::tag(args, context),
        ImageCommand::Rm(args) => names::remove(args, context),
        ImageCommand::Diff(args) => diff::run(args, context),
        ImageCommand::Save(args) => save::run(args, context),
    }
}

fn list(args: &LsArgs, context: &Context<'_>) -> Result<()> {
    let flags = Flags { place: Some(&args.place), config: context.config.clone(), ..Flags::default() };
    let store = open(&Settings::load(&flags, context.env)?, context)?;
    let images = store.images();
    if args.format == "json" {
        let rows: Vec<Value> = images
            .iter()
            .map(|image| {
                serde_json::json!({
                    "name": image.name,
                    "digest": image.descriptor.digest,
                    "mediaType": image.descriptor.media_type,
                    "size": size(&store, &image.descriptor),
                    "created": created(image),
                })
            })
            .collect();
        return context.ui.out(&format!("{:#}\n", Value::Array(rows)));
    }
    let name = |image: &ImageRecord| image.name.parse::<Reference>().map_or(image.name.clone(), |name| name.familiar());
    let width = images.iter().map(|image| name(image).len()).max().unwrap_or(0).max(4);
    let mut out = format!("{:width$}  {:19}  {:>9}  CREATED\n", "NAME", "DIGEST", "SIZE");
    for image in &images {
        let digest = image.descriptor.digest.as_str();
        out.push_str(&format!(
            "{:width$}  {:19}  {:>9}  {}\n",
            name(image),
            &digest[..digest.len().min(19)],
            size(&store, &image.descriptor).map_or_else(|| "?".into(), bytes),
            created(image),
        ));
    }
    context.ui.out(&out)
}

fn created(image: &ImageRecord) -> String {
    jiff::Timestamp::from_second(image.created).map_or_else(|_| "?".into(), |stamp| stamp.to_string())
}

/// The compressed size of all layers, of an index of all images.
fn size(store: &Store, descriptor: &Descriptor) -> Option<u64> {
    let blob = read(store, descriptor)?;
    if media_type::is_index(&descriptor.media_type) {
        let index: Index = serde_json::from_slice(&blob).ok()?;
        return index.manifests.iter().map(|manifest| size(store, manifest)).sum();
    }
    let manifest: Manifest = serde_json::from_slice(&blob).ok()?;
    Some(manifest.layers.iter().map(|layer| layer.size).sum())
}

fn open(settings: &Settings, context: &Context<'_>) -> Result<Store> {
    Store::open(&settings.root.value).map_err(|error| crate::report::build_error(&error, None, context))
}

fn read(store: &Store, descriptor: &Descriptor) -> Option<Vec<u8>> {
    use std::io::Read;
    let mut blob = Vec::new();
    store.open_blob(&descriptor.digest).ok()?.take(LIMIT).read_to_end(&mut blob).ok()?;
    Some(blob)
}

/// Where the parts of an image are read from.
enum Source<'a> {
    Store(&'a Store),
    Registry(&'a registry::Client, &'a Reference),
}

impl Source<'_> {
    fn manifest(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        match self {
            Self::Store(store) => from_store(store, descriptor),
            Self::Registry(client, name) => client
                .manifest(&name.with_digest(descriptor.digest.clone()))
                .map(|fetched| fetched.bytes)
                .map_err(|error| remote(name, &error)),
        }
    }

    fn config(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        match self {
            Self::Store(store) => from_store(store, descriptor),
            Self::Registry(client, name) => {
                client.blob_bytes(name, descriptor, LIMIT).map_err(|error| remote(name, &error))
            }
        }
    }
}

fn from_store(store: &Store, descriptor: &Descriptor) -> Result<Vec<u8>> {
    read(store, descriptor).ok_or_else(|| {
        CliError::failed(format!("the store has no blob {}", descriptor.digest)).hint("--remote asks the registry")
    })
}

fn remote(name: &Reference, error: &registry::Error) -> CliError {
    let out = CliError::failed(format!("cannot read {}", name.familiar())).caused_by(error);
    match error.hint() {
        Some(hint) => out.hint(hint),
        None => out,
    }
}

fn inspect(args: &InspectArgs, context: &Context<'_>) -> Result<()> {
    let flags = Flags {
        place: Some(&args.place),
        registries: Some(&args.registries),
        config: context.config.clone(),
        ..Flags::default()
    };
    let settings = Settings::load(&flags, context.env)?;
    let reference: Reference = args.image.parse().map_err(|e: oci::ReferenceError| CliError::usage(e.to_string()))?;
    let platform = match &args.platform {
        Some(text) => {
            text.parse().map_err(|e: oci::PlatformError| CliError::usage(format!("--platform {text}: {e}")))?
        }
        None => Platform::host(),
    };
    let local = !args.remote && settings.root.value.join("blobs").is_dir();
    let store = if local { Some(open(&settings, context)?) } else { None };
    let known = store.as_ref().and_then(|store| store.image(&reference.clone().or_latest().to_string()));
    let client;
    let (source, top, bytes) = match (&store, known) {
        (Some(store), Some(record)) => {
            let bytes = from_store(store, &record.descriptor)?;
            if names_registry(&args.image) {
                // The name is also one of a registry, which somebody else may have given to another image since.
                context.ui.note(&format!("from the store; --remote asks {}", reference.registry()));
            }
            (Source::Store(store), record.descriptor, bytes)
        }
        _ => {
            client = super::client(&settings, context.env)?;
            let fetched = client.manifest(&reference).map_err(|error| remote(&reference, &error))?;
            (Source::Registry(&client, &reference), fetched.descriptor, fetched.bytes)
        }
    };
    if args.raw {
        return context.ui.out(&String::from_utf8_lossy(&bytes));
    }
    context.ui.out(&format!("{:#}\n", describe(&source, &reference, &platform, top, bytes)?))
}

/// Whether a name as it was typed says which registry.
fn names_registry(name: &str) -> bool {
    name.split_once('/').is_some_and(|(host, _)| host.contains(['.', ':']) || host == "localhost")
}

fn describe(
    source: &Source<'_>,
    name: &Reference,
    platform: &Platform,
    top: Descriptor,
    bytes: Vec<u8>,
) -> Result<Value> {
    let invalid =
        |what: &str, e: serde_json::Error| CliError::failed(format!("{}: the {what} is invalid: {e}", name.familiar()));
    let mut out = Map::new();
    out.insert("name".into(), name.to_string().into());
    out.insert("digest".into(), top.digest.to_string().into());
    let bytes = if media_type::is_index(&top.media_type) {
        let index: Index = serde_json::from_slice(&bytes).map_err(|e| invalid("index", e))?;
        out.insert("index".into(), serde_json::from_slice(&bytes).map_err(|e| invalid("index", e))?);
        let chosen = index.select(platform).ok_or_else(|| {
            let has: Vec<String> =
                index.manifests.iter().filter_map(|m| m.platform.as_ref()).map(ToString::to_string).collect();
            CliError::failed(format!("{} has no image for {platform}", name.familiar()))
                .hint(format!("--platform chooses one of {}", has.join(", ")))
        })?;
        source.manifest(chosen)?
    } else {
        bytes
    };
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|e| invalid("manifest", e))?;
    let config = source.config(&manifest.config)?;
    out.insert("manifest".into(), serde_json::from_slice(&bytes).map_err(|e| invalid("manifest", e))?);
    out.insert("config".into(), serde_json::from_slice(&config).map_err(|e| invalid("configuration", e))?);
    Ok(out.into())
}
