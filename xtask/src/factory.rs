//! `cargo xtask factory`: the factory's commands with two hundred images, each on a base of its own.
//!
//! The registry is a small server of this program that waits before each answer, as one on the other side of the
//! internet would; each second round it wants a token for each repository first. Beside the commands stand two floors
//! of the same run: the program's start, and the bare requests over as many connections as `check-bases` has.
use crate::{Failure, USAGE};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Connections of the bare requests: those of `check-bases`.
const WIDTH: usize = 32;
/// The URL that the images are enrolled with; nothing is fetched from it.
const SOURCE: &str = "https://git.example/o/app.git";

static DELAY_MS: AtomicUsize = AtomicUsize::new(0);
static GENERATION: AtomicUsize = AtomicUsize::new(1);

pub(crate) fn main(words: &[&str]) -> Result<(), Failure> {
    let mut binary = PathBuf::from("target/x86_64-unknown-linux-gnu/release/cooperage");
    let (mut rounds, mut images, mut delay) = (5usize, 200usize, 50usize);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut number = || -> Result<usize, Failure> { Ok(words.next().ok_or(USAGE)?.parse()?) };
        match *word {
            "--rounds" => rounds = number()?.max(1),
            "--images" => images = number()?,
            "--delay" => delay = number()?,
            "--binary" => binary = words.next().ok_or(USAGE)?.into(),
            _ => return Err(USAGE.into()),
        }
    }
    DELAY_MS.store(delay, Ordering::Relaxed);
    let world = World::new(&binary, images)?;
    let (plain, token) = (format!("`check-bases`, {delay} ms registry"), "the same, with a token for each repository");
    let (bare, synced) = (format!("{images} bare requests"), format!("{images} files written and synced"));
    let mut rows: Vec<(&str, &str, Vec<f64>)> = ["start of the program", "`validate`", "`list`", "`graph`"]
        .into_iter()
        .zip(["floor", "0.10", "0.10", "0.10"])
        .map(|(name, bar)| (name, bar, Vec::new()))
        .collect();
    for (name, bar) in [(bare.as_str(), "floor"), (&synced, "floor"), (&plain, "3.00"), (token, "-")] {
        rows.push((name, bar, Vec::new()));
    }
    for round in 0..=rounds {
        let (open, wants) = (world.open.clone(), world.wants.clone());
        let took = [
            world.run(&["version"], None)?,
            world.run(&["factory", "validate"], None)?,
            world.run(&["factory", "list"], None)?,
            world.run(&["factory", "graph"], None)?,
            bare_requests(&open, images)?,
            world.files(images)?,
            world.run(&["factory", "check-bases"], Some(&open))?,
            world.run(&["factory", "check-bases"], Some(&wants))?,
        ];
        // The first round warms caches; in each other all bases have moved.
        GENERATION.fetch_add(1, Ordering::Relaxed);
        if round > 0 {
            rows.iter_mut().zip(took).for_each(|((.., samples), took)| samples.push(took));
        }
    }
    let mut table = format!("| {images} images | median s | worst s | bar |\n|---|---|---|---|\n");
    for (name, bar, samples) in &mut rows {
        samples.sort_by(f64::total_cmp);
        let (median, worst) = (samples[samples.len() / 2], samples[samples.len() - 1]);
        writeln!(table, "| {name} | {median:.3} | {worst:.3} | {bar} |")?;
    }
    print!("{table}");
    Ok(())
}

struct World {
    directory: tempfile::TempDir,
    binary: PathBuf,
    /// A registry that answers everyone.
    open: String,
    /// A registry that wants tokens.
    wants: String,
}

impl World {
    /// A repository with the Dockerfiles, `images.yaml`, and the state that `discover` makes of them.
    fn new(binary: &Path, images: usize) -> Result<Self, Failure> {
        let directory = tempfile::tempdir()?;
        let world = Self { open: serve(false)?, wants: serve(true)?, binary: std::path::absolute(binary)?, directory };
        let top = world.directory.path();
        let mut list = String::new();
        for i in 0..images {
            let dir = top.join(format!("work/app{i}"));
            std::fs::create_dir_all(&dir)?;
            std::fs::write(dir.join("Dockerfile"), format!("FROM {}/base/b{i}:1 AS base\nCOPY . /srv\n", world.open))?;
            writeln!(
                list,
                "- name: app{i}\n  registry: registry.example\n  repository: o/app{i}\n  source: {{url: '{SOURCE}', branch: main, dockerfile: app{i}/Dockerfile, context: app{i}}}\n  platforms: [linux/amd64, linux/arm64]\n  tags: ['type=semver,pattern={{{{version}}}}', type=sha]\n  updates: [{{path: k8s/kustomization.yml}}]"
            )?;
        }
        std::fs::write(top.join("images.yaml"), list)?;
        for words in [&["init", "-q", "-b", "main"][..], &["remote", "add", "origin", SOURCE]] {
            let status = Command::new("git").args(words).current_dir(top.join("work")).status()?;
            if !status.success() {
                return Err(format!("git {words:?}: {status}").into());
            }
        }
        world.run(&["factory", "discover", "--checkout", "work"], None)?;
        Ok(world)
    }

