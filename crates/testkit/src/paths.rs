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
