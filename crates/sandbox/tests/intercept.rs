//! The conformance table in every isolation that this place has, and what the `intercept` isolation must get right
//! besides.
//!
//! The tests give every privilege up first (uid 1000, no capabilities, no_new_privs), so that they show what a
//! restricted pod allows. Run as root, they also check the table itself against chroot(2).

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

#[path = "../src/bin/conformance/table.rs"]
mod table;

const UID: u32 = 1000;

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
    table::tree(at, busybox).expect("a tree");
}

/// Gives a tree to the unprivileged user.
fn give(at: &Path) {
    if is_root() {
        let status = Command::new("chown").args(["-R", &format!("{UID}:{UID}")]).arg(at).status().expect("chown");
        assert!(status.success());
    }
}

/// A program as the unprivileged user, as in a restricted pod.
fn without_privileges(program: &str) -> Command {
    let mut run = Command::new("setpriv");
    let id = UID.to_string();
    run.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--no-new-privs"]);
    run.args(["--inh-caps=-all", "--bounding-set=-all", program]);
    run
}

/// A step in the tree, as the unprivileged user.
fn step(tree: &Path, options: &[&str], command: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_run-in-tree");
    let mut run = if is_root() { without_privileges(program) } else { Command::new(program) };
    run.args(options)
        .arg(tree)
        .args(command)
        .stdin(Stdio::null())
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    run.env("BUILDER_SECRET", "not for the step");
    run.output().expect("run the step")
}

/// Both streams and how it ended.
fn printed(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    table::with_status(&text, output.status.code())
}

/// The conformance table in an isolation, run by `user` (with its capabilities, or without any).
fn conforms(isolation: &str, unprivileged: bool) {
    let words: Vec<String> = std::env::var("CONFORMANCE_CHECK").into_iter().collect();
    conforms_in(isolation, unprivileged, &words);
}

/// The checks of the table whose names contain these words.
fn conforms_in(isolation: &str, unprivileged: bool, words: &[String]) {
    let Some(busybox) = busybox() else { return };
    let place = workplace();
    give(place.path());
    let program = env!("CARGO_BIN_EXE_conformance");
    let mut run = if unprivileged && is_root() { without_privileges(program) } else { Command::new(program) };
    run.arg(isolation).arg(place.path()).arg(&busybox).args(words);
    let output = run.stdin(Stdio::null()).env("BUILDER_SECRET", "not for the step").output().expect("run it");
    assert!(output.status.success(), "{}", printed(&output));
}

#[test]
fn intercept_conforms() {
    conforms("intercept", true);
}

/// User 0 without capabilities still owns the kernel's settings.
#[test]
fn intercept_holds_root_of_the_machine() {
    if !is_root() {
        return skip("there is no root to hold");
    }
    for word in ["proc", "devices", "owner"] {
        conforms_in("intercept", false, &[word.to_owned()]);
    }
}

#[test]
fn namespaces_conform() {
    if !is_root() {
        return skip("namespaces with several ids need root");
    }
    conforms("namespaces", false);
}

#[test]
fn chroot_conforms() {
    if !is_root() {
        return skip("chroot(2) needs root");
    }
    conforms("chroot", false);
    conforms("plain-chroot", false);
}

/// What the same commands print for root in a plain chroot, with nothing of the product in it.
#[test]
fn the_table_is_what_root_sees_in_a_plain_chroot() {
    if !is_root() {
        return skip("chroot(2) needs root");
    }
    let Some(busybox) = busybox() else { return };
    let place = workplace();
    let mut wrong = Vec::new();
    let checks = table::checks();
    assert!(checks.len() >= 150, "{}", checks.len());
    for (index, check) in checks.iter().filter(|check| check.applies("plain")).enumerate() {
        let path = place.path().join(index.to_string());
        tree(&path, &busybox);
        // proc in a mount namespace of its own: it goes away with the command. A step begins with no signal ignored, also
        // where the builder was started by nohup.
        let prepare = "mount -t proc proc \"$1/proc\" && mknod -m 666 \"$1/dev/null\" c 1 3 && \
                       mknod -m 666 \"$1/dev/zero\" c 1 5 && cd / && exec env --default-signal chroot \"$1\" /bin/sh -c \"cd /w; $2\"";
        let output = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", prepare, "sh"])
            .arg(&path)
            .arg(check.command())
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .output()
            .expect("chroot");
        wrong.extend(check.judge(&printed(&output)));
        let _ = fs::remove_dir_all(&path);
    }
    assert!(wrong.is_empty(), "{} of {} differ\n{}", wrong.len(), checks.len(), wrong.join("\n"));
}

