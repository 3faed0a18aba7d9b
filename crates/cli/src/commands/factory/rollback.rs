//! `cooperage factory rollback` and `release`
use factory::pipeline::{self, Options, Rollback};
use factory::runs::{RunStatus, Runs};

use super::batch::{self, Batch};
use super::build::{MoreArgs, who};
use super::{FileArgs, Place, state_error};
use crate::app::Context;
use crate::args::build::PlaceArgs;
use crate::config::{Flags, Settings};
use crate::error::{CliError, Result};

/// Go back.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cooperage factory rollback api                      what was published before\n  cooperage factory rollback api --to 1.4.2 --reason \"memory leak\"\n  cooperage factory release api"
)]
pub(crate) struct RollbackArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// What to go back to (default: what was published before)
    #[arg(long, value_name = "VERSION|DIGEST")]
    to: Option<String>,
    /// Why, for the history and the hold
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Take up the last rollback where it failed or was interrupted
    #[arg(long, conflicts_with = "to")]
    resume: bool,
    #[command(flatten)]
    pub(crate) more: MoreArgs,
}

/// End a hold.
#[derive(Debug, clap::Args)]
pub(crate) struct ReleaseArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(super) fn run(args: &RollbackArgs, context: &Context<'_>) -> Result<()> {
    let place = Place::open(&args.more.file, context)?;
    let image = place.image(&args.image)?;
    let wanted = Rollback { to: args.to.clone(), by: who(context), reason: args.reason.clone() };
    let batch = Batch {
        images: &[image],
        graph: None,
        jobs: 1,
        resume: args.resume,
        verb: "rollback",
        work: &|factory, image, run| pipeline::rollback(factory, image, &wanted, run),
    };
    batch::run(&place, &batch, &args.more, context)?;
    context.ui.note(&format!("{0} is held; cooperage factory release {0} ends that", image.name));
    Ok(())
}

pub(super) fn release(args: &ReleaseArgs, context: &Context<'_>) -> Result<()> {
    let place = Place::open(&args.file, context)?;
    let image = place.image(&args.image)?;
    let state = place.state_dir.image(&image.name).map_err(|error| state_error(&error, context))?;
    let Some(mut state) = state.filter(|state| state.hold.is_some()) else {
        context.ui.note(&format!("{} is not held", image.name));
        return Ok(());
    };
    state.hold = None;
    place.state_dir.put_image(&state).map_err(|error| state_error(&error, context))?;
    let flags = Flags { place: Some(&args.place), config: context.config.clone(), ..Flags::default() };
    let settings = Settings::load(&flags, context.env)?;
    let failed = |error: factory::runs::RunsError| CliError::failed(error.to_string());
    let runs = Runs::open(&settings.root.value).map_err(failed)?;
    let (file, now) = (place.enrolment.file.display().to_string(), super::now());
    let options = Options { trigger: "release".into(), by: who(context), ..Options::default() };
    let id = runs.begin(&file, &image.name, "release", &options.json(), now).map_err(failed)?;
    runs.result(id, state.current_version.as_deref(), state.current_digest.as_deref()).map_err(failed)?;
    runs.end(id, RunStatus::Done, now).map_err(failed)?;
    context.ui.note(&format!("{} is held no more", image.name));
    Ok(())
}
