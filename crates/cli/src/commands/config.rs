//! `cooperage config show`: every setting, its value, and where it comes from.
use clap::{Args, Subcommand};

use crate::app::Context;
use crate::args::build::{PlaceArgs, RegistryFlags};
use crate::config::{Flags, Settings};
use crate::error::Result;

/// Show the settings.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Show every setting, its value and where it comes from
    Show(Box<ShowArgs>),
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    registries: RegistryFlags,
}

pub(crate) fn run(args: &ConfigArgs, context: &Context<'_>) -> Result<()> {
    let ConfigCommand::Show(show) = &args.command;
    let flags = Flags {
        place: Some(&show.place),
        registries: Some(&show.registries),
        config: context.config.clone(),
        progress: None,
    };
    let settings = Settings::load(&flags, context.env)?;
    let rows = settings.rows();
    if show.format == "json" {
        let map: serde_json::Map<String, serde_json::Value> = rows
            .into_iter()
            .map(|(name, value, origin)| {
                (name.to_owned(), serde_json::json!({ "value": value, "origin": origin.to_string() }))
            })
            .collect();
        return context.ui.out(&format!("{:#}\n", serde_json::Value::Object(map)));
    }
    let shown: Vec<(String, String)> =
        rows.iter().map(|(name, value, origin)| (format!("{name} = {value}"), format!("# {origin}"))).collect();
    let width = shown.iter().map(|(text, _)| text.chars().count()).max().unwrap_or(0).min(72);
    let text: String = shown.iter().map(|(text, origin)| format!("{text:<width$}  {origin}\n")).collect();
    context.ui.out(&text)
}
