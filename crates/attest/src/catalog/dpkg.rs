//! dpkg: the status file, distroless images' `status.d`, lists of files, copyright files.
use super::{Catalogue, Found, MAX_FILES, Note, Result, Source, line, text};
use crate::package::{Evidence, Package, PackageType, SourcePackage};
use std::collections::BTreeMap;

const PLACE: &str = "var/lib/dpkg/";

/// `var/lib/dpkg/status`
pub(super) struct Status;
/// `var/lib/dpkg/status.d/NAME`
pub(super) struct Distroless;
/// `var/lib/dpkg/info/NAME[:ARCH].list` and distroless images' `status.d/NAME.md5sums`
pub(super) struct List;
/// `usr/share/doc/NAME/copyright`
pub(super) struct Copyright;

impl Catalogue for Status {
    fn wants(&self, path: &str, _: &[u8]) -> bool {
        path == "var/lib/dpkg/status"
    }

    fn read(&self, _: &str, content: &mut dyn Source, found: &mut Found) -> Result<()> {
        packages(&text(content)?, found);
        Ok(())
    }
}

impl Catalogue for Distroless {
    fn wants(&self, path: &str, _: &[u8]) -> bool {
        path.strip_prefix("var/lib/dpkg/status.d/")
            .is_some_and(|name| !name.contains('/') && !name.ends_with(".md5sums"))
    }

    fn read(&self, path: &str, content: &mut dyn Source, found: &mut Found) -> Result<()> {
        packages(&text(content)?, found);
        for package in &mut found.packages {
            package.joins.push(format!("{path}.md5sums"));
        }
        Ok(())
    }
}

impl Catalogue for List {
    fn wants(&self, path: &str, _: &[u8]) -> bool {
        path.strip_prefix(PLACE).is_some_and(|rest| {
            (rest.starts_with("info/") && rest.ends_with(".list"))
                || (rest.starts_with("status.d/") && rest.ends_with(".md5sums"))
        })
    }

    fn read(&self, path: &str, content: &mut dyn Source, found: &mut Found) -> Result<()> {
        let sums = path.ends_with(".md5sums");
        let clean = |line: &str| {
            let path = if sums { line.split_once("  ")?.1 } else { line };
            let path = path.trim_start_matches("./").trim_start_matches('/');
            (!path.is_empty() && path != ".").then(|| path.to_owned())
        };
        let claims = text(content)?.lines().filter_map(clean).take(MAX_FILES).collect();
        found.note = Some(Note { claims, ..Note::default() });
        Ok(())
    }
}

impl Catalogue for Copyright {
    fn wants(&self, path: &str, _: &[u8]) -> bool {
        path.strip_prefix("usr/share/doc/")
            .and_then(|rest| rest.split_once('/'))
            .is_some_and(|(_, name)| name == "copyright")
    }

    fn limit(&self) -> u64 {
        16 << 20
    }

    fn read(&self, _: &str, content: &mut dyn Source, found: &mut Found) -> Result<()> {
        let licenses = licenses(&text(content)?);
        if !licenses.is_empty() {
            found.note = Some(Note { licenses, ..Note::default() });
        }
        Ok(())
    }
}

/// The fields of a stanza, with lower-case names; continuation lines are joined by newlines.
pub(super) fn stanzas(text: &str) -> impl Iterator<Item = BTreeMap<String, String>> + '_ {
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        let mut fields: BTreeMap<String, String> = BTreeMap::new();
        let mut current: Option<String> = None;
        for line in lines.by_ref() {
            if line.trim().is_empty() {
                if fields.is_empty() {
                    continue;
                }
                return Some(fields);
            }
            if line.starts_with([' ', '\t']) {
                if let Some(value) = current.as_ref().and_then(|name| fields.get_mut(name)) {
                    value.push('\n');
                    value.push_str(line.trim());
                }
            } else if let Some((name, value)) = line.split_once(':') {
                let name = name.trim().to_ascii_lowercase();
                fields.insert(name.clone(), value.trim().to_owned());
                current = Some(name);
            }
        }
        (!fields.is_empty()).then_some(fields)
    })
}

