//! `cooperage image save`: an archive of an image, as an OCI layout or for `docker load`.
use std::io::{self, Write};
use std::path::Path;

use oci::layout::{LAYOUT_FILE, Layout};
use oci::{Index, Manifest, Platform};
use serde_json::json;

use super::copy::{Copier, select};
use super::place::{Entry, Place, Side};
use crate::app::Context;
use crate::args::build::{PlaceArgs, RegistryFlags};
use crate::config::{Flags, Settings};
use crate::error::{CliError, Result};

#[derive(Debug, clap::Args)]
pub(super) struct SaveArgs {
    /// The image: a name (in the store, else in its registry), or oci-layout://DIR[:TAG][@DIGEST]
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The archive; - for standard output
    #[arg(short, long, value_name = "FILE")]
    output: String,
    /// oci (an OCI layout, with all platforms) or docker (for docker load, one platform)
    #[arg(long = "type", value_name = "TYPE", default_value = "oci", value_parser = ["oci", "docker"])]
    kind: String,
    /// Only the image for this platform (with docker: this machine's where nothing is said)
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

pub(super) fn run(args: &SaveArgs, context: &Context<'_>) -> Result<()> {
    let flags = Flags {
        place: Some(&args.place),
        registries: Some(&args.registries),
        config: context.config.clone(),
        ..Flags::default()
    };
    let settings = Settings::load(&flags, context.env)?;
    if args.output == "-" && context.env.stdout_terminal {
        return Err(CliError::usage("an archive would be written to the terminal")
            .hint("redirect standard output, or name a file with -o"));
    }
    let docker = args.kind == "docker";
    let platform = match &args.platform {
        Some(text) => Some(parse_platform(text)?),
        None => docker.then(Platform::host),
    };
    // The layout is made beside the archive first: blobs come in parallel, and are checked, before a byte is written.
    let target = (args.output != "-").then(|| context.env.path(&args.output));
    let parent = target.as_deref().and_then(Path::parent).map_or_else(std::env::temp_dir, Path::to_owned);
    std::fs::create_dir_all(&parent).map_err(|e| CliError::io("make", &parent, &e))?;
    let work = tempfile::Builder::new()
        .prefix(".cooperage-save-")
        .tempdir_in(&parent)
        .map_err(|e| CliError::io("write in", &parent, &e))?;
    let image = LayoutOf { name: &args.image, platform, remote: args.remote };
    let (layout, bytes) = to_layout(&image, &work.path().join("layout"), &settings, context)?;
    let name = args.image.parse::<oci::Reference>().ok().map(oci::Reference::or_latest);
    let mut index = layout.index().map_err(|e| CliError::io("read", layout.root(), &e))?;
    for entry in &mut index.manifests {
        if let Some(name) = &name {
            entry.annotations.insert("io.containerd.image.name".to_owned(), name.to_string());
        }
    }
    let manifest = if docker { Some(docker_manifest(&bytes, name.as_ref())?) } else { None };
    let failed =
        |e: io::Error| CliError::failed(format!("cannot write {}: {}", args.output, crate::error::plain_io(&e)));
    match target {
        None => {
            let mut out = io::BufWriter::with_capacity(1 << 20, io::stdout().lock());
            archive(&layout, &index, manifest.as_ref(), &mut out).and_then(|()| out.flush()).map_err(failed)
        }
        Some(path) => {
            let file = tempfile::NamedTempFile::new_in(&parent).map_err(failed)?;
            let mut out = io::BufWriter::with_capacity(1 << 20, file);
            archive(&layout, &index, manifest.as_ref(), &mut out).map_err(failed)?;
            let file = out.into_inner().map_err(|e| failed(e.into_error()))?;
            use std::os::unix::fs::PermissionsExt;
            let _ = std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644));
            file.persist(&path).map(drop).map_err(|e| failed(e.error))
        }
    }
}

