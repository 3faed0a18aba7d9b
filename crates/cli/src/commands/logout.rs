//! `cooperage logout`
use registry::credentials::{self, Stored};

use crate::app::Context;
use crate::error::{CliError, Result};

/// Remove credentials of a registry.
#[derive(Debug, clap::Args)]
pub(crate) struct LogoutArgs {
    /// HOST[:PORT][/PATH]; Docker Hub where none is given
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

pub(crate) fn run(args: &LogoutArgs, context: &Context<'_>) -> Result<()> {
    let registry = super::login::name(args.registry.as_deref())?;
    let sources = super::login::sources(context);
    let erased = credentials::erase(&sources, &registry)
        .map_err(|error| CliError::failed(format!("cannot remove the credentials of {registry}: {error}")))?;
    if erased.places.is_empty() {
        context.ui.note(&format!("There were no credentials for {registry}"));
    }
    for place in erased.places {
        context.ui.note(&match place {
            Stored::File(path) => format!("Removed the credentials of {registry} from {}", path.display()),
            Stored::Helper(helper) => format!("Removed the credentials of {registry} from docker-credential-{helper}"),
        });
    }
    Ok(())
}
