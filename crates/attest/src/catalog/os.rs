//! `/etc/os-release`, which says what distribution this is.
use super::{Catalogue, Found, Result, Source, text};
use crate::package::OsRelease;

pub(super) struct Os;

impl Catalogue for Os {
    fn wants(&self, path: &str, _: &[u8]) -> bool {
        matches!(path, "etc/os-release" | "usr/lib/os-release")
    }

    fn limit(&self) -> u64 {
        1 << 20
    }

    fn read(&self, _: &str, content: &mut dyn Source, found: &mut Found) -> Result<()> {
        let text = text(content)?;
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?;
            let value = line.trim().trim_matches(['"', '\'']).to_owned();
            (!value.is_empty()).then_some(value)
        };
        found.os = Some(OsRelease {
            id: value("ID").unwrap_or_else(|| "linux".to_owned()),
            version: value("VERSION_ID"),
            codename: value("VERSION_CODENAME"),
            name: value("PRETTY_NAME"),
            like: value("ID_LIKE").map(|v| v.split_whitespace().map(str::to_owned).collect()).unwrap_or_default(),
        });
        Ok(())
    }
}
