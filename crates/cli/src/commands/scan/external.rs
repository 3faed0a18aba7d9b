//! `--scanner trivy|grype`: another program looks; what it finds is judged and shown as ours is.
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ::scan::external::{self, Place, Tool};
use ::scan::report::Scanner;
use attest::inventory::Inventory;

use crate::app::Context;
use crate::commands::image::{LayoutOf, parse_platform, to_layout};
use crate::commands::sbom::{Target, archive, full_name};
use crate::config::Settings;
use crate::error::{CliError, Result};

/// A program that was found.
pub(super) struct Program {
    tool: Tool,
    path: PathBuf,
}

/// Looks for the program in `PATH`.
pub(super) fn find(tool: Tool, context: &Context<'_>) -> Result<Program> {
    let path = context.env.get("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin");
    let found = std::env::split_paths(path).map(|dir| dir.join(tool.as_str())).find(|file| file.is_file());
    let path = found.ok_or_else(|| {
        CliError::usage(format!("--scanner {0}: the program {0} is not installed", tool.as_str()))
            .hint(format!("install it ({})", tool.home()))
            .hint("or leave --scanner out: cooperage scans by itself")
    })?;
    Ok(Program { tool, path })
}

/// Has the image looked at. Whatever it is in, the program gets a file or a directory: so it needs no credentials, and
/// sees the same image.
pub(super) fn scan(
    program: &Program,
    target: &Target<'_>,
    sbom: Option<&Path>,
    inventory: &Inventory,
    settings: &Settings,
    context: &Context<'_>,
) -> Result<(::scan::Scan, Scanner)> {
    let name = program.tool.as_str();
    let scratch = context.env.get("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    let work = tempfile::Builder::new()
        .prefix("cooperage-scan-")
        .tempdir_in(&scratch)
        .map_err(|e| CliError::io("write in", &scratch, &e))?;
    let archive = if sbom.is_none() { archive(target.image, context)? } else { None };
    let place = match (sbom, archive) {
        (Some(path), _) => Place::Sbom(path.to_owned()),
        (None, Some(path)) => Place::Archive(path),
        (None, None) => {
            let directory = work.path().join("image");
            let platform = match target.platform {
                Some(text) => parse_platform(text)?,
                None => oci::Platform::host(),
            };
            let name = full_name(target.image, context)?;
            let image = LayoutOf { name: &name, platform: Some(platform), remote: target.remote };
            to_layout(&image, &directory, settings, context)?;
            Place::Layout(directory)
        }
    };
    let mut command = Command::new(&program.path);
    command.args(external::arguments(program.tool, &place, target.platform));
    let failed = |why: &str| CliError::failed(format!("{name} {why}"));
    let report = work.path().join("report.json");
    let file = std::fs::File::create(&report).map_err(|e| CliError::io("write", &report, &e))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|e| CliError::io("run", &program.path, &e))?;
    let status = loop {
        if context.cancel.is_cancelled() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(CliError::interrupted());
        }
        match child.try_wait().map_err(|e| CliError::io("wait for", &program.path, &e))? {
            Some(status) => break status,
            None => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
    };
    if !status.success() {
        return Err(failed(&format!("ended with {status}; its messages are above")));
    }
    let bytes = std::fs::read(&report).map_err(|e| CliError::io("read", &report, &e))?;
    external::parse(program.tool, &bytes, inventory).map_err(|error| {
        failed(&format!("wrote a report that cannot be read: {error}"))
            .hint(format!("this version of cooperage reads the JSON of {name} {}", program.tool.versions()))
    })
}
