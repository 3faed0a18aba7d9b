//! Platforms as far as the Dockerfile language needs them: `os[/arch[/variant]]` and the `TARGET*` and
//! `BUILD*` arguments made of them.
use std::collections::BTreeMap;

/// An operating system and a processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// Such as `linux`.
    pub os: String,
    /// Such as `amd64`.
    pub arch: String,
    /// Such as `v7`; mostly empty.
    pub variant: String,
    /// The version of the operating system; mostly empty.
    pub os_version: String,
}

const KNOWN_OS: [&str; 17] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];

const KNOWN_ARCH: [&str; 15] = [
    "386", "amd64", "amd64p32", "arm", "armbe", "arm64", "arm64be", "loong64", "mips", "mips64le", "ppc64", "ppc64le",
    "riscv64", "s390x", "wasm",
];

impl Platform {
    /// Reads `os`, `arch`, `os/arch` or `os/arch/variant`; what is missing is taken from `default`.
    pub fn parse(text: &str, default: &Platform) -> Option<Platform> {
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '(' | ')');
        let parts: Vec<&str> = text.split('/').collect();
        if parts.iter().any(|part| part.is_empty() || !part.chars().all(valid)) {
            return None;
        }
        let (os, os_version) = match parts[0].split_once('(') {
            Some((os, version)) => (os, version.strip_suffix(')')?),
            None => (parts[0], ""),
        };
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            os => os.to_owned(),
        };
        match parts.as_slice() {
            [_] if KNOWN_OS.contains(&os.as_str()) => {
                Some(Platform { os, os_version: os_version.to_owned(), ..default.clone() })
            }
            [arch] => {
                let (arch, variant) = normalize(arch, "");
                KNOWN_ARCH.contains(&arch.as_str()).then(|| Platform { arch, variant, ..default.clone() })
            }
            [_, arch, rest @ ..] if rest.len() < 2 => {
                let (arch, variant) = normalize(arch, rest.first().copied().unwrap_or_default());
                Some(Platform { os, arch, variant, os_version: os_version.to_owned() })
            }
            _ => None,
        }
    }

    /// `linux` on a processor.
    pub fn linux(arch: &str) -> Platform {
        let (arch, variant) = normalize(arch, "");
        Platform { os: "linux".to_owned(), arch, variant, os_version: String::new() }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.arch)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

/// The names that processors also go by.
fn normalize(arch: &str, variant: &str) -> (String, String) {
    let arch = arch.to_ascii_lowercase();
    let variant = variant.to_ascii_lowercase();
    let (arch, variant) = match (arch.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        (arch, variant) => (arch, variant),
    };
    (arch.to_owned(), variant.to_owned())
}

/// The arguments that every Dockerfile has before its first `ARG`: `BUILD*`, `TARGET*` and `TARGETSTAGE`,
/// each overridden by a build argument of its name; an empty one is undefined.
pub fn global_args(
    build: &Platform,
    target: &Platform,
    stage: Option<&str>,
    build_args: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut args = BTreeMap::new();
    for (prefix, platform) in [("BUILD", build), ("TARGET", target)] {
        args.insert(format!("{prefix}PLATFORM"), platform.to_string());
        args.insert(format!("{prefix}OS"), platform.os.clone());
        args.insert(format!("{prefix}OSVERSION"), platform.os_version.clone());
        args.insert(format!("{prefix}ARCH"), platform.arch.clone());
        args.insert(format!("{prefix}VARIANT"), platform.variant.clone());
    }
    args.insert("TARGETSTAGE".to_owned(), stage.filter(|s| !s.is_empty()).unwrap_or("default").to_owned());
    for (name, value) in &mut args {
        if let Some(given) = build_args.get(name) {
            value.clone_from(given);
        }
    }
    args.retain(|_, value| !value.is_empty());
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms() {
        let parse = |text| Platform::parse(text, &Platform::linux("amd64")).map(|p| p.to_string());
        assert_eq!(parse("linux/arm64/v8").as_deref(), Some("linux/arm64"));
        assert_eq!(parse("linux/arm").as_deref(), Some("linux/arm/v7"));
        assert_eq!(parse("aarch64").as_deref(), Some("linux/arm64"));
        assert_eq!(parse("windows").as_deref(), Some("windows/amd64"));
        assert_eq!(parse("macOS/x86_64").as_deref(), Some("darwin/amd64"));
        assert_eq!(parse("linux/riscv64").as_deref(), Some("linux/riscv64"));
        assert_eq!(parse("linux//x"), None);
        assert_eq!(parse("banana"), None);
        assert_eq!(parse("a/b/c/d"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn arguments() {
        let given = BTreeMap::from([("TARGETARCH".to_owned(), "x".to_owned())]);
        let args = global_args(&Platform::linux("amd64"), &Platform::linux("armhf"), None, &given);
        assert_eq!(args.get("TARGETPLATFORM").map(String::as_str), Some("linux/arm/v7"));
        assert_eq!(args.get("TARGETARCH").map(String::as_str), Some("x"));
        assert_eq!(args.get("TARGETVARIANT").map(String::as_str), Some("v7"));
        assert_eq!(args.get("BUILDVARIANT"), None);
        assert_eq!(args.get("TARGETSTAGE").map(String::as_str), Some("default"));
    }
}
