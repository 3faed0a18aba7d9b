//! A program around the library, for tests and for trying a step by hand:
//! `sandbox-helper < SPEC.json` runs the step on this process's standard output and error.
//!
//! `--userns NAME SUBUID SUBGID` enters a user namespace first, as the builder does for an ordinary user, and says on
//! standard error where it stands. `--probe DIR` prints what this place allows instead of running a step.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::ExitCode;

fn main() -> ExitCode {
    sandbox::init_if_child();
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = io::Write::write_all(&mut io::stderr(), format!("sandbox-helper: {error}\n").as_bytes());
            ExitCode::from(125)
        }
    }
}

fn run() -> Result<u8, Box<dyn std::error::Error>> {
    let mut entered = Ok(sandbox::userns::Entered::NotNeeded);
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "--userns") && args.len() >= 4 {
        let path = "/usr/local/bin:/usr/bin:/bin".into();
        let options = sandbox::userns::Options {
            user_name: Some(args[1].clone()),
            subuid: args[2].clone().into(),
            subgid: args[3].clone().into(),
            path,
        };
        entered = sandbox::userns::enter(&options);
        let entered = entered.clone()?;
        io::Write::write_all(&mut io::stderr(), format!("{}\n", serde_json::to_string(&entered)?).as_bytes())?;
        args.drain(..4);
    }
    if let [probe, dir] = &args[..]
        && probe == "--probe"
    {
        let clues = sandbox::doctor::Clues {
            env: &|name| std::env::var(name).ok(),
            exists: &|path| path.exists(),
            read: &|path| std::fs::read_to_string(path).ok(),
        };
        let around = sandbox::doctor::Surroundings {
            store: dir.into(),
            path: std::env::var_os("PATH").unwrap_or_default(),
            entered,
            requested: None,
            clues,
        };
        let report = sandbox::doctor::report(&sandbox::Launcher::of_this_program()?, &around);
        let text = serde_json::to_string_pretty(&report)?;
        io::Write::write_all(&mut io::stdout(), format!("{text}\n").as_bytes())?;
        return Ok(0);
    }
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let spec: sandbox::Spec = serde_json::from_str(&text)?;
    let io =
        sandbox::Io::output(io::stdout().as_fd().try_clone_to_owned()?, io::stderr().as_fd().try_clone_to_owned()?)?;
    let exit = sandbox::Launcher::of_this_program()?.run(&spec, io, &sandbox::CancelToken::new())?;
    Ok(u8::try_from(exit.status.shell_code()).unwrap_or(125))
}
