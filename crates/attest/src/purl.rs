//! Package URLs (purl-spec 1.0): `pkg:TYPE/NAMESPACE/NAME@VERSION?QUALIFIERS`.
//!
//! Qualifiers are in the order of their names. A colon is never encoded, everything but letters, digits, `.`, `-`, `_`
//! and `~` is. As other tools do, Go's module paths keep their case.
use crate::package::{OsRelease, Package, PackageType};

/// The package URL of a package in an image of this distribution.
#[must_use]
pub fn purl(package: &Package, os: Option<&OsRelease>) -> String {
    let kind = package.kind;
    let (namespace, name) = split(package, os);
    let mut out = format!("pkg:{}", kind.as_str());
    for part in namespace.split('/').chain([name.as_str()]).filter(|part| !part.is_empty()) {
        out.push('/');
        encode(part, &mut out);
    }
    let (epoch, version) = match kind {
        PackageType::Rpm => package.version.split_once(':').map_or(("", package.version.as_str()), |(e, v)| (e, v)),
        _ => ("", package.version.as_str()),
    };
    if !version.is_empty() && version != "(devel)" {
        out.push('@');
        encode(version, &mut out);
    }
    let mut qualifiers: Vec<(&str, String)> = Vec::new();
    if let Some(arch) = &package.arch {
        let name = if kind == PackageType::Gem { "platform" } else { "arch" };
        qualifiers.push((name, arch.clone()));
    }
    if kind.is_system() {
        if let Some(os) = os.filter(|os| !os.id.is_empty()) {
            let version = os.version.as_ref().or(os.codename.as_ref());
            qualifiers.push(("distro", version.map_or_else(|| os.id.clone(), |v| format!("{}-{v}", os.id))));
        }
        if !epoch.is_empty() {
            qualifiers.push(("epoch", epoch.to_owned()));
        }
        if let Some(source) = package.source.as_ref().filter(|s| s.name != package.name || s.version != package.version)
        {
            let upstream = match kind {
                PackageType::Deb if source.version != package.version => format!("{}@{}", source.name, source.version),
                _ => source.name.clone(),
            };
            qualifiers.push(("upstream", upstream));
        }
    }
    for (number, (name, value)) in qualifiers.iter().enumerate() {
        out.push(if number == 0 { '?' } else { '&' });
        out.push_str(name);
        out.push('=');
        encode(value, &mut out);
    }
    out
}

/// Namespace and name.
fn split(package: &Package, os: Option<&OsRelease>) -> (String, String) {
    let name = package.name.as_str();
    let distribution = |default: &str| {
        os.map(|os| os.id.to_lowercase()).filter(|id| !id.is_empty()).unwrap_or_else(|| default.to_owned())
    };
    match package.kind {
        PackageType::Deb => (distribution("debian"), name.to_lowercase()),
        PackageType::Apk => (distribution("alpine"), name.to_lowercase()),
        PackageType::Rpm => (os.map(|os| os.id.to_lowercase()).unwrap_or_default(), name.to_owned()),
        PackageType::Npm => match name.split_once('/') {
            Some((scope, name)) if scope.starts_with('@') => (scope.to_owned(), name.to_owned()),
            _ => (String::new(), name.to_owned()),
        },
        PackageType::Pypi => (String::new(), name.to_lowercase().replace('_', "-")),
        PackageType::Golang => match name.rsplit_once('/') {
            Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
            None => (String::new(), name.to_owned()),
        },
        PackageType::Maven => match name.split_once(':') {
            Some((group, artifact)) => (group.to_owned(), artifact.to_owned()),
            None => (String::new(), name.to_owned()),
        },
        PackageType::Cargo | PackageType::Gem => (String::new(), name.to_owned()),
    }
}

pub(crate) fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~' | b':') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::{Evidence, SourcePackage};

    #[test]
    fn each_type_as_the_specification_has_it() {
        let debian = OsRelease { id: "debian".into(), version: Some("12".into()), ..OsRelease::default() };
        let fedora = OsRelease { id: "fedora".into(), version: Some("40".into()), ..OsRelease::default() };
        let cases: &[(PackageType, &str, &str, &str)] = &[
            (
                PackageType::Deb,
                "libstdc++6",
                "1:12.2.0-14+deb12u1",
                "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bdeb12u1?distro=debian-12",
            ),
            (PackageType::Npm, "@babel/core", "7.0.0", "pkg:npm/%40babel/core@7.0.0"),
            (PackageType::Pypi, "Typing_Extensions", "4.1", "pkg:pypi/typing-extensions@4.1"),
            (
                PackageType::Golang,
                "github.com/BurntSushi/toml",
                "v1.2.3+incompatible",
                "pkg:golang/github.com/BurntSushi/toml@v1.2.3%2Bincompatible",
            ),
            (PackageType::Golang, "example.com/me", "(devel)", "pkg:golang/example.com/me"),
            (
                PackageType::Maven,
                "org.apache.commons:commons-lang3",
                "3.1",
                "pkg:maven/org.apache.commons/commons-lang3@3.1",
            ),
            (PackageType::Cargo, "serde", "1.0.0", "pkg:cargo/serde@1.0.0"),
        ];
        for (kind, name, version, want) in cases {
            let package = Package::new(*kind, *name, *version, Evidence::Installed);
            assert_eq!(purl(&package, Some(&debian)), *want);
        }
        let mut bash = Package::new(PackageType::Rpm, "bash", "1:5.2-1.fc40", Evidence::Installed);
        bash.arch = Some("x86_64".into());
        assert_eq!(purl(&bash, Some(&fedora)), "pkg:rpm/fedora/bash@5.2-1.fc40?arch=x86_64&distro=fedora-40&epoch=1");
        let mut libc = Package::new(PackageType::Deb, "libc6", "2.36-9+b1", Evidence::Installed);
        libc.arch = Some("amd64".into());
        libc.source = Some(SourcePackage { name: "glibc".into(), version: "2.36-9".into() });
        assert_eq!(
            purl(&libc, Some(&debian)),
            "pkg:deb/debian/libc6@2.36-9%2Bb1?arch=amd64&distro=debian-12&upstream=glibc%402.36-9"
        );
        let mut gem = Package::new(PackageType::Gem, "nokogiri", "1.16", Evidence::Installed);
        gem.arch = Some("x86_64-linux".into());
        assert_eq!(purl(&gem, None), "pkg:gem/nokogiri@1.16?platform=x86_64-linux");
    }
}
