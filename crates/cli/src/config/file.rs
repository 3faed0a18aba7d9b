//! `cooperage.toml`.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Origin;
use crate::env::Env;
use crate::error::{CliError, Result};

/// The name of the file.
const NAME: &str = "cooperage.toml";

/// What the file holds.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Content {
    pub(crate) root: Option<PathBuf>,
    pub(crate) isolation: Option<String>,
    pub(crate) progress: Option<String>,
    pub(crate) max_parallelism: Option<usize>,
    pub(crate) host_ca: Option<PathBuf>,
    pub(crate) http_proxy: Option<bool>,
    #[serde(default)]
    pub(crate) cache: Cache,
    #[serde(default)]
    pub(crate) registry: Registry,
    #[serde(default)]
    pub(crate) signing: Signing,
}

/// `[cache]`: what builds leave of the store.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Cache {
    /// What was not used for this long goes: `14d`.
    pub(crate) keep_duration: Option<String>,
    /// The least recently used goes until the store is no larger: `20gb`.
    pub(crate) max_used_space: Option<String>,
}

/// `[signing]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Signing {
    /// The private key that `sign`, `attest` and `build --sign` use, or `keyless`.
    pub(crate) key: Option<PathBuf>,
    /// The policy that base images are held against.
    pub(crate) policy: Option<PathBuf>,
    /// Whether every build does so.
    pub(crate) verify_bases: Option<bool>,
}

/// `[registry]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Registry {
    pub(crate) mirrors: Option<BTreeMap<String, Vec<String>>>,
    pub(crate) ca: Option<Vec<PathBuf>>,
    pub(crate) insecure: Option<Vec<String>>,
}

/// The file that was found; its paths are absolute.
#[derive(Debug, Default)]
pub(crate) struct File {
    pub(crate) path: Option<PathBuf>,
    content: Content,
}

impl File {
    /// The file that is named, else the nearest one, else the user's, else an empty one.
    pub(crate) fn find(named: Option<&Path>, env: &Env) -> Result<Self> {
        let path = match named.map(PathBuf::from).or_else(|| env.get("COOPERAGE_CONFIG").map(PathBuf::from)) {
            Some(path) => Some(env.path(path)),
            None => env
                .cwd
                .ancestors()
                .map(|dir| dir.join(NAME))
                .chain(env.xdg("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("cooperage").join(NAME)))
                .find(|path| path.is_file()),
        };
        match path {
            Some(path) => Self::read(path),
            None => Ok(Self::default()),
        }
    }

    fn read(path: PathBuf) -> Result<Self> {
        let text = std::fs::read_to_string(&path).map_err(|e| {
            let mut error = CliError::io("read the configuration", &path, &e);
            error.kind = crate::error::ErrorKind::Usage;
            error
        })?;
        let mut content: Content = toml::from_str(&text).map_err(|e| {
            let place = e.span().map(|span| dockerfile::LineIndex::new(&text).locate(span.start));
            let place = place.map(|at| format!(":{}:{}", at.line, at.column)).unwrap_or_default();
            let message = e.message().replace('\n', ", ");
            let error = CliError::usage(format!("{}{place}: {message}", path.display()));
            match unknown_field(&message) {
                Some((wrong, known)) => match crate::suggest::closest(wrong, known.iter().map(String::as_str)) {
                    Some(close) => error.hint(format!("did you mean {close}?")),
                    None => error,
                },
                None => error,
            }
        })?;
        let base = path.parent().unwrap_or(Path::new("/")).to_owned();
        let absolute = |path: &mut PathBuf| *path = base.join(&*path);
        content.root.iter_mut().for_each(absolute);
        content.host_ca.iter_mut().for_each(absolute);
        let key = content.signing.key.iter_mut().filter(|key| key.as_os_str() != crate::signing::cosign::KEYLESS);
        key.chain(&mut content.signing.policy).for_each(absolute);
        content.registry.ca.iter_mut().flatten().for_each(absolute);
        Ok(Self { path: Some(path), content })
    }

    /// A value and its origin.
    pub(crate) fn pick<T>(&self, get: impl Fn(&Content) -> Option<T>) -> Option<(T, Origin)> {
        let path = self.path.clone()?;
        get(&self.content).map(|value| (value, Origin::File(path)))
    }
}

/// "unknown field `a`, expected one of `b`, `c`": the field and what is known.
fn unknown_field(message: &str) -> Option<(&str, Vec<String>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (wrong, rest) = rest.split_once('`')?;
    let known = rest.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some((wrong, known))
}
