//! The same steps for an ordinary user, in a user namespace with subordinate ids and with a single id.
//!
//! The builder runs as another user here: the helper program, started by root under that user's ids.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sandbox::{Mount, MountKind, Network, Rootfs, Spec, User};

use crate::support::{make_tree, root_or_skip, shell, skip_unless};

/// A user who has subordinate ids: name, uid, gid, first subordinate id.
fn user_with_ranges() -> Option<(String, u32, u32, u32)> {
    let subuid = fs::read_to_string("/etc/subuid").ok()?;
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    subuid.lines().find_map(|line| {
        let (name, range) = line.split_once(':')?;
        let account = passwd.lines().find(|line| line.starts_with(&format!("{name}:")))?;
        let mut ids = account.split(':').skip(2).map(str::parse);
        let (uid, gid) = (ids.next()?.ok()?, ids.next()?.ok()?);
        (uid != 0).then_some((name.to_owned(), uid, gid, range.split(':').next()?.parse().ok()?))
    })
}

struct Place {
    dir: tempfile::TempDir,
    name: String,
    uid: u32,
    gid: u32,
    ranges: bool,
}

impl Place {
    fn new(name: &str, uid: u32, gid: u32, ranges: bool) -> Self {
        let dir = tempfile::Builder::new().prefix("sandbox-").tempdir().expect("temporary directory");
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("chmod");
        fs::copy(env!("CARGO_BIN_EXE_sandbox-helper"), dir.path().join("helper")).expect("copy");
        let home = dir.path().join("home");
        for name in ["", "root", "upper", "work"] {
            fs::create_dir(home.join(name)).expect("mkdir");
        }
        make_tree(&home.join("root"));
        give(&home, uid, gid);
        Place { dir, name: name.to_owned(), uid, gid, ranges }
    }

    fn single() -> Self {
        Place::new("nobody", 65534, 65534, false)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("home").join(name)
    }

    fn shell(&self, overlay: bool, script: &str) -> Spec {
        let root = self.path("root");
        let (upper, work) = (self.path("upper"), self.path("work"));
        shell(
            if overlay { Rootfs::Overlay { lowers: vec![root], upper, work } } else { Rootfs::Directory(root) },
            script,
        )
    }

    fn run(&self, spec: &Spec) -> Output {
        let subids = if self.ranges { ["/etc/subuid", "/etc/subgid"] } else { ["/no/subuid", "/no/subgid"] };
        let mut child = Command::new(self.dir.path().join("helper"))
            .args(["--userns", &self.name])
            .args(subids)
            .uid(self.uid)
            .gid(self.gid)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("spawn");
        let json = serde_json::to_vec(spec).expect("json");
        child.stdin.take().expect("stdin").write_all(&json).expect("write");
        child.wait_with_output().expect("wait")
    }

    fn output(&self, spec: &Spec) -> String {
        let output = self.run(spec);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn give(path: &Path, uid: u32, gid: u32) {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid)).expect("chown");
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).expect("read_dir") {
            give(&entry.expect("entry").path(), uid, gid);
        }
    }
}

/// What every kind of user namespace must do.
fn common(place: &Place) {
    for (script, code) in [("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)] {
        assert_eq!(place.run(&place.shell(false, script)).status.code(), Some(code), "{script}");
    }
    let mut spec = place.shell(
        true,
        "id -u; cat /run/secrets/key; echo x > /dev/null; head -c 4 /dev/zero | wc -c; touch /sys/x 2>/dev/null || echo ro; \
         ls /dev/pts; echo /proc/[0-9]*; mkdir /new; rm /etc/group; rm -r /home/app; mkdir /home/app; touch /tmp/file",
    );
    spec.network = Network::Host;
    spec.mounts = vec![Mount::new(
        "/run/secrets/key",
        MountKind::File { content: b"secret\n".to_vec(), mode: 0o400, uid: 0, gid: 0 },
    )];
    assert_eq!(place.output(&spec), "0\nsecret\n4\nro\nptmx\n/proc/1 /proc/2\n");
    let upper = place.path("upper");
    let names: Vec<_> =
        crate::support::listing(&upper).iter().map(|l| l.split(' ').next().unwrap_or("").to_owned()).collect();
    assert_eq!(names, ["etc", "etc/group", "home", "home/app", "new", "tmp", "tmp/file"]);
    let mut value = [0; 4];
    let length = rustix::fs::getxattr(upper.join("home/app"), "user.overlay.opaque", &mut value[..]).expect("opaque");
    assert_eq!(&value[..length], b"y");
    assert_eq!(fs::metadata(upper.join("new")).expect("new").uid(), place.uid);
    let mut spec = place.shell(false, "ls /sys/class/net; ip addr show lo | grep -c 127.0.0.1");
    spec.network = Network::None;
    assert_eq!(place.output(&spec), "lo\n1\n");
    let refused =
        place.run(&place.shell(
            false,
            "mount -t tmpfs none /tmp; unshare -r true && exit 3; readlink /proc/1/exe && exit 4; exit 0",
        ));
    assert!(refused.status.success(), "{refused:?}");
}

#[test]
fn with_one_id() {
    if !root_or_skip("with_one_id") {
        return;
    }
    let place = Place::single();
    common(&place);
    let output = place.run(&place.shell(false, "true"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said, "{\"kind\":\"single-id\",\"why\":\"/no/subuid: No such file or directory (os error 2)\"}\n");
    let mut spec = place.shell(false, "true");
    spec.user = User { uid: 1000, gid: 1000, groups: vec![] };
    let output = place.run(&spec);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("become group 1000: Invalid argument"), "{said}");
    // Faked: everything succeeds, and stays root's.
    spec.argv[2] = "chown -R 5:6 /home && mknod /tmp/null c 1 3 && su app -c 'echo in' && stat -c %u:%g /home".into();
    spec.fake_ownership = true;
    let kind = MountKind::File { content: vec![], mode: 0o400, uid: 1000, gid: 1000 };
    spec.mounts = vec![Mount::new("/run/secrets/key", kind)];
    assert_eq!(place.output(&spec), "in\n0:0\n");
}

#[test]
fn with_subordinate_ids() {
    if !root_or_skip("with_subordinate_ids") {
        return;
    }
    let user = user_with_ranges();
    let why = "no user in /etc/passwd has subordinate ids (useradd gives some, with the package uidmap)";
    if !skip_unless(user.is_some() && Path::new("/usr/bin/newuidmap").exists(), "with_subordinate_ids", why) {
        return;
    }
    let (name, uid, gid, first) = user.expect("checked above");
    let place = Place::new(&name, uid, gid, true);
    common(&place);
    let mut spec = place.shell(
        false,
        "id -u; id -G; touch /home/app/mine; chown 5:6 /tmp; mknod /tmp/x c 1 3 2>/dev/null || echo no device",
    );
    assert_eq!(place.output(&spec), "0\n0\nno device\n");
    assert_eq!(fs::metadata(place.path("root/tmp")).expect("tmp").uid(), first + 4);
    chown(place.path("root/home/app"), Some(first + 999), Some(first + 999)).expect("chown");
    spec = place.shell(false, "id -u; id -G; touch /home/app/own; stat -c %u:%g /home/app/own");
    spec.user = User { uid: 1000, gid: 1000, groups: vec![50] };
    assert_eq!(place.output(&spec), "1000\n1000 50\n1000:1000\n");
    assert_eq!(fs::metadata(place.path("root/home/app/own")).expect("own").uid(), first + 999);
}
