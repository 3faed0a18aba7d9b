//! What an image holds: the finds of its layers, merged.
//!
//! Only what the merged tree of the image shows counts: a record that a later layer replaced or removed says nothing
//! any more. A package was brought by the lowest layer whose record of the same path has it without a gap up to the
//! record that is seen: so each of ten steps that rewrite dpkg's status is credited with its own packages.
//!
//! A lock file says what was to be installed. Where something of it is installed, or linked into a program, that is
//! the truth, and the lock file is left out; else its packages are listed, as of a lock file.
use crate::catalog::{Found, LayerScan, Note};
use crate::package::{Evidence, OsRelease, Package, PackageType};
use oci::{Digest, Platform};
use serde::Serialize;
use sha2::Digest as _;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The image that is described.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageFacts {
    /// Its name, as it was asked for.
    pub name: String,
    /// The digest of its manifest; an old archive has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The digest of its config; an SBOM of others may not tell it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Digest>,
    /// What it runs on; an SBOM of others may not tell it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// A layer of it, lowest first.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerFacts {
    /// The digest of its tar.
    pub diff_id: Digest,
    /// The digest of its blob.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The instruction that made it, as the image's history has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
}

/// Digests of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileDigests {
    /// SHA-1: SPDX 2.3 demands it.
    pub sha1: [u8; 20],
    /// SHA-256.
    pub sha256: [u8; 32],
}

/// Computes both digests of a file in one pass.
#[derive(Default, Clone)]
pub struct FileHasher {
    sha1: sha1::Sha1,
    sha256: sha2::Sha256,
}

impl std::fmt::Debug for FileHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FileHasher")
    }
}

impl FileHasher {
    /// Adds content.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha1.update(bytes);
        self.sha256.update(bytes);
    }

    /// The digests of all that was added.
    #[must_use]
    pub fn finish(self) -> FileDigests {
        FileDigests { sha1: self.sha1.finalize().into(), sha256: self.sha256.finalize().into() }
    }
}

/// A regular file of the merged tree.
#[derive(Debug, Clone)]
pub struct FileFacts {
    /// Its path, without the leading slash.
    pub path: String,
    /// The layer that it comes from.
    pub layer: usize,
    /// Its size in bytes.
    pub size: u64,
    /// Its permissions.
    pub mode: u32,
    /// Its digests; without them it is in no document.
    pub digests: Option<FileDigests>,
}

/// The merged tree of the image.
pub trait Tree {
    /// The layer that the object at a clean path comes from; no link is followed.
    fn layer_of(&self, path: &str) -> Option<usize>;
    /// The clean path that a path leads to when links are followed inside the root.
    fn resolve(&self, path: &str) -> Option<String>;
}

/// A package of the image.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// The package.
    #[serde(flatten)]
    pub package: Package,
    /// Its package URL.
    pub purl: String,
    /// The layer that brought it: a number in [`Inventory::layers`].
    pub layer: usize,
    /// The package of the distribution that brought it: a number in [`Inventory::packages`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part_of: Option<usize>,
    /// Its files: numbers in [`Inventory::files`].
    #[serde(skip)]
    pub files: Vec<usize>,
}

impl Component {
    /// A short name that no other package of the image has, of letters, digits, dots and dashes.
    #[must_use]
    pub fn id(&self) -> String {
        let p = &self.package;
        let all = [p.kind.as_str(), &p.name, &p.version, p.arch.as_deref().unwrap_or("")].join("\0");
        let name: String =
            p.name.chars().take(80).map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
        format!("{}-{}-{}", p.kind.as_str(), name.trim_matches('-'), Digest::sha256(all.as_bytes()).short())
    }
}

/// What an image holds.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// The image.
    pub image: ImageFacts,
    /// Its distribution.
    pub os: Option<OsRelease>,
    /// Its layers, lowest first.
    pub layers: Vec<LayerFacts>,
    /// Its packages by type, name, version and architecture.
    pub packages: Vec<Component>,
    /// Its regular files by path.
    pub files: Vec<FileFacts>,
    /// For each file the package that it belongs to.
    pub owners: Vec<Option<usize>>,
    /// What could not be read: the file's path and why.
    pub warnings: Vec<String>,
}

