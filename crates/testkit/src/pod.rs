//! A pod as a Kubernetes node starts it: runc, an overlayfs root, the runtime's default system call filter,
//! Docker's default capabilities or none, masked and read-only paths.
//!
//! The root file system that a pod is started from lies below an overlayfs and never changes, so [`Pod::changes`] can say
//! what a command left in its pod. The network is the machine's: a registry on loopback can be reached.
//! Needs root. The profile lies in `tests/pods`, whose README names its source.
use crate::bases::{Base, once};
use crate::command::{Error, Result, output, run, tool};
use crate::{Image, repository};
use oci::Digest;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Output;
use tempfile::TempDir;

/// What Docker and containerd leave to a container's root.
const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// The first host id of a pod with a user namespace.
const USER_NAMESPACE_BASE: u32 = 165_536;

/// How much a pod may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodKind {
    /// The Pod Security Standard "restricted": uid 1000, no capabilities, `no_new_privs`.
    Restricted,
    /// uid 1000, no capabilities, set-user-ID programs count (`allowPrivilegeEscalation: true`).
    NonRoot,
    /// What a pod is by default: uid 0 with Docker's capabilities.
    Root,
    /// As [`PodKind::Root`], in a user namespace of its own (`hostUsers: false`).
    HostUsers,
}

impl PodKind {
    /// All of them, from the tightest on.
    pub const ALL: [Self; 4] = [Self::Restricted, Self::NonRoot, Self::Root, Self::HostUsers];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Restricted => "restricted",
            Self::NonRoot => "nonroot",
            Self::Root => "root",
            Self::HostUsers => "hostusers",
        }
    }

    /// The user of the pod's processes, as the pod sees it.
    #[must_use]
    pub fn uid(self) -> u32 {
        match self {
            Self::Restricted | Self::NonRoot => 1000,
            Self::Root | Self::HostUsers => 0,
        }
    }

    /// The same user as the machine sees it.
    #[must_use]
    pub fn host_uid(self) -> u32 {
        if self == Self::HostUsers { USER_NAMESPACE_BASE } else { self.uid() }
    }

    /// The user's home in the pod. It and `/workspace` are the user's own, whatever the root file system says.
    #[must_use]
    pub fn home(self) -> &'static str {
        if self.uid() == 0 { "/root" } else { "/home/user" }
    }

    fn capabilities(self) -> &'static [&'static str] {
        if self.uid() == 0 { &CAPABILITIES } else { &[] }
    }
}

/// A file or directory of the machine that a pod sees.
#[derive(Debug, Clone)]
struct Bind {
    source: PathBuf,
    target: String,
    read_only: bool,
}

/// A pod to be.
#[derive(Debug, Clone)]
pub struct PodSpec {
    kind: PodKind,
    rootfs: PathBuf,
    binds: Vec<Bind>,
    env: Vec<String>,
    directory: String,
    keep: Option<PathBuf>,
    memory: Option<u64>,
}

impl PodSpec {
    /// A pod on a root file system, a directory that is never changed.
    #[must_use]
    pub fn new(kind: PodKind, rootfs: impl Into<PathBuf>) -> Self {
        let directory = "/".to_owned();
        Self { kind, rootfs: rootfs.into(), binds: Vec::new(), env: Vec::new(), directory, keep: None, memory: None }
    }

    /// With so many bytes of memory and no more (`resources.limits.memory`); the pod sees its control group.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// With a file or directory of the machine at `target`, which can be written to.
    #[must_use]
    pub fn bind(mut self, source: impl Into<PathBuf>, target: &str) -> Self {
        self.binds.push(Bind { source: source.into(), target: target.to_owned(), read_only: false });
        self
    }

    /// With a file or directory of the machine at `target`, read-only.
    #[must_use]
    pub fn bind_read_only(mut self, source: impl Into<PathBuf>, target: &str) -> Self {
        self.binds.push(Bind { source: source.into(), target: target.to_owned(), read_only: true });
        self
    }

