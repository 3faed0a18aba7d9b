//! Where the repository lies and where things that are costly to make are kept between runs.
use std::path::{Path, PathBuf};

/// The repository's root.
///
/// # Panics
/// Never: the crate lies two directories below it.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate lies in crates/testkit").to_owned()
}

/// The directory for base images and peers' root filesystems, which outlives builds and checkouts: `TESTKIT_CACHE`,
/// else `cooperage-testkit` in the user's cache directory, else `target/testkit` in the repository.
#[must_use]
pub fn cache_dir() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(directory) = variable("TESTKIT_CACHE") {
        return directory;
    }
    variable("XDG_CACHE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".cache")))
        .map_or_else(|| repository().join("target/testkit"), |cache| cache.join("cooperage-testkit"))
}

/// Whether this process may do what only root may: the owner of its own `/proc` entry tells.
#[must_use]
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Whether programs are there that a test needs. Where one is missing the test is to be passed over: this says so, and
/// which Debian package brings it. In CI a test that is passed over is a failure.
///
/// # Panics
/// In CI, where a program is missing.
#[must_use]
#[allow(clippy::print_stderr, reason = "a test that is passed over says so")]
pub fn available(test: &str, programs: &[(&str, &str)]) -> bool {
    let missing: Vec<&str> =
        programs.iter().filter(|(program, _)| crate::which(program).is_none()).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return true;
    }
    let text = format!("{test}: passed over; it needs: apt-get install {}", missing.join(" "));
    assert!(std::env::var_os("CI").is_none(), "{text}");
    eprintln!("{text}");
    false
}

/// What every test with a registry and a base image needs.
pub const REGISTRY_TOOLS: &[(&str, &str)] = &[
    ("docker-registry", "docker-registry"),
    ("skopeo", "skopeo"),
    ("setpriv", "util-linux"),
    ("busybox", "busybox-static"),
    ("git", "git"),
    ("setfattr", "attr"),
    ("setcap", "libcap2-bin"),
];

/// What base images of Debian packages and running containers need.
pub const DEBIAN_TOOLS: &[(&str, &str)] = &[
    ("docker-registry", "docker-registry"),
    ("skopeo", "skopeo"),
    ("mmdebstrap", "mmdebstrap"),
    ("umoci", "umoci"),
    ("runc", "runc"),
];
