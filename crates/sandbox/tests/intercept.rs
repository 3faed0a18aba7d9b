//! The conformance table of the `intercept` isolation: what small commands print in a step.
//!
//! The tests give every privilege up first (uid 1000, no capabilities, no_new_privs), so that they show what a
//! restricted pod allows. Run as root, they also check the table itself against chroot(2).

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const TABLE: &str = include_str!("intercept/table.txt");
const UID: u32 = 1000;

/// One entry of the table.
#[derive(Debug)]
struct Check {
    name: String,
    script: String,
    expected: String,
}

fn checks() -> Vec<Check> {
    TABLE
        .split("\n## ")
        .skip(1)
        .map(|text| {
            let (name, rest) = text.split_once('\n').expect("a name on a line of its own");
            let (script, expected) = rest.split_once("\n--\n").expect("a line of dashes");
            let expected = format!("{}\n", expected.trim_end_matches('\n'));
            Check { name: name.to_owned(), script: script.to_owned(), expected }
        })
        .collect()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says why a test does nothing; in CI that is a failure.
fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "skipped in CI: {why}");
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

fn busybox() -> Option<PathBuf> {
    let path = PathBuf::from("/bin/busybox");
    // A dynamic program names its interpreter in a program header of type 3.
    let is_static = fs::read(&path).is_ok_and(|bytes| {
        let headers = bytes.get(64..).unwrap_or(&[]).chunks(56).take(usize::from(bytes.get(56).copied().unwrap_or(0)));
        !headers.into_iter().any(|header| header.starts_with(&[3, 0, 0, 0]))
    });
    if is_static {
        return Some(path);
    }
    skip("no static /bin/busybox (busybox-static on Debian)");
    None
}

/// A directory that the unprivileged user can reach and write.
fn workplace() -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("intercept").tempdir_in("/var/tmp").expect("a directory in /var/tmp");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("mode");
    dir
}

fn tree(at: &Path, busybox: &Path) {
    for dir in ["bin", "etc", "tmp", "root", "w", "home/app", "mnt", "proc", "dev", "sys", "srv"] {
        fs::create_dir_all(at.join(dir)).expect("mkdir");
    }
    fs::copy(busybox, at.join("bin/busybox")).expect("copy busybox");
    let list = Command::new(busybox).arg("--list").output().expect("busybox --list");
    for name in String::from_utf8_lossy(&list.stdout).lines().filter(|name| *name != "busybox") {
        symlink("busybox", at.join("bin").join(name)).expect("link");
    }
    let write = |name: &str, text: &str, mode: u32| {
        fs::write(at.join(name), text).expect("write");
        fs::set_permissions(at.join(name), fs::Permissions::from_mode(mode)).expect("mode");
    };
    let passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1001:1001::/home/app:/bin/sh\n";
    write("etc/passwd", passwd, 0o644);
    write("etc/group", "root:x:0:\napp:x:1001:\n", 0o644);
    write("etc/shadow", "root:*:19000:0:99999:7:::\napp:!:19000:0:99999:7:::\n", 0o600);
    write("etc/resolv.conf", "", 0o644);
    write("root/secret", "secret\n", 0o600);
    for (name, mode) in [("tmp", 0o1777), ("root", 0o700), ("etc", 0o755), ("w", 0o755)] {
        fs::set_permissions(at.join(name), fs::Permissions::from_mode(mode)).expect("mode");
    }
}

/// Gives a tree to the unprivileged user.
fn give(at: &Path) {
    if is_root() {
        let status = Command::new("chown").args(["-R", &format!("{UID}:{UID}")]).arg(at).status().expect("chown");
        assert!(status.success());
    }
}

/// A step in the tree, as the unprivileged user.
fn step(tree: &Path, options: &[&str], command: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_run-in-tree");
    let mut run = if is_root() {
        let mut run = Command::new("setpriv");
        let id = UID.to_string();
        run.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--no-new-privs"]);
        run.args(["--inh-caps=-all", "--bounding-set=-all", program]);
        run
    } else {
        Command::new(program)
    };
    run.args(options)
        .arg(tree)
        .args(command)
        .stdin(Stdio::null())
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    run.env("BUILDER_SECRET", "not for the step");
    run.output().expect("run the step")
}

/// Both streams, with what differs from run to run made equal.
fn printed(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    match output.status.code() {
        Some(0) => {}
        Some(code) => text.push_str(&format!("exit {code}\n")),
        None => text.push_str("killed\n"),
    }
    text
}

/// Names of processes, and a name of 510 letters.
fn normal(text: &str) -> String {
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

fn run_table(run: impl Fn(&Check, &Path) -> Output) {
    let Some(busybox) = busybox() else { return };
    let place = workplace();
    let wanted = std::env::var("INTERCEPT_CHECK").ok();
    let mut wrong = Vec::new();
    let checks = checks();
    for (index, check) in checks.iter().enumerate() {
        if wanted.as_ref().is_some_and(|part| !check.name.contains(part)) {
            continue;
        }
        let tree_path = place.path().join(index.to_string()).join("tree");
        tree(&tree_path, &busybox);
        let output = run(check, &tree_path);
        let got = normal(&printed(&output));
        if got != check.expected {
            wrong.push(format!("## {}\n{}\n-- expected\n{}-- got\n{got}", check.name, check.script, check.expected));
        }
        let _ = fs::remove_dir_all(tree_path.parent().unwrap_or(place.path()));
    }
    assert!(wrong.is_empty(), "{} of {} differ\n{}", wrong.len(), checks.len(), wrong.join("\n"));
}

/// Standard error goes where standard output goes, so that the order of lines can be compared.
fn script(check: &Check) -> String {
    format!("exec 2>&1; {}", check.script)
}

#[test]
fn the_table_holds_in_a_step() {
    run_table(|check, tree| {
        give(tree.parent().expect("a parent"));
        step(tree, &["--cwd", "/w"], &["/bin/sh", "-c", &script(check)])
    });
}

/// What the same commands print for root in a chroot; mounts and processes are the machine's there, so a few checks
/// do not apply.
#[test]
fn the_table_is_what_root_sees_in_a_chroot() {
    if !is_root() {
        return skip("chroot(2) needs root");
    }
    let elsewhere = [
        "nothing of other processes",
        "doors cannot be removed",
        "the host name",
        "devices",
        "mount is refused",
        "shared memory",
        "stat of the doors",
        "pty",
        "dev links",
    ];
    run_table(|check, tree| {
        if elsewhere.contains(&check.name.as_str()) {
            use std::os::unix::process::ExitStatusExt;
            return Output {
                status: std::process::ExitStatus::from_raw(0),
                stdout: check.expected.clone().into_bytes(),
                stderr: Vec::new(),
            };
        }
        // proc in a mount namespace of its own: it goes away with the command.
        let prepare = "mount -t proc proc \"$1/proc\" && mknod -m 666 \"$1/dev/null\" c 1 3 && \
                       mknod -m 666 \"$1/dev/zero\" c 1 5 && cd / && exec chroot \"$1\" /bin/sh -c \"cd /w; $2\"";
        Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", prepare, "sh"])
            .arg(tree)
            .arg(script(check))
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .output()
            .expect("chroot")
    });
}
