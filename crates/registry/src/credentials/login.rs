//! What `login` and `logout` write.
//!
//! The file is replaced in one step by one that only its owner may read; everything in it that is not
//! about this registry stays as it was. A file that cannot be parsed is left alone.
use super::file::{self, ConfigFile};
use super::helper::Helper;
use super::{Credential, CredentialError, CredentialSources};
use serde::Serialize;
use serde_json::{Map, Value};
use std::fs::{DirBuilder, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where a credential was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// In this file, readable by its owner only, base64 but not encrypted.
    File(PathBuf),
    /// In the helper of this name (`docker-credential-NAME`).
    Helper(String),
}

/// What a logout removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Erased {
    /// The places that held, or may have held, a credential for the registry.
    pub places: Vec<Stored>,
}

/// Stores a credential as `docker login` does: in the helper that the configuration names, else in the file.
pub fn store(sources: &CredentialSources, registry: &str, credential: &Credential) -> Result<Stored, CredentialError> {
    let (path, mut config) = open(sources)?;
    let server = file::server_address(registry);
    if let Some((name, server)) = config.helper_of(registry) {
        Helper::find(sources, &name).and_then(|helper| helper.store(&server, credential)).map_err(CredentialError)?;
        // Docker shows by an empty entry that somebody is logged in.
        remove(&mut config, registry);
        set(&mut config, server, Value::Object(Map::new()));
        write(&path, &config)?;
        return Ok(Stored::Helper(name));
    }
    remove(&mut config, registry);
    set(&mut config, server, file::entry(credential));
    write(&path, &config)?;
    Ok(Stored::File(path))
}

/// Removes the registry's credentials from the places that [`store`] writes to.
pub fn erase(sources: &CredentialSources, registry: &str) -> Result<Erased, CredentialError> {
    let (path, mut config) = open(sources)?;
    let mut erased = Erased::default();
    if let Some((name, server)) = config.helper_of(registry) {
        Helper::find(sources, &name).and_then(|helper| helper.erase(&server)).map_err(CredentialError)?;
        erased.places.push(Stored::Helper(name));
    }
    if remove(&mut config, registry) {
        write(&path, &config)?;
        erased.places.push(Stored::File(path));
    }
    Ok(erased)
}

fn open(sources: &CredentialSources) -> Result<(PathBuf, ConfigFile), CredentialError> {
    let path = sources.login_file().ok_or_else(|| {
        CredentialError(
            "there is no place to store credentials: set HOME, DOCKER_CONFIG or REGISTRY_AUTH_FILE".to_owned(),
        )
    })?;
    // A symbolic link stays one: what it points to is replaced.
    let path = path.canonicalize().unwrap_or(path);
    let config = ConfigFile::read(&path).map_err(CredentialError)?.unwrap_or_default();
    Ok((path, config))
}

fn set(config: &mut ConfigFile, key: String, entry: Value) {
    if let Some(Value::Object(auths)) = config.0.get_mut("auths") {
        auths.insert(key, entry);
    } else {
        let auths = Map::from_iter([(key, entry)]);
        config.0.insert("auths".to_owned(), Value::Object(auths));
    }
}

/// Removes the registry's entries, under whatever form of its name; whether there was one.
fn remove(config: &mut ConfigFile, registry: &str) -> bool {
    let Some(Value::Object(auths)) = config.0.get_mut("auths") else { return false };
    let key = file::normal(registry);
    let before = auths.len();
    auths.retain(|own, _| file::normal(own) != key);
    auths.len() < before
}

