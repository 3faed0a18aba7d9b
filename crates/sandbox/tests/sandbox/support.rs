//! A busybox tree, and a step that collects its output.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use sandbox::{CancelToken, Exit, Io, Launcher, Rootfs, RunError, Spec, Status};

pub(crate) const APPLETS: &[&str] = &[
    "sh", "cat", "ls", "id", "echo", "env", "stat", "touch", "mkdir", "rm", "rmdir", "chown", "chmod", "hostname",
    "ps", "sleep", "kill", "mount", "umount", "true", "false", "test", "pwd", "readlink", "wc", "grep", "head", "ln",
    "mv", "cp", "mknod", "su", "chroot", "unshare", "tty", "ip", "dd", "setsid", "nohup", "seq", "find", "sed",
    "mkfifo", "adduser", "addgroup", "df", "cut", "sort", "tr", "od", "date", "uname", "nproc", "awk",
];

pub(crate) fn launcher() -> Launcher {
    Launcher::new(env!("CARGO_BIN_EXE_sandbox-helper"))
}

/// Whether the test can run; says why not. In CI a skip is a failure.
pub(crate) fn root_or_skip(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root() && Path::new("/bin/busybox").exists();
    skip_unless(root, test, "it needs root and a static /bin/busybox")
}

pub(crate) fn skip_unless(can: bool, test: &str, why: &str) -> bool {
    if !can {
        assert!(std::env::var_os("CI").is_none(), "{test} must run in CI: {why}");
        io::Write::write_all(&mut io::stderr(), format!("skipped {test}: {why}\n").as_bytes()).expect("stderr");
    }
    can
}

/// A tree with busybox and the usual files.
pub(crate) fn make_tree(root: &Path) {
    for dir in ["bin", "etc", "tmp", "root", "proc", "sys", "dev", "usr/local/bin", "home/app"] {
        fs::create_dir_all(root.join(dir)).expect("mkdir");
    }
    fs::set_permissions(root, PermissionsExt::from_mode(0o755)).expect("chmod");
    fs::set_permissions(root.join("tmp"), PermissionsExt::from_mode(0o1777)).expect("chmod");
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox");
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).expect("applet");
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n")
        .expect("passwd");
    fs::write(root.join("etc/group"), "root:x:0:\nstaff:x:50:app\napp:x:1000:\n").expect("group");
}

pub(crate) struct Tree {
    pub(crate) dir: tempfile::TempDir,
}

impl Tree {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("sandbox-").tempdir().expect("temporary directory");
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("chmod");
        fs::create_dir(dir.path().join("root")).expect("mkdir");
        make_tree(&dir.path().join("root"));
        Tree { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn directory(&self) -> Rootfs {
        Rootfs::Directory(self.path("root"))
    }

    /// A fresh upper and work directory over the tree.
    pub(crate) fn overlay(&self, name: &str) -> (Rootfs, PathBuf) {
        let (upper, work) = (self.path(&format!("{name}-upper")), self.path(&format!("{name}-work")));
        fs::create_dir(&upper).expect("mkdir");
        fs::create_dir(&work).expect("mkdir");
        (Rootfs::Overlay { lowers: vec![self.path("root")], upper: upper.clone(), work }, upper)
    }

    pub(crate) fn shell(&self, script: &str) -> Spec {
        shell(self.directory(), script)
    }
}

pub(crate) fn shell(rootfs: Rootfs, script: &str) -> Spec {
    let mut spec = Spec::new(rootfs, ["/bin/sh", "-c", script]);
    spec.env = vec![("PATH".into(), "/usr/local/bin:/bin".into()), ("HOME".into(), "/root".into())];
    spec
}

#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) exit: Exit,
}

pub(crate) fn run(spec: &Spec) -> Result<Output, RunError> {
    run_with(spec, &CancelToken::new(), |_| {})
}

/// Runs a step; `seen` gets its output as it comes.
pub(crate) fn run_with(
    spec: &Spec,
    cancel: &CancelToken,
    mut seen: impl FnMut(&str) + Send,
) -> Result<Output, RunError> {
    let (mut out_read, out_write) = io::pipe().expect("pipe");
    let (mut err_read, err_write) = io::pipe().expect("pipe");
    std::thread::scope(|scope| {
        let out = scope.spawn(move || {
            let (mut all, mut part) = (Vec::new(), [0; 4096]);
            loop {
                let got = out_read.read(&mut part).expect("read");
                if got == 0 {
                    return String::from_utf8_lossy(&all).into_owned();
                }
                all.extend(&part[..got]);
                seen(&String::from_utf8_lossy(&all));
            }
        });
        let err = scope.spawn(move || {
            let mut text = String::new();
            err_read.read_to_string(&mut text).expect("read");
            text
        });
        let io = Io {
            stdin: File::open("/dev/null").expect("null").into(),
            stdout: out_write.into(),
            stderr: err_write.into(),
        };
        let exit = launcher().run(spec, io, cancel);
        let (out, err) = (out.join().expect("thread"), err.join().expect("thread"));
        Ok(Output { out, err, exit: exit? })
    })
}

/// The output of a step that must succeed.
pub(crate) fn output(spec: &Spec) -> String {
    let output = run(spec).unwrap_or_else(|error| panic!("{error}\n{:?}", spec.argv));
    assert_eq!(output.exit.status, Status::Code(0), "{output:?}");
    output.out
}

/// Every path below `dir` with its type and mode, sorted.
pub(crate) fn listing(dir: &Path) -> Vec<String> {
    fn walk(dir: &Path, base: &Path, into: &mut Vec<String>) {
        for entry in fs::read_dir(dir).expect("read_dir") {
            let path = entry.expect("entry").path();
            let meta = fs::symlink_metadata(&path).expect("stat");
            into.push(format!(
                "{} {:o}",
                path.strip_prefix(base).expect("prefix").display(),
                meta.permissions().mode()
            ));
            if meta.is_dir() {
                walk(&path, base, into);
            }
        }
    }
    let mut all = Vec::new();
    walk(dir, dir, &mut all);
    all.sort();
    all
}
