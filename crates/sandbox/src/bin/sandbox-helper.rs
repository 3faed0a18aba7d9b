//! A program around the library, for tests and for trying a step by hand:
//! `sandbox-helper < SPEC.json` runs the step on this process's standard output and error.
//!
//! With `--userns` it enters a user namespace first, as the builder does for an ordinary user.

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
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let spec: sandbox::Spec = serde_json::from_str(&text)?;
    let io =
        sandbox::Io::output(io::stdout().as_fd().try_clone_to_owned()?, io::stderr().as_fd().try_clone_to_owned()?)?;
    let exit = sandbox::Launcher::of_this_program()?.run(&spec, io, &sandbox::CancelToken::new())?;
    Ok(u8::try_from(exit.status.shell_code()).unwrap_or(125))
}
