//! `cooperage check`: lint a Dockerfile. The same as `build --check`.
use crate::app::Context;
use crate::args::build::BuildArgs;
use crate::error::Result;

/// Look for mistakes in a Dockerfile without building it.
#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
pub(crate) struct CheckArgs {
    /// Build context: a directory, a git or HTTP(S) URL
    #[arg(value_name = "CONTEXT", default_value = ".")]
    context: String,
    /// Dockerfile (default: Dockerfile in the context)
    #[arg(short, long, value_name = "PATH")]
    file: Option<String>,
    /// Check this stage and what it needs
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Set a build argument
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,
    /// text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
}

pub(crate) fn run(args: &CheckArgs, context: &Context<'_>) -> Result<()> {
    let build = BuildArgs {
        context: Some(args.context.clone()),
        file: args.file.clone(),
        target: args.target.clone(),
        build_arg: args.build_arg.clone(),
        call: Some(format!("check,format={}", args.format)),
        ..BuildArgs::default()
    };
    super::build::run(&build, context)
}
