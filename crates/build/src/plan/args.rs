//! Build arguments that are there without being asked for: platforms and proxies.
use super::env::Env;
use oci::Platform;
use std::collections::BTreeMap;

/// The proxy arguments that need no `ARG`, in upper and lower case. They reach RUN and nothing
/// else: no history, no cache key.
pub(crate) const PROXY: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Whether a name is one of the predefined proxy arguments.
pub(crate) fn is_proxy(name: &str) -> bool {
    PROXY.iter().any(|p| *p == name || p.to_ascii_lowercase() == name)
}

/// Arguments that steer the builder and never reach a step's environment.
pub(crate) fn is_builder_arg(name: &str) -> bool {
    name.starts_with("BUILDKIT_") || name == "SOURCE_DATE_EPOCH"
}

/// The platform arguments of the global scope; `--build-arg` may override them.
pub(crate) fn platform_args(build: &Platform, target: &Platform, stage: &str, given: &BTreeMap<String, String>) -> Env {
    let variant = |p: &Platform| p.variant.clone().unwrap_or_default();
    let version = |p: &Platform| p.os_version.clone().unwrap_or_default();
    let stage = if stage.is_empty() { "default" } else { stage };
    let mut env = Env::default();
    for (name, value) in [
        ("BUILDPLATFORM", build.to_string()),
        ("BUILDOS", build.os.clone()),
        ("BUILDOSVERSION", version(build)),
        ("BUILDARCH", build.architecture.clone()),
        ("BUILDVARIANT", variant(build)),
        ("TARGETPLATFORM", target.to_string()),
        ("TARGETOS", target.os.clone()),
        ("TARGETOSVERSION", version(target)),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", variant(target)),
        ("TARGETSTAGE", stage.to_owned()),
    ] {
        env.set(name, given.get(name).unwrap_or(&value));
    }
    env
}
