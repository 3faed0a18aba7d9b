//! From kaniko's flags to those of `build`.
use std::path::Path;

use clap::Args;

use super::{ExecutorArgs, flag};
use crate::args::build::BuildArgs;
use crate::env::Env;
use crate::error::{CliError, Result};

/// Flags that ask for what is always so, have no meaning here, or are refused.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct OtherArgs {
    #[arg(long, alias = "snapshotMode", hide = true)]
    snapshot_mode: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag())]
    use_new_run: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag())]
    cleanup: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag())]
    force: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag())]
    compressed_caching: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag())]
    skip_unused_stages: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag())]
    skip_push_permission_check: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag())]
    force_build_metadata: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag())]
    log_timestamp: Option<bool>,
    #[arg(long, alias = "whitelist-var-run", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag())]
    ignore_var_run: Option<bool>,
    #[arg(long, hide = true)]
    ignore_path: Vec<String>,
    #[arg(long, hide = true)]
    kaniko_dir: Option<String>,
    #[arg(long, hide = true)]
    push_retry: Option<u32>,
    #[arg(long, hide = true)]
    image_fs_extract_retry: Option<u32>,
    #[arg(long, hide = true)]
    image_download_retry: Option<u32>,
    #[arg(long, hide = true)]
    cache_dir: Option<String>,
    #[arg(long, hide = true)]
    cache_ttl: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag())]
    cache_copy_layers: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag())]
    cache_run_layers: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag())]
    single_snapshot: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag())]
    push_ignore_immutable_tag_errors: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag())]
    skip_default_registry_fallback: Option<bool>,
    #[arg(long, hide = true)]
    registry_map: Vec<String>,
    #[arg(long, hide = true)]
    registry_client_cert: Vec<String>,
    #[arg(long, hide = true)]
    credential_helpers: Vec<String>,
    #[arg(short = 'b', long, hide = true)]
    bucket: Option<String>,
}

impl OtherArgs {
    /// Notes for what has no effect.
    fn notes(&self) -> Vec<String> {
        const EXACT: &str = "what a step changed is found exactly";
        const OWN_ROOT: &str = "steps have a root file system of their own, the container's is never touched";
        const RETRIES: &str = "requests that fail for a moment are tried again, with pauses";
        let mut notes = Vec::new();
        let mut note = |given: bool, flag: &str, why: &str| {
            if given {
                notes.push(format!("--{flag} has no effect: {why}"));
            }
        };
        note(self.snapshot_mode.is_some(), "snapshot-mode", EXACT);
        note(self.use_new_run == Some(true), "use-new-run", EXACT);
        note(self.cleanup == Some(true), "cleanup", OWN_ROOT);
        note(self.force == Some(true), "force", OWN_ROOT);
        note(!self.ignore_path.is_empty(), "ignore-path", OWN_ROOT);
        note(self.ignore_var_run == Some(true), "ignore-var-run", OWN_ROOT);
        note(self.kaniko_dir.is_some(), "kaniko-dir", "--root names the directory of the store");
        note(self.compressed_caching.is_some(), "compressed-caching", "memory does not depend on the size of layers");
        note(self.skip_unused_stages == Some(true), "skip-unused-stages", "stages that nothing needs are never built");
        note(self.skip_push_permission_check == Some(true), "skip-push-permission-check", "there is no such check");
        note(
            self.force_build_metadata == Some(true),
            "force-build-metadata",
            "instructions of metadata have no layers",
        );
        note(self.log_timestamp == Some(true), "log-timestamp", "lines show the time since the step began");
        note(self.push_retry.is_some(), "push-retry", RETRIES);
        note(self.image_fs_extract_retry.is_some(), "image-fs-extract-retry", RETRIES);
        note(self.image_download_retry.is_some(), "image-download-retry", RETRIES);
        note(self.cache_dir.is_some(), "cache-dir", "base images are kept in the store; --root names it");
        note(self.cache_ttl.is_some(), "cache-ttl", "steps are found by their content, whatever their age");
        note(self.cache_copy_layers.is_some(), "cache-copy-layers", "every step is cached");
        note(self.cache_run_layers == Some(true), "cache-run-layers", "every step is cached");
        notes
    }

