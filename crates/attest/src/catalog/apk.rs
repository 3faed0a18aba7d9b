//! apk: the database of installed packages, one letter a field (apk-tools, `apk-package(5)`).
use super::{Catalogue, Found, MAX_FILES, MAX_PATH, Result, Source, line, text};
use crate::package::{Evidence, Package, PackageType, SourcePackage};

pub(super) struct Apk;

impl Catalogue for Apk {
    fn wants(&self, path: &str, _: &[u8]) -> bool {
        matches!(path, "lib/apk/db/installed" | "usr/lib/apk/db/installed")
    }

    fn read(&self, _: &str, content: &mut dyn Source, found: &mut Found) -> Result<()> {
        let text = text(content)?;
        let mut broken = 0;
        for block in text.split("\n\n").filter(|block| !block.trim().is_empty()) {
            let mut package = Package::new(PackageType::Apk, "", "", Evidence::Installed);
            let (mut origin, mut dir) = (None, "");
            for (key, value) in block.lines().filter_map(|line| line.split_once(':')) {
                match key {
                    "P" => value.clone_into(&mut package.name),
                    "V" => value.clone_into(&mut package.version),
                    "A" => package.arch = Some(value.to_owned()),
                    "T" => package.description = line(value),
                    "U" => package.homepage = line(value),
                    "L" => package.licenses.extend(line(value)),
                    "m" => package.supplier = line(value),
                    "o" => origin = Some(value.to_owned()),
                    "F" => dir = value,
                    "R" if package.claims.len() < MAX_FILES && dir.len() + value.len() < MAX_PATH => {
                        package.claims.push(if dir.is_empty() { value.to_owned() } else { format!("{dir}/{value}") });
                    }
                    _ => {}
                }
            }
            if package.name.is_empty() || package.version.is_empty() {
                broken += 1;
                continue;
            }
            let name = origin.unwrap_or_else(|| package.name.clone());
            package.source = Some(SourcePackage { name, version: package.version.clone() });
            found.push(package);
        }
        if broken > 0 {
            found.warnings.push(format!("{broken} of its paragraphs name no package or no version"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_files() {
        let text = "C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\nS:1\nI:2\nT:the musl c library\nU:https://musl.libc.org/\nL:MIT\no:musl\nm:A <a@b>\nt:1\nc:abc\np:so:libc.musl-x86_64.so.1=1\nF:lib\nR:ld-musl-x86_64.so.1\na:0:0:755\nZ:Q1x=\nR:libc.musl-x86_64.so.1\n\nP:broken\n\n\nP:musl-utils\nV:1.2.5-r0\nA:x86_64\nL:MIT AND BSD-2-Clause AND GPL-2.0-or-later\no:musl\nF:\nR:top\n";
        let mut found = Found::default();
        Apk.read("", &mut std::io::Cursor::new(text), &mut found).unwrap();
        assert_eq!(found.packages.len(), 2);
        assert_eq!(found.packages[0].claims, ["lib/ld-musl-x86_64.so.1", "lib/libc.musl-x86_64.so.1"]);
        assert_eq!(found.packages[1].claims, ["top"]);
        assert_eq!(found.packages[1].source.as_ref().unwrap().name, "musl");
        assert_eq!(found.warnings.len(), 1);
    }
}
