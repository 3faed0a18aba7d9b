//! RUN: a command in a root file system made of the layers so far.
use super::{At, Executor, StageResult, users};
use crate::copy::{Destination, write};
use crate::error::{BuildError, Kind, Result, StepFailure};
use crate::event::{Event, Phase, Stream, VertexId};
use crate::key::Key;
use crate::plan::{MountOp, RunOp, Sharing};
use crate::request::{OnFailure, SecretSource};
use crate::snapshot::{layer_error, open_dir};
use crate::ssh::Forward;
use crate::store::{FileLock, LayerId, LayerMeta, Lock, fs_name, remove_tree};
use crate::tree::{Node, Tree, builder_time, resolve};
use dockerfile::ast::{MountKind, Network, Security};
use layer::{PackOptions, TarWriter};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io::{BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How much of a step's output an error shows.
const TAIL: usize = 16 << 10;

/// The host name that BuildKit gives to steps.
const HOSTNAME: &str = "buildkitsandbox";

/// What must stay until the command has ended.
#[derive(Default)]
pub(super) struct Held {
    locks: Vec<FileLock>,
    scratch: Vec<PathBuf>,
    forwards: Vec<Forward>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.scratch.iter().for_each(|path| remove_tree(path));
    }
}

impl Executor<'_> {
    pub(super) fn run(&self, at: At, run: &RunOp, so_far: &StageResult, key: &Key) -> Result<Option<LayerId>> {
        self.place.choice()?;
        if !self.place.uses_overlay() {
            return self.run_in_tree(at, run, so_far, key);
        }
        let store = &self.layers.store;
        let mut lowers = self.layers.directories(&so_far.chain, Some(at.line))?;
        let tree = self.layers.tree(&so_far.chain, "the image", Some(at.line))?;
        let work = store.scratch_dir("run")?;
        let mut held = Held::default();
        held.scratch.push(work.clone());
        let (upper, overlay_work) = (work.join("fs"), work.join("work"));
        for dir in [&upper, &overlay_work] {
            fs::create_dir(dir).map_err(|e| BuildError::io("make", dir, e))?;
        }
        if lowers.is_empty() {
            let empty = work.join("empty");
            fs::create_dir(&empty).map_err(|e| BuildError::io("make", &empty, e))?;
            lowers.push(empty);
        }
        set_root_mode(&upper, tree.as_ref())?;
        lowers.reverse();
        // Runtimes leave these mount points, and the working directory, in the layer of an image that lacks them.
        for path in ["/dev", "/proc", "/sys", &run.cwd] {
            make_missing(&upper, tree.as_ref(), path)?;
        }
        let rootfs = sandbox::Rootfs::Overlay { lowers, upper: upper.clone(), work: overlay_work.clone() };
        self.execute(at, run, rootfs, tree.as_ref(), &mut held)?;

        let layer = store.scratch_dir("layer")?;
        let result = self.commit_upper(at, key, &upper, &layer, tree.view());
        if result.is_err() {
            remove_tree(&layer);
        }
        result
    }

    /// Makes a layer of what the command left in the upper directory.
    fn commit_upper(
        &self,
        at: At,
        key: &Key,
        upper: &Path,
        layer: &Path,
        below: &layer::View,
    ) -> Result<Option<LayerId>> {
        let _span = self.fetcher.events.span(Some(at.line), Phase::Diff, "upper directory");
        let store = &self.layers.store;
        let root = open_dir(upper)?;
        let options = PackOptions { below: Some(below), clamp_mtime: self.rewrite, ..PackOptions::default() };
        let toc = layer::scan_upper(root.as_fd(), &options).map_err(layer_error)?;
        let target = layer.join(fs_name(self.layers.real_owners()));
        fs::rename(upper, &target).map_err(|e| BuildError::io("keep", upper, e))?;
        let created = crate::time::now();
        let meta = LayerMeta { created, whiteout_time: self.rewrite, ..LayerMeta::default() };
        let id = store.new_layer_id(key);
        store.add_layer(&id, layer, &meta, &toc)?;
        self.layers.remember(&id, Arc::new(toc));
        Ok(Some(id))
    }

    /// Runs the command and reports its output.
    pub(super) fn execute(
        &self,
        at: At,
        run: &RunOp,
        rootfs: sandbox::Rootfs,
        tree: &dyn Tree,
        held: &mut Held,
    ) -> Result<()> {
        let account = users::account(Some(tree), &run.user)?;
        let mut spec = sandbox::Spec::new(rootfs, run.args.iter().map(OsString::from));
        spec.isolation = self.place.choice()?.isolation;
        let scratch = self.layers.store.scratch("program");
        spec.emulator = self.place.emulator(&self.stage_plan(at.stage).platform, &scratch)?;
        spec.cwd = PathBuf::from(&run.cwd);
        spec.fake_ownership = self.place.fake_owners();
        spec.hostname = HOSTNAME.to_owned();
        spec.user = sandbox::User { uid: account.uid, gid: account.gid, groups: account.groups.clone() };
        spec.network = match run.network {
            Network::None => sandbox::Network::None,
            Network::Default | Network::Host => sandbox::Network::Host,
        };
        spec.security = match run.security {
            Security::Insecure => sandbox::Security::Insecure,
            Security::Sandbox => sandbox::Security::Sandbox,
        };
        let request = self.fetcher.request;
        if let Some(size) = request.shm_size {
            spec.shm_size = size;
        }
        for (name, soft, hard) in &request.ulimits {
            let limit = sandbox::Limit::from_name(name)
                .ok_or_else(|| BuildError::new(Kind::Input, format!("unknown ulimit {name:?}")))?;
            spec.ulimits.push(sandbox::Ulimit { limit, soft: *soft, hard: *hard });
        }
        let mut env: Vec<(String, String)> = self.proxies();
        for (name, value) in &run.env {
            env.retain(|(n, _)| n != name);
            env.push((name.clone(), value.clone()));
        }
        if !env.iter().any(|(n, _)| n == "HOME") {
            env.push(("HOME".to_owned(), account.home.clone()));
        }
        self.system_files(&mut spec);
        if let Some(bundle) = &request.host_ca {
            host_ca(bundle, &mut spec, &mut env)?;
        }
        if let Some((name, data)) = &run.script {
            let content = data.to_vec();
            let kind = sandbox::MountKind::File { content, mode: 0o755, uid: 0, gid: 0 };
            spec.mounts.push(sandbox::Mount::new(format!("/dev/pipes/{name}"), kind));
        }
        let first = spec.mounts.len();
        for (position, mount) in run.mounts.iter().enumerate() {
            self.mount(at, position, mount, &mut spec, &mut env, held).map_err(|e| e.at(mount.span))?;
        }
        // A mount in another one is seen whatever their order in the Dockerfile, as with BuildKit.
        spec.mounts[first..].sort_by(|a, b| a.target.cmp(&b.target));
        if spec.isolation != sandbox::Isolation::Namespaces {
            // Their memory is a directory in the store.
            let tmpfs = run.mounts.iter().any(|mount| mount.kind == MountKind::Tmpfs && mount.size.is_some());
            for (given, what) in [(tmpfs, "size= of a tmpfs mount"), (request.shm_size.is_some(), "--shm-size")] {
                let message = format!("{what} is no limit in the isolation {}, which has no mounts", spec.isolation);
                if given {
                    self.fetcher.events.send(Event::Warning { id: Some(at.line), message });
                }
            }
        }
        spec.env = env.into_iter().map(|(n, v)| (n.into(), v.into())).collect();

        let exit = self.launch(&spec, at.line)?;
        let (exit, tail) = exit;
        if exit.status.success() {
            return Ok(());
        }
        if self.stop.is_cancelled() {
            return Err(BuildError::canceled());
        }
        let error = self.failure(at, run, exit, tail);
        if let Some(on_failure) = &request.on_failure {
            self.shell(spec, at, run, on_failure, &error);
        }
        Err(error)
    }

    /// A shell where the command failed: with its root, mounts, environment, user and directory.
    fn shell(&self, mut spec: sandbox::Spec, at: At, run: &RunOp, on_failure: &OnFailure, error: &BuildError) {
        // Steps that fail at once have their turns at the terminal.
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        if self.stop.is_cancelled() {
            return;
        }
        let shell = match run.args.as_slice() {
            [shell, option, _] if option.starts_with('-') => shell.as_str(),
            _ => "/bin/sh",
        };
        spec.argv = vec![OsString::from(shell)];
        if let Some(term) = self.fetcher.env.get("TERM").filter(|_| !spec.env.iter().any(|(name, _)| name == "TERM")) {
            spec.env.push(("TERM".into(), term.into()));
        }
        let name = &self.stage_plan(at.stage).ops[at.number].name;
        let opened = on_failure.open(name, error.message());
        let ended = opened.map_err(|e| e.to_string()).and_then(|(io, guard)| {
            let scratch = self.above(&mut spec.rootfs).map_err(|e| e.to_string())?;
            let ended = self.place.launcher.run(&spec, io, &self.stop).map_err(|e| e.to_string());
            drop(guard);
            scratch.iter().for_each(|dir| remove_tree(dir));
            ended
        });
        if let Err(why) = ended {
            let message = format!("no shell in the failed step: {why}");
            self.fetcher.events.send(Event::Warning { id: Some(at.line), message });
        }
    }

    /// Puts a fresh upper directory over what a command left: an upper directory is not mounted twice.
    fn above(&self, rootfs: &mut sandbox::Rootfs) -> Result<Option<PathBuf>> {
        let sandbox::Rootfs::Overlay { lowers, upper, work } = rootfs else { return Ok(None) };
        let scratch = self.layers.store.scratch_dir("shell")?;
        let (fresh, fresh_work) = (scratch.join("fs"), scratch.join("work"));
        for dir in [&fresh, &fresh_work] {
            fs::create_dir(dir).map_err(|e| BuildError::io("make", dir, e))?;
        }
        let meta = fs::metadata(&*upper).map_err(|e| BuildError::io("read", &*upper, e))?;
        use std::os::unix::fs::MetadataExt;
        set_attributes(&fresh, meta.mode() & 0o7777, meta.uid(), meta.gid())?;
        lowers.insert(0, std::mem::replace(upper, fresh));
        *work = fresh_work;
        Ok(Some(scratch))
    }

    fn failure(&self, at: At, run: &RunOp, exit: sandbox::Exit, tail: Vec<u8>) -> BuildError {
        let op = &self.stage_plan(at.stage).ops[at.number];
        let command = run.args.join(" ");
        let signal = match exit.status {
            sandbox::Status::Signal(n) => Some(n),
            sandbox::Status::Code(_) => None,
        };
        let how = match exit.status {
            sandbox::Status::Code(code) => format!("exit code: {code}"),
            sandbox::Status::Signal(n) => format!("signal: {n} ({})", signal_name(n)),
        };
        let mut error =
            BuildError::new(Kind::Step, format!("process {command:?} did not complete successfully: {how}"));
        let shell_code = exit.status.shell_code();
        if exit.oom_hint {
            error = error.hint("the kernel killed a process of this step for want of memory: give the pod or machine more, or build with less parallelism");
        } else if let Some(hint) = self.isolation_hint(shell_code, &tail) {
            error = error.hint(hint);
        } else if shell_code == 127 {
            error = error.hint("exit code 127 means that the command was not found in the image: check its name, PATH, and that the image has it");
        } else if shell_code == 126 {
            error = error.hint("exit code 126 means that the file could not be executed: check its permissions, its interpreter and its architecture");
        } else if shell_code == 137 {
            error = error.hint("the process was killed (SIGKILL): often for want of memory");
        }
        error.with_step(StepFailure { name: op.name.clone(), command, code: shell_code, signal, log_tail: tail })
    }

    /// A cause that lies in how and where the step ran, as far as its end shows.
    fn isolation_hint(&self, shell_code: i32, tail: &[u8]) -> Option<String> {
        const SIGSYS: i32 = 31;
        const LITTLE: u64 = 16 << 20;
        let tail = String::from_utf8_lossy(tail);
        let free = self.place.free_space();
        if tail.contains("No space left on device") || free.is_some_and(|free| free < LITTLE) {
            let left = free.map_or_else(String::new, |free| format!(" ({} MB are free there)", free >> 20));
            return Some(format!(
                "no space is left for the step{left}: `cooperage cache prune` frees what the store can do without, --root \
                 puts it on another disk"
            ));
        }
        let isolation = self.place.chosen()?.isolation;
        if shell_code == 128 + SIGSYS {
            return Some(format!(
                "a program of the step made a system call that is refused in {isolation} isolation here (SIGSYS)"
            ));
        }
        let refused = |call: &str| {
            let mut lines = tail.lines().rev().take(10);
            lines.any(|line| {
                line.contains(call) && (line.contains("not permitted") || line.contains("ermission denied"))
            })
        };
        let calls = [("mount", "mounts"), ("unshare", "namespaces")];
        let (_, what) = calls.into_iter().find(|(call, _)| refused(call))?;
        Some(format!("a step gets no {what} in {isolation} isolation; `cooperage doctor` says what this place allows"))
    }

    fn proxies(&self) -> Vec<(String, String)> {
        let request = self.fetcher.request;
        let mut list: Vec<(String, String)> = request.proxy.iter().map(|(n, v)| (n.clone(), v.clone())).collect();
        for (name, value) in &request.build_args {
            if crate::plan::is_proxy(name) {
                for name in [name.to_ascii_uppercase(), name.to_ascii_lowercase()] {
                    list.retain(|(n, _)| *n != name);
                    list.push((name, value.clone()));
                }
            }
        }
        list
    }

    fn system_files(&self, spec: &mut sandbox::Spec) {
        let mut hosts = format!("127.0.0.1\tlocalhost {HOSTNAME}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
        for (name, address) in &self.fetcher.request.add_hosts {
            hosts.push_str(&format!("{address}\t{name}\n"));
        }
        let file = |content: Vec<u8>| sandbox::MountKind::File { content, mode: 0o644, uid: 0, gid: 0 };
        spec.mounts.push(sandbox::Mount::new("/etc/resolv.conf", file(self.place.resolv_conf.clone())));
        spec.mounts.push(sandbox::Mount::new("/etc/hosts", file(hosts.into_bytes())));
    }

    fn mount(
        &self,
        at: At,
        position: usize,
        mount: &MountOp,
        spec: &mut sandbox::Spec,
        env: &mut Vec<(String, String)>,
        held: &mut Held,
    ) -> Result<()> {
        let request = self.fetcher.request;
        let (uid, gid) = (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0));
        let kind = match mount.kind {
            MountKind::Tmpfs => sandbox::MountKind::Tmpfs { size: mount.size, mode: 0o1777 },
            MountKind::Secret => {
                let Some(content) = self.secret(&mount.id)? else {
                    if !mount.required {
                        return Ok(());
                    }
                    return Err(BuildError::new(Kind::Dockerfile, format!("secret {}: not found", mount.id)).hint(
                        format!("give it with --secret id={},src=FILE or --secret id={},env=NAME", mount.id, mount.id),
                    ));
                };
                if let Some(name) = &mount.env {
                    env.retain(|(n, _)| n != name);
                    env.push((name.clone(), String::from_utf8_lossy(&content).into_owned()));
                }
                if mount.target.is_empty() {
                    return Ok(());
                }
                sandbox::MountKind::File { content, mode: mount.mode.unwrap_or(0o400), uid, gid }
            }
            MountKind::Ssh => {
                if !env.iter().any(|(n, _)| n == "SSH_AUTH_SOCK") {
                    env.push(("SSH_AUTH_SOCK".to_owned(), mount.target.clone()));
                }
                let Some(agent) = self.fetcher.ssh.socket(&mount.id, request, self.fetcher.env)? else {
                    if !mount.required {
                        return Ok(());
                    }
                    return Err(BuildError::new(Kind::Dockerfile, format!("no SSH key {:?} forwarded", mount.id))
                        .hint(format!("start an agent (ssh-agent, ssh-add) and give it with --ssh {}, or a key with --ssh {}=FILE", mount.id, mount.id)));
                };
                UnixStream::connect(&agent).map_err(|e| {
                    BuildError::new(
                        Kind::Input,
                        format!("--ssh {}: nobody listens at {}: {e}", mount.id, agent.display()),
                    )
                    .hint("name the socket of an agent that runs (echo $SSH_AUTH_SOCK), or a private key")
                })?;
                let dir = self.layers.store.scratch_dir("ssh")?;
                held.scratch.push(dir.clone());
                let mode = mount.mode.unwrap_or(0o600);
                let forward = Forward::start(&dir, mode, agent).map_err(|e| BuildError::io("listen in", &dir, e))?;
                let source = forward.path().to_owned();
                held.forwards.push(forward);
                sandbox::MountKind::Socket { source, mode, uid, gid }
            }
            MountKind::Cache => {
                let source = self.cache_dir(at, position, mount, held)?;
                if !self.layers.real_owners()
                    && let sandbox::Rootfs::Directory(tree) = &spec.rootfs
                {
                    remember_owner(tree, &source, (uid, gid))?;
                }
                sandbox::MountKind::Bind { source, readonly: mount.readonly }
            }
            MountKind::Bind => {
                let source = self.bind_source(at, position, mount, held)?;
                if mount.readonly {
                    sandbox::MountKind::Bind { source, readonly: true }
                } else {
                    let scratch = self.layers.store.scratch_dir("rw")?;
                    held.scratch.push(scratch.clone());
                    sandbox::MountKind::Scratch { source, scratch }
                }
            }
        };
        spec.mounts.push(sandbox::Mount::new(&mount.target, kind));
        Ok(())
    }

    fn secret(&self, id: &str) -> Result<Option<Vec<u8>>> {
        let Some(secret) = self.fetcher.request.secrets.iter().find(|s| s.id == id) else { return Ok(None) };
        match &secret.source {
            SecretSource::File(path) => fs::read(path).map(Some).map_err(|e| {
                BuildError::new(Kind::Input, format!("cannot read the secret {id} from {}: {e}", path.display()))
            }),
            SecretSource::Env(name) => Ok(self.fetcher.env.get(name).map(|v| v.clone().into_bytes())),
        }
    }

    /// The files of a bind mount as a directory (or file) of their own: what `.dockerignore` hides is not there, and
    /// owners are those that COPY would give.
    fn bind_source(&self, at: At, position: usize, mount: &MountOp, held: &mut Held) -> Result<PathBuf> {
        let selection = self.mount_selection(at.stage, at.number, position, mount, Some(at.line))?;
        let target = if selection.matches.iter().any(|m| m.node.is_dir()) { "/" } else { "/file" };
        let mut destination = Destination::new(None, None, None, builder_time(self.plan.epoch), false);
        destination.copy(&selection, target)?;
        let placed = destination.into_placed();
        let dir = self.layers.store.scratch_dir("bind")?;
        held.scratch.push(dir.clone());
        self.materialise(&placed, &dir)?;
        Ok(if target == "/" { dir } else { dir.join("file") })
    }

    /// Writes placed objects into a directory: a tar on one side of a pipe, unpacked on the other.
    fn materialise(&self, placed: &std::collections::BTreeMap<PathBuf, crate::copy::Placed>, dir: &Path) -> Result<()> {
        let root = open_dir(dir)?;
        let (reader, writer) = std::io::pipe().map_err(|e| BuildError::io("make", "a pipe", e))?;
        std::thread::scope(|scope| {
            let packing = scope.spawn(move || -> Result<()> {
                let mut tar = TarWriter::new(BufWriter::with_capacity(256 << 10, writer));
                write(placed, &mut tar)?;
                tar.finish().map_err(layer_error)?.flush().map_err(|e| BuildError::io("write", "a pipe", e))
            });
            let mut options = layer::ApplyOptions {
                whiteouts: layer::Whiteouts::Literal,
                owners: if self.layers.real_owners() { layer::Owners::Real } else { layer::Owners::Listed },
                ..layer::ApplyOptions::default()
            };
            let applied = layer::apply(reader, root.as_fd(), &mut options).map_err(layer_error);
            let packed = packing.join().unwrap_or_else(|p| std::panic::resume_unwind(p));
            packed.and(applied.map(|_| ()))
        })
    }

    /// What the store calls a cache mount: the same wherever the same Dockerfile is built.
    pub(super) fn mount_name(&self, mount: &MountOp) -> String {
        let namespace = self.fetcher.request.build_args.get("BUILDKIT_CACHE_MOUNT_NS").cloned().unwrap_or_default();
        let mut name = oci::Digest::sha256(format!("{namespace}\0{}", mount.id).as_bytes()).short().to_owned();
        if let Some(from) = &mount.from {
            // Another starting point is another cache.
            name = format!("{name}-{}", oci::Digest::sha256(format!("{from:?}{}", mount.source).as_bytes()).short());
        }
        if mount.uid.or(mount.gid).or(mount.mode).is_some() {
            // And so is another owner or mode: a step that asks for them must find them.
            let (uid, gid, mode) = (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0), mount.mode.unwrap_or(0o755));
            name = format!("{name}-{uid}.{gid}.{mode:o}");
        }
        name
    }

    /// The directory of a cache mount, locked as it asks.
    fn cache_dir(&self, at: At, position: usize, mount: &MountOp, held: &mut Held) -> Result<PathBuf> {
        let store = &self.layers.store;
        let mut name = self.mount_name(mount);
        let lock = |name: &str| store.lock_path(&format!("mount-{name}"));
        match mount.sharing {
            Sharing::Shared => held.locks.push(FileLock::wait(&lock(&name), Lock::Shared, &self.stop)?),
            Sharing::Locked => held.locks.push(FileLock::wait(&lock(&name), Lock::Exclusive, &self.stop)?),
            Sharing::Private => {
                let base = name.clone();
                for n in 0.. {
                    if n > 0 {
                        name = format!("{base}.{n}");
                    }
                    if let Some(taken) = FileLock::try_exclusive(&lock(&name))? {
                        held.locks.push(taken);
                        break;
                    }
                }
            }
        }
        let root = store.root().join("mounts").join(&name);
        let data = root.join("data");
        if fs::symlink_metadata(&data).is_ok_and(|found| !found.is_dir()) {
            // What is mounted must be in the store: a link could lead anywhere.
            return Err(BuildError::new(Kind::Io, format!("the cache mount {} is no directory", data.display()))
                .hint(format!("remove {}: the cache then begins empty", root.display())));
        }
        if !data.is_dir() {
            let work = store.scratch_dir("mount")?;
            let fresh = work.join("data");
            fs::create_dir(&fresh).map_err(|e| BuildError::io("make", &fresh, e))?;
            if self.fill_mount(&name, &fresh)? {
                // As another build left it.
            } else if mount.from.is_some() {
                let selection = self.mount_selection(at.stage, at.number, position, mount, Some(at.line))?;
                let mut destination = Destination::new(None, None, None, builder_time(self.plan.epoch), false);
                destination.copy(&selection, "/")?;
                self.materialise(&destination.into_placed(), &fresh)?;
            }
            let (uid, gid) = (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0));
            let (uid, gid) = if self.layers.real_owners() { (uid, gid) } else { (0, 0) };
            set_attributes(&fresh, mount.mode.unwrap_or(0o755), uid, gid)?;
            let described =
                serde_json::json!({ "id": mount.id, "target": mount.target, "created": crate::time::now() });
            fs::write(work.join("mount.json"), described.to_string()).map_err(|e| BuildError::io("write", &work, e))?;
            if store.publish(&work, &root).is_err() {
                remove_tree(&work);
            }
        }
        Ok(data)
    }

    /// Fills a new cache mount from the first external cache that knows it. One that is damaged costs a warning.
    fn fill_mount(&self, name: &str, dir: &Path) -> Result<bool> {
        let known = self.layers.imports().map(|imports| imports.mounts()).unwrap_or_default();
        for cache in known {
            match cache.fill(name, dir, self.layers.real_owners()) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error) => {
                    let message = format!("cannot take a cache mount from {}: {error}; it begins empty", cache.place());
                    self.fetcher.events.send(Event::Warning { id: None, message });
                    remove_tree(dir);
                    fs::create_dir(dir).map_err(|e| BuildError::io("make", dir, e))?;
                }
            }
        }
        Ok(false)
    }

    /// Starts the command and passes its output on; gives back how it ended and the last of the output.
    fn launch(&self, spec: &sandbox::Spec, line: VertexId) -> Result<(sandbox::Exit, Vec<u8>)> {
        let pipe = || std::io::pipe().map_err(|e| BuildError::io("make", "a pipe", e));
        let ((out_reader, out_writer), (err_reader, err_writer)) = (pipe()?, pipe()?);
        let io = sandbox::Io::output(out_writer, err_writer).map_err(|e| BuildError::io("open", "/dev/null", e))?;
        let tail = Mutex::new(VecDeque::with_capacity(TAIL));
        let events = self.fetcher.events;
        let follow = |mut reader: std::io::PipeReader, stream: Stream| {
            let mut buffer = vec![0_u8; 16 << 10];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
                tail.extend(&buffer[..count]);
                let surplus = tail.len().saturating_sub(TAIL);
                tail.drain(..surplus);
                drop(tail);
                events.send(Event::Log { id: line, stream, data: buffer[..count].to_vec() });
            }
        };
        let exit = std::thread::scope(|scope| {
            scope.spawn(|| follow(out_reader, Stream::Stdout));
            scope.spawn(|| follow(err_reader, Stream::Stderr));
            let _span = events.span(Some(line), Phase::Run, command_line(spec));
            self.place.launcher.run(spec, io, &self.stop)
        });
        let exit = exit.map_err(|e| {
            if self.stop.is_cancelled() {
                return BuildError::canceled();
            }
            let mut error = BuildError::new(Kind::Step, format!("cannot run the step: {e}"));
            if let sandbox::RunError::CommandNotFound { .. } = &e
                && spec.argv.first().is_some_and(|a| a == "/bin/sh")
            {
                error = error.hint("the image has no /bin/sh (FROM scratch has nothing): copy a shell in, start from another image, or use the JSON form RUN [\"/program\"]");
            }
            error.caused_by(e)
        })?;
        let tail = tail.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((exit, tail.into()))
    }
}

