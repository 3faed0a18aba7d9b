//! `cooperage login`: asks the registry whether the credentials are right, then stores them where
//! docker and podman look for them.
use std::io::{BufRead, Read, Write};

use registry::credentials::{self, Stored};
use registry::{Credential, CredentialSources};

use crate::app::Context;
use crate::args::build::RegistryFlags;
use crate::config::{Flags, Settings};
use crate::error::{CliError, Result};

/// Store credentials for a registry.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  echo \"$TOKEN\" | cooperage login ghcr.io -u me --password-stdin")]
pub(crate) struct LoginArgs {
    /// HOST[:PORT][/PATH]; Docker Hub where none is given
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
    /// User name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password or token; other users of this machine can see it in the list of processes
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    registries: RegistryFlags,
}

pub(crate) fn run(args: &LoginArgs, context: &Context<'_>) -> Result<()> {
    let registry = name(args.registry.as_deref())?;
    let settings = Settings::load(
        &Flags { registries: Some(&args.registries), config: context.config.clone(), ..Flags::default() },
        context.env,
    )?;
    let (username, password) = ask(args, &registry, context)?;
    if args.password.is_some() {
        context.ui.warn("--password shows the password in the list of processes; use --password-stdin");
    }
    let credential = Credential::basic(username.clone(), password);
    let client = super::client(&settings, context.env)?;
    let host = registry.split('/').next().unwrap_or(&registry);
    client.check_login(host, &credential).map_err(|error| {
        use registry::ErrorKind::{Forbidden, Unauthorized};
        let refused = matches!(error.kind(), Unauthorized | Forbidden);
        let out = if refused {
            CliError::failed(format!("{registry} does not accept the credentials of {username}")).hint(
                "many registries want a token in place of the password, with the right to read and write packages",
            )
        } else {
            CliError::failed(format!("cannot log in to {registry}"))
        };
        let out = out.caused_by(&error);
        match error.hint().filter(|_| !refused) {
            Some(hint) => out.hint(hint),
            None => out,
        }
    })?;
    let sources = sources(context);
    let stored = credentials::store(&sources, &registry, &credential).map_err(|error| {
        CliError::failed(format!("the credentials are right, but cannot be stored: {error}"))
            .hint("DOCKER_CONFIG or REGISTRY_AUTH_FILE chooses another place")
    })?;
    context.ui.note(&match stored {
        Stored::File(path) => format!("Logged in to {registry}; stored in {} (not encrypted)", path.display()),
        Stored::Helper(helper) => format!("Logged in to {registry}; stored by docker-credential-{helper}"),
    });
    Ok(())
}

/// The places of credentials, from the environment.
pub(crate) fn sources(context: &Context<'_>) -> CredentialSources {
    CredentialSources::from_lookup(|name| context.env.vars.get(name).map(Into::into))
}

/// `HOST[:PORT][/PATH]` without scheme and trailing slash.
pub(crate) fn name(given: Option<&str>) -> Result<String> {
    let Some(given) = given else { return Ok("docker.io".into()) };
    let bare = given.split_once("://").map_or(given, |(_, rest)| rest).trim_end_matches('/');
    let bare = match bare {
        "index.docker.io/v1" | "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other.trim_end_matches("/v2"),
    };
    let host = bare.split('/').next().unwrap_or_default();
    let ok = !host.is_empty()
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
        && (bare == "docker.io" || host.contains(['.', ':']) || host == "localhost");
    if ok {
        Ok(bare.to_owned())
    } else {
        Err(CliError::usage(format!("{given:?} is no registry"))
            .hint("write HOST or HOST:PORT, such as ghcr.io; for Docker Hub leave it out"))
    }
}

fn ask(args: &LoginArgs, registry: &str, context: &Context<'_>) -> Result<(String, String)> {
    let terminal = context.env.stdin_terminal;
    let username = match &args.username {
        Some(name) => name.clone(),
        None if terminal && !args.password_stdin => prompt(&format!("User name for {registry}: "), false)?,
        None => {
            return Err(CliError::usage("the user name is missing")
                .hint(format!("cooperage login {registry} -u NAME --password-stdin < TOKENFILE")));
        }
    };
    let password = match &args.password {
        Some(password) => password.clone(),
        None if args.password_stdin => {
            let mut text = String::new();
            std::io::stdin()
                .lock()
                .take(1 << 20)
                .read_to_string(&mut text)
                .map_err(|e| CliError::usage(format!("cannot read the password from standard input: {e}")))?;
            text.trim_end_matches(['\n', '\r']).to_owned()
        }
        None if terminal => prompt("Password or token: ", true)?,
        None => {
            return Err(CliError::usage("the password is missing").hint("pipe it in with --password-stdin"));
        }
    };
    if username.is_empty() || password.is_empty() {
        return Err(CliError::usage(if username.is_empty() {
            "the user name is empty"
        } else {
            "the password is empty"
        }));
    }
    Ok((username, password))
}

/// Asks on the terminal; a secret is not echoed.
pub(crate) fn prompt(text: &str, secret: bool) -> Result<String> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let stdin = std::io::stdin();
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "{text}").and_then(|()| err.flush());
    let before = if secret { tcgetattr(&stdin).ok() } else { None };
    if let Some(before) = &before {
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        let _ = tcsetattr(&stdin, OptionalActions::Flush, &silent);
    }
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    if let Some(before) = &before {
        let _ = tcsetattr(&stdin, OptionalActions::Flush, before);
        let _ = writeln!(err);
    }
    read.map_err(|e| CliError::usage(format!("cannot read from the terminal: {e}")))?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_named_by_host() {
        assert_eq!(name(None).unwrap(), "docker.io");
        assert_eq!(name(Some("https://index.docker.io/v1/")).unwrap(), "docker.io");
        assert_eq!(name(Some("https://ghcr.io/")).unwrap(), "ghcr.io");
        assert_eq!(name(Some("localhost:5000")).unwrap(), "localhost:5000");
        assert_eq!(name(Some("r.example.com/team")).unwrap(), "r.example.com/team");
        for wrong in ["", "ghcr", "a b.c", "https://"] {
            assert!(name(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
