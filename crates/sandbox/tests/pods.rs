//! The conformance table in every pod that users have, in every isolation that works there; a pod is afterwards as it
//! was. Needs root and runc.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use testkit::{Pod, PodKind, PodSpec, bases, pod};

const TOOLS: &[(&str, &str)] = &[("busybox", "busybox-static"), ("runc", "runc")];

#[test]
#[allow(clippy::print_stderr, reason = "says what was run, or why nothing")]
fn steps_conform_in_every_pod() {
    let test = "steps_conform_in_every_pod";
    if !testkit::available(test, TOOLS) {
        return;
    }
    if !testkit::is_root() {
        assert!(std::env::var_os("CI").is_none(), "{test}: CI must run this test as root");
        eprintln!("{test}: passed over; it needs root");
        return;
    }
    let shared = tempfile::tempdir().expect("a directory");
    let program = shared.path().join("conformance");
    fs::copy(env!("CARGO_BIN_EXE_conformance"), &program).expect("a copy");
    for path in [shared.path(), &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("mode");
    }
    let rootfs = pod::rootfs(&bases::BUSYBOX).expect("a root file system for pods");
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = PodKind::ALL
            .into_iter()
            .map(|kind| {
                let (rootfs, shared) = (&rootfs, shared.path());
                scope.spawn(move || in_pod(kind, rootfs, shared))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let wrong = wrong.concat();
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[allow(clippy::print_stderr, reason = "says what was run")]
fn in_pod(kind: PodKind, rootfs: &Path, shared: &Path) -> String {
    let pod: Pod = PodSpec::new(kind, rootfs).bind_read_only(shared, "/shared").start().expect("runc and overlayfs");
    // Device nodes for a chroot cannot be made in a user namespace.
    let isolations: &[&str] =
        if kind == PodKind::Root { &["intercept", "chroot", "plain-chroot"] } else { &["intercept"] };
    let mut wrong = String::new();
    for isolation in isolations {
        let words = ["/shared/conformance", isolation, "/workspace", "/bin/busybox"];
        let output = pod.run(&words).expect("runc");
        let text = String::from_utf8_lossy(&output.stdout);
        eprintln!("{} pod: {}", kind.name(), text.lines().last().unwrap_or_default());
        if !output.status.success() {
            wrong += &format!("{} pod, {isolation}:\n{text}{}\n", kind.name(), String::from_utf8_lossy(&output.stderr));
        }
    }
    for change in pod.changes(&["/workspace"]).expect("the pod's upper directory") {
        wrong += &format!("{} pod: left behind: {change}\n", kind.name());
    }
    wrong
}
