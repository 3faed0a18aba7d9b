//! `cooperage doctor`: what was tried in this place, and what follows from it.
use sandbox::userns::Entered;

use crate::app::Context;
use crate::args::build::PlaceArgs;
use crate::config::{Flags, Settings};
use crate::error::{CliError, Result};

/// Say what works in this place.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(crate) fn run(args: &DoctorArgs, context: &Context<'_>) -> Result<()> {
    let settings = Settings::load(
        &Flags { place: Some(&args.place), config: context.config.clone(), ..Flags::default() },
        context.env,
    )?;
    let root = &settings.root.value;
    std::fs::create_dir_all(root)
        .map_err(|e| CliError::io("create the store", root, &e).hint("--root chooses another place"))?;
    let launcher = sandbox::Launcher::of_this_program().map_err(|e| {
        CliError::io("find this program at", std::path::Path::new("/proc/self/exe"), &e).hint("is /proc mounted?")
    })?;
    let probes = sandbox::probe::probes(&launcher, root);
    let requested = match settings.isolation.value.as_deref() {
        None | Some("auto") => None,
        Some(name) => Some(name.parse::<sandbox::Isolation>().map_err(CliError::usage)?),
    };
    let choice = sandbox::choose(requested, &probes);
    if args.format == "json" {
        let json = serde_json::json!({
            "store": root.display().to_string(),
            "userNamespace": context.entered,
            "probes": probes,
            "choice": choice.as_ref().ok(),
            "error": choice.as_ref().err().map(ToString::to_string),
        });
        context.ui.out(&format!("{json:#}\n"))?;
    } else {
        context.ui.out(&text(root, &context.entered, &probes, choice.as_ref()))?;
    }
    match choice {
        Ok(_) => Ok(()),
        Err(error) => Err(CliError::failed(error.to_string())),
    }
}

fn text(
    root: &std::path::Path,
    entered: &Entered,
    probes: &sandbox::probe::Probes,
    choice: std::result::Result<&sandbox::Choice, &sandbox::CannotIsolate>,
) -> String {
    let mut out = String::new();
    let mut row = |name: &str, why: Option<String>| {
        out.push_str(&match why {
            None => format!("  ok  {name}\n"),
            Some(why) => format!("  no  {name}: {why}\n"),
        });
    };
    row("namespaces", probes.namespaces.as_ref().err().map(ToString::to_string));
    row("overlay", probes.overlay.as_ref().err().map(ToString::to_string));
    row("chroot", probes.chroot.as_ref().err().map(ToString::to_string));
    row("intercept", probes.intercept.as_ref().err().map(ToString::to_string));
    let mut text = format!("What works here, with the store at {}:\n{out}\n", root.display());
    match entered {
        Entered::NotNeeded => {}
        Entered::SubordinateIds { count } => {
            text.push_str(&format!("This user's builds happen in a user namespace with {count} ids.\n"));
        }
        Entered::SingleId { why } => text.push_str(&format!(
            "This user's builds happen in a user namespace with one id, ownership is emulated: {why}\n"
        )),
    }
    match choice {
        Ok(choice) => {
            text.push_str(&format!(
                "RUN steps use isolation {}, root file systems are kept as {}.\n",
                choice.isolation, choice.root
            ));
            for reason in &choice.reasons {
                text.push_str(&format!("  {reason}\n"));
            }
        }
        Err(error) => text.push_str(&format!("RUN steps cannot work: {error}\n")),
    }
    text
}