/// A program of `tests/intercept`, linked without shared libraries; `None` where there is no compiler for it.
fn compiled(name: &str, place: &Path) -> Option<PathBuf> {
    let source = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/intercept")).join(name).with_extension("c");
    let program = place.join(name);
    let output =
        Command::new("gcc").args(["-O1", "-w", "-static", "-pthread", "-o"]).arg(&program).arg(source).output();
    match output {
        Ok(output) if output.status.success() => Some(program),
        Ok(output) => panic!("{name}.c: {}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => {
            skip("no gcc");
            None
        }
    }
}

fn assert_all_ok(output: &Output) {
    let text = printed(output);
    assert!(text.contains(" checks, 0 failed") && output.status.success(), "{text}");
}

#[test]
fn programs_find_every_call_as_it_should_be() {
    let Some(busybox) = busybox() else { return };
    let place = workplace();
    let Some(program) = compiled("calls", place.path()) else { return };
    let path = place.path().join("tree");
    tree(&path, &busybox);
    fs::copy(&program, path.join("bin/calls")).expect("copy");
    give(place.path());
    assert_all_ok(&step(&path, &["--cwd", "/w"], &["calls"]));
}

#[test]
fn the_same_programs_agree_in_a_chroot() {
    if !is_root() {
        return skip("chroot(2) needs root");
    }
    let Some(busybox) = busybox() else { return };
    let place = workplace();
    let Some(program) = compiled("calls", place.path()) else { return };
    let path = place.path().join("tree");
    tree(&path, &busybox);
    fs::copy(&program, path.join("bin/calls")).expect("copy");
    symlink("/proc/self/fd", path.join("dev/fd")).expect("link");
    let prepare = "mount -t proc proc \"$1/proc\" && exec chroot \"$1\" /bin/sh -c 'cd /w; calls'";
    let mut run = Command::new("unshare");
    run.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", prepare, "sh"]).arg(&path);
    assert_all_ok(&run.stdin(Stdio::null()).output().expect("chroot"));
}

/// Calls that are made often are answered another way than those that are made once.
#[test]
fn what_is_called_often_is_answered_the_same() {
    let Some(busybox) = busybox() else { return };
    let place = workplace();
    let Some(program) = compiled("hot", place.path()) else { return };
    let path = place.path().join("tree");
    tree(&path, &busybox);
    fs::copy(&program, path.join("bin/hot")).expect("copy");
    if is_root() {
        let prepare =
            "mount -t proc proc \"$1/proc\" && exec chroot \"$1\" /bin/sh -c 'cd /w; hot whole && rm -r /w/*'";
        let mut run = Command::new("unshare");
        run.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", prepare, "sh"]).arg(&path);
        assert_eq!(printed(&run.stdin(Stdio::null()).output().expect("chroot")), "hot: all as it should be\n");
    }
    give(place.path());
    assert_eq!(printed(&step(&path, &["--cwd", "/w"], &["hot", "patched"])), "hot: all as it should be\n");
}

