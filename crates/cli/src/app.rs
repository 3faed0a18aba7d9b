//! From the command line to an exit code.
use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind as ClapKind};
use clap::{CommandFactory, FromArgMatches};
use sandbox::CancelToken;
use sandbox::userns::{self, Entered};

use crate::args::{Cli, Command};
use crate::commands;
use crate::env::Env;
use crate::error::{CliError, Result};
use crate::ui::Ui;

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) env: &'a Env,
    pub(crate) ui: Ui,
    pub(crate) cancel: &'a CancelToken,
    /// The user namespace that this process entered.
    pub(crate) entered: Entered,
    /// `--config`
    pub(crate) config: Option<std::path::PathBuf>,
}

/// Parses and runs; the only place that turns errors into text and exit codes. The process must
/// have a single thread still.
pub(crate) fn run(args: impl IntoIterator<Item = OsString>, env: &Env) -> ExitCode {
    let cli = match parse(commands::executor::arguments(args), env) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let loaded;
    let env = match crate::env_file::load(env, &cli.env_file) {
        Ok(with_files) => {
            loaded = with_files;
            &loaded
        }
        Err(error) => {
            Ui::new(env, cli.debug).error(&error);
            return ExitCode::from(error.kind.exit_code());
        }
    };
    let ui = Ui::new(env, cli.debug);
    let entered = enter_namespace(&cli.command, env, ui);
    let cancel = CancelToken::new();
    crate::signals::listen(&cancel);
    let context = Context { env, ui, cancel: &cancel, entered, config: cli.config };
    match dispatch(cli.command, &context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui.error(&error);
            ExitCode::from(error.kind.exit_code())
        }
    }
}

/// Builds by an ordinary user happen in a user namespace, where one can be had. Where not, what
/// comes next finds out what else works.
fn enter_namespace(command: &Command, env: &Env, ui: Ui) -> Entered {
    let asked = match command {
        Command::Build(args) => args.place.isolation.as_deref(),
        Command::Executor(args) => args.place.isolation.as_deref(),
        Command::Factory(args) => match args.builds() {
            Some(place) => place.isolation.as_deref(),
            None => return Entered::NotNeeded,
        },
        // What it tries must be tried where builds would happen.
        Command::Doctor(_) => None,
        _ => return Entered::NotNeeded,
    };
    if !matches!(asked.or_else(|| env.get("COOPERAGE_ISOLATION")), None | Some("auto" | "namespaces")) {
        return Entered::NotNeeded;
    }
    let options = userns::Options {
        user_name: env.get("USER").or_else(|| env.get("LOGNAME")).map(str::to_owned),
        subuid: "/etc/subuid".into(),
        subgid: "/etc/subgid".into(),
        path: env.get("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin").into(),
    };
    match userns::enter(&options) {
        Ok(entered) => {
            if ui.debug {
                ui.note(&format!("debug: user namespace: {entered:?}"));
            }
            entered
        }
        Err(error) => {
            if ui.debug {
                ui.note(&format!("debug: {error}"));
            }
            Entered::NotNeeded
        }
    }
}

fn dispatch(command: Command, context: &Context<'_>) -> Result<()> {
    match command {
        Command::Build(args) => commands::build::run(&args, context),
        Command::Executor(args) => commands::executor::run(&args, context),
        Command::Man(args) => commands::man::run(&args, context),
        Command::Check(args) => commands::check::run(&args, context),
        Command::Doctor(args) => commands::doctor::run(&args, context),
        Command::Factory(args) => commands::factory::run(&args, context),
        Command::Cache(args) => commands::cache::run(&args, context),
        Command::Explain(args) => commands::explain::run(&args, context),
        Command::History(args) => commands::history::run(&args, context),
        Command::Image(args) => commands::image::run(&args, context),
        Command::Sbom(args) => commands::sbom::run(&args, context),
        Command::Scan(args) => commands::scan::run(&args, context),
        Command::Sign(args) => commands::sign::run(&args, context),
        Command::Attest(args) => commands::sign::attest(&args, context),
        Command::Verify(args) => commands::verify::run(&args, context),
        Command::Key(args) => commands::key::run(&args, context),
        Command::Login(args) => commands::login::run(&args, context),
        Command::Logout(args) => commands::logout::run(&args, context),
        Command::Remote(args) => commands::remote::run(&args, context),
        Command::Registry(args) => commands::registry::run(&args, context),
        Command::Config(args) => commands::config::run(&args, context),
        Command::Completions(args) => commands::completions::run(&args, context),
        Command::Version(args) => commands::version::run(&args, context),
    }
}

