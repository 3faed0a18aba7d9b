//! Platforms: `os[/architecture[/variant]]`, with containerd's normal forms.
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// CPU architecture in Go's words: `amd64`, `arm64`, `arm`, …
    pub architecture: String,
    /// Operating system in Go's words.
    pub os: String,
    /// Windows' build number.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features that the operating system must have.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// The CPU's variant: `v7`, `v8`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// Why a text is no platform.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("invalid platform {0:?}: expected os[/architecture[/variant]], such as linux/amd64 or linux/arm/v7")]
pub struct PlatformError(pub String);

impl Platform {
    /// A platform in its normal form.
    #[must_use]
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let (architecture, variant) = normalise(architecture, variant.unwrap_or(""));
        Self {
            architecture,
            os: match os.to_ascii_lowercase().as_str() {
                "macos" => "darwin".to_owned(),
                other => other.to_owned(),
            },
            os_version: None,
            os_features: Vec::new(),
            variant: (!variant.is_empty()).then_some(variant),
        }
    }

    /// The platform that this program runs on.
    #[must_use]
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", None),
            "x86" => ("386", None),
            "arm" => ("arm", Some("v7")),
            "powerpc64" => ("ppc64le", None),
            "loongarch64" => ("loong64", None),
            other => (other, None),
        };
        Self::new("linux", architecture, variant)
    }

    /// How far an image for `offered` is from this platform: 0 the same, more for a lower variant
    /// that runs here too, `None` where it does not run.
    #[must_use]
    pub fn distance_of(&self, offered: &Self) -> Option<u32> {
        let mine = Self::new(&self.os, &self.architecture, self.variant.as_deref());
        let theirs = Self::new(&offered.os, &offered.architecture, offered.variant.as_deref());
        if mine.os != theirs.os || mine.architecture != theirs.architecture {
            return None;
        }
        if mine.variant == theirs.variant {
            return Some(0);
        }
        let level = |variant: &Option<String>, default: u32| {
            variant.as_deref().map_or(Some(default), |v| v.strip_prefix('v')?.parse::<u32>().ok())
        };
        let default = match mine.architecture.as_str() {
            "arm" => 7,
            "arm64" => 8,
            "amd64" => 1,
            _ => return theirs.variant.is_none().then_some(1),
        };
        let (have, need) = (level(&mine.variant, default)?, level(&theirs.variant, default)?);
        (need <= have).then(|| have - need + 1)
    }
}

/// containerd's `normalizeArch`.
fn normalise(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = (architecture.to_ascii_lowercase(), variant.to_ascii_lowercase());
    let pair = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1" | "") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", v) => ("amd64", v),
        ("aarch64" | "arm64", "8" | "v8" | "") => ("arm64", ""),
        ("aarch64" | "arm64", v) => ("arm64", v),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        (a, v) => (a, v),
    };
    (pair.0.to_owned(), pair.1.to_owned())
}

impl FromStr for Platform {
    type Err = PlatformError;
    /// Parses `os/arch[/variant]`; a word alone is an architecture or an operating system, as
    /// containerd's `platforms.Parse` has it.
    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let fail = || PlatformError(text.to_owned());
        let parts: Vec<&str> = text.split('/').collect();
        let fine =
            |p: &&str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        if !parts.iter().all(fine) {
            return Err(fail());
        }
        let host = Self::host();
        match parts.as_slice() {
            ["local"] => Ok(host),
            [word] => match word.to_ascii_lowercase().as_str() {
                os @ ("linux" | "windows" | "darwin" | "macos" | "freebsd" | "wasi") => {
                    Ok(Self::new(os, &host.architecture, host.variant.as_deref()))
                }
                arch @ ("386" | "i386" | "amd64" | "x86_64" | "x86-64" | "arm" | "armhf" | "armel" | "arm64"
                | "aarch64" | "ppc64le" | "s390x" | "riscv64" | "loong64" | "mips64le" | "mips64" | "wasm") => {
                    Ok(Self::new("linux", arch, None))
                }
                _ => Err(fail()),
            },
            [os, arch] => Ok(Self::new(os, arch, None)),
            [os, arch, variant] => Ok(Self::new(os, arch, Some(variant))),
            _ => Err(fail()),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |v| write!(f, "/{v}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_forms() {
        for (given, normal) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("arm64", "linux/arm64"),
            ("Linux/AMD64", "linux/amd64"),
        ] {
            assert_eq!(given.parse::<Platform>().unwrap().to_string(), normal);
        }
        for bad in ["", "linux/", "linux/amd64/v1/x", "nonsense", "linux/am d64"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }
}
