//! Node: packages in `node_modules`, and the lock files of npm, Yarn and pnpm.
//!
//! Yarn's and pnpm's files are YAML (or nearly) that their tools write in one shape; they are read by line and
//! indentation. Development dependencies are left out where the file tells which these are: Yarn's does not.
use super::{Catalogue, Found, Result, Source, is_vendored, line, malformed, name_of, text};
use crate::package::{Evidence, Package, PackageType};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};

/// `node_modules/NAME/package.json`
pub(super) struct Installed;
/// `package-lock.json`, `npm-shrinkwrap.json`
pub(super) struct PackageLock;
/// `yarn.lock`
pub(super) struct Yarn;
/// `pnpm-lock.yaml`
pub(super) struct Pnpm;

fn json(content: &mut dyn Source) -> Result<Value> {
    let text = text(content)?;
    match serde_json::from_str(&text) {
        Ok(value) => Ok(value),
        Err(error) => malformed(format!("it is no JSON: {error}")),
    }
}

impl Catalogue for Installed {
    fn wants(&self, path: &str, _: &[u8]) -> bool {
        let mut parts = path.rsplit('/');
        if parts.next() != Some("package.json") || parts.next().is_none() {
            return false;
        }
        match parts.next() {
            Some("node_modules") => true,
            Some(scope) => scope.starts_with('@') && parts.next() == Some("node_modules"),
            None => false,
        }
    }

    fn limit(&self) -> u64 {
        4 << 20
    }

    fn read(&self, _: &str, content: &mut dyn Source, found: &mut Found) -> Result<()> {
        let value = json(content)?;
        let field = |name: &str| value[name].as_str().map(str::to_owned);
        // What has no name or version (a `package.json` that only says how to load files) is no package.
        let (Some(name), Some(version)) = (field("name"), field("version")) else { return Ok(()) };
        let mut package = Package::new(PackageType::Npm, name, version, Evidence::Installed);
        package.description = field("description").and_then(|d| line(&d));
        package.homepage = field("homepage").and_then(|h| line(&h));
        package.licenses = licenses(&value);
        package.supplier = match &value["author"] {
            Value::String(author) => line(author),
            Value::Object(author) => author.get("name").and_then(Value::as_str).and_then(line),
            _ => None,
        };
        found.push(package);
        Ok(())
    }
}

/// `"MIT"`, `{"type": "MIT"}`, or lists of either.
fn licenses(value: &Value) -> Vec<String> {
    let one = |value: &Value| value.as_str().or_else(|| value["type"].as_str()).map(str::to_owned);
    let of = |value: &Value| match value {
        Value::Array(list) => {
            let names: Vec<String> = list.iter().take(20).filter_map(one).collect();
            if names.is_empty() { Vec::new() } else { vec![names.join(" OR ")] }
        }
        value => one(value).into_iter().collect(),
    };
    let licenses = of(&value["license"]);
    if licenses.is_empty() { of(&value["licenses"]) } else { licenses }
}

impl Catalogue for PackageLock {
    fn wants(&self, path: &str, _: &[u8]) -> bool {
        matches!(name_of(path), "package-lock.json" | "npm-shrinkwrap.json") && !is_vendored(path)
    }

