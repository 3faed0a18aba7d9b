//! What docker's `config.json` says beside credentials: the proxies for builds.
use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{CliError, Result};

/// `proxies.default`, as the environment variables that docker makes of it: each in upper and in
/// lower case. A missing file has none.
pub(crate) fn proxies(dir: Option<&Path>) -> Result<BTreeMap<String, String>> {
    let Some(path) = dir.map(|dir| dir.join("config.json")) else { return Ok(BTreeMap::new()) };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) if text.trim().is_empty() => return Ok(BTreeMap::new()),
        Ok(text) => text,
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(BTreeMap::new());
        }
        Err(e) => return Err(CliError::io("read", &path, &e).hint("DOCKER_CONFIG names the directory of this file")),
    };
    let json: serde_json::Value = serde_json::from_str(&text)
        .map_err(|e| CliError::usage(format!("{}:{}:{}: {}", path.display(), e.line(), e.column(), reason(&e))))?;
    let mut out = BTreeMap::new();
    if let Some(default) = json.pointer("/proxies/default").and_then(|value| value.as_object()) {
        for (key, variable) in [
            ("httpProxy", "HTTP_PROXY"),
            ("httpsProxy", "HTTPS_PROXY"),
            ("ftpProxy", "FTP_PROXY"),
            ("noProxy", "NO_PROXY"),
            ("allProxy", "ALL_PROXY"),
        ] {
            if let Some(value) = default.get(key).and_then(|value| value.as_str()).filter(|value| !value.is_empty()) {
                out.insert(variable.to_owned(), value.to_owned());
                out.insert(variable.to_lowercase(), value.to_owned());
            }
        }
    }
    Ok(out)
}

/// serde_json's message without the place.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_come_in_both_cases() {
        let dir = tempfile::tempdir().unwrap();
        assert!(proxies(Some(dir.path())).unwrap().is_empty());
        let path = dir.path().join("config.json");
        std::fs::write(&path, r#"{"auths":{},"proxies":{"default":{"httpProxy":"http://p:3128","noProxy":"a,b"}}}"#)
            .unwrap();
        let got = proxies(Some(dir.path())).unwrap();
        assert_eq!(got.keys().collect::<Vec<_>>(), ["HTTP_PROXY", "NO_PROXY", "http_proxy", "no_proxy"]);
        std::fs::write(&path, "{\"proxies\": }").unwrap();
        let error = proxies(Some(dir.path())).unwrap_err().to_string();
        assert!(error.ends_with("config.json:1:13: expected value"), "{error}");
    }
}
