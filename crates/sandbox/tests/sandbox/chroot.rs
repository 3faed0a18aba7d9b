//! The `plain-chroot` isolation: no mount, no namespace, and the tree as the step left it.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use sandbox::{CancelToken, Isolation, Mount, MountKind, Network, RunError, Spec, Status, User};

use crate::support::{Tree, listing, output, root_or_skip, run, run_with};

fn chroot(tree: &Tree, script: &str) -> Spec {
    let mut spec = tree.shell(script);
    spec.isolation = Isolation::PlainChroot;
    spec
}

fn file(target: &str, content: &[u8]) -> Mount {
    Mount::new(target, MountKind::File { content: content.to_vec(), mode: 0o640, uid: 1, gid: 2 })
}

#[test]
fn statuses_users_and_devices() {
    if !root_or_skip("statuses_users_and_devices") {
        return;
    }
    let tree = Tree::new();
    for (script, status) in [
        ("exit 7", Status::Code(7)),
        ("kill -9 $$", Status::Signal(9)),
        (concat!("test -e ", env!("CARGO_MANIFEST_DIR")), Status::Code(1)),
        ("mount -t tmpfs none /tmp", Status::Code(1)),
    ] {
        assert_eq!(run(&chroot(&tree, script)).expect(script).exit.status, status, "{script}");
    }
    let script = "id -u; echo x > /dev/null; head -c 3 /dev/zero | wc -c; test -s /proc/meminfo && echo memory; su app -c 'id -u'; \
                  chown 5:6 /tmp; stat -c %u:%g /tmp; env | wc -l";
    assert_eq!(output(&chroot(&tree, script)), "0\n3\nmemory\n1000\n5:6\n4\n");
    let mut spec = chroot(&tree, "pwd; id -u; id -G; grep x /proc/self/status");
    spec.user = User { uid: 1000, gid: 1000, groups: vec![50] };
    spec.cwd = "/home/app".into();
    let got = run(&spec).expect("run");
    assert_eq!(got.out, "/home/app\n1000\n1000 50\n");
}

#[test]
fn what_a_step_leaves_running_is_ended() {
    if !root_or_skip("what_a_step_leaves_running_is_ended") {
        return;
    }
    let tree = Tree::new();
    let script = "setsid nohup sh -c 'setsid sleep 1000 & while true; do sleep 1000; done' & echo started";
    assert_eq!(output(&chroot(&tree, script)), "started\n");
    let token = CancelToken::new();
    let script = "trap '' TERM; (trap '' TERM; setsid sleep 1000) & echo ready; while true; do sleep 1000; done";
    let result = run_with(&chroot(&tree, script), &token, |out| {
        if out.contains("ready") {
            token.cancel();
        }
    });
    assert!(matches!(result, Err(RunError::Cancelled)), "{result:?}");
    assert!(!tree.path("root.stash").exists());
}

#[test]
fn furniture_leaves_no_trace() {
    if !root_or_skip("furniture_leaves_no_trace") {
        return;
    }
    let tree = Tree::new();
    let root = tree.path("root");
    fs::write(root.join("etc/hosts"), "image\n").expect("write");
    fs::write(root.join("dev/kept"), "image\n").expect("write");
    fs::remove_dir(root.join("sys")).expect("rmdir");
    symlink("../run/resolv.conf", root.join("etc/resolv.conf")).expect("link");
    let source = tree.path("source");
    let cache = tree.path("cache");
    fs::create_dir_all(source.join("deep")).expect("mkdir");
    fs::create_dir(&cache).expect("mkdir");
    fs::write(source.join("deep/file"), "bound\n").expect("write");
    let socket = std::os::unix::net::UnixListener::bind(tree.path("socket")).expect("socket");
    let before = listing(&root);
    let state = |path: &str| {
        let meta = fs::symlink_metadata(root.join(path)).expect(path);
        (meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.uid(), meta.mode())
    };
    let paths = ["", "etc", "etc/hosts", "dev", "dev/kept", "home", "proc"];
    let states: Vec<_> = paths.iter().map(|path| state(path)).collect();
    let mut spec = chroot(
        &tree,
        "cat /etc/hosts /etc/resolv.conf /run/secrets/deep/key /bind/deep/file; stat -c '%a %u:%g' /run/secrets/deep/key; \
         echo y > /cache/y; echo z > /bind/z; rm -r /bind/deep; touch /home/app/.cache/x; stat -c %a /home/app/.cache; \
         stat -c %F /run/agent; ls /dev/kept 2>/dev/null",
    );
    spec.mounts = vec![
        file("/etc/hosts", b"hosts\n"),
        file("/etc/resolv.conf", b"resolv\n"),
        file("/run/secrets/deep/key", b"secret\n"),
        Mount::new("/bind", MountKind::Bind { source: source.clone(), readonly: true }),
        Mount::new("/cache", MountKind::Bind { source: cache.clone(), readonly: false }),
        Mount::new("/home/app/.cache", MountKind::Tmpfs { size: None, mode: 0o1777 }),
        Mount::new("/run/agent", MountKind::Socket { source: tree.path("socket"), mode: 0o600, uid: 0, gid: 0 }),
    ];
    let got = run(&spec).expect("run");
    assert_eq!(got.out, "hosts\nresolv\nsecret\nbound\n640 1:2\n1777\nsocket\n", "{got:?}");
    drop(socket);
    assert_eq!(listing(&root), before);
    assert_eq!(paths.iter().map(|path| state(path)).collect::<Vec<_>>(), states);
    assert_eq!(fs::read_to_string(source.join("deep/file")).expect("file"), "bound\n");
    assert!(!source.join("z").exists() && cache.join("y").exists());
    // Also after a set-up that fails half way.
    spec.mounts.push(Mount::new("/x", MountKind::Bind { source: "/no/such".into(), readonly: true }));
    let error = run(&spec).expect_err("no source").to_string();
    assert!(error.contains("in plain-chroot isolation: provide the mount at /x: No such file"), "{error}");
    assert_eq!(listing(&root), before);
}

/// Without mount(2) nothing keeps a step from moving what stands in for a mount.
#[test]
fn a_step_takes_a_mount_away() {
    if !root_or_skip("a_step_takes_a_mount_away") {
        return;
    }
    let tree = Tree::new();
    let cache = tree.path("cache");
    for script in ["rm -r /cache", "mv /cache /taken", "rm -r /cache; echo x > /cache"] {
        fs::remove_dir_all(&cache).ok();
        fs::create_dir(&cache).expect("mkdir");
        fs::write(cache.join("x"), "x").expect("write");
        let mut spec = chroot(&tree, script);
        spec.mounts = vec![Mount::new("/cache", MountKind::Bind { source: cache.clone(), readonly: false })];
        assert!(run(&spec).expect(script).exit.status.success(), "{script}");
        assert_eq!(fs::read_dir(&cache).expect("there again").count(), 0, "{script}");
        assert!(!tree.path("root/cache").exists(), "{script}");
    }
}

#[test]
fn without_a_network() {
    if !root_or_skip("without_a_network") {
        return;
    }
    let tree = Tree::new();
    let mut spec = chroot(&tree, "ping -c 1 127.0.0.1 2>&1");
    symlink("busybox", tree.path("root/bin/ping")).expect("applet");
    spec.network = Network::None;
    let got = run(&spec).expect("run").out;
    assert!(got.contains("ermission denied"), "{got}");
}
