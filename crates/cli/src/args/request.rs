//! From flags, settings and environment to a [`BuildRequest`]. Reads the file system only to see
//! what a context is and to spool standard input.
mod attest;
mod git;
mod inputs;
mod secrets;

use std::collections::BTreeMap;
use std::path::PathBuf;

use build::request::{AnnotationLevel, BuildRequest, Output, OutputKind};
use oci::{Platform, Reference};

use super::build::BuildArgs;
use super::cache::{self, Parsed};
use super::{context, output, values};
use crate::config::Settings;
use crate::csv;
use crate::env::Env;
use crate::error::{CliError, Result};

/// What `--call` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Build,
    Check,
    Outline,
    Targets,
}

/// A parsed command line of `build`.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) request: BuildRequest,
    pub(crate) call: Call,
    /// `format=json` of `--call`.
    pub(crate) json: bool,
    pub(crate) iidfile: Option<PathBuf>,
    pub(crate) metadata_file: Option<PathBuf>,
    pub(crate) trace: Option<PathBuf>,
    pub(crate) timings: bool,
    /// `--on-error=shell`
    pub(crate) shell: bool,
    pub(crate) quiet: bool,
    /// Lines to show before the build.
    pub(crate) notes: Vec<String>,
    /// Keeps what standard input was spooled to.
    pub(crate) _spool: Option<tempfile::TempDir>,
}