fn packages(text: &str, found: &mut Found) {
    let mut broken = 0;
    for mut fields in stanzas(text) {
        // A status file lists what was removed, too; `status.d` has no such field.
        if fields.get("status").is_some_and(|s| !s.ends_with(" installed") && !s.contains(" triggers-")) {
            continue;
        }
        let (Some(name), Some(version)) = (fields.remove("package"), fields.remove("version")) else {
            broken += 1;
            continue;
        };
        let mut package = Package::new(PackageType::Deb, name, version, Evidence::Installed);
        package.arch = fields.remove("architecture").filter(|a| !a.is_empty());
        let (source, source_version) = match fields.remove("source") {
            None => (package.name.clone(), package.version.clone()),
            Some(source) => match source.split_once(" (") {
                Some((name, version)) => (name.to_owned(), version.trim_end_matches(')').to_owned()),
                None => (source, package.version.clone()),
            },
        };
        package.source = Some(SourcePackage { name: source, version: source_version });
        package.supplier = fields.remove("maintainer").and_then(|m| line(&m));
        package.description = fields.remove("description").and_then(|d| line(&d));
        package.homepage = fields.remove("homepage").and_then(|h| line(&h));
        let info = format!("{PLACE}info/{}", package.name);
        package.joins.push(format!("{info}.list"));
        if let Some(arch) = &package.arch {
            package.joins.push(format!("{info}:{arch}.list"));
        }
        package.joins.push(format!("usr/share/doc/{}/copyright", package.name));
        found.push(package);
    }
    if broken > 0 {
        found.warnings.push(format!("{broken} of its paragraphs name no package or no version"));
    }
}

/// The licences that a copyright file names. A machine-readable one (DEP-5) has fields for them; elsewhere the common
/// licences that it refers to are all that can be said.
fn licenses(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        let name = name.trim().trim_end_matches('.');
        if !name.is_empty() && name.len() < 200 && !names.iter().any(|known| known == name) && names.len() < 200 {
            names.push(name.to_owned());
        }
    };
    let head: String = text.lines().take(8).collect::<Vec<_>>().join("\n").to_ascii_lowercase();
    if head.contains("format:") || head.contains("format-specification:") {
        for fields in stanzas(text) {
            // A paragraph without files holds the text of a licence that files name elsewhere.
            let of_files = fields.contains_key("files") || fields.contains_key("format");
            if let Some(license) = fields.get("license").filter(|_| of_files) {
                add(license.lines().next().unwrap_or(""));
            }
        }
    }
    if names.is_empty() {
        for (_, rest) in
            text.match_indices("/usr/share/common-licenses/").map(|(at, found)| text.split_at(at + found.len()))
        {
            let name: String =
                rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')).collect();
            let name = name.trim_end_matches(['.', '-']);
            if !names.iter().any(|known| known == name) && !name.is_empty() && names.len() < 50 {
                names.push(name.to_owned());
            }
        }
    }
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::super::interest;
    use super::*;
    use std::io::Cursor;

    fn read(path: &str, text: &str) -> Found {
        interest(path, text.as_bytes()).expect("wanted").read(path, &mut Cursor::new(text.as_bytes().to_vec()))
    }

    #[test]
    fn status_has_what_is_installed() {
        let found = read(
            "var/lib/dpkg/status",
            "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nMulti-Arch: same\nSource: glibc (2.36-9)\nVersion: 2.36-9+b1\nMaintainer: A <a@b>\nDescription: GNU C Library\n Long text\n .\n more\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: held\nStatus: hold ok installed\nVersion: 2\n\nStatus: install ok installed\nVersion: 3\n",
        );
        let names: Vec<&str> = found.packages.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["libc6", "held"]);
        let libc = &found.packages[0];
        assert_eq!(libc.source.as_ref().unwrap().version, "2.36-9");
        assert_eq!(libc.description.as_deref(), Some("GNU C Library"));
        assert_eq!(found.warnings, ["1 of its paragraphs name no package or no version"]);
    }

    #[test]
    fn distroless_lists_and_licences() {
        let found = read("var/lib/dpkg/status.d/base", "Package: base-files\nVersion: 12\nArchitecture: amd64\n");
        assert_eq!(found.packages[0].name, "base-files");
        let sums =
            read("var/lib/dpkg/status.d/base.md5sums", "d41d8cd98f00b204e9800998ecf8427e  ./etc/debian_version\n");
        assert_eq!(sums.note.unwrap().claims, ["etc/debian_version"]);
        let list = read("var/lib/dpkg/info/x.list", "/.\n/etc\n/etc/x\n");
        assert_eq!(list.note.unwrap().claims, ["etc", "etc/x"]);
        let dep5 = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nCopyright: me\nLicense: GPL-2+\n\nFiles: b\nLicense: Expat\n text\n\nLicense: GPL-2+\n On Debian /usr/share/common-licenses/GPL-2\n";
        assert_eq!(read("usr/share/doc/x/copyright", dep5).note.unwrap().licenses, ["Expat", "GPL-2+"]);
        let free = "see /usr/share/common-licenses/LGPL-2.1. And `/usr/share/common-licenses/GPL-2'.";
        assert_eq!(read("usr/share/doc/x/copyright", free).note.unwrap().licenses, ["GPL-2", "LGPL-2.1"]);
    }
}
