//! `cooperage factory validate`
use factory::Graph;

use super::{FileArgs, Place};
use crate::app::Context;
use crate::error::Result;

/// Look for mistakes.
#[derive(Debug, clap::Args)]
pub(crate) struct ValidateArgs {
    #[command(flatten)]
    file: FileArgs,
}

pub(super) fn run(args: &ValidateArgs, context: &Context<'_>) -> Result<()> {
    let place = Place::open(&args.file, context)?;
    let state = place.state(context)?;
    let graph = Graph::new(&place.enrolment, &state);
    if let Some(circle) = graph.cycle() {
        return Err(super::circle_error(&circle));
    }
    for (name, image) in &state.images {
        if place.enrolment.image(name).is_none() {
            let file = super::shown(&place.state_dir.image_file(name), context);
            context.ui.warn(&format!("{file}: {} is no longer enrolled; remove the file", image.name));
        }
    }
    let built = place.enrolment.images.iter().filter(|image| image.managed().is_some()).count();
    let watched = place.enrolment.images.len() - built;
    context.ui.out(&format!(
        "{}: {built} built, {watched} watched; no mistakes\n",
        super::shown(&place.enrolment.file, context)
    ))
}
