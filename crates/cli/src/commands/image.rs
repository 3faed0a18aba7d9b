//! `cooperage image`: look at images.
use clap::{Args, Subcommand};
use oci::{ImageConfig, Manifest, Platform, Reference, media_type};

use crate::app::Context;
use crate::args::build::RegistryFlags;
use crate::config::{Flags, Settings};
use crate::error::{CliError, Result};

/// Look at images.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// Show the manifest and configuration of an image in a registry
    Inspect(Box<InspectArgs>),
}

#[derive(Debug, Args)]
struct InspectArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Which image of an index (default: this machine's)
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Print the bytes of the manifest or index as the registry has them
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    registries: RegistryFlags,
}

pub(crate) fn run(args: &ImageArgs, context: &Context<'_>) -> Result<()> {
    let ImageCommand::Inspect(args) = &args.command;
    let settings = Settings::load(
        &Flags { registries: Some(&args.registries), config: context.config.clone(), ..Flags::default() },
        context.env,
    )?;
    let reference: Reference = args.image.parse().map_err(|e: oci::ReferenceError| CliError::usage(e.to_string()))?;
    let platform = match &args.platform {
        Some(text) => {
            text.parse().map_err(|e: oci::PlatformError| CliError::usage(format!("--platform {text}: {e}")))?
        }
        None => Platform::host(),
    };
    let client = super::client(&settings, context.env)?;
    let fail =
        |error: registry::Error| CliError::failed(format!("cannot read {}", reference.familiar())).caused_by(&error);
    let fetched = client.manifest(&reference).map_err(fail)?;
    if args.raw {
        return context.ui.out(&String::from_utf8_lossy(&fetched.bytes));
    }
    let mut out = serde_json::Map::new();
    out.insert("name".into(), reference.to_string().into());
    let top = serde_json::from_slice::<serde_json::Value>(&fetched.bytes)
        .map_err(|e| CliError::failed(format!("{}: the manifest is no JSON: {e}", reference.familiar())))?;
    let bytes = if media_type::is_index(&fetched.descriptor.media_type) {
        let index: oci::Index = serde_json::from_slice(&fetched.bytes)
            .map_err(|e| CliError::failed(format!("{}: invalid index: {e}", reference.familiar())))?;
        let chosen = index.select(&platform).cloned().ok_or_else(|| {
            let has: Vec<String> =
                index.manifests.iter().filter_map(|m| m.platform.as_ref()).map(ToString::to_string).collect();
            CliError::failed(format!("{} has no image for {platform}", reference.familiar()))
                .hint(format!("it has {}", has.join(", ")))
        })?;
        out.insert("digest".into(), fetched.descriptor.digest.to_string().into());
        out.insert("index".into(), top);
        client.manifest(&reference.with_digest(chosen.digest.clone())).map_err(fail)?.bytes
    } else {
        out.insert("digest".into(), fetched.descriptor.digest.to_string().into());
        fetched.bytes
    };
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|e| CliError::failed(format!("{}: invalid manifest: {e}", reference.familiar())))?;
    let config = client.blob_bytes(&reference, &manifest.config, 16 << 20).map_err(fail)?;
    out.insert("manifest".into(), serde_json::from_slice(&bytes).unwrap_or_default());
    let config_json: serde_json::Value = serde_json::from_slice(&config).unwrap_or_default();
    if serde_json::from_slice::<ImageConfig>(&config).is_err() {
        context.ui.warn("the configuration is none of an image; shown as it is");
    }
    out.insert("config".into(), config_json);
    context.ui.out(&format!("{:#}\n", serde_json::Value::Object(out)))
}
