//! OSV's names for the worlds of packages: `Debian:12`, `Ubuntu:22.04:LTS`, `Alpine:v3.20`, `PyPI`.
//!
//! A name is the world's, and for distributions a release behind a colon. Which release an image is of stands in its
//! `os-release`.
use crate::version::Order;
use attest::package::{OsRelease, PackageType};

/// The worlds of which packages are found in images: (OSV's name, order, ids in os-release).
const KNOWN: &[(&str, Order, &[&str])] = &[
    ("AlmaLinux", Order::Rpm, &["almalinux"]),
    ("Alpine", Order::Apk, &["alpine"]),
    ("Azure Linux", Order::Rpm, &["azurelinux", "mariner"]),
    ("Chainguard", Order::Apk, &["chainguard"]),
    ("Debian", Order::Deb, &["debian"]),
    ("Go", Order::Semver, &[]),
    ("Mageia", Order::Rpm, &["mageia"]),
    ("Maven", Order::Maven, &[]),
    ("Photon OS", Order::Rpm, &["photon"]),
    ("PyPI", Order::Pep440, &[]),
    ("Red Hat", Order::Rpm, &["rhel"]),
    ("Rocky Linux", Order::Rpm, &["rocky"]),
    ("RubyGems", Order::Gem, &[]),
    ("SUSE", Order::Rpm, &["sles"]),
    ("Ubuntu", Order::Deb, &["ubuntu"]),
    ("Wolfi", Order::Apk, &["wolfi"]),
    ("crates.io", Order::Semver, &[]),
    ("npm", Order::Semver, &[]),
    ("openSUSE", Order::Rpm, &["opensuse-leap", "opensuse-tumbleweed"]),
];

/// What a database is built of where nothing else is asked for.
pub const DEFAULT: [&str; 8] = ["Debian", "Alpine", "npm", "PyPI", "crates.io", "Go", "Maven", "RubyGems"];

/// All worlds of which packages are found in images, by OSV's names.
pub fn known() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|(name, ..)| *name)
}

/// A name's world and release: `Debian:12` is `Debian` and `12`.
#[must_use]
pub fn split(ecosystem: &str) -> (&str, &str) {
    ecosystem.split_once(':').unwrap_or((ecosystem, ""))
}

/// The order of a world's versions; none where no package of it is found in images.
#[must_use]
pub fn order(base: &str) -> Option<Order> {
    KNOWN.iter().find(|(name, ..)| *name == base).map(|(_, order, _)| *order)
}

/// A name in the form in which names are compared.
#[must_use]
pub fn normalize(base: &str, name: &str) -> String {
    match base {
        // PEP 503: runs of `-`, `_` and `.` are one `-`, letters are small.
        "PyPI" => {
            let mut out = String::with_capacity(name.len());
            for c in name.trim().chars() {
                match c {
                    '-' | '_' | '.' if out.ends_with('-') => {}
                    '-' | '_' | '.' => out.push('-'),
                    c => out.extend(c.to_lowercase()),
                }
            }
            out
        }
        _ => name.trim().to_owned(),
    }
}

/// The world of a package, which for those of a distribution is the distribution's.
#[must_use]
pub fn of(kind: PackageType, os: Option<&OsRelease>) -> Option<&'static str> {
    let distribution = |order: Order| {
        let id = os?.id.to_lowercase();
        KNOWN.iter().find(|(_, o, ids)| *o == order && ids.contains(&id.as_str())).map(|(name, ..)| *name)
    };
    match kind {
        PackageType::Apk => distribution(Order::Apk),
        PackageType::Deb => distribution(Order::Deb),
        PackageType::Rpm => distribution(Order::Rpm),
        PackageType::Cargo => Some("crates.io"),
        PackageType::Gem => Some("RubyGems"),
        PackageType::Golang => Some("Go"),
        PackageType::Maven => Some("Maven"),
        PackageType::Npm => Some("npm"),
        PackageType::Pypi => Some("PyPI"),
    }
}

/// Which releases of a world an image is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    /// The world has no releases.
    None,
    /// This one, and records that name none; `also` is what may stand behind it.
    Is {
        /// As OSV writes it.
        name: String,
        /// What may follow, such as `:LTS`.
        also: Option<&'static str>,
    },
    /// All that begin with this, and have `:`, `.` or nothing there.
    Begins(String),
    /// All that end with this.
    Ends(String),
    /// It cannot be told.
    Unknown,
}

