//! `cooperage executor`: kaniko's command line, mapped on that of `build`.
//!
//! Every flag of kaniko works, or is accepted with a note because what it asks for is always so or has no meaning
//! here, or is refused with the alternative. The binary under the name `executor` behaves so, too: `/kaniko/executor`
//! may be a link to it.
mod translate;

use std::ffi::OsString;
use std::path::Path;

use build::BuildResult;
use clap::Args;

use crate::app::Context;
use crate::args::build::PlaceArgs;
use crate::commands::build::{perform, write};
use crate::env::Env;
use crate::error::Result;

fn flag() -> clap::builder::ValueParser {
    clap::builder::ValueParser::new(crate::args::values::boolean)
}

const TEMPLATE: &str = "\
{about}

Examples:
  cooperage executor --context dir:///workspace --destination ghcr.io/me/app:1
  cooperage executor --context git://github.com/me/app.git#refs/heads/main --no-push --tar-path app.tar
  cooperage executor --cache=true --cache-repo ghcr.io/me/app/cache --destination ghcr.io/me/app:1

What each flag becomes: docs/from-kaniko.md

{usage-heading} {usage}

{all-args}{after-help}
";

/// Build with kaniko's flags.
#[derive(Debug, Clone, Default, Args)]
#[command(help_template = TEMPLATE, args_override_self = true)]
pub(crate) struct ExecutorArgs {
    /// Build context: a directory, dir://, tar://, git:// or https://
    #[arg(short, long, value_name = "CONTEXT", default_value = "/workspace/")]
    context: String,
    /// Directory of the context that is the context
    #[arg(long, value_name = "DIR")]
    context_sub_path: Option<String>,
    /// Dockerfile, here or in the context
    #[arg(short = 'f', long, value_name = "PATH", default_value = "Dockerfile")]
    dockerfile: String,
    /// Name to push the image to; may be given several times
    #[arg(short, long, value_name = "IMAGE")]
    destination: Vec<String>,
    /// Set a build argument
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,
    /// Build this stage
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Set a label of the image
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Add an annotation to the manifest
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// A secret for RUN --mount=type=secret: id=ID[,src=FILE|,env=VAR]
    #[arg(long, value_name = "SPEC")]
    secret: Vec<String>,
    /// Platform to build for
    #[arg(long, alias = "customPlatform", value_name = "PLATFORM")]
    custom_platform: Option<String>,
    /// Branch and the like of a git context: branch=NAME
    #[arg(long, value_name = "KEY=VALUE")]
    git: Vec<String>,
    /// Do not push [env: KANIKO_NO_PUSH]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag(), value_name = "BOOL")]
    no_push: Option<bool>,
    /// Write a Docker archive to this file
    #[arg(long, alias = "tarPath", value_name = "FILE")]
    tar_path: Option<String>,
    /// Write an OCI layout to this directory
    #[arg(long, value_name = "DIR")]
    oci_layout_path: Option<String>,
    /// Write the digest of the image to this file
    #[arg(long, value_name = "FILE")]
    digest_file: Option<String>,
    /// Write NAME@DIGEST of each destination to this file
    #[arg(long, value_name = "FILE")]
    image_name_with_digest_file: Option<String>,
    /// Write NAME:TAG@DIGEST of each destination to this file
    #[arg(long, value_name = "FILE")]
    image_name_tag_with_digest_file: Option<String>,
    /// gzip or zstd
    #[arg(long, value_name = "CODEC")]
    compression: Option<String>,
    /// Level of the compression
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    compression_level: Option<i32>,
    /// Set all times to that of SOURCE_DATE_EPOCH (default: 0)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag(), value_name = "BOOL")]
    reproducible: Option<bool>,
    /// Use and write a cache in a registry
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag(), value_name = "BOOL")]
    cache: Option<bool>,
    /// Repository of the cache, or oci:DIR (default: the destination's repository and /cache)
    #[arg(long, value_name = "REPOSITORY")]
    cache_repo: Option<String>,
    /// Do not write the cache
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag(), value_name = "BOOL")]
    no_push_cache: Option<bool>,
    /// Allow plain HTTP for the destinations
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag(), value_name = "BOOL")]
    insecure: Option<bool>,
    /// Allow plain HTTP for mirrors and for the destinations' registries
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag(), value_name = "BOOL")]
    insecure_pull: Option<bool>,
    /// Do not verify certificates of the destinations
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag(), value_name = "BOOL")]
    skip_tls_verify: Option<bool>,
    /// Do not verify certificates of mirrors and of the destinations' registries
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag(), value_name = "BOOL")]
    skip_tls_verify_pull: Option<bool>,
    /// Allow plain HTTP for this registry
    #[arg(long, value_name = "HOST")]
    insecure_registry: Vec<String>,
    /// Do not verify the certificate of this registry
    #[arg(long, value_name = "HOST")]
    skip_tls_verify_registry: Vec<String>,
    /// Look here first when pulling from docker.io [env: KANIKO_REGISTRY_MIRROR]
    #[arg(long, value_name = "MIRROR")]
    registry_mirror: Vec<String>,
    /// Trust this certificate authority: HOST=FILE
    #[arg(long, value_name = "HOST=FILE")]
    registry_certificate: Vec<String>,
    /// panic, fatal, error, warn, info, debug or trace
    #[arg(short, long, value_name = "LEVEL")]
    verbosity: Option<String>,
    /// text, color or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,

    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    other: translate::OtherArgs,
}