/// Random calls on random paths, chroot(2) among them, give what they give in a root of their own; `FUZZ_SEEDS=500` tries
/// that many sequences.
#[test]
fn random_calls_agree_with_a_real_root() {
    if !is_root() {
        return skip("a real root needs root");
    }
    let place = workplace();
    let Some(program) = compiled("fuzz", place.path()) else { return };
    let seeds = std::env::var("FUZZ_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    for seed in 1..=seeds {
        let run = |name: &str| {
            let path = place.path().join(format!("{name}{seed}")).join("tree");
            for dir in ["w", "proc", "dev", "sys"] {
                fs::create_dir_all(path.join(dir)).expect("mkdir");
            }
            fs::copy(&program, path.join("fuzz")).expect("copy");
            let seed = seed.to_string();
            let output = if name == "real" {
                Command::new(&program).args([&seed, "2000"]).arg(&path).output().expect("the fuzzer")
            } else {
                give(path.parent().expect("a parent"));
                step(&path, &[], &["/fuzz", &seed, "2000"])
            };
            printed(&output)
        };
        let (expected, got) = (run("real"), run("step"));
        let differing = expected.lines().zip(got.lines()).find(|(e, g)| e != g);
        assert_eq!(differing, None, "seed {seed}: in a real root, and in a step");
        assert_eq!(expected.lines().count(), got.lines().count(), "seed {seed}");
    }
}

/// What a step may not reach, and what must be put back.
mod confinement {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    struct Place {
        dir: tempfile::TempDir,
        tree: PathBuf,
    }

    fn place() -> Option<Place> {
        let busybox = busybox()?;
        let dir = workplace();
        let tree = dir.path().join("tree");
        super::tree(&tree, &busybox);
        fs::write(dir.path().join("outside"), "outside\n").expect("write");
        fs::create_dir_all(dir.path().join("context/sub")).expect("mkdir");
        fs::write(dir.path().join("context/file"), "from the context\n").expect("write");
        symlink("/etc/passwd", dir.path().join("context/link")).expect("link");
        symlink("../../../outside", dir.path().join("context/sub/up")).expect("link");
        give(dir.path());
        Some(Place { dir, tree })
    }

    impl Place {
        fn sh(&self, options: &[&str], script: &str) -> String {
            let script = format!("exec 2>&1; {script}");
            table::normal(&printed(&step(&self.tree, options, &["/bin/sh", "-c", &script])))
        }
        fn bind(&self, name: &str, target: &str) -> String {
            format!("{}:{target}", self.dir.path().join(name).display())
        }
    }

    #[test]
    fn nothing_outside_the_tree_can_be_reached() {
        let Some(place) = place() else { return };
        let outside = place.dir.path().join("outside");
        let outside = outside.display();
        let script = format!(
            "cat {outside}; cat /proc/self/root/{outside}; cat /proc/self/cwd/../../../../..{outside}; \
             ln -s {outside} l; cat l; cat ../../../../../..{outside}; ln {outside} h; cat /proc/1/root{outside}; \
             cd /proc/self/cwd/..; pwd; cat ../outside; ls -d /var/tmp"
        );
        let text = place.sh(&[], &script);
        assert!(!text.contains("outside\noutside"), "{text}");
        assert!(!text.lines().any(|line| line == "outside"), "{text}");
        assert!(!text.lines().any(|line| line == "/var/tmp"), "{text}");
    }