/// Flags of other builders, and what they are called here.
const FOREIGN: &[(&str, &str)] = &[
    ("--build-arg-file", "give each argument with --build-arg NAME=VALUE"),
    ("--cache", "every step is cached in the store; --no-cache runs all anew"),
    ("--cache-dir", "every step is cached in the store; --root chooses its place"),
    ("--cache-repo", "external caches are given with --cache-to and --cache-from"),
    ("--context", "the context is the last argument: cooperage build DIRECTORY"),
    ("--context-sub-path", "name the directory in the URL: REPO.git#REF:DIRECTORY"),
    ("--destination", "name the image with -t NAME and push it with --push"),
    ("--digest-file", "use --iidfile or --metadata-file"),
    ("--dockerfile", "use -f FILE"),
    ("--format", "choose media types with -o type=…,oci-mediatypes=true|false"),
    ("--insecure", "use --insecure-registry HOST"),
    ("--layers", "every step is cached in the store; --no-cache runs all anew"),
    ("--no-push", "leave --push out"),
    ("--reproducible", "set SOURCE_DATE_EPOCH and use -o type=…,rewrite-timestamp=true"),
    ("--skip-tls-verify", "use --insecure-registry HOST, or trust its CA with --registry-ca FILE"),
    ("--snapshot-mode", "leave it out: snapshots are exact"),
    ("--snapshotMode", "leave it out: snapshots are exact"),
    ("--tls-verify", "use --insecure-registry HOST, or trust its CA with --registry-ca FILE"),
    ("--userns", "choose how RUN is confined with --isolation"),
];

fn parse(args: impl IntoIterator<Item = OsString>, env: &Env) -> std::result::Result<Cli, ExitCode> {
    let colour = if env.colour_stderr() { clap::ColorChoice::Auto } else { clap::ColorChoice::Never };
    let matches = Cli::command().color(colour).try_get_matches_from(args);
    matches.and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches)).map_err(|error| {
        let code = match error.kind() {
            ClapKind::DisplayHelp | ClapKind::DisplayVersion => ExitCode::SUCCESS,
            _ => ExitCode::from(2),
        };
        match explain(&error) {
            Some(better) => Ui::new(env, false).error(&better),
            None => drop(error.print()),
        }
        code
    })
}

/// Says more than clap where a flag belongs to another builder, or an argument is one too many.
fn explain(error: &clap::Error) -> Option<CliError> {
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidArg) else { return None };
    if error.kind() != ClapKind::UnknownArgument {
        return None;
    }
    if let Some((_, instead)) = FOREIGN.iter().find(|(flag, _)| flag == given) {
        return Some(CliError::usage(format!("there is no flag {given}")).hint(*instead));
    }
    if error.get(ContextKind::SuggestedArg).is_some() || error.get(ContextKind::SuggestedSubcommand).is_some() {
        return None;
    }
    let command = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => {
            let usage = usage.to_string();
            usage
                .trim_start_matches("Usage: ")
                .split(" [")
                .next()
                .unwrap_or_default()
                .split(" <")
                .next()
                .unwrap_or_default()
                .split(" --")
                .next()
                .unwrap_or_default()
                .to_owned()
        }
        _ => "cooperage".into(),
    };
    Some(if given.starts_with('-') {
        CliError::usage(format!("there is no flag {given}")).hint(format!("{command} --help lists the flags"))
    } else {
        CliError::usage(format!("there is one argument too many: {given:?}"))
            .hint("quote what has blanks in it; a flag's value follows it directly or after =")
            .hint(format!("{command} --help shows examples"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_begins_with_what_people_do() {
        let help = Cli::command().render_help().to_string();
        assert!(help.starts_with(
            "Build OCI images without a daemon and without privileges\n\nExamples:\n  cooperage build -t"
        ));
        assert!(help.contains("130  interrupted"));
    }
}
