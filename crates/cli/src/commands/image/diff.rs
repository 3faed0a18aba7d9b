//! `cooperage image diff`: what differs between two images.
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use attest::inventory::{FileFacts, Inventory};
use build::inspect::{self, InventoryOptions};
use oci::{Config, ImageConfig};
use serde_json::{Value, json};

use crate::app::Context;
use crate::args::build::{PlaceArgs, RegistryFlags};
use crate::commands::sbom::{Target, open_image};
use crate::config::{Flags, Settings};
use crate::error::Result;
use crate::progress::bytes;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "An image is a name (in the store, else in its registry), oci-layout://DIR[:TAG] or an archive."
)]
pub(super) struct DiffArgs {
    /// The older image
    #[arg(value_name = "A")]
    a: String,
    /// The newer image
    #[arg(value_name = "B")]
    b: String,
    /// Which image of an index (default: this machine's)
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Ask the registry even where the store has an image
    #[arg(long)]
    remote: bool,
    /// The most files to list as text; 0 for all
    #[arg(long, value_name = "N", default_value_t = 40)]
    limit: usize,
    /// text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    registries: RegistryFlags,
}

/// A change of one thing: what it was and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    what: String,
    from: Option<String>,
    to: Option<String>,
}

impl Change {
    fn line(&self) -> String {
        match (&self.from, &self.to) {
            (None, Some(to)) => format!("  + {} {to}", self.what),
            (Some(from), None) => format!("  - {} {from}", self.what),
            (from, to) => {
                let text = |v: &Option<String>| v.clone().unwrap_or_default();
                format!("  ~ {} {} -> {}", self.what, text(from), text(to))
            }
        }
    }
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FileChange {
    path: String,
    /// Bytes before, where it was there.
    from: Option<u64>,
    to: Option<u64>,
    /// Whether only its permissions differ.
    mode_only: bool,
}

impl FileChange {
    /// By how many bytes the image's files grow or shrink.
    fn growth(&self) -> i64 {
        let size = |v: Option<u64>| i64::try_from(v.unwrap_or(0)).unwrap_or(i64::MAX);
        size(self.to) - size(self.from)
    }

