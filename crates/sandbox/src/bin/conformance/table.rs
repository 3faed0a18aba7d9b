//! The conformance table: what small commands print in a step, whatever the isolation.
//!
//! Shared by the program `conformance`, which runs it in an isolation, and by the tests, which also hold the table
//! against a plain chroot.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

const TABLE: &str = include_str!("../../../tests/conformance.txt");

/// One entry of the table.
#[derive(Debug)]
pub(crate) struct Check {
    /// What it is about.
    pub(crate) name: String,
    /// Isolations in which it does not hold (`plain-chroot`, or `plain` for a chroot without the product), each with the
    /// reason.
    pub(crate) not_in: Vec<(String, String)>,
    /// For `sh -c`.
    pub(crate) script: String,
    /// What both streams show.
    pub(crate) expected: String,
}

impl Check {
    /// Whether it holds in an isolation.
    pub(crate) fn applies(&self, isolation: &str) -> bool {
        self.not_in.iter().all(|(name, _)| name != isolation)
    }

    /// The script, with standard error where standard output goes, so that the order of lines can be compared.
    pub(crate) fn command(&self) -> String {
        format!("exec 2>&1; {}", self.script)
    }

    /// The difference, if what was printed is not what is expected.
    pub(crate) fn judge(&self, printed: &str) -> Option<String> {
        let got = normal(printed);
        (got != self.expected)
            .then(|| format!("## {}\n{}\n-- expected\n{}-- got\n{got}", self.name, self.script, self.expected))
    }
}

/// All entries.
pub(crate) fn checks() -> Vec<Check> {
    TABLE
        .split("\n## ")
        .skip(1)
        .map(|text| {
            let (heading, rest) = text.split_once('\n').unwrap_or((text, ""));
            let (name, places) = heading.split_once(" | ").unwrap_or((heading, ""));
            let not_in = places.split(" | ").filter_map(|place| place.strip_prefix("not in ")?.split_once(": "));
            let (script, expected) = rest.split_once("\n--\n").unwrap_or((rest, ""));
            Check {
                name: name.to_owned(),
                not_in: not_in.map(|(place, why)| (place.to_owned(), why.to_owned())).collect(),
                script: script.to_owned(),
                expected: format!("{}\n", expected.trim_end_matches('\n')),
            }
        })
        .collect()
}

/// Makes the tree in which a check runs: a static busybox with links for its applets, a few users and files.
pub(crate) fn tree(at: &Path, busybox: &Path) -> io::Result<()> {
    for dir in ["bin", "etc", "tmp", "root", "w", "home/app", "mnt", "proc", "dev", "sys", "srv"] {
        fs::create_dir_all(at.join(dir))?;
        fs::set_permissions(at.join(dir), fs::Permissions::from_mode(0o755))?;
    }
    fs::copy(busybox, at.join("bin/busybox"))?;
    let list = Command::new(busybox).arg("--list").output()?;
    for name in String::from_utf8_lossy(&list.stdout).lines().filter(|name| *name != "busybox") {
        symlink("busybox", at.join("bin").join(name))?;
    }
    let write = |name: &str, text: &str, mode: u32| {
        fs::write(at.join(name), text)?;
        fs::set_permissions(at.join(name), fs::Permissions::from_mode(mode))
    };
    write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1001:1001::/home/app:/bin/sh\n", 0o644)?;
    write("etc/group", "root:x:0:\napp:x:1001:\n", 0o644)?;
    write("etc/shadow", "root:*:19000:0:99999:7:::\napp:!:19000:0:99999:7:::\n", 0o600)?;
    write("etc/resolv.conf", "", 0o644)?;
    write("root/secret", "secret\n", 0o600)?;
    for (name, mode) in [("tmp", 0o1777), ("root", 0o700)] {
        fs::set_permissions(at.join(name), fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Standard output with the exit code behind it where that is not 0; `None` for a signal.
pub(crate) fn with_status(text: &str, code: Option<i32>) -> String {
    match code {
        Some(0) => text.to_owned(),
        Some(code) => format!("{text}exit {code}\n"),
        None => format!("{text}killed\n"),
    }
}

/// What differs from run to run made equal: numbers of processes, and a name of 510 letters.
pub(crate) fn normal(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut line = line.to_owned();
        if let Some(at) = line.find("/proc/") {
            let digits = line[at + 6..].chars().take_while(char::is_ascii_digit).count();
            if digits > 0 && !line[at..].starts_with("/proc/1/") {
                line.replace_range(at + 6..at + 6 + digits, "N");
            }
        }
        if line.contains(&"n".repeat(200)) {
            line = format!("touch: nNNN: {}", line.rsplit(": ").next().unwrap_or(""));
        }
        out.push_str(&line);
        out.push('\n');
    }
    out
}
