//! Time, memory, and what the machine can do at best.
use crate::Failure;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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

/// What no builder can beat here: seconds for hashing and for writing 256 MiB.
pub(super) fn floors() -> Result<String, Failure> {
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
    let done = Command::new("sha256sum").arg(file.path()).stdout(Stdio::null()).status()?;
    let hash = start.elapsed().as_secs_f64();
    if !done.success() {
        return Err("sha256sum failed".into());
    }
    Ok(format!("floors, 256 MiB: write and sync {disk:.2} s, sha256sum {hash:.2} s"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn median_of_odd_and_even_lists() {
        assert!((super::median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((super::median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
    }
}