    /// With an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push(format!("{name}={value}"));
        self
    }

    /// With commands starting in this directory, not in `/`.
    #[must_use]
    pub fn current_dir(mut self, directory: &str) -> Self {
        directory.clone_into(&mut self.directory);
        self
    }

    /// With the pod's files in this directory, where they stay. Otherwise they go with the [`Pod`].
    #[must_use]
    pub fn keep(mut self, directory: impl Into<PathBuf>) -> Self {
        self.keep = Some(directory.into());
        self
    }

    /// Makes the pod's root file system; [`Pod::run`] runs commands in it.
    pub fn start(self) -> Result<Pod> {
        let temporary = match &self.keep {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("testkit-pod-").tempdir().map_err(Error::at("tempdir"))?),
        };
        let directory = match (&self.keep, &temporary) {
            (Some(kept), _) => kept.clone(),
            (None, Some(temporary)) => temporary.path().to_owned(),
            (None, None) => return Err(Error::new("a pod without a directory")),
        };
        let mut pod = Pod { spec: self, directory, mounted: false, before: Listing::new(), _temporary: temporary };
        pod.mount()?;
        pod.furnish().map_err(Error::at(pod.directory.display()))?;
        pod.before = listing(&pod.upper()).map_err(Error::at(pod.directory.display()))?;
        Ok(pod)
    }
}

/// Paths of an upper directory (with a leading slash) with what makes them what they are.
type Listing = BTreeMap<String, String>;

/// A pod's root file system, in which commands can be run one after the other; dropped, it is unmounted and removed.
#[derive(Debug)]
pub struct Pod {
    spec: PodSpec,
    directory: PathBuf,
    mounted: bool,
    before: Listing,
    _temporary: Option<TempDir>,
}

impl Pod {
    /// Runs a command to its end, whatever that is, and with it all that it started.
    pub fn run(&self, command: &[&str]) -> Result<Output> {
        let file = self.directory.join("config.json");
        fs::write(&file, self.config(command)?.to_string()).map_err(Error::at(file.display()))?;
        let name = self.directory.file_name().unwrap_or_default().to_string_lossy();
        let id: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        let mut runc = tool("runc", "runc")?;
        runc.arg("--root").arg(self.directory.join("state")).args(["run", "--bundle"]).arg(&self.directory).arg(id);
        output(&mut runc)
    }

    /// Where the machine sees a path of the pod (binds left out).
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    /// What differs from the pod as it was before the first command: paths that are new, gone or changed in type, mode,
    /// owner or content. Times of directories play no part. Whatever lies below one of `expected` is left out.
    pub fn changes(&self, expected: &[&str]) -> Result<Vec<String>> {
        let after = listing(&self.upper()).map_err(Error::at(self.directory.display()))?;
        let ours = |path: &str| expected.iter().any(|e| path == *e || path.starts_with(&format!("{e}/")));
        let mut changes = Vec::new();
        for (path, facts) in &after {
            match self.before.get(path) {
                Some(old) if old == facts => {}
                Some(old) => changes.push(format!("{path}: {old}, now {facts}")),
                None => changes.push(format!("{path}: new, {facts}")),
            }
        }
        changes
            .extend(self.before.keys().filter(|path| !after.contains_key(*path)).map(|path| format!("{path}: gone")));
        changes.retain(|line| !ours(line.split(": ").next().unwrap_or_default()));
        Ok(changes)
    }

    fn root(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    fn upper(&self) -> PathBuf {
        self.directory.join("upper")
    }

    fn mount(&mut self) -> Result<()> {
        for part in ["upper", "work", "rootfs", "state"] {
            let part = self.directory.join(part);
            fs::create_dir_all(&part).map_err(Error::at(part.display()))?;
        }
        // A pod in a user namespace must be able to reach its root.
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&self.directory, mode).map_err(Error::at(self.directory.display()))?;
        let lower = fs::canonicalize(&self.spec.rootfs).map_err(Error::at(self.spec.rootfs.display()))?;
        let work = self.directory.join("work");
        mount_overlay(&lower, &self.upper(), &work, &self.root())?;
        self.mounted = true;
        Ok(())
    }