    fn weight(&self) -> u64 {
        self.from.unwrap_or(0).max(self.to.unwrap_or(0))
    }
}

struct Side {
    name: String,
    config: ImageConfig,
    size: u64,
    inventory: Inventory,
}

pub(super) fn run(args: &DiffArgs, context: &Context<'_>) -> Result<()> {
    let flags = Flags {
        place: Some(&args.place),
        registries: Some(&args.registries),
        config: context.config.clone(),
        ..Flags::default()
    };
    let settings = Settings::load(&flags, context.env)?;
    let take = |image: &str| -> Result<Side> {
        let target = Target { image, platform: args.platform.as_deref(), remote: args.remote };
        let opened = open_image(&target, &settings, context)?;
        let scratch = context.env.get("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
        let inventory = inspect::inventory(&opened, &InventoryOptions { digests: true, scratch })
            .map_err(|error| crate::report::build_error(&error, None, context))?;
        let size = opened.layers.iter().filter_map(|l| l.descriptor.as_ref()).map(|d| d.size).sum();
        Ok(Side { name: image.to_owned(), config: opened.config.clone(), size, inventory })
    };
    let (a, b) = (take(&args.a)?, take(&args.b)?);
    let config = config_changes(&a.config, &b.config);
    let packages = package_changes(&a.inventory, &b.inventory);
    let files = file_changes(&a.inventory.files, &b.inventory.files);
    let shared = a.inventory.layers.iter().zip(&b.inventory.layers).take_while(|(x, y)| x.diff_id == y.diff_id).count();
    if args.format == "json" {
        let change = |c: &Change| json!({ "what": c.what, "from": c.from, "to": c.to });
        let file = |f: &FileChange| json!({ "path": f.path, "from": f.from, "to": f.to, "modeOnly": f.mode_only });
        let side = |s: &Side| json!({ "image": s.name, "digest": s.inventory.image.digest, "size": s.size, "layers": s.inventory.layers.len() });
        let out = json!({
            "a": side(&a),
            "b": side(&b),
            "sharedLayers": shared,
            "config": config.iter().map(change).collect::<Vec<_>>(),
            "packages": packages.iter().map(change).collect::<Vec<_>>(),
            "files": files.iter().map(file).collect::<Vec<_>>(),
        });
        return context.ui.out(&format!("{out:#}\n"));
    }
    context.ui.out(&text(&a, &b, shared, &config, &packages, &files, args.limit))
}

fn text(
    a: &Side,
    b: &Side,
    shared: usize,
    config: &[Change],
    packages: &[Change],
    files: &[FileChange],
    limit: usize,
) -> String {
    let mut out = String::new();
    for (sign, side) in [("-", a), ("+", b)] {
        out.push_str(&format!(
            "{sign} {}: {} layer{} ({} in common), {} compressed\n",
            side.name,
            side.inventory.layers.len(),
            if side.inventory.layers.len() == 1 { "" } else { "s" },
            shared,
            bytes(side.size)
        ));
    }
    for (title, changes) in [("Configuration", config), ("Packages", packages)] {
        if !changes.is_empty() {
            out.push_str(&format!("\n{title}:\n"));
            changes.iter().for_each(|change| out.push_str(&format!("{}\n", change.line())));
        }
    }
    if !files.is_empty() {
        let growth: i64 = files.iter().map(FileChange::growth).sum();
        out.push_str(&format!("\nFiles ({}, {}):\n", files.len(), signed(growth)));
        let shown = if limit == 0 { files.len() } else { limit };
        for file in files.iter().take(shown) {
            let sign = match (file.from, file.to) {
                (None, _) => '+',
                (_, None) => '-',
                _ => '~',
            };
            let what = if file.mode_only { "mode".to_owned() } else { signed(file.growth()) };
            out.push_str(&format!("  {sign} {what:>10}  /{}\n", file.path));
        }
        if files.len() > shown {
            out.push_str(&format!("    and {} smaller ones; --limit 0 lists all\n", files.len() - shown));
        }
    }
    if config.is_empty() && packages.is_empty() && files.is_empty() {
        out.push_str("\nThe same configuration, packages and files.\n");
    }
    out
}

fn signed(growth: i64) -> String {
    let sign = if growth < 0 { '-' } else { '+' };
    format!("{sign}{}", bytes(growth.unsigned_abs()))
}

/// What a configuration says, flat.
fn flat(config: &ImageConfig) -> BTreeMap<String, String> {
    let Config { user, exposed_ports, env, entrypoint, cmd, volumes, working_dir, labels, stop_signal, shell, .. } =
        &config.config;
    let mut out = BTreeMap::new();
    let mut put = |key: String, value: String| {
        if !value.is_empty() {
            out.insert(key, value);
        }
    };
    let list = |v: &Option<Vec<String>>| v.as_ref().map(|v| Value::from(v.clone()).to_string()).unwrap_or_default();
    put("platform".into(), config.platform().to_string());
    put("USER".into(), user.clone());
    put("ENTRYPOINT".into(), list(entrypoint));
    put("CMD".into(), list(cmd));
    put("SHELL".into(), list(shell));
    put("WORKDIR".into(), working_dir.clone());
    put("STOPSIGNAL".into(), stop_signal.clone().unwrap_or_default());
    for port in exposed_ports.keys() {
        put(format!("EXPOSE {port}"), " ".into());
    }
    for volume in volumes.keys() {
        put(format!("VOLUME {volume}"), " ".into());
    }
    for variable in env {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        put(format!("ENV {name}"), format!("={value}"));
    }
    for (key, value) in labels {
        put(format!("LABEL {key}"), format!("={value}"));
    }
    if let Some(check) = &config.config.healthcheck {
        put("HEALTHCHECK".into(), Value::from(check.test.clone()).to_string());
    }
    out
}

fn config_changes(a: &ImageConfig, b: &ImageConfig) -> Vec<Change> {
    changes(&flat(a), &flat(b))
}

fn changes(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> Vec<Change> {
    let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    keys.into_iter()
        .filter(|key| a.get(*key) != b.get(*key))
        .map(|key| {
            let value = |side: &BTreeMap<String, String>| side.get(key).map(|v| v.trim_end().to_owned());
            Change { what: key.clone(), from: value(a), to: value(b) }
        })
        .collect()
}

fn package_changes(a: &Inventory, b: &Inventory) -> Vec<Change> {
    // Several versions of one name (npm) are one entry, in order.
    let table = |inventory: &Inventory| {
        let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for component in &inventory.packages {
            let package = &component.package;
            let kind = component.purl.strip_prefix("pkg:").and_then(|p| p.split('/').next()).unwrap_or_default();
            all.entry(format!("{kind} {}", package.name)).or_default().insert(package.version.clone());
        }
        let joined = |versions: BTreeSet<String>| versions.into_iter().collect::<Vec<_>>().join(", ");
        all.into_iter().map(|(name, versions)| (name, joined(versions))).collect::<BTreeMap<_, _>>()
    };
    changes(&table(a), &table(b))
}

fn file_changes(a: &[FileFacts], b: &[FileFacts]) -> Vec<FileChange> {
    let table = |files: &'_ [FileFacts]| -> BTreeMap<String, usize> {
        files.iter().enumerate().map(|(n, f)| (f.path.clone(), n)).collect()
    };
    let (left, right) = (table(a), table(b));
    let mut out = Vec::new();
    for path in left.keys().chain(right.keys().filter(|p| !left.contains_key(*p))) {
        let (old, new) = (left.get(path).map(|n| &a[*n]), right.get(path).map(|n| &b[*n]));
        let content = |f: Option<&FileFacts>| f.map(|f| (f.size, f.digests.as_ref().map(|d| d.sha256)));
        let same = content(old) == content(new);
        if same && old.map(|f| f.mode) == new.map(|f| f.mode) {
            continue;
        }
        out.push(FileChange {
            path: path.clone(),
            from: old.map(|f| f.size),
            to: new.map(|f| f.size),
            mode_only: same,
        });
    }
    out.sort_by(|x, y| {
        let key = |f: &FileChange| {
            std::cmp::Reverse((f.growth().unsigned_abs().max(if f.mode_only { 0 } else { f.weight() }), !f.mode_only))
        };
        key(x).cmp(&key(y)).then_with(|| x.path.cmp(&y.path))
    });
    out
}
