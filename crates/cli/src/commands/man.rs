//! `cooperage man [DIR]`
use std::path::{Path, PathBuf};

use clap::CommandFactory;

use crate::app::Context;
use crate::error::{CliError, Result};

/// Print the manual page, or write one for every command into a directory.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Where to write cooperage.1, cooperage-build.1 and so on; made where it does not exist
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(args: &ManArgs, context: &Context<'_>) -> Result<()> {
    let mut command = crate::args::Cli::command();
    command.build();
    let Some(dir) = &args.dir else {
        return context.ui.out(&String::from_utf8_lossy(&page(command)?));
    };
    let dir = context.env.path(dir);
    std::fs::create_dir_all(&dir).map_err(|e| CliError::io("make", &dir, &e))?;
    write(command, &dir)
}

/// The page of a command and those of its subcommands. Their names become `cooperage-build`.
fn write(command: clap::Command, dir: &Path) -> Result<()> {
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let name = sub.get_display_name().unwrap_or_else(|| sub.get_name()).to_owned();
        write(sub.clone().name(name), dir)?;
    }
    let path = dir.join(format!("{}.1", command.get_name()));
    std::fs::write(&path, page(command)?).map_err(|e| CliError::io("write", &path, &e))
}

fn page(command: clap::Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    // Templates are for the terminal: a page has its own sections.
    let source = format!("cooperage {}", env!("CARGO_PKG_VERSION"));
    let man = clap_mangen::Man::new(command).manual("Cooperage").source(source);
    man.render(&mut page).map_err(|e| CliError::failed(format!("cannot write the manual page: {e}")))?;
    Ok(page)
}
