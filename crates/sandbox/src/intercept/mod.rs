//! The `intercept` isolation: RUN where no namespace, no mount and no capability is to be had.
//!
//! The command's own processes carry an agent (crate `agent`) that answers the system calls with paths and identities,
//! so that the tree looks like the root of a machine where the command is root. Here is the launcher: it lays out the
//! mounts, makes the agent's image and the shared memory, installs the filter and Landlock, and starts the agent as
//! loader of the command.
//!
//! What files belong to, as the step believes, is kept beside the tree: see [`table_path`] and [`OwnershipTable`].

pub(crate) mod confine;
mod filter;
mod image;
pub(crate) mod keeper;
mod layout;
pub(crate) mod leftovers;
mod raw;
mod table;

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Release;

use agent::protocol::{
    Creds, DEFAULT_CAPS, FAILED_CWD, FD_MOUNTS, FLAG_CHECK_KILL, FLAG_COUNT, FLAG_TRACE, MAX_GROUPS, MOUNT_FILE,
    MOUNT_READ_ONLY, MOUNT_SYSTEM, Parcel,
};
use rustix::fs::{Mode, OFlags};

use crate::child::{Context, Setup};
use crate::emulation::{self, Machine};
use crate::error::{RunError, SetupError};
use crate::intercept::image::{Facts, Shared};
use crate::intercept::layout::{Doors, Place};
use crate::isolation::Isolation;
use crate::launch::Status;
use crate::spec::{Network, Rootfs, Security, Spec};
use crate::sys;

pub use table::{FileKey, OwnershipTable, Remembered};

/// Where the ownership table of a tree, or of a directory that steps mount to write to (a cache), is kept: beside it,
/// with `.owners` behind its name.
pub fn table_path(tree: &Path) -> PathBuf {
    let mut name = tree.file_name().unwrap_or_default().to_owned();
    name.push(".owners");
    tree.with_file_name(name)
}

/// From so many files on, a quarter of the room, a table keeps only what is in the tree.
const PRUNED_FROM: usize = 1 << 19;

/// Aids for those who work on the agent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Diagnostics {
    /// Write each trapped call to the step's standard error.
    pub trace: bool,
    /// Count trapped calls.
    pub count: bool,
}

/// A step, laid out and ready to start.
pub(crate) struct Step {
    tree: PathBuf,
    places: Vec<Place>,
    doors: Doors,
    shared: Shared,
    sections: image::Sections,
    flags: u32,
    /// `e_machine` of the programs of another machine, and who runs them.
    emulator: Option<(u16, OwnedFd)>,
}

/// How a step could not begin.
#[derive(Debug)]
pub(crate) enum NotStarted {
    /// The confinement failed.
    Setup(SetupError),
    /// The command could not be executed.
    Command(io::Error),
    /// The working directory could not be entered.
    Directory(io::Error),
}

impl From<SetupError> for NotStarted {
    fn from(error: SetupError) -> Self {
        NotStarted::Setup(error)
    }
}

fn unsupported(action: &str, hint: &str) -> SetupError {
    SetupError { action: action.into(), errno: 0, hint: Some(hint.into()) }
}

impl Step {
    /// Lays the step out. What this changes in the tree, [`Step::finish`] puts back.
    pub(crate) fn prepare(spec: &Spec, diagnostics: Diagnostics) -> Setup<Self> {
        let Rootfs::Directory(tree) = &spec.rootfs else {
            return Err(unsupported("use an overlay", "the intercept isolation works on a directory"));
        };
        let Some(sections) = image::sections() else {
            return Err(unsupported("start the agent", "there is none for this architecture yet; it needs x86_64"));
        };
        let emulator = match &spec.emulator {
            Some(emulator) => Machine::of(&emulator.architecture)
                .map(|machine| emulation::open(emulator).map(|fd| (machine.number(), fd)))
                .transpose()?,
            None => None,
        };
        let tree = tree.canonicalize().context(|| format!("find the root file system {}", tree.display()))?;
        let (places, doors) = layout::Builder::new(&tree)?.all(spec);
        let result = places.and_then(|places| {
            let mut known = load(&tree)?;
            for directory in writable(&places, &doors) {
                known.merge(load(directory)?);
            }
            for (key, owner) in &doors.owners {
                known.insert(*key, Remembered { owner: Some(*owner), ..Remembered::default() });
            }
            let shared = Shared::new(&known)?;
            Ok((places, shared))
        });
        let (places, shared) = match result {
            Ok(made) => made,
            Err(error) => {
                let _ = doors.open();
                return Err(error);
            }
        };
        let mut flags = 0;
        if diagnostics.trace {
            flags |= FLAG_TRACE;
        }
        if diagnostics.count {
            flags |= FLAG_COUNT;
        }
        if sys::landlock_abi().unwrap_or(0) < 6 {
            flags |= FLAG_CHECK_KILL;
        }
        Ok(Step { tree, places, doors, shared, sections, flags, emulator })
    }