    /// Seconds that a command takes; the bases are those of a registry.
    fn run(&self, words: &[&str], registry: Option<&str>) -> Result<f64, Failure> {
        let top = self.directory.path();
        if let Some(registry) = registry {
            for entry in std::fs::read_dir(top.join("base-images"))? {
                let path = entry?.path();
                let text = std::fs::read_to_string(&path)?;
                let text = text.replace(&self.open, registry).replace(&self.wants, registry);
                std::fs::write(&path, text)?;
            }
        }
        let mut command = Command::new(&self.binary);
        command.args(words).current_dir(top).env("HOME", top).env("COOPERAGE_ROOT", top.join("store"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let output = command.output()?;
        let took = started.elapsed().as_secs_f64();
        if !output.status.success() {
            return Err(format!("{words:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(took)
    }

    /// Seconds for files as large as state files, one after the other, each synced and renamed.
    fn files(&self, count: usize) -> Result<f64, Failure> {
        let dir = self.directory.path().join("floor");
        std::fs::create_dir_all(&dir)?;
        let started = Instant::now();
        for i in 0..count {
            let mut file = tempfile::NamedTempFile::new_in(&dir)?;
            file.write_all(&[b'x'; 1500])?;
            file.as_file().sync_all()?;
            file.persist(dir.join(i.to_string()))?;
        }
        Ok(started.elapsed().as_secs_f64())
    }
}

/// Seconds for a HEAD of each base over some connections, with nothing around it.
fn bare_requests(registry: &str, count: usize) -> Result<f64, Failure> {
    let next = Mutex::new(0..count);
    let failed = Mutex::new(None);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..WIDTH {
            scope.spawn(|| {
                let work = || -> std::io::Result<()> {
                    let mut stream = BufReader::new(TcpStream::connect(registry)?);
                    loop {
                        let Some(i) = next.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next() else {
                            return Ok(());
                        };
                        let request = format!("HEAD /v2/base/b{i}/manifests/1 HTTP/1.1\r\nHost: {registry}\r\n\r\n");
                        stream.get_mut().write_all(request.as_bytes())?;
                        head(&mut stream)?;
                    }
                };
                if let Err(error) = work() {
                    *failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
                }
            });
        }
    });
    match failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(error) => Err(error.into()),
        None => Ok(started.elapsed().as_secs_f64()),
    }
}

/// Starts a registry whose every manifest is there and moves with [`GENERATION`]; gives its host and port.
fn serve(tokens: bool) -> Result<String, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let host = listener.local_addr()?.to_string();
    let name = host.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let name = name.clone();
            std::thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                // Until the client hangs up.
                while let Ok(request) = head(&mut stream)
                    && !request.is_empty()
                {
                    std::thread::sleep(Duration::from_millis(DELAY_MS.load(Ordering::Relaxed) as u64));
                    if stream.get_mut().write_all(answer(&request, &name, tokens).as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(host)
}

/// A head of HTTP, as lines; empty at the end of the stream.
fn head(stream: &mut BufReader<TcpStream>) -> std::io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
            return Ok(lines);
        }
        lines.push(line.trim_end().to_owned());
    }
}

fn answer(request: &[String], host: &str, tokens: bool) -> String {
    let path = request[0].split_whitespace().nth(1).unwrap_or_default();
    if path.starts_with("/token") {
        let body = r#"{"token": "t"}"#;
        return format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
    }
    let known = request.iter().any(|line| line.to_ascii_lowercase().starts_with("authorization:"));
    if tokens && !known {
        let name = path.trim_start_matches("/v2/").split("/manifests").next().unwrap_or_default();
        return format!(
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"r\",scope=\"repository:{name}:pull\"\r\nContent-Length: 0\r\n\r\n"
        );
    }
    let digest = format!("sha256:{:064x}", GENERATION.load(Ordering::Relaxed));
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.index.v1+json\r\nDocker-Content-Digest: {digest}\r\nContent-Length: 512\r\n\r\n"
    )
}
