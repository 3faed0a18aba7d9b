//! A place to build in: a context, a store, a home, a directory for temporary files, and a registry that all tests
//! share.
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use oci::{Digest, Digester};
use testkit::{Image, Registry, bases};

/// A registry with `library/busybox`, for the life of the test program.
pub(crate) fn registry() -> &'static Registry {
    static SHARED: OnceLock<Registry> = OnceLock::new();
    SHARED.get_or_init(|| {
        let registry = Registry::start().expect("docker-registry is installed");
        bases::BUSYBOX.push(&registry).expect("busybox-static and skopeo are installed");
        registry
    })
}

/// Directories of one test.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// With an empty context and an empty store.
    pub(crate) fn new() -> Self {
        let place = Self { dir: tempfile::Builder::new().prefix("robustness-").tempdir().unwrap() };
        for name in ["context", "home", "tmp"] {
            fs::create_dir(place.dir.path().join(name)).unwrap();
        }
        place
    }

    /// With this Dockerfile.
    pub(crate) fn dockerfile(text: &str) -> Self {
        Self::new().file("Dockerfile", text)
    }

    /// A file of the context, with mode 0644.
    pub(crate) fn file(self, path: &str, text: impl AsRef<[u8]>) -> Self {
        self.write(path, text);
        self
    }

    /// The same, later.
    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.context().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn context(&self) -> PathBuf {
        self.path("context")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// `cooperage build --progress plain WORDS CONTEXT` with next to no environment.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooperage"));
        command
            .args(["build", "--progress", "plain", "--root"])
            .arg(self.store())
            .arg(format!("--registry-mirror=docker.io={}", registry().url()))
            .args(words.split_whitespace())
            .arg(self.context())
            .current_dir(self.dir.path())
            .env_clear()
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null());
        command
    }

    /// Builds; panics with the log where that fails.
    pub(crate) fn build(&self, words: &str) -> Log {
        let log = self.attempt(words);
        assert!(log.code == Some(0), "the build fails ({:?}):\n{}", log.code, log.text);
        log
    }

    /// Builds, whatever comes of it.
    pub(crate) fn attempt(&self, words: &str) -> Log {
        run(&mut self.command(words))
    }

    /// Builds to an OCI archive and gives the image.
    pub(crate) fn image(&self, words: &str) -> (Image, Log) {
        let archive = self.path("image.tar");
        let log = self.build(&format!("{words} -o type=oci,dest={}", archive.display()));
        (Image::from_archive(&archive).expect("an image"), log)
    }

    /// Builds and gives the digest of the image.
    pub(crate) fn digest(&self, words: &str) -> String {
        let path = self.path("metadata.json");
        self.build(&format!("{words} --metadata-file {}", path.display()));
        let metadata: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        metadata["containerimage.digest"].as_str().unwrap().to_owned()
    }

    /// What every use of the store begins with: what the dead left in it is removed.
    pub(crate) fn open_store(&self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooperage"));
        let log = run(command.args(["cache", "du", "--root"]).arg(self.store()));
        assert!(log.code == Some(0), "the store does not open:\n{}", log.text);
    }

    /// Every blob has the digest that it is named by, every layer that is known can be used, and nothing lies in the
    /// directories for temporary files.
    pub(crate) fn assert_sound(&self) {
        for path in files(&self.store().join("blobs")) {
            let wanted = path.file_name().unwrap().to_str().unwrap().to_owned();
            assert_eq!(digest_of(&path).hex(), wanted, "a blob of the store is damaged");
        }
        for path in files(&self.store().join("images")).into_iter().chain(files(&self.store().join("steps"))) {
            let record = fs::read(&path).unwrap();
            assert!(serde_json::from_slice::<serde_json::Value>(&record).is_ok(), "{} is broken", path.display());
        }
        for place in [self.store().join("tmp"), self.path("tmp")] {
            let left: Vec<_> = fs::read_dir(&place).unwrap().map(|e| e.unwrap().path()).collect();
            assert!(left.is_empty(), "left behind: {left:?}");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A layer may hold directories that nobody may enter; where tests run as root that is no obstacle.
        let _ = Command::new("chmod").args(["-R", "u+rwX"]).arg(self.dir.path()).stderr(Stdio::null()).status();
    }
}

/// What a build printed.
pub(crate) struct Log {
    pub(crate) code: Option<i32>,
    pub(crate) text: String,
}

impl Log {
    /// Whether the step whose line contains this came from the cache.
    pub(crate) fn cached(&self, step: &str) -> bool {
        let heading = self.text.lines().find(|l| l.starts_with('#') && l.contains("] ") && l.contains(step));
        let heading = heading.unwrap_or_else(|| panic!("no step {step:?} in:\n{}", self.text));
        let number = heading.split(' ').next().unwrap();
        self.text.lines().any(|line| line == format!("{number} CACHED"))
    }

    /// The text of the error: what follows the progress.
    pub(crate) fn error(&self) -> String {
        let start = self.text.find("\nerror:").map_or_else(|| usize::from(!self.text.starts_with("error:")), |n| n + 1);
        format!("exit {}\n{}", self.code.unwrap_or(-1), self.text[start..].trim_end())
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Log {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Log { code: output.status.code(), text }
}

/// All regular files below a directory.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let Ok(list) = fs::read_dir(dir) else { return out };
    for entry in list {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            out.extend(files(&entry.path()));
        } else if kind.is_file() {
            out.push(entry.path());
        }
    }
    out
}

/// The digest of a file.
pub(crate) fn digest_of(path: &Path) -> Digest {
    let (mut file, mut digester) = (fs::File::open(path).unwrap(), Digester::new());
    let mut buffer = vec![0; 256 << 10];
    while let count @ 1.. = file.read(&mut buffer).unwrap() {
        digester.update(&buffer[..count]);
    }
    digester.finish()
}

/// Processes of this machine that have to do with `needle`: in their arguments, their mounts, or where they stand.
pub(crate) fn processes(needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap_or_default());
        if name.parse::<u32>().is_err() || name == std::process::id().to_string() {
            continue;
        }
        let arguments = fs::read(path.join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        let mounts = fs::read_to_string(path.join("mountinfo")).unwrap_or_default();
        let links = ["cwd", "exe", "root"].map(|link| fs::read_link(path.join(link)).unwrap_or_default());
        let stands = links.iter().any(|link| link.to_string_lossy().contains(needle));
        if arguments.contains(needle) || mounts.contains(needle) || stands {
            found.push(format!("{name}: {arguments}"));
        }
    }
    found
}

/// Waits until no process has to do with `needle`. Processes that were killed take a moment to be gone; those that
/// were not stay, and are the test's failure.
pub(crate) fn assert_no_processes(needle: &str) {
    let mut left = processes(needle);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !left.is_empty() && std::time::Instant::now() < end {
        std::thread::yield_now();
        left = processes(needle);
    }
    assert!(left.is_empty(), "processes are left: {left:#?}");
}

/// A generator of numbers that are the same in every run (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}
