//! Root file systems and mounts, and that mount points leave no trace.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use sandbox::{Mount, MountKind, Rootfs};

use crate::support::{Tree, listing, output, root_or_skip, run, shell};

fn file(target: &str, content: &[u8], mode: u32, uid: u32) -> Mount {
    Mount::new(target, MountKind::File { content: content.to_vec(), mode, uid, gid: uid })
}

#[test]
fn an_overlay_keeps_changes_in_its_upper_directory() {
    if !root_or_skip("an_overlay_keeps_changes_in_its_upper_directory") {
        return;
    }
    let tree = Tree::new();
    let (rootfs, upper) = tree.overlay("a");
    let before = listing(&tree.path("root"));
    output(&shell(
        rootfs,
        "echo new > /etc/new; rm /etc/group; mv /home/app /home/user 2>/dev/null || true; chmod 700 /root",
    ));
    assert_eq!(fs::read_to_string(upper.join("etc/new")).expect("new"), "new\n");
    let whiteout = fs::symlink_metadata(upper.join("etc/group")).expect("whiteout");
    assert_eq!((whiteout.rdev(), whiteout.mode() & 0o170_000), (0, 0o020_000));
    assert_eq!(fs::metadata(upper.join("root")).expect("root").mode() & 0o777, 0o700);
    assert_eq!(listing(&tree.path("root")), before);
}

#[test]
fn two_hundred_layers_are_merged() {
    if !root_or_skip("two_hundred_layers_are_merged") {
        return;
    }
    let tree = Tree::new();
    let (rootfs, _) = tree.overlay("a");
    let Rootfs::Overlay { lowers, upper, work } = rootfs else { panic!("overlay") };
    let mut all: Vec<_> = (0..200)
        .map(|n| {
            let layer = tree.path(&format!("a layer with a long name, a comma and a colon: {n}"));
            fs::create_dir(&layer).expect("mkdir");
            fs::write(layer.join(format!("file-{n}")), n.to_string()).expect("write");
            fs::write(layer.join("top"), n.to_string()).expect("write");
            layer
        })
        .collect();
    all.extend(lowers);
    let rootfs = Rootfs::Overlay { lowers: all, upper, work };
    assert_eq!(output(&shell(rootfs, "ls / | grep -c file-; cat /top")), "200\n0");
}

#[test]
fn mounts_of_every_kind() {
    if !root_or_skip("mounts_of_every_kind") {
        return;
    }
    let tree = Tree::new();
    let source = tree.path("source");
    fs::create_dir(&source).expect("mkdir");
    fs::write(source.join("a"), "bound\n").expect("write");
    fs::create_dir(tree.path("scratch")).expect("mkdir");
    let socket = std::os::unix::net::UnixListener::bind(tree.path("socket")).expect("socket");
    let mut spec = tree.shell(
        "cat /ro/a /run/secrets/key; stat -c '%a %u:%g' /run/secrets/key; echo x 2>/dev/null > /ro/b || echo read-only; \
         echo x 2>/dev/null > /run/secrets/key || echo read-only; echo kept > /rw/b; cat /scratch/a; rm /scratch/a; echo y > /scratch/c; \
         ls /scratch; touch /cache/x; df -k /cache | awk 'NR==2{print $2}'; stat -c %a /cache; stat -c %F /run/agent.sock; cat /rw/inner",
    );
    spec.mounts = vec![
        Mount::new("/ro", MountKind::Bind { source: source.clone(), readonly: true }),
        Mount::new("/rw", MountKind::Bind { source: source.clone(), readonly: false }),
        file("/run/secrets/key", b"secret\n", 0o400, 1000),
        Mount::new("/scratch", MountKind::Scratch { source: source.clone(), scratch: tree.path("scratch") }),
        Mount::new("/cache", MountKind::Tmpfs { size: Some(1 << 20), mode: 0o1777 }),
        Mount::new("/run/agent.sock", MountKind::Socket { source: tree.path("socket"), mode: 0o600, uid: 0, gid: 0 }),
        file("/rw/inner", b"inner\n", 0o644, 0),
    ];
    let before = listing(&tree.path("root"));
    assert_eq!(
        output(&spec),
        "bound\nsecret\n400 1000:1000\nread-only\nread-only\nbound\nb\nc\ninner\n1024\n1777\nsocket\ninner\n"
    );
    drop(socket);
    assert_eq!(listing(&tree.path("root")), before, "mount points must be gone");
    assert_eq!(fs::read_to_string(source.join("a")).expect("a"), "bound\n");
    assert_eq!(fs::read_to_string(source.join("b")).expect("b"), "kept\n");
    assert!(!source.join("c").exists());
    // A mount point inside a writable bind is made in the bound directory, and stays there, as in docker.
    assert_eq!(fs::metadata(source.join("inner")).expect("inner").len(), 0);
}

