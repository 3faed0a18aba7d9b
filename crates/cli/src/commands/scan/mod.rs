//! `cooperage scan`: known vulnerabilities of the packages in an image.
mod db;

use crate::app::Context;
use crate::error::Result;

/// Look for known vulnerabilities in images.
#[derive(Debug, clap::Args)]
pub(crate) struct ScanArgs {
    #[command(subcommand)]
    command: ScanCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ScanCommand {
    /// Build the database of vulnerabilities, or say what is in it
    Db(db::DbArgs),
}

pub(crate) fn run(args: &ScanArgs, context: &Context<'_>) -> Result<()> {
    match &args.command {
        ScanCommand::Db(args) => db::run(args, context),
    }
}