/// Reads all flags; the first one that is wrong is the error.
pub(crate) fn plan(args: &BuildArgs, settings: &Settings, env: &Env) -> Result<Plan> {
    args.refused.check()?;
    let attestations = attest::attestations(args, env)?;
    let (call, json) = call(args)?;
    if let Some(action) = args.on_error.as_deref()
        && !matches!(action, "fail" | "shell")
    {
        return Err(each("on-error", action, format!("there is no action {action:?}; known are fail, shell")));
    }
    let shell = args.on_error.as_deref() == Some("shell");
    if shell && !(env.stdin_terminal && env.stderr_terminal) {
        return Err(each("on-error", "shell", "there is no terminal for a shell")
            .hint("leave it out in scripts; by hand, do not redirect standard input and standard error"));
    }
    let mut notes = Vec::new();
    let (context, dockerfile, spool) = inputs::inputs(args, env)?;
    let tags = args.tag.iter().map(|tag| tag_of(tag)).collect::<Result<Vec<Reference>>>()?;
    let mut build_args = BTreeMap::new();
    for text in &args.build_arg {
        let pair =
            values::pair(text, |name| env.vars.get(name).cloned()).map_err(|why| each("build-arg", text, why))?;
        build_args.extend(pair);
    }
    let source_date_epoch = source_date_epoch(&mut build_args, env)?;
    let mut labels = BTreeMap::new();
    for text in &args.label {
        labels.extend(values::pair(text, |_| Some(String::new())).map_err(|why| each("label", text, why))?);
    }
    let mut annotations = Vec::new();
    for text in &args.annotation {
        annotations.extend(output::annotations(text).map_err(|why| each("annotation", text, why))?);
    }
    let outputs = outputs(args, &tags, env)?;
    if annotations.iter().any(|a| a.level != AnnotationLevel::Manifest)
        && !outputs.iter().any(|o| !matches!(o.kind, OutputKind::Local | OutputKind::Tar))
        && !outputs.is_empty()
    {
        return Err(CliError::usage("--annotation needs an image, and -o writes files only")
            .hint("add -o type=oci,dest=FILE or --push"));
    }
    let platforms = platforms(args, env)?;
    if platforms.len() > 1 && outputs.iter().any(|o| o.kind == OutputKind::Docker) {
        notes.push("a Docker archive holds one platform; give several with -o type=oci".into());
    }
    let (mut cache_from, mut cache_to) = (Vec::new(), Vec::new());
    for text in &args.cache_from {
        match cache::from(text, env).map_err(|why| each("cache-from", text, why))? {
            Parsed::Use(backend) => cache_from.push(backend),
            Parsed::Skip(why) => notes.push(format!("--cache-from {why}")),
        }
    }
    for text in &args.cache_to {
        match cache::to(text, env).map_err(|why| each("cache-to", text, why))? {
            Parsed::Use(target) => cache_to.push(target),
            Parsed::Skip(why) => notes.push(format!("--cache-to {why}")),
        }
    }
    let mut request = BuildRequest {
        context,
        dockerfile,
        named_contexts: args.build_context.iter().map(|text| context::named(text, env)).collect::<Result<_>>()?,
        proxy: proxy(args, settings, env)?,
        build_args,
        target: args.target.clone().filter(|target| !target.is_empty()),
        platforms,
        tags,
        outputs,
        labels,
        annotations,
        secrets: args.secret.iter().map(|text| secrets::secret(text, env)).collect::<Result<_>>()?,
        ssh: args.ssh.iter().map(|text| secrets::ssh(text, env)).collect::<Result<_>>()?,
        no_cache: args.no_cache.unwrap_or(false),
        no_cache_filter: args
            .no_cache_filter
            .iter()
            .flat_map(|text| text.split(','))
            .map(str::trim)
            .filter(|stage| !stage.is_empty())
            .map(str::to_owned)
            .collect(),
        pull: args.pull.unwrap_or(false),
        network: network(args.network.as_deref())?,
        add_hosts: collect("add-host", &args.add_host, values::host)?,
        shm_size: match &args.shm_size {
            Some(text) => Some(values::size(text).map_err(|why| each("shm-size", text, why))?),
            None => None,
        },
        ulimits: collect("ulimit", &args.ulimit, values::ulimit)?,
        allow: allow(&args.allow)?,
        host_ca: host_ca(args, settings, env)?,
        source_date_epoch,
        isolation: settings.isolation.value.clone().filter(|mode| mode != "auto"),
        on_failure: None,
        parallelism: settings.parallelism.value,
        cache_from,
        cache_to,
        provenance: attestations.provenance,
        sbom: attestations.sbom,
        vcs: BTreeMap::new(),
        base_metadata: build::request::BaseMetadata::default(),
        base_check: None,
    };
    git::describe(&mut request, args, env)?;
    Ok(Plan {
        request,
        call,
        json,
        iidfile: args.iidfile.as_ref().map(|path| env.path(path)),
        metadata_file: args.metadata_file.as_ref().map(|path| env.path(path)),
        trace: args.trace.as_ref().map(|path| env.path(path)),
        timings: args.timings.unwrap_or(false),
        shell,
        quiet: args.quiet.unwrap_or(false),
        notes,
        _spool: spool,
    })
}

/// An error about one value of a flag.
fn each(flag: &str, value: &str, why: impl std::fmt::Display) -> CliError {
    if value.is_empty() {
        return CliError::usage(format!("--{flag} \"\": {why}")).hint("is a variable of the command line unset?");
    }
    CliError::usage(format!("--{flag} {value}: {why}"))
}

fn collect<T>(flag: &str, texts: &[String], parse: fn(&str) -> std::result::Result<T, String>) -> Result<Vec<T>> {
    texts.iter().map(|text| parse(text).map_err(|why| each(flag, text, why))).collect()
}

fn tag_of(text: &str) -> Result<Reference> {
    let reference: Reference = text.parse().map_err(|e: oci::ReferenceError| {
        let error = each("tag", text, &e.why);
        match mended(text) {
            Some(mended) => error.hint(format!("write {mended}")),
            None => error,
        }
    })?;
    if reference.digest().is_some() {
        return Err(each("tag", text, "a digest cannot be chosen, it follows from the content")
            .hint(format!("write {}", reference.with_tag(reference.tag().unwrap_or("latest")).familiar())));
    }
    Ok(reference.or_latest())
}