    fn read(&self, _: &str, content: &mut dyn Source, found: &mut Found) -> Result<()> {
        let text = text(content)?;
        let lock: Lock = match serde_json::from_str(&text) {
            Ok(lock) => lock,
            Err(error) => return malformed(format!("it is no lock file of npm: {error}")),
        };
        let Some(packages) = lock.packages else {
            dependencies(lock.dependencies.unwrap_or_default(), found);
            return Ok(());
        };
        for (place, entry) in packages {
            let Some((_, path)) = place.rsplit_once("node_modules/") else { continue };
            if entry.dev || entry.link {
                continue;
            }
            let Some(version) = entry.version else { continue };
            let name = entry.name.unwrap_or_else(|| path.to_owned());
            let mut package = Package::new(PackageType::Npm, name, version, Evidence::Lock);
            package.licenses = licenses(&serde_json::json!({ "license": entry.license }));
            found.push(package);
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Lock {
    packages: Option<BTreeMap<String, LockEntry>>,
    dependencies: Option<BTreeMap<String, OldEntry>>,
}

#[derive(Deserialize)]
struct LockEntry {
    name: Option<String>,
    version: Option<String>,
    #[serde(default)]
    dev: bool,
    #[serde(default)]
    link: bool,
    #[serde(default)]
    license: Value,
}

#[derive(Deserialize)]
struct OldEntry {
    version: Option<String>,
    #[serde(default)]
    dev: bool,
    dependencies: Option<BTreeMap<String, OldEntry>>,
}

/// The nested form of lock files of version 1; how deep it is the JSON parser bounds.
fn dependencies(entries: BTreeMap<String, OldEntry>, found: &mut Found) {
    for (name, entry) in entries {
        if let Some(version) = entry.version.filter(|_| !entry.dev) {
            found.push(Package::new(PackageType::Npm, name, version, Evidence::Lock));
        }
        dependencies(entry.dependencies.unwrap_or_default(), found);
    }
}

impl Catalogue for Yarn {
    fn wants(&self, path: &str, _: &[u8]) -> bool {
        name_of(path) == "yarn.lock" && !is_vendored(path)
    }

    fn read(&self, _: &str, content: &mut dyn Source, found: &mut Found) -> Result<()> {
        let text = text(content)?;
        let mut name: Option<String> = None;
        let mut version: Option<String> = None;
        let mut done = |name: &mut Option<String>, version: &mut Option<String>| {
            if let (Some(name), Some(version)) = (name.take(), version.take()) {
                found.push(Package::new(PackageType::Npm, name, version, Evidence::Lock));
            }
        };
        for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            if !line.starts_with(' ') {
                done(&mut name, &mut version);
                let first = line.trim_end_matches(':').split(',').next().unwrap_or("").trim().trim_matches('"');
                // An alias of Yarn 1: what is installed under that name is another package.
                let first = first.split_once("@npm:").map_or(first, |(_, real)| real);
                name = package_name(first).filter(|name| *name != "__metadata").map(str::to_owned);
            } else if let Some(field) = line.strip_prefix("  ").filter(|field| !field.starts_with(' ')) {
                let (key, value) = field.split_once([' ', ':']).unwrap_or((field, ""));
                let value = value.trim_start_matches([':', ' ']).trim().trim_matches('"');
                match key.trim_matches('"') {
                    "version" => version = Some(value.to_owned()),
                    // An alias names one package and resolves to another.
                    "resolution" if value.contains("@npm:") => name = package_name(value).map(str::to_owned),
                    "linkType" if value == "soft" => name = None,
                    _ => {}
                }
            }
        }
        done(&mut name, &mut version);
        Ok(())
    }
}

/// `name` of `name@range` and `@scope/name@range`.
fn package_name(spec: &str) -> Option<&str> {
    let at = spec.char_indices().skip(1).find(|(_, c)| *c == '@').map(|(at, _)| at);
    Some(&spec[..at.unwrap_or(spec.len())]).filter(|name| !name.is_empty())
}

impl Catalogue for Pnpm {
    fn wants(&self, path: &str, _: &[u8]) -> bool {
        name_of(path) == "pnpm-lock.yaml" && !is_vendored(path)
    }

    fn read(&self, _: &str, content: &mut dyn Source, found: &mut Found) -> Result<()> {
        let text = text(content)?;
        let wanted = pnpm_wanted(&text);
        let mut section = "";
        let mut last_is_dev = false;
        let mut current: Option<Package> = None;
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            if !line.starts_with(' ') {
                section = line.trim_end().trim_end_matches(':');
                continue;
            }
            if section != "packages" {
                continue;
            }
            if let Some(key) = line.strip_prefix("  ").filter(|key| !key.starts_with(' ')) {
                current.take().filter(|_| !last_is_dev).into_iter().for_each(|package| found.push(package));
                last_is_dev = false;
                let key = key.trim_end().trim_end_matches(':').trim_matches(['\'', '"']);
                current = pnpm_key(key).filter(|_| wanted.as_ref().is_none_or(|wanted| wanted.contains(key)));
            } else if line.trim() == "dev: true" {
                last_is_dev = true;
            }
        }
        current.filter(|_| !last_is_dev).into_iter().for_each(|package| found.push(package));
        Ok(())
    }
}

/// What `dependencies` and `optionalDependencies` of the projects lead to, as keys of `packages`; none where the file
/// marks development dependencies itself (before version 9), or has none.
fn pnpm_wanted(text: &str) -> Option<HashSet<&str>> {
    let (mut section, mut block, mut of, mut development) = ("", "", "", false);
    let mut edges: HashMap<&str, Vec<String>> = HashMap::new();
    let mut waiting: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let depth = line.len() - line.trim_start().len();
        let (key, value) = line.trim().split_once(": ").unwrap_or((line.trim().trim_end_matches(':'), ""));
        let (key, value) = (key.trim_matches(['\'', '"']), value.trim_matches(['\'', '"']));
        match (section, depth) {
            (_, 0) => section = key,
            ("importers", 4) | ("snapshots", 4) => block = key,
            ("importers", 6) => of = key,
            ("importers", 8) if key == "version" => match block {
                "dependencies" | "optionalDependencies" => waiting.push(pnpm_snapshot(of, value)),
                "devDependencies" => development = true,
                _ => {}
            },
            ("snapshots", 2) => {
                of = key;
                edges.entry(of).or_default();
            }
            ("snapshots", 6) if matches!(block, "dependencies" | "optionalDependencies") => {
                edges.entry(of).or_default().push(pnpm_snapshot(key, value));
            }
            _ => {}
        }
    }
    if !development || edges.is_empty() {
        return None;
    }
    let mut wanted = HashSet::new();
    while let Some(key) = waiting.pop() {
        if let Some((key, next)) = edges.remove_entry(key.as_str()) {
            wanted.insert(key.split('(').next().unwrap_or(key));
            waiting.extend(next);
        }
    }
    Some(wanted)
}