    /// Becomes the command; returns only why it could not. For a process of a single thread whose standard
    /// descriptors are the step's.
    pub(crate) fn become_command(self, spec: &Spec, report: OwnedFd) -> SetupError {
        match self.try_become(spec, report) {
            Ok(never) => never,
            Err(error) => error,
        }
    }

    fn try_become(mut self, spec: &Spec, report: OwnedFd) -> Setup<SetupError> {
        sys::reset_signals();
        let _ = rustix::process::setsid();
        rustix::process::umask(Mode::empty());
        for limit in &spec.ulimits {
            sys::set_limit(limit)
                .context(|| format!("set the limit {:?} to {}:{}", limit.limit, limit.soft, limit.hard))
                .map_err(|error| error.hint("a hard limit above the builder's own needs CAP_SYS_RESOURCE"))?;
        }
        let tree = rustix::fs::open(&self.tree, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .context(|| format!("open {}", self.tree.display()))?;
        let rules = confine::rules(&tree, &self.places)?;
        let directories = self.places.iter().filter(|place| place.fd.is_some()).count();
        let opened = directories + usize::from(self.emulator.is_some());
        let window_len = FD_MOUNTS + i32::try_from(opened).unwrap_or(i32::MAX);
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1 << 20);
        let window = i32::try_from(limit.min(1024)).unwrap_or(1024) - window_len;
        if window < 64 {
            let hint = "raise it with --ulimit nofile=1024";
            return Err(unsupported("the limit of open files is too low for the intercept isolation", hint));
        }
        let mut next = window + FD_MOUNTS;
        let fds: Vec<i32> = self
            .places
            .iter()
            .map(|place| {
                if place.fd.is_some() {
                    next += 1;
                    next - 1
                } else {
                    -1
                }
            })
            .collect();
        let agent = image::build(
            &self.sections,
            &Facts {
                tree: &self.tree,
                hostname: &spec.hostname,
                places: &self.places,
                window,
                window_len,
                fds: &fds,
                flags: self.flags,
                emulator: self.emulator.as_ref().map(|(machine, _)| (*machine, window + window_len - 1)),
            },
        )?;
        self.fill_parcel(spec, report.as_raw_fd());
        // The window's numbers must not be in use while it is filled; it may reach up to the limit, so what is in the
        // way moves below it.
        let below = (window - window_len - 8).max(3);
        let move_up = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, below).context(|| "move a descriptor");
        let report = move_up(&report)?;
        self.shared.first_parcel(|parcel| parcel.interpreter = report.as_raw_fd());
        let fixed = [move_up(&tree)?, move_up(&agent)?, move_up(self.shared.fd())?, move_up(&tree)?];
        let mut mounts = Vec::new();
        for place in &mut self.places {
            if let Some(fd) = place.fd.take() {
                mounts.push(move_up(&fd)?);
            }
        }
        if let Some((_, fd)) = self.emulator.take() {
            mounts.push(move_up(&fd)?);
        }
        drop((tree, agent));
        for (number, fd) in (window..).zip(fixed.iter().chain(&mounts)) {
            sys::dup_to(fd.as_fd(), number).context(|| "fill the window of descriptors")?;
        }
        let argv = strings(spec.argv.iter().map(|item| item.as_bytes().to_vec()))?;
        let env = strings(spec.env.iter().map(|(key, value)| [key.as_bytes(), b"=", value.as_bytes()].concat()))?;
        let program = filter::program(&filter::Settings {
            text: self.sections.text.clone(),
            hidden: window.unsigned_abs()..(window + window_len).unsigned_abs(),
            no_network: spec.network == Network::None,
        });
        rustix::thread::set_no_new_privs(true).context(|| "set no_new_privs")?;
        // Doors are shut by permission bits, and the agent's answers must not be mixed with the kernel's for root.
        crate::capability::drop_all().context(|| "drop capabilities")?;
        rules.apply()?;
        // The agent marks it again: it is to be closed by the second execve, not by the first.
        rustix::io::fcntl_setfd(&report, rustix::io::FdFlags::empty()).context(|| "keep the pipe open")?;
        let kept = report.into_raw_fd();
        raw::close_others(|fd| fd == kept || (window..window + window_len).contains(&fd))
            .context(|| "close the builder's descriptors")?;
        let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
        sys::install_filter(&program, flags)
            .or_else(|_| sys::install_filter(&program, 0))
            .context(|| "install the system call filter")?;
        let error = raw::exec_fd(window + agent::protocol::FD_AGENT, &argv, &env);
        Ok(SetupError::new("start the agent", error))
    }

    fn fill_parcel(&self, spec: &Spec, report: i32) {
        let bounding = match spec.security {
            Security::Sandbox => DEFAULT_CAPS,
            Security::Insecure => (1 << 41) - 1,
        };
        let user = &spec.user;
        let creds = Creds::new(user.uid, user.gid, &user.groups[..user.groups.len().min(MAX_GROUPS)], 0o022, bounding);
        let text = |to: &mut [u8; 4096], from: &[u8]| {
            let len = from.len().min(4095);
            to[..len].copy_from_slice(&from[..len]);
            u32::try_from(len).unwrap_or(0)
        };
        let command = spec.argv.first().map_or(&b""[..], |name| name.as_bytes());
        self.shared.first_parcel(|parcel: &mut Parcel| {
            parcel.program = -1;
            parcel.interpreter = report;
            parcel.secure = 0;
            parcel.creds = creds;
            parcel.sigsys_ignored = 0;
            parcel.filtered = 0;
            parcel.exe_len = text(&mut parcel.exe, layout::bytes(&spec.cwd));
            parcel.execfn_len = text(&mut parcel.execfn, command);
            parcel.owner.store(rustix::process::getpid().as_raw_pid().unsigned_abs(), Release);
        });
    }

    /// Starts the command in a new process. The pipe tells when it runs, or why it does not.
    ///
    /// # Safety
    /// The calling process must have a single thread.
    pub(crate) unsafe fn start(self, spec: &Spec, stdio: [OwnedFd; 3]) -> Setup<(Running, File)> {
        let (here, there) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context(|| "make a pipe")?;
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .context(|| "become the reaper of the step's processes")?;
        // SAFETY: promised by the caller.
        match unsafe { sys::fork() }.context(|| "fork the step's first process")? {
            Some(pid) => Ok((Running { pid, step: self }, File::from(here))),
            None => {
                drop(here);
                let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
                for (number, fd) in (0..).zip(&stdio) {
                    let _ = sys::dup_to(fd.as_fd(), number);
                }
                let copy = there.try_clone();
                let error = self.become_command(spec, there);
                if let (Ok(pipe), Ok(text)) = (copy, serde_json::to_vec(&error)) {
                    let _ = rustix::io::write(&pipe, &text);
                }
                sys::exit_now(127)
            }
        }
    }

    /// Puts the tree back as it was, and saves the ownership table. For when the last process of the step is gone.
    pub(crate) fn finish(self) -> Result<(), RunError> {
        let mut table = self.shared.remembered();
        if table.len() > PRUNED_FROM {
            // A step can fill the table with files that never were; the next one would have no room. What lies behind
            // the doors counts, too.
            self.doors.unlock().map_err(|(path, source)| RunError::Cleanup { path, source })?;
            let mut all = table;
            table = all.split_off(&self.tree);
            for directory in writable(&self.places, &self.doors) {
                table.merge(all.split_off(directory));
            }
        }
        // What lies in a mount is kept beside the mount's source; what goes with the step is forgotten.
        let mut saved = Ok(());
        for directory in writable(&self.places, &self.doors) {
            saved = saved.and(save(&table.split_off(directory), directory));
        }
        if let Some(scratch) = self.doors.scratch() {
            table.split_off(scratch);
        }
        for (key, _) in &self.doors.owners {
            table.insert(*key, Remembered::default());
        }
        saved = saved.and(save(&table, &self.tree));
        self.doors.open().map_err(|(path, source)| RunError::Cleanup { path, source })?;
        saved.map_err(|(path, source)| RunError::Cleanup { path, source })
    }
}