    /// What cannot be done, with the alternative.
    fn check(&self) -> Result<()> {
        let refuse = |given: bool, flag: &str, why: &str, hint: &str| {
            if given { Err(CliError::usage(format!("--{flag} {why}")).hint(hint)) } else { Ok(()) }
        };
        refuse(
            self.single_snapshot == Some(true),
            "single-snapshot",
            "is not supported: every step has its layer",
            "end the Dockerfile with FROM scratch and COPY --from=STAGE / /, which gives one layer",
        )?;
        refuse(
            self.ignore_var_run == Some(false),
            "ignore-var-run=false",
            "asks for nothing: /var/run is in the image where a step wrote to it",
            "leave it out",
        )?;
        refuse(
            self.cache_run_layers == Some(false),
            "cache-run-layers=false",
            "is not supported: every step is cached",
            "leave --cache out, or use cooperage build --no-cache",
        )?;
        refuse(
            self.push_ignore_immutable_tag_errors == Some(true),
            "push-ignore-immutable-tag-errors",
            "is not supported: a push that was refused is an error",
            "choose a new tag, or look first: cooperage image inspect IMAGE",
        )?;
        refuse(
            self.skip_default_registry_fallback == Some(true),
            "skip-default-registry-fallback",
            "is not supported: the registry is asked where no mirror has the image",
            "close the way to the registry in the network policy",
        )?;
        refuse(
            !self.registry_map.is_empty(),
            "registry-map",
            "is not supported in kaniko's notation",
            "use cooperage build --registry-mirror REGISTRY=MIRROR",
        )?;
        refuse(
            !self.registry_client_cert.is_empty(),
            "registry-client-cert",
            "is not supported: there are no client certificates",
            "log in with a password or a token: cooperage login REGISTRY",
        )?;
        refuse(
            !self.credential_helpers.is_empty(),
            "credential-helpers",
            "is not supported: helpers are programs that config.json names",
            "name them in credHelpers of $DOCKER_CONFIG/config.json",
        )?;
        refuse(self.bucket.is_some(), "bucket", "is not supported: contexts are not fetched from buckets", BUCKETS)
    }
}

const BUCKETS: &str = "fetch the archive before and give --context tar://FILE, or give a presigned https:// URL";

/// The flags of `build`, and notes for the user. What `--reproducible` and git contexts need goes into `env`.
pub(super) fn translate(args: &ExecutorArgs, env: &mut Env) -> Result<(BuildArgs, Vec<String>)> {
    args.other.check()?;
    let mut notes = args.other.notes();
    let mut build = BuildArgs {
        tag: args.destination.clone(),
        build_arg: args.build_arg.clone(),
        target: args.target.clone(),
        label: args.label.clone(),
        annotation: args.annotation.clone(),
        secret: args.secret.clone(),
        platform: args.custom_platform.iter().cloned().collect(),
        place: args.place.clone(),
        ..BuildArgs::default()
    };
    context(args, &mut build, env, &mut notes)?;
    outputs(args, &mut build, env)?;
    registries(args, &mut build, env, &mut notes)?;
    cache(args, &mut build)?;
    logs(args, &mut build)?;
    Ok((build, notes))
}