/// Puts together what was found in the layers.
#[must_use]
pub fn merge(
    image: ImageFacts,
    layers: Vec<LayerFacts>,
    scans: Vec<LayerScan>,
    mut files: Vec<FileFacts>,
    tree: &dyn Tree,
) -> Inventory {
    let mut by_path: BTreeMap<String, Vec<(usize, Found)>> = BTreeMap::new();
    for (layer, scan) in scans.into_iter().enumerate() {
        for (path, found) in scan.finds {
            by_path.entry(path).or_default().push((layer, found));
        }
    }
    let mut merge = Merge::default();
    for (path, finds) in by_path {
        merge.take(path, finds, tree);
    }
    let Merge { os, notes, mut packages, warnings, .. } = merge;
    drop_locks(&mut packages);
    for (_, package) in &mut packages {
        for join in std::mem::take(&mut package.joins) {
            let note = notes.get(&join).or_else(|| notes.get(&tree.resolve(&join)?));
            if let Some(note) = note {
                package.claims.extend(note.claims.iter().cloned());
                package.licenses.extend(note.licenses.iter().cloned());
            }
        }
    }
    let mut packages: Vec<Component> = combine(packages)
        .into_iter()
        .map(|(layer, package)| Component {
            purl: crate::purl::purl(&package, os.as_ref()),
            package,
            layer,
            part_of: None,
            files: Vec::new(),
        })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let owners = own(&mut packages, &files, tree);
    Inventory { image, os, layers, packages, files, owners, warnings }
}

#[derive(Default)]
struct Merge {
    os: Option<OsRelease>,
    notes: HashMap<String, Note>,
    packages: Vec<(usize, Package)>,
    warnings: Vec<String>,
}

impl Merge {
    /// Everything that the layers have at one path, lowest first.
    fn take(&mut self, path: String, finds: Vec<(usize, Found)>, tree: &dyn Tree) {
        let Some(top) = tree.layer_of(&path) else { return };
        let mut below = Vec::new();
        let mut seen = None;
        for (layer, found) in finds {
            // A tar may hold the path twice: the later one counts.
            match layer.cmp(&top) {
                std::cmp::Ordering::Less => below.push((layer, found)),
                std::cmp::Ordering::Equal => seen = Some(found),
                std::cmp::Ordering::Greater => {}
            }
        }
        let Some(found) = seen else { return };
        self.warnings.extend(found.warnings.into_iter().map(|warning| format!("{path}: {warning}")));
        if let Some(os) = found.os
            && (self.os.is_none() || path.starts_with("etc/"))
        {
            self.os = Some(os);
        }
        type Identities<'a> = HashSet<(PackageType, &'a str, &'a str, Option<&'a str>)>;
        let below: Vec<(usize, Identities<'_>)> = below
            .iter()
            .map(|(layer, found)| (*layer, found.packages.iter().map(Package::identity).collect()))
            .collect();
        for package in found.packages {
            let known = below.iter().rev().take_while(|(_, packages)| packages.contains(&package.identity()));
            let layer = known.last().map_or(top, |(layer, _)| *layer);
            self.packages.push((layer, package));
        }
        if let Some(note) = found.note {
            self.notes.insert(path, note);
        }
    }
}

/// The form in which names of one world are compared.
fn plain_name(package: &Package) -> String {
    match package.kind {
        PackageType::Pypi => package.name.to_lowercase().replace(['_', '.'], "-"),
        _ => package.name.clone(),
    }
}

/// Leaves out lock files of what is installed.
fn drop_locks(packages: &mut Vec<(usize, Package)>) {
    let there: HashSet<(PackageType, String)> =
        packages.iter().filter(|(_, p)| p.evidence != Evidence::Lock).map(|(_, p)| (p.kind, plain_name(p))).collect();
    let file = |p: &Package| p.locations.first().cloned().unwrap_or_default();
    let stale: HashSet<String> = packages
        .iter()
        .filter(|(_, p)| p.evidence == Evidence::Lock && there.contains(&(p.kind, plain_name(p))))
        .map(|(_, p)| file(p))
        .collect();
    packages.retain(|(_, p)| p.evidence != Evidence::Lock || !stale.contains(&file(p)));
}

