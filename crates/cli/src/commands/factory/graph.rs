//! `cooperage factory graph`
use std::path::PathBuf;

use factory::Graph;

use super::{FileArgs, Place};
use crate::app::Context;
use crate::error::{CliError, Result};

/// Show the graph.
#[derive(Debug, clap::Args)]
pub(crate) struct GraphArgs {
    /// text, json or svg (default: by the name of --output, else text)
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json", "svg"])]
    format: Option<String>,
    /// Write to this file
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    file: FileArgs,
}

pub(super) fn run(args: &GraphArgs, context: &Context<'_>) -> Result<()> {
    let place = Place::open(&args.file, context)?;
    let state = place.state(context)?;
    let graph = Graph::new(&place.enrolment, &state);
    if let Some(circle) = graph.cycle() {
        context.ui.warn(&format!("images are made from each other in a circle: {}", circle.join(" → ")));
    }
    let extension = args.output.as_ref().and_then(|path| path.extension()).and_then(|e| e.to_str());
    let text = match args.format.as_deref().or(extension) {
        Some("svg") => graph.svg(),
        Some("json") => format!("{:#}\n", graph.json()),
        _ => graph.text(),
    };
    match &args.output {
        Some(path) => {
            let path = context.env.path(path);
            factory::init::save(&path, &text).map_err(|e| CliError::io("write", &path, &e))
        }
        None => context.ui.out(&text),
    }
}
