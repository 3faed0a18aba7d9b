//! Lock files in TOML with `[[package]]` tables: Cargo's, Poetry's, uv's.
use super::{Catalogue, Found, Result, Source, is_vendored, malformed, name_of, text};
use crate::package::{Evidence, Package, PackageType};
use std::collections::{HashMap, HashSet};
use toml::Value;

/// `Cargo.lock`, `poetry.lock`, `uv.lock`
pub(super) struct Toml;

fn kind(path: &str) -> Option<PackageType> {
    match name_of(path) {
        "Cargo.lock" => Some(PackageType::Cargo),
        "poetry.lock" | "uv.lock" => Some(PackageType::Pypi),
        _ => None,
    }
}

impl Catalogue for Toml {
    fn wants(&self, path: &str, _: &[u8]) -> bool {
        kind(path).is_some() && !is_vendored(path)
    }

    fn limit(&self) -> u64 {
        8 << 20
    }

    fn read(&self, path: &str, content: &mut dyn Source, found: &mut Found) -> Result<()> {
        let Some(kind) = kind(path) else { return Ok(()) };
        let table: toml::Table = match text(content)?.parse() {
            Ok(table) => table,
            Err(error) => return malformed(format!("it is no TOML: {}", error.message())),
        };
        let packages = table.get("package").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let wanted = wanted(packages);
        for entry in packages {
            let field = |name: &str| entry.get(name).and_then(Value::as_str);
            let (Some(name), Some(version)) = (field("name"), field("version")) else { continue };
            // Poetry's development dependencies, in its older and its newer form; and what a uv lock file is of.
            let groups = entry.get("groups").and_then(Value::as_array);
            let is_dev = field("category") == Some("dev")
                || groups.is_some_and(|g| !g.iter().any(|g| g.as_str() == Some("main")));
            let is_dev = is_dev || wanted.as_ref().is_some_and(|wanted| !wanted.contains(name));
            if !is_dev && !is_own(entry) {
                found.push(Package::new(kind, name, version, Evidence::Lock));
            }
        }
        Ok(())
    }
}

/// Whether an entry of a uv lock file is a project that it is of.
fn is_own(entry: &Value) -> bool {
    let source = entry.get("source").and_then(Value::as_table);
    source.is_some_and(|source| source.contains_key("virtual") || source.contains_key("editable"))
}

/// What the dependencies of uv's projects lead to, extras included; none where there are no development dependencies
/// that are to be told from them.
fn wanted(packages: &[Value]) -> Option<HashSet<&str>> {
    let is_dev = |entry: &Value| is_own(entry) && entry.get("dev-dependencies").is_some();
    if !packages.iter().any(is_dev) {
        return None;
    }
    let names = |list: &'_ Value| -> Vec<String> {
        let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(|one| one.get("name")?.as_str().map(str::to_owned)).collect()
    };
    let mut edges: HashMap<&str, Vec<String>> = HashMap::new();
    let mut waiting = Vec::new();
    for entry in packages {
        let Some(name) = entry.get("name").and_then(Value::as_str) else { continue };
        let extras = entry.get("optional-dependencies").and_then(Value::as_table);
        let lists = entry.get("dependencies").into_iter().chain(extras.into_iter().flat_map(|extras| extras.values()));
        let next = edges.entry(name).or_default();
        next.extend(lists.flat_map(names));
        if is_own(entry) {
            waiting.push(name.to_owned());
        }
    }
    let mut wanted = HashSet::new();
    while let Some(name) = waiting.pop() {
        if let Some((name, next)) = edges.remove_entry(name.as_str()) {
            wanted.insert(name);
            waiting.extend(next);
        }
    }
    Some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn the_three_lock_files() {
        let read = |path: &str, text: &str| {
            let mut found = Found::default();
            Toml.read(path, &mut Cursor::new(text.to_owned()), &mut found).unwrap();
            found.packages.iter().map(|p| format!("{}@{}", p.name, p.version)).collect::<Vec<_>>()
        };
        let cargo = "version = 4\n\n[[package]]\nname = \"serde\"\nversion = \"1.0.1\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
        assert_eq!(read("a/Cargo.lock", cargo), ["serde@1.0.1"]);
        let poetry = "[[package]]\nname = \"a\"\nversion = \"1\"\ngroups = [\"main\"]\n[[package]]\nname = \"t\"\nversion = \"1\"\ngroups = [\"dev\"]\n[[package]]\nname = \"u\"\nversion = \"1\"\ncategory = \"dev\"\n";
        assert_eq!(read("poetry.lock", poetry), ["a@1"]);
        let uv = "version = 1\n[[package]]\nname = \"app\"\nversion = \"0.1\"\nsource = { virtual = \".\" }\n[[package]]\nname = \"b\"\nversion = \"2\"\nsource = { registry = \"https://pypi.org/simple\" }\n";
        assert_eq!(read("uv.lock", uv), ["b@2"]);
        let error = Toml.read("uv.lock", &mut Cursor::new("= ="), &mut Found::default()).unwrap_err().to_string();
        assert!(error.starts_with("it is no TOML"), "{error}");
    }
}
