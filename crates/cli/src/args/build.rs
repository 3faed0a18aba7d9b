//! The flags of `cooperage build`: those of `docker buildx build` with the same meaning, and a few
//! of our own. Every flag that is accepted has an effect; what cannot work is refused by name in
//! [`super::refused`].
use std::path::PathBuf;

use clap::Args;
use clap::builder::ValueParser;

fn flag() -> ValueParser {
    ValueParser::new(super::values::boolean)
}

const TEMPLATE: &str = "\
{about}

Examples:
  cooperage build -t ghcr.io/me/app --push .                build and push
  cooperage build -t app:1.0 --load .                       build and give to Docker or Podman
  cooperage build -f docker/Dockerfile --build-arg V=2 .    another Dockerfile, an argument
  cooperage build --secret id=npm,src=$HOME/.npmrc .        a secret for RUN --mount=type=secret
  cooperage build -o type=oci,dest=image.tar .              an OCI archive
  cooperage build https://github.com/me/app.git#main:web    a directory of a git branch

{usage-heading} {usage}

{all-args}{after-help}
";

/// Build an image from a Dockerfile.
#[derive(Debug, Clone, Default, Args)]
#[command(help_template = TEMPLATE, args_override_self = true)]
pub(crate) struct BuildArgs {
    /// Build context: a directory, a git or HTTP(S) URL, or - for a tar archive or Dockerfile on standard input
    #[arg(value_name = "CONTEXT")]
    pub(crate) context: Option<String>,

    /// Name of the image, as NAME[:TAG]; may be given several times
    #[arg(short, long = "tag", value_name = "NAME")]
    pub(crate) tag: Vec<String>,
    /// Dockerfile (default: Dockerfile in the context); - for standard input
    #[arg(short, long, value_name = "PATH")]
    pub(crate) file: Option<String>,
    /// Push the image to its registry (short for -o type=registry)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag(), hide_possible_values = true, value_name = "BOOL")]
    pub(crate) push: Option<bool>,
    /// Give the image to a running Docker or Podman (short for -o type=docker)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag(), value_name = "BOOL")]
    pub(crate) load: Option<bool>,
    /// Set a build argument; without a value it is taken from the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(crate) build_arg: Vec<String>,
    /// Build this stage
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Platforms to build for, as linux/amd64,linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Vec<String>,
    /// A secret for RUN --mount=type=secret: id=ID[,src=FILE|,env=VAR]
    #[arg(long, value_name = "SPEC")]
    pub(crate) secret: Vec<String>,
    /// An SSH agent or keys for RUN --mount=type=ssh: default|ID[=SOCKET|KEY[,KEY]]
    #[arg(long, value_name = "SPEC")]
    pub(crate) ssh: Vec<String>,
    /// Another build context: NAME=PATH|URL|docker-image://IMAGE|oci-layout://PATH
    #[arg(long, value_name = "NAME=SOURCE")]
    pub(crate) build_context: Vec<String>,