fn context(args: &ExecutorArgs, build: &mut BuildArgs, env: &mut Env, notes: &mut Vec<String>) -> Result<()> {
    let text = args.context.as_str();
    let sub = args.context_sub_path.as_deref().filter(|sub| !sub.is_empty());
    let fail = |why: &str| CliError::usage(format!("--context {text}: {why}"));
    let named = args.dockerfile != "Dockerfile";
    let remote_file = named.then(|| args.dockerfile.clone());
    let (scheme, rest) = text.split_once("://").unwrap_or(("dir", text));
    match scheme {
        "dir" => {
            let dir = env.path(rest).join(sub.unwrap_or_default());
            // kaniko looks here first, then in the context.
            let here = env.path(&args.dockerfile);
            let file = if here.is_file() { here } else { dir.join(&args.dockerfile) };
            let url = args.dockerfile.starts_with("http://") || args.dockerfile.starts_with("https://");
            let default = !named && !here_is_other(&file, &dir);
            build.file = (!default).then(|| if url { args.dockerfile.clone() } else { file.display().to_string() });
            build.context = Some(dir.display().to_string());
        }
        "tar" => {
            if sub.is_some() {
                return Err(CliError::usage("--context-sub-path is not supported with an archive")
                    .hint("pack the directory itself: tar -C DIRECTORY -czf context.tar.gz ."));
            }
            build.file = remote_file;
            if rest == "stdin" {
                build.context = Some("-".to_owned());
            } else {
                let path = env.path(rest);
                if !path.is_file() {
                    return Err(fail("there is no such file"));
                }
                build.archive = Some(path);
            }
        }
        "git" => {
            let mut parts = rest.split('#');
            let repository = parts.next().unwrap_or_default();
            let (mut reference, commit) = (parts.next().unwrap_or_default().to_owned(), parts.next());
            for option in &args.git {
                match option.split_once('=').unwrap_or((option, "")) {
                    ("branch", branch) => reference = branch.to_owned(),
                    ("single-branch" | "recurse-submodules" | "insecure-skip-tls", value) if value != "true" => {}
                    ("single-branch", _) => notes.push(
                        "--git single-branch=true has no effect: no more than the \
                         commit is fetched"
                            .to_owned(),
                    ),
                    ("recurse-submodules", _) => notes.push(
                        "--git recurse-submodules=true has no effect: submodules \
                         are always fetched"
                            .to_owned(),
                    ),
                    (other, _) => {
                        return Err(CliError::usage(format!("--git {option}: {other} is not supported"))
                            .hint("known are branch, single-branch, recurse-submodules"));
                    }
                }
            }
            let short = reference.strip_prefix("refs/heads/").or_else(|| reference.strip_prefix("refs/tags/"));
            let wanted = commit.filter(|c| !c.is_empty()).unwrap_or_else(|| short.unwrap_or(&reference));
            let sub = sub.map(|sub| format!(":{sub}")).unwrap_or_default();
            let fragment = if wanted.is_empty() && sub.is_empty() { String::new() } else { format!("#{wanted}{sub}") };
            build.file = remote_file;
            let repository = match repository.ends_with(".git") {
                true => repository.to_owned(),
                false => format!("{repository}.git"),
            };
            build.context = Some(format!("https://{repository}{fragment}"));
            if env.get("GIT_TOKEN").is_some() && !args.secret.iter().any(|s| s.contains("id=GIT_AUTH_TOKEN")) {
                build.secret.push("id=GIT_AUTH_TOKEN,env=GIT_TOKEN".to_owned());
            }
        }
        "http" | "https" => {
            if sub.is_some() {
                return Err(CliError::usage("--context-sub-path is not supported with an archive")
                    .hint("pack the directory itself"));
            }
            build.file = remote_file;
            build.context = Some(text.to_owned());
        }
        "s3" | "gs" => return Err(fail("contexts are not fetched from buckets").hint(BUCKETS)),
        other => {
            return Err(fail(&format!("there is no kind of context {other}://"))
                .hint("known are dir://, tar://, git:// and https://"));
        }
    }
    Ok(())
}

/// Whether the file is not the context's own `Dockerfile`.
fn here_is_other(file: &Path, dir: &Path) -> bool {
    file != dir.join("Dockerfile")
}

fn outputs(args: &ExecutorArgs, build: &mut BuildArgs, env: &mut Env) -> Result<()> {
    let no_push = match args.no_push {
        Some(said) => said,
        None => env.get("KANIKO_NO_PUSH").is_some_and(|value| value != "false" && value != "0"),
    };
    if !no_push && args.destination.is_empty() {
        return Err(CliError::usage("nothing says where to push to").hint("give --destination IMAGE, or --no-push"));
    }
    for (given, name) in [
        (&args.image_name_with_digest_file, "image-name-with-digest-file"),
        (&args.image_name_tag_with_digest_file, "image-name-tag-with-digest-file"),
    ] {
        if given.is_some() && args.destination.is_empty() {
            return Err(CliError::usage(format!("--{name} needs a name")).hint("give --destination IMAGE"));
        }
    }
    let mut options = String::new();
    if let Some(codec) = &args.compression {
        options.push_str(&format!(",compression={codec}"));
    }
    if let Some(level) = args.compression_level.filter(|level| *level >= 0) {
        options.push_str(&format!(",compression-level={level}"));
    }
    if args.reproducible == Some(true) {
        options.push_str(",rewrite-timestamp=true");
        if env.get("SOURCE_DATE_EPOCH").is_none() && !args.build_arg.iter().any(|a| a.starts_with("SOURCE_DATE_EPOCH="))
        {
            env.vars.insert("SOURCE_DATE_EPOCH".to_owned(), "0".to_owned());
        }
    }
    if !no_push {
        build.output.push(format!("type=image,push=true{options}"));
    }
    let quoted = |path: &str| format!("\"dest={}\"", env.path(path).display().to_string().replace('"', "\"\""));
    if let Some(path) = &args.tar_path {
        build.output.push(format!("type=docker,{}{options}", quoted(path)));
    }
    if let Some(path) = &args.oci_layout_path {
        build.output.push(format!("type=oci,tar=false,{}{options}", quoted(path)));
    }
    if build.output.is_empty() {
        build.output.push(format!("type=image{options}"));
    }
    Ok(())
}

