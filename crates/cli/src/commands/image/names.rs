//! `cooperage image tag`, `rm` and `history`.
use build::ImageRecord;
use oci::{Descriptor, ImageConfig, Manifest, Platform, Reference};
use serde_json::json;

use super::LIMIT;
use super::place::{Place, Side};
use crate::app::Context;
use crate::args::build::{PlaceArgs, RegistryFlags};
use crate::config::{Flags, Settings};
use crate::error::{CliError, Result};
use crate::progress::{bytes, cut};

#[derive(Debug, clap::Args)]
pub(super) struct TagArgs {
    /// The image: a name in the store, else in a registry
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Its new names; for an image of a registry in the same repository
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Ask the registry even where the store has the image
    #[arg(long)]
    remote: bool,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    registries: RegistryFlags,
}

#[derive(Debug, clap::Args)]
pub(super) struct RmArgs {
    /// The names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Remove them from their registry, not from the store; NAME@DIGEST removes the image with all its tags
    #[arg(long)]
    remote: bool,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    registries: RegistryFlags,
}

#[derive(Debug, clap::Args)]
pub(super) struct HistoryArgs {
    /// The image: a name (in the store, else in its registry), or oci-layout://DIR[:TAG][@DIGEST]
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Which image of an index (default: this machine's)
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Ask the registry even where the store has the image
    #[arg(long)]
    remote: bool,
    /// text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    registries: RegistryFlags,
}

fn settings(place: &PlaceArgs, registries: &RegistryFlags, context: &Context<'_>) -> Result<Settings> {
    let flags =
        Flags { place: Some(place), registries: Some(registries), config: context.config.clone(), ..Flags::default() };
    Settings::load(&flags, context.env)
}

fn name_of(text: &str) -> Result<Reference> {
    let name: Reference = text.parse().map_err(|e: oci::ReferenceError| CliError::usage(e.to_string()))?;
    Ok(name.or_latest())
}

pub(super) fn tag(args: &TagArgs, context: &Context<'_>) -> Result<()> {
    let settings = settings(&args.place, &args.registries, context)?;
    let mut names = Vec::new();
    for text in &args.names {
        let name = name_of(text)?;
        if name.digest().is_some() {
            return Err(CliError::usage(format!("{text}: a digest cannot be given, it follows from the content")));
        }
        names.push(name);
    }
    let from = Place::parse(&args.image, Side::From { remote: args.remote }, &settings, context)?;
    let (top, content) = from.top()?;
    for name in &names {
        match &from {
            Place::Store(store, descriptor) => {
                let created = jiff::Timestamp::now().as_second();
                let record = ImageRecord { name: name.to_string(), descriptor: descriptor.clone(), created };
                store.put_image(&record).map_err(|e| crate::report::build_error(&e, None, context))?;
            }
            Place::Registry(client, source) if source.name() == name.name() => {
                client
                    .push_manifest(name, &top.media_type, &content)
                    .map_err(|e| crate::signing::remote(&format!("cannot write {}", name.familiar()), &e))?;
            }
            Place::Registry(..) | Place::Layout { .. } => {
                return Err(CliError::usage(format!(
                    "{} and {} are not in one repository",
                    from.shown(),
                    name.familiar()
                ))
                .hint(format!("copy it: cooperage image copy {} {}", args.image, name.familiar())));
            }
        }
        context.ui.out(&format!("{}\n", name.familiar()))?;
    }
    Ok(())
}

pub(super) fn remove(args: &RmArgs, context: &Context<'_>) -> Result<()> {
    let settings = settings(&args.place, &args.registries, context)?;
    let names = args.names.iter().map(|text| name_of(text)).collect::<Result<Vec<_>>>()?;
    if args.remote {
        let client = crate::commands::client(&settings, context.env)?;
        for name in &names {
            client.delete_manifest(name).map_err(|e| {
                let out = crate::signing::remote(&format!("cannot remove {}", name.familiar()), &e);
                match name.digest() {
                    // There is no such tag: of a registry that removes no tags it would be another answer.
                    None if e.kind() == registry::ErrorKind::NotFound => {
                        out.hint("the registry has no such name; is it one of the store alone?")
                    }
                    None => out
                        .hint("many registries remove by digest alone: NAME@DIGEST, which takes all tags of the image"),
                    Some(_) => out,
                }
            })?;
            context.ui.out(&format!("{}\n", name.familiar()))?;
        }
        return Ok(());
    }
    let store = super::open(&settings, context)?;
    for name in &names {
        if store.image(&name.to_string()).is_none() {
            return Err(CliError::failed(format!("the store has no image {}", name.familiar()))
                .hint("cooperage image ls lists the images; --remote removes from a registry"));
        }
        store.forget_image(&name.to_string()).map_err(|e| crate::report::build_error(&e, None, context))?;
        context.ui.out(&format!("{}\n", name.familiar()))?;
    }
    Ok(())
}

pub(super) fn history(args: &HistoryArgs, context: &Context<'_>) -> Result<()> {
    use std::io::Read;
    let settings = settings(&args.place, &args.registries, context)?;
    let platform = match &args.platform {
        Some(text) => {
            text.parse().map_err(|e: oci::PlatformError| CliError::usage(format!("--platform {text}: {e}")))?
        }
        None => Platform::host(),
    };
    let from = Place::parse(&args.image, Side::From { remote: args.remote }, &settings, context)?;
    let (top, content) = from.top()?;
    let image = super::copy::select(&from, &top, &content, &platform)?;
    let content = if image.digest == top.digest { content } else { from.manifest(&image)? };
    let invalid = |why: String| CliError::failed(format!("{}: {why}", from.shown()));
    let manifest: Manifest =
        serde_json::from_slice(&content).map_err(|e| invalid(format!("the manifest is invalid: {e}")))?;
    let mut text = Vec::new();
    let stream = from.open(&manifest.config).map_err(|e| invalid(e.to_string()))?;
    stream.take(LIMIT).read_to_end(&mut text).map_err(|e| invalid(e.to_string()))?;
    let config: ImageConfig =
        serde_json::from_slice(&text).map_err(|e| invalid(format!("the configuration is invalid: {e}")))?;
    let mut layers = manifest.layers.iter();
    let rows: Vec<(Option<&Descriptor>, String, String)> = config
        .history
        .iter()
        .map(|entry| {
            let layer = if entry.empty_layer { None } else { layers.next() };
            let line = entry.created_by.clone().unwrap_or_default();
            (layer, entry.created.clone().unwrap_or_default(), line)
        })
        .collect();
    if args.format == "json" {
        let rows: Vec<_> = rows
            .iter()
            .map(|(layer, created, line)| {
                json!({
                    "created": created,
                    "createdBy": line,
                    "layer": layer.map(|l| &l.digest),
                    "size": layer.map_or(0, |l| l.size),
                })
            })
            .collect();
        return context.ui.out(&format!("{:#}\n", serde_json::Value::Array(rows)));
    }
    let mut out = format!("{:20}  {:>9}  CREATED BY\n", "CREATED", "SIZE");
    for (layer, created, line) in rows {
        let size = layer.map_or_else(|| "-".to_owned(), |l| bytes(l.size));
        let line: String = line.split_whitespace().collect::<Vec<_>>().join(" ");
        out.push_str(&format!("{:20}  {size:>9}  {}\n", cut(&created, 20), cut(&line, 100)));
    }
    context.ui.out(&out)
}
