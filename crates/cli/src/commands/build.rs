//! `cooperage build`
use crate::app::Context;
use crate::args::build::BuildArgs;
use crate::args::request;
use crate::config::{Flags, Settings};
use crate::error::{CliError, Result};

pub(crate) fn run(args: &BuildArgs, context: &Context<'_>) -> Result<()> {
    let flags = Flags {
        place: Some(&args.place),
        registries: Some(&args.registries),
        progress: args.progress.as_deref(),
        config: context.config.clone(),
    };
    let settings = Settings::load(&flags, context.env)?;
    let plan = request::plan(args, &settings, context.env)?;
    for note in &plan.notes {
        context.ui.warn(note);
    }
    let mode = crate::progress::Mode::choose(&settings.progress.value, plan.quiet, context.env)?;
    let (reporter, _events) = crate::progress::Reporter::start(mode, context.ui.colour, Box::new(std::io::stderr()));
    reporter.finish();
    crate::app::check_cancelled(context.cancel)?;
    Err(CliError::failed("the engine is not here yet"))
}
