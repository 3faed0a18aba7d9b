//! What can be read of a place: identity, limits, sysctls, file systems, emulators.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::Serialize;

/// Facts that explain what the tries found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// Kernel release.
    pub kernel: String,
    /// Machine, as uname has it.
    pub machine: String,
    /// User id of the builder.
    pub uid: u32,
    /// Effective capabilities, as a bit mask.
    pub capabilities: u64,
    /// Whether exec can never gain privileges (`allowPrivilegeEscalation: false`).
    pub no_new_privs: bool,
    /// Whether a seccomp filter is in force.
    pub seccomp: bool,
    /// The AppArmor or SELinux label.
    pub security_label: Option<String>,
    /// `user.max_user_namespaces`.
    pub max_user_namespaces: Option<u64>,
    /// Debian's `kernel.unprivileged_userns_clone`.
    pub unprivileged_userns_clone: Option<u64>,
    /// Ubuntu's `kernel.apparmor_restrict_unprivileged_userns`.
    pub apparmor_restricts_userns: Option<u64>,
    /// Yama's `kernel.yama.ptrace_scope`.
    pub ptrace_scope: Option<u64>,
    /// Memory limit of the control group in bytes.
    pub memory_limit: Option<u64>,
    /// Processors that may be used, limits of the control group included, in thousandths.
    pub processors_milli: u64,
    /// Type of the file system that holds the store.
    pub store_type: String,
    /// Bytes free for the store.
    pub store_free: u64,
    /// Inodes free for the store.
    pub store_inodes_free: u64,
    /// Architectures that binfmt_misc hands to an emulator (`qemu-aarch64`, …).
    pub binfmt: Vec<String>,
    /// Emulators in the search path (`qemu-aarch64`, `qemu-aarch64-static`, …).
    pub qemu: Vec<String>,
}

/// Reads the facts. `path` is the search path, `store` an existing directory.
pub(super) fn read(store: &Path, path: &OsStr) -> Facts {
    let status = text("/proc/self/status");
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or("");
    let uname = rustix::system::uname();
    let volume = rustix::fs::statvfs(store).ok();
    Facts {
        kernel: uname.release().to_string_lossy().into_owned(),
        machine: uname.machine().to_string_lossy().into_owned(),
        uid: rustix::process::geteuid().as_raw(),
        capabilities: u64::from_str_radix(field("CapEff:"), 16).unwrap_or(0),
        no_new_privs: field("NoNewPrivs:") == "1",
        seccomp: field("Seccomp:") == "2",
        security_label: Some(text("/proc/self/attr/current").trim_matches(['\0', '\n']).to_owned())
            .filter(|label| !label.is_empty() && label != "unconfined"),
        max_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
        unprivileged_userns_clone: number("/proc/sys/kernel/unprivileged_userns_clone"),
        apparmor_restricts_userns: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        ptrace_scope: number("/proc/sys/kernel/yama/ptrace_scope"),
        memory_limit: memory_limit(),
        processors_milli: processors_milli(&text("/sys/fs/cgroup/cpu.max")),
        store_type: rustix::fs::statfs(store).map_or_else(|_| String::new(), |s| file_system(s.f_type as u64)),
        store_free: volume.as_ref().map_or(0, |v| v.f_bavail.saturating_mul(v.f_frsize)),
        store_inodes_free: volume.as_ref().map_or(0, |v| v.f_favail),
        binfmt: names(Path::new("/proc/sys/fs/binfmt_misc"), |name| name.starts_with("qemu-")),
        qemu: qemu(path),
    }
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn number(path: &str) -> Option<u64> {
    text(path).trim().parse().ok()
}

fn memory_limit() -> Option<u64> {
    // Without a limit v2 says "max" and v1 a number close to 2^63.
    let limit = number("/sys/fs/cgroup/memory.max").or_else(|| number("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
    limit.filter(|limit| *limit < 1 << 60)
}

fn processors_milli(cpu_max: &str) -> u64 {
    let online = std::thread::available_parallelism().map_or(1, |n| n.get() as u64) * 1000;
    let mut fields = cpu_max.split_ascii_whitespace().map(|field| field.parse::<u64>().ok());
    match (fields.next().flatten(), fields.next().flatten()) {
        (Some(quota), Some(period)) if period > 0 => online.min(quota.saturating_mul(1000) / period),
        _ => online,
    }
}

fn file_system(magic: u64) -> String {
    match magic & 0xffff_ffff {
        0x794c_7630 => "overlay".into(),
        0xef53 => "ext4".into(),
        0x5846_5342 => "xfs".into(),
        0x9123_683e => "btrfs".into(),
        0x0102_1994 => "tmpfs".into(),
        0x6969 => "nfs".into(),
        0x6573_5546 => "fuse".into(),
        0xff53_4d42 => "cifs".into(),
        0x2fc1_2fc1 => "zfs".into(),
        0x0102_1997 => "9p".into(),
        0xca45_1a4e => "bcachefs".into(),
        0xf2f5_2010 => "f2fs".into(),
        other => format!("{other:#x}"),
    }
}

fn names(dir: &Path, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| wanted(name))
        .collect();
    names.sort();
    names
}

fn qemu(path: &OsStr) -> Vec<String> {
    let dirs = path.as_bytes().split(|byte| *byte == b':').filter(|dir| !dir.is_empty());
    let user_mode = |name: &str| {
        let arch = name.strip_prefix("qemu-").map(|rest| rest.trim_end_matches("-static"));
        arch.is_some_and(|arch| ["aarch64", "arm", "i386", "x86_64", "riscv64", "ppc64le", "s390x"].contains(&arch))
    };
    let mut all: Vec<String> = dirs.flat_map(|dir| names(Path::new(OsStr::from_bytes(dir)), user_mode)).collect();
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_the_kernel_writes_them() {
        let online = processors_milli("max 100000");
        assert_eq!(processors_milli("50000 100000"), 500.min(online));
        assert_eq!(processors_milli(""), online);
        assert_eq!(processors_milli("1 0"), online);
        assert_eq!(file_system(0x794c_7630), "overlay");
    }

    #[test]
    fn facts_of_this_place_are_plausible() {
        let dir = tempfile::tempdir().expect("temporary directory");
        fs::write(dir.path().join("qemu-aarch64-static"), "").expect("write");
        fs::write(dir.path().join("qemu-img"), "").expect("write");
        let facts = read(dir.path(), dir.path().as_os_str());
        assert!(!facts.kernel.is_empty() && facts.processors_milli > 0 && facts.store_free > 0, "{facts:?}");
        assert_eq!(facts.qemu, ["qemu-aarch64-static"]);
    }
}
