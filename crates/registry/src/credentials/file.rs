//! One file of credentials: docker's `config.json`, podman's `auth.json`, a Kubernetes
//! `.dockerconfigjson`, or the old `.dockercfg`, which is the `auths` object alone.
//!
//! The file is kept as a JSON value, so that what `login` writes back keeps what it does not know.
//! Keys are compared in a normal form: `https://index.docker.io/v1/`, `index.docker.io` and `docker.io`
//! are the same registry.
use super::secret::{Credential, Secret};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};
use std::path::Path;

/// Base64 whose padding may be missing.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The key that docker uses for its own hub.
pub(super) const HUB_KEY: &str = "https://index.docker.io/v1/";

/// The largest file that is read.
const LIMIT: u64 = 4 << 20;

/// A parsed file.
#[derive(Debug, Clone, Default)]
pub(super) struct ConfigFile(pub(super) Map<String, Value>);

/// Where a registry's credentials are, by one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// Ask `docker-credential-NAME` for this server.
    Helper { name: String, server: String },
    /// Here they are.
    Here(Credential),
}

impl ConfigFile {
    /// Reads a file; `None` where there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, String> {
        let describe = |e: &dyn std::fmt::Display| format!("cannot read {}: {e}", path.display());
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.len() > LIMIT => return Err(describe(&"it is larger than 4 MiB")),
            Ok(_) => {}
            Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(e) => return Err(describe(&e)),
        }
        let text = std::fs::read_to_string(path).map_err(|e| describe(&e))?;
        Self::parse(&text).map(Some).map_err(|e| describe(&e))
    }

    /// Parses the text of a file. The errors never quote it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let value: Value =
            serde_json::from_str(text).map_err(|e| format!("no JSON at line {}, column {}", e.line(), e.column()))?;
        let Value::Object(map) = value else { return Err("it is no JSON object".to_owned()) };
        let old = !["auths", "credHelpers", "credsStore"].iter().any(|k| map.contains_key(*k))
            && map.values().any(|v| v.get("auth").is_some());
        Ok(if old {
            let mut new = Map::new();
            new.insert("auths".to_owned(), Value::Object(map));
            Self(new)
        } else {
            Self(map)
        })
    }

    fn object(&self, key: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.0.get(key).and_then(Value::as_object).into_iter().flatten()
    }

    /// The entries for a repository, in the order to try them.
    pub(super) fn entries(&self, registry: &str, repository: &str) -> Result<Vec<Entry>, String> {
        let keys = keys(registry, repository);
        let mut entries = Vec::new();
        for key in &keys {
            for (own, helper) in self.object("credHelpers") {
                if normal(own) == *key
                    && let Some(name) = helper.as_str().filter(|n| !n.is_empty())
                {
                    entries.push(Entry::Helper { name: name.to_owned(), server: own.clone() });
                }
            }
        }
        if let Some(name) = self.helper_for_all() {
            entries.push(Entry::Helper { name: name.to_owned(), server: server_address(registry) });
        }
        for key in &keys {
            for (own, value) in self.object("auths") {
                if normal(own) == *key
                    && let Some(credential) = credential(value).map_err(|why| format!("auths[{own:?}]: {why}"))?
                {
                    entries.push(Entry::Here(credential));
                }
            }
        }
        Ok(entries)
    }

    /// The registries (or paths in them) for which there is something, each with the helper that holds it.
    pub(super) fn registries(&self) -> Vec<(String, Option<String>)> {
        let helped =
            self.object("credHelpers").filter_map(|(own, helper)| Some((own, Some(helper.as_str()?.to_owned()))));
        // Docker keeps empty entries for what its helper holds; the helper is asked for those too.
        let all = self.helper_for_all();
        let here = self.object("auths").filter_map(|(own, value)| match credential(value) {
            Ok(Some(_)) => Some((own, None)),
            _ => all.map(|name| (own, Some(name.to_owned()))),
        });
        helped.chain(here).map(|(own, helper)| (normal(own), helper)).collect()
    }

    /// `credsStore`.
    pub(super) fn helper_for_all(&self) -> Option<&str> {
        self.0.get("credsStore").and_then(Value::as_str).filter(|n| !n.is_empty())
    }

    /// The helper that stores what is for this registry.
    pub(super) fn helper_of(&self, registry: &str) -> Option<(String, String)> {
        let key = normal(registry);
        self.object("credHelpers")
            .find(|(own, _)| normal(own) == key)
            .and_then(|(own, helper)| Some((helper.as_str()?.to_owned(), own.clone())))
            .or_else(|| self.helper_for_all().map(|name| (name.to_owned(), server_address(registry))))
    }
}

/// How a registry is called towards helpers, and in a file that docker reads too.
pub(super) fn server_address(registry: &str) -> String {
    if normal(registry) == "docker.io" { HUB_KEY.to_owned() } else { registry.to_owned() }
}

/// A key without scheme and API version, with one name for the hub.
pub(super) fn normal(key: &str) -> String {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let bare = bare.trim_end_matches('/');
    let bare = bare.strip_suffix("/v1").or_else(|| bare.strip_suffix("/v2")).unwrap_or(bare);
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    let host = match host.to_ascii_lowercase().as_str() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        other => other.to_owned(),
    };
    if path.is_empty() { host } else { format!("{host}/{path}") }
}