    /// Where the result goes: DIRECTORY, -, or type=image|registry|oci|docker|tar|local[,KEY=VALUE…]
    #[arg(short, long, value_name = "SPEC", help_heading = "Output")]
    pub(crate) output: Vec<String>,
    /// Set a label of the image
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Output")]
    pub(crate) label: Vec<String>,
    /// Describe the image from the git repository of the context: labels, annotations or both (the default)
    #[arg(long, value_name = "WHERE", num_args = 0..=1, require_equals = true, default_missing_value = "both", help_heading = "Output")]
    pub(crate) git_metadata: Option<String>,
    /// Add an annotation: [manifest|index|manifest-descriptor|index-descriptor[PLATFORM][,…]:]KEY=VALUE
    #[arg(long, value_name = "SPEC", help_heading = "Output")]
    pub(crate) annotation: Vec<String>,
    /// Write the image ID to this file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) iidfile: Option<PathBuf>,
    /// Write digests and names of the result to this file, as JSON
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// How progress is shown: auto, plain, tty, quiet or rawjson [env: BUILDKIT_PROGRESS]
    #[arg(long, value_name = "MODE", help_heading = "Output")]
    pub(crate) progress: Option<String>,
    /// Write a trace of the build to this file, for Perfetto or chrome://tracing
    #[arg(long, value_name = "FILE", help_heading = "Inspection")]
    pub(crate) trace: Option<PathBuf>,
    /// Print where the time went
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag(), value_name = "BOOL", help_heading = "Inspection")]
    pub(crate) timings: Option<bool>,
    /// Show no progress; print the image ID at the end
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag(), value_name = "BOOL", help_heading = "Output")]
    pub(crate) quiet: Option<bool>,
    /// Attach an attestation: type=sbom|provenance[,KEY=VALUE…]
    #[arg(long, value_name = "SPEC", help_heading = "Output")]
    pub(crate) attest: Vec<String>,
    /// Attest how the image was made: true, false, min or max (short for --attest=type=provenance)
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Output")]
    pub(crate) provenance: Option<String>,
    /// Short for --attest=type=sbom
    #[arg(long, value_name = "SPEC", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Output")]
    pub(crate) sbom: Option<String>,
    /// Sign the image and its attestations where they are pushed, with this private key (default: signing.key of cooperage.toml), or keyless
    #[arg(long, value_name = "KEY", num_args = 0..=1, require_equals = true, default_missing_value = "", help_heading = "Output")]
    pub(crate) sign: Option<String>,
    /// Use base images only if they have the signatures that the policy asks for
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag(), value_name = "BOOL", help_heading = "Output")]
    pub(crate) verify_bases: Option<bool>,
    /// The policy file (default: signing.policy of cooperage.toml)
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) signature_policy: Option<PathBuf>,

    /// Look for mistakes in the Dockerfile instead of building (short for --call=check)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag(), value_name = "BOOL", help_heading = "Inspection")]
    pub(crate) check: Option<bool>,
    /// What to do: build, check, outline or targets[,format=json]
    #[arg(long, value_name = "METHOD", help_heading = "Inspection")]
    pub(crate) call: Option<String>,

    /// Run every step anew
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag(), value_name = "BOOL", help_heading = "Cache")]
    pub(crate) no_cache: Option<bool>,
    /// Run the steps of these stages anew
    #[arg(long, value_name = "STAGE", help_heading = "Cache")]
    pub(crate) no_cache_filter: Vec<String>,
    /// Fail where a registry cannot be asked for the newest base images, instead of taking those in the store
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag(), value_name = "BOOL", help_heading = "Cache")]
    pub(crate) pull: Option<bool>,
    /// Take steps from an external cache
    #[arg(long, value_name = "SPEC", help_heading = "Cache")]
    pub(crate) cache_from: Vec<String>,
    /// Write steps to an external cache
    #[arg(long, value_name = "SPEC", help_heading = "Cache")]
    pub(crate) cache_to: Vec<String>,

    /// Network of RUN steps: default, none or host
    #[arg(long, value_name = "MODE", help_heading = "RUN steps")]
    pub(crate) network: Option<String>,
    /// Add a line to /etc/hosts of RUN steps: NAME:IP
    #[arg(long, value_name = "NAME:IP", help_heading = "RUN steps")]
    pub(crate) add_host: Vec<String>,
    /// Size of /dev/shm in RUN steps
    #[arg(long, value_name = "BYTES", help_heading = "RUN steps")]
    pub(crate) shm_size: Option<String>,
    /// Limits of RUN steps: NAME=SOFT[:HARD]
    #[arg(long, value_name = "LIMIT", help_heading = "RUN steps")]
    pub(crate) ulimit: Vec<String>,
    /// Allow what the Dockerfile asks for: network.host, security.insecure
    #[arg(long, value_name = "ENTITLEMENT", help_heading = "RUN steps")]
    pub(crate) allow: Vec<String>,
    /// Give RUN steps the CA certificates of this machine (or FILE), leaving no trace in the image
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "", help_heading = "RUN steps")]
    pub(crate) host_ca: Option<String>,
    /// Give RUN steps the proxy variables of this environment, leaving no trace in the image
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag(), value_name = "BOOL", help_heading = "RUN steps")]
    pub(crate) http_proxy: Option<bool>,
    /// What to do when a RUN fails: fail, or open a shell where it failed
    #[arg(long, value_name = "ACTION", help_heading = "RUN steps")]
    pub(crate) on_error: Option<String>,

    /// An archive as the context, instead of the argument.
    #[arg(skip)]
    pub(crate) archive: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) registries: RegistryFlags,
    #[command(flatten)]
    pub(crate) refused: super::refused::RefusedArgs,
}

/// Where builds happen.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PlaceArgs {
    /// Directory of the store [env: COOPERAGE_ROOT]
    #[arg(long, value_name = "DIR", help_heading = "Place")]
    pub(crate) root: Option<PathBuf>,
    /// How RUN steps are confined: auto, namespaces, chroot, intercept or plain-chroot [env: COOPERAGE_ISOLATION]
    #[arg(long, value_name = "MODE", help_heading = "Place")]
    pub(crate) isolation: Option<String>,
    /// How many steps run at once (default: 16)
    #[arg(long, value_name = "N", help_heading = "Place")]
    pub(crate) max_parallelism: Option<usize>,
}

/// How registries are reached.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RegistryFlags {
    /// Look here first when pulling: [REGISTRY=]MIRROR (REGISTRY is docker.io where none is given)
    #[arg(long, value_name = "MIRROR", help_heading = "Registries")]
    pub(crate) registry_mirror: Vec<String>,
    /// Trust the certificate authorities in this PEM file, beside the system's
    #[arg(long, value_name = "FILE", help_heading = "Registries")]
    pub(crate) registry_ca: Vec<PathBuf>,
    /// Allow plain HTTP and unverified certificates for HOST[:PORT] or a network such as 10.0.0.0/8
    #[arg(long, value_name = "HOST", help_heading = "Registries")]
    pub(crate) insecure_registry: Vec<String>,
}