/// The reference that was probably meant: lower case, and dashes for what a tag cannot hold.
fn mended(text: &str) -> Option<String> {
    let (name, tag) = match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    };
    let mut mended = name.to_lowercase();
    if let Some(tag) = tag {
        mended.push(':');
        mended.extend(tag.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }));
    }
    (mended != text && mended.parse::<Reference>().is_ok()).then_some(mended)
}

fn call(args: &BuildArgs) -> Result<(Call, bool)> {
    let text = match (args.call.as_deref(), args.check) {
        (Some(call), Some(true)) if !call.starts_with("check") => {
            return Err(CliError::usage(format!("--check and --call={call} ask for two different things")));
        }
        (Some(call), _) => call,
        (None, Some(true)) => "check",
        (None, _) => "build",
    };
    let fail = |why: String| each("call", text, why);
    let fields = csv::fields(text).map_err(&fail)?;
    let (mut call, mut json) = (Call::Build, false);
    for (i, field) in fields.iter().enumerate() {
        let (key, value) = field.split_once('=').unwrap_or(if i == 0 { ("type", field) } else { (field, "") });
        match (key, value) {
            ("type", "build") => call = Call::Build,
            ("type", "check" | "lint") => call = Call::Check,
            ("type", "outline") => call = Call::Outline,
            ("type", "targets") => call = Call::Targets,
            ("format", "json") => json = true,
            ("format", "text") => json = false,
            ("ignorestatus", _) => {
                return Err(fail("ignorestatus is not supported; the exit code says what was found".into()));
            }
            ("format", other) => return Err(fail(format!("there is no format {other:?}; known are text, json"))),
            ("type", other) => {
                return Err(fail(format!("there is no method {other:?}; known are build, check, outline, targets")));
            }
            (other, _) => return Err(fail(format!("there is no key {other:?}; known is format"))),
        }
    }
    Ok((call, json))
}

fn outputs(args: &BuildArgs, tags: &[Reference], env: &Env) -> Result<Vec<Output>> {
    let mut outputs = Vec::new();
    for text in &args.output {
        outputs.push(output::parse(text).map_err(|why| each("output", text, why))?);
    }
    let mut outputs = output::with_shorthands(outputs, args.push.unwrap_or(false), args.load.unwrap_or(false));
    let mut stdout = 0;
    for output in &mut outputs {
        if output.push && output.names.is_empty() && tags.is_empty() {
            return Err(
                CliError::usage("nothing says where to push to").hint("name the image with -t REGISTRY/NAME:TAG")
            );
        }
        if output.kind == OutputKind::Oci && output.dest.is_none() {
            output.dest = Some("-".into());
        }
        if output.kind == OutputKind::Tar && output.dest.is_none() {
            output.dest = Some("-".into());
        }
        if output.dest.as_deref() == Some("-") {
            stdout += 1;
            if env.stdout_terminal {
                return Err(CliError::usage("an archive would be written to the terminal")
                    .hint("redirect standard output to a file, or give dest=FILE"));
            }
        } else if let Some(dest) = &mut output.dest {
            *dest = env.path(&*dest).display().to_string();
        }
    }
    if stdout > 1 {
        return Err(
            CliError::usage("two outputs cannot both be written to standard output").hint("give one of them dest=FILE")
        );
    }
    Ok(outputs)
}