/// One package for all records of it.
fn combine(packages: Vec<(usize, Package)>) -> Vec<(usize, Package)> {
    type Key = (PackageType, String, String, Option<String>);
    let mut out: BTreeMap<Key, (usize, Package)> = BTreeMap::new();
    for (layer, mut package) in packages {
        package.licenses.sort();
        package.licenses.dedup();
        let key = (package.kind, package.name.clone(), package.version.clone(), package.arch.clone());
        match out.get_mut(&key) {
            None => {
                out.insert(key, (layer, package));
            }
            Some((first, known)) => {
                *first = layer.min(*first);
                known.evidence = known.evidence.min(package.evidence);
                known.claims.append(&mut package.claims);
                for location in package.locations {
                    if !known.locations.contains(&location) {
                        known.locations.push(location);
                    }
                }
                for license in package.licenses {
                    if !known.licenses.contains(&license) {
                        known.licenses.push(license);
                    }
                }
                known.description = known.description.take().or(package.description);
                known.homepage = known.homepage.take().or(package.homepage);
                known.supplier = known.supplier.take().or(package.supplier);
            }
        }
    }
    out.into_values().collect()
}

/// Gives each file to a package: to the distribution's first, then to the others.
fn own(packages: &mut [Component], files: &[FileFacts], tree: &dyn Tree) -> Vec<Option<usize>> {
    let places: HashMap<&str, usize> = files.iter().enumerate().map(|(n, file)| (file.path.as_str(), n)).collect();
    let mut owners: Vec<Option<usize>> = vec![None; files.len()];
    for system in [true, false] {
        for (number, component) in packages.iter_mut().enumerate().filter(|(_, c)| c.package.kind.is_system() == system)
        {
            let locations = if system { &[][..] } else { &component.package.locations };
            for claim in component.package.claims.iter().chain(locations) {
                let place = places.get(claim.as_str()).copied();
                let place = place.or_else(|| places.get(tree.resolve(claim)?.as_str()).copied());
                if let Some(place) = place.filter(|place| owners[*place].is_none()) {
                    // A program holds many packages and belongs to none of them.
                    if component.package.evidence == Evidence::Installed {
                        owners[place] = Some(number);
                        component.files.push(place);
                    }
                }
            }
            component.files.sort_unstable();
        }
        if system {
            for component in packages.iter_mut().filter(|c| !c.package.kind.is_system()) {
                let owner = |location: &String| owners[*places.get(location.split('!').next().unwrap_or(location))?];
                component.part_of = component.package.locations.iter().find_map(owner);
            }
        }
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::interest;
    use std::io::Cursor;

    struct Paths(BTreeMap<String, usize>, BTreeMap<String, String>);

    impl Tree for Paths {
        fn layer_of(&self, path: &str) -> Option<usize> {
            self.0.get(path).copied()
        }
        fn resolve(&self, path: &str) -> Option<String> {
            let (dir, rest) = path.split_once('/')?;
            Some(format!("{}/{rest}", self.1.get(dir)?))
        }
    }

    fn inventory(layers: &[&[(&str, &str)]], removed: &[&str]) -> Inventory {
        let (mut paths, mut files) = (BTreeMap::new(), BTreeMap::new());
        let mut scans = Vec::new();
        for (number, layer) in layers.iter().enumerate() {
            let mut scan = LayerScan::default();
            for (path, text) in *layer {
                paths.insert((*path).to_owned(), number);
                files.insert((*path).to_owned(), number);
                if let Some(interest) = interest(path, text.as_bytes()) {
                    scan.read(interest, path, &mut Cursor::new(text.as_bytes().to_vec()));
                }
            }
            scans.push(scan);
        }
        for path in removed {
            paths.remove(*path);
            files.remove(*path);
        }
        let facts = ImageFacts {
            name: "x".into(),
            digest: None,
            config: Some(Digest::sha256(b"")),
            platform: Some(Platform::new("linux", "amd64", None)),
        };
        let layer = LayerFacts { diff_id: Digest::sha256(b""), digest: None, instruction: None };
        let files = files
            .into_iter()
            .map(|(path, layer)| FileFacts { path, layer, size: 0, mode: 0o644, digests: None })
            .collect();
        let tree = Paths(paths, BTreeMap::from([("bin".into(), "usr/bin".into())]));
        merge(facts, vec![layer; layers.len()], scans, files, &tree)
    }

    const STATUS: &str = "var/lib/dpkg/status";
    const A: &str = "Package: a\nStatus: install ok installed\nVersion: 1\n\n";
    const B: &str = "Package: b\nStatus: install ok installed\nVersion: 1\n\n";
    const A2: &str = "Package: a\nStatus: install ok installed\nVersion: 2\n\n";

    fn names(inventory: &Inventory) -> Vec<String> {
        inventory.packages.iter().map(|c| format!("{} {} in {}", c.package.name, c.package.version, c.layer)).collect()
    }

    #[test]
    fn each_layer_is_credited_with_what_it_brought() {
        let all = format!("{A}{B}");
        assert_eq!(
            names(&inventory(&[&[(STATUS, A)], &[(STATUS, &all)], &[(STATUS, &all)]], &[])),
            ["a 1 in 0", "b 1 in 1"]
        );
        // Upgraded, and put back later.
        assert_eq!(names(&inventory(&[&[(STATUS, A)], &[(STATUS, A2)], &[(STATUS, A)]], &[])), ["a 1 in 2"]);
        assert!(names(&inventory(&[&[(STATUS, A)]], &[STATUS])).is_empty());
    }

    #[test]
    fn a_lock_file_counts_only_where_nothing_of_it_is_there() {
        let lock = (
            "app/package-lock.json",
            r#"{"packages":{"node_modules/a":{"version":"1.0.0"},"node_modules/b":{"version":"2.0.0"}}}"#,
        );
        assert_eq!(names(&inventory(&[&[lock]], &[])), ["a 1.0.0 in 0", "b 2.0.0 in 0"]);
        let installed = ("app/node_modules/a/package.json", r#"{"name":"a","version":"1.0.1"}"#);
        assert_eq!(names(&inventory(&[&[lock], &[installed]], &[])), ["a 1.0.1 in 1"]);
    }

    #[test]
    fn files_belong_to_packages_and_packages_to_packages() {
        let meta = "usr/lib/python3/dist-packages/x-1.dist-info/METADATA";
        let list = format!("/bin/tool\n/{meta}\n");
        let found = inventory(
            &[&[
                (STATUS, A),
                ("var/lib/dpkg/info/a.list", &list),
                ("usr/bin/tool", "x"),
                (meta, "Name: x\nVersion: 1\n"),
                ("usr/lib/python3/dist-packages/x-1.dist-info/RECORD", "x.py,,\n"),
                ("usr/lib/python3/dist-packages/x.py", ""),
                ("opt/other", ""),
            ]],
            &[],
        );
        let owner = |path: &str| {
            let place = found.files.iter().position(|f| f.path == path).unwrap();
            found.owners[place].map(|n| found.packages[n].package.name.as_str())
        };
        assert_eq!(owner("usr/bin/tool"), Some("a"));
        assert_eq!(owner(meta), Some("a"));
        assert_eq!(owner("usr/lib/python3/dist-packages/x.py"), Some("x"));
        assert_eq!(owner("opt/other"), None);
        let python = found.packages.iter().find(|c| c.package.name == "x").unwrap();
        assert_eq!(python.part_of.map(|n| found.packages[n].package.name.as_str()), Some("a"));
    }

    #[test]
    fn warnings_name_the_file() {
        let found = inventory(&[&[("app/node_modules/a/package.json", "{")]], &[]);
        assert!(
            found.warnings[0].starts_with("app/node_modules/a/package.json: it is no JSON: "),
            "{:?}",
            found.warnings
        );
    }
}
