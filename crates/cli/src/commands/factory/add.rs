//! `cooperage factory add`
use factory::init::{self, Found, Remote};

use super::{FileArgs, problems_error, shown};
use crate::app::Context;
use crate::error::{CliError, Result};

/// Enrol one more image.
#[derive(Debug, clap::Args)]
pub(crate) struct AddArgs {
    /// The image's name
    #[arg(value_name = "NAME")]
    name: String,
    /// Where it is or will be in its registry: REGISTRY/REPOSITORY, for an image that is watched only with :TAG
    #[arg(long, value_name = "REFERENCE")]
    image: oci::Reference,
    /// Build it from this repository: OWNER/NAME on the provider, or a URL
    #[arg(long, value_name = "REPOSITORY")]
    source: Option<String>,
    /// Where OWNER/NAME is
    #[arg(long, value_name = "NAME", default_value = "github", value_parser = ["github", "gitlab"], requires = "source")]
    provider: String,
    /// The branch
    #[arg(long, value_name = "BRANCH", default_value = "main", requires = "source")]
    branch: String,
    /// The Dockerfile in the repository; without --source, beside images.yaml
    #[arg(long, value_name = "PATH")]
    dockerfile: Option<String>,
    /// The build context's directory in the repository (default: all of it)
    #[arg(long, value_name = "DIR", requires = "source")]
    context: Option<String>,
    #[command(flatten)]
    file: FileArgs,
}

pub(super) fn run(args: &AddArgs, context: &Context<'_>) -> Result<()> {
    let path = args.file.path(context)?;
    let old = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(CliError::io("read", &path, &e)),
    };
    let source = args.source.as_deref().map(|source| {
        let parts = source.split('/').count();
        let short = !source.contains([':', '@']) && !source.starts_with(['/', '.']);
        if short && (parts == 2 || (parts > 2 && args.provider == "gitlab")) {
            let (provider, repo) = (args.provider.clone(), Some(source.to_owned()));
            return Remote { provider, repo, url: source.to_owned(), branch: args.branch.clone() };
        }
        init::remote_of(source, &args.branch)
    });
    let entry = if source.is_none() && args.dockerfile.is_none() {
        init::external_entry(&args.name, &args.image)
    } else {
        let found = Found {
            name: args.name.clone(),
            registry: args.image.registry().to_owned(),
            repository: args.image.repository().to_owned(),
            source,
            dockerfile: args.dockerfile.clone().unwrap_or_else(|| match &args.context {
                Some(context) => format!("{}/Dockerfile", context.trim_end_matches('/')),
                None => "Dockerfile".into(),
            }),
            context: args.context.clone(),
        };
        found.entry()
    };
    let text = init::append(&path, &old, &[entry]).map_err(|problems| problems_error(&problems, context))?;
    init::save(&path, &text).map_err(|e| CliError::io("write", &path, &e))?;
    context.ui.note(&format!("{} is enrolled in {}", args.name, shown(&path, context)));
    Ok(())
}
