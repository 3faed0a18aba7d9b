//! `cooperage doctor`: what was tried in this place, and what follows from it.
mod advice;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::Path;

use sandbox::doctor::{Clues, Report, Surroundings};
use sandbox::userns::Entered;

use crate::app::Context;
use crate::args::build::PlaceArgs;
use crate::config::{Flags, Settings};
use crate::error::{CliError, Result};
use crate::progress::bytes;

/// Say what works in this place.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(crate) fn run(args: &DoctorArgs, context: &Context<'_>) -> Result<()> {
    let settings = Settings::load(
        &Flags { place: Some(&args.place), config: context.config.clone(), ..Flags::default() },
        context.env,
    )?;
    let root = &settings.root.value;
    std::fs::create_dir_all(root)
        .map_err(|e| CliError::io("create the store", root, &e).hint("--root chooses another place"))?;
    let launcher = sandbox::Launcher::of_this_program().map_err(|e| {
        CliError::io("find this program at", std::path::Path::new("/proc/self/exe"), &e).hint("is /proc mounted?")
    })?;
    let requested = match settings.isolation.value.as_deref() {
        None | Some("auto") => None,
        Some(name) => Some(name.parse::<sandbox::IsolationRequest>().map_err(CliError::usage)?),
    };
    let env = |name: &str| context.env.get(name).map(str::to_owned);
    let around = Surroundings {
        store: root.clone(),
        path: env("PATH").unwrap_or_default().into(),
        entered: Ok(context.entered.clone()),
        requested,
        clues: Clues { env: &env, exists: &|path| path.exists(), read: &|path| std::fs::read_to_string(path).ok() },
    };
    let report = sandbox::doctor::report(&launcher, &around);
    let git = version_of("git", &around.path);
    let credentials = registry::Credentials::new(super::login::sources(context)).held();
    let around = advice::Around {
        env: context.env,
        credentials: !credentials.is_empty(),
        workflows: workflows(&context.env.cwd),
        daemon: ["/var/run/docker.sock", "/run/podman/podman.sock"].iter().any(|path| Path::new(path).exists()),
    };
    let advice = advice::of(&report, &around);
    if args.format == "json" {
        let json = serde_json::json!({
            "store": root.display().to_string(),
            "userNamespace": context.entered,
            "places": report.places,
            "facts": report.facts,
            "findings": report.findings,
            "choice": report.choice.as_ref().ok(),
            "error": report.choice.as_ref().err().map(ToString::to_string),
            "unlock": report.unlock,
            "advice": advice,
            "git": git,
            "credentials": credentials
                .iter()
                .map(|held| serde_json::json!({ "registry": held.registry, "origin": held.origin }))
                .collect::<Vec<_>>(),
        });
        context.ui.out(&format!("{json:#}\n"))?;
    } else {
        context.ui.out(&text(root, &report, git.as_deref(), &credentials, &advice))?;
    }
    match report.choice {
        Ok(_) => Ok(()),
        Err(error) => Err(CliError::failed(error.to_string())),
    }
}

/// What `PROGRAM --version` says, where there is such a program.
fn version_of(program: &str, path: &OsStr) -> Option<String> {
    let found = std::env::split_paths(path).map(|dir| dir.join(program)).find(|file| file.is_file())?;
    let output = std::process::Command::new(found).arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The workflows of the checkout here that may be dispatched, where its remote is on GitHub.
fn workflows(cwd: &Path) -> Vec<String> {
    let Some((top, remote)) = factory::init::repository_of(cwd) else { return Vec::new() };
    if remote.provider != "github" {
        return Vec::new();
    }
    let entries = std::fs::read_dir(top.join(".github/workflows")).into_iter().flatten().flatten();
    let mut found: Vec<String> = entries
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let yaml = name.ends_with(".yml") || name.ends_with(".yaml");
            yaml && std::fs::read_to_string(entry.path()).is_ok_and(|text| text.contains("workflow_dispatch"))
        })
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    // What builds images comes first.
    found.sort_by_key(|name| (!name.contains("image") && !name.contains("build"), name.clone()));
    found
}

