//! A small registry: the OCI distribution API on a directory.
//!
//! Blobs live in one pool (`blobs/sha256/HEX`), the layout of an OCI image layout and of the builder's
//! own store; `repositories/NAME/` holds links to manifests, tags and running uploads.
use crate::credentials::Secret;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Options of a server.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Ask for this user and password (HTTP basic).
    pub basic_auth: Option<(String, Secret)>,
    /// Answer pulls only.
    pub read_only: bool,
    /// Allow deletion of manifests, tags and blobs.
    pub allow_delete: bool,
    /// The largest manifest.
    pub max_manifest: u64,
    /// The largest blob; none where not given.
    pub max_blob: Option<u64>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self { basic_auth: None, read_only: false, allow_delete: true, max_manifest: 4 << 20, max_blob: None }
    }
}

/// A content store in a directory.
#[derive(Debug, Clone)]
pub struct DirectoryStore {
    root: PathBuf,
}

impl DirectoryStore {
    /// Uses (and makes) `root/blobs` and `root/repositories`.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        Ok(Self { root: root.into() })
    }
}

/// A running server; it stops when this is dropped.
#[derive(Debug)]
pub struct Running {
    addr: SocketAddr,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
    /// Stops listening and ends when the running requests are answered.
    pub fn stop(self) {}
    /// Waits until the server ends.
    pub fn wait(self) -> io::Result<()> {
        Ok(())
    }
}

/// Serves `store` at `addr` (port 0: any free one) on threads of its own.
pub fn serve(store: DirectoryStore, addr: SocketAddr, options: ServeOptions) -> io::Result<Running> {
    let _ = (store.root, addr, options);
    Err(io::Error::other("not built yet"))
}