fn write(path: &Path, config: &ConfigFile) -> Result<(), CredentialError> {
    let fail = |e: &dyn std::fmt::Display| CredentialError(format!("cannot write {}: {e}", path.display()));
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(|e| fail(&e))?;
    let mut text = Vec::new();
    let mut serializer =
        serde_json::Serializer::with_formatter(&mut text, serde_json::ser::PrettyFormatter::with_indent(b"\t"));
    config.0.serialize(&mut serializer).map_err(|e| fail(&e))?;
    text.push(b'\n');
    let mut new = tempfile::Builder::new()
        .prefix(".config.json.")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(parent)
        .map_err(|e| fail(&e))?;
    new.write_all(&text).and_then(|()| new.as_file().sync_all()).map_err(|e| fail(&e))?;
    new.persist(path).map_err(|e| fail(&e.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Credentials;
    use super::*;

    fn home() -> (tempfile::TempDir, CredentialSources) {
        let root = tempfile::tempdir().unwrap();
        let sources = CredentialSources { home: Some(root.path().into()), ..CredentialSources::default() };
        (root, sources)
    }

    #[test]
    fn login_and_logout_in_the_file() {
        let (root, sources) = home();
        let path = root.path().join(".docker/config.json");
        let credential = Credential::basic("u", "p:w");
        assert_eq!(store(&sources, "docker.io", &credential).unwrap(), Stored::File(path.clone()));
        store(&sources, "r.io", &credential).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "{\n\t\"auths\": {\n\t\t\"https://index.docker.io/v1/\": {\n\t\t\t\"auth\": \"dTpwOnc=\"\n\t\t},\n\t\t\"r.io\": {\n\t\t\t\"auth\": \"dTpwOnc=\"\n\t\t}\n\t}\n}\n"
        );
        let found = Credentials::new(sources.clone()).lookup("docker.io", "library/x").unwrap().unwrap();
        assert_eq!(found.credential, credential);
        assert_eq!(erase(&sources, "docker.io").unwrap().places, [Stored::File(path)]);
        assert!(Credentials::new(sources.clone()).lookup("docker.io", "x").unwrap().is_none());
        assert!(Credentials::new(sources.clone()).lookup("r.io", "x").unwrap().is_some());
        assert!(erase(&sources, "docker.io").unwrap().places.is_empty());
    }

    #[test]
    fn what_is_not_known_stays_and_what_is_broken_is_left_alone() {
        let (root, sources) = home();
        let path = root.path().join(".docker/config.json");
        std::fs::create_dir(root.path().join(".docker")).unwrap();
        let target = root.path().join("elsewhere.json");
        std::fs::write(&target, r#"{"detachKeys":"ctrl-x","auths":{"https://r.io/v1/":{"auth":"b2xkOng="}}}"#).unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        store(&sources, "r.io", &Credential::IdentityToken("t".into())).unwrap();
        assert!(path.symlink_metadata().unwrap().is_symlink());
        let written: Value = serde_json::from_str(&std::fs::read_to_string(&target).unwrap()).unwrap();
        assert_eq!(written, serde_json::json!({"detachKeys":"ctrl-x","auths":{"r.io":{"identitytoken":"t"}}}));
        std::fs::write(&target, "{ broken").unwrap();
        assert!(store(&sources, "r.io", &Credential::basic("u", "p")).is_err());
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "{ broken");
    }

    #[test]
    fn a_helper_keeps_the_secret() {
        let (root, mut sources) = home();
        let directory = root.path().join("bin");
        std::fs::create_dir_all(&directory).unwrap();
        let script = directory.join("docker-credential-box");
        std::fs::write(
            &script,
            "#!/bin/sh\nbox=${0%/*}/box\ncase $1 in\nstore) cat > $box;;\nget) cat > /dev/null; [ -f $box ] && cat $box || { echo credentials not found; exit 1; };;\nerase) rm $box;;\nesac\n",
        )
        .unwrap();
        std::fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
        // The script needs its own tools, and the helper is looked for in the given PATH only.
        sources.path = Some(directory.into_os_string());
        std::fs::create_dir_all(root.path().join(".docker")).unwrap();
        let path = root.path().join(".docker/config.json");
        std::fs::write(&path, r#"{"credsStore":"box"}"#).unwrap();
        let credential = Credential::basic("u", "only in the box");
        assert_eq!(store(&sources, "r.io", &credential).unwrap(), Stored::Helper("box".into()));
        assert!(!std::fs::read_to_string(&path).unwrap().contains("b25seS"));
        let found = Credentials::new(sources.clone()).lookup("r.io", "a").unwrap().unwrap();
        assert_eq!(found.credential, credential);
        assert!(found.origin.starts_with("docker-credential-box (named in "), "{}", found.origin);
        assert_eq!(erase(&sources, "r.io").unwrap().places, [Stored::Helper("box".into()), Stored::File(path)]);
        assert!(Credentials::new(sources).lookup("r.io", "a").unwrap().is_none());
    }
}
