//! `cooperage version`
use crate::app::Context;
use crate::error::Result;

/// Print the version.
#[derive(Debug, clap::Args)]
pub(crate) struct VersionArgs {
    /// text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
}

pub(crate) fn run(args: &VersionArgs, context: &Context<'_>) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    if args.format == "json" {
        let json = serde_json::json!({ "version": version, "os": os, "architecture": arch, "dockerfile": "1.26" });
        context.ui.out(&format!("{json:#}\n"))
    } else {
        context.ui.out(&format!("cooperage {version} ({os}/{arch}, Dockerfile language 1.26)\n"))
    }
}
