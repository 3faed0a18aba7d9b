//! `cargo xtask bench`: the same work by cooperage and by peers, interleaved, in one run.
//!
//! A workload is a generated context ([`workloads`]); a builder ([`builders`]) builds and pushes it to a
//! registry on loopback. Each round runs every builder once, in turn, so that a change of the
//! machine's mood meets all of them; the tables ([`report`]) show medians and ratios to BuildKit. After each
//! run the pushed image is looked at: a build that is fast because it is wrong does not count.
//! Floors of the machine (hashing, writing, uploading) are measured in the same run.
//!
//! First comes one round of everything; then rounds of cooperage and BuildKit alone, the quickest workloads first,
//! until the time is over (`--minutes`) or there are enough of them (`--rounds`). What fails is told and left out.
mod builders;
mod chart;
mod measure;
mod report;
mod workloads;

use crate::{Failure, USAGE};
use builders::{Cache, Contender, Peers, Role, contenders};
use measure::{Sample, floors};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use testkit::{Registry, bases};
use workloads::{Registries, Start, WORKLOADS, Workload};

struct Options {
    binary: PathBuf,
    /// The most rounds of a workload.
    rounds: usize,
    /// No new round begins after this many minutes.
    minutes: Option<u64>,
    wanted: Vec<String>,
    peers: Peers,
    /// Where a chart of the ratios is written.
    chart: Option<PathBuf>,
    /// A page whose part between two marks is replaced by the tables.
    page: Option<PathBuf>,
    /// Workloads that have a unit are run at each of these; the others once.
    scales: Vec<usize>,
}

/// A workload at a scale, and what came of it.
pub(crate) struct Race {
    workload: &'static Workload,
    scale: usize,
    /// Made with the first round. Contexts of larger scales are not kept.
    context: Option<TempDir>,
    /// By contender.
    samples: Vec<Vec<Sample>>,
    /// How long the last round of cooperage and BuildKit took, with all that is not measured.
    took: Duration,
}

/// All that a run has found out.
pub(crate) struct Results {
    contenders: Vec<(String, Role)>,
    races: Vec<Race>,
    floors: String,
    failures: Vec<String>,
}

pub(crate) fn main(words: &[&str]) -> Result<(), Failure> {
    let begin = Instant::now();
    let options = parse(words)?;
    let registries = Registries { target: Registry::start()?, other: Registry::start()? };
    bases::BUSYBOX.push(&registries.target)?;
    let (mut contenders, failures) = contenders(&options.binary, &registries, &options.peers);
    let mut results = Results {
        contenders: contenders.iter().map(|c| (c.name(), c.role())).collect(),
        races: Vec::new(),
        floors: floors(&registries.target)?,
        failures,
    };
    let chosen = |w: &&Workload| options.wanted.is_empty() || options.wanted.iter().any(|name| name == w.name);
    for workload in WORKLOADS.iter().filter(chosen) {
        let scales: &[usize] = if workload.unit.is_some() { &options.scales } else { &[1] };
        for &scale in scales {
            let samples = contenders.iter().map(|_| Vec::new()).collect();
            results.races.push(Race { workload, scale, context: None, samples, took: Duration::ZERO });
        }
    }
    // The usual scale first: where time runs out, the others are missing.
    let mut order: Vec<usize> = (0..results.races.len()).collect();
    order.sort_by_key(|number| results.races[*number].scale);
    for number in order {
        // Scales are about us and BuildKit.
        let all = results.races[number].scale == 1;
        let who = |role: Role| all || matches!(role, Role::Main | Role::Reference);
        round(&mut results, number, 0, &mut contenders, &registries, &who);
        report::write(&results, &options, begin.elapsed())?;
    }
    let over = |took: Duration| {
        let limit = options.minutes.map(|minutes| Duration::from_secs(minutes * 60));
        limit.is_some_and(|limit| begin.elapsed() + took > limit)
    };
    for turn in 1..options.rounds {
        let mut order: Vec<usize> = (0..results.races.len()).filter(|n| results.races[*n].scale == 1).collect();
        order.sort_by_key(|number| results.races[*number].took);
        for number in order {
            if over(results.races[number].took) {
                continue;
            }
            let who = |role: Role| !matches!(role, Role::Buildah(_));
            let quick = results.races[number].took < Duration::from_secs(20);
            let who = |role: Role| who(role) && (quick || role != Role::Mode || options.minutes.is_none());
            round(&mut results, number, turn, &mut contenders, &registries, &who);
            report::write(&results, &options, begin.elapsed())?;
        }
    }
    println!("{}", report::text(&results, &options, begin.elapsed()));
    Ok(())
}

