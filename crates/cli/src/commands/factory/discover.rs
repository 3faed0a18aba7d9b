//! `cooperage factory discover`
use std::path::PathBuf;

use factory::discover::{Failure, discover};
use factory::source::Sources;

use super::{FileArgs, Place, state_error};
use crate::app::Context;
use crate::error::{CliError, Result};

/// Read Dockerfiles.
#[derive(Debug, clap::Args)]
pub(crate) struct DiscoverArgs {
    /// The images; all where none is named
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    /// Read the Dockerfiles of this repository from a checkout, as they are there, in the place of a clone
    #[arg(long, value_name = "DIR")]
    checkout: Vec<PathBuf>,
    #[command(flatten)]
    file: FileArgs,
}

pub(super) fn run(args: &DiscoverArgs, context: &Context<'_>) -> Result<()> {
    let place = Place::open(&args.file, context)?;
    for name in &args.images {
        place.image(name)?;
    }
    let temp = tempfile::tempdir()
        .map_err(|e| CliError::failed(format!("cannot make a temporary directory: {}", crate::error::plain_io(&e))))?;
    let checkouts: Vec<PathBuf> = args.checkout.iter().map(|dir| context.env.path(dir)).collect();
    let cancelled = || context.cancel.is_cancelled();
    let sources = Sources::new(&context.env.vars, temp.path(), &cancelled, &checkouts);
    let read = |managed: &factory::enrol::Managed| {
        sources
            .dockerfile(place.enrolment.dir(), managed)
            .map_err(|error| Failure { message: error.to_string(), hint: error.hint() })
    };
    let report = discover(&place.enrolment, &place.state_dir, &args.images, super::now(), &read)
        .map_err(|error| state_error(&error, context))?;
    if context.cancel.is_cancelled() {
        return Err(CliError::interrupted());
    }
    let mut failed = 0;
    for image in &report.images {
        match &image.bases {
            Ok(bases) if image.changed => {
                context.ui.out(&format!("{}: {}\n", image.name, list(bases)))?;
            }
            Ok(_) => {}
            Err(failure) => {
                failed += 1;
                let mut error = CliError::failed(format!("{}: {}", image.name, failure.message));
                error.hints.extend(failure.hint.clone());
                context.ui.error(&error);
            }
        }
    }
    let changed = report.images.iter().filter(|image| image.changed).count();
    context.ui.note(&format!(
        "{} images read, {changed} changed, {} new base images",
        report.images.len() - failed,
        report.new_bases.len()
    ));
    if args.images.is_empty() {
        for name in &report.unused {
            let file = super::shown(&place.state_dir.base_file(name), context);
            context.ui.note(&format!("{file} is no longer used by any Dockerfile"));
        }
    }
    match failed {
        0 => Ok(()),
        _ => Err(CliError::failed(format!("{failed} of {} Dockerfiles could not be read", report.images.len()))),
    }
}

fn list(bases: &[String]) -> String {
    if bases.is_empty() { "no base images, or none to discover".into() } else { bases.join(", ") }
}