    /// What a node adds to an image's root file system: mount points, the user's directories, the name servers.
    fn furnish(&self) -> io::Result<()> {
        let owner = self.spec.kind.host_uid();
        for name in ["home/user", "workspace", "proc", "sys", "dev", "tmp", "root"] {
            fs::create_dir_all(self.root().join(name))?;
        }
        let own: &[&str] = match self.spec.kind {
            PodKind::HostUsers => &["home/user", "workspace", "root", "."],
            _ => &["home/user", "workspace"],
        };
        for name in own {
            chown(self.root().join(name), Some(owner), Some(owner))?;
        }
        fs::set_permissions(self.root().join("tmp"), fs::Permissions::from_mode(0o1777))?;
        if Path::new("/etc/resolv.conf").exists() {
            fs::create_dir_all(self.root().join("etc"))?;
            fs::write(self.root().join("etc/resolv.conf"), fs::read("/etc/resolv.conf")?)?;
        }
        for bind in &self.spec.binds {
            let place = self.path(&bind.target);
            if bind.source.is_dir() {
                fs::create_dir_all(place)?;
            } else {
                fs::create_dir_all(place.parent().unwrap_or(&place))?;
                fs::OpenOptions::new().create(true).append(true).open(place)?;
            }
        }
        Ok(())
    }

    fn config(&self, command: &[&str]) -> Result<Value> {
        let kind = self.spec.kind;
        let (uid, capabilities) = (kind.uid(), kind.capabilities());
        let mut linux = json!({
            "namespaces": [{ "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
                "/sys/devices/virtual/powercap"
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "seccomp": seccomp(capabilities)?,
        });
        if let Some(bytes) = self.spec.memory {
            linux["resources"]["memory"] = json!({ "limit": bytes, "swap": bytes });
            linux["namespaces"].as_array_mut().into_iter().for_each(|list| list.push(json!({ "type": "cgroup" })));
        }
        if kind == PodKind::HostUsers {
            let map = json!([{ "containerID": 0, "hostID": USER_NAMESPACE_BASE, "size": 65536 }]);
            linux["namespaces"].as_array_mut().into_iter().for_each(|list| list.push(json!({ "type": "user" })));
            linux["uidMappings"] = map.clone();
            linux["gidMappings"] = map;
        }
        let mut env: Vec<String> = vec![
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            format!("HOME={}", kind.home()),
            "TERM=xterm".to_owned(),
            "HOSTNAME=pod".to_owned(),
            "KUBERNETES_SERVICE_HOST=10.96.0.1".to_owned(),
        ];
        env.extend(self.spec.env.iter().cloned());
        let files = open_files_limit();
        Ok(json!({
            "ociVersion": "1.0.2",
            "hostname": "pod",
            "root": { "path": "rootfs", "readonly": false },
            "mounts": self.mounts(),
            "linux": linux,
            "process": {
                "terminal": false,
                "user": { "uid": uid, "gid": uid, "additionalGids": [] },
                "args": command,
                "env": env,
                "cwd": self.spec.directory,
                "noNewPrivileges": kind == PodKind::Restricted,
                "capabilities": { "bounding": capabilities, "permitted": capabilities, "effective": capabilities },
                "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": files, "soft": files }],
            },
        }))
    }

