//! `cooperage factory list`
use factory::state::ImageState;

use super::{FileArgs, Place, short, table};
use crate::app::Context;
use crate::error::Result;

/// List images.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
    #[command(flatten)]
    file: FileArgs,
}

pub(super) fn run(args: &ListArgs, context: &Context<'_>) -> Result<()> {
    let place = Place::open(&args.file, context)?;
    let state = place.state(context)?;
    let none = ImageState::default();
    let of = |name: &str| state.images.get(name).unwrap_or(&none);
    if args.format == "json" {
        let list: Vec<_> = place
            .enrolment
            .images
            .iter()
            .map(|image| {
                let state = of(&image.name);
                serde_json::json!({
                    "name": image.name,
                    "kind": image.kind_name(),
                    "image": image.reference(),
                    "version": state.current_version,
                    "digest": state.current_digest,
                    "lastBuilt": state.last_built,
                    "baseImages": state.bases,
                    "held": state.hold.is_some(),
                })
            })
            .collect();
        return context.ui.out(&format!("{:#}\n", serde_json::Value::Array(list)));
    }
    if place.enrolment.images.is_empty() {
        context.ui.note("no image is enrolled; cooperage factory add enrols one");
        return Ok(());
    }
    let mut rows: Vec<Vec<String>> =
        vec![["NAME", "KIND", "IMAGE", "VERSION", "DIGEST", "BUILT", "BASES"].map(str::to_owned).to_vec()];
    for image in &place.enrolment.images {
        let state = of(&image.name);
        let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        let held = if state.hold.is_some() { " (held)" } else { "" };
        rows.push(vec![
            image.name.clone(),
            image.kind_name().into(),
            image.reference(),
            or(&state.current_version) + held,
            state.current_digest.as_deref().map_or("-".into(), short),
            or(&state.last_built).chars().take(16).collect(),
            if image.managed().is_some() { state.bases.len().to_string() } else { "-".into() },
        ]);
    }
    context.ui.out(&table(&rows))
}