fn registries(args: &ExecutorArgs, build: &mut BuildArgs, env: &Env, notes: &mut Vec<String>) -> Result<()> {
    let flags = &mut build.registries;
    flags.registry_mirror = args.registry_mirror.clone();
    if let Some(mirrors) = env.get("KANIKO_REGISTRY_MIRROR") {
        flags.registry_mirror.extend(mirrors.split([',', ';']).map(|mirror| mirror.trim().to_owned()));
    }
    flags.insecure_registry = [args.insecure_registry.as_slice(), &args.skip_tls_verify_registry].concat();
    let pull = args.insecure_pull == Some(true) || args.skip_tls_verify_pull == Some(true);
    if pull || args.insecure == Some(true) || args.skip_tls_verify == Some(true) {
        for name in args.destination.iter().chain(args.cache_repo.iter().filter(|repo| !repo.starts_with("oci:"))) {
            if let Ok(reference) = name.parse::<oci::Reference>() {
                flags.insecure_registry.push(reference.registry().to_owned());
            }
        }
    }
    if pull {
        let host = |mirror: &String| {
            let mirror = mirror.split_once("://").map_or(mirror.as_str(), |(_, rest)| rest);
            mirror.split('/').next().unwrap_or_default().to_owned()
        };
        let hosts: Vec<String> = flags.registry_mirror.iter().map(host).collect();
        flags.insecure_registry.extend(hosts);
        notes.push(
            "--insecure-pull and --skip-tls-verify-pull count for mirrors and the destinations' registries; name \
             others with --insecure-registry HOST"
                .to_owned(),
        );
    }
    for text in &args.registry_certificate {
        let Some((_, path)) = text.split_once('=') else {
            return Err(CliError::usage(format!("--registry-certificate {text}: expected HOST=FILE")));
        };
        flags.registry_ca.push(path.into());
    }
    Ok(())
}

/// One manifest in the repository holds the whole cache.
const CACHE_TAG: &str = "cooperage-cache";

fn cache(args: &ExecutorArgs, build: &mut BuildArgs) -> Result<()> {
    if args.cache != Some(true) {
        return Ok(());
    }
    let repository = match (&args.cache_repo, args.destination.first()) {
        (Some(repository), _) => repository.clone(),
        (None, Some(first)) => {
            let reference: oci::Reference = first
                .parse()
                .map_err(|e: oci::ReferenceError| CliError::usage(format!("--destination {first}: {e}")))?;
            format!("{}/cache", reference.name())
        }
        (None, None) => {
            return Err(CliError::usage("nothing says where the cache is").hint("give --cache-repo REPOSITORY"));
        }
    };
    let (from, to) = match repository.strip_prefix("oci:") {
        Some(dir) => (format!("type=local,src={dir}"), format!("type=local,dest={dir},mode=max")),
        None => {
            let reference = format!("{repository}:{CACHE_TAG}");
            (format!("type=registry,ref={reference}"), format!("type=registry,ref={reference},mode=max"))
        }
    };
    build.cache_from.push(from);
    if args.no_push_cache != Some(true) {
        build.cache_to.push(to);
    }
    Ok(())
}

fn logs(args: &ExecutorArgs, build: &mut BuildArgs) -> Result<()> {
    build.progress = match args.log_format.as_deref() {
        None => None,
        Some("text" | "color") => Some("plain".to_owned()),
        Some("json") => Some("rawjson".to_owned()),
        Some(other) => {
            return Err(CliError::usage(format!("--log-format {other}: known are text, color, json")));
        }
    };
    match args.verbosity.as_deref() {
        None | Some("info" | "debug" | "trace") => {}
        Some("panic" | "fatal" | "error" | "warn" | "warning") => build.progress = Some("quiet".to_owned()),
        Some(other) => {
            return Err(CliError::usage(format!("--verbosity {other}: there is no such level"))
                .hint("known are panic, fatal, error, warn, info, debug, trace"));
        }
    }
    Ok(())
}
