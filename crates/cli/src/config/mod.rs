//! Settings: flags over environment over `cooperage.toml` over defaults, each with its origin.
//!
//! The file is the nearest `cooperage.toml` in the current directory or above it, else
//! `$XDG_CONFIG_HOME/cooperage/cooperage.toml`. Unknown keys are errors.
pub(crate) mod docker;
mod file;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::args::build::{PlaceArgs, RegistryFlags};
use crate::args::values;
use crate::env::Env;
use crate::error::{CliError, Result};

pub(crate) use file::File;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A flag of this command line.
    Flag(&'static str),
    /// A variable.
    Env(&'static str),
    /// The configuration file.
    File(PathBuf),
    /// Nobody said anything.
    Default,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Env(name) => write!(f, "{name}"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value and where it came from.
#[derive(Debug, Clone)]
pub(crate) struct Setting<T> {
    pub(crate) value: T,
    pub(crate) origin: Origin,
}

/// All settings.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) root: Setting<PathBuf>,
    pub(crate) isolation: Setting<Option<String>>,
    pub(crate) progress: Setting<String>,
    pub(crate) parallelism: Setting<usize>,
    pub(crate) host_ca: Setting<Option<PathBuf>>,
    pub(crate) http_proxy: Setting<bool>,
    /// Seconds after which builds remove what was not used.
    pub(crate) keep_duration: Setting<Option<i64>>,
    /// Bytes that builds leave of the store.
    pub(crate) max_used_space: Setting<Option<u64>>,
    /// Registry to its mirrors, in order.
    pub(crate) mirrors: Setting<BTreeMap<String, Vec<String>>>,
    pub(crate) registry_ca: Setting<Vec<PathBuf>>,
    pub(crate) insecure_registries: Setting<Vec<String>>,
    /// The private key that signs.
    pub(crate) signing_key: Setting<Option<PathBuf>>,
    /// The policy for base images.
    pub(crate) signing_policy: Setting<Option<PathBuf>>,
    /// Whether base images are held against it.
    pub(crate) verify_bases: Setting<bool>,
    /// The directory of docker's `config.json`.
    pub(crate) docker_config: Setting<Option<PathBuf>>,
    pub(crate) registry_auth_file: Setting<Option<PathBuf>>,
}

/// The progress modes.
pub(crate) const PROGRESS: &[&str] = &["auto", "plain", "tty", "quiet", "rawjson"];
/// The isolations.
pub(crate) const ISOLATIONS: &[&str] = &["auto", "namespaces", "chroot", "intercept", "plain-chroot"];

/// What flags say about settings.
#[derive(Debug, Default)]
pub(crate) struct Flags<'a> {
    pub(crate) config: Option<PathBuf>,
    pub(crate) place: Option<&'a PlaceArgs>,
    pub(crate) registries: Option<&'a RegistryFlags>,
    pub(crate) progress: Option<&'a str>,
}

impl Settings {
    /// Reads the configuration file and lays environment and flags over it.
    pub(crate) fn load(flags: &Flags<'_>, env: &Env) -> Result<Self> {
        let file = File::find(flags.config.as_deref(), env)?;
        let place = flags.place.cloned().unwrap_or_default();
        let registries = flags.registries.cloned().unwrap_or_default();
        let absolute = |path: PathBuf| env.path(path);
        Ok(Self {
            root: root(place.root, &file, env)?,
            isolation: choice(
                "isolation",
                ISOLATIONS,
                place.isolation.as_deref(),
                env.get("COOPERAGE_ISOLATION").map(|v| ("COOPERAGE_ISOLATION", v)),
                file.pick(|f| f.isolation.clone()),
            )?
            .map_or(Setting { value: None, origin: Origin::Default }, |s| Setting {
                value: Some(s.value),
                origin: s.origin,
            }),
            progress: choice(
                "progress",
                PROGRESS,
                flags.progress,
                env.get("BUILDKIT_PROGRESS").map(|v| ("BUILDKIT_PROGRESS", v)),
                file.pick(|f| f.progress.clone()),
            )?
            .unwrap_or(Setting { value: "auto".into(), origin: Origin::Default }),
            parallelism: parallelism(place.max_parallelism, &file)?,
            host_ca: match file.pick(|f| f.host_ca.clone()) {
                Some((path, origin)) => Setting { value: Some(path), origin },
                None => Setting { value: None, origin: Origin::Default },
            },
            http_proxy: match file.pick(|f| f.http_proxy) {
                Some((value, origin)) => Setting { value, origin },
                None => Setting { value: false, origin: Origin::Default },
            },
            keep_duration: limit("keep-duration", file.pick(|f| f.cache.keep_duration.clone()), values::duration)?,
            max_used_space: limit("max-used-space", file.pick(|f| f.cache.max_used_space.clone()), values::size)?,
            mirrors: mirrors(&registries.registry_mirror, &file)?,
            registry_ca: many(
                "registry-ca",
                registries.registry_ca.into_iter().map(absolute).collect(),
                file.pick(|f| f.registry.ca.clone()),
            ),
            insecure_registries: many(
                "insecure-registry",
                registries.insecure_registry,
                file.pick(|f| f.registry.insecure.clone()),
            ),
            signing_key: optional(file.pick(|f| f.signing.key.clone())),
            signing_policy: optional(file.pick(|f| f.signing.policy.clone())),
            verify_bases: match file.pick(|f| f.signing.verify_bases) {
                Some((value, origin)) => Setting { value, origin },
                None => Setting { value: false, origin: Origin::Default },
            },
            docker_config: match env.get("DOCKER_CONFIG") {
                Some(dir) => Setting { value: Some(env.path(dir)), origin: Origin::Env("DOCKER_CONFIG") },
                None => Setting { value: env.home().map(|home| home.join(".docker")), origin: Origin::Default },
            },
            registry_auth_file: match env.get("REGISTRY_AUTH_FILE") {
                Some(path) => Setting { value: Some(env.path(path)), origin: Origin::Env("REGISTRY_AUTH_FILE") },
                None => Setting { value: None, origin: Origin::Default },
            },
        })
    }

    /// Name, value and origin of every setting, for `config show`.
    pub(crate) fn rows(&self) -> Vec<(&'static str, serde_json::Value, &Origin)> {
        let path =
            |path: &Option<PathBuf>| path.as_ref().map_or(serde_json::Value::Null, |p| p.display().to_string().into());
        vec![
            ("root", self.root.value.display().to_string().into(), &self.root.origin),
            ("isolation", self.isolation.value.clone().unwrap_or_else(|| "auto".into()).into(), &self.isolation.origin),
            ("progress", self.progress.value.clone().into(), &self.progress.origin),
            ("max-parallelism", self.parallelism.value.into(), &self.parallelism.origin),
            ("host-ca", path(&self.host_ca.value), &self.host_ca.origin),
            ("http-proxy", self.http_proxy.value.into(), &self.http_proxy.origin),
            ("cache.keep-duration", self.keep_duration.value.into(), &self.keep_duration.origin),
            ("cache.max-used-space", self.max_used_space.value.into(), &self.max_used_space.origin),
            ("registry.mirrors", serde_json::to_value(&self.mirrors.value).unwrap_or_default(), &self.mirrors.origin),
            (
                "registry.ca",
                self.registry_ca.value.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().into(),
                &self.registry_ca.origin,
            ),
            ("registry.insecure", self.insecure_registries.value.clone().into(), &self.insecure_registries.origin),
            ("signing.key", path(&self.signing_key.value), &self.signing_key.origin),
            ("signing.policy", path(&self.signing_policy.value), &self.signing_policy.origin),
            ("signing.verify-bases", self.verify_bases.value.into(), &self.verify_bases.origin),
            ("docker-config", path(&self.docker_config.value), &self.docker_config.origin),
            ("registry-auth-file", path(&self.registry_auth_file.value), &self.registry_auth_file.origin),
        ]
    }
}

fn optional<T>(found: Option<(T, Origin)>) -> Setting<Option<T>> {
    match found {
        Some((value, origin)) => Setting { value: Some(value), origin },
        None => Setting { value: None, origin: Origin::Default },
    }
}

/// A limit of the store, as `cache prune` takes it.
fn limit<T>(
    name: &str,
    found: Option<(String, Origin)>,
    parse: fn(&str) -> std::result::Result<T, String>,
) -> Result<Setting<Option<T>>> {
    let Some((text, origin)) = found else { return Ok(Setting { value: None, origin: Origin::Default }) };
    match parse(&text) {
        Ok(value) => Ok(Setting { value: Some(value), origin }),
        Err(why) => Err(CliError::usage(format!("{origin}: cache.{name}: {why}"))),
    }
}

fn root(flag: Option<PathBuf>, file: &File, env: &Env) -> Result<Setting<PathBuf>> {
    if let Some(path) = flag {
        return Ok(Setting { value: env.path(path), origin: Origin::Flag("root") });
    }
    if let Some(path) = env.get("COOPERAGE_ROOT") {
        return Ok(Setting { value: env.path(path), origin: Origin::Env("COOPERAGE_ROOT") });
    }
    if let Some((value, origin)) = file.pick(|f| f.root.clone()) {
        return Ok(Setting { value, origin });
    }
    match env.xdg("XDG_DATA_HOME", ".local/share") {
        Some(data) => Ok(Setting { value: data.join("cooperage"), origin: Origin::Default }),
        None => Err(CliError::usage("there is no place for the store: HOME is not set")
            .hint("name a directory with --root DIR or COOPERAGE_ROOT")),
    }
}

fn choice(
    name: &'static str,
    known: &[&str],
    flag: Option<&str>,
    variable: Option<(&'static str, &str)>,
    file: Option<(String, Origin)>,
) -> Result<Option<Setting<String>>> {
    let (value, origin) = match (flag, variable, file) {
        (Some(value), _, _) => (value.to_owned(), Origin::Flag(name)),
        (None, Some((variable, value)), _) => (value.to_owned(), Origin::Env(variable)),
        (None, None, Some((value, origin))) => (value, origin),
        (None, None, None) => return Ok(None),
    };
    // BuildKit knows this one too.
    let value = if name == "progress" && value == "none" { "quiet".to_owned() } else { value };
    if known.contains(&value.as_str()) {
        return Ok(Some(Setting { value, origin }));
    }
    let error = CliError::usage(format!("{origin}: there is no {name} {value:?}; known are {}", known.join(", ")));
    Err(match crate::suggest::closest(&value, known.iter().copied()) {
        Some(close) => error.hint(format!("did you mean {close}?")),
        None => error,
    })
}

/// How many steps run at once where nothing else is said. BuildKit has no limit; this one only keeps a Dockerfile of
/// hundreds of stages from exhausting the machine.
const DEFAULT_PARALLELISM: usize = 16;

fn parallelism(flag: Option<usize>, file: &File) -> Result<Setting<usize>> {
    let (value, origin) = match (flag, file.pick(|f| f.max_parallelism)) {
        (Some(value), _) => (value, Origin::Flag("max-parallelism")),
        (None, Some(found)) => found,
        // Steps wait for networks and disks as often as for processors.
        (None, None) => (DEFAULT_PARALLELISM, Origin::Default),
    };
    if value == 0 {
        return Err(CliError::usage(format!("{origin}: max-parallelism must be at least 1")));
    }
    Ok(Setting { value, origin })
}

fn mirrors(flags: &[String], file: &File) -> Result<Setting<BTreeMap<String, Vec<String>>>> {
    let mut setting = match file.pick(|f| f.registry.mirrors.clone()) {
        Some((value, origin)) => Setting { value, origin },
        None => Setting { value: BTreeMap::new(), origin: Origin::Default },
    };
    let mut given: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for text in flags {
        let (registry, mirror) = text.split_once('=').unwrap_or(("docker.io", text));
        let bare = mirror.split_once("://").map_or(mirror, |(_, rest)| rest);
        if registry.is_empty() || bare.is_empty() || mirror.contains(char::is_whitespace) {
            return Err(CliError::usage(format!("--registry-mirror {text}: expected [REGISTRY=]HOST[:PORT][/PREFIX]")));
        }
        given.entry(registry.to_owned()).or_default().push(mirror.to_owned());
    }
    if !given.is_empty() {
        setting.value.extend(given);
        setting.origin = Origin::Flag("registry-mirror");
    }
    Ok(setting)
}

fn many<T>(flag: &'static str, given: Vec<T>, file: Option<(Vec<T>, Origin)>) -> Setting<Vec<T>> {
    match (given.is_empty(), file) {
        (false, _) => Setting { value: given, origin: Origin::Flag(flag) },
        (true, Some((value, origin))) => Setting { value, origin },
        (true, None) => Setting { value: Vec::new(), origin: Origin::Default },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::testing::env;

    #[test]
    fn flags_win_over_environment_over_file_over_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let sub = dir.path().join("a/b");
        std::fs::create_dir_all(&sub).unwrap();
        let path = dir.path().join("cooperage.toml");
        std::fs::write(&path, "root = 'store'\nprogress = 'plain'\nmax-parallelism = 3\n[registry]\ninsecure = ['r:1']\n[registry.mirrors]\n'docker.io' = ['m']\n").unwrap();
        let env = env(&sub, &[("HOME", "/h"), ("BUILDKIT_PROGRESS", "tty")]);
        let settings = Settings::load(&Flags::default(), &env).unwrap();
        assert_eq!(settings.root.value, dir.path().join("store"), "relative to the file");
        assert_eq!(
            (settings.progress.value.as_str(), &settings.progress.origin),
            ("tty", &Origin::Env("BUILDKIT_PROGRESS"))
        );
        assert_eq!((settings.parallelism.value, &settings.parallelism.origin), (3, &Origin::File(path)));
        assert_eq!(settings.mirrors.value["docker.io"], ["m"]);
        let place = PlaceArgs { root: Some("x".into()), ..PlaceArgs::default() };
        let registries =
            RegistryFlags { registry_mirror: vec!["ghcr.io=n".into(), "o".into()], ..RegistryFlags::default() };
        let flags = Flags { place: Some(&place), registries: Some(&registries), progress: Some("plain"), config: None };
        let settings = Settings::load(&flags, &env).unwrap();
        assert_eq!(settings.root.value, sub.join("x"));
        assert_eq!(settings.progress.value, "plain");
        assert_eq!(settings.mirrors.value["docker.io"], ["o"]);
        assert_eq!(settings.mirrors.value["ghcr.io"], ["n"]);
    }

    #[test]
    fn wrong_settings_say_where_they_stand() {
        let dir = tempfile::tempdir().unwrap();
        let load = |text: &str| {
            std::fs::write(dir.path().join("cooperage.toml"), text).unwrap();
            let error = Settings::load(&Flags::default(), &env(dir.path(), &[("HOME", "/h")])).unwrap_err();
            format!("{} {:?}", error.to_string().replace(&dir.path().display().to_string(), "DIR"), error.hints)
        };
        let errors = [
            load("progess = 'plain'"),
            load("progress = 'fancy'"),
            load("progress = 'plan'"),
            load("max-parallelism = 0"),
            load("root = 1"),
            load("["),
        ];
        insta::assert_snapshot!(errors.join("\n"), @r#"
        DIR/cooperage.toml:1:1: unknown field `progess`, expected one of `root`, `isolation`, `progress`, `max-parallelism`, `host-ca`, `http-proxy`, `cache`, `registry`, `signing` ["did you mean progress?"]
        DIR/cooperage.toml: there is no progress "fancy"; known are auto, plain, tty, quiet, rawjson []
        DIR/cooperage.toml: there is no progress "plan"; known are auto, plain, tty, quiet, rawjson ["did you mean plain?"]
        DIR/cooperage.toml: max-parallelism must be at least 1 []
        DIR/cooperage.toml:1:8: invalid type: integer `1`, expected path string []
        DIR/cooperage.toml:1:2: unquoted keys cannot be empty, expected letters, numbers, `-`, `_` []
        "#);
    }
}