/// `--platform`, else `DOCKER_DEFAULT_PLATFORM` as docker has it.
fn platforms(args: &BuildArgs, env: &Env) -> Result<Vec<Platform>> {
    let default = env.get("DOCKER_DEFAULT_PLATFORM").filter(|_| args.platform.is_empty());
    let mut platforms: Vec<Platform> = Vec::new();
    let given = args.platform.iter().map(String::as_str).chain(default);
    for text in given.flat_map(|text| text.split(',')).map(str::trim).filter(|text| !text.is_empty()) {
        let platform = if text == "local" {
            Platform::host()
        } else {
            text.parse().map_err(|e: oci::PlatformError| {
                each("platform", text, e).hint("write OS/ARCHITECTURE, such as linux/arm64")
            })?
        };
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    Ok(platforms)
}

fn network(text: Option<&str>) -> Result<dockerfile::ast::Network> {
    use dockerfile::ast::Network;
    match text {
        None | Some("" | "default") => Ok(Network::Default),
        Some("none") => Ok(Network::None),
        Some("host") => Ok(Network::Host),
        Some(other) => Err(each("network", other, "known are default, none, host").hint(
            "networks of a daemon (bridge, container:NAME) do not exist here; steps share this machine's network",
        )),
    }
}

fn allow(texts: &[String]) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for text in texts.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|text| !text.is_empty()) {
        match text {
            "network.host" | "security.insecure" => out.push(text.to_owned()),
            _ if text.starts_with("device") => return Err(each("allow", text, "devices are not supported")),
            _ if text.starts_with("fs") => {
                return Err(each(
                    "allow",
                    text,
                    "file system entitlements belong to bake; build reads only what its flags name",
                ));
            }
            _ => return Err(each("allow", text, "known are network.host, security.insecure")),
        }
    }
    Ok(out)
}

fn source_date_epoch(build_args: &mut BTreeMap<String, String>, env: &Env) -> Result<Option<i64>> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    if !build_args.contains_key(NAME)
        && let Some(value) = env.get(NAME)
    {
        build_args.insert(NAME.into(), value.to_owned());
    }
    match build_args.get(NAME).map(String::as_str) {
        None => Ok(None),
        // Other texts name what has a time: the context, a stage, a named context.
        Some(text) => match text.parse::<i64>() {
            Ok(seconds) if seconds < 0 => {
                Err(CliError::usage(format!("SOURCE_DATE_EPOCH is {text:?}, expected seconds since 1970"))
                    .hint("for the time of the last commit: SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)"))
            }
            number => Ok(number.ok()),
        },
    }
}

/// The proxies of docker's `config.json`, and with `--http-proxy` those of the environment.
fn proxy(args: &BuildArgs, settings: &Settings, env: &Env) -> Result<BTreeMap<String, String>> {
    let mut proxies = crate::config::docker::proxies(settings.docker_config.value.as_deref())?;
    if args.http_proxy.unwrap_or(settings.http_proxy.value) {
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"] {
            for name in [name.to_owned(), name.to_lowercase()] {
                if let Some(value) = env.get(&name) {
                    proxies.insert(name, value.to_owned());
                }
            }
        }
    }
    Ok(proxies)
}

/// Where Linux distributions keep the bundle of certificate authorities.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

fn host_ca(args: &BuildArgs, settings: &Settings, env: &Env) -> Result<Option<PathBuf>> {
    let path = match (args.host_ca.as_deref(), settings.host_ca.value.as_deref()) {
        (Some(""), _) => match env.get("SSL_CERT_FILE").map(PathBuf::from) {
            Some(path) => path,
            None => BUNDLES.iter().map(PathBuf::from).find(|path| path.is_file()).ok_or_else(|| {
                CliError::usage("--host-ca: this machine has no bundle of CA certificates where one is expected")
                    .hint("name it: --host-ca=FILE")
            })?,
        },
        (Some(path), _) => env.path(path),
        (None, Some(path)) => path.to_owned(),
        (None, None) => return Ok(None),
    };
    let text =
        std::fs::read(&path).map_err(|e| each("host-ca", &path.display().to_string(), crate::error::plain_io(&e)))?;
    if !text.windows(27).any(|w| w == b"-----BEGIN CERTIFICATE-----") {
        return Err(each("host-ca", &path.display().to_string(), "holds no PEM certificate"));
    }
    Ok(Some(path))
}

#[cfg(test)]
mod tests;
