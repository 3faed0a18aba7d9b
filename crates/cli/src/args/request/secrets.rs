//! `--secret` and `--ssh`. Values are not read here: the build reads them when a step asks.
use std::path::PathBuf;

use build::request::{Secret, SecretSource, SshAgent};

use super::each;
use crate::args::values;
use crate::csv;
use crate::env::Env;
use crate::error::Result;

/// `id=ID[,src=FILE|,env=VAR][,type=file|env]`. With an id alone: the variable of that name where
/// it is set, else the file of that name.
pub(super) fn secret(text: &str, env: &Env) -> Result<Secret> {
    let fail = |why: String| each("secret", redact_secret(text), why);
    let (mut id, mut kind, mut file, mut variable) = (None, None, None, None);
    for (key, value) in csv::pairs(text).map_err(|why| fail(why).hint("write id=ID,src=FILE or id=ID,env=VARIABLE"))? {
        match key.as_str() {
            "id" => id = Some(value),
            "source" | "src" => file = Some(value),
            "env" => variable = Some(value),
            "type" if value == "file" || value == "env" => kind = Some(value),
            "type" => return Err(fail(format!("there is no type {value:?}; known are file, env"))),
            _ => return Err(fail(format!("there is no key {key:?}; known are id, src, env, type"))),
        }
    }
    let id = id
        .filter(|id| !id.is_empty())
        .ok_or_else(|| fail("id= is missing".into()).hint("write id=ID,src=FILE or id=ID,env=VARIABLE"))?;
    if file.is_some() && variable.is_some() {
        return Err(fail("src= and env= exclude each other".into()));
    }
    if kind.as_deref() == Some("env") && variable.is_none() {
        variable = file.take().or_else(|| Some(id.clone()));
    }
    if kind.as_deref() == Some("file") && variable.is_some() {
        return Err(fail("type=file and env= contradict each other".into()));
    }
    if variable.is_none() && file.is_none() && kind.is_none() && env.vars.contains_key(&id) {
        variable = Some(id.clone());
    }
    let source = match variable {
        Some(name) => {
            if !env.vars.contains_key(&name) {
                return Err(fail(format!("the environment variable {name} is not set")));
            }
            SecretSource::Env(name)
        }
        None => {
            let name = file.unwrap_or_else(|| id.clone());
            let path = env.path(expand_home(&name, env));
            let meta = std::fs::metadata(&path).map_err(|e| {
                fail(format!("{}: {}", path.display(), crate::error::plain_io(&e))).hint(
                    "src= names a file, env= a variable; without both a variable or file named like the id is taken",
                )
            })?;
            if meta.is_dir() {
                return Err(fail(format!("{} is a directory", path.display())));
            }
            if meta.len() > 500 * 1024 {
                return Err(fail(format!("{} has {} bytes; a secret has at most 500 KiB", path.display(), meta.len())));
            }
            SecretSource::File(path)
        }
    };
    Ok(Secret { id, source })
}

/// Some people write the secret itself into the flag; do not repeat it.
fn redact_secret(text: &str) -> &str {
    if text.contains("id=") { text } else { "…" }
}

fn expand_home(path: &str, env: &Env) -> PathBuf {
    match (path.strip_prefix("~/"), env.home()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

/// `ID[=SOCKET|KEY[,KEY…]]`
pub(super) fn ssh(text: &str, env: &Env) -> Result<SshAgent> {
    let fail = |why: String| each("ssh", text, why);
    let (id, paths) = text.split_once('=').unwrap_or((text, ""));
    if id.is_empty() {
        return Err(fail("the id is missing".into()));
    }
    let mut found = Vec::new();
    for path in paths.split(',').filter(|path| !path.is_empty()) {
        if let Some(raw) = path.strip_prefix("raw=") {
            if values::boolean(raw).map_err(fail)? {
                return Err(fail("raw=true (a socket that is no agent) is not supported".into()));
            }
            continue;
        }
        let path = env.path(expand_home(path, env));
        std::fs::metadata(&path).map_err(|e| fail(format!("{}: {}", path.display(), crate::error::plain_io(&e))))?;
        found.push(path);
    }
    if found.is_empty() {
        let socket = env.get("SSH_AUTH_SOCK").ok_or_else(|| {
            fail("no SSH agent: SSH_AUTH_SOCK is not set".into())
                .hint("start one with: eval $(ssh-agent) && ssh-add; or name a key: --ssh default=~/.ssh/id_ed25519")
        })?;
        found.push(PathBuf::from(socket));
    }
    Ok(SshAgent { id: id.to_owned(), paths: found })
}