/// The beginning of a command, for people.
fn command_line(spec: &sandbox::Spec) -> String {
    let words: Vec<_> = spec.argv.iter().map(|word| word.to_string_lossy()).collect();
    words.join(" ").chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The upper directory is what the command sees as `/`.
fn set_root_mode(upper: &Path, tree: &dyn Tree) -> Result<()> {
    let root = tree.lookup(Path::new(""))?;
    let (mode, uid, gid) = root.map_or((0o755, 0, 0), |n| (n.entry.mode, n.entry.uid, n.entry.gid));
    set_attributes(upper, mode, uid, gid)
}

fn set_attributes(path: &Path, mode: u32, uid: u32, gid: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|e| BuildError::io("chmod", path, e))?;
    if (uid, gid) != (0, 0) {
        std::os::unix::fs::lchown(path, Some(uid), Some(gid)).map_err(|e| BuildError::io("chown", path, e))?;
    }
    Ok(())
}

/// Notes in a tree's side table who owns a directory that is mounted into it.
fn remember_owner(tree: &Path, path: &Path, owner: (u32, u32)) -> Result<()> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    use sandbox::intercept::{FileKey, OwnershipTable, Remembered, table_path};
    if owner == (0, 0) {
        return Ok(());
    }
    let table = table_path(tree);
    let mut known = OwnershipTable::load(&table).map_err(|e| BuildError::io("read", &table, e))?;
    let stat = statx(CWD, path, AtFlags::empty(), StatxFlags::INO | StatxFlags::BTIME)
        .map_err(|e| BuildError::io("read the attributes of", path, e))?;
    let key = FileKey { ino: stat.stx_ino, seconds: stat.stx_btime.tv_sec, nanoseconds: stat.stx_btime.tv_nsec };
    known.insert(key, Remembered { owner: Some(owner), ..Remembered::default() });
    known.save(&table).map_err(|e| BuildError::io("write", &table, e))
}

