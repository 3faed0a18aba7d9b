//! `cooperage completions SHELL`
use clap::CommandFactory;

use crate::app::Context;
use crate::error::Result;

/// Print a completion script.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

pub(crate) fn run(args: &CompletionsArgs, context: &Context<'_>) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::args::Cli::command(), "cooperage", &mut script);
    context.ui.out(&String::from_utf8_lossy(&script))
}
