//! Mounts of a hostile step: what it leaves in a cache, or puts in the place of a mount, leads the builder nowhere.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use sandbox::{Isolation, Mount, MountKind};

use crate::support::{Tree, listing, output, root_or_skip, run};

fn file(target: &str, content: &[u8], mode: u32, uid: u32) -> Mount {
    Mount::new(target, MountKind::File { content: content.to_vec(), mode, uid, gid: uid })
}

/// A directory of the builder's that no step may reach, and one that is mounted.
fn outside_and_cache(tree: &Tree) -> (PathBuf, PathBuf) {
    let pair = (tree.path("outside"), tree.path("cache"));
    for dir in [&pair.0, &pair.1] {
        fs::create_dir(dir).expect("mkdir");
    }
    pair
}

/// What an earlier step left in a cache, or a context brought along: links that would lead a mount point out of it.
#[test]
fn links_in_a_mount_never_lead_a_mount_point_out_of_the_tree() {
    let test = "links_in_a_mount_never_lead_a_mount_point_out_of_the_tree";
    if !root_or_skip(test) {
        return;
    }
    for isolation in [Isolation::Namespaces, Isolation::Intercept, Isolation::PlainChroot] {
        let tree = Tree::new();
        let (outside, cache) = outside_and_cache(&tree);
        fs::write(outside.join("file"), "mine\n").expect("write");
        symlink(&outside, cache.join("absolute")).expect("link");
        symlink("../outside", cache.join("relative")).expect("link");
        symlink("../../../../../../../../etc", cache.join("up")).expect("link");
        let before = listing(&outside);
        let bound = |target: &str| Mount::new(target, MountKind::Bind { source: cache.clone(), readonly: false });
        let tmpfs = |target: &str| Mount::new(target, MountKind::Tmpfs { size: None, mode: 0o755 });
        for inner in [
            tmpfs("/c/absolute/made/deep"),
            file("/c/absolute/secret", b"s\n", 0o400, 0),
            file("/c/absolute/file", b"s\n", 0o400, 0),
            tmpfs("/c/relative/made"),
            tmpfs("/c/relative"),
            file("/c/up/cooperage-was-here", b"s\n", 0o400, 0),
        ] {
            let target = inner.target.display().to_string();
            let mut spec = tree.shell(&format!("echo x > {target}/y; cat {target}; ls /c; :"));
            spec.isolation = isolation;
            spec.mounts = vec![bound("/c"), inner];
            // It may be mounted inside the tree, or be refused.
            let result = run(&spec);
            assert_eq!(listing(&outside), before, "{isolation}: {target}: {result:?}");
            assert!(!Path::new("/etc/cooperage-was-here").exists(), "{isolation}");
            assert_eq!(fs::read_to_string(outside.join("file")).expect("file"), "mine\n", "{isolation}: {target}");
            assert!(cache.join("up").is_symlink(), "{isolation}: {target}: the cache is back");
        }
        // As mount(2) would have it: in the tree's own /etc.
        let mut spec = tree.shell("cat /c/up/in-the-tree /etc/in-the-tree");
        spec.isolation = isolation;
        spec.mounts = vec![bound("/c"), file("/c/up/in-the-tree", b"in\n", 0o400, 0)];
        assert_eq!(output(&spec), "in\nin\n", "{isolation}");
    }
}

/// A step that takes a link for its mount point's parent directory, or for the cache itself, leads nobody astray.
#[test]
fn what_a_step_puts_in_the_place_of_a_mount_is_not_followed() {
    let test = "what_a_step_puts_in_the_place_of_a_mount_is_not_followed";
    if !root_or_skip(test) {
        return;
    }
    for isolation in [Isolation::Namespaces, Isolation::Intercept, Isolation::PlainChroot] {
        let tree = Tree::new();
        let (outside, cache) = outside_and_cache(&tree);
        fs::write(cache.join("kept"), "").expect("write");
        fs::write(outside.join("key"), "mine\n").expect("write");
        fs::set_permissions(outside.join("key"), fs::Permissions::from_mode(0o600)).expect("chmod");
        fs::create_dir_all(tree.path("root/a/b")).expect("mkdir");
        fs::write(tree.path("root/a/b/key"), "").expect("write");
        let before = listing(&outside);
        let script = format!(
            "mv /c /c2; rm -rf /c /c2 2>/dev/null; ln -s {0} /c; mv /a/b /a/moved; ln -s {0} /a/b; :",
            outside.display()
        );
        let mut spec = tree.shell(&script);
        spec.isolation = isolation;
        spec.mounts = vec![
            Mount::new("/c", MountKind::Bind { source: cache.clone(), readonly: false }),
            file("/a/b/key", b"s\n", 0o444, 0),
        ];
        let result = run(&spec);
        assert_eq!(listing(&outside), before, "{isolation}: {result:?}");
        let found = fs::symlink_metadata(&cache).unwrap_or_else(|e| panic!("{isolation}: {e}: {result:?}"));
        assert!(found.is_dir(), "{isolation}: {result:?}");
    }
}

/// Named pipes and devices in what is copied for a writable bind hold nobody up.
#[test]
fn a_writable_bind_of_pipes_and_devices_does_not_wait() {
    let test = "a_writable_bind_of_pipes_and_devices_does_not_wait";
    if !root_or_skip(test) {
        return;
    }
    for isolation in [Isolation::Intercept, Isolation::PlainChroot] {
        let tree = Tree::new();
        let (source, scratch) = (tree.path("source"), tree.path("scratch"));
        for dir in [&source, &scratch] {
            fs::create_dir(dir).expect("mkdir");
        }
        let made = |name: &str, kind| {
            rustix::fs::mknodat(rustix::fs::CWD, source.join(name), kind, 0o600.into(), rustix::fs::makedev(1, 5))
                .expect("mknod");
        };
        made("pipe", rustix::fs::FileType::Fifo);
        made("zero", rustix::fs::FileType::CharacterDevice);
        let _socket = std::os::unix::net::UnixListener::bind(source.join("socket")).expect("socket");
        let mut spec = tree.shell("test -p /m/pipe && echo pipe");
        spec.isolation = isolation;
        spec.mounts = vec![Mount::new("/m", MountKind::Scratch { source, scratch })];
        assert_eq!(output(&spec), "pipe\n", "{isolation}");
    }
}
