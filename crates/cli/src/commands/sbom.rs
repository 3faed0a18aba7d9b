//! `cooperage sbom`: what is in an image, as SPDX, CycloneDX, JSON or a table. Nothing in the image is run.
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use attest::inventory::Inventory;
use attest::sbom::{Files, Format, Options};
use build::Store;
use build::inspect::{self, ImageLocation, InventoryOptions, OpenImage, OpenOptions};
use clap::{Args, ValueEnum};
use oci::Platform;

use crate::app::Context;
use crate::args::build::{PlaceArgs, RegistryFlags};
use crate::config::{Flags, Settings};
use crate::error::{CliError, Result};

const TEMPLATE: &str = "\
{about}

Examples:
  cooperage sbom app:1.0                                    a table of the packages of an image in the store
  cooperage sbom ghcr.io/me/app -o app.spdx.json            of an image in a registry, as SPDX 2.3
  cooperage sbom image.tar --format cyclonedx-json          of an archive, as CycloneDX 1.6
  cooperage sbom oci-layout://out:1.0 --platform linux/arm64

{usage-heading} {usage}

{all-args}{after-help}
";

/// List the packages in an image, with licences and the layers that brought them.
#[derive(Debug, Args)]
#[command(help_template = TEMPLATE)]
pub(crate) struct SbomArgs {
    /// The image: a name (in the store, else in its registry), oci-layout://DIR[:TAG][@DIGEST], or an archive's path
    #[arg(value_name = "IMAGE")]
    image: String,
    /// What to write (default: table; with -o what the file's name says, else spdx-json)
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<SbomFormat>,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Which files to list: none, owned (those of packages) or all
    #[arg(long, value_enum, value_name = "WHICH", default_value = "owned")]
    files: FilesArg,
    /// Which image of an index (default: this machine's)
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Ask the registry even where the store has the image
    #[arg(long)]
    remote: bool,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    registries: RegistryFlags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SbomFormat {
    /// A line a package
    Table,
    /// SPDX 2.3
    SpdxJson,
    /// CycloneDX 1.6
    CyclonedxJson,
    /// All that is known, in a form of our own
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FilesArg {
    None,
    Owned,
    All,
}

pub(crate) fn run(args: &SbomArgs, context: &Context<'_>) -> Result<()> {
    let flags = Flags {
        place: Some(&args.place),
        registries: Some(&args.registries),
        config: context.config.clone(),
        ..Flags::default()
    };
    let settings = Settings::load(&flags, context.env)?;
    let format = args.format.unwrap_or_else(|| by_name(args.output.as_deref()));
    let with_files = format != SbomFormat::Table && args.files != FilesArg::None;
    let target = Target { image: &args.image, platform: args.platform.as_deref(), remote: args.remote };
    let inventory = take_inventory(&target, with_files, &settings, context)?;
    for warning in &inventory.warnings {
        context.ui.warn(warning);
    }
    let bytes = match format {
        SbomFormat::Table => table(&inventory).into_bytes(),
        format => {
            let options = Options {
                files: match args.files {
                    FilesArg::None => Files::None,
                    FilesArg::Owned => Files::Owned,
                    FilesArg::All => Files::All,
                },
                created: created(context)?,
                tool: ("cooperage".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
                pretty: true,
            };
            let format = match format {
                SbomFormat::CyclonedxJson => Format::CycloneDx,
                SbomFormat::Json => Format::Json,
                SbomFormat::SpdxJson | SbomFormat::Table => Format::Spdx,
            };
            return write(args.output.as_deref(), context, |out| {
                attest::sbom::write(&inventory, format, &options, out)
            });
        }
    };
    write(args.output.as_deref(), context, |out| out.write_all(&bytes))
}

/// What the name of a file says about its form.
fn by_name(output: Option<&Path>) -> SbomFormat {
    let Some(name) = output.and_then(|path| path.file_name()).map(|name| name.to_string_lossy()) else {
        return SbomFormat::Table;
    };
    match &*name {
        name if name.contains(".cdx.") || name.starts_with("bom.json") || name.contains("cyclonedx") => {
            SbomFormat::CyclonedxJson
        }
        name if name.ends_with(".txt") => SbomFormat::Table,
        _ => SbomFormat::SpdxJson,
    }
}

/// An image as the command line names it.
pub(crate) struct Target<'a> {
    pub(crate) image: &'a str,
    pub(crate) platform: Option<&'a str>,
    pub(crate) remote: bool,
}

/// Finds an image and reads what is in it.
pub(crate) fn take_inventory(
    target: &Target<'_>,
    digests: bool,
    settings: &Settings,
    context: &Context<'_>,
) -> Result<Inventory> {
    let image = open_image(target, settings, context)?;
    let scratch = context.env.get("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    let options = InventoryOptions { digests, scratch };
    inspect::inventory(&image, &options).map_err(|error| crate::report::build_error(&error, None, context))
}

/// Finds an image.
pub(crate) fn open_image(target: &Target<'_>, settings: &Settings, context: &Context<'_>) -> Result<OpenImage> {
    let location = location(target.image, context)?;
    let platform = match target.platform {
        Some(text) => super::image::parse_platform(text)?,
        None => Platform::host(),
    };
    let failed = |error: build::BuildError| crate::report::build_error(&error, None, context);
    let local = !target.remote && settings.root.value.join("blobs").is_dir();
    let store = match location {
        ImageLocation::Named(_) if local => Some(Arc::new(Store::open(&settings.root.value).map_err(failed)?)),
        _ => None,
    };
    let client = || {
        ::registry::Client::new(super::client_options(settings, context.env)).map_err(|error| {
            build::BuildError::new(build::Kind::Input, "registries cannot be reached with these settings")
                .caused_by(error)
        })
    };
    let options = OpenOptions { store, client: &client, platform, remote: target.remote };
    inspect::open(&location, &options).map_err(failed)
}

/// The file, where an archive is meant.
pub(crate) fn archive(text: &str, context: &Context<'_>) -> Result<Option<PathBuf>> {
    Ok(match location(text, context)? {
        ImageLocation::Archive(path) => Some(path),
        _ => None,
    })
}

/// How other commands must call it: a layout that is given as a directory has its prefix.
pub(crate) fn full_name(text: &str, context: &Context<'_>) -> Result<String> {
    Ok(match location(text, context)? {
        ImageLocation::Layout { path, tag: None, digest: None } => format!("oci-layout://{}", path.display()),
        _ => text.to_owned(),
    })
}

/// What is meant: a layout, an archive where such a file is, else a name.
fn location(text: &str, context: &Context<'_>) -> Result<ImageLocation> {
    for prefix in ["oci-layout://", "oci:"] {
        if let Some(rest) = text.strip_prefix(prefix) {
            let (path, tag, digest) =
                crate::args::context::layout_parts(rest).map_err(|why| CliError::usage(format!("{text}: {why}")))?;
            return Ok(ImageLocation::Layout { path: context.env.path(path), tag, digest });
        }
    }
    for prefix in ["oci-archive:", "docker-archive:"] {
        if let Some(path) = text.strip_prefix(prefix) {
            return Ok(ImageLocation::Archive(context.env.path(path)));
        }
    }
    let path = context.env.path(text);
    if path.is_file() {
        return Ok(ImageLocation::Archive(path));
    }
    if path.join("oci-layout").is_file() {
        return Ok(ImageLocation::Layout { path, tag: None, digest: None });
    }
    if text.starts_with(['/', '.']) {
        let what = if path.exists() { "is neither an OCI layout nor an image archive" } else { "does not exist" };
        return Err(CliError::usage(format!("{} {what}", path.display()))
            .hint("give an image's name, oci-layout://DIR, or a file that `docker save` or -o type=oci wrote"));
    }
    let name = text.parse().map_err(|e: oci::ReferenceError| CliError::usage(e.to_string()))?;
    Ok(ImageLocation::Named(name))
}

/// The time in documents: `SOURCE_DATE_EPOCH`, else now.
pub(crate) fn created(context: &Context<'_>) -> Result<String> {
    let now = match context.env.get("SOURCE_DATE_EPOCH") {
        Some(text) => {
            let wrong = || {
                CliError::usage(format!("SOURCE_DATE_EPOCH is {text:?}, expected seconds since 1970"))
                    .hint("for the time of the last commit: SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)")
            };
            let seconds: i64 = text.trim().parse().map_err(|_| wrong())?;
            jiff::Timestamp::from_second(seconds).map_err(|_| wrong())?
        }
        None => jiff::Timestamp::now(),
    };
    Ok(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// A line a package.
fn table(inventory: &Inventory) -> String {
    let mut rows = vec![["NAME", "VERSION", "TYPE", "LAYER", "LICENCES"].map(str::to_owned)];
    for component in &inventory.packages {
        let package = &component.package;
        let licenses = attest::license::declared(&package.licenses).map_or_else(|| "-".into(), |l| l.expression);
        let version = if package.version.is_empty() { "-" } else { &package.version };
        rows.push([
            package.name.clone(),
            version.to_owned(),
            package.kind.as_str().to_owned(),
            component.layer.to_string(),
            cut(&licenses, 60),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    let mut out = String::new();
    for row in &rows {
        let line = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  ")).collect::<String>() + &row[4];
        out.push_str(line.trim_end());
        out.push('\n');
    }
    if !inventory.packages.is_empty() {
        out.push_str("\nLayers:\n");
    }
    for (number, layer) in inventory.layers.iter().enumerate() {
        if inventory.packages.iter().any(|component| component.layer == number) {
            let by = layer.instruction.as_deref().unwrap_or("");
            out.push_str(format!("  {number:>3}  {}  {}", layer.diff_id.short(), cut(by, 90)).trim_end());
            out.push('\n');
        }
    }
    out
}

fn cut(text: &str, width: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= width { line } else { line.chars().take(width - 1).chain(['…']).collect() }
}

/// To standard output, or to a file that appears whole.
pub(crate) fn write(
    output: Option<&Path>,
    context: &Context<'_>,
    fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    let Some(path) = output.filter(|path| *path != Path::new("-")) else {
        let mut bytes = Vec::new();
        fill(&mut bytes).map_err(|e| CliError::failed(format!("cannot write the document: {e}")))?;
        return context.ui.out(&String::from_utf8_lossy(&bytes));
    };
    let path = context.env.path(path);
    let parent = path.parent().unwrap_or(Path::new("/"));
    let failed = |e: std::io::Error| CliError::io("write", &path, &e);
    let file = tempfile::NamedTempFile::new_in(parent).map_err(failed)?;
    let mut out = std::io::BufWriter::with_capacity(256 << 10, file);
    fill(&mut out).and_then(|()| out.flush()).map_err(failed)?;
    let file = out.into_inner().map_err(|e| failed(e.into_error()))?;
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644));
    file.persist(&path).map_err(|e| failed(e.error))?;
    Ok(())
}