    #[test]
    fn mounts_show_their_sources_and_confine() {
        let Some(place) = place() else { return };
        let bind = place.bind("context", "/src");
        let ro = format!("{bind}:ro");
        let script = "cat /src/file; cat /src/link | head -1; cat /src/sub/up; cd /src/sub; pwd; cat ../file; \
                      echo x > /src/new; mkdir /src/d; rm /src/file; chmod 600 /src/file; touch /src/file; mv /src/file /w; \
                      ln -s /src /w/s; cat /w/s/file; echo x > /w/s/new; cd ..; cd ..; pwd; readlink /proc/self/fd/0";
        let text = place.sh(&["--bind", &ro], script);
        let expected = "from the context\nroot:x:0:0:root:/root:/bin/sh\ncat: can't open '/src/sub/up': No such file or directory\n\
                        /src/sub\nfrom the context\n/bin/sh: can't create /src/new: Read-only file system\n\
                        mkdir: can't create directory '/src/d': Read-only file system\n\
                        rm: can't remove '/src/file': Read-only file system\n\
                        chmod: /src/file: Read-only file system\n\
                        touch: /src/file: Read-only file system\n";
        assert!(text.starts_with(expected), "{text}");
        assert!(
            text.contains("\nfrom the context\n/bin/sh: can't create /w/s/new: Read-only file system\n/\n"),
            "{text}"
        );
        assert!(place.dir.path().join("context/file").exists());
        assert!(!place.tree.join("src").exists(), "the mount point is removed");
        let text = place.sh(&["--bind", &bind], "echo new > /src/sub/n; cat /src/sub/n; stat -c %u:%g /src/file; chown 5:6 /src/sub/n; stat -c %u:%g /src/sub/n; mv /src/sub/n /w/n; cat /w/n");
        assert_eq!(text, "new\n0:0\n5:6\nnew\n");
        // Another tree sees what this one said of files in the mount.
        let cache = place.bind("context", "/cache");
        place.sh(&["--bind", &cache], "chown 7:8 /cache/sub; echo x > /cache/sub/made; chown 7:8 /cache/sub/made");
        let moved = place.dir.path().join("other/tree");
        super::tree(&moved, Path::new("/bin/busybox"));
        give(&moved);
        give(moved.parent().expect("a parent"));
        let other = Place { dir: tempfile::tempdir().expect("dir"), tree: moved };
        let script = "stat -c %u:%g /cache/sub/made; echo y > /cache/sub/made; cat /cache/sub/made";
        assert_eq!(other.sh(&["--bind", &cache, "--user", "7:8"], script), "7:8\ny\n");
    }

    #[test]
    fn tmpfs_secrets_and_files_leave_no_trace() {
        let Some(place) = place() else { return };
        let file = place.bind("context/file", "/etc/bound");
        let options = ["--tmpfs", "/w/t", "--secret", "/run/secrets/x=hush", "--bind", &file];
        let script = "echo a > /w/t/a; cat /w/t/a; cat /run/secrets/x; echo; cat /etc/bound; stat -c '%a %s' /run/secrets/x; \
                      ls -l /run/secrets | wc -l; ls /w/t; cp /run/secrets/x /w/copy; cat /w/copy; rm /run/secrets/x";
        let text = place.sh(&options, script);
        assert_eq!(
            text,
            "a\nhush\nfrom the context\n400 4\n2\na\nhushrm: can't remove '/run/secrets/x': Device or resource busy\nexit 1\n"
        );
        assert!(!place.tree.join("run").exists());
        assert_eq!(fs::read_dir(place.tree.join("w")).expect("w").count(), 1, "only the copy is left");
        assert!(!place.tree.join("etc/bound").exists());
        let beside: Vec<_> = fs::read_dir(place.dir.path()).expect("list").flatten().map(|e| e.file_name()).collect();
        assert!(beside.iter().all(|name| !name.to_string_lossy().contains(".step-")), "{beside:?}");
    }

    #[test]
    fn the_tree_is_as_it_was() {
        let Some(place) = place() else { return };
        let state = |name: &str| {
            let found = fs::metadata(place.tree.join(name)).expect(name);
            (found.mode(), found.mtime(), found.mtime_nsec(), found.ino())
        };
        let before = ["proc", "dev", "sys", "etc", "."].map(state);
        assert_eq!(place.sh(&[], "true"), "");
        assert_eq!(["proc", "dev", "sys", "etc", "."].map(state), before);
        assert_eq!(place.sh(&[], "exit 3"), "exit 3\n");
        assert_eq!(["proc", "dev", "sys", "etc", "."].map(state), before);
        assert!(place.sh(&["--cwd", "/nothing"], "true").contains("/nothing"));
        assert_eq!(["proc", "dev", "sys", "etc", "."].map(state), before);
    }

