//! Python: metadata of installed distributions (PEP 376, PEP 566), their lists of files, requirements.
use super::{
    Catalogue, Found, MAX_FILES, Note, Result, Source, dir_of, is_vendored, join, line, malformed, name_of, text,
};
use crate::package::{Evidence, Package, PackageType};

/// `*.dist-info/METADATA`, `*.egg-info/PKG-INFO`, `*.egg-info`
pub(super) struct Metadata;
/// `*.dist-info/RECORD`, `*.egg-info/installed-files.txt`
pub(super) struct Record;
/// `requirements*.txt`
pub(super) struct Requirements;

impl Catalogue for Metadata {
    fn wants(&self, path: &str, _: &[u8]) -> bool {
        let dir = dir_of(path);
        match name_of(path) {
            "METADATA" => dir.ends_with(".dist-info"),
            "PKG-INFO" => dir.ends_with(".egg-info") || dir.ends_with(".egg/EGG-INFO"),
            name => name.ends_with(".egg-info"),
        }
    }

    fn limit(&self) -> u64 {
        16 << 20
    }

    fn read(&self, path: &str, content: &mut dyn Source, found: &mut Found) -> Result<()> {
        let text = text(content)?;
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in text.lines().take_while(|line| !line.trim().is_empty()) {
            match line.split_once(':') {
                Some((name, value)) if !line.starts_with([' ', '\t']) => {
                    fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
                }
                _ => {
                    if let Some((_, value)) = fields.last_mut() {
                        value.push('\n');
                        value.push_str(line.trim());
                    }
                }
            }
        }
        let all = |name: &'static str| {
            fields.iter().filter(move |(n, v)| n == name && !v.is_empty() && v != "UNKNOWN").map(|(_, v)| v.as_str())
        };
        let field = |name: &'static str| all(name).next();
        let (Some(name), Some(version)) = (field("name"), field("version")) else {
            return malformed("it names no distribution or no version");
        };
        let mut package = Package::new(PackageType::Pypi, name, version, Evidence::Installed);
        package.description = field("summary").and_then(line);
        package.homepage = field("home-page").and_then(line).or_else(|| {
            let url = all("project-url")
                .find_map(|v| v.split_once(',').filter(|(label, _)| label.eq_ignore_ascii_case("homepage")));
            url.and_then(|(_, url)| line(url))
        });
        package.supplier = ["author", "author-email", "maintainer", "maintainer-email"]
            .iter()
            .find_map(|name| field(name))
            .and_then(line);
        package.licenses = match (field("license-expression"), field("license")) {
            (Some(expression), _) => vec![expression.to_owned()],
            (None, Some(license)) if license.len() < 100 && !license.contains('\n') => vec![license.to_owned()],
            (None, text) => {
                let classes = all("classifier")
                    .filter_map(|c| c.strip_prefix("License :: "))
                    .filter_map(|c| c.rsplit(" :: ").next());
                let classes: Vec<String> = classes.filter(|c| *c != "OSI Approved").map(str::to_owned).collect();
                if classes.is_empty() { text.map(str::to_owned).into_iter().collect() } else { classes }
            }
        };
        if name_of(path) != "METADATA" && name_of(path) != "PKG-INFO" {
            package.claims.push(path.to_owned());
        } else {
            let dir = dir_of(path);
            package.joins.push(format!("{dir}/RECORD"));
            package.joins.push(format!("{dir}/installed-files.txt"));
        }
        found.push(package);
        Ok(())
    }
}

impl Catalogue for Record {
    fn wants(&self, path: &str, _: &[u8]) -> bool {
        let dir = dir_of(path);
        match name_of(path) {
            "RECORD" => dir.ends_with(".dist-info"),
            "installed-files.txt" => dir.ends_with(".egg-info"),
            _ => false,
        }
    }