/// What does the work of a network namespace where there is none.
fn instead(report: &Report) -> String {
    match &report.choice {
        Ok(choice) if choice.isolation != sandbox::Isolation::Namespaces => {
            format!("; --network=none holds all the same: isolation {} refuses Internet sockets", choice.isolation)
        }
        _ => String::new(),
    }
}

/// The registries that have credentials, with the places that hold them; never the credentials.
fn named(credentials: &[registry::Held]) -> Option<String> {
    let mut places: Vec<(&str, Vec<&str>)> = Vec::new();
    for held in credentials {
        let registry = held.registry.as_deref().unwrap_or("unknown registries");
        match places.iter_mut().find(|(origin, _)| *origin == held.origin) {
            Some((_, list)) => list.push(registry),
            None => places.push((&held.origin, vec![registry])),
        }
    }
    let lines = places.iter().map(|(origin, list)| format!("{} in {origin}", list.join(", ")));
    (!places.is_empty()).then(|| lines.collect::<Vec<_>>().join("; "))
}

fn text(
    root: &Path,
    report: &Report,
    git: Option<&str>,
    credentials: &[registry::Held],
    advice: &[advice::Advice],
) -> String {
    let facts = &report.facts;
    let places: Vec<&str> = report.places.iter().map(|place| place.name()).collect();
    let mut out = String::new();
    let _ = writeln!(
        out,
        "Place:  {} (Linux {}, {}, uid {})",
        if places.is_empty() { "a machine of its own".to_owned() } else { places.join(", ") },
        facts.kernel,
        facts.machine,
        facts.uid
    );
    let _ = writeln!(
        out,
        "Store:  {} on {}, {} free{}",
        root.display(),
        facts.store_type,
        bytes(facts.store_free),
        facts.memory_limit.map_or_else(String::new, |limit| format!("; memory limit {}", bytes(limit)))
    );
    match &report.entered {
        Ok(Entered::SubordinateIds { count }) => {
            let _ = writeln!(out, "User:   builds happen in a user namespace with {count} ids");
        }
        Ok(Entered::SingleId { why }) => {
            let _ = writeln!(out, "User:   builds happen in a user namespace with one id: {why}");
        }
        Ok(Entered::NotNeeded) | Err(_) => {}
    }
    out.push_str("\nTried:\n");
    for finding in &report.findings {
        let (mark, detail) = match &finding.result {
            // Objects are for machines.
            Ok(detail) if detail.is_empty() || detail.starts_with('{') => ("ok", String::new()),
            Ok(detail) => ("ok", format!(": {detail}")),
            Err(why) if finding.name == "network-namespace" => ("no", format!(": {why}{}", instead(report))),
            Err(why) => ("no", format!(": {why}")),
        };
        let _ = writeln!(out, "  {mark}  {:17}  {}{detail}", finding.name, finding.purpose);
    }
    let present = |name: &str, purpose: &str, found: Option<String>| match found {
        Some(found) => format!("  ok  {name:17}  {purpose}: {found}\n"),
        None => format!("  --  {name:17}  {purpose}: not found\n"),
    };
    out.push_str(&present("git", "git contexts, ADD of repositories", git.map(str::to_owned)));
    out.push_str(&present("credentials", "private registries", named(credentials)));
    let emulators: Vec<&str> = facts.binfmt.iter().chain(&facts.qemu).map(String::as_str).collect();
    let emulators = (!emulators.is_empty()).then(|| emulators.join(", "));
    out.push_str(&present("emulators", "RUN for other architectures", emulators));
    out.push('\n');
    match &report.choice {
        Ok(choice) => {
            let _ = writeln!(
                out,
                "RUN steps use isolation {}, root file systems are kept as {}.",
                choice.isolation, choice.root
            );
            for reason in &choice.reasons {
                let _ = writeln!(out, "  {reason}");
            }
        }
        Err(error) => {
            let _ = writeln!(out, "RUN steps cannot work: {error}");
        }
    }
    out.push_str("\nThe best way to build here:\n");
    for advice in advice {
        let _ = writeln!(out, "  {}: {}\n    {}", advice.what, advice.why, advice.command);
    }
    if !report.unlock.is_empty() {
        out.push_str("\nWhat would make more possible:\n");
        for unlock in &report.unlock {
            let _ = writeln!(out, "  {}\n    {}", unlock.gives, unlock.change.replace('\n', "\n    "));
        }
    }
    out
}