/// `host/a/b`, `host/a`, `host`.
pub(super) fn keys(registry: &str, repository: &str) -> Vec<String> {
    let registry = normal(registry);
    let mut keys = Vec::new();
    let mut path = repository;
    while !path.is_empty() {
        keys.push(format!("{registry}/{path}"));
        path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    keys.push(registry);
    keys
}

/// What an entry of `auths` holds.
fn credential(entry: &Value) -> Result<Option<Credential>, String> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).filter(|t| !t.is_empty());
    if let Some(token) = text("identitytoken") {
        return Ok(Some(Credential::IdentityToken(Secret::new(token))));
    }
    if let Some(token) = text("registrytoken") {
        return Ok(Some(Credential::RegistryToken(Secret::new(token))));
    }
    if let Some(auth) = text("auth") {
        let bytes = LENIENT.decode(auth.trim()).map_err(|_| "auth is no base64".to_owned())?;
        let decoded = String::from_utf8(bytes).map_err(|_| "auth is no UTF-8 text".to_owned())?;
        let (username, password) =
            decoded.split_once(':').ok_or_else(|| "auth has no colon between user and password".to_owned())?;
        return Ok(Some(named(username, password.trim_end_matches('\0'))));
    }
    Ok(match (text("username"), text("password")) {
        (Some(username), Some(password)) => Some(named(username, password)),
        _ => None,
    })
}

/// A user and a password; the user `<token>` means that the password is a refresh token.
pub(super) fn named(username: &str, password: &str) -> Credential {
    if username == "<token>" {
        Credential::IdentityToken(Secret::new(password))
    } else {
        Credential::basic(username, password)
    }
}

/// The entry that `login` writes.
pub(super) fn entry(credential: &Credential) -> Value {
    let mut map = Map::new();
    match credential {
        Credential::Basic { username, password } => {
            let auth = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{}", password.expose()));
            map.insert("auth".to_owned(), Value::String(auth));
        }
        Credential::IdentityToken(token) => {
            map.insert("identitytoken".to_owned(), Value::String(token.expose().to_owned()));
        }
        Credential::RegistryToken(token) => {
            map.insert("registrytoken".to_owned(), Value::String(token.expose().to_owned()));
        }
    }
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(file: &str, registry: &str, repository: &str) -> Option<Entry> {
        ConfigFile::parse(file).unwrap().entries(registry, repository).unwrap().into_iter().next()
    }

    #[test]
    fn keys_have_one_form() {
        for hub in ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "https://registry-1.docker.io/v2/"] {
            assert_eq!(normal(hub), "docker.io");
        }
        assert_eq!(normal("https://Registry.Example:5000/v2/"), "registry.example:5000");
        assert_eq!(normal("ghcr.io/org/app"), "ghcr.io/org/app");
        assert_eq!(keys("ghcr.io", "org/app"), ["ghcr.io/org/app", "ghcr.io/org", "ghcr.io"]);
    }

    #[test]
    fn the_most_specific_key_wins() {
        // user:host, user:org, user:app
        let file = r#"{"auths":{"ghcr.io":{"auth":"aG9zdDp4"},"ghcr.io/org":{"auth":"b3JnOng="},
            "ghcr.io/org/app":{"auth":"YXBwOng"}}}"#;
        let user = |repository| match first(file, "ghcr.io", repository) {
            Some(Entry::Here(Credential::Basic { username, .. })) => username,
            other => panic!("{other:?}"),
        };
        assert_eq!(user("org/app"), "app");
        assert_eq!(user("org/other"), "org");
        assert_eq!(user("else"), "host");
        assert_eq!(first(file, "quay.io", "org/app"), None);
    }

    #[test]
    fn tokens_and_plain_fields() {
        let get = |entry: &str| first(&format!(r#"{{"auths":{{"r.io":{entry}}}}}"#), "r.io", "");
        assert_eq!(
            get(r#"{"auth":"dTo=","identitytoken":"abc"}"#),
            Some(Entry::Here(Credential::IdentityToken("abc".into())))
        );
        assert_eq!(get(r#"{"registrytoken":"abc"}"#), Some(Entry::Here(Credential::RegistryToken("abc".into()))));
        assert_eq!(get(r#"{"username":"u","password":"p:q"}"#), Some(Entry::Here(Credential::basic("u", "p:q"))));
        assert_eq!(get("{}"), None);
        // "<token>:secret"
        assert_eq!(
            get(r#"{"auth":"PHRva2VuPjpzZWNyZXQ="}"#),
            Some(Entry::Here(Credential::IdentityToken("secret".into())))
        );
    }

    #[test]
    fn helpers_come_first() {
        let file = r#"{"auths":{"a.io":{"auth":"dTpw"}},"credsStore":"desktop","credHelpers":{"b.io":"ecr-login"}}"#;
        let helper = |name: &str, server: &str| Entry::Helper { name: name.into(), server: server.into() };
        assert_eq!(first(file, "b.io", "x"), Some(helper("ecr-login", "b.io")));
        assert_eq!(first(file, "docker.io", "library/x"), Some(helper("desktop", HUB_KEY)));
        let all = ConfigFile::parse(file).unwrap().entries("a.io", "x").unwrap();
        assert_eq!(all, [helper("desktop", "a.io"), Entry::Here(Credential::basic("u", "p"))]);
    }

    #[test]
    fn old_and_broken_files() {
        assert!(matches!(first(r#"{"r.io":{"auth":"dTpw","email":"x"}}"#, "r.io", ""), Some(Entry::Here(_))));
        assert!(ConfigFile::parse("").unwrap().0.is_empty());
        assert_eq!(ConfigFile::parse("{\"secret\": \n x}").unwrap_err(), "no JSON at line 2, column 2");
        assert!(ConfigFile::parse("[]").is_err());
        let bad = ConfigFile::parse(r#"{"auths":{"r.io":{"auth":"!!"}}}"#).unwrap();
        assert_eq!(bad.entries("r.io", "").unwrap_err(), r#"auths["r.io"]: auth is no base64"#);
    }
}