    fn read(&self, path: &str, content: &mut dyn Source, found: &mut Found) -> Result<()> {
        let text = text(content)?;
        let dir = dir_of(path);
        // A wheel's list is relative to site-packages, a list of setuptools to its own directory.
        let (base, wheel) = if name_of(path) == "RECORD" { (dir_of(dir), true) } else { (dir, false) };
        let entry = |line: &str| {
            let name = match (wheel, line.strip_prefix('"')) {
                (true, Some(quoted)) => quoted.split_once("\",")?.0.replace("\"\"", "\""),
                (true, None) => line.split(',').next()?.to_owned(),
                (false, _) => line.to_owned(),
            };
            (!name.is_empty()).then(|| join(base, &name))
        };
        found.note = Some(Note { claims: text.lines().filter_map(entry).take(MAX_FILES).collect(), ..Note::default() });
        Ok(())
    }
}

impl Catalogue for Requirements {
    fn wants(&self, path: &str, _: &[u8]) -> bool {
        let name = name_of(path);
        name.starts_with("requirements") && name.ends_with(".txt") && !is_vendored(path)
    }

    fn limit(&self) -> u64 {
        4 << 20
    }

    fn read(&self, _: &str, content: &mut dyn Source, found: &mut Found) -> Result<()> {
        for line in text(content)?.lines() {
            let line = line.split([';', '#']).next().unwrap_or("").trim();
            // Only a pinned version says what would be installed.
            let Some((name, version)) = line.split_once("==") else { continue };
            let name = name.split('[').next().unwrap_or("").trim();
            let version = version.trim_start_matches('=').split([' ', ',', '\\']).next().unwrap_or("").trim();
            let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
            if is_name && !version.is_empty() && !version.contains('*') {
                found.push(Package::new(PackageType::Pypi, name, version, Evidence::Lock));
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
    fn metadata_and_files() {
        let text = "Metadata-Version: 2.1\nName: requests\nVersion: 2.28.1\nSummary: Python HTTP for Humans.\nHome-page: https://requests.readthedocs.io\nAuthor: Kenneth Reitz\nLicense: UNKNOWN\nClassifier: License :: OSI Approved :: Apache Software License\nClassifier: Programming Language :: Python\n\nLicense: of the description\n";
        let mut found = Found::default();
        let path = "usr/lib/python3/site-packages/requests-2.28.1.dist-info/METADATA";
        assert!(Metadata.wants(path, b"") && !Metadata.wants("x/METADATA", b""));
        Metadata.read(path, &mut Cursor::new(text), &mut found).unwrap();
        assert_eq!(found.packages[0].licenses, ["Apache Software License"]);
        assert_eq!(found.packages[0].joins[0], "usr/lib/python3/site-packages/requests-2.28.1.dist-info/RECORD");
        let mut found = Found::default();
        let record = "requests/__init__.py,sha256=x,1\n\"a,b.py\",,\n../../bin/x,,\n";
        Record.read("lib/p/requests-2.28.1.dist-info/RECORD", &mut Cursor::new(record), &mut found).unwrap();
        assert_eq!(found.note.unwrap().claims, ["lib/p/requests/__init__.py", "lib/p/a,b.py", "bin/x"]);
        let mut found = Found::default();
        assert!(Metadata.read(path, &mut Cursor::new("Name: x\n"), &mut found).is_err());
    }

    #[test]
    fn requirements_that_are_pinned() {
        let text = "# c\nflask==2.0.1 \\\n    --hash=sha256:x\nuvicorn[standard]==0.1 ; python_version > '3'\nrequests>=2\n-r other.txt\nx==1.*\n";
        let mut found = Found::default();
        Requirements.read("", &mut Cursor::new(text), &mut found).unwrap();
        let got: Vec<_> = found.packages.iter().map(|p| format!("{}=={}", p.name, p.version)).collect();
        assert_eq!(got, ["flask==2.0.1", "uvicorn==0.1"]);
    }
}