impl Release {
    /// Whether records for a release are for this one.
    #[must_use]
    pub fn matches(&self, release: &str) -> bool {
        match self {
            Self::None => true,
            _ if release.is_empty() => true,
            Self::Is { name, also } => {
                release.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || Some(rest) == *also)
            }
            Self::Begins(start) => {
                release.strip_prefix(start.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '.']))
            }
            Self::Ends(end) => release.ends_with(end.as_str()),
            Self::Unknown => false,
        }
    }

    /// The release of an image.
    #[must_use]
    pub fn of(base: &str, os: Option<&OsRelease>) -> Self {
        let version = os.and_then(|os| os.version.as_deref()).unwrap_or_default();
        let major = version.split('.').next().unwrap_or_default();
        let is = |name: String| Self::Is { name, also: None };
        match base {
            "Debian" => match (major, os.and_then(|os| os.codename.as_deref())) {
                ("", Some(codename)) => {
                    let codenames = [("bullseye", 11), ("bookworm", 12), ("trixie", 13), ("forky", 14), ("duke", 15)];
                    let number = codenames.iter().find(|(name, _)| *name == codename);
                    number.map_or(Self::Unknown, |(_, number)| is(number.to_string()))
                }
                ("", None) => Self::Unknown,
                _ => is(major.to_owned()),
            },
            "Ubuntu" if !version.is_empty() => Self::Is { name: version.to_owned(), also: Some(":LTS") },
            "Alpine" => {
                let mut parts = version.split('.');
                match (parts.next(), parts.next()) {
                    // `3.21_alpha20240807` is edge, on the way to 3.21.
                    (Some(major), Some(minor)) if !minor.contains('_') && !major.is_empty() => {
                        is(format!("v{major}.{minor}"))
                    }
                    _ => Self::Unknown,
                }
            }
            "AlmaLinux" | "Rocky Linux" | "Azure Linux" | "Mageia" if !major.is_empty() => is(major.to_owned()),
            "Photon OS" if !version.is_empty() => is(version.to_owned()),
            "Red Hat" if !major.is_empty() => Self::Begins(format!("enterprise_linux:{major}")),
            "SUSE" if !version.is_empty() => Self::Ends(match version.split_once('.') {
                Some((major, pack)) => format!(" {major} SP{pack}"),
                None => format!(" {version}"),
            }),
            "openSUSE" => match os.map(|os| os.id.as_str()) {
                Some("opensuse-tumbleweed") => is("Tumbleweed".to_owned()),
                _ if !version.is_empty() => is(format!("Leap {version}")),
                _ => Self::Unknown,
            },
            "Ubuntu" | "AlmaLinux" | "Rocky Linux" | "Azure Linux" | "Mageia" | "Photon OS" | "Red Hat" | "SUSE" => {
                Self::Unknown
            }
            _ => Self::None,
        }
    }

    /// The world's name with the release, as OSV writes it.
    #[must_use]
    pub fn name(&self, base: &str) -> String {
        match self {
            Self::Is { name, .. } | Self::Begins(name) => format!("{base}:{name}"),
            Self::Ends(name) => format!("{base}:{}", name.trim()),
            Self::None | Self::Unknown => base.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_images() {
        // ID, VERSION_ID, codename; records that are for it, and that are not.
        type Case<'a> = (&'a str, &'a str, &'a str, &'a [&'a str], &'a [&'a str]);
        let cases: &[Case<'_>] = &[
            ("debian", "12", "bookworm", &["Debian:12", "Debian"], &["Debian:11", "Debian:1", "Debian:120"]),
            ("debian", "", "trixie", &["Debian:13"], &["Debian:12"]),
            ("debian", "", "sid", &["Debian"], &["Debian:13"]),
            ("ubuntu", "22.04", "jammy", &["Ubuntu:22.04:LTS"], &["Ubuntu:Pro:22.04:LTS", "Ubuntu:24.04:LTS"]),
            ("ubuntu", "23.10", "", &["Ubuntu:23.10"], &["Ubuntu:23.1"]),
            ("alpine", "3.20.3", "", &["Alpine:v3.20"], &["Alpine:v3.2", "Alpine:v3.21"]),
            ("alpine", "3.23_alpha20250612", "", &[], &["Alpine:v3.23"]),
            ("almalinux", "9.4", "", &["AlmaLinux:9"], &["AlmaLinux:8"]),
            ("rhel", "9.4", "", &["Red Hat:enterprise_linux:9::baseos"], &["Red Hat:enterprise_linux:8::baseos"]),
            ("sles", "15.5", "", &["SUSE:Linux Enterprise Server 15 SP5"], &["SUSE:Linux Enterprise Server 15 SP4"]),
            ("opensuse-leap", "15.6", "", &["openSUSE:Leap 15.6"], &["openSUSE:Tumbleweed"]),
            ("wolfi", "20230201", "", &["Wolfi"], &[]),
        ];
        for (id, version, codename, yes, no) in cases {
            let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            let os = OsRelease { version: text(version), codename: text(codename), ..OsRelease::default() };
            let os = OsRelease { id: (*id).to_owned(), ..os };
            let base = [PackageType::Deb, PackageType::Apk, PackageType::Rpm].iter().find_map(|k| of(*k, Some(&os)));
            let base = base.expect("a distribution that is known");
            let release = Release::of(base, Some(&os));
            for name in *yes {
                assert!(split(name).0 == base && release.matches(split(name).1), "{id} {version}: {name}");
            }
            for name in *no {
                assert!(!release.matches(split(name).1), "{id} {version}: {name}");
            }
        }
    }

    #[test]
    fn names_of_python() {
        assert_eq!(normalize("PyPI", "Foo__Bar.-baz"), "foo-bar-baz");
        assert_eq!(normalize("npm", "@Scope/Name_x"), "@Scope/Name_x");
    }
}