/// The key in `snapshots`: an alias says which package it is of.
fn pnpm_snapshot(name: &str, version: &str) -> String {
    let plain = version.split('(').next().unwrap_or(version);
    if plain.contains('@') { version.to_owned() } else { format!("{name}@{version}") }
}

/// `/name/1.0.0` (5), `/name@1.0.0(peer@2)` (6), `name@1.0.0` (9).
fn pnpm_key(key: &str) -> Option<Package> {
    let key = key.strip_prefix('/').unwrap_or(key);
    let key = key.split('(').next().filter(|key| key.len() > 2)?;
    let slash =
        key.match_indices('/').map(|(at, _)| at).find(|at| key[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
    let (name, version) = match (slash, package_name(key)) {
        (Some(at), _) if !key.get(1..at).unwrap_or("").contains('@') => (&key[..at], &key[at + 1..]),
        (_, Some(name)) if name.len() < key.len() => (name, &key[name.len() + 1..]),
        _ => return None,
    };
    let version = version.split('_').next().unwrap_or(version);
    let plain = version.starts_with(|c: char| c.is_ascii_digit());
    plain.then(|| Package::new(PackageType::Npm, name, version, Evidence::Lock))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn read(catalogue: &dyn Catalogue, text: &str) -> Vec<String> {
        let mut found = Found::default();
        catalogue.read("", &mut Cursor::new(text.to_owned()), &mut found).unwrap();
        found.packages.iter().map(|p| format!("{}@{}", p.name, p.version)).collect()
    }

    #[test]
    fn only_the_tops_of_packages_are_wanted() {
        for (path, want) in [
            ("app/node_modules/express/package.json", true),
            ("app/node_modules/@babel/core/package.json", true),
            ("node_modules/.pnpm/a@1/node_modules/a/package.json", true),
            ("app/node_modules/express/lib/package.json", false),
            ("app/package.json", false),
            ("package.json", false),
        ] {
            assert_eq!(Installed.wants(path, b"{"), want, "{path}");
        }
    }

    #[test]
    fn licences_in_all_their_forms() {
        let of = |text: &str| licenses(&serde_json::from_str(text).unwrap());
        assert_eq!(of(r#"{"license":"MIT"}"#), ["MIT"]);
        assert_eq!(of(r#"{"license":{"type":"ISC","url":"x"}}"#), ["ISC"]);
        assert_eq!(of(r#"{"licenses":[{"type":"MIT"},{"type":"Apache-2.0"}]}"#), ["MIT OR Apache-2.0"]);
        assert!(of(r#"{"license":7}"#).is_empty());
    }

    #[test]
    fn lock_files_of_each_tool() {
        let npm = r#"{"lockfileVersion":3,"packages":{"":{"name":"app"},"node_modules/a":{"version":"1.0.0"},"node_modules/a/node_modules/@s/b":{"version":"2.0.0"},"node_modules/t":{"version":"3.0.0","dev":true},"packages/x":{"version":"1"},"node_modules/x":{"link":true}}}"#;
        assert_eq!(read(&PackageLock, npm), ["a@1.0.0", "@s/b@2.0.0"]);
        let old = r#"{"lockfileVersion":1,"dependencies":{"a":{"version":"1.0.0","dependencies":{"b":{"version":"2.0.0"}}},"t":{"version":"3","dev":true}}}"#;
        assert_eq!(read(&PackageLock, old), ["a@1.0.0", "b@2.0.0"]);
        let yarn = "# yarn lockfile v1\n\n\n\"@babel/core@^7.0.0\", \"@babel/core@^7.1.0\":\n  version \"7.1.2\"\n  resolved \"https://x\"\n  dependencies:\n    version \"^1\"\n\nms@2.0.0:\n  version \"2.0.0\"\n";
        assert_eq!(read(&Yarn, yarn), ["@babel/core@7.1.2", "ms@2.0.0"]);
        let berry = "__metadata:\n  version: 8\n\n\"alias@npm:real@^1.0.0\":\n  version: 1.0.1\n  resolution: \"real@npm:1.0.1\"\n  linkType: hard\n\n\"app@workspace:.\":\n  version: 0.0.0-use.local\n  resolution: \"app@workspace:.\"\n  linkType: soft\n";
        assert_eq!(read(&Yarn, berry), ["real@1.0.1"]);
        let pnpm = "lockfileVersion: '9.0'\n\nimporters:\n\n  .:\n    dependencies:\n      a:\n        version: 1.0.0\n\npackages:\n\n  '@s/b@2.0.0':\n    resolution: {integrity: x}\n\n  a@1.0.0(peer@3.0.0):\n    resolution: {integrity: x}\n    dev: false\n\n  /t/3.0.0:\n    dev: true\n\n  /old/1.2.3_x@1:\n    dev: false\n\nsnapshots:\n\n  a@1.0.0: {}\n";
        assert_eq!(read(&Pnpm, pnpm), ["@s/b@2.0.0", "a@1.0.0", "old@1.2.3"]);
    }
}
