//! `cooperage key`: pairs of keys in cosign's files.
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use attest::key::PrivateKey;
use clap::{Args, Subcommand};

use crate::app::Context;
use crate::error::{CliError, Result};
use crate::signing::keys;

/// Keys that sign images.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Make a pair of keys: PREFIX.key, encrypted with a password (COSIGN_PASSWORD), and PREFIX.pub
    Generate(GenerateArgs),
    /// Print the public key of a private one
    Public(PublicArgs),
}

#[derive(Debug, Args)]
struct GenerateArgs {
    /// Path of the files without their ending
    #[arg(value_name = "PREFIX", default_value = "cosign")]
    prefix: PathBuf,
}

#[derive(Debug, Args)]
struct PublicArgs {
    /// The private key: a file or env://NAME
    #[arg(long, value_name = "KEY")]
    key: String,
}

pub(crate) fn run(args: &KeyArgs, context: &Context<'_>) -> Result<()> {
    match &args.command {
        KeyCommand::Generate(args) => generate(args, context),
        KeyCommand::Public(args) => context.ui.out(&keys::private(&args.key, context)?.public().to_pem()),
    }
}

fn generate(args: &GenerateArgs, context: &Context<'_>) -> Result<()> {
    let with = |ending: &str| {
        let mut name = context.env.path(&args.prefix).into_os_string();
        name.push(ending);
        PathBuf::from(name)
    };
    let (private, public) = (with(".key"), with(".pub"));
    for path in [&private, &public] {
        if path.exists() {
            return Err(CliError::usage(format!("{} exists already", path.display()))
                .hint("name other files: cooperage key generate PREFIX"));
        }
    }
    let password = keys::password(context, "Password for the private key: ")?.ok_or_else(|| {
        CliError::usage("a password is needed to encrypt the private key")
            .hint(format!("set {} (empty for no protection), or run this on a terminal", keys::PASSWORD))
    })?;
    if !context.env.vars.contains_key(keys::PASSWORD)
        && keys::password(context, "The same again: ")?.as_deref() != Some(password.as_slice())
    {
        return Err(CliError::usage("the two passwords differ"));
    }
    let failed = |e: attest::key::KeyError| CliError::failed(format!("no key can be made: {e}"));
    let key = PrivateKey::generate().map_err(failed)?;
    write(&private, 0o600, &key.to_encrypted_pem(&password).map_err(failed)?)?;
    write(&public, 0o644, &key.public().to_pem())?;
    context.ui.note(&format!("Private key: {}\nPublic key: {}", private.display(), public.display()));
    Ok(())
}

fn write(path: &Path, mode: u32, text: &str) -> Result<()> {
    use std::io::Write;
    let open = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    open.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|e| CliError::io("write", path, &e))
}
