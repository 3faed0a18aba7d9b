//! The `cooperage` command.
//!
//! The order of `main` matters: first it becomes a sandbox helper where the process was started as
//! one; a user namespace can be entered only while there is a single thread; threads come last.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "doc comments of arguments are the texts of --help, where NAME[:TAG] is no link"
)]
#![forbid(unsafe_code)]
mod app;
mod args;
mod commands;
mod config;
mod csv;
mod diagnostics;
mod env;
mod env_file;
mod error;
mod progress;
mod report;
mod shell;
mod signals;
mod signing;
mod suggest;
mod trace;
mod ui;

use std::process::ExitCode;

fn main() -> ExitCode {
    sandbox::init_if_child();
    std::panic::set_hook(Box::new(report_panic));
    app::run(std::env::args_os(), &env::Env::from_process())
}

/// A panic is a defect of ours: say so, and what to send.
fn report_panic(info: &std::panic::PanicHookInfo<'_>) {
    use std::io::Write;
    progress::restore_terminal();
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "unknown".into());
    let place = info.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
    let _ = writeln!(
        std::io::stderr().lock(),
        "error: cooperage has a defect: {message}\n  at {place}, thread {thread}, version {}\n  \
         hint: please report this text with the command line at {}/issues\n{}",
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_REPOSITORY"),
        std::backtrace::Backtrace::capture(),
    );
}