/// One round of a workload: those of the builders who take part, one after the other.
fn round(
    results: &mut Results,
    number: usize,
    turn: usize,
    contenders: &mut [Box<dyn Contender>],
    registries: &Registries,
    who: &dyn Fn(Role) -> bool,
) {
    let race = &mut results.races[number];
    let (workload, scale) = (race.workload, race.scale);
    if race.context.is_none() {
        let made = tempfile::Builder::new().prefix("bench-").tempdir().map_err(Failure::from);
        let made = made.and_then(|dir| (workload.make)(dir.path(), registries, scale).map(|()| dir));
        match made {
            Ok(dir) => race.context = Some(dir),
            Err(error) => return results.failures.push(format!("{}: no context: {error}", label(workload, scale))),
        }
    }
    let Some(context) = race.context.as_ref().map(|dir| dir.path().to_owned()) else { return };
    race.took = Duration::ZERO;
    for place in 0..contenders.len() {
        let place = (place + turn) % contenders.len();
        let contender = &mut contenders[place];
        let role = contender.role();
        if !who(role) {
            continue;
        }
        let begin = Instant::now();
        match once(workload, scale, &context, contender.as_mut(), registries, &format!("{place}-{turn}")) {
            Ok(sample) => {
                eprintln!("{} {turn} {}: {:.2} s", label(workload, scale), contender.name(), sample.wall);
                race.samples[place].push(sample);
            }
            Err(error) => {
                let text = format!("{}, {}: {error}", label(workload, scale), contender.name());
                eprintln!("{text}");
                results.failures.push(text);
            }
        }
        if matches!(role, Role::Main | Role::Reference) {
            race.took += begin.elapsed();
        }
    }
    if scale > 1 {
        race.context = None;
    }
    for contender in contenders.iter_mut() {
        if let Err(error) = contender.tidy() {
            results.failures.push(format!("{} cannot remove what it left: {error}", contender.name()));
        }
    }
    if let Err(error) = registries.target.forget("bench") {
        results.failures.push(format!("the registry keeps what was pushed: {error}"));
    }
}

/// One build, after what comes before it, and a look at the image.
fn once(
    workload: &Workload,
    scale: usize,
    context: &Path,
    contender: &mut dyn Contender,
    registries: &Registries,
    turn: &str,
) -> Result<Sample, Failure> {
    let target = &registries.target;
    let name = format!("bench/{}-{scale}-{turn}:latest", workload.name);
    let warm = target.reference(&format!("bench/warm-{}-{turn}:latest", workload.name));
    let place = target.reference(&format!("bench/cache-{}-{turn}:latest", workload.name));
    contender.reset(registries)?;
    let mut cache = Cache::None;
    match workload.start {
        Start::Cold => {}
        Start::Warm => drop(contender.build(context, &warm, &Cache::None)?),
        Start::Cache => {
            contender.build(context, &warm, &Cache::To(place.clone()))?;
            contender.reset(registries)?;
            cache = Cache::From(place);
        }
    }
    (workload.touch)(context, turn)?;
    let sample = contender.build(context, &target.reference(&name), &cache)?;
    let image = testkit::Image::from_registry(target, &name)?;
    (workload.check)(&image, context, scale).map_err(|text| format!("the image is wrong: {text}"))?;
    Ok(sample)
}

/// The name of a workload at a scale.
fn label(workload: &Workload, scale: usize) -> String {
    if scale == 1 { workload.name.to_owned() } else { format!("{} {scale}x", workload.name) }
}

/// The release build: cargo puts it below the name of its target here.
pub(crate) fn binary() -> PathBuf {
    let directory = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let places = ["x86_64-unknown-linux-gnu/release/cooperage", "release/cooperage"].map(|name| directory.join(name));
    let found = places.iter().find(|path| path.exists());
    found.unwrap_or(&places[0]).clone()
}

fn parse(words: &[&str]) -> Result<Options, Failure> {
    let mut options = Options {
        binary: binary(),
        rounds: 3,
        minutes: None,
        wanted: Vec::new(),
        peers: Peers { ours: vec!["auto".to_owned()], buildah: true, buildkitd: None },
        chart: None,
        page: None,
        scales: vec![1],
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value\n\n{USAGE}"));
        match *word {
            "--binary" => options.binary = value()?.into(),
            "--rounds" => options.rounds = value()?.parse()?,
            "--minutes" => options.minutes = Some(value()?.parse()?),
            "--scales" => options.scales = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--no-buildah" => options.peers.buildah = false,
            "--buildkitd" => options.peers.buildkitd = Some(value()?.to_string()),
            "--chart" => options.chart = Some(value()?.into()),
            "--page" => options.page = Some(value()?.into()),
            "--ours" => options.peers.ours = value()?.split(',').map(str::to_owned).collect(),
            "--all" => {
                options.peers.ours = ["auto", "tree", "plain-chroot", "intercept"].map(str::to_owned).to_vec();
                options.scales = vec![1, 2, 4];
            }
            name if WORKLOADS.iter().any(|w| w.name == name) => options.wanted.push(name.to_owned()),
            other => {
                let names: Vec<&str> = WORKLOADS.iter().map(|w| w.name).collect();
                return Err(format!("{other} is no workload; there are {}\n\n{USAGE}", names.join(", ")).into());
            }
        }
    }
    if let Some(mode) = options
        .peers
        .ours
        .iter()
        .find(|mode| !["auto", "tree", "namespaces", "plain-chroot", "intercept"].contains(&mode.as_str()))
    {
        return Err(
            format!("{mode} is nothing of ours; there are auto, tree, namespaces, plain-chroot and intercept").into()
        );
    }
    options.binary = std::path::absolute(&options.binary)?;
    if !options.binary.exists() {
        return Err(format!("{}: build it first, with cargo build --release", options.binary.display()).into());
    }
    Ok(options)
}
