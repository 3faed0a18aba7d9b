//! `cargo xtask bench`: the same work by cooperage and by peers, interleaved, in one run.
//!
//! A workload is a generated context ([`workloads`]); a builder ([`builders`]) builds and pushes it to a
//! registry on loopback. Each round runs every builder once, in turn, so that a change of the
//! machine's mood meets all of them; the table shows medians and ratios to BuildKit. After each run
//! the pushed image is looked at: a build that is fast because it is wrong does not count.
//! Floors of the machine (hashing, writing) are measured in the same run.
mod builders;
mod chart;
mod measure;
mod workloads;

use crate::{Failure, USAGE};
use builders::{Contender, Peers, contenders};
use measure::{Sample, floors, median};
use std::fmt::Write as _;
use std::path::PathBuf;
use testkit::{Registry, bases};
use workloads::{Registries, WORKLOADS, Workload};

struct Options {
    binary: PathBuf,
    rounds: usize,
    wanted: Vec<String>,
    peers: Peers,
    /// Where a chart of the ratios is written.
    chart: Option<PathBuf>,
    /// Workloads that have a unit are run at each of these; the others once.
    scales: Vec<usize>,
}

pub(crate) fn main(words: &[&str]) -> Result<(), Failure> {
    let options = parse(words)?;
    let registries = Registries { target: Registry::start()?, other: Registry::start()? };
    bases::BUSYBOX.push(&registries.target)?;
    let mut contenders = contenders(&options.binary, &registries, &options.peers)?;
    let chosen = |w: &&Workload| options.wanted.is_empty() || options.wanted.iter().any(|name| name == w.name);
    let mut table = String::from("| workload |");
    for contender in &contenders {
        write!(table, " {} |", contender.name())?;
    }
    table += "\n|---|";
    table += &"---|".repeat(contenders.len());
    table.push('\n');
    let (mut units, mut bars) = (String::new(), Vec::new());
    for workload in WORKLOADS.iter().filter(chosen) {
        let scales: &[usize] = if workload.unit.is_some() { &options.scales } else { &[1] };
        let mut series = Vec::new();
        for &scale in scales {
            let samples = race(workload, scale, &mut contenders, &registries, options.rounds)?;
            table += &row(workload, scale, &contenders, &samples);
            eprintln!("{}", table.lines().last().unwrap_or_default());
            bars.extend(bar(workload, scale, &contenders, &samples));
            series.push((scale, samples));
        }
        units += &costs(workload, &contenders, &series);
        units += &chains(workload, &contenders, &series);
    }
    println!(
        "{table}\nwall seconds, median of {} rounds; in brackets: ratio to BuildKit; processor seconds and peak memory of ours\n",
        options.rounds
    );
    if !units.is_empty() {
        println!("{units}");
    }
    println!("{}", floors(&registries.target)?);
    if let Some(path) = &options.chart {
        let names: Vec<String> = contenders.iter().map(|c| c.name()).collect();
        let reference = contenders.iter().position(|c| c.is_reference()).unwrap_or(0);
        std::fs::write(path, chart::svg(&names, reference, &bars))?;
    }
    Ok(())
}

/// What one more unit costs between neighbouring scales, in milliseconds: what is paid once a build is not in it.
fn costs(workload: &Workload, contenders: &[Box<dyn Contender>], series: &[(usize, Vec<Vec<Sample>>)]) -> String {
    let Some((unit, count)) = workload.unit else { return String::new() };
    let mut text = String::new();
    for pair in series.windows(2) {
        let ((small, before), (large, after)) = (&pair[0], &pair[1]);
        let _ = write!(text, "{}, one more {unit} between {small}x and {large}x:", workload.name);
        for (number, contender) in contenders.iter().enumerate() {
            let more = (wall(&after[number]) - wall(&before[number])) * 1000.0 / ((large - small) * count) as f64;
            let _ = write!(text, " {} {more:.3} ms;", contender.name());
        }
        text.push('\n');
    }
    text
}

/// How much longer a build takes than its longest chain of steps.
fn chains(workload: &Workload, contenders: &[Box<dyn Contender>], series: &[(usize, Vec<Vec<Sample>>)]) -> String {
    let (Some(chain), Some((_, samples))) = (workload.chain, series.first()) else { return String::new() };
    let mut text = format!("{}, times its longest chain ({chain} s):", workload.name);
    for (contender, list) in contenders.iter().zip(samples) {
        let _ = write!(text, " {} {:.2};", contender.name(), wall(list) / chain);
    }
    text + "\n"
}

