//! Time, memory, and what the machine can do at best.
use crate::Failure;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use testkit::Registry;

/// One build.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// Seconds from start to end of the client's command.
    pub(super) wall: f64,
    /// Peak resident bytes of the builder's process, where it is one process that ends with the build.
    pub(super) peak: Option<u64>,
    /// Processor seconds of the builder and of what it ran, where they are its children.
    pub(super) cpu: Option<f64>,
}

/// Processor seconds, user and system, of all children that have ended.
fn children() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after_name.split_whitespace().skip(13).take(2).filter_map(|field| field.parse::<f64>().ok());
    // A tick is a hundredth of a second wherever Linux runs.
    ticks.sum::<f64>() / 100.0
}

/// Runs a command and watches the largest resident size of its process.
pub(super) fn sample(command: &mut Command, memory: bool) -> Result<Sample, Failure> {
    let log = tempfile::NamedTempFile::new()?;
    command.stdin(Stdio::null()).stdout(log.reopen()?).stderr(log.reopen()?);
    let (start, before) = (Instant::now(), children());
    let mut child = command.spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = None;
    let exit = loop {
        if let Some(exit) = child.try_wait()? {
            break exit;
        }
        if memory {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
            peak = peak.max(kilobytes.map(|n| n * 1024));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let wall = start.elapsed().as_secs_f64();
    if exit.success() {
        let cpu = memory.then(|| children() - before);
        return Ok(Sample { wall, peak, cpu });
    }
    let text = std::fs::read_to_string(log.path()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    Err(format!("{command:?} ended with {exit}\n{}", lines[lines.len().saturating_sub(20)..].join("\n")).into())
}

pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// What no builder can beat here: seconds for hashing, for writing and for uploading 256 MiB.
pub(super) fn floors(registry: &Registry) -> Result<String, Failure> {
    const SIZE: usize = 256 << 20;
    let mut file = tempfile::NamedTempFile::new()?;
    let block: Vec<u8> = (0..1 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let start = Instant::now();
    for _ in 0..SIZE / block.len() {
        file.write_all(&block)?;
    }
    file.as_file().sync_all()?;
    let disk = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let done = Command::new("sha256sum").arg(file.path()).stderr(Stdio::null()).output()?;
    let hash = start.elapsed().as_secs_f64();
    if !done.status.success() {
        return Err("sha256sum failed".into());
    }
    let start = Instant::now();
    let sum = String::from_utf8_lossy(&done.stdout);
    upload(registry, file.path(), sum.split_whitespace().next().unwrap_or_default())?;
    let upload = start.elapsed().as_secs_f64();
    Ok(format!(
        "floors, 256 MiB: write and sync {disk:.2} s, sha256sum {hash:.2} s, upload to the registry {upload:.2} s"
    ))
}

/// One blob in one request.
fn upload(registry: &Registry, path: &std::path::Path, sha256: &str) -> Result<(), Failure> {
    let size = std::fs::metadata(path)?.len();
    let head = exchange(registry, "POST /v2/bench/floor/blobs/uploads/", std::io::empty(), 0)?;
    let location = head.lines().find_map(|line| line.strip_prefix("Location: ")).ok_or("no place for an upload")?;
    let place = location.trim().split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
    let place = place.ok_or("no path in the place of an upload")?.to_owned();
    let request = format!("PATCH {place}");
    let head = exchange(registry, &request, std::fs::File::open(path)?, size)?;
    let location = head.lines().find_map(|line| line.strip_prefix("Location: ")).ok_or("no place after an upload")?;
    let place = location.trim().split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
    let place = place.ok_or("no path in the place of an upload")?;
    let head = exchange(registry, &format!("PUT {place}&digest=sha256:{sha256}"), std::io::empty(), 0)?;
    if head.starts_with("HTTP/1.1 201") { Ok(()) } else { Err(format!("the upload failed: {head}").into()) }
}

/// One request and its answer.
fn exchange(registry: &Registry, request: &str, mut body: impl Read, size: u64) -> Result<String, Failure> {
    let mut stream = std::net::TcpStream::connect(registry.host())?;
    let kind = "Content-Type: application/octet-stream";
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{kind}\r\nContent-Length: {size}\r\n\r\n",
        registry.host()
    )?;
    std::io::copy(&mut body, &mut stream)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    #[test]
    fn median_of_odd_and_even_lists() {
        assert!((super::median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((super::median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
    }
}
