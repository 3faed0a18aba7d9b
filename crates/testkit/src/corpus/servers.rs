//! What ADD fetches from: a file server and a git server on loopback.
use crate::command::{Error, Guard, Result, run, tool};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// `Last-Modified` of everything that the file server serves.
pub(crate) const LAST_MODIFIED: &str = "Tue, 14 Nov 2023 22:13:20 GMT";

/// Serves a directory over HTTP from a thread that ends with the process.
///
/// Paths: `/NAME` is the file `NAME`; `/moved/NAME` redirects there; `/plain/NAME` has no Last-Modified;
/// `/named/X` has a Content-Disposition that calls it `NAME`.
#[derive(Debug)]
pub struct FileServer {
    port: u16,
}

impl FileServer {
    /// Starts it.
    pub fn start(directory: &Path) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(Error::at("file server"))?;
        let port = listener.local_addr().map_err(Error::at("file server"))?.port();
        let directory = directory.to_owned();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let directory = directory.clone();
                std::thread::spawn(move || serve(stream, &directory));
            }
        });
        Ok(Self { port })
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// One request per connection.
fn serve(mut stream: TcpStream, directory: &Path) {
    let Ok(twin) = stream.try_clone() else { return };
    let mut lines = BufReader::new(twin).lines();
    let Some(Ok(first)) = lines.next() else { return };
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default().trim_start_matches('/');
    let (status, headers, body) = if let Some(name) = path.strip_prefix("moved/") {
        ("302 Found", format!("Location: /{name}\r\n"), Vec::new())
    } else {
        let plain = path.strip_prefix("plain/");
        let named = path.strip_prefix("named/").map(|_| "Content-Disposition: attachment; filename=\"named.txt\"\r\n");
        let file = if named.is_some() { "hello.txt" } else { plain.unwrap_or(path) };
        let time = if plain.is_some() { String::new() } else { format!("Last-Modified: {LAST_MODIFIED}\r\n") };
        match fs::read(directory.join(file)) {
            Ok(body) if !path.contains("..") => ("200 OK", time + named.unwrap_or_default(), body),
            _ => ("404 Not Found", String::new(), b"no such file\n".to_vec()),
        }
    };
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes());
    if method != "HEAD" {
        let _ = stream.write_all(&body);
    }
}

/// `git daemon` with one repository, `project.git`: branches `main` and `feature`, tag `v1`, a subdirectory `sub`.
#[derive(Debug)]
pub struct GitServer {
    port: u16,
    _daemon: Guard,
    directory: TempDir,
}

impl GitServer {
    /// Makes the repository and starts the daemon.
    pub fn start() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("testkit-git-").tempdir().map_err(Error::at("tempdir"))?;
        make_repository(directory.path())?;
        let git = crate::which("git").ok_or_else(|| Error::new("git is not installed: apt-get install git"))?;
        for _ in 0..10 {
            let port = crate::free_port()?;
            let base = format!("--base-path={}", directory.path().display());
            let port_option = format!("--port={port}");
            let words = ["daemon", "--reuseaddr", "--export-all", "--listen=127.0.0.1", &port_option, &base];
            let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
            let mut daemon = Guard::spawn(&git, &words, &directory.path().join("log"))?;
            let end = Instant::now() + Duration::from_secs(10);
            while daemon.alive() && Instant::now() < end {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Ok(Self { port, _daemon: daemon, directory });
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Err(Error::new("git daemon does not start"))
    }

    /// `git://127.0.0.1:PORT/project.git`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("git://127.0.0.1:{}/project.git", self.port)
    }

    /// The bare repository.
    #[must_use]
    pub fn repository(&self) -> PathBuf {
        self.directory.path().join("project.git")
    }
}

/// The same commits, to the byte, every time.
fn make_repository(directory: &Path) -> Result<()> {
    let work = directory.join("work");
    fs::create_dir_all(work.join("sub/deep")).map_err(Error::at("git"))?;
    let git = |args: &[&str]| -> Result<()> {
        let mut command: Command = tool("git", "git")?;
        command.current_dir(&work).args(["-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false"]).args(args);
        for (key, value) in [
            ("GIT_AUTHOR_NAME", "Testkit"),
            ("GIT_AUTHOR_EMAIL", "testkit@localhost"),
            ("GIT_COMMITTER_NAME", "Testkit"),
            ("GIT_COMMITTER_EMAIL", "testkit@localhost"),
            ("GIT_AUTHOR_DATE", "1700000000 +0000"),
            ("GIT_COMMITTER_DATE", "1700000000 +0000"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_SYSTEM", "/dev/null"),
        ] {
            command.env(key, value);
        }
        run(&mut command).map(drop)
    };
    let write = |name: &str, text: &str| fs::write(work.join(name), text).map_err(Error::at(name));
    git(&["init", "--quiet"])?;
    write("README", "first\n")?;
    write("sub/file", "in sub\n")?;
    write("sub/deep/file", "in deep\n")?;
    write("Dockerfile", "FROM scratch\nCOPY README sub /from-git/\n")?;
    write("sub/Dockerfile", "FROM scratch\nCOPY file /from-sub/\n")?;
    git(&["add", "--all"])?;
    git(&["commit", "--quiet", "--message", "first"])?;
    git(&["tag", "v1"])?;
    git(&["checkout", "--quiet", "-b", "feature"])?;
    write("README", "feature\n")?;
    git(&["commit", "--quiet", "--all", "--message", "feature"])?;
    git(&["checkout", "--quiet", "main"])?;
    write("README", "second\n")?;
    git(&["commit", "--quiet", "--all", "--message", "second"])?;
    git(&["clone", "--quiet", "--bare", ".", "../project.git"])?;
    // Any commit can be asked for by its id, as on the forges.
    git(&["--git-dir=../project.git", "config", "uploadpack.allowAnySHA1InWant", "true"])
}
