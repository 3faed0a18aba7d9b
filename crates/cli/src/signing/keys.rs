//! Keys: files, variables, and passwords.
use std::path::Path;

use attest::key::{KeyError, PrivateKey, PublicKey};

use crate::app::Context;
use crate::env::Env;
use crate::error::{CliError, Result};

/// The variable that holds the password of a key file, as for cosign.
pub(crate) const PASSWORD: &str = "COSIGN_PASSWORD";

/// The text of a key: a file, or `env://NAME`.
fn text(given: &str, env: &Env) -> Result<String> {
    if let Some(name) = given.strip_prefix("env://") {
        return env
            .get(name)
            .map(str::to_owned)
            .ok_or_else(|| CliError::usage(format!("the key {given}: the variable {name} is not set")));
    }
    if let Some((scheme, _)) = given.split_once("://") {
        return Err(CliError::usage(format!("the key {given}: keys of {scheme} are not supported"))
            .hint("give a file or env://NAME; cosign speaks to key services"));
    }
    read(&env.path(given), given)
}

fn read(path: &Path, shown: &str) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| {
        let error = CliError::usage(format!("cannot read the key {shown}: {}", crate::error::plain_io(&e)));
        match e.kind() {
            std::io::ErrorKind::NotFound => error.hint("cooperage key generate makes a pair of keys"),
            _ => error,
        }
    })
}

/// A private key; its password is taken from `COSIGN_PASSWORD`, else asked for on the terminal.
pub(crate) fn private(given: &str, context: &Context<'_>) -> Result<PrivateKey> {
    let text = text(given, context.env)?;
    let mut asked: Result<()> = Ok(());
    let key = PrivateKey::from_pem(&text, || match password(context, "Password of the private key: ") {
        Ok(password) => password,
        Err(error) => {
            asked = Err(error);
            None
        }
    });
    asked?;
    key.map_err(|error| {
        let out = CliError::usage(format!("the key {given}: {error}"));
        match error {
            KeyError::NeedsPassword | KeyError::Password => out.hint(format!("set {PASSWORD} to its password")),
            KeyError::Kind(kind) if kind == "PUBLIC KEY" => {
                out.hint("this is the half that verifies; sign with the other")
            }
            _ => out.hint("cooperage key generate makes a pair of keys"),
        }
    })
}

/// The password, where one is to be had.
pub(crate) fn password(context: &Context<'_>, prompt: &str) -> Result<Option<Vec<u8>>> {
    if let Some(password) = context.env.vars.get(PASSWORD) {
        return Ok(Some(password.clone().into_bytes()));
    }
    if !context.env.stdin_terminal {
        return Ok(None);
    }
    crate::commands::login::prompt(prompt, true).map(|text| Some(text.into_bytes()))
}

/// A public key.
pub(crate) fn public(given: &str, env: &Env) -> Result<PublicKey> {
    parse(&text(given, env)?, given)
}

/// A public key in a file.
pub(crate) fn public_file(path: &Path) -> Result<PublicKey> {
    let shown = path.display().to_string();
    parse(&read(path, &shown)?, &shown)
}

fn parse(text: &str, shown: &str) -> Result<PublicKey> {
    PublicKey::from_pem(text).map_err(|error| {
        let out = CliError::usage(format!("the key {shown}: {error}"));
        match error {
            KeyError::Kind(kind) if kind.ends_with("PRIVATE KEY") => {
                out.hint("this is the half that signs; verify with the other, the file .pub")
            }
            _ => out,
        }
    })
}