/// The directories of the builder's that the step may write to by its mounts.
fn writable<'a>(places: &'a [Place], doors: &'a Doors) -> impl Iterator<Item = &'a Path> {
    const NOT: u32 = MOUNT_READ_ONLY | MOUNT_FILE | MOUNT_SYSTEM;
    let own = |path: &Path| doors.scratch().is_some_and(|scratch| path.starts_with(scratch));
    let found = places.iter().filter(|place| place.flags & NOT == 0).map(|place| place.source.as_path());
    found.filter(move |path| !own(path))
}

fn load(directory: &Path) -> Setup<OwnershipTable> {
    let path = table_path(directory);
    OwnershipTable::load(&path).context(|| format!("read {}", path.display()))
}

fn save(table: &OwnershipTable, directory: &Path) -> Result<(), (PathBuf, io::Error)> {
    let path = table_path(directory);
    if table.is_empty() && !path.exists() {
        return Ok(());
    }
    table.save(&path).map_err(|error| (path, error))
}

/// A started step.
pub(crate) struct Running {
    /// Its first process.
    pub(crate) pid: sys::Pid,
    step: Step,
}

impl Running {
    /// Reads the pipe: whether the command runs.
    pub(crate) fn begun(&self, mut pipe: File) -> Result<(), NotStarted> {
        let mut text = Vec::new();
        let _ = pipe.read_to_end(&mut text);
        if let Ok(number) = <[u8; 4]>::try_from(&text[..]) {
            let number = u32::from_le_bytes(number);
            let error = |number: u32| io::Error::from_raw_os_error(i32::try_from(number & 0xffff).unwrap_or(0));
            return Err(match number & FAILED_CWD {
                0 => NotStarted::Command(error(number)),
                _ => NotStarted::Directory(error(number)),
            });
        }
        match serde_json::from_slice::<SetupError>(&text) {
            Ok(error) => Err(error.into()),
            Err(_) => Ok(()),
        }
    }