#[test]
fn mount_points_leave_no_trace_on_either_kind_of_root() {
    if !root_or_skip("mount_points_leave_no_trace_on_either_kind_of_root") {
        return;
    }
    let tree = Tree::new();
    for missing in ["proc", "sys", "dev"] {
        fs::remove_dir(tree.path("root").join(missing)).expect("rmdir");
    }
    let mtime =
        |path: &str| fs::metadata(tree.path("root").join(path)).map(|m| (m.mtime(), m.mtime_nsec())).expect(path);
    let old = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec { tv_sec: 1_000_000, tv_nsec: 5 },
        last_modification: rustix::fs::Timespec { tv_sec: 1_000_000, tv_nsec: 5 },
    };
    for path in ["", "etc", "home", "home/app"] {
        rustix::fs::utimensat(rustix::fs::CWD, tree.path("root").join(path), &old, rustix::fs::AtFlags::empty())
            .expect("utimes");
    }
    let mounts = vec![
        file("/etc/resolv.conf", b"nameserver 127.0.0.1\n", 0o644, 0),
        file("/home/app/.config/deep/key", b"", 0o400, 0),
        Mount::new("/home/app/.cache", MountKind::Tmpfs { size: None, mode: 0o755 }),
    ];
    let before = listing(&tree.path("root"));
    let mut spec = tree.shell("cat /etc/resolv.conf; echo x > /home/app/.cache/y");
    spec.mounts = mounts.clone();
    assert_eq!(output(&spec), "nameserver 127.0.0.1\n");
    assert_eq!(listing(&tree.path("root")), before);
    for path in ["", "etc", "home", "home/app"] {
        assert_eq!(mtime(path), (1_000_000, 5), "/{path}");
    }
    // The same on an overlay: nothing at all in the upper directory.
    let (rootfs, upper) = tree.overlay("a");
    spec.rootfs = rootfs;
    output(&spec);
    assert_eq!(listing(&upper), Vec::<String>::new());
    // What the step does beside a mount point stays, and only that.
    let (rootfs, upper) = tree.overlay("b");
    spec.rootfs = rootfs;
    spec.argv[2] = "echo mine > /home/app/.config/mine; chmod 711 /etc".into();
    output(&spec);
    let paths: Vec<_> = listing(&upper).iter().map(|l| l.split(' ').next().unwrap_or("").to_owned()).collect();
    assert_eq!(paths, ["etc", "home", "home/app", "home/app/.config", "home/app/.config/mine"]);
    assert_eq!(fs::metadata(upper.join("home")).expect("home").mtime(), 1_000_000);
}

#[test]
fn links_in_the_image_never_lead_a_mount_out_of_it() {
    if !root_or_skip("links_in_the_image_never_lead_a_mount_out_of_it") {
        return;
    }
    let tree = Tree::new();
    let outside = tree.path("outside");
    fs::create_dir(&outside).expect("mkdir");
    symlink(&outside, tree.path("root/escape")).expect("link");
    symlink("../../../../run/stub/resolv.conf", tree.path("root/etc/resolv.conf")).expect("link");
    let mut spec = tree.shell("cat /escape/file /etc/resolv.conf; ls /run/stub");
    spec.mounts = vec![file("/escape/file", b"in\n", 0o644, 0), file("/etc/resolv.conf", b"ns\n", 0o644, 0)];
    assert_eq!(output(&spec), "in\nns\nresolv.conf\n");
    assert_eq!(listing(&outside), Vec::<String>::new());
    spec.mounts = vec![Mount::new("/etc/passwd", MountKind::Tmpfs { size: None, mode: 0o755 })];
    let error = run(&spec).expect_err("a file where a directory is mounted").to_string();
    assert!(error.contains("make the mount point /etc/passwd: Not a directory"), "{error}");
}

#[test]
fn a_missing_source_is_named() {
    if !root_or_skip("a_missing_source_is_named") {
        return;
    }
    let tree = Tree::new();
    let mut spec = tree.shell("true");
    spec.mounts = vec![Mount::new("/x", MountKind::Bind { source: "/no/such".into(), readonly: true })];
    let error = run(&spec).expect_err("no source").to_string();
    assert_eq!(
        error,
        "cannot set up the step in namespaces isolation: open /no/such for the mount at /x: No such file or directory (os error 2)"
    );
}
