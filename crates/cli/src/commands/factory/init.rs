//! `cooperage factory init`
use std::io::{BufRead, Write};
use std::path::PathBuf;

use factory::init;

use super::{problems_error, shown};
use crate::app::Context;
use crate::error::{CliError, Result};

/// Write a first images.yaml.
#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    /// Where to look for repositories and Dockerfiles
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Write this file
    #[arg(long, short, value_name = "FILE", default_value = "images.yaml")]
    file: PathBuf,
    /// Enrol everything that is found, and ask nothing
    #[arg(long, short)]
    yes: bool,
    /// The registry of the images, such as ghcr.io
    #[arg(long, value_name = "HOST")]
    registry: Option<String>,
    /// What stands before the names in the registry, such as my-org
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
}

pub(super) fn run(args: &InitArgs, context: &Context<'_>) -> Result<()> {
    let (dir, file) = (context.env.path(&args.dir), context.env.path(&args.file));
    if file.exists() {
        return Err(CliError::usage(format!("{} exists already", shown(&file, context)))
            .hint("cooperage factory add enrols one more image"));
    }
    let ask = !args.yes && context.env.stdin_terminal && context.env.stderr_terminal;
    if !ask && !args.yes {
        return Err(CliError::usage("there is no terminal to ask on").hint("--yes enrols everything that is found"));
    }
    let mut found = init::find(&dir).map_err(|e| CliError::io("read", &dir, &e))?;
    for image in &mut found {
        if let Some(registry) = &args.registry {
            image.registry.clone_from(registry);
        }
        if let Some(owner) = &args.owner {
            image.repository = format!("{}/{}", owner.trim_matches('/'), image.name);
        }
    }
    if found.is_empty() {
        context.ui.note(&format!("no Dockerfile was found in {}", dir.display()));
    }
    let mut entries = Vec::new();
    for image in &found {
        let place = match &image.source {
            Some(remote) => format!("{} in {}", image.dockerfile, remote.repo.as_ref().unwrap_or(&remote.url)),
            None => image.dockerfile.clone(),
        };
        let target = format!("{}/{}", image.registry, image.repository);
        if ask && !question(&format!("Enrol {} ({place}) as {target}? [Y/n] ", image.name))? {
            continue;
        }
        context.ui.note(&format!("enrolled {}: {place} → {target}", image.name));
        entries.push(image.entry());
    }
    let text = init::append(&file, "", &entries).map_err(|problems| problems_error(&problems, context))?;
    init::save(&file, &text).map_err(|e| CliError::io("write", &file, &e))?;
    context.ui.note(&format!("{} is written; cooperage factory discover reads the Dockerfiles", shown(&file, context)));
    Ok(())
}

fn question(text: &str) -> Result<bool> {
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "{text}").and_then(|()| err.flush());
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match read {
        Ok(0) => Err(CliError::interrupted()),
        Ok(_) => Ok(!matches!(answer.trim().to_lowercase().as_str(), "n" | "no")),
        Err(e) => Err(CliError::failed(format!("cannot read the answer: {}", crate::error::plain_io(&e)))),
    }
}
