//! One package, whatever brought it: the form that every catalogue gives and every document is written from.
use serde::Serialize;

/// The package manager's world that a package belongs to. The names are the types of package URLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PackageType {
    /// Alpine's packages.
    Apk,
    /// Rust's crates.
    Cargo,
    /// Debian's packages, and those of its descendants.
    Deb,
    /// Ruby's gems.
    Gem,
    /// Go's modules.
    Golang,
    /// Java's artifacts.
    Maven,
    /// Node's packages.
    Npm,
    /// Python's distributions.
    Pypi,
    /// RPM packages.
    Rpm,
}

impl PackageType {
    /// The type as package URLs spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apk => "apk",
            Self::Cargo => "cargo",
            Self::Deb => "deb",
            Self::Gem => "gem",
            Self::Golang => "golang",
            Self::Maven => "maven",
            Self::Npm => "npm",
            Self::Pypi => "pypi",
            Self::Rpm => "rpm",
        }
    }

    /// Whether the distribution's package manager installs it: such a package may own files of the others.
    #[must_use]
    pub fn is_system(self) -> bool {
        matches!(self, Self::Apk | Self::Deb | Self::Rpm)
    }
}

/// What says that a package is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// The package manager's record of what it installed, or the package's own metadata where it lies.
    Installed,
    /// What the compiler or linker wrote into a program.
    Binary,
    /// A lock file: what was to be installed.
    Lock,
}

/// The source package that a binary package was built from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SourcePackage {
    /// Its name.
    pub name: String,
    /// Its version; the binary package's where the record says nothing else.
    pub version: String,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Package {
    /// Its world.
    #[serde(rename = "type")]
    pub kind: PackageType,
    /// Its name as its package manager spells it: `@scope/name` for npm, the module path for Go, `group:artifact` for
    /// Maven.
    pub name: String,
    /// Its version, with epoch and release where there are such; empty where nothing says it.
    pub version: String,
    /// The architecture that it is built for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// What it was built from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourcePackage>,
    /// Licences as the package states them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub licenses: Vec<String>,
    /// Who supplies it: `Name <address>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supplier: Option<String>,
    /// One line about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its home page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
    /// What says that it is there.
    pub evidence: Evidence,
    /// The files that say so: paths in the image, without the leading slash; for archives in archives `a.jar!b.jar`.
    pub locations: Vec<String>,
    /// The files that belong to it, as its record names them, relative to the root.
    #[serde(skip)]
    pub(crate) claims: Vec<String>,
    /// Files where more of it may stand; links in these paths are followed.
    #[serde(skip)]
    pub(crate) joins: Vec<String>,
}

impl Package {
    /// A package of which only this is known.
    #[must_use]
    pub fn new(kind: PackageType, name: impl Into<String>, version: impl Into<String>, evidence: Evidence) -> Self {
        Self {
            kind,
            name: name.into(),
            version: version.into(),
            arch: None,
            source: None,
            licenses: Vec::new(),
            supplier: None,
            description: None,
            homepage: None,
            evidence,
            locations: Vec::new(),
            claims: Vec::new(),
            joins: Vec::new(),
        }
    }

    /// What makes two records the same package.
    pub(crate) fn identity(&self) -> (PackageType, &str, &str, Option<&str>) {
        (self.kind, &self.name, &self.version, self.arch.as_deref())
    }
}

/// What `/etc/os-release` says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct OsRelease {
    /// `ID`, such as `debian`.
    pub id: String,
    /// `VERSION_ID`, such as `12`; a rolling distribution has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `VERSION_CODENAME`, such as `bookworm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codename: Option<String>,
    /// `PRETTY_NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `ID_LIKE`: distributions that it descends from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub like: Vec<String>,
}
