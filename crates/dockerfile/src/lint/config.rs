//! `skip=…;error=…;experimental=…`
use super::Rule;
use crate::parse::go;
use std::collections::BTreeSet;

/// Which rules run and what their findings mean.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// No rule runs.
    pub skip_all: bool,
    /// These rules do not run.
    pub skip: BTreeSet<String>,
    /// The experimental rules run too.
    pub experimental_all: bool,
    /// These experimental rules run too.
    pub experimental: BTreeSet<String>,
    /// Findings fail the build.
    pub error: bool,
}

/// Options that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not `skip`, `error` or `experimental`, or without a value.
    #[error("invalid check option {0:?}")]
    Unknown(String),
    /// `error=` with something that is neither true nor false.
    #[error("failed to parse check option {0:?}: write error=true or error=false")]
    NotBoolean(String),
}

impl Config {
    /// Reads the options of `# check=` and `BUILDKIT_DOCKERFILE_CHECK`.
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        if text.trim().is_empty() {
            return Ok(config);
        }
        for part in text.trim().splitn(3, ';') {
            let (key, value) = part.split_once('=').ok_or_else(|| ConfigError::Unknown(part.to_owned()))?;
            let value = value.trim();
            let names = || value.split(',').map(|name| name.trim().to_owned()).collect();
            match key.trim() {
                "skip" if value == "all" => config.skip_all = true,
                "skip" => config.skip = names(),
                "experimental" if value == "all" => config.experimental_all = true,
                "experimental" => config.experimental = names(),
                "error" => {
                    config.error = go::boolean(value).ok_or_else(|| ConfigError::NotBoolean(part.to_owned()))?;
                }
                other => return Err(ConfigError::Unknown(other.to_owned())),
            }
        }
        Ok(config)
    }

    /// Both at once.
    #[must_use]
    pub fn merged(&self, other: &Config) -> Config {
        Config {
            skip_all: self.skip_all || other.skip_all,
            skip: self.skip.union(&other.skip).cloned().collect(),
            experimental_all: self.experimental_all || other.experimental_all,
            experimental: self.experimental.union(&other.experimental).cloned().collect(),
            error: self.error || other.error,
        }
    }

    /// Whether a rule runs. An experimental one is not skipped but not asked for.
    pub fn runs(&self, rule: &Rule) -> bool {
        if rule.experimental {
            self.experimental_all || self.experimental.contains(rule.name)
        } else {
            !self.skip_all && !self.skip.contains(rule.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let config = Config::parse(" skip = A, B ; error = true ; experimental=all").expect("valid");
        assert_eq!(config.skip, BTreeSet::from(["A".to_owned(), "B".to_owned()]));
        assert!(config.error && config.experimental_all && !config.skip_all);
        assert!(Config::parse("skip=all").expect("valid").skip_all);
        assert_eq!(Config::parse(""), Ok(Config::default()));
        assert_eq!(Config::parse("x"), Err(ConfigError::Unknown("x".into())));
        assert_eq!(Config::parse("x=y"), Err(ConfigError::Unknown("x".into())));
        assert_eq!(Config::parse("error=maybe"), Err(ConfigError::NotBoolean("error=maybe".into())));
    }
}