/// A row of the chart: wall time as a multiple of the reference's.
fn bar(
    workload: &Workload,
    scale: usize,
    contenders: &[Box<dyn Contender>],
    samples: &[Vec<Sample>],
) -> Option<(String, Vec<f64>)> {
    let reference = contenders.iter().position(|c| c.is_reference()).map(|number| wall(&samples[number]))?;
    let times = if scale == 1 { String::new() } else { format!(" {scale}x") };
    Some((format!("{}{times}", workload.name), samples.iter().map(|list| wall(list) / reference).collect()))
}

fn wall(list: &[Sample]) -> f64 {
    median(list.iter().map(|sample| sample.wall).collect())
}

fn parse(words: &[&str]) -> Result<Options, Failure> {
    let mut options = Options {
        binary: "target/release/cooperage".into(),
        rounds: 5,
        wanted: Vec::new(),
        peers: Peers { ours: vec![None], buildah: true, buildkitd: None },
        chart: None,
        scales: vec![1],
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value\n\n{USAGE}"));
        match *word {
            "--binary" => options.binary = value()?.into(),
            "--rounds" => options.rounds = value()?.parse()?,
            "--scales" => options.scales = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--no-buildah" => options.peers.buildah = false,
            "--buildkitd" => options.peers.buildkitd = Some(value()?.to_string()),
            "--chart" => options.chart = Some(value()?.into()),
            "--ours" => {
                let name = |name: &str| (name != "auto").then(|| name.to_owned());
                options.peers.ours = value()?.split(',').map(name).collect();
            }
            name if WORKLOADS.iter().any(|w| w.name == name) => options.wanted.push(name.to_owned()),
            other => {
                let names: Vec<&str> = WORKLOADS.iter().map(|w| w.name).collect();
                return Err(format!("{other} is no workload; there are {}\n\n{USAGE}", names.join(", ")).into());
            }
        }
    }
    options.binary = std::path::absolute(&options.binary)?;
    if !options.binary.exists() {
        return Err(format!("{}: build it first, with cargo build --release", options.binary.display()).into());
    }
    Ok(options)
}

/// Rounds of one workload: every builder in each, starting with another one each time.
fn race(
    workload: &Workload,
    scale: usize,
    contenders: &mut [Box<dyn Contender>],
    registries: &Registries,
    rounds: usize,
) -> Result<Vec<Vec<Sample>>, Failure> {
    let mut samples: Vec<Vec<Sample>> = contenders.iter().map(|_| Vec::new()).collect();
    let context = tempfile::Builder::new().prefix("bench-").tempdir()?;
    (workload.make)(context.path(), registries, scale)?;
    for round in 0..rounds {
        for turn in 0..contenders.len() {
            let number = (turn + round) % contenders.len();
            let contender = &mut contenders[number];
            contender.reset(registries)?;
            let name = format!("bench/{}-{scale}-{number}-{round}:latest", workload.name);
            for warm in 0..workload.warm_ups {
                contender.build(
                    context.path(),
                    &registries.target.reference(&format!("bench/warm-{number}-{round}-{warm}")),
                )?;
            }
            (workload.touch)(context.path(), &format!("{number}-{round}"))?;
            let sample = contender.build(context.path(), &registries.target.reference(&name))?;
            let image = testkit::Image::from_registry(&registries.target, &name)?;
            (workload.check)(&image, scale)
                .map_err(|text| format!("{}, {}: {text}", contender.name(), workload.name))?;
            eprintln!("{} {scale}x {round} {}: {:.2} s", workload.name, contender.name(), sample.wall);
            samples[number].push(sample);
        }
    }
    Ok(samples)
}

fn row(workload: &Workload, scale: usize, contenders: &[Box<dyn Contender>], samples: &[Vec<Sample>]) -> String {
    let reference = contenders.iter().position(|c| c.is_reference()).map(|number| wall(&samples[number]));
    let times = if scale == 1 { String::new() } else { format!(" {scale}x") };
    let mut line = format!("| {}{times} |", workload.name);
    for list in samples {
        let seconds = wall(list);
        let ratio = reference.map_or_else(String::new, |reference| format!(" ({:.2})", seconds / reference));
        let memory = list.iter().filter_map(|sample| sample.peak).max();
        let memory = memory.map_or_else(String::new, |bytes| format!(" {} MB", bytes / 1_000_000));
        let cpu: Vec<f64> = list.iter().filter_map(|sample| sample.cpu).collect();
        let cpu = if cpu.is_empty() { String::new() } else { format!(" cpu {:.2}", median(cpu)) };
        let _ = write!(line, " {seconds:.2}{ratio}{cpu}{memory} |");
    }
    line + "\n"
}
