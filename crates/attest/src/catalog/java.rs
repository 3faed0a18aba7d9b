//! Java archives: what Maven left in them, else what the manifest or the file's name says; and archives in archives.
use super::{Catalogue, Found, Result, Source, line, name_of, zip::Zip};
use crate::package::{Evidence, Package, PackageType};
use std::collections::BTreeMap;
use std::io::Cursor;

pub(super) struct Jar;

const ENDINGS: &[&str] = &[".jar", ".war", ".ear", ".par", ".sar", ".nar", ".kar", ".jpi", ".hpi"];
const MAX_DEPTH: usize = 3;
/// The largest archive in an archive, the sum of all of them, and the largest small file.
const MAX_NESTED: u64 = 48 << 20;
const MAX_TOTAL: u64 = 1 << 30;
const MAX_TEXT: u64 = 1 << 20;

fn is_archive(name: &str) -> bool {
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

impl Catalogue for Jar {
    fn wants(&self, path: &str, head: &[u8]) -> bool {
        // An empty file is a mark of some tool; one with a script before the archive starts itself.
        is_archive(path) && !head.is_empty()
    }

    fn limit(&self) -> u64 {
        2 << 30
    }

    fn read(&self, path: &str, content: &mut dyn Source, found: &mut Found) -> Result<()> {
        let mut budget = MAX_TOTAL;
        archive(path, content, found, 0, &mut budget)
    }
}

fn archive(path: &str, content: &mut dyn Source, found: &mut Found, depth: usize, budget: &mut u64) -> Result<()> {
    let mut zip = Zip::open(content)?;
    let mut poms: Vec<BTreeMap<String, String>> = Vec::new();
    let mut manifest = BTreeMap::new();
    let mut nested = Vec::new();
    for (number, member) in zip.members.iter().enumerate() {
        if is_archive(&member.name) {
            nested.push((number, member.name.clone()));
        }
    }
    let texts: Vec<(usize, bool)> = zip
        .members
        .iter()
        .enumerate()
        .filter_map(|(number, member)| {
            let pom = member.name.starts_with("META-INF/maven/") && member.name.ends_with("/pom.properties");
            let manifest = member.name.eq_ignore_ascii_case("META-INF/MANIFEST.MF");
            (pom || manifest).then_some((number, pom))
        })
        .take(10_000)
        .collect();
    for (number, pom) in texts {
        match zip.read(number, MAX_TEXT) {
            Ok(bytes) if pom => poms.push(properties(&String::from_utf8_lossy(&bytes))),
            Ok(bytes) => manifest = main_section(&String::from_utf8_lossy(&bytes)),
            Err(error) => found.warnings.push(format!("{}: {error}", zip.members[number].name)),
        }
    }
    let stem = stem(path);
    let mut own = Vec::new();
    for pom in &poms {
        let field =
            |name: &str| pom.get(name).map(String::as_str).filter(|value| !value.is_empty() && !value.contains("${"));
        if let (Some(group), Some(artifact), Some(version)) = (field("groupId"), field("artifactId"), field("version"))
        {
            let mut package =
                Package::new(PackageType::Maven, format!("{group}:{artifact}"), version, Evidence::Installed);
            if stem.starts_with(artifact) {
                package.licenses = manifest.get("bundle-license").and_then(|l| license(l)).into_iter().collect();
                package.supplier = manifest.get("implementation-vendor").and_then(|v| line(v));
            }
            own.push(package);
        }
    }
    if own.is_empty() {
        own.extend(from_manifest(stem, &manifest));
    }
    for mut package in own {
        package.locations.push(path.to_owned());
        found.push(package);
    }
    for (number, name) in nested {
        if depth >= MAX_DEPTH {
            found.warnings.push(format!("{name}: archives are nested too deep to be read"));
            break;
        }
        let limit = MAX_NESTED.min(*budget);
        let read = zip.read(number, limit).and_then(|bytes| {
            *budget = budget.saturating_sub(bytes.len() as u64);
            archive(&format!("{path}!{name}"), &mut Cursor::new(bytes), found, depth + 1, budget)
        });
        if let Err(error) = read {
            found.warnings.push(format!("{name}: {error}"));
        }
    }
    Ok(())
}

/// The file's name without its ending.
fn stem(path: &str) -> &str {
    let name = name_of(path.rsplit('!').next().unwrap_or(path));
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// `commons-lang3-3.12.0` is `commons-lang3` of version `3.12.0`.
fn split_name(stem: &str) -> (&str, Option<&str>) {
    let dash =
        stem.match_indices('-').map(|(at, _)| at).find(|at| stem[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
    dash.map_or((stem, None), |at| (&stem[..at], Some(&stem[at + 1..])))
}

fn from_manifest(stem: &str, manifest: &BTreeMap<String, String>) -> Option<Package> {
    let field = |name: &str| {
        manifest.get(name).map(|value| value.trim()).filter(|value| !value.is_empty() && !value.contains("${"))
    };
    let (artifact, named) = split_name(stem);
    let version = named
        .or_else(|| field("implementation-version"))
        .or_else(|| field("bundle-version"))
        .or_else(|| field("specification-version"))?;
    let symbolic = field("bundle-symbolicname").map(|name| name.split(';').next().unwrap_or(name).trim());
    let group = field("implementation-vendor-id").or_else(|| {
        let symbolic = symbolic?;
        let group = symbolic.strip_suffix(artifact).and_then(|rest| rest.strip_suffix('.'));
        group.or_else(|| symbolic.contains('.').then_some(symbolic))
    });
    let group = group.filter(|group| !group.contains([' ', ':', '/']));
    let name = group.map_or_else(|| artifact.to_owned(), |group| format!("{group}:{artifact}"));
    let mut package = Package::new(PackageType::Maven, name, version.split_whitespace().next()?, Evidence::Installed);
    package.licenses = field("bundle-license").and_then(license).into_iter().collect();
    package.supplier = field("implementation-vendor").and_then(line);
    package.description = field("implementation-title").or_else(|| field("bundle-name")).and_then(line);
    Some(package)
}

/// Manifests name licences by their address.
fn license(text: &str) -> Option<String> {
    let text = text.split([',', ';']).next().unwrap_or("").trim().trim_matches('"');
    let known = [
        ("apache.org/licenses/LICENSE-2.0", "Apache-2.0"),
        ("eclipse.org/legal/epl-2.0", "EPL-2.0"),
        ("eclipse.org/legal/epl-v20", "EPL-2.0"),
        ("eclipse.org/legal/epl-v10", "EPL-1.0"),
        ("opensource.org/licenses/MIT", "MIT"),
        ("opensource.org/licenses/mit-license", "MIT"),
        ("opensource.org/licenses/BSD-3-Clause", "BSD-3-Clause"),
    ];
    match known.iter().find(|(address, _)| text.contains(address)) {
        Some((_, id)) => Some((*id).to_owned()),
        None => line(text),
    }
}

/// `key=value` lines.
fn properties(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', '!']));
    lines
        .filter_map(|line| line.split_once(['=', ':']))
        .map(|(k, v)| (k.trim().to_owned(), v.trim().to_owned()))
        .collect()
}

/// The manifest's first section, with lower-case names; a line that begins with a space continues the one before.
fn main_section(text: &str) -> BTreeMap<String, String> {
    let mut out: BTreeMap<String, String> = BTreeMap::new();
    let mut last = String::new();
    for line in text.lines().map(|line| line.trim_end_matches('\r')).take_while(|line| !line.is_empty()) {
        if let Some(more) = line.strip_prefix(' ') {
            if let Some(value) = out.get_mut(&last) {
                value.push_str(more);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            last = name.trim().to_ascii_lowercase();
            out.insert(last.clone(), value.trim_start().to_owned());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive of stored members.
    fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut out, mut directory) = (b"#!/bin/sh\n".to_vec(), Vec::new());
        let base = out.len();
        for (name, data) in members {
            let offset = (out.len() - base) as u32;
            let fields = |signature: &[u8], central: bool| {
                let mut head = signature.to_vec();
                head.extend(if central { &[20, 0, 20, 0][..] } else { &[20, 0][..] });
                head.extend([0; 12]);
                head.extend((data.len() as u32).to_le_bytes());
                head.extend((data.len() as u32).to_le_bytes());
                head.extend((name.len() as u16).to_le_bytes());
                head.extend([0; 2]);
                head
            };
            out.extend(fields(b"PK\x03\x04", false));
            out.extend(name.as_bytes());
            out.extend(*data);
            directory.extend(fields(b"PK\x01\x02", true));
            directory.extend([0; 10]);
            directory.extend(offset.to_le_bytes());
            directory.extend(name.as_bytes());
        }
        let (start, count) = ((out.len() - base) as u32, members.len() as u16);
        out.extend(&directory);
        out.extend(b"PK\x05\x06\0\0\0\0");
        out.extend(count.to_le_bytes());
        out.extend(count.to_le_bytes());
        out.extend((directory.len() as u32).to_le_bytes());
        out.extend(start.to_le_bytes());
        out.extend([0; 2]);
        out
    }

    fn names(found: &Found) -> Vec<String> {
        found.packages.iter().map(|p| format!("{} {} {}", p.name, p.version, p.locations.join(","))).collect()
    }

    #[test]
    fn archives_in_archives() {
        let lib =
            zip(&[("META-INF/maven/org.x/lib/pom.properties", b"#c\ngroupId=org.x\nartifactId=lib\nversion=1.2\n")]);
        let plain = zip(&[("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\r\nBundle-SymbolicName: org.y.pl\r\n ain;singleton\r\nBundle-License: https://www.apache.org/licenses/LICENSE-2.0.txt\r\nBundle-Version: 9\r\n\r\nName: z\r\n")]);
        let app = zip(&[
            ("META-INF/MANIFEST.MF", b"Implementation-Title: App\nImplementation-Version: 0.1\n"),
            ("BOOT-INF/lib/lib-1.2.jar", &lib),
            ("BOOT-INF/lib/plain-3.4.jar", &plain),
            ("BOOT-INF/lib/broken.jar", b"PK"),
        ]);
        let mut found = Found::default();
        Jar.read("app/app.jar", &mut Cursor::new(app), &mut found).unwrap();
        assert_eq!(
            names(&found),
            [
                "app 0.1 app/app.jar",
                "org.x:lib 1.2 app/app.jar!BOOT-INF/lib/lib-1.2.jar",
                "org.y:plain 3.4 app/app.jar!BOOT-INF/lib/plain-3.4.jar"
            ]
        );
        assert_eq!(found.packages[2].licenses, ["Apache-2.0"]);
        assert_eq!(found.warnings, ["BOOT-INF/lib/broken.jar: it is no zip archive"]);
    }

    #[test]
    fn damage_and_depth_end_in_a_warning() {
        let mut jar = zip(&[("x", b"y")]);
        for depth in 0..6 {
            jar = zip(&[(format!("{depth}.jar").as_str(), &jar)]);
        }
        let mut found = Found::default();
        Jar.read("a.jar", &mut Cursor::new(jar.clone()), &mut found).unwrap();
        assert!(found.warnings[0].contains("too deep"), "{:?}", found.warnings);
        for at in 0..jar.len() {
            let mut bad = jar.clone();
            bad[at] ^= 0xff;
            let _ = Jar.read("a.jar", &mut Cursor::new(bad), &mut Found::default());
            let _ = Jar.read("a.jar", &mut Cursor::new(jar[..at].to_vec()), &mut Found::default());
        }
    }
}
