//! `cooperage factory check-bases`
use factory::due::due;
use factory::watch;

use super::{FileArgs, Place, short, state_error, table};
use crate::app::Context;
use crate::args::build::RegistryFlags;
use crate::config::{Flags, Settings};
use crate::error::{CliError, Result};

/// Ask registries.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckBasesArgs {
    /// text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    registries: RegistryFlags,
}

pub(super) fn run(args: &CheckBasesArgs, context: &Context<'_>) -> Result<()> {
    let place = Place::open(&args.file, context)?;
    let flags = Flags { registries: Some(&args.registries), config: context.config.clone(), ..Flags::default() };
    let settings = Settings::load(&flags, context.env)?;
    let client = crate::commands::client(&settings, context.env)?;
    let stop = client.clone();
    let _registration = context.cancel.on_cancel(move || stop.cancel());
    let now = super::now();
    let report =
        watch::check(&place.enrolment, &place.state_dir, &client, now).map_err(|e| state_error(&e, context))?;
    if context.cancel.is_cancelled() {
        return Err(CliError::interrupted());
    }
    let state = place.state(context)?;
    let waiting = due(&place.enrolment, &state, now).map_err(|circle| super::circle_error(&circle))?;
    let failed = report.iter().filter(|checked| checked.found.is_err()).count();
    if args.format == "json" {
        let checked: Vec<_> = report
            .iter()
            .map(|checked| {
                let found = checked.found.as_ref().ok();
                serde_json::json!({
                    "name": checked.name,
                    "image": checked.image,
                    "tag": found.and_then(|found| found.tag.clone()),
                    "digest": found.map(|found| found.digest.clone()),
                    "changed": checked.changed,
                    "error": checked.found.as_ref().err(),
                })
            })
            .collect();
        let due: Vec<_> = waiting
            .iter()
            .map(|due| {
                serde_json::json!({
                    "image": due.image, "because": due.because, "at": factory::time::stamp(due.at),
                    "ready": due.ready, "held": due.held,
                })
            })
            .collect();
        context.ui.out(&format!("{:#}\n", serde_json::json!({ "checked": checked, "due": due })))?;
    } else {
        for checked in &report {
            match &checked.found {
                Ok(found) if checked.changed => {
                    context.ui.out(&format!("{} is now {}\n", checked.image, short(&found.digest)))?;
                }
                Ok(_) => {}
                Err(why) => context.ui.warn(&format!("{}: {why}", checked.image)),
            }
        }
        if !waiting.is_empty() {
            let mut rows = vec![["REBUILD", "FROM", "BECAUSE OF"].map(str::to_owned).to_vec()];
            for due in &waiting {
                let when = match (&due.held, due.ready) {
                    (Some(held), _) => held.clone(),
                    (None, true) => "now".into(),
                    (None, false) => factory::time::stamp(due.at),
                };
                rows.push(vec![due.image.clone(), when, due.because.join(", ")]);
            }
            context.ui.out(&table(&rows))?;
        }
        let changed = report.iter().filter(|checked| checked.changed).count();
        context.ui.note(&format!("{} images checked, {changed} changed", report.len() - failed));
        let unknown = |image: &&factory::enrol::Image| {
            image.managed().is_some()
                && state.images.get(&image.name).is_none_or(|of| of.status == factory::state::Status::Pending)
        };
        let unknown: Vec<&str> =
            place.enrolment.images.iter().filter(unknown).map(|image| image.name.as_str()).collect();
        if !unknown.is_empty() {
            let names = unknown.join(", ");
            context
                .ui
                .note(&format!("what {names} are made from is not known yet; cooperage factory discover finds it"));
        }
    }
    match failed {
        0 => Ok(()),
        _ => Err(CliError::failed(format!("{failed} of {} images could not be checked", report.len()))),
    }
}
