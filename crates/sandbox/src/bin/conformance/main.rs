//! Runs the conformance table in the isolation that a request for one gives here, as the user that calls it:
//!
//! ```text
//! conformance [--print] ISOLATION DIRECTORY BUSYBOX [WORD]
//! ```
//!
//! `DIRECTORY` takes a fresh tree for each check and is left empty; `BUSYBOX` is a static one; `WORD` selects checks by
//! their names. The last line says how many checks were run; the exit code is 1 where one differs. `--print` prints
//! the table's entries with what this isolation gives, for who extends the table.

use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sandbox::{CancelToken, Io, Isolation, Launcher, Rootfs, Spec, Status};

mod table;

fn main() -> ExitCode {
    sandbox::init_if_child();
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("conformance: {error}"));
            ExitCode::from(125)
        }
    }
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn run() -> Result<bool, Box<dyn std::error::Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let print = args.first().is_some_and(|arg| arg == "--print");
    if print {
        args.remove(0);
    }
    let [name, directory, busybox, word @ ..] = &args[..] else {
        return Err("usage: conformance [--print] ISOLATION DIRECTORY BUSYBOX [WORD]".into());
    };
    let launcher = Launcher::of_this_program()?;
    let probes = sandbox::probe::probes(&launcher, Path::new(directory));
    let isolation = sandbox::choose(Some(name.parse()?), &probes)?.isolation;
    let (mut count, mut wrong) = (0, 0);
    for check in table::checks() {
        if !check.applies(&isolation.to_string()) || !word.iter().all(|word| check.name.contains(word)) {
            continue;
        }
        let place = PathBuf::from(directory).join(format!("check-{count}"));
        let tree = place.join("tree");
        table::tree(&tree, Path::new(busybox)).map_err(|error| format!("{}: {error}", tree.display()))?;
        let printed = step(&launcher, isolation, &tree, &check.command())?;
        count += 1;
        if print {
            say(&format!("## {}\n{}\n--\n{}", check.name, check.script, table::normal(&printed)));
        } else if let Some(difference) = check.judge(&printed) {
            wrong += 1;
            say(&difference);
        }
        std::fs::remove_dir_all(&place)?;
    }
    if !print {
        say(&format!("{name} ({isolation}): {count} checks, {wrong} differ"));
    }
    Ok(wrong == 0 && count > 0)
}

/// What a command prints in a step.
fn step(
    launcher: &Launcher,
    isolation: Isolation,
    tree: &Path,
    script: &str,
) -> Result<String, Box<dyn std::error::Error>> {
    let mut spec = Spec::new(Rootfs::Directory(tree.to_owned()), ["/bin/sh", "-c", script]);
    spec.isolation = isolation;
    spec.cwd = "/w".into();
    spec.hostname = "buildkitsandbox".into();
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    spec.env = [("PATH", path), ("HOME", "/root")].map(|(key, value)| (key.into(), value.into())).to_vec();
    let mut log = tempfile_in(tree)?;
    let streams = Io::output(log.as_fd().try_clone_to_owned()?, log.as_fd().try_clone_to_owned()?)?;
    let exit = launcher.run(&spec, streams, &CancelToken::new())?;
    log.rewind()?;
    let mut bytes = Vec::new();
    log.read_to_end(&mut bytes)?;
    let code = match exit.status {
        Status::Code(code) => Some(code),
        Status::Signal(_) => None,
    };
    Ok(table::with_status(&String::from_utf8_lossy(&bytes), code))
}

/// A file without a name beside the tree.
fn tempfile_in(tree: &Path) -> std::io::Result<std::fs::File> {
    let path = tree.with_file_name("log");
    let file = std::fs::File::options().read(true).append(true).create_new(true).open(&path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}
