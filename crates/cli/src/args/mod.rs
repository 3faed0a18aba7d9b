//! The command line: what clap parses, and how the values become a build request.
pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod context;
pub(crate) mod output;
pub(crate) mod refused;
pub(crate) mod request;
pub(crate) mod values;

use clap::{Parser, Subcommand};

/// Build OCI images without a daemon and without privileges
#[derive(Debug, Parser)]
#[command(
    name = "cooperage",
    version,
    disable_help_subcommand = true,
    help_template = HELP,
    after_help = EXIT_CODES,
    args_override_self = true,
    max_term_width = 110
)]
pub(crate) struct Cli {
    /// Read settings from this file instead of the nearest cooperage.toml
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(crate) config: Option<std::path::PathBuf>,
    /// Take variables from this file, as NAME=VALUE in the shell's notation; those of the environment win
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(crate) env_file: Vec<std::path::PathBuf>,
    /// Say more about what is done: causes of errors, chosen settings
    #[arg(short = 'D', long, global = true, help_heading = "Global options")]
    pub(crate) debug: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const HELP: &str = "\
{about}

Examples:
  cooperage build -t ghcr.io/me/app --push .      build the Dockerfile here and push the image
  cooperage build -t app --load .                 give the image to a running Docker or Podman
  cooperage build -o out --target binaries .      write the files of a stage to a directory
  cooperage build --check .                       look for mistakes in the Dockerfile
  cooperage explain                               say why steps of the last build missed the cache
  cooperage doctor                                say what works in this place, and why

{usage-heading} {usage}

{all-args}{after-help}
";

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    the build or the check failed
  2    wrong usage or input
  3    a policy does not allow what a scan found
  130  interrupted";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an image from a Dockerfile
    #[command(visible_alias = "b")]
    Build(Box<build::BuildArgs>),
    /// Look for mistakes in a Dockerfile without building it
    Check(crate::commands::check::CheckArgs),
    /// Say which isolation works in this place, and what would unlock a better one
    Doctor(crate::commands::doctor::DoctorArgs),
    /// Say why steps of a build missed the cache
    Explain(crate::commands::explain::ExplainArgs),
    /// List the builds that were made with this store
    History(crate::commands::history::HistoryArgs),
    /// Build and keep up to date the images that images.yaml lists
    Factory(Box<crate::commands::factory::FactoryArgs>),
    /// Start and follow workflow runs of GitHub Actions
    Remote(crate::commands::remote::RemoteArgs),
    /// Look after the store: list, measure and remove cached steps
    Cache(crate::commands::cache::CacheArgs),
    /// Look at images, copy, name, compare and join them
    Image(crate::commands::image::ImageArgs),
    /// List the packages in an image, with licences and the layers that brought them
    Sbom(Box<crate::commands::sbom::SbomArgs>),
    /// Find known vulnerabilities of the packages in an image
    Scan(Box<crate::commands::scan::ScanArgs>),
    /// Sign images in a registry
    Sign(crate::commands::sign::SignArgs),
    /// Sign a statement about an image: an SBOM, a provenance
    Attest(crate::commands::sign::AttestArgs),
    /// Verify signatures and attestations of an image
    Verify(crate::commands::verify::VerifyArgs),
    /// Make keys that sign images
    Key(crate::commands::key::KeyArgs),
    /// Store credentials for a registry
    Login(crate::commands::login::LoginArgs),
    /// Remove credentials of a registry
    Logout(crate::commands::logout::LogoutArgs),
    /// A registry on the local store
    Registry(crate::commands::registry::RegistryArgs),
    /// Show the settings and where each comes from
    Config(crate::commands::config::ConfigArgs),
    /// Print a completion script for a shell
    Completions(crate::commands::completions::CompletionsArgs),
    /// Print the manual page, or write one for every command into a directory
    Man(crate::commands::man::ManArgs),
    /// Build with kaniko's flags
    Executor(Box<crate::commands::executor::ExecutorArgs>),
    /// Print the version
    Version(crate::commands::version::VersionArgs),
}