    /// Puts the tree back: see [`Step::finish`].
    pub(crate) fn finish(self) -> Result<(), RunError> {
        self.step.finish()
    }

    /// Waits for the command, ends what it left behind, and puts the tree back.
    pub(crate) fn end(self) -> Result<(Status, Vec<(usize, u64)>), RunError> {
        let status = loop {
            match sys::wait(-1).map_err(RunError::Control)? {
                Some((pid, ended)) if pid == self.pid => {
                    break match ended {
                        sys::Ended::Code(code) => Status::Code(code),
                        sys::Ended::Signal(signal) => Status::Signal(signal),
                    };
                }
                Some(_) => {}
                None => break Status::Code(125),
            }
        };
        leftovers::end().map_err(RunError::Control)?;
        let counts = self.step.shared.counts();
        self.step.finish()?;
        Ok((status, counts))
    }
}

fn strings(list: impl Iterator<Item = Vec<u8>>) -> Setup<Vec<CString>> {
    list.map(CString::new).collect::<Result<_, _>>().map_err(|_| SetupError {
        action: "an argument or environment variable contains a NUL byte".into(),
        errno: 0,
        hint: None,
    })
}

/// Runs a step in this process and a child of it: for tools of a single thread, such as a test or a helper.
///
/// # Safety
/// The calling process must have a single thread.
pub unsafe fn run_here(
    spec: &Spec,
    stdio: [OwnedFd; 3],
    diagnostics: Diagnostics,
) -> Result<(Status, Vec<(usize, u64)>), RunError> {
    let setup = |source| RunError::Setup { isolation: Isolation::Intercept, source };
    let step = Step::prepare(spec, diagnostics).map_err(setup)?;
    // SAFETY: promised by the caller.
    let (running, pipe) = unsafe { step.start(spec, stdio) }.map_err(setup)?;
    let begun = running.begun(pipe);
    let program = || spec.argv.first().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let ended = running.end()?;
    match begun {
        Ok(()) => Ok(ended),
        Err(NotStarted::Setup(source)) => Err(setup(source)),
        Err(NotStarted::Directory(error)) => {
            Err(setup(SetupError::new(format!("change to the working directory {}", spec.cwd.display()), error)))
        }
        Err(NotStarted::Command(error)) if error.kind() == io::ErrorKind::NotFound => {
            Err(RunError::CommandNotFound { program: program(), path: None })
        }
        Err(NotStarted::Command(error)) => {
            Err(RunError::CommandNotExecutable { program: program(), reason: error.to_string() })
        }
    }
}
