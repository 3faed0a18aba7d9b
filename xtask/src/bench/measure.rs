//! Time, memory, and what the machine can do at best.
use crate::Failure;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use testkit::Registry;

/// A build that takes longer is stopped, and counts as failed.
const LONGEST: Duration = Duration::from_secs(420);

/// One build.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// Seconds from start to end of the client's command.
    pub(super) wall: f64,
    /// Peak resident bytes of the builder's processes, without those of steps.
    pub(super) peak: Option<u64>,
    /// Processor seconds of the whole machine meanwhile: builder, steps, kernel and registry.
    pub(super) cpu: f64,
}

/// Whose memory is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Watch {
    Nothing,
    /// The command itself.
    Child,
    /// What descends from it and has one of these names.
    Descendants(&'static [&'static str]),
    /// What descends from another process, a daemon's, and has one of these names.
    Below(u32, &'static [&'static str]),
}

impl Watch {
    /// The sum of the largest resident sizes that the processes had.
    fn peak(self, child: u32) -> Option<u64> {
        let (ancestor, names) = match self {
            Self::Nothing => return None,
            Self::Child => return high_water(child),
            Self::Descendants(names) => (child, names),
            Self::Below(daemon, names) => (daemon, names),
        };
        let sizes = descendants(ancestor).into_iter().filter(|(_, name)| names.contains(&name.as_str()));
        let sizes: Vec<u64> = sizes.filter_map(|(id, _)| high_water(id)).collect();
        if sizes.is_empty() { None } else { Some(sizes.iter().sum()) }
    }
}

fn high_water(process: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|n| n * 1024)
}

/// Numbers and names of all processes below one.
fn descendants(ancestor: u32) -> Vec<(u32, String)> {
    let mut all: Vec<(u32, u32, String)> = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((head, rest)) = stat.rsplit_once(')') else { continue };
        let name = head.split_once('(').map_or("", |(_, name)| name);
        let parent = rest.split_whitespace().nth(1).and_then(|field| field.parse().ok()).unwrap_or(0);
        all.push((id, parent, name.to_owned()));
    }
    let (mut family, mut from) = (vec![(ancestor, String::new())], 0);
    while let Some(&(parent, _)) = family.get(from) {
        family.extend(all.iter().filter(|(_, of, _)| *of == parent).map(|(id, _, name)| (*id, name.clone())));
        from += 1;
    }
    family
}

/// Seconds that the processors of this machine were busy since it started.
fn busy() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    // user nice system idle iowait irq softirq; a tick is a hundredth of a second wherever Linux runs.
    let ticks = fields.take(7).enumerate().filter(|(place, _)| !matches!(place, 3 | 4));
    ticks.filter_map(|(_, field)| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Runs a command and looks at the memory of the builder meanwhile. What others left to be written is written before.
pub(super) fn sample(command: &mut Command, watch: Watch) -> Result<Sample, Failure> {
    let log = tempfile::NamedTempFile::new()?;
    command.stdin(Stdio::null()).stdout(log.reopen()?).stderr(log.reopen()?).process_group(0);
    testkit::run(&mut Command::new("sync"))?;
    let (start, before) = (Instant::now(), busy());
    let mut child = command.spawn()?;
    let mut peak = None;
    let mut looked = start;
    let exit = loop {
        if let Some(exit) = child.try_wait()? {
            break Some(exit);
        }
        // A look at all processes costs too much to be taken often.
        let pause = if matches!(watch, Watch::Child) { 0 } else { 200 };
        if looked.elapsed() >= Duration::from_millis(pause) {
            peak = peak.max(watch.peak(child.id()));
            looked = Instant::now();
        }
        if start.elapsed() > LONGEST {
            let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).status();
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let wall = start.elapsed().as_secs_f64();
    let cpu = busy() - before;
    if matches!(watch, Watch::Below(..)) {
        peak = peak.max(watch.peak(child.id()));
    }
    let Some(exit) = exit else { return Err(format!("stopped after {} s", LONGEST.as_secs()).into()) };
    if exit.success() {
        return Ok(Sample { wall, peak, cpu });
    }
    let text = std::fs::read_to_string(log.path()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    Err(format!("{command:?} ended with {exit}\n{}", lines[lines.len().saturating_sub(8)..].join("\n")).into())
}

pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// What no builder can beat here: seconds for hashing, for writing and for uploading 256 MiB, as a sentence.
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
        "write and sync {disk:.2} s, `sha256sum` {hash:.2} s, upload to the registry in one request {upload:.2} s"
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
