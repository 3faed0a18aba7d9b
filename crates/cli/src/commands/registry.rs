//! `cooperage registry serve`: the OCI distribution API on the local store.
use std::io::Read;
use std::net::{SocketAddr, ToSocketAddrs};

use clap::{Args, Subcommand};
use registry::Secret;
use registry::serve::{DirectoryStore, ServeOptions, serve};

use crate::app::Context;
use crate::args::build::PlaceArgs;
use crate::config::{Flags, Settings};
use crate::error::{CliError, Result, plain_io};

/// A registry on the local store.
#[derive(Debug, Args)]
pub(crate) struct RegistryArgs {
    #[command(subcommand)]
    command: RegistryCommand,
}

#[derive(Debug, Subcommand)]
enum RegistryCommand {
    /// Serve the OCI distribution API until Ctrl-C
    Serve(Box<ServeArgs>),
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:5000")]
    addr: String,
    /// Answer pulls only
    #[arg(long)]
    read_only: bool,
    /// Refuse deletions
    #[arg(long)]
    no_delete: bool,
    /// Ask for this user name, with the password from --password-stdin
    #[arg(long, value_name = "NAME", requires = "password_stdin")]
    username: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username")]
    password_stdin: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(crate) fn run(args: &RegistryArgs, context: &Context<'_>) -> Result<()> {
    let RegistryCommand::Serve(args) = &args.command;
    let settings = Settings::load(
        &Flags { place: Some(&args.place), config: context.config.clone(), ..Flags::default() },
        context.env,
    )?;
    let addr = address(&args.addr)?;
    let basic_auth = match &args.username {
        None => None,
        Some(name) => {
            let mut password = String::new();
            std::io::stdin()
                .lock()
                .take(1 << 20)
                .read_to_string(&mut password)
                .map_err(|e| CliError::usage(format!("cannot read the password from standard input: {e}")))?;
            Some((name.clone(), Secret::new(password.trim_end_matches(['\n', '\r']))))
        }
    };
    if !addr.ip().is_loopback() && basic_auth.is_none() && !args.read_only {
        context
            .ui
            .warn("everybody who reaches this address may push; add --username and --password-stdin, or --read-only");
    }
    let root = settings.root.value.join("registry");
    std::fs::create_dir_all(&root)
        .map_err(|e| CliError::io("create", &root, &e).hint("--root chooses another place"))?;
    let store = DirectoryStore::open(&root).map_err(|e| CliError::io("open", &root, &e))?;
    let options = ServeOptions {
        basic_auth,
        read_only: args.read_only,
        allow_delete: !args.no_delete,
        ..ServeOptions::default()
    };
    let running = serve(store, addr, options).map_err(|e| {
        let error = CliError::failed(format!("cannot listen on {addr}: {}", plain_io(&e)));
        match e.kind() {
            std::io::ErrorKind::AddrInUse => {
                error.hint("another program has this port; choose one with --addr 127.0.0.1:0")
            }
            _ => error,
        }
    })?;
    // On standard output, so that a script can read the port that was chosen.
    context.ui.out(&format!("Serving http://{} from {}\n", running.addr(), root.display()))?;
    let (sender, receiver) = std::sync::mpsc::channel();
    let registration = context.cancel.on_cancel(move || {
        let _ = sender.send(());
    });
    let _ = receiver.recv();
    drop(registration);
    running.stop();
    Ok(())
}

fn address(text: &str) -> Result<SocketAddr> {
    let fail =
        |why: String| CliError::usage(format!("--addr {text}: {why}")).hint("write HOST:PORT, such as 127.0.0.1:5000");
    let text_with_host = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    text_with_host
        .to_socket_addrs()
        .map_err(|e| fail(plain_io(&e)))?
        .next()
        .ok_or_else(|| fail("the name has no address".into()))
}
