//! `--attest`, `--provenance` and `--sbom`: which attestations an image gets.
//!
//! buildx attaches provenance to whatever it pushes unless told otherwise. Here none is made unless it is asked for:
//! an image of one platform stays a plain manifest, with the digest that BuildKit gives without attestations.
use attest::provenance::Version;
use attest::sbom::Files;
use build::request::{ProvenanceMode, ProvenanceRequest, SbomRequest};

use super::each;
use crate::args::build::BuildArgs;
use crate::args::values;
use crate::csv;
use crate::env::Env;
use crate::error::Result;

/// What is to be attested.
#[derive(Debug, Default)]
pub(super) struct Attestations {
    pub(super) provenance: Option<ProvenanceRequest>,
    pub(super) sbom: Option<SbomRequest>,
}

/// Reads the three flags; `--provenance` and `--sbom` win over `--attest`, as in buildx.
pub(super) fn attestations(args: &BuildArgs, env: &Env) -> Result<Attestations> {
    let mut out = Attestations::default();
    for text in &args.attest {
        one(&mut out, "attest", text, text, env)?;
    }
    for (kind, value) in [("provenance", &args.provenance), ("sbom", &args.sbom)] {
        let Some(value) = value else { continue };
        let full = match values::boolean(value) {
            Ok(on) => format!("type={kind},disabled={}", !on),
            Err(_) if kind == "provenance" && matches!(value.as_str(), "min" | "max") => {
                format!("type={kind},mode={value}")
            }
            Err(_) => format!("type={kind},{value}"),
        };
        one(&mut out, kind, value, &full, env)?;
    }
    Ok(out)
}

fn one(out: &mut Attestations, flag: &str, given: &str, text: &str, env: &Env) -> Result<()> {
    let pairs = csv::pairs(text).map_err(|why| each(flag, given, why))?;
    let get = |key: &str| pairs.iter().rev().find(|(k, _)| k == key).map(|(_, value)| value.as_str());
    let boolean = |key: &str| match get(key) {
        Some(value) => values::boolean(value).map_err(|why| each(flag, given, format!("{key}: {why}"))),
        None => Ok(false),
    };
    let disabled = boolean("disabled")?;
    match get("type") {
        Some("provenance") => {
            let known = ["type", "disabled", "mode", "version", "builder-id", "reproducible"];
            if let Some((key, _)) = pairs.iter().find(|(key, _)| !known.contains(&key.as_str())) {
                return Err(each(
                    flag,
                    given,
                    format!("provenance has no key {key:?}; known are {}", known[1..].join(", ")),
                ));
            }
            let mode = match get("mode") {
                None | Some("min") => ProvenanceMode::Min,
                Some("max") => ProvenanceMode::Max,
                Some(other) => {
                    return Err(each(flag, given, format!("there is no mode {other:?}; known are min, max")));
                }
            };
            let version = match get("version") {
                None | Some("v1") => Version::V1,
                Some("v0.2") => Version::V02,
                Some(other) => {
                    return Err(each(flag, given, format!("there is no version {other:?}; known are v1, v0.2")));
                }
            };
            let builder_id = get("builder-id").map(str::to_owned).or_else(|| github_run(env)).unwrap_or_default();
            let request = ProvenanceRequest { mode, version, builder_id, reproducible: boolean("reproducible")? };
            out.provenance = (!disabled).then_some(request);
            Ok(())
        }
        Some("sbom") => {
            let known = ["type", "disabled", "files", "generator"];
            if let Some((key, _)) = pairs.iter().find(|(key, _)| !known.contains(&key.as_str())) {
                return Err(each(
                    flag,
                    given,
                    format!("an SBOM has no key {key:?}; known are {}", known[1..3].join(", ")),
                ));
            }
            if get("generator").is_some_and(|generator| generator != "cooperage") {
                return Err(each(flag, given, "other generators are not run: the SBOM is made by cooperage itself")
                    .hint("leave generator= out"));
            }
            let files = match get("files") {
                None | Some("owned") => Files::Owned,
                Some("all") => Files::All,
                Some("none") => Files::None,
                Some(other) => {
                    return Err(each(flag, given, format!("there is no files={other}; known are owned, all, none")));
                }
            };
            out.sbom = (!disabled).then_some(SbomRequest { files });
            Ok(())
        }
        Some(other) => Err(each(flag, given, format!("there is no type {other:?}; known are sbom, provenance"))),
        None => Err(each(flag, given, "type= is missing")),
    }
}

/// The address of this run of GitHub Actions, where this is one: what buildx calls the builder there.
fn github_run(env: &Env) -> Option<String> {
    if env.get("GITHUB_ACTIONS") != Some("true") {
        return None;
    }
    let (server, repository) = (env.get("GITHUB_SERVER_URL")?, env.get("GITHUB_REPOSITORY")?);
    let run = env.get("GITHUB_RUN_ID")?;
    let attempt = env.get("GITHUB_RUN_ATTEMPT").map(|n| format!("/attempts/{n}")).unwrap_or_default();
    Some(format!("{server}/{repository}/actions/runs/{run}{attempt}"))
}
