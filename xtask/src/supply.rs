//! `cargo xtask supply`: what an SBOM and a scan of a large image cost, beyond pulling it.
//!
//! The image is Debian with a compiler, Node and npm, in an OCI layout on the disk. The database holds as many records
//! as Debian's own export does, made up: [`RECORDS`], twenty of them about each package of the image, so that
//! matching, findings and the report are work. `--osv` adds real exports. A command's processor time and largest
//! resident size are its own; the wall clock is everybody's, so processor time is what is held against the bar.
use crate::{Failure, USAGE};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use testkit::bases;

/// Seconds for SBOM and scan of an image of [`BAR_SIZE`].
const BAR_SECONDS: f64 = 5.0;
const BAR_SIZE: u64 = 400_000_000;
/// Bytes of memory, whatever the size.
const BAR_MEMORY: u64 = 200_000_000;
const RECORDS: usize = 40_000;
const PER_PACKAGE: usize = 20;

struct Options {
    binary: PathBuf,
    rounds: usize,
    /// More for the database, as `scan db update --from` takes it.
    osv: Vec<String>,
}

/// One run of a command.
struct Sample {
    wall: f64,
    cpu: f64,
    peak: u64,
}

pub(crate) fn main(words: &[&str]) -> Result<(), Failure> {
    let options = parse(words)?;
    let layout = bases::TOOLS.layout()?;
    let mut size = 0;
    for layer in testkit::Image::from_layout(&layout, None)?.layers() {
        size += std::io::copy(&mut layer?, &mut std::io::sink())?;
    }
    let place = tempfile::Builder::new().prefix("supply-").tempdir()?;
    let image = format!("oci-layout://{}", layout.display());
    let command = |words: &[&str]| {
        let mut command = Command::new(&options.binary);
        command.args(words).arg("--root").arg(place.path().join("store")).current_dir(place.path());
        command
    };
    testkit::run(&mut command(&["sbom", &image, "--format", "json", "--files", "none", "-o", "packages.json"]))?;
    let packages = packages(&fs::read(place.path().join("packages.json"))?)?;
    records(&place.path().join("records"), &packages)?;
    let from = options.osv.iter().flat_map(|source| ["--from", source]);
    let update: Vec<&str> = ["scan", "db", "update", "--from", "records"].into_iter().chain(from).collect();
    let rows: [(&str, Vec<&str>); 5] = [
        ("scan db update", update),
        ("sbom, SPDX", vec!["sbom", &image, "-o", "image.spdx.json"]),
        ("sbom, CycloneDX", vec!["sbom", &image, "-o", "image.cdx.json"]),
        ("sbom, all files", vec!["sbom", &image, "--files", "all", "-o", "all.spdx.json"]),
        ("scan", vec!["scan", &image, "--format", "json", "-o", "scan.json"]),
    ];
    let mut table = String::from("| | wall | processor | memory |\n|---|---|---|---|\n");
    let (mut cpu, mut peak) = (0.0, 0);
    for (name, words) in &rows {
        let mut samples = Vec::new();
        for _ in 0..if *name == "scan db update" { 1 } else { options.rounds } {
            samples.push(sample(&mut command(words))?);
        }
        let median = |of: &dyn Fn(&Sample) -> f64| {
            let mut all: Vec<f64> = samples.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        let most = samples.iter().map(|sample| sample.peak).max().unwrap_or(0);
        let (wall, busy) = (median(&|s| s.wall), median(&|s| s.cpu));
        table.push_str(&format!("| {name} | {wall:.2} s | {busy:.2} s | {} MB |\n", most / 1_000_000));
        if matches!(*name, "sbom, SPDX" | "scan") {
            cpu += busy;
            peak = most.max(peak);
        }
    }
    let scan: Value = serde_json::from_slice(&fs::read(place.path().join("scan.json"))?)?;
    let findings = scan["findings"].as_array().map_or(0, Vec::len);
    if findings == 0 {
        return Err("the scan found nothing in an image that has flaws: it is fast because it is wrong".into());
    }
    // A larger image may take longer in proportion.
    let allowed = BAR_SECONDS * (size as f64 / BAR_SIZE as f64).max(1.0);
    println!(
        "An image of {} MB with {} packages of Debian; {RECORDS} records of Debian made up for it, {} findings.\n\n{table}\n\
         SBOM and scan together: {cpu:.2} s of processor time ({allowed:.2} s allowed), {} MB ({} MB allowed)",
        size / 1_000_000,
        packages.len(),
        findings,
        peak / 1_000_000,
        BAR_MEMORY / 1_000_000,
    );
    if cpu > allowed || peak > BAR_MEMORY { Err("the bar is not held".into()) } else { Ok(()) }
}

/// Source packages of Debian, with a version each.
fn packages(sbom: &[u8]) -> Result<Vec<(String, String)>, Failure> {
    let sbom: Value = serde_json::from_slice(sbom)?;
    let mut all: Vec<(String, String)> = Vec::new();
    for package in sbom["packages"].as_array().into_iter().flatten().filter(|package| package["type"] == "deb") {
        let of = if package["source"].is_object() { &package["source"] } else { package };
        let text = |key: &str| of[key].as_str().unwrap_or_default().to_owned();
        all.push((text("name"), text("version")));
    }
    all.sort();
    all.dedup_by(|a, b| a.0 == b.0);
    if all.is_empty() { Err("the image has no packages of Debian".into()) } else { Ok(all) }
}

/// Records about these packages, a quarter of them about what is installed, and about many others.
fn records(directory: &Path, packages: &[(String, String)]) -> Result<(), Failure> {
    // Debian's packages bring some of Node and of Python: the database must know these worlds.
    for world in ["npm", "PyPI"] {
        let ranges = json!([{ "type": "ECOSYSTEM", "events": [{ "introduced": "0" }] }]);
        let affected = json!([{ "package": { "ecosystem": world, "name": "nobody-has-it" }, "ranges": ranges }]);
        let record = json!({ "id": format!("{world}-1"), "modified": "2026-01-01T00:00:00Z", "affected": affected });
        fs::create_dir_all(directory)?;
        fs::write(directory.join(format!("{world}.json")), record.to_string())?;
    }
    for number in 0..RECORDS {
        let (name, version) = match packages.get(number / PER_PACKAGE) {
            Some((name, version)) => (name.clone(), version.clone()),
            None => (format!("other-{}", number / PER_PACKAGE), "1.0-1".to_owned()),
        };
        let fixed = match number % 4 {
            0 => format!("{version}+fixed"),
            _ => "0~".to_owned(),
        };
        let affected: Vec<Value> = ["11", "12", "13", "14"]
            .map(|release| {
                json!({
                    "package": { "ecosystem": format!("Debian:{release}"), "name": name },
                    "ranges": [{ "type": "ECOSYSTEM", "events": [{ "introduced": "0" }, { "fixed": fixed }] }],
                    "versions": (0..20).map(|n| format!("0~{n}")).collect::<Vec<_>>(),
                })
            })
            .into();
        let record = json!({
            "id": format!("DEBIAN-CVE-2099-{number:05}"), "upstream": [format!("CVE-2099-{number:05}")],
            "modified": "2026-01-01T00:00:00Z", "details": "An attacker may do this and that. ".repeat(10),
            "severity": [{ "type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:N" }],
            "references": [{ "type": "ADVISORY", "url": format!("https://security.example.org/{number}") }],
            "affected": affected,
        });
        let part = directory.join(format!("{:03}", number / 500));
        if number % 500 == 0 {
            fs::create_dir_all(&part)?;
        }
        fs::write(part.join(format!("{number}.json")), record.to_string())?;
    }
    Ok(())
}

/// Runs a command and looks at its memory meanwhile.
fn sample(command: &mut Command) -> Result<Sample, Failure> {
    let log = tempfile::NamedTempFile::new()?;
    command.stdin(Stdio::null()).stdout(log.reopen()?).stderr(log.reopen()?);
    let (start, before) = (Instant::now(), waited_for()?);
    let mut child = command.spawn()?;
    let mut peak = 0;
    let exit = loop {
        peak = high_water(child.id()).unwrap_or(0).max(peak);
        if let Some(exit) = child.try_wait()? {
            break exit;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let wall = start.elapsed().as_secs_f64();
    if !exit.success() {
        return Err(format!("{command:?} ended with {exit}\n{}", fs::read_to_string(log.path())?).into());
    }
    Ok(Sample { wall, cpu: waited_for()? - before, peak })
}

/// The largest resident size that a process had so far, in bytes.
fn high_water(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|n| n * 1024)
}

/// Processor seconds, of user and system, of all children that have ended: fields 16 and 17 of proc_pid_stat(5).
fn waited_for() -> Result<f64, Failure> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, rest) = stat.rsplit_once(')').ok_or("/proc/self/stat is none")?;
    let ticks: Vec<f64> = rest.split_whitespace().skip(13).take(2).filter_map(|field| field.parse().ok()).collect();
    // A tick is a hundredth of a second wherever Linux runs.
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

fn parse(words: &[&str]) -> Result<Options, Failure> {
    let mut options = Options { binary: crate::bench::binary(), rounds: 5, osv: Vec::new() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value\n\n{USAGE}"));
        match *word {
            "--binary" => options.binary = value()?.into(),
            "--rounds" => options.rounds = value()?.parse::<usize>()?.max(1),
            "--osv" => {
                let source = value()?;
                let absolute = std::path::absolute(source)?.display().to_string();
                options.osv.push(if source.contains("://") { (*source).to_owned() } else { absolute });
            }
            other => return Err(format!("{other} is not known here\n\n{USAGE}").into()),
        }
    }
    options.binary = std::path::absolute(&options.binary)?;
    if !options.binary.exists() {
        return Err(format!("{}: build it first, with cargo build --release", options.binary.display()).into());
    }
    Ok(options)
}
