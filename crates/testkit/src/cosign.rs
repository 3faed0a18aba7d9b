//! The real `cosign`: the one that is installed, else Debian's package of a later suite, unpacked beside the system.
//!
//! Debian 12 has no cosign. The program of Debian 13 needs nothing but a C library that Debian 12 has.
use crate::bases::once;
use crate::command::{Error, Result, run, tool};
use std::fs;
use std::path::{Path, PathBuf};

/// The program, for a test that is passed over without it: this says so. In CI such a test is a failure.
///
/// # Panics
/// In CI, where the program is not to be had.
#[must_use]
#[allow(clippy::print_stderr, reason = "a test that is passed over says so")]
pub fn cosign_for(test: &str) -> Option<PathBuf> {
    match cosign() {
        Ok(program) => Some(program),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{test}: cosign is not to be had: {error}");
            eprintln!("{test}: passed over; cosign is not to be had: {error}");
            None
        }
    }
}

/// The program. Fetched once, by apt and with its signatures checked, into the cache directory.
pub fn cosign() -> Result<PathBuf> {
    if let Some(program) = crate::which("cosign") {
        return Ok(program);
    }
    once("cosign-trixie", |work| {
        for directory in ["lists/partial", "cache/archives/partial", "state"] {
            fs::create_dir_all(work.join(directory)).map_err(Error::at(directory))?;
        }
        fs::write(work.join("state/status"), "").map_err(Error::at("status"))?;
        let source =
            "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main\n";
        fs::write(work.join("sources.list"), source).map_err(Error::at("sources.list"))?;
        apt(work, &["update", "--quiet"])?;
        apt(work, &["download", "cosign"])?;
        let entries = fs::read_dir(work).map_err(Error::at(work.display()))?;
        let package = entries.flatten().map(|e| e.path()).find(|p| p.extension().is_some_and(|e| e == "deb"));
        let package = package.ok_or_else(|| Error::new("apt-get download brought no package"))?;
        run(tool("dpkg-deb", "dpkg")?.arg("-x").arg(&package).arg(work.join("root")))?;
        for done in ["lists", "cache", "state"] {
            let _ = fs::remove_dir_all(work.join(done));
        }
        fs::remove_file(package).map_err(Error::at("package"))
    })
    .map(|directory| directory.join("root/usr/bin/cosign"))
}

/// apt with lists, cache and state of its own: the system's are not touched.
fn apt(work: &Path, words: &[&str]) -> Result<()> {
    let mut command = tool("apt-get", "apt")?;
    let place = |name: &str| work.join(name).display().to_string();
    for (option, value) in [
        ("Dir::Etc::sourcelist", place("sources.list")),
        ("Dir::Etc::sourceparts", "-".to_owned()),
        ("Dir::State", place("state")),
        ("Dir::State::lists", place("lists")),
        ("Dir::State::status", place("state/status")),
        ("Dir::Cache", place("cache")),
        ("Acquire::Languages", "none".to_owned()),
        ("APT::Sandbox::User", "root".to_owned()),
    ] {
        command.arg("-o").arg(format!("{option}={value}"));
    }
    run(command.args(words).current_dir(work)).map(drop)
}