    #[test]
    fn a_step_that_was_killed_is_cleaned_up_by_the_next() {
        let Some(place) = place() else { return };
        let mode = |name: &str| fs::metadata(place.tree.join(name)).expect(name).mode() & 0o7777;
        assert_eq!(place.sh(&[], "kill -9 $PPID 2>/dev/null; true"), "", "the helper is not the step's to kill");
        let before = mode("proc");
        let note = serde_json::to_vec(&[("proc".as_bytes(), 0o755)]).expect("json");
        fs::write(place.dir.path().join("tree.doors"), note).expect("write");
        fs::set_permissions(place.tree.join("proc"), fs::Permissions::from_mode(0o000)).expect("mode");
        fs::create_dir(place.dir.path().join("tree.step-4194999")).expect("mkdir");
        give(place.dir.path());
        assert_eq!(place.sh(&[], "ls -d /proc/self"), "/proc/self\n");
        assert_eq!(mode("proc"), before);
        assert!(!place.dir.path().join("tree.step-4194999").exists());
        assert!(!place.dir.path().join("tree.doors").exists());
    }

    #[test]
    fn owners_are_kept_from_step_to_step() {
        let Some(place) = place() else { return };
        assert_eq!(place.sh(&["--cwd", "/w"], "touch f; chown 33:44 f; chmod 4711 f; mknod n c 1 3"), "");
        assert_eq!(
            place.sh(&["--cwd", "/w"], "stat -c '%a %u:%g' f; stat -c '%F' n"),
            "4711 33:44\ncharacter special file\n"
        );
        let table =
            sandbox::intercept::OwnershipTable::load(&sandbox::intercept::table_path(&place.tree)).expect("table");
        let facts: Vec<_> = table.iter().map(|(_, facts)| (facts.owner, facts.mode, facts.rdev)).collect();
        assert!(facts.iter().any(|f| f.0 == Some((33, 44))), "{facts:?}");
        assert!(facts.contains(&(None, Some(0o20644), (1, 3))), "{facts:?}");
    }

    #[test]
    fn what_is_left_running_ends_with_the_step() {
        let Some(place) = place() else { return };
        let name = format!("1{:09}", std::process::id());
        let script = format!("(setsid sleep {name} &) ; sleep {name} & exit 5");
        assert_eq!(place.sh(&[], &script), "exit 5\n");
        let running = fs::read_dir("/proc").expect("proc").flatten().any(|entry| {
            fs::read(entry.path().join("cmdline"))
                .is_ok_and(|line| line.windows(name.len()).any(|w| w == name.as_bytes()))
        });
        assert!(!running);
    }

    #[test]
    fn another_user_and_no_network() {
        let Some(place) = place() else { return };
        assert_eq!(
            place.sh(&["--user", "7:8"], "id -u; id -g; touch /w/x; touch /tmp/x; stat -c %u:%g /tmp/x"),
            "7\n8\ntouch: /w/x: Permission denied\n7:8\n"
        );
        let text = place.sh(&["--net", "none"], "wget -q -O - http://127.0.0.1:1/ ; echo end");
        assert!(text.contains("end") && !text.contains("refused"), "{text}");
    }

    #[test]
    fn what_cannot_start_says_why() {
        let Some(place) = place() else { return };
        let run = |command: &[&str]| printed(&step(&place.tree, &[], command));
        assert!(run(&["nothing"]).contains("nothing: not found in the root file system"));
        assert!(run(&["/etc/passwd"]).contains("/etc/passwd: cannot be executed: Permission denied"));
        fs::write(place.tree.join("bin/bad"), "text").expect("write");
        fs::set_permissions(place.tree.join("bin/bad"), fs::Permissions::from_mode(0o755)).expect("mode");
        give(&place.tree);
        assert!(run(&["/bin/bad"]).contains("/bin/bad: cannot be executed: Exec format error"));
    }
}