    fn mounts(&self) -> Vec<Value> {
        let mount = |target: &str, kind: &str, source: &str, options: &str| {
            let options: Vec<&str> = options.split(',').collect();
            json!({ "destination": target, "type": kind, "source": source, "options": options })
        };
        let mut mounts = vec![
            mount("/proc", "proc", "proc", "nosuid,noexec,nodev"),
            mount("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
            mount("/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
            mount("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"),
        ];
        mounts.push(match self.spec.kind {
            // A new sysfs cannot be mounted with the machine's network namespace.
            PodKind::HostUsers => mount("/sys", "bind", "/sys", "rbind,ro,nosuid,noexec,nodev"),
            _ => mount("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
        });
        if self.spec.memory.is_some() {
            mounts.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"));
        }
        for bind in &self.spec.binds {
            let options = if bind.read_only { "rbind,rprivate,ro" } else { "rbind,rprivate,rw" };
            mounts.push(mount(&bind.target, "bind", &bind.source.to_string_lossy(), options));
        }
        mounts
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if self.mounted {
            unmount(&self.root());
        }
    }
}

/// A mounted overlayfs, which a test may have a store on; dropped, it is unmounted and removed.
#[derive(Debug)]
pub struct Overlay {
    directory: TempDir,
}

impl Overlay {
    /// An empty one. Needs root.
    pub fn mount() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("testkit-overlay-").tempdir().map_err(Error::at("tempdir"))?;
        let part = |name: &str| directory.path().join(name);
        for name in ["lower", "upper", "work", "merged"] {
            fs::create_dir(part(name)).map_err(Error::at(part(name).display()))?;
        }
        mount_overlay(&part("lower"), &part("upper"), &part("work"), &part("merged"))?;
        Ok(Self { directory })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("merged")
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        unmount(&self.path());
    }
}

/// A base image's files in a directory with their owners, for pods; made once. Needs root.
pub fn rootfs(base: &Base) -> Result<PathBuf> {
    let layout = base.layout()?;
    let key = layout.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    let ready = once(&format!("rootfs-{key}"), |work| {
        let root = work.join("rootfs");
        for layer in Image::from_layout(&layout, None)?.layers() {
            let mut archive = tar::Archive::new(layer?);
            archive.set_preserve_permissions(true);
            archive.set_preserve_ownerships(true);
            archive.unpack(&root).map_err(Error::at(root.display()))?;
        }
        Ok(())
    })?;
    Ok(ready.join("rootfs"))
}

fn mount_overlay(lower: &Path, upper: &Path, work: &Path, target: &Path) -> Result<()> {
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    run(tool("mount", "mount")?.args(["-t", "overlay", "overlay", "-o", &options]).arg(target)).map(drop)
}

fn unmount(target: &Path) {
    // Nothing can be done about a failure while things are dropped; the mount goes with the machine.
    if let Ok(mut umount) = tool("umount", "mount") {
        let _ = output(umount.arg("--lazy").arg(target));
    }
}

/// `RuntimeDefault`, resolved for this machine and these capabilities as a container runtime does.
fn seccomp(capabilities: &[&str]) -> Result<Value> {
    let file = repository().join("tests/pods/seccomp-default.json");
    let text = fs::read(&file).map_err(Error::at(file.display()))?;
    let profile: Value = serde_json::from_slice(&text).map_err(Error::at(file.display()))?;
    let (architecture, name) = match std::env::consts::ARCH {
        "x86_64" => ("amd64", "SCMP_ARCH_X86_64"),
        "aarch64" => ("arm64", "SCMP_ARCH_AARCH64"),
        other => return Err(Error::new(format!("{}: not resolved for {other} yet", file.display()))),
    };
    Ok(resolve(&profile, architecture, name, capabilities))
}

fn resolve(profile: &Value, architecture: &str, name: &str, capabilities: &[&str]) -> Value {
    let words = |value: &Value| -> Vec<String> {
        let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let has = |capability: &String| capabilities.contains(&capability.as_str());
    let mut rules = Vec::new();
    for rule in profile["syscalls"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let (only, never) = (&rule["includes"], &rule["excludes"]);
        let architectures = words(&only["arches"]);
        if words(&never["arches"]).iter().any(|a| a == architecture)
            || words(&never["caps"]).iter().any(has)
            || !(architectures.is_empty() || architectures.iter().any(|a| a == architecture))
            || !words(&only["caps"]).iter().all(has)
        {
            continue;
        }
        let fields = ["names", "action", "errnoRet", "args"].iter();
        let fields = fields.filter(|&&field| !rule[field].is_null());
        rules.push(Value::Object(fields.map(|&field| (field.to_owned(), rule[field].clone())).collect::<Map<_, _>>()));
    }
    let map = profile["archMap"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut architectures = vec![name.to_owned()];
    architectures
        .extend(map.iter().filter(|entry| entry["architecture"] == name).flat_map(|e| words(&e["subArchitectures"])));
    json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": architectures,
        "syscalls": rules,
    })
}

/// A node's limit of open files, as far as this process may give it.
fn open_files_limit() -> u64 {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let hard = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|word| word.parse().ok());
    hard.unwrap_or(1024).min(1_048_576)
}

/// Everything below an upper directory. Overlayfs keeps a deletion there as a device node, so it is in the list too.
fn listing(upper: &Path) -> io::Result<Listing> {
    let mut listing = Listing::new();
    let mut waiting = vec![upper.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let metadata = fs::symlink_metadata(&path)?;
            let kind = metadata.file_type();
            let content = if kind.is_file() {
                format!(" {}", Digest::sha256(&fs::read(&path)?).hex())
            } else if kind.is_symlink() {
                format!(" to {}", fs::read_link(&path)?.display())
            } else {
                String::new()
            };
            let facts = format!("{:06o} {}:{}{content}", metadata.mode(), metadata.uid(), metadata.gid());
            let name = path.strip_prefix(upper).unwrap_or(&path);
            listing.insert(format!("/{}", name.display()), facts);
            if kind.is_dir() {
                waiting.push(path);
            }
        }
    }
    Ok(listing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(profile: &Value) -> Vec<&str> {
        let rules = profile["syscalls"].as_array().expect("rules");
        rules.iter().flat_map(|rule| rule["names"].as_array().expect("names")).filter_map(Value::as_str).collect()
    }

    #[test]
    fn a_profile_is_resolved_for_the_capabilities_and_the_processor() {
        let profile = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 1,
            "archMap": [
                { "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"] },
                { "architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"] }
            ],
            "syscalls": [
                { "names": ["read"], "action": "SCMP_ACT_ALLOW" },
                { "names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": { "caps": ["CAP_SYS_ADMIN"] } },
                { "names": ["chroot"], "action": "SCMP_ACT_ALLOW", "includes": { "caps": ["CAP_SYS_CHROOT"] } },
                { "names": ["arm_sync"], "action": "SCMP_ACT_ALLOW", "includes": { "arches": ["arm64"] } },
                { "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38,
                  "excludes": { "caps": ["CAP_SYS_ADMIN"] } }
            ]
        });
        let for_nobody = resolve(&profile, "amd64", "SCMP_ARCH_X86_64", &[]);
        assert_eq!(names(&for_nobody), ["read", "clone3"]);
        assert_eq!(for_nobody["syscalls"][1]["errnoRet"], 38);
        assert_eq!(for_nobody["architectures"], json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]));
        let for_root = resolve(&profile, "arm64", "SCMP_ARCH_AARCH64", &CAPABILITIES);
        assert_eq!(names(&for_root), ["read", "chroot", "arm_sync", "clone3"]);
        assert_eq!(names(&resolve(&profile, "amd64", "SCMP_ARCH_X86_64", &["CAP_SYS_ADMIN"])), ["read", "mount"]);
    }

    #[test]
    fn the_profile_keeps_mounts_from_every_kind() {
        for kind in PodKind::ALL {
            let profile = seccomp(kind.capabilities()).expect("a profile");
            let allowed = names(&profile);
            assert!(allowed.contains(&"openat2") && !allowed.contains(&"mount"), "{}", kind.name());
            assert_eq!(allowed.contains(&"chroot"), kind.uid() == 0, "{}", kind.name());
        }
    }
}
