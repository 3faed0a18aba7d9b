//! `cooperage factory show`
use std::fmt::Write as _;

use super::{FileArgs, Place};
use crate::app::Context;
use crate::error::Result;

/// Show an image.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// The image's name
    #[arg(value_name = "IMAGE")]
    name: String,
    #[command(flatten)]
    file: FileArgs,
}

pub(super) fn run(args: &ShowArgs, context: &Context<'_>) -> Result<()> {
    let place = Place::open(&args.file, context)?;
    let image = place.image(&args.name)?;
    let state = place.state(context)?;
    let mut out = String::new();
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(out, "{:<15} {value}", format!("{key}:"));
    };
    line("Name", &image.name);
    line("Kind", image.kind_name());
    line("Image", &image.reference());
    if let Some(managed) = image.managed() {
        if let Some(source) = &managed.source {
            line("Source", &format!("{} ({})", source.url, source.branch));
            line("Dockerfile", managed.local.dockerfile.as_ref().unwrap_or(&source.dockerfile_path()));
        } else {
            line("Dockerfile", managed.local.dockerfile.as_deref().unwrap_or("Dockerfile"));
        }
        if !managed.platforms.is_empty() {
            line("Platforms", &managed.platforms.join(", "));
        }
        line("Rebuild delay", &image.rebuild_delay.to_string());
        line("Auto rebuild", if managed.auto_rebuild { "yes" } else { "no" });
    } else {
        line("Tags", image.selection.allow.as_deref().unwrap_or("all"));
        line("Strategy", image.selection.strategy.name());
    }
    if let Some(state) = state.images.get(&image.name) {
        let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        line("Version", &or(&state.current_version));
        line("Digest", &or(&state.current_digest));
        line("Built", &or(&state.last_built));
        if let Some(hold) = &state.hold {
            line("Held", &format!("since {} by {}: {}", hold.since, hold.by, hold.reason));
        }
    }
    if let Some(of) = state.images.get(&image.name).filter(|of| !of.bases.is_empty()) {
        line("Base images", "");
        for name in &of.bases {
            let Some(base) = state.bases.get(name) else { continue };
            let digest = base.current_digest.as_deref().map_or("not checked yet".into(), super::short);
            let _ = writeln!(out, "  {}  {digest}", base.full_image);
        }
    }
    context.ui.out(&out)
}