/// Makes a directory in the upper directory where the image lacks it.
pub(super) fn make_missing(upper: &Path, tree: &dyn Tree, path: &str) -> Result<()> {
    let path = resolve(tree, Path::new(crate::paths::relative(path)), true)?;
    if path.as_os_str().is_empty() || tree.lookup(&path)?.is_some() {
        return Ok(());
    }
    let mut made = PathBuf::new();
    for name in &path {
        made.push(name);
        let full = upper.join(&made);
        if full.is_dir() {
            continue;
        }
        fs::create_dir(&full).map_err(|e| BuildError::io("make", &full, e))?;
        let node: Option<Node> = tree.lookup(&made)?;
        let (mode, uid, gid) = node.map_or((0o755, 0, 0), |n| (n.entry.mode, n.entry.uid, n.entry.gid));
        set_attributes(&full, mode, uid, gid)?;
    }
    Ok(())
}

/// The host's certificate authorities, for tools behind a company's proxy: a file in memory and the variables that
/// tools look at. Nothing of it is in a cache key or in the image.
fn host_ca(bundle: &Path, spec: &mut sandbox::Spec, env: &mut Vec<(String, String)>) -> Result<()> {
    const PLACE: &str = "/run/cooperage/ca-certificates.crt";
    let content = fs::read(bundle).map_err(|e| {
        BuildError::new(Kind::Input, format!("cannot read the CA certificates {}: {e}", bundle.display()))
            .hint("name a PEM bundle with --host-ca=FILE")
    })?;
    let kind = sandbox::MountKind::File { content, mode: 0o444, uid: 0, gid: 0 };
    spec.mounts.push(sandbox::Mount::new(PLACE, kind));
    for name in [
        "SSL_CERT_FILE",
        "CURL_CA_BUNDLE",
        "REQUESTS_CA_BUNDLE",
        "PIP_CERT",
        "NODE_EXTRA_CA_CERTS",
        "GIT_SSL_CAINFO",
        "CARGO_HTTP_CAINFO",
        "AWS_CA_BUNDLE",
    ] {
        if !env.iter().any(|(n, _)| n == name) {
            env.push((name.to_owned(), PLACE.to_owned()));
        }
    }
    Ok(())
}

fn signal_name(number: i32) -> &'static str {
    match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        31 => "SIGSYS",
        _ => "signal",
    }
}