/// `--platform`.
pub(crate) fn parse_platform(text: &str) -> Result<Platform> {
    text.parse().map_err(|e: oci::PlatformError| CliError::usage(format!("--platform {text}: {e}")))
}

/// An image that is to be put into a layout.
pub(crate) struct LayoutOf<'a> {
    /// A name, or `oci-layout://DIR[:TAG][@DIGEST]`.
    pub(crate) name: &'a str,
    /// The one image of an index; without it all.
    pub(crate) platform: Option<Platform>,
    /// Ask the registry even where the store has the image.
    pub(crate) remote: bool,
}

/// Makes a layout of an image in a directory, which must not be there yet. Gives the layout, and what its entry is.
pub(crate) fn to_layout(
    image: &LayoutOf<'_>,
    directory: &Path,
    settings: &Settings,
    context: &Context<'_>,
) -> Result<(Layout, Vec<u8>)> {
    let from = Place::parse(image.name, Side::From { remote: image.remote }, settings, context)?;
    let (mut top, mut bytes) = from.top()?;
    if let Some(platform) = &image.platform {
        top = select(&from, &top, &bytes, platform)?;
        bytes = from.manifest(&top)?;
    }
    let layout = Layout::create(directory).map_err(|e| CliError::io("write", directory, &e))?;
    let name = image.name.parse::<oci::Reference>().ok().map(oci::Reference::or_latest);
    let tag = name.as_ref().and_then(|n| n.tag()).map(str::to_owned);
    let to = Place::Layout { layout: layout.clone(), tag, digest: None };
    Copier::new(&from, &to, false).tree(&top, &bytes, Entry::Top, 0)?;
    Ok((layout, bytes))
}

/// What `docker load` reads.
fn docker_manifest(manifest: &[u8], name: Option<&oci::Reference>) -> Result<serde_json::Value> {
    let manifest: Manifest = serde_json::from_slice(manifest)
        .map_err(|e| CliError::failed(format!("the image's manifest is invalid: {e}")))?;
    let path = |d: &oci::Descriptor| format!("blobs/{}/{}", d.digest.algorithm(), d.digest.hex());
    let layers: Vec<String> = manifest.layers.iter().map(path).collect();
    let tags: Option<Vec<String>> = name.filter(|n| n.tag().is_some()).map(|n| vec![n.familiar()]);
    Ok(json!([{ "Config": path(&manifest.config), "RepoTags": tags, "Layers": layers }]))
}

/// The layout as a tar, the same for the same image: in order of names, without times.
fn archive(
    layout: &Layout,
    index: &Index,
    manifest: Option<&serde_json::Value>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut tar = tar::Builder::new(out);
    let blobs = layout.root().join("blobs");
    let mut directories = vec!["blobs".to_owned()];
    let mut files = Vec::new();
    for algorithm in std::fs::read_dir(&blobs)? {
        let name = algorithm?.file_name().to_string_lossy().into_owned();
        for blob in std::fs::read_dir(blobs.join(&name))? {
            let blob = blob?.file_name().to_string_lossy().into_owned();
            files.push(format!("blobs/{name}/{blob}"));
        }
        directories.push(format!("blobs/{name}"));
    }
    directories.sort();
    files.sort();
    for directory in &directories {
        let mut header = header(0, 0o755);
        header.set_entry_type(tar::EntryType::Directory);
        tar.append_data(&mut header, format!("{directory}/"), io::empty())?;
    }
    for name in &files {
        let file = std::fs::File::open(layout.root().join(name))?;
        let size = file.metadata()?.len();
        tar.append_data(&mut header(size, 0o644), name, file)?;
    }
    let mut put = |name: &str, bytes: &[u8]| tar.append_data(&mut header(bytes.len() as u64, 0o644), name, bytes);
    put("index.json", &serde_json::to_vec(index).unwrap_or_default())?;
    if let Some(manifest) = manifest {
        put("manifest.json", manifest.to_string().as_bytes())?;
    }
    put("oci-layout", LAYOUT_FILE.as_bytes())?;
    tar.finish()
}

fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}