/// The command line, where the program is called `executor`: then kaniko's flags follow.
pub(crate) fn arguments(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let called = args.first().is_some_and(|name| Path::new(name).file_name().is_some_and(|name| name == "executor"));
    if called && args.get(1).is_none_or(|first| first != "version") {
        args.insert(1, "executor".into());
    }
    args
}

pub(crate) fn run(args: &ExecutorArgs, context: &Context<'_>) -> Result<()> {
    let mut env: Env = context.env.clone();
    if env.get("DOCKER_CONFIG").is_none() && Path::new("/kaniko/.docker/config.json").is_file() {
        env.vars.insert("DOCKER_CONFIG".into(), "/kaniko/.docker".into());
    }
    let (build, notes) = translate::translate(args, &mut env)?;
    for note in notes {
        context.ui.warn(&note);
    }
    let mut ui = context.ui;
    ui.debug |= matches!(args.verbosity.as_deref(), Some("debug" | "trace"));
    let context = Context {
        env: &env,
        ui,
        cancel: context.cancel,
        entered: context.entered.clone(),
        config: context.config.clone(),
    };
    match perform(&build, &context)? {
        Some(result) => digest_files(args, &env, &result),
        None => Ok(()),
    }
}

fn digest_files(args: &ExecutorArgs, env: &Env, result: &BuildResult) -> Result<()> {
    let digest = &result.descriptor.digest;
    let names = |with_tag: bool| {
        let line = |text: &String| {
            let reference: oci::Reference = text.parse().ok()?;
            let tag = reference.tag().filter(|_| with_tag).map(|tag| format!(":{tag}")).unwrap_or_default();
            Some(format!("{}{tag}@{digest}\n", reference.name()))
        };
        result.names.iter().filter_map(line).collect::<String>()
    };
    if let Some(path) = &args.digest_file {
        write(&env.path(path), digest.as_str().as_bytes(), "digest-file")?;
    }
    if let Some(path) = &args.image_name_with_digest_file {
        write(&env.path(path), names(false).as_bytes(), "image-name-with-digest-file")?;
    }
    if let Some(path) = &args.image_name_tag_with_digest_file {
        write(&env.path(path), names(true).as_bytes(), "image-name-tag-with-digest-file")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::arguments;

    #[test]
    fn the_name_chooses_the_command() {
        let args = |words: &[&str]| {
            let out = arguments(words.iter().map(Into::into));
            out.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(args(&["/kaniko/executor", "--no-push"]), "/kaniko/executor executor --no-push");
        assert_eq!(args(&["/kaniko/executor"]), "/kaniko/executor executor");
        assert_eq!(args(&["executor", "version"]), "executor version");
        assert_eq!(args(&["cooperage", "build"]), "cooperage build");
        assert_eq!(args(&[]), "");
    }
}
