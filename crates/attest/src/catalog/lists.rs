//! Lock files in TOML with `[[package]]` tables: Cargo's, Poetry's, uv's.
use super::{Catalogue, Found, Result, Source, is_vendored, malformed, name_of, text};
use crate::package::{Evidence, Package, PackageType};
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
        for entry in packages {
            let field = |name: &str| entry.get(name).and_then(Value::as_str);
            let (Some(name), Some(version)) = (field("name"), field("version")) else { continue };
            // Poetry's development dependencies, in its older and its newer form; and what a uv lock file is of.
            let groups = entry.get("groups").and_then(Value::as_array);
            let is_dev = field("category") == Some("dev")
                || groups.is_some_and(|g| !g.iter().any(|g| g.as_str() == Some("main")));
            let own = entry
                .get("source")
                .and_then(Value::as_table)
                .is_some_and(|s| s.contains_key("virtual") || s.contains_key("editable"));
            if !is_dev && !own {
                found.push(Package::new(kind, name, version, Evidence::Lock));
            }
        }
        Ok(())
    }
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
