//! What a step can see: nothing of the builder.

use std::os::fd::AsRawFd;

use sandbox::{Network, Security};

use crate::support::{Tree, output, root_or_skip, run};

#[test]
fn nothing_of_the_builder_is_visible() {
    if !root_or_skip("nothing_of_the_builder_is_visible") {
        return;
    }
    let tree = Tree::new();
    // A descriptor that is not close-on-exec, as a careless library might leave one.
    let leak = std::fs::File::open("/etc/passwd").expect("open");
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).expect("fcntl");
    let fds = output(&tree.shell("ls /proc/self/fd | sort -n | tr '\\n' ' '; ls -l /proc/self/fd"));
    // 3 is ls reading the directory.
    assert!(fds.starts_with("0 1 2 3 "), "{fds} ({} must not leak)", leak.as_raw_fd());
    assert!(!fds.contains("passwd"));
    // Only pid 1, the shell and the tools exist.
    assert_eq!(output(&tree.shell("echo /proc/[0-9]*; echo $$")), "/proc/1 /proc/2\n2\n");
    let place = tree.dir.path().to_str().expect("utf-8");
    let (rootfs, _) = tree.overlay("a");
    let overlay = output(&crate::support::shell(rootfs, "cat /proc/self/mountinfo /proc/self/mounts"));
    assert!(!overlay.contains(place), "{overlay}");
    assert_eq!(output(&tree.shell("cat /proc/self/cgroup | grep -v ':/$' | grep '^0:' | wc -l")).trim(), "0");
}

#[test]
fn system_directories_are_those_of_a_container() {
    if !root_or_skip("system_directories_are_those_of_a_container") {
        return;
    }
    let tree = Tree::new();
    let dev = output(&tree.shell("cd /dev; for f in *; do stat -c '%n %F %a' $f; done; for l in fd stdin stdout stderr ptmx; do readlink $l; done; stat -c %t:%T null tty"));
    assert_eq!(
        dev,
        "core symbolic link 777\nfd symbolic link 777\nfull character special file 666\nmqueue directory 1777\n\
         null character special file 666\nptmx symbolic link 777\npts directory 755\nrandom character special file 666\n\
         shm directory 1777\nstderr symbolic link 777\nstdin symbolic link 777\nstdout symbolic link 777\n\
         tty character special file 666\nurandom character special file 666\nzero character special file 666\n\
         /proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n1:3\n5:0\n"
    );
    let mut spec = tree.shell("df -k /dev/shm | awk 'NR==2{print $2}'; cat /proc/kcore /proc/keys 2>/dev/null | wc -c; ls /sys/firmware | wc -l; touch /sys/firmware/x; touch /sys/x; echo 1 > /proc/sys/vm/swappiness");
    spec.shm_size = 1 << 20;
    let got = run(&spec).expect("run");
    assert_eq!(got.out, "1024\n0\n0\n");
    assert_eq!(got.err.matches("Read-only file system").count(), 3, "{}", got.err);
    spec.security = Security::Insecure;
    assert!(output_of(&spec).starts_with("1024\n"));
}

fn output_of(spec: &sandbox::Spec) -> String {
    run(spec).expect("run").out
}

#[test]
fn network_none_has_a_loopback_and_nothing_else() {
    if !root_or_skip("network_none_has_a_loopback_and_nothing_else") {
        return;
    }
    let tree = Tree::new();
    let mut spec = tree.shell("ls /sys/class/net; ip addr show lo | grep -c 127.0.0.1; grep -c : /proc/net/dev");
    spec.network = Network::None;
    let got = output(&spec);
    assert!(got.starts_with("lo\n1\n"), "{got}");
}
